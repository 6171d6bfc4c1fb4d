// SPDX-License-Identifier: Apache-2.0
// What becomes of streams: answers, GOAWAY, refusals, resets, limits, windows, the forms of a template.
#include <algorithm>

#include <gtest/gtest.h>

#include "../h2/frames.h"
#include "harness.h"

namespace tocsin::dispatch::test {
namespace {

namespace frames = h2::test;

constexpr std::string_view kOk = "\x88";  // the static table's `:status: 200`

// The streams whose requests a raw peer has read, in order.
std::vector<std::int32_t> raw_requests(const Link& link) {
  std::vector<std::int32_t> ids;
  for (const frames::Frame& frame : frames::of_type(frames::parse(link.raw_in), frames::kHeaders)) ids.push_back(frame.id);
  return ids;
}

std::size_t raw_body_bytes(const Link& link) {
  std::size_t bytes = 0;
  for (const frames::Frame& frame : frames::of_type(frames::parse(link.raw_in), frames::kData)) bytes += frame.payload.size();
  return bytes;
}

// The first connection is the test's own, the later ones are servers.
void first_is_raw(World& world) {
  world.on_dial = [&world](std::uint32_t) { return world.links() == 1 ? Dial::raw : Dial::accept; };
}

// --- answers

TEST(Answers, RejectionsCarryStatusReasonAndTime) {
  struct Case {
    unsigned status;
    const char* body;
    Reason reason;
    const char* text;
    std::int64_t unregistered_ms;
  };
  const Case cases[] = {
      {400, R"({"reason":"BadDeviceToken"})", Reason::bad_device_token, "BadDeviceToken", 0},
      {400, R"({"reason":"DeviceTokenNotForTopic"})", Reason::device_token_not_for_topic, "DeviceTokenNotForTopic", 0},
      {403, R"({"reason":"BadCertificate"})", Reason::bad_certificate, "BadCertificate", 0},
      {410, R"({"reason":"Unregistered","timestamp":1732439000123})", Reason::unregistered, "Unregistered", 1732439000123},
      {413, R"({"reason":"PayloadTooLarge"})", Reason::payload_too_large, "PayloadTooLarge", 0},
      {429, R"({"reason":"TooManyRequests"})", Reason::too_many_requests, "TooManyRequests", 0},
      {503, R"({"reason":"Shutdown"})", Reason::shutdown, "Shutdown", 0},
      {418, R"({"reason":"BrewedTooLong"})", Reason::other, "BrewedTooLong", 0},
      {500, "", Reason::none, "", 0},
  };
  World world;
  world.add_default();
  world.judge = [&](Link&, const Seen& seen) {
    if (seen.id > std::size(cases)) return Verdict::accept();
    return Verdict::reject(cases[seen.id - 1].status, cases[seen.id - 1].body);
  };
  world.push_many(std::size(cases) + 3);
  ASSERT_TRUE(world.run_until_ended());
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    SCOPED_TRACE(cases[i].status);
    const Outcome& outcome = world.outcome(i + 1);
    EXPECT_EQ(outcome.end, End::rejected);
    EXPECT_EQ(outcome.status, cases[i].status);
    EXPECT_EQ(outcome.reason, cases[i].reason);
    EXPECT_EQ(outcome.reason_view(), cases[i].text);
    EXPECT_EQ(outcome.unregistered_unix_ms, cases[i].unregistered_ms);
    EXPECT_EQ(outcome.attempts, 1);
    EXPECT_LT(outcome.sent_unix_ns, outcome.ended_unix_ns);
    EXPECT_LE(outcome.submitted_unix_ns, outcome.sent_unix_ns);
  }
  EXPECT_EQ(world.ended_as(End::accepted), 3u);
  EXPECT_EQ(world.outcome(std::size(cases) + 1).status, 200);
  EXPECT_EQ(world.counters().ends[static_cast<std::size_t>(End::rejected)], std::size(cases));
  world.finish();
}

TEST(Answers, ThatBreakHttpRulesLeaveTheFateUnknown) {
  World world;
  world.add_default();
  first_is_raw(world);
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push(once);
  world.push();
  world.run(20 * kMs);
  world.inject(world.link(0), frames::settings({}));
  world.run(20 * kMs);
  ASSERT_EQ(raw_requests(world.link(0)), (std::vector<std::int32_t>{1, 3}));
  // No :status.
  world.inject(world.link(0), frames::headers(1, frames::literal("apns-id", "x"), true));
  world.inject(world.link(0), frames::headers(3, frames::literal("apns-id", "x"), true));
  world.run(20 * kMs);
  EXPECT_EQ(world.outcome(1).end, End::unknown);
  EXPECT_EQ(world.outcome(1).reason, Reason::bad_answer);
  EXPECT_EQ(raw_requests(world.link(0)), (std::vector<std::int32_t>{1, 3, 5})) << "at least once: sent again";
  world.inject(world.link(0), frames::headers(5, kOk, true));
  ++world.ledger[2];
  ASSERT_TRUE(world.run_until_ended(kSec));
  EXPECT_EQ(world.outcome(2).end, End::accepted);
  EXPECT_EQ(world.outcome(2).flags, kPossiblyDoubled);
  world.finish();
}

TEST(Answers, AStatusThatWasReadCountsWhateverBreaksBehindIt) {
  World world;
  world.add_default();
  first_is_raw(world);
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push(once);
  world.push();
  world.push();
  world.run(20 * kMs);
  world.inject(world.link(0), frames::settings({}));
  world.run(20 * kMs);
  ASSERT_EQ(raw_requests(world.link(0)), (std::vector<std::int32_t>{1, 3, 5}));
  world.ledger[1] = world.ledger[2] = 1;
  // 200 without END_STREAM: the first is followed by trailers that may not hold a :status, the second by the
  // connection's end. The third got no answer at all.
  world.inject(world.link(0), frames::headers(1, kOk, false) + frames::headers(3, kOk, false) + frames::headers(1, kOk, true));
  world.run(20 * kMs);
  EXPECT_EQ(world.outcome(1).end, End::accepted);
  world.inject(world.link(0), frames::frame(frames::kData, 0, 0, "x"));  // DATA on stream 0 ends the connection
  ASSERT_TRUE(world.run_until_ended(5 * kSec));
  EXPECT_EQ(world.outcome(2).end, End::accepted);
  EXPECT_EQ(world.outcome(2).status, 200);
  EXPECT_EQ(world.outcome(2).attempts, 1) << "not sent again";
  EXPECT_EQ(world.outcome(3).end, End::accepted);
  EXPECT_EQ(world.outcome(3).attempts, 2);
  EXPECT_EQ(world.outcome(3).flags, kPossiblyDoubled);
  world.finish();
}

// Passes bytes through until a marker comes: there the record "fails", as one with a bad MAC or a fatal alert would.
class FailingChannel : public tls::Channel {
 public:
  static constexpr std::byte kMarker{0xfe};
  tls::State start(base::ByteBuffer&) override { return state_ = tls::State::open; }
  tls::State receive(base::ByteView wire, base::ByteBuffer& plain, base::ByteBuffer&) override {
    const auto marker = std::find(wire.begin(), wire.end(), kMarker);
    plain.append(wire.first(static_cast<std::size_t>(marker - wire.begin())));
    if (marker != wire.end()) state_ = tls::State::failed;
    return state_;
  }
  tls::State send(base::ByteView plain, base::ByteBuffer& wire) override {
    wire.append(plain);
    return state_;
  }
  void close(base::ByteBuffer&) override {}
  tls::State state() const override { return state_; }
  const tls::Failure& failure() const override { return failure_; }
  tls::Facts facts() const override { return {}; }

 private:
  tls::State state_ = tls::State::handshaking;
  tls::Failure failure_{tls::Cause::alert, "a fatal alert"};
};

class FailingContext : public tls::ClientContext {
 public:
  Result<std::unique_ptr<tls::Channel>> connect(std::string_view) override {
    return std::unique_ptr<tls::Channel>(std::make_unique<FailingChannel>());
  }
};

TEST(Answers, DecryptedBeforeTheChannelFailedStillCount) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.context = std::make_shared<FailingContext>();
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, R"({"aps":{"alert":"x"}})");
  first_is_raw(world);
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push(once);
  world.push(once);
  world.run(20 * kMs);
  world.inject(world.link(0), frames::settings({}));
  world.run(20 * kMs);
  ASSERT_EQ(raw_requests(world.link(0)), (std::vector<std::int32_t>{1, 3}));
  world.ledger[1] = 1;
  world.inject(world.link(0), frames::headers(1, kOk, true) + "\xfe");
  ASSERT_TRUE(world.run_until_ended(5 * kSec));
  EXPECT_EQ(world.outcome(1).end, End::accepted);
  EXPECT_EQ(world.outcome(2).end, End::unknown);
  EXPECT_EQ(world.outcome(2).reason, Reason::connection_lost);
  world.finish();
}

// --- GOAWAY

TEST(Goaway, WithQueuedAndInFlightWork) {
  World world;
  world.add_default();
  world.server.streams_max = 4;
  world.judge = [](Link& link, const Seen&) { return link.number == 0 ? Verdict::hold() : Verdict::accept(); };
  world.push_many(10);
  world.run(50 * kMs);
  Link& old = world.link(0);
  ASSERT_EQ(old.requests, 4u);
  world.goaway(old, 3, 0, R"({"reason":"Shutdown"})");
  ASSERT_TRUE(world.run(5 * kSec, [&world] { return world.outcomes.size() == 8; })) << world.outcomes.size();
  EXPECT_FALSE(old.close_asked) << "streams 1 and 3 are awaited";
  EXPECT_EQ(world.counters().in_flight, 2u);
  EXPECT_EQ(old.requests, 4u) << "nothing new starts there";
  world.push_many(5);
  world.run(kSec);
  EXPECT_EQ(old.requests, 4u);
  for (const std::int32_t stream : {1, 3}) {
    const auto id = static_cast<std::uint64_t>(stream + 1) / 2;
    ++world.ledger[id];
    world.answer(old, stream, id, Verdict::accept());
  }
  ASSERT_TRUE(world.run_until_ended());
  for (std::uint64_t id = 1; id <= 15; ++id) {
    SCOPED_TRACE(id);
    EXPECT_EQ(world.outcome(id).end, End::accepted);
    EXPECT_EQ(world.outcome(id).attempts, id == 3 || id == 4 ? 2 : 1);
    EXPECT_EQ(world.outcome(id).flags, 0) << "above the last id nothing was processed";
  }
  world.run(kSec);
  EXPECT_TRUE(old.gone);
  EXPECT_EQ(world.counters().goaways, 1u);
  EXPECT_EQ(world.counters().connections_lost, 0u);
  EXPECT_EQ(world.counters().dials_failed, 0u);
  world.finish();
}

TEST(Goaway, TwiceTheSecondWithLessThanTheFirst) {
  World world;
  world.add_default();
  first_is_raw(world);
  world.push_many(4);
  world.run(20 * kMs);
  Link& old = world.link(0);
  world.inject(old, frames::settings({}));
  world.run(20 * kMs);
  ASSERT_EQ(raw_requests(old).size(), 4u);
  world.inject(old, frames::goaway(0x7fffffff, 0));
  world.run(50 * kMs);
  EXPECT_EQ(world.counters().in_flight, 4u) << "the notice takes nothing away";
  world.push();
  world.run(500 * kMs);
  EXPECT_EQ(raw_requests(old).size(), 4u);
  EXPECT_EQ(world.outcome(5).end, End::accepted) << "elsewhere";
  world.inject(old, frames::goaway(5, 0));
  world.run(500 * kMs);
  EXPECT_EQ(world.outcome(4).end, End::accepted);
  world.inject(old, frames::goaway(1, 0, "text that is no JSON"));
  world.run(500 * kMs);
  EXPECT_EQ(world.outcome(2).attempts, 2);
  EXPECT_EQ(world.outcome(3).attempts, 2);
  EXPECT_EQ(world.pending(), 1u);
  world.inject(old, frames::headers(1, kOk, true));
  ++world.ledger[1];
  ASSERT_TRUE(world.run_until_ended(kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 5u);
  for (const auto& [id, outcome] : world.outcomes) EXPECT_EQ(outcome.flags, 0);
  EXPECT_EQ(world.counters().goaways, 3u);
  world.run(kSec);
  EXPECT_TRUE(old.gone);
  world.finish();
}

TEST(Goaway, GracefulFromTheServerSession) {
  World world;
  world.add_default();
  world.server.streams_max = 10;
  world.net.answer_ns = 20 * kMs;
  world.push_many(100);
  world.run(30 * kMs);
  world.goaway(world.link(0), 0x7fffffff, 0);
  world.run(10 * kMs);
  world.goaway(world.link(0), -1, 0);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 100u);
  EXPECT_EQ(world.links(), 2u);
  EXPECT_EQ(world.counters().goaways, 2u);
  EXPECT_EQ(world.counters().possibly_doubled, 0u);
  world.finish();
}

TEST(Goaway, ThenTheConnectionBreaks) {
  World world;
  world.add_default();
  world.server.streams_max = 4;
  world.judge = [](Link& link, const Seen& seen) {
    return link.number == 0 ? Verdict::hold(seen.stream_id <= 3) : Verdict::accept();
  };
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push_many(4, once);
  world.run(50 * kMs);
  world.goaway(world.link(0), 3, 0);
  world.run(10 * kMs);
  world.break_wire(world.link(0));
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(1).end, End::unknown);
  EXPECT_EQ(world.outcome(2).end, End::unknown);
  EXPECT_EQ(world.outcome(3).end, End::accepted) << "at most once allows it: it was certainly not processed";
  EXPECT_EQ(world.outcome(4).end, End::accepted);
  EXPECT_EQ(world.outcome(4).attempts, 2);
  world.finish();
}

TEST(Goaway, WithAnErrorBeforeAnyAnswerCountsAsAFailedDial) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.backoff_min_ns = 100 * kMs;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  first_is_raw(world);
  world.push();
  world.run(20 * kMs);
  world.inject(world.link(0), frames::settings({}) + frames::goaway(0, 11, R"({"reason":"BadCertificateEnvironment"})"));
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.counters().dials_failed, 1u);
  EXPECT_EQ(world.outcome(1).end, End::accepted);
  EXPECT_NE(world.statuses[0].last_error.find("BadCertificateEnvironment"), std::string::npos);
  world.finish();
}

TEST(Goaway, FromEveryNewConnectionBacksOffAndTheTryingEnds) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.backoff_min_ns = 100 * kMs;
  config.backoff_max_ns = 5 * kSec;
  config.give_up_ns = 20 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.on_dial = [](std::uint32_t) { return Dial::raw; };
  world.push();
  std::size_t told = 0;
  for (const std::int64_t end = world.now() + 40 * kSec; world.pending() != 0 && world.now() < end;) {
    world.run(5 * kMs);
    // A server on its way out: it takes the connection, then sends it away before any request.
    for (Link* link : world.usable_links()) {
      if (link->number < told) continue;
      told = link->number + 1;
      world.inject(*link, frames::settings({}) + frames::goaway(0, 0));
    }
  }
  ASSERT_EQ(world.pending(), 0u);
  EXPECT_EQ(world.outcome(1).end, End::failed);
  EXPECT_EQ(world.outcome(1).reason, Reason::cannot_connect);
  EXPECT_LT(world.dial_times.size(), 40u);
  world.finish();
}

// --- refusals and resets

TEST(Refused, IsReplayedWithTheSameIdAndNoDoubt) {
  World world;
  world.add_default();
  world.judge = [](Link&, const Seen& seen) { return seen.attempt <= 2 ? Verdict::reset(7) : Verdict::accept(); };
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push_many(20);
  world.push_many(20, once);
  ASSERT_TRUE(world.run_until_ended());
  for (const auto& [id, outcome] : world.outcomes) {
    EXPECT_EQ(outcome.end, End::accepted);
    EXPECT_EQ(outcome.attempts, 3);
    EXPECT_EQ(outcome.flags, 0);
  }
  EXPECT_EQ(world.counters().possibly_doubled, 0u);
  EXPECT_EQ(world.counters().attempts, 120u);
  world.finish();
}

TEST(Refused, TooOftenIsFailed) {
  ShardOptions options;
  options.attempts_max = 3;
  World world(options);
  world.add_default();
  world.judge = [](Link&, const Seen& seen) { return seen.id % 2 == 0 ? Verdict::reset(7) : Verdict::accept(); };
  world.push_many(10);
  ASSERT_TRUE(world.run_until_ended(7200 * kSec));
  for (const auto& [id, outcome] : world.outcomes) {
    if (id % 2 != 0) continue;
    EXPECT_EQ(outcome.end, End::failed);
    EXPECT_EQ(outcome.reason, Reason::refused_by_peer);
    EXPECT_EQ(outcome.attempts, kWaitsMax + 2);  // at once, and then after each wait
    EXPECT_EQ(outcome.status, 0);
  }
  EXPECT_EQ(world.ended_as(End::accepted), 5u);
  world.finish();
}

// A quarter of an hour in which APNs is out of service costs no push: waits do not use up attempts_max.
TEST(Later, ALongSpellOfServiceUnavailableIsWaitedFor) {
  ShardOptions options;
  options.attempts_max = 2;
  World world(options);
  world.add_default();
  world.judge = [&world](Link&, const Seen&) {
    return world.now() < 900 * kSec ? Verdict::reject(503, R"({"reason":"ServiceUnavailable"})") : Verdict::accept();
  };
  world.push_many(50);
  ASSERT_TRUE(world.run_until_ended(7200 * kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 50u);
  for (const auto& [id, outcome] : world.outcomes) EXPECT_LE(outcome.attempts, kWaitsMax + 1);
  world.finish();
}

TEST(Later, NotWithoutEndAndNotAtAllWithOneAttempt) {
  for (const unsigned attempts_max : {1u, 5u}) {
    ShardOptions options;
    options.attempts_max = attempts_max;
    World world(options);
    world.add_default();
    world.judge = [](Link&, const Seen&) { return Verdict::reject(503, R"({"reason":"ServiceUnavailable"})"); };
    world.push_many(5);
    ASSERT_TRUE(world.run_until_ended(7200 * kSec));
    EXPECT_EQ(world.ended_as(End::rejected), 5u);
    for (const auto& [id, outcome] : world.outcomes) {
      EXPECT_EQ(outcome.attempts, attempts_max == 1 ? 1 : kWaitsMax + 1);
      EXPECT_EQ(outcome.reason, Reason::service_unavailable);
    }
    world.finish();
  }
}

TEST(Limits, AConnectionSlowedForRejectionsComesLast) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.connections_max = 2;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.server.streams_max = 20;
  bool reject = false;
  std::map<unsigned, unsigned> served;
  world.judge = [&](Link& link, const Seen&) {
    ++served[link.number];
    return reject && link.number == 0 ? Verdict::reject(400, R"({"reason":"BadTopic"})") : Verdict::accept();
  };
  world.push_many(200);
  ASSERT_TRUE(world.run_until_ended());
  ASSERT_EQ(world.links(), 2u);
  // Alone, a fallen limit is obeyed and says nothing more.
  world.set_streams_max(world.link(0), 5);
  ASSERT_FALSE(world.run(kSec));
  world.push_many(3);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.counters().marks[static_cast<std::size_t>(Mark::limit_lowered)], 0u);
  reject = true;
  world.push_many(3);
  ASSERT_TRUE(world.run_until_ended());
  reject = false;
  EXPECT_EQ(world.logged("stream_limit_lowered"), 1u);
  served.clear();
  world.push_many(20);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(served[0], 0u);
  EXPECT_EQ(served[1], 20u);
  world.set_streams_max(world.link(0), 20);
  ASSERT_FALSE(world.run(kSec));
  // The first of them in line is the first again.
  world.push_many(3);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(served[0], 3u);
  EXPECT_EQ(world.logged("stream_limit_lowered"), 1u);
  world.finish();
}

TEST(Reset, WithAnotherCodeFollowsThePolicy) {
  // INTERNAL_ERROR, CANCEL, and NO_ERROR, which looks like an orderly end and is no success.
  const std::pair<std::uint32_t, const char*> codes[] = {{2, "INTERNAL_ERROR"}, {8, "CANCEL"}, {0, "NO_ERROR"}};
  for (const auto& [code, name] : codes) {
    SCOPED_TRACE(name);
    World world;
    world.add_default();
    world.judge = [code = code](Link&, const Seen& seen) {
      return seen.attempt == 1 ? Verdict::reset(code, seen.id % 2 == 0) : Verdict::accept();
    };
    PushSpec once;
    once.policy = Policy::at_most_once;
    const auto often_ids = world.push_many(4);
    const auto once_ids = world.push_many(4, once);
    ASSERT_TRUE(world.run_until_ended());
    for (const std::uint64_t id : often_ids) {
      EXPECT_EQ(world.outcome(id).end, End::accepted);
      EXPECT_EQ(world.outcome(id).attempts, 2);
      EXPECT_EQ(world.outcome(id).flags, kPossiblyDoubled);
    }
    for (const std::uint64_t id : once_ids) {
      EXPECT_EQ(world.outcome(id).end, End::unknown);
      EXPECT_EQ(world.outcome(id).reason, Reason::stream_reset);
      EXPECT_EQ(world.outcome(id).reason_view(), name);
      EXPECT_EQ(world.outcome(id).attempts, 1);
      EXPECT_EQ(world.outcome(id).flags, 0);
    }
    EXPECT_EQ(world.links(), 1u);
    world.finish();
  }
}

TEST(Reset, TooOftenIsUnknownNotFailed) {
  ShardOptions options;
  options.attempts_max = 3;
  World world(options);
  world.add_default();
  world.judge = [](Link&, const Seen& seen) { return seen.attempt == 1 ? Verdict::reset(2, true) : Verdict::reset(7); };
  world.push_many(5);
  ASSERT_TRUE(world.run_until_ended(7200 * kSec));
  for (const auto& [id, outcome] : world.outcomes) {
    EXPECT_EQ(outcome.end, End::unknown);
    EXPECT_EQ(outcome.attempts, kWaitsMax + 2);
    EXPECT_EQ(outcome.flags, kPossiblyDoubled);
  }
  world.finish();
}

// A status whose body never comes is an answer all the same, when its stream is given up.
TEST(Timeout, AStatusWithoutTheRestOfItsAnswerCounts) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.answer_timeout_ns = 2 * kSec;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.judge = [](Link&, const Seen& seen) { return seen.id == 1 ? Verdict::hold() : Verdict::accept(); };
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push(once);
  ASSERT_FALSE(world.run(100 * kMs));
  world.inject(world.link(0), std::string("\x00\x00\x01\x01\x04\x00\x00\x00\x01\x8c", 10));  // HEADERS, :status 400, and no end
  for (int i = 0; i < 10 && world.pending() != 0; ++i) {  // others are answered, so the connection lives
    ASSERT_FALSE(world.run(300 * kMs));
    world.push();
  }
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(1).end, End::rejected);
  EXPECT_EQ(world.outcome(1).status, 400);
  EXPECT_EQ(world.links(), 1u);
  world.finish();
}

TEST(Reset, AfterARefusalIsNotCalledDoubled) {
  World world;
  world.add_default();
  world.judge = [](Link&, const Seen& seen) { return seen.attempt == 1 ? Verdict::reset(7) : Verdict::reset(2, true); };
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push(once);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(1).end, End::unknown);
  EXPECT_EQ(world.outcome(1).attempts, 2);
  EXPECT_EQ(world.outcome(1).flags, 0) << "the first attempt was certainly not processed";
  world.finish();
}

TEST(Reset, BehindTheHeadersOf200CountsAsAccepted) {
  World world;
  world.add_default();
  world.judge = [](Link&, const Seen&) { return Verdict::ok_then_reset(2); };
  PushSpec once;
  once.policy = Policy::at_most_once;
  world.push_many(5);
  world.push_many(5, once);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 10u);
  EXPECT_EQ(world.counters().attempts, 10u);
  world.finish();
}

// --- limits and windows

TEST(Limits, LoweredBelowTheOpenCountThenRaised) {
  World world;
  world.add_default();
  world.server.streams_max = 10;
  std::vector<std::pair<std::int32_t, std::uint64_t>> open;
  world.judge = [&open](Link&, const Seen& seen) {
    open.emplace_back(seen.stream_id, seen.id);
    return Verdict::hold(true);
  };
  world.push_many(30);
  world.run(50 * kMs);
  Link& link = world.link(0);
  ASSERT_EQ(open.size(), 10u);
  world.set_streams_max(link, 2);
  world.run(50 * kMs);
  const auto answer_one = [&] {
    world.answer(link, open.front().first, open.front().second, Verdict::accept());
    open.erase(open.begin());
    world.run(20 * kMs);
  };
  for (int i = 0; i < 8; ++i) {
    answer_one();
    EXPECT_EQ(link.requests, 10u) << "still two or more are open";
  }
  for (unsigned i = 1; i <= 5; ++i) {
    answer_one();
    EXPECT_EQ(link.requests, 10 + i);
    EXPECT_EQ(link.server->open_streams(), 2u);
  }
  world.set_streams_max(link, 7);
  world.run(50 * kMs);
  EXPECT_EQ(link.server->open_streams(), 7u);
  while (!open.empty()) answer_one();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 30u);
  EXPECT_EQ(world.links(), 1u);
  world.finish();
}

TEST(Limits, OursCountsToo) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.streams_max = 3;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.push_many(50);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.link(0).open_most, 3u);
  world.finish();
}

TEST(Windows, InitiallyZeroThenOpened) {
  World world;
  world.add_default();
  first_is_raw(world);
  world.push_many(3);
  world.run(20 * kMs);
  Link& link = world.link(0);
  world.inject(link, frames::settings({{4, 0}}));
  world.run(200 * kMs);
  EXPECT_TRUE(raw_requests(link).empty()) << "a request starts only if its body may";
  EXPECT_EQ(world.counters().waiting, 3u);
  world.inject(link, frames::settings({{4, 65'535}}));
  world.run(20 * kMs);
  EXPECT_EQ(raw_requests(link).size(), 3u);
  for (const std::int32_t stream : {1, 3, 5}) world.inject(link, frames::headers(stream, kOk, true));
  for (const std::uint64_t id : {1, 2, 3}) ++world.ledger[id];
  ASSERT_TRUE(world.run_until_ended(kSec));
  EXPECT_EQ(world.ended_as(End::accepted), 3u);
  world.finish();
}

TEST(Windows, ABodyLargerThanTheStreamsWindowIsContinued) {
  World world;
  world.add_credential();
  world.add_template(PayloadForm::own, "");
  first_is_raw(world);
  PushSpec spec;
  spec.payload = R"({"x":")" + std::string(2990, 'y') + R"("})";
  const std::size_t size = spec.payload.size();
  world.push(spec);
  world.run(20 * kMs);
  Link& link = world.link(0);
  world.inject(link, frames::settings({{4, 1000}}));
  world.run(20 * kMs);
  EXPECT_EQ(raw_requests(link).size(), 1u);
  EXPECT_EQ(raw_body_bytes(link), 1000u);
  world.inject(link, frames::window(1, 1500));
  world.run(20 * kMs);
  EXPECT_EQ(raw_body_bytes(link), 2500u);
  world.inject(link, frames::window(1, 1500));
  world.run(20 * kMs);
  EXPECT_EQ(raw_body_bytes(link), size);
  world.inject(link, frames::headers(1, kOk, true));
  ++world.ledger[1];
  ASSERT_TRUE(world.run_until_ended(kSec));
  world.finish();
}

TEST(Windows, FourKilobytesThroughApplesWindows) {
  for (const double cuts : {0.0, 0.5}) {
    World world;
    world.net.cuts = world.net.short_sends = cuts;
    world.net.latency_ns = 40 * kMs;
    world.add_credential();
    world.add_template(PayloadForm::own, "");
    std::vector<std::uint64_t> order;
    world.judge = [&](Link&, const Seen& seen) {
      order.push_back(seen.id);
      return Verdict::accept();
    };
    for (int i = 0; i < 200; ++i) {
      PushSpec spec;
      spec.payload = R"({"n":)" + std::to_string(i) + R"(,"x":")";
      spec.payload += std::string(4096 - spec.payload.size() - 2, static_cast<char>('a' + i % 26)) + "\"}";
      world.push(spec);
    }
    ASSERT_TRUE(world.run_until_ended());
    EXPECT_EQ(world.ended_as(End::accepted), 200u);
    EXPECT_LE(world.link(0).open_most, 17u) << "65,535 bytes are 16 bodies";
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << "what the window did not take keeps its place";
    EXPECT_EQ(world.released, 200u);
    world.finish();
  }
}

// --- templates

TEST(Templates, AllFormsWithAndWithoutCollapseId) {
  World world;
  world.add_credential();
  world.add_template(PayloadForm::fixed, R"({"aps":{"alert":"the same for all"}})", "com.example.fixed");
  world.add_template(PayloadForm::with_part, R"({"mdm":"%PART%"})", "com.apple.mgmt.External.x");
  world.add_template(PayloadForm::own, "", "com.example.own");
  std::map<std::uint64_t, std::string> collapses;
  world.judge = [&collapses](Link&, const Seen& seen) {
    collapses[seen.id] = seen.collapse;
    return Verdict::accept();
  };
  std::size_t externals = 0;
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t index = 0; index < 3; ++index) {
      for (const bool collapse : {false, true}) {
        for (const bool external : {false, true}) {
          PushSpec spec;
          spec.template_index = index;
          if (index == 1) spec.part = "magic-" + std::to_string(round);
          if (index == 2) spec.payload = R"({"n":)" + std::to_string(round) + "}";
          if (collapse) spec.collapse = "key-" + std::to_string(round);
          spec.external = external;
          world.push(spec);
          externals += external ? 1 : 0;
        }
      }
    }
  }
  // A part of full length and a collapse id of full length need a block.
  PushSpec longest;
  longest.template_index = 1;
  longest.part = std::string(kPartBytesMax, 'p');
  longest.collapse = std::string(kCollapseIdBytesMax, 'c');
  const std::uint64_t last = world.push(longest);
  ++externals;
  EXPECT_EQ(world.blocks_out(), externals);
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), world.outcomes.size());
  EXPECT_EQ(collapses.at(last), longest.collapse);
  EXPECT_EQ(collapses.at(1), "");
  EXPECT_EQ(collapses.at(3), "key-0");
  EXPECT_EQ(world.released, externals);
  EXPECT_EQ(world.blocks_out(), 0u);
  world.finish();
}

TEST(Templates, AnExternalBlockLivesThroughEveryAttempt) {
  ShardOptions options;
  options.attempts_max = 4;
  World world(options);
  world.add_credential();
  world.add_template(PayloadForm::own, "");
  PushSpec spec;
  spec.payload = R"({"x":")" + std::string(300, 'z') + R"("})";
  world.judge = [](Link&, const Seen& seen) {
    if (seen.id % 3 == 0) return Verdict::reset(7);                                            // fails in the end
    if (seen.id % 3 == 1) return seen.attempt < 3 ? Verdict::reset(2) : Verdict::accept();
    return Verdict::reject(400, R"({"reason":"BadDeviceToken"})");
  };
  world.push_many(30, spec);
  ASSERT_TRUE(world.run_until_ended(7200 * kSec));
  EXPECT_EQ(world.ended_as(End::failed), 10u);
  EXPECT_EQ(world.ended_as(End::accepted), 10u);
  EXPECT_EQ(world.ended_as(End::rejected), 10u);
  EXPECT_EQ(world.released, 30u);
  world.finish();
}

}  // namespace
}  // namespace tocsin::dispatch::test
