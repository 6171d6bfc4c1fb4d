// SPDX-License-Identifier: Apache-2.0
// What credentials share, they wait for in line and without polling: the engine's rate, provider tokens, dials.
#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "harness.h"

namespace tocsin::dispatch::test {
namespace {

TEST(Lines, TheEnginesRateGoesRound) {
  constexpr unsigned kCredentials = 5;
  ShardOptions options;
  options.paced = true;
  World world(options);
  for (unsigned i = 0; i < kCredentials; ++i) world.add_credential();
  world.add_template(PayloadForm::fixed, "{}");
  world.on_want = [](const Want&) {};  // granted below
  std::map<std::uint32_t, unsigned> served;
  world.judge = [&served](Link& link, const Seen&) {
    ++served[link.credential];
    return Verdict::accept();
  };
  for (unsigned i = 0; i < kCredentials; ++i) world.push_many(40, {.credential = i});
  world.run(100 * kMs);
  ASSERT_EQ(world.links(), kCredentials);
  const std::uint64_t began = world.steps;
  for (unsigned round = 0; round < 20; ++round) {
    // The first one gets more to do all the time; it takes nobody's turn.
    if (round % 3 == 0) world.push_many(5);
    Event granted;
    granted.kind = EventKind::granted;
    granted.pace = Pace::engine;
    granted.result = 3;
    world.event(granted);
    world.run(20 * kMs);
  }
  ASSERT_EQ(served.size(), kCredentials);
  unsigned least = 60, most = 0;
  for (const auto& [credential, count] : served) {
    least = std::min(least, count);
    most = std::max(most, count);
  }
  EXPECT_GE(least, 9u);
  EXPECT_LE(most, 15u);
  EXPECT_LE(world.steps - began, 20u * 10);
  world.stop(kSec);
  world.run(2 * kSec);
}

TEST(Lines, AnOwnLeaseIsKeptWhileTheEnginesRateIsWaitedFor) {
  // One with a rate of its own beside one with a long backlog, and little for both; it is looked at more often than its turn
  // comes, and longer than a lease lasts.
  ShardOptions options;
  options.paced = true;
  World world(options);
  CredentialConfig config = World::plain_credential();
  world.add_credential(config);
  config.paced = true;
  const std::uint32_t paced = world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.on_want = [&world](const Want& want) {
    Event granted;
    granted.kind = EventKind::granted;
    granted.pace = want.pace;
    granted.index = want.index;
    granted.result = want.pace == Pace::engine ? 1 : static_cast<std::int64_t>(want.count);
    world.at(want.pace == Pace::engine ? 200 * kMs : 1, [&world, granted] { world.event(granted); });
  };
  std::map<std::uint32_t, unsigned> served;
  world.judge = [&served](Link& link, const Seen&) {
    ++served[link.credential];
    return Verdict::accept();
  };
  world.push_many(200);
  for (unsigned round = 0; round < 100; ++round) {
    world.push({.credential = paced});
    world.run(60 * kMs);
  }
  EXPECT_GE(served[paced], 8u) << "of some 30 in all";
  EXPECT_GE(served[0], 8u);
  world.stop(kSec);
  world.run(2 * kSec);
}

TEST(Lines, OneProviderTokenIsAskedForInAStep) {
  constexpr std::uint32_t kCredentials = 60;
  World world;
  CredentialConfig config = World::plain_credential();
  config.provider_tokens = true;
  for (std::uint32_t i = 0; i < kCredentials; ++i) world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  const auto push_all = [&] {
    for (std::uint32_t i = 0; i < kCredentials; ++i) world.push({.credential = i});
  };
  push_all();
  ASSERT_TRUE(world.run_until_ended(kSec)) << "the line moves on by itself";
  EXPECT_EQ(world.tokens_asked.size(), kCredentials);
  // Two hours with a push each minute: the clock's grid turns for all at one moment.
  const std::int64_t began = world.now();
  while (world.now() - began < 7200 * kSec) {
    push_all();
    ASSERT_TRUE(world.run_until_ended(kSec));
    world.run(60 * kSec);
  }
  std::map<std::uint32_t, unsigned> asked;
  std::map<std::uint64_t, unsigned> in_step;
  for (const auto& [step, credential] : world.tokens_asked) {
    ++asked[credential];
    EXPECT_EQ(++in_step[step], 1u) << "in step " << step;
  }
  ASSERT_EQ(asked.size(), kCredentials);
  for (const auto& [credential, times] : asked) {
    EXPECT_GE(times, 3u);
    EXPECT_LE(times, 5u) << "no more than the grid has turns";
  }
  EXPECT_EQ(world.ended_as(End::accepted), world.outcomes.size());
  world.finish();
}

TEST(Lines, ACredentialThatMayNotGoIsNotLookedAt) {
  // Each step could only find that it is paused; a resumed one goes at once.
  World world;
  for (unsigned i = 0; i < 50; ++i) world.add_credential();
  world.add_template(PayloadForm::fixed, "{}");
  for (unsigned i = 1; i < 50; ++i) {
    Event paused;
    paused.kind = EventKind::credential_paused;
    paused.index = i;
    world.event(paused);
    world.push({.credential = i});
  }
  world.run(kSec);
  const std::uint64_t before = world.steps;
  world.run(3600 * kSec);
  EXPECT_EQ(world.steps, before) << "nothing is due while all that waits is paused";
  for (unsigned i = 1; i < 50; ++i) {
    Event resumed;
    resumed.kind = EventKind::credential_resumed;
    resumed.index = i;
    world.event(resumed);
  }
  ASSERT_TRUE(world.run_until_ended(kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 49u);
  world.finish();
}

TEST(Lines, WhoStandsInOneThatNobodyWatchedAnyMoreIsServed) {
  World world;
  world.add_default();
  bool up = false;
  world.on_dial = [&up](std::uint32_t) { return up ? Dial::accept : Dial::refuse; };
  std::vector<std::uint64_t> ids = {world.push()};
  ASSERT_TRUE(world.run(300 * kSec, [&] {
    return world.counters().marks[static_cast<std::size_t>(Mark::breaker_opened)] != 0 && world.shard().connections_in_use() == 0;
  }));
  Event cancel;
  cancel.kind = EventKind::cancel;
  cancel.ids = ids;
  world.event(cancel);
  ASSERT_TRUE(world.run(kSec, [&] { return world.pending() == 0; }));
  EXPECT_EQ(world.deadline(), base::kNever) << "at rest";
  up = true;
  world.push();
  ASSERT_TRUE(world.run_until_ended(31 * kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 1u);
  world.finish();
}

TEST(Lines, WaitingForTheBudgetIsNotPolling) {
  constexpr unsigned kCredentials = 100;
  World world;
  for (unsigned i = 0; i < kCredentials; ++i) world.add_credential();
  world.add_template(PayloadForm::fixed, "{}");
  world.dial_word_ns = -1;
  bool full = true;
  world.on_dial = [&full](std::uint32_t) { return full ? Dial::defer : Dial::accept; };
  for (unsigned i = 0; i < kCredentials; ++i) world.push({.credential = i});
  world.run(60 * kSec);
  EXPECT_EQ(world.counters().dials_failed, 0u);
  EXPECT_LE(world.links(), kCredentials + 60u) << "after the first tries one a second, for a word that was lost";
  EXPECT_LE(world.steps, 60u * 4 + 20);
  // The word comes: dials follow one another at once, first come, first served.
  full = false;
  const std::size_t before = world.links();
  Event freed;
  freed.kind = EventKind::dial_freed;
  freed.result = kCredentials;
  world.event(freed);
  ASSERT_TRUE(world.run_until_ended(kSec));
  ASSERT_EQ(world.links(), before + kCredentials);
  std::set<std::uint32_t> served;
  for (std::size_t i = before; i < world.links(); ++i) served.insert(world.link(i).credential);
  EXPECT_EQ(served.size(), kCredentials);
  world.finish();
}

TEST(Lines, ACredentialWithoutAPlaceKeepsItsTurnWhateverItsRateSays) {
  // The process gives places by how long each has waited; who loses that with every try is always the last.
  World world;
  CredentialConfig config = World::plain_credential();
  config.paced = true;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.on_want = [&world](const Want& want) {
    Event granted;
    granted.kind = EventKind::granted;
    granted.pace = want.pace;
    granted.index = want.index;
    granted.result = want.count;
    world.event(granted);
  };
  bool full = true;
  world.on_dial = [&full](std::uint32_t) { return full ? Dial::no_place : Dial::accept; };
  const std::int64_t began = world.now();
  world.push();
  world.run(500 * kMs);
  ASSERT_GE(world.links(), 10u);
  for (std::size_t i = 0; i < world.links(); ++i) EXPECT_EQ(world.link(i).waiting_since_ns, began) << "try " << i;
  full = false;
  ASSERT_TRUE(world.run_until_ended(kSec));
  world.finish();
}

TEST(Overslept, SaysWhoCouldActBeforeTheNextStep) {
  World world;
  world.add_default();
  world.on_dial = [](std::uint32_t) { return Dial::refuse; };
  world.push();
  ASSERT_TRUE(world.run(kSec, [&world] { return world.counters().dials_failed == 1 && world.shard().connections_in_use() == 0; }));
  ASSERT_GT(world.deadline(), world.now());
  EXPECT_EQ(world.shard().overslept(world.deadline()), "");
  EXPECT_EQ(world.shard().overslept(base::kNever).rfind("test could dial after its back-off in ", 0), 0u)
      << world.shard().overslept(base::kNever);
  world.on_dial = nullptr;
  ASSERT_TRUE(world.run_until_ended());
  world.finish();
}

TEST(Wakes, AStreamThatWasGivenUpLeavesItsPlaceAtOnce) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.answer_timeout_ns = 2 * kSec;
  config.connections_max = 1;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.judge = [](Link&, const Seen& seen) { return seen.id == 1 ? Verdict::hold(true) : Verdict::accept(); };
  world.server.streams_max = 2;
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push(once);
  world.run(kSec);
  world.push();  // is answered: the peer lives
  world.run(900 * kMs);
  // Just before the first is given up: one goes beside it, the other waits for a stream.
  world.net.answer_ns = kSec;
  world.push_many(2);
  world.run(10 * kMs);
  ASSERT_TRUE(world.run_until_ended(6 * kSec));
  EXPECT_EQ(world.outcome(1).end, End::unknown);
  EXPECT_LE(world.outcome(4).sent_unix_ns - world.outcome(1).ended_unix_ns, kMs);
  EXPECT_EQ(world.links(), 1u);
  world.finish();
}

TEST(Wakes, AProviderTokenThatCouldNotBeMadeIsNotWaitedFor) {
  // A new connection waits for the token that is being made; if there will be none, the one before it does.
  World world;
  CredentialConfig config = World::plain_credential();
  config.provider_tokens = true;
  config.connections_max = 1;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.push();
  ASSERT_TRUE(world.run_until_ended(kSec));
  while (world.tokens_asked.size() == 1 && world.now() < 3600 * kSec) {  // to the next turn of the clock's grid
    world.break_wire(*world.newest());
    world.run(60 * kSec);
    world.tokens_fail = true;
    world.push();
    ASSERT_TRUE(world.run_until_ended(500 * kMs)) << "the older token does";
  }
  EXPECT_EQ(world.tokens_asked.size(), 2u);
  EXPECT_EQ(world.logged("provider_token_failed"), 1u);
  world.finish();
}

TEST(Wakes, WhatARollReplacesMayGoByItself) {
  World world;
  world.add_default();
  bool up = true;
  world.on_dial = [&up](std::uint32_t) { return up ? Dial::accept : Dial::refuse; };
  world.push();
  ASSERT_TRUE(world.run_until_ended(kSec));
  up = false;
  Event rolled;
  rolled.kind = EventKind::credential_rolled;
  world.event(rolled);
  world.break_wire(world.link(0));
  world.run(60 * kSec);
  EXPECT_LE(world.links(), 3u) << "nothing is left to be replaced, and nothing waits";
  EXPECT_EQ(world.shard().connections_in_use(), 0u);
  up = true;
  world.push();
  ASSERT_TRUE(world.run_until_ended(31 * kSec));
  world.finish();
}

// Two connections that are up, with nothing in flight and no PINGs to bring anybody near them.
void two_idle(World& world) {
  CredentialConfig config = World::plain_credential();
  config.connections_max = 2;
  config.ping_after_ns = config.ping_idle_ns = 0;
  config.idle_close_ns = 2 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.server.streams_max = 1;
  world.net.answer_ns = 200 * kMs;
  world.push_many(4);
  ASSERT_TRUE(world.run_until_ended(kSec));
  ASSERT_EQ(world.shard().connections_in_use(), 2u);
}

TEST(Wakes, OneThatIsIdleBesideAnotherGoesOnTime) {
  // The deadline that its last write had set, for the answer, comes much later.
  World world;
  two_idle(world);
  ASSERT_TRUE(world.run(1900 * kMs + 300 * kMs, [&world] { return world.shard().connections_in_use() == 1; }));
  world.run(3600 * kSec);
  EXPECT_EQ(world.shard().connections_in_use(), 1u) << "the last one stays";
  world.push();
  ASSERT_TRUE(world.run_until_ended(kSec));
  EXPECT_EQ(world.links(), 2u);
  world.finish();
}

TEST(Wakes, OneThatWasKeptThoughItsTimeWasOverGoesLater) {
  World world;
  two_idle(world);
  Event paused;
  paused.kind = EventKind::credential_paused;
  world.event(paused);
  std::vector<std::uint64_t> ids = {world.push()};
  world.run(10 * kSec);
  EXPECT_EQ(world.shard().connections_in_use(), 2u) << "a push waits that may want them";
  const std::uint64_t before = world.steps;
  world.run(600 * kSec);
  EXPECT_LE(world.steps, before + 2 * 11u) << "they are not polled";
  Event cancel;
  cancel.kind = EventKind::cancel;
  cancel.ids = ids;
  world.event(cancel);
  ASSERT_TRUE(world.run(61 * kSec, [&world] { return world.shard().connections_in_use() == 1; }));
  world.finish();
}

}  // namespace
}  // namespace tocsin::dispatch::test
