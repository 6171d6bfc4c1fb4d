// SPDX-License-Identifier: Apache-2.0
// A connection's life: the table, growth, dials that fail, time-outs, loss, stop, several credentials, late events.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "../h2/frames.h"
#include "harness.h"

namespace tocsin::dispatch::test {
namespace {

TEST(Table, HoldsWhatTheDrawingSaysAndNothingElse) {
  using S = ConnectionState;
  using I = ConnectionInput;
  const std::set<std::tuple<S, I, S>> drawn = {
      {S::free, I::dial, S::resolving},        {S::resolving, I::resolved, S::dialling},
      {S::resolving, I::fail, S::closing},     {S::dialling, I::proxied, S::tunnelling},
      {S::tunnelling, I::fail, S::closing},    {S::tunnelling, I::tunnelled, S::handshaking},
      {S::ready, I::retire, S::draining},      {S::dialling, I::connected, S::handshaking},
      {S::dialling, I::fail, S::closing},      {S::handshaking, I::tls_open, S::settling},
      {S::handshaking, I::fail, S::closing},   {S::settling, I::settings, S::ready},
      {S::settling, I::fail, S::closing},
      {S::ready, I::goaway, S::draining},      {S::ready, I::drained, S::closing},
      {S::ready, I::fail, S::closing},         {S::draining, I::goaway, S::draining},
      {S::draining, I::drained, S::closing},   {S::draining, I::fail, S::closing},
      {S::closing, I::closed, S::free}};
  std::size_t present = 0;
  for (std::size_t state = 0; state < kConnectionStates; ++state) {
    for (std::size_t input = 0; input < kConnectionInputs; ++input) {
      const std::uint8_t next = kTransitions[state][input];
      if (next == kNoTransition) continue;
      ++present;
      ASSERT_LT(next, kConnectionStates);
      EXPECT_TRUE(drawn.count({static_cast<S>(state), static_cast<I>(input), static_cast<S>(next)}))
          << state_name(static_cast<S>(state)) << " with input " << input;
      Connection connection;
      connection.state = static_cast<S>(state);
      connection.apply(static_cast<I>(input));
      EXPECT_EQ(connection.state, static_cast<S>(next));
    }
  }
  EXPECT_EQ(present, drawn.size());
  // Every state but free has a way to closing.
  for (std::size_t state = 1; state + 1 < kConnectionStates; ++state) {
    EXPECT_EQ(kTransitions[state][static_cast<std::size_t>(I::fail)], static_cast<std::uint8_t>(S::closing));
  }
}

TEST(TableDeathTest, AnAbsentEntryIsABrokenInvariant) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Connection connection;
  EXPECT_DEATH(connection.apply(ConnectionInput::closed), "kNoTransition");
}

TEST(Growth, TenThousandOverOneToFourConnections) {
  for (unsigned connections = 1; connections <= 4; ++connections) {
    SCOPED_TRACE(connections);
    World world;
    CredentialConfig config = World::plain_credential();
    config.connections_max = connections;
    world.server.streams_max = 100;
    world.add_credential(config);
    world.add_template(PayloadForm::with_part, R"({"mdm":"%PART%"})");
    PushSpec spec;
    spec.part = "B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51F0";
    world.push_many(10'000, spec);
    ASSERT_TRUE(world.run_until_ended());
    EXPECT_EQ(world.ended_as(End::accepted), 10'000u);
    EXPECT_EQ(world.links(), connections);
    EXPECT_EQ(world.counters().connections_opened, connections);
    EXPECT_EQ(world.statuses[0].open, connections);
    for (unsigned i = 0; i < connections; ++i) {
      EXPECT_EQ(world.link(i).open_most, 100u) << "streams are used to the full";
      EXPECT_GT(world.link(i).requests, 1000u);
    }
    // TCP, then preface and SETTINGS have to come before another dial: one, two, four.
    const std::int64_t round = world.net.dial_ns + world.net.latency_ns;
    for (unsigned i = 1; i < std::min(connections, 3u); ++i) EXPECT_GE(world.dial_times[i] - world.dial_times[i - 1], round);
    if (connections == 4) {
      EXPECT_EQ(world.dial_times[3], world.dial_times[2]);
    }
    EXPECT_EQ(world.counters().attempts, 10'000u);
    EXPECT_EQ(world.counters().possibly_doubled, 0u);
    // Batches: far fewer writes than pushes.
    EXPECT_LT(world.counters().writes, 10'000u / 20);
    world.finish();
  }
}

// Streams are never full here: one push is enough to open them all, by ones, twos and fours, and they stay.
TEST(Growth, AMinimumOpensWithTheFirstPushAndStays) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_min = 7;
  config.connections_max = 8;
  config.idle_close_ns = kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, R"({"aps":{}})");
  world.run(kSec);
  EXPECT_EQ(world.links(), 0u) << "nothing waits";
  world.push();
  world.run(kSec);
  EXPECT_EQ(world.ended_as(End::accepted), 1u);
  ASSERT_EQ(world.links(), 7u);
  std::map<std::int64_t, unsigned> rounds;
  for (const std::int64_t at : world.dial_times) ++rounds[at];
  EXPECT_EQ(rounds.size(), 4u);
  EXPECT_EQ(rounds.rbegin()->second, 3u) << "1, 1, 2 and what is left";
  world.run(60 * kSec);
  EXPECT_EQ(world.statuses[0].open, 7u);
  EXPECT_EQ(world.links(), 7u) << "idle, and beside others, but not above the minimum";
  world.finish();
}

TEST(Growth, AMinimumIsNotDialledForWhenNothingWaitsAndDialsFail) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_min = config.connections_max = 4;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, R"({"aps":{}})");
  unsigned good = 1;
  world.on_dial = [&good](std::uint32_t) { return good != 0 ? (--good, Dial::accept) : Dial::refuse; };
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  world.run(60 * kSec);
  EXPECT_EQ(world.ended_as(End::accepted), 1u);
  EXPECT_EQ(world.links(), 2u) << "the first serves; the second failed, and nobody needs it";
  // With the next push it is tried again.
  good = 100;
  world.push();
  world.run(10 * kSec);
  EXPECT_EQ(world.statuses[0].open, 4u);
  world.finish();
}

// The second dial fails when the first connection has answered already: the next pushes try again, once the back-off is over.
TEST(Growth, AMinimumIsTriedAgainWithLaterPushes) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_min = config.connections_max = 4;
  config.handshake_timeout_ns = kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, R"({"aps":{}})");
  unsigned dials = 0;
  world.on_dial = [&dials](std::uint32_t) { return ++dials == 2 ? Dial::raw : Dial::accept; };
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  world.run(10 * kSec);
  EXPECT_EQ(world.counters().dials_failed, 1u);
  EXPECT_EQ(world.statuses[0].open, 1u);
  world.push();
  world.run(kSec);
  EXPECT_EQ(world.statuses[0].open, 4u);
  world.finish();
}

// The peer goes with all connections at once, most of which were never used: no reason to wait longer than for one.
TEST(Growth, IdleConnectionsThatGoTogetherAreNoFailuresInARow) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_min = config.connections_max = 8;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, R"({"aps":{}})");
  world.push();
  world.run(20 * kSec);
  ASSERT_EQ(world.statuses[0].open, 8u);
  for (Link* link : world.usable_links()) world.hang_up(*link);
  const std::uint64_t id = world.push();
  world.run(config.backoff_min_ns + 50 * kMs);
  EXPECT_EQ(world.outcome(id).end, End::accepted);
  EXPECT_EQ(world.counters().dials_failed, 0u);
  world.finish();
}

TEST(Growth, OneConnectionIsEnoughForLittle) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_max = 4;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, R"({"aps":{}})");
  for (int i = 0; i < 50; ++i) {
    world.push();
    world.run(20 * kMs);
  }
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 50u);
  EXPECT_EQ(world.links(), 1u) << "connections follow load";
  world.finish();
}

TEST(Growth, BytesMayBeCutAnywhereAndSendsBeShort) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    World world({}, seed);
    world.net.short_sends = 0.7;
    world.net.cuts = 0.7;
    world.server.streams_max = 40;
    CredentialConfig config = World::plain_credential();
    config.connections_max = 2;
    world.add_credential(config);
    world.add_template(PayloadForm::fixed, R"({"aps":{"alert":"cut"}})");
    world.push_many(1000);
    ASSERT_TRUE(world.run_until_ended());
    EXPECT_EQ(world.ended_as(End::accepted), 1000u);
    world.finish();
  }
}

TEST(Growth, ASlowSocketHoldsRequestsBack) {
  ShardOptions options;
  options.wire_high_water_bytes = 2000;
  World world(options);
  world.add_default();
  world.net.send_ns = 50 * kMs;
  world.push_many(500);
  world.run(20 * kMs);
  // SETTINGS are on the wire; no more than one batch behind the mark may be encoded.
  EXPECT_EQ(world.counters().in_flight + world.counters().waiting, 500u);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 500u);
  world.finish();
}

TEST(Dial, RefusedBacksOffWithJitterBounded) {
  std::set<std::int64_t> second_dials;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    ShardOptions options;
    options.seed = seed;
    World world(options, seed);
    CredentialConfig config = World::plain_credential();
    config.give_up_ns = 0;
    world.add_credential(config);
    world.add_template(PayloadForm::fixed, "{}");
    bool refuse = true;
    world.on_dial = [&refuse](std::uint32_t) { return refuse ? Dial::refuse : Dial::accept; };
    const std::uint64_t id = world.push();
    world.run(600 * kSec);
    EXPECT_EQ(world.pending(), 1u) << "no give-up was asked for";
    const std::vector<std::int64_t>& dials = world.dial_times;
    // A mean wait of 15 s at the end, half of the maximum, says about 40 dials in ten minutes.
    ASSERT_GT(dials.size(), 20u);
    EXPECT_LT(dials.size(), 120u);
    std::int64_t bound = config.backoff_min_ns;
    std::int64_t longest = 0;
    for (std::size_t i = 1; i < dials.size(); ++i) {
      const std::int64_t wait = dials[i] - dials[i - 1] - world.net.dial_ns;
      EXPECT_GT(wait, 0);
      EXPECT_LE(wait, bound + kMs) << "dial " << i;
      longest = std::max(longest, wait);
      bound = std::min(bound * 2, config.backoff_max_ns);
    }
    EXPECT_GT(longest, config.backoff_max_ns / 2) << "the wait grows";
    second_dials.insert(dials[1]);
    EXPECT_EQ(world.counters().dials_failed, dials.size());
    EXPECT_NE(world.statuses[0].unreachable_since_wall_ns, 0);
    EXPECT_EQ(world.statuses[0].last_error, "connection refused");
    refuse = false;
    ASSERT_TRUE(world.run_until_ended(config.backoff_max_ns + kSec));
    EXPECT_EQ(world.outcome(id).end, End::accepted);
    EXPECT_EQ(world.outcome(id).attempts, 1);
    EXPECT_EQ(world.statuses[0].unreachable_since_wall_ns, 0);
    world.finish();
  }
  EXPECT_GT(second_dials.size(), 6u) << "jitter spreads the shards";
}

TEST(Dial, GivesUpThenFailsAtOnceThenRecovers) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.give_up_ns = 5 * kSec;
  config.backoff_max_ns = kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  Dial way = Dial::refuse;
  world.on_dial = [&way](std::uint32_t) { return way; };
  const std::int64_t began = world.now();
  world.push_many(10);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_GE(world.now() - began, config.give_up_ns);
  EXPECT_LE(world.now() - began, config.give_up_ns + 10 * kMs) << "on its own deadline, not with the next dial";
  for (const auto& [id, outcome] : world.outcomes) {
    EXPECT_EQ(outcome.end, End::failed);
    EXPECT_EQ(outcome.reason, Reason::cannot_connect);
    EXPECT_EQ(outcome.reason_view(), "connection refused");
    EXPECT_EQ(outcome.attempts, 0);
  }
  EXPECT_TRUE(world.statuses[0].gave_up);
  EXPECT_EQ(world.logged("gave_up"), 1u);

  // Later ones fail at once, and still make it dial now and then.
  world.run(10 * kSec);
  const std::size_t dials = world.dial_times.size();
  const std::uint64_t late = world.push();
  ASSERT_TRUE(world.run_until_ended(kMs));
  EXPECT_EQ(world.outcome(late).end, End::failed);
  EXPECT_EQ(world.dial_times.size(), dials + 1);
  world.run(2 * kSec);

  way = Dial::accept;
  const std::uint64_t trigger = world.push();
  ASSERT_TRUE(world.run_until_ended(kMs));
  EXPECT_EQ(world.outcome(trigger).end, End::failed);
  world.run(kSec);
  EXPECT_FALSE(world.statuses[0].gave_up);
  const std::uint64_t healed = world.push();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(healed).end, End::accepted);
  world.finish();
}

TEST(Dial, DeferredByTheBudgetIsNoFailure) {
  World world;
  world.add_default();
  int deferrals = 6;
  world.on_dial = [&deferrals](std::uint32_t) { return deferrals-- > 0 ? Dial::defer : Dial::accept; };
  const std::int64_t began = world.now();
  world.push_many(5);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 5u);
  EXPECT_EQ(world.counters().dials_failed, 0u);
  EXPECT_EQ(world.links(), 7u);
  EXPECT_LT(world.now() - began, 6 * 25 * kMs + 20 * kMs);
  EXPECT_EQ(world.statuses[0].unreachable_since_wall_ns, 0);
  world.finish();
}

TEST(Dial, WithoutASlotTheIdlestConnectionMakesRoom) {
  ShardOptions options;
  options.connections_max = 1;
  World world(options);
  world.add_credential();
  world.add_credential();
  world.add_template(PayloadForm::fixed, "{}");
  PushSpec other;
  other.credential = 1;
  bool held = true;
  world.judge = [&](Link&, const Seen&) { return held ? Verdict::hold() : Verdict::accept(); };
  world.push();
  world.push(other);
  world.run(kSec);
  EXPECT_EQ(world.links(), 1u) << "one with an answer to come is not idle";
  held = false;
  world.hang_up(world.link(0));
  ASSERT_TRUE(world.run_until_ended(2 * kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 2u);
  EXPECT_GE(world.counters().marks[static_cast<std::size_t>(Mark::shed)], 1u);
  world.finish();
}

TEST(Timeout, OfEachStage) {
  struct Stage {
    Dial way;
    const char* text;
    std::int64_t after_ns;
  };
  for (const Stage& stage : {Stage{Dial::hang, "connecting to apns.test timed out", 3 * kSec}, Stage{Dial::raw, "HTTP/2 SETTINGS from apns.test timed out", 5 * kSec}}) {
    SCOPED_TRACE(stage.text);
    World world;
    CredentialConfig config = World::plain_credential();
    config.connect_timeout_ns = 3 * kSec;
    config.handshake_timeout_ns = 5 * kSec;
    world.add_credential(config);
    world.add_template(PayloadForm::fixed, "{}");
    int bad = 1;
    world.on_dial = [&](std::uint32_t) { return bad-- > 0 ? stage.way : Dial::accept; };
    const std::uint64_t id = world.push();
    world.run(stage.after_ns - 10 * kMs);
    EXPECT_EQ(world.counters().dials_failed, 0u);
    world.run(20 * kMs);
    EXPECT_EQ(world.counters().dials_failed, 1u);
    EXPECT_NE(world.statuses[0].last_error.find(stage.text), std::string::npos) << world.statuses[0].last_error;
    ASSERT_TRUE(world.run_until_ended());
    EXPECT_EQ(world.outcome(id).end, End::accepted);
    EXPECT_EQ(world.outcome(id).attempts, 1);
    world.finish();
  }
}

TEST(Timeout, ASilentConnectionIsLostAsAWhole) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.answer_timeout_ns = 2 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.judge = [](Link& link, const Seen&) { return link.number == 0 ? Verdict::hold(true) : Verdict::accept(); };
  PushSpec once;
  once.policy = Policy::at_most_once;
  const std::uint64_t often_id = world.push();
  const std::uint64_t once_id = world.push(once);
  const std::int64_t began = world.now();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_GE(world.now() - began, config.answer_timeout_ns);
  EXPECT_EQ(world.counters().connections_lost, 1u);
  EXPECT_EQ(world.outcome(often_id).end, End::accepted);
  EXPECT_EQ(world.outcome(often_id).attempts, 2);
  EXPECT_EQ(world.outcome(often_id).flags, kPossiblyDoubled);
  EXPECT_EQ(world.outcome(once_id).end, End::unknown);
  EXPECT_EQ(world.outcome(once_id).reason, Reason::connection_lost);
  EXPECT_EQ(world.outcome(once_id).attempts, 1);
  EXPECT_EQ(world.counters().possibly_doubled, 1u);
  world.finish();
}

TEST(Timeout, OneOverdueStreamIsGivenUpAlone) {
  for (const Policy policy : {Policy::at_least_once, Policy::at_most_once}) {
    World world;
    CredentialConfig config = World::plain_credential();
    config.answer_timeout_ns = 2 * kSec;
    world.add_credential(config);
    world.add_template(PayloadForm::fixed, "{}");
    world.judge = [](Link&, const Seen& seen) {
      return seen.id == 1 && seen.attempt == 1 ? Verdict::hold(true) : Verdict::accept();
    };
    PushSpec spec;
    spec.policy = policy;
    world.push(spec);
    for (int i = 0; i < 40; ++i) {
      world.run(100 * kMs);
      world.push();
    }
    ASSERT_TRUE(world.run_until_ended());
    EXPECT_EQ(world.links(), 1u);
    EXPECT_EQ(world.counters().connections_lost, 0u);
    EXPECT_EQ(world.ended_as(End::accepted), policy == Policy::at_least_once ? 41u : 40u);
    const Outcome& overdue = world.outcome(1);
    EXPECT_EQ(overdue.end, policy == Policy::at_least_once ? End::accepted : End::unknown);
    EXPECT_EQ(overdue.flags, policy == Policy::at_least_once ? kPossiblyDoubled : 0);
    EXPECT_EQ(world.link(0).server->open_streams(), 0u) << "the overdue stream was reset";
    world.finish();
  }
}

TEST(Timeout, ADrainingConnectionEndsWithItsLastOverdueStream) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.answer_timeout_ns = 2 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.judge = [](Link&, const Seen& seen) { return seen.id == 1 ? Verdict::hold(true) : Verdict::accept(); };
  world.push(once);
  world.run(1900 * kMs);
  world.push();  // answered, so that the connection counts as alive
  world.run(20 * kMs);
  world.goaway(world.link(0), -1, 0);
  ASSERT_TRUE(world.run_until_ended(3 * kSec));
  EXPECT_EQ(world.outcome(1).end, End::unknown);
  world.run(5 * kSec);
  EXPECT_TRUE(world.link(0).gone) << "nobody closes it but us";
  EXPECT_EQ(world.shard().connections_in_use(), 0u);
  world.finish();
}

TEST(GiveUp, AnAnswerElsewhereEndsTheUnreachableTime) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_max = 2;
  config.give_up_ns = 5 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.server.streams_max = 1;
  int dials = 0;
  world.on_dial = [&dials](std::uint32_t) { return ++dials == 2 ? Dial::refuse : Dial::accept; };
  world.net.answer_ns = 50 * kMs;
  world.push_many(2);  // the second asks for another connection, which is refused before the first has answered
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.counters().dials_failed, 1u);
  world.run(60 * kSec);
  for (Link* link : world.usable_links()) world.hang_up(*link);
  world.run(kSec);
  const std::uint64_t id = world.push();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(id).end, End::accepted) << "an old failed dial is no reason to give up";
  world.finish();
}

TEST(GiveUp, NotWhileAConnectionWorksAndWithoutSpinning) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_max = 2;
  config.give_up_ns = kSec;
  config.answer_timeout_ns = 20 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.server.streams_max = 1;
  int dials = 0;
  world.on_dial = [&dials](std::uint32_t) { return ++dials == 1 ? Dial::accept : Dial::refuse; };
  world.net.answer_ns = 5 * kSec;
  world.push_many(3);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 3u);
  world.finish();
}

TEST(Lost, InFlightFollowsThePolicy) {
  World world;
  world.add_default();
  world.judge = [](Link& link, const Seen&) { return link.number == 0 ? Verdict::hold(true) : Verdict::accept(); };
  PushSpec once;
  once.policy = Policy::at_most_once;
  const auto often_ids = world.push_many(20);
  const auto once_ids = world.push_many(20, once);
  world.run(100 * kMs);
  EXPECT_EQ(world.link(0).requests, 40u);
  world.break_wire(world.link(0));
  ASSERT_TRUE(world.run_until_ended());
  for (const std::uint64_t id : often_ids) {
    EXPECT_EQ(world.outcome(id).end, End::accepted);
    EXPECT_EQ(world.outcome(id).flags, kPossiblyDoubled);
    EXPECT_EQ(world.outcome(id).attempts, 2);
  }
  for (const std::uint64_t id : once_ids) {
    EXPECT_EQ(world.outcome(id).end, End::unknown);
    EXPECT_EQ(world.outcome(id).reason, Reason::connection_lost);
    EXPECT_EQ(world.outcome(id).flags, 0);
  }
  EXPECT_EQ(world.counters().possibly_doubled, 20u);
  EXPECT_EQ(world.counters().connections_lost, 1u);
  world.finish();
}

TEST(Lost, BeforeAnythingWasWrittenNothingIsUnknown) {
  World world;
  world.add_default();
  int raw = 1;
  world.on_dial = [&raw](std::uint32_t) { return raw-- > 0 ? Dial::raw : Dial::accept; };
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push_many(10, once);
  world.run(50 * kMs);
  EXPECT_FALSE(world.link(0).raw_in.empty()) << "preface and SETTINGS went out";
  world.hang_up(world.link(0));
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 10u);
  for (const auto& [id, outcome] : world.outcomes) EXPECT_EQ(outcome.attempts, 1);
  world.finish();
}

TEST(Lost, ASendErrorAndAPeerThatReadsNothing) {
  World world;
  world.add_default();
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  // The kernel takes the bytes and never gives them back until close: the answer's deadline closes it.
  world.link(0).stalled = true;
  const std::uint64_t id = world.push();
  world.run(kSec);
  EXPECT_TRUE(world.link(0).lent);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(id).end, End::accepted);
  EXPECT_EQ(world.outcome(id).attempts, 2);
  // And a send that fails: only `sent` tells of it.
  const std::uint64_t broken = world.push();
  world.at(1, [&world] { world.link(1).cut = true; });
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(broken).end, End::accepted);
  EXPECT_EQ(world.links(), 3u);
  world.finish();
}

TEST(Stop, WaitingAreReturnedAndInFlightAreAnswered) {
  World world;
  world.add_default();
  world.server.streams_max = 10;
  world.net.answer_ns = 300 * kMs;
  world.push_many(30);
  world.run(50 * kMs);
  EXPECT_EQ(world.counters().in_flight, 10u);
  world.stop(5 * kSec);
  const std::uint64_t late = world.push();  // taken after the stop
  const std::int64_t began = world.now();
  ASSERT_TRUE(world.run(20 * kSec, [&world] { return world.was_at_rest; }));
  EXPECT_LT(world.now() - began, kSec) << "rest comes with the last answer, not with the end of the grace";
  EXPECT_EQ(world.ended_as(End::accepted), 10u);
  EXPECT_EQ(world.ended_as(End::returned), 21u);
  EXPECT_EQ(world.outcome(late).end, End::returned);
  for (const auto& [id, outcome] : world.outcomes) {
    if (outcome.end != End::returned) continue;
    EXPECT_EQ(outcome.reason, Reason::engine_stopped);
    EXPECT_EQ(outcome.attempts, 0);
  }
  world.run(10 * kMs);
  EXPECT_TRUE(world.link(0).server->finished()) << "the peer was told GOAWAY";
  world.finish();
}

TEST(Stop, WhatIsUnansweredAfterTheGraceIsUnknown) {
  World world;
  world.add_default();
  world.judge = [](Link&, const Seen& seen) { return seen.id <= 5 ? Verdict::hold(true) : Verdict::accept(); };
  world.push_many(12);
  world.run(100 * kMs);
  world.stop(2 * kSec);
  const std::int64_t began = world.now();
  ASSERT_TRUE(world.run(20 * kSec, [&world] { return world.was_at_rest; }));
  EXPECT_GE(world.now() - began, 2 * kSec);
  EXPECT_LE(world.now() - began, 3 * kSec);
  EXPECT_EQ(world.ended_as(End::accepted), 7u);
  EXPECT_EQ(world.ended_as(End::unknown), 5u);
  EXPECT_EQ(world.outcome(1).reason, Reason::engine_stopped);
  world.finish();
}

TEST(Stop, InEveryStageAndWithAStuckSocket) {
  for (const Dial way : {Dial::hang, Dial::refuse, Dial::raw, Dial::accept}) {
    World world;
    world.add_default();
    world.on_dial = [way](std::uint32_t) { return way; };
    world.push_many(3);
    world.run(kMs);
    if (way != Dial::hang) world.run(5 * kMs);
    if (way == Dial::accept) world.link(0).stalled = true;
    const std::int64_t began = world.now();
    world.finish(kSec);
    EXPECT_LE(world.now() - began, 4 * kSec);
    EXPECT_EQ(world.outcomes.size(), 3u);
  }
}

TEST(Stop, MaybeProcessedIsNeverReturnedNorFailed) {
  for (const bool by_stop : {true, false}) {
    World world;
    CredentialConfig config = World::plain_credential();
    config.give_up_ns = 3 * kSec;
    world.add_credential(config);
    world.add_template(PayloadForm::fixed, "{}");
    int good = 1;
    world.on_dial = [&good](std::uint32_t) { return good-- > 0 ? Dial::accept : Dial::refuse; };
    world.judge = [](Link&, const Seen&) { return Verdict::hold(true); };
    world.server.streams_max = 5;
    world.push_many(10);
    world.run(100 * kMs);
    EXPECT_EQ(world.link(0).requests, 5u);
    world.break_wire(world.link(0));
    world.run(500 * kMs);
    EXPECT_EQ(world.counters().waiting, 10u) << "five were written, five never";
    if (by_stop) {
      world.stop(kSec);
    }
    ASSERT_TRUE(world.run_until_ended());
    for (std::uint64_t id = 1; id <= 10; ++id) {
      const Outcome& outcome = world.outcome(id);
      EXPECT_EQ(outcome.reason, by_stop ? Reason::engine_stopped : Reason::cannot_connect);
      EXPECT_EQ(outcome.end, id <= 5 ? End::unknown : by_stop ? End::returned : End::failed);
      EXPECT_EQ(outcome.flags, 0) << "it was not sent again";
    }
    world.finish();
  }
}

TEST(Credentials, LiveSideBySide) {
  World world;
  for (int i = 0; i < 4; ++i) {
    CredentialConfig config = World::plain_credential();
    config.authority = "apns" + std::to_string(i) + ".test";
    config.connections_max = 2;
    config.give_up_ns = 2 * kSec;
    world.add_credential(config);
  }
  world.server.streams_max = 20;
  world.add_template(PayloadForm::fixed, "{}", "com.example.one");
  world.add_template(PayloadForm::fixed, R"({"aps":{}})", "com.example.two");
  world.on_dial = [](std::uint32_t credential) { return credential == 2 ? Dial::refuse : Dial::accept; };
  for (std::uint32_t i = 0; i < 400; ++i) {
    PushSpec spec;
    spec.credential = i % 4;
    spec.template_index = i / 4 % 2;
    world.push(spec);
  }
  // The unreachable one holds up nobody.
  ASSERT_TRUE(world.run(kSec, [&world] { return world.ended_as(End::accepted) == 300; }));
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::failed), 100u);
  EXPECT_TRUE(world.statuses[2].gave_up);
  EXPECT_FALSE(world.statuses[1].gave_up);
  world.finish();
}

// Whoever's connection it is, and the second as well as the first: after an outage each begins with few requests.
TEST(Recovery, EveryConnectionBeginsSlowly) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_max = 3;
  for (int i = 0; i < 2; ++i) world.add_credential(config);
  world.server.streams_max = 1000;
  world.add_template(PayloadForm::fixed, "{}");
  bool reachable = false;
  world.on_dial = [&reachable](std::uint32_t) { return reachable ? Dial::accept : Dial::refuse; };
  PushSpec other;
  other.credential = 1;
  world.push_many(15'000);
  world.push_many(10, other);
  ASSERT_FALSE(world.run(20 * kSec));
  reachable = true;
  world.net.answer_ns = 200 * kMs;
  ASSERT_TRUE(world.run(60 * kSec, [&world] { return world.usable_links().size() == 4; }));
  world.run(100 * kMs);  // what is to be written has been, and the newest have no answer yet
  std::size_t young = 0;
  for (const Link* link : world.usable_links()) {
    const std::uint32_t answered = link->requests - static_cast<std::uint32_t>(link->server->open_streams());
    EXPECT_LE(link->open_most, 32 + answered);
    if (answered == 0) ++young;
  }
  EXPECT_GE(young, 1u);
  ASSERT_TRUE(world.run_until_ended(600 * kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 15'010u);
  // It has ended: what comes now begins at once with all its streams.
  for (Link* link : world.usable_links()) world.hang_up(*link);
  ASSERT_FALSE(world.run(5 * kSec));
  const std::size_t before = world.links();
  world.push_many(1000);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_GT(world.link(before).open_most, 500u);
  world.finish();
}

TEST(Late, StaleEventsAreCountedAndIgnored) {
  World world;
  world.add_default();
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  const std::uint64_t old = world.link(0).handle;
  world.hang_up(world.link(0));
  world.run(kSec);
  ASSERT_TRUE(world.link(0).gone);
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_NE(world.link(1).handle, old) << "a slot that is used again has another generation";
  const std::uint64_t before = world.counters().stale_events;
  const std::string goaway = h2::test::goaway(0, 2);
  std::uint64_t sent = 0;
  for (const std::uint64_t handle : {old, std::uint64_t{0}, std::uint64_t{0x500000001}, ~std::uint64_t{0}}) {
    for (const EventKind kind : {EventKind::dialled, EventKind::dial_failed, EventKind::dial_deferred,
                                 EventKind::received, EventKind::peer_closed, EventKind::sent, EventKind::closed}) {
      Event late;
      late.kind = kind;
      late.handle = handle;
      late.result = 7;
      late.bytes = base::as_bytes(goaway);
      late.text = "late";
      world.event(late);
      ++sent;
    }
  }
  world.run(kMs);
  EXPECT_EQ(world.counters().stale_events, before + sent);
  EXPECT_TRUE(world.link(1).usable());
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 3u);
  EXPECT_EQ(world.links(), 2u);
  world.finish();
}

TEST(Late, ADialThatComesUpAfterItsTimeOut) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connect_timeout_ns = 10 * kMs;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.net.dial_ns = 11 * kMs;
  world.net.close_ns = 5 * kMs;  // `dialled` comes between close and closed
  world.push();
  world.run(100 * kMs);
  EXPECT_GE(world.counters().dials_failed, 1u);
  world.net.dial_ns = kMs;
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 1u);
  world.finish();
}

}  // namespace
}  // namespace tocsin::dispatch::test
