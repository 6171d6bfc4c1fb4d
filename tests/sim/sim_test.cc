// SPDX-License-Identifier: Apache-2.0
// Scenarios by hand, each with what it is about asserted.
#include <gtest/gtest.h>

#include "world.h"

namespace tocsin::sim {
namespace {

using dispatch::EventKind;
using dispatch::Mark;

// --- Scenarios

Draw quiet() {
  Draw d;
  d.seed = 7;
  d.shards = 1;
  d.pushes_max = 4096;
  d.connections_max = 8;
  d.budget_connections = 8;
  d.budget_dials = 4;
  d.credential_connections = 2;
  d.streams_max = 50;
  d.peer_streams = 50;
  d.latency_ns = 20 * kMs;
  return d;
}

Spec spec_of(Policy policy = Policy::at_least_once) {
  Spec spec;
  spec.policy = policy;
  return spec;
}

class Scene {
 public:
  explicit Scene(const Draw& draw) : world(draw, true) { world.start(); }
  ~Scene() {
    if (!finished_) finish();
  }
  void push_many(unsigned count, const Spec& spec = spec_of()) {
    for (unsigned i = 0; i < count; ++i) ids.push_back(world.push(spec));
  }
  bool all_end(std::int64_t limit = 600 * kSec) {
    return world.run_until([this] { return world.pending() == 0; }, limit);
  }
  void finish() {
    finished_ = true;
    world.finish();
    for (const std::string& said : world.verdicts().said()) ADD_FAILURE() << said;
    if (::testing::Test::HasFailure()) {
      const auto& lines = world.trace();
      for (std::size_t i = lines.size() > 30 ? lines.size() - 30 : 0; i < lines.size(); ++i) std::puts(lines[i].c_str());
    }
  }

  World world;
  std::vector<std::uint64_t> ids;

 private:
  bool finished_ = false;
};

TEST(Scenario, GoawayWithQueuedWorkCostsAtMostADialAndARoundTrip) {
  Draw draw = quiet();
  draw.streams_max = draw.peer_streams = 10;
  draw.script = "when request 200 -> goaway last -4\n";
  Scene scene(draw);
  scene.push_many(400);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 400u);
  EXPECT_EQ(scene.world.processed(), 400u) << "nothing is doubled by a GOAWAY";
  EXPECT_GE(scene.world.marked(Mark::goaway_replay), 1u);
  // Each way takes up to 1.5 latencies, the gateway 1 ms and up to a latency; steps and sends together some 2 ms more.
  const std::int64_t round_trip = 4 * draw.latency_ns + 3 * kMs;
  // The name takes up to 20.1 ms, TCP one way and up to 3 ms, the handshake with SETTINGS a way there and back.
  const std::int64_t dial = 21 * kMs + draw.latency_ns * 3 / 2 + 3 * kMs + 3 * draw.latency_ns + 2 * kMs;
  std::int64_t slowest = 0;
  for (const std::uint64_t id : scene.ids) slowest = std::max(slowest, scene.world.ended_at(id) - scene.world.first_written(id));
  EXPECT_LT(slowest, round_trip + round_trip + dial) << "its own round trip, one more, and a dial";
}

TEST(Scenario, ALimitBelowWhatIsOpenIsWaitedOut) {
  Draw draw = quiet();
  draw.credential_connections = 1;
  draw.peer_streams = draw.streams_max = 20;
  draw.script = "when request 30 -> streams 1\n";
  Scene scene(draw);
  scene.push_many(200);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 200u);
  EXPECT_GE(scene.world.marked(Mark::limit_below_open), 1u);
}

TEST(Scenario, InitialWindowOfNothing) {
  Draw draw = quiet();
  draw.script = "when between 0s and 5s -> window 0\n";
  Scene scene(draw);
  scene.push_many(20);
  scene.world.run_for(4 * kSec);
  EXPECT_EQ(scene.world.of(End::accepted), 0u);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 20u);
  EXPECT_GE(scene.world.marked(Mark::window_blocked), 1u);
}

TEST(Scenario, ConnectionLostBetweenHeadersAndData) {
  for (const Policy policy : {Policy::at_least_once, Policy::at_most_once}) {
    Draw draw = quiet();
    draw.peer_window = 100;  // the body is larger: HEADERS and some DATA are out, the rest waits
    draw.script = "when between 0s and 2s -> no-window-updates\nwhen between 2s and 3s -> tcp-reset\n";
    Scene scene(draw);
    Spec spec = spec_of(policy);
    spec.template_index = 1;
    spec.content = R"({"aps":{"alert":")" + std::string(1000, 'x') + R"("}})";
    scene.push_many(1, spec);
    ASSERT_TRUE(scene.all_end());
    const Outcome& outcome = scene.world.outcome(scene.ids[0]);
    if (policy == Policy::at_least_once) {
      EXPECT_EQ(outcome.end, End::accepted);
      EXPECT_EQ(outcome.attempts, 2);
      EXPECT_EQ(outcome.flags & kPossiblyDoubled, kPossiblyDoubled);
    } else {
      EXPECT_EQ(outcome.end, End::unknown);
      EXPECT_EQ(scene.world.processed(), 0u);
    }
  }
}

TEST(Scenario, ResetAfterHeadersKeepsTheStatus) {
  Draw draw = quiet();
  draw.script = "when every 2 -> reset INTERNAL_ERROR after headers\n";
  Scene scene(draw);
  scene.push_many(40);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 40u);
  EXPECT_EQ(scene.world.processed(), 40u);
  EXPECT_GE(scene.world.marked(Mark::status_before_reset), 10u);
}

TEST(Scenario, ThrottledTokensWaitAndOthersGoOn) {
  Draw draw = quiet();
  draw.topics = 2;
  draw.script = "when topic com.example.c0.t0 and times 30 -> answer 429 TooManyRequests\n";
  Scene scene(draw);
  Spec slow = spec_of();
  slow.token = 5;
  scene.push_many(10, slow);
  Spec other = spec_of();
  other.template_index = 3;  // the second topic
  scene.push_many(100, other);
  scene.world.run_for(200 * kMs);
  scene.push_many(3, slow);  // its token is held by now
  scene.world.run_for(300 * kMs);
  EXPECT_EQ(scene.world.of(End::accepted), 100u) << "the storm on one topic holds nobody else up";
  EXPECT_GE(scene.world.marked(Mark::retry_token), 1u);
  ASSERT_TRUE(scene.all_end(3600 * kSec));
  EXPECT_GE(scene.world.marked(Mark::token_held), 1u);
}

TEST(Scenario, ARetryThatWouldComeTooLateIsNotWaitedFor) {
  Draw draw = quiet();
  draw.script = "when always -> answer 429 TooManyRequests\n";
  Scene scene(draw);
  Spec spec = spec_of();
  spec.token = 5;
  spec.deadline_ns = 450 * kMs;  // a throttled token waits at least half a second
  const std::uint64_t id = scene.world.push(spec);
  ASSERT_TRUE(scene.world.run_until([&] { return scene.world.ended(id); }, 400 * kMs));
  EXPECT_EQ(scene.world.outcome(id).end, End::rejected);
  EXPECT_EQ(scene.world.outcome(id).status, 429);
  EXPECT_EQ(scene.world.marked(Mark::retry_past_deadline), 1u);
}

TEST(Scenario, ARetryToATokenThatDiedMeanwhileIsNotSent) {
  Draw draw = quiet();
  draw.script = "when request 1 -> answer 500 InternalServerError\nwhen request 2 -> answer 410 Unregistered timestamp -5m\n";
  Scene scene(draw);
  Spec spec = spec_of();
  spec.token = 5;
  scene.push_many(2, spec);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::rejected), 1u);
  EXPECT_EQ(scene.world.of(End::failed), 1u);
  EXPECT_EQ(scene.world.marked(Mark::dead_token_met), 1u);
  EXPECT_EQ(scene.world.counters().attempts, 2u);
  spec.registered_ms = 1;  // before it died
  const std::uint64_t before = scene.world.push(spec);
  spec.registered_ms = scene.world.outcome(before - 1).unregistered_unix_ms + 1;
  const std::uint64_t anew = scene.world.push(spec);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.outcome(before).reason, Reason::token_known_dead);
  EXPECT_EQ(scene.world.outcome(anew).end, End::accepted);
}

TEST(Scenario, ProviderTokenExpiresInMidBatch) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  draw.script = "when request 20 to 24 -> answer 403 ExpiredProviderToken\n";
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  scene.push_many(100, spec);
  ASSERT_TRUE(scene.all_end());
  // Five in a row at most: either they were enough to suspect the clock, or every push came through.
  EXPECT_GE(scene.world.marked(Mark::retry_new_token), 1u);
  const bool suspected = scene.world.marked(Mark::clock_suspected) != 0;
  EXPECT_TRUE(suspected || scene.world.of(End::accepted) == 100);
}

TEST(Scenario, AProviderTokenIsChangedInTime) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  for (int minute = 0; minute < 200; ++minute) {
    scene.push_many(2, spec);
    scene.world.run_for(60 * kSec);
  }
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 400u);
  EXPECT_GE(scene.world.marked(Mark::token_turned), 5u);
  EXPECT_LE(scene.world.dials(), 4u) << "a new token needs no new connection";
}

TEST(Scenario, EverythingRefusedForAMinute) {
  Draw draw = quiet();
  Scene scene(draw);
  scene.push_many(50);
  ASSERT_TRUE(scene.all_end());
  scene.world.mass_death(true);
  scene.world.outage(60 * kSec);
  Spec hasty = spec_of();
  hasty.deadline_ns = 20 * kSec;
  scene.push_many(30, hasty);
  scene.push_many(200);
  scene.world.run_for(22 * kSec);
  EXPECT_EQ(scene.world.of(End::expired), 30u) << "their time was over, outage or not";
  const std::uint64_t dials = scene.world.dials();
  EXPECT_LT(dials, 60u);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 250u);
  EXPECT_GE(scene.world.marked(Mark::breaker_opened), 1u);
  EXPECT_GE(scene.world.marked(Mark::outage_ended), 1u);
}

TEST(Scenario, CertificateReplacedUnderLoad) {
  Draw draw = quiet();
  Scene scene(draw);
  for (int round = 0; round < 10; ++round) {
    scene.push_many(50);
    scene.world.control(EventKind::credential_rolled, 0);
    scene.world.run_for(300 * kMs);
  }
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 500u);
  EXPECT_EQ(scene.world.processed(), 500u) << "no push is sent twice because of it";
  EXPECT_GE(scene.world.marked(Mark::credential_rolled), 10u);
}

TEST(Scenario, TheWallClockStepsBackAnHour) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  spec.deadline_ns = 30 * kSec;
  scene.push_many(20, spec);
  scene.world.run_for(kSec);
  scene.world.step_wall_clock(-3600 * kSec);
  scene.push_many(20, spec);
  scene.world.run_for(5 * kSec);
  EXPECT_EQ(scene.world.of(End::accepted), 40u);
  scene.world.step_wall_clock(7200 * kSec);
  scene.push_many(20, spec);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 60u) << "neither deadlines nor tokens hang on the wall clock alone";
}

TEST(Scenario, AClockThatWasAnHourAheadIsSetAndItsCredentialResumed) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  draw.menu[static_cast<std::size_t>(Kind::clock_steps)] = 1;  // says that what the gateway refuses may be the clock's fault
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  scene.world.step_wall_clock(3600 * kSec);
  scene.push_many(20, spec);
  ASSERT_TRUE(scene.all_end(30 * kSec));
  EXPECT_EQ(scene.world.of(End::accepted), 0u) << "APNs takes no token of the future";
  EXPECT_EQ(scene.world.marked(Mark::credential_stopped), 1u);
  scene.world.step_wall_clock(-3600 * kSec);
  scene.world.control(EventKind::credential_resumed, 1);
  scene.push_many(20, spec);
  ASSERT_TRUE(scene.all_end(30 * kSec));
  EXPECT_EQ(scene.world.of(End::accepted), 20u) << "what was made by the wrong clock is not used again";
}

TEST(Scenario, ATokenFromBeforeTheClockWasSetBackIsReplaced) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  draw.menu[static_cast<std::size_t>(Kind::clock_steps)] = 1;
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  scene.world.step_wall_clock(3600 * kSec);
  scene.push_many(20, spec);
  ASSERT_TRUE(scene.world.run_until([&] { return scene.world.counters().in_flight != 0; }, 10 * kSec));
  scene.world.step_wall_clock(-3600 * kSec);
  ASSERT_TRUE(scene.all_end(10 * kSec));
  EXPECT_EQ(scene.world.of(End::accepted), 20u) << "nobody need resume what a right clock sets right";
  EXPECT_EQ(scene.world.marked(Mark::credential_stopped), 0u);
  EXPECT_GE(scene.world.marked(Mark::retry_new_token), 1u);
}

TEST(Scenario, AClockThatIsSetBackAgainAndAgainDoesNotHoldPushesUp) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  draw.menu[static_cast<std::size_t>(Kind::clock_steps)] = 1;
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  // The grid never brings another token, so that the first one grows old; it was 800 s old when it was made.
  for (int minute = 0; minute < 40; minute += 5) {
    scene.push_many(2, spec);
    ASSERT_TRUE(scene.all_end(kSec)) << "minute " << minute;
    scene.world.run_for(300 * kSec);
    scene.world.step_wall_clock(-300 * kSec);
  }
  scene.world.run_for(240 * kSec);
  scene.world.step_wall_clock(-240 * kSec);
  // 57 minutes old, and not so by the clock: APNs still takes it.
  scene.push_many(2, spec);
  ASSERT_TRUE(scene.all_end(10 * kSec));
  EXPECT_EQ(scene.world.of(End::accepted), 18u);
  // 63 minutes old: APNs says so, and the clock is suspected, which is told.
  scene.world.run_for(360 * kSec);
  scene.push_many(10, spec);
  ASSERT_TRUE(scene.all_end(10 * kSec));
  EXPECT_EQ(scene.world.marked(Mark::clock_suspected), 1u);
}

TEST(Scenario, ADeadPeerIsFoundWithinTenSeconds) {
  Draw draw = quiet();
  Scene scene(draw);
  scene.push_many(10);
  ASSERT_TRUE(scene.all_end());
  scene.world.mass_death(false);
  const std::int64_t died = scene.world.now();
  scene.push_many(10);
  ASSERT_TRUE(scene.all_end());
  EXPECT_LT(scene.world.now() - died, 11 * kSec);
  EXPECT_EQ(scene.world.of(End::accepted), 20u);
  EXPECT_GE(scene.world.marked(Mark::peer_silent), 1u);
}

TEST(Scenario, AfterLongSilenceAConnectionIsProbedFirst) {
  Draw draw = quiet();
  Scene scene(draw);
  scene.push_many(1);
  ASSERT_TRUE(scene.all_end());
  scene.world.run_for(15 * kSec);
  scene.world.mass_death(false);
  scene.push_many(10);
  ASSERT_TRUE(scene.all_end());
  EXPECT_GE(scene.world.marked(Mark::probed), 1u);
  for (const std::uint64_t id : scene.ids) {
    EXPECT_EQ(scene.world.outcome(id).attempts, 1) << "nothing was sent into the dead connection";
  }
}

TEST(Scenario, ExpiredWhilePausedIsToldInTime) {
  Draw draw = quiet();
  Scene scene(draw);
  scene.world.control(EventKind::credential_paused, 0);
  Spec spec = spec_of();
  spec.deadline_ns = 5 * kSec;
  scene.push_many(20, spec);
  scene.push_many(5);
  scene.world.run_for(5 * kSec + 900 * kMs);
  EXPECT_EQ(scene.world.of(End::expired), 20u);
  scene.world.control(EventKind::credential_resumed, 0);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 5u);
  EXPECT_EQ(scene.world.marked(Mark::expired_paused), 20u);
}

TEST(Scenario, UrgentGoesFirstAndBulkIsNotStarved) {
  Draw draw = quiet();
  draw.credential_connections = 1;
  draw.streams_max = draw.peer_streams = 1;
  Scene scene(draw);
  std::vector<std::uint64_t> classes[3];
  for (const PriorityClass each : {PriorityClass::bulk, PriorityClass::normal, PriorityClass::urgent}) {
    Spec spec = spec_of();
    spec.priority_class = each;
    for (int i = 0; i < 210; ++i) classes[static_cast<int>(each)].push_back(scene.world.push(spec));
  }
  ASSERT_TRUE(scene.world.run_until([&] { return scene.world.of(End::accepted) >= 210; }, 600 * kSec));
  const auto done = [&](PriorityClass each) {
    std::size_t count = 0;
    for (const std::uint64_t id : classes[static_cast<int>(each)]) count += scene.world.ended(id) ? 1 : 0;
    return count;
  };
  EXPECT_NEAR(static_cast<double>(done(PriorityClass::urgent)), 160, 12);
  EXPECT_NEAR(static_cast<double>(done(PriorityClass::normal)), 40, 12);
  EXPECT_NEAR(static_cast<double>(done(PriorityClass::bulk)), 10, 8);
  ASSERT_TRUE(scene.all_end());
}

TEST(Scenario, WrongEnvironmentPausesInsteadOfBurningTheFleet) {
  Draw draw = quiet();
  draw.script = "when after 0s -> answer 400 BadDeviceToken\n";
  Scene scene(draw);
  scene.push_many(1000);
  scene.world.run_for(30 * kSec);
  EXPECT_EQ(scene.world.marked(Mark::credential_alarmed), 1u);
  EXPECT_LT(scene.world.of(End::rejected), 150u);
  EXPECT_GT(scene.world.pending(), 800u) << "they wait for a decision";
}

TEST(Scenario, ARefusedCredentialStopsAndANewOneRevivesIt) {
  Draw draw = quiet();
  draw.script = "when request 5 -> answer 403 BadCertificate\n";
  Scene scene(draw);
  scene.push_many(5);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.marked(Mark::credential_stopped), 1u);
  const std::uint64_t dials = scene.world.dials();
  scene.push_many(10);
  scene.world.run_for(60 * kSec);
  EXPECT_EQ(scene.world.of(End::failed), 10u);
  EXPECT_EQ(scene.world.dials(), dials) << "it does not dial on";
  scene.world.control(EventKind::credential_resumed, 0);
  scene.push_many(10);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 14u);
}

TEST(Scenario, WhatOneShardFindsRefusedNoOtherTries) {
  Draw draw = quiet();
  draw.shards = 3;
  draw.script = "when request 5 -> answer 403 BadCertificate\n";
  Scene scene(draw);
  scene.push_many(5);
  ASSERT_TRUE(scene.all_end());
  scene.world.run_for(kSec);
  EXPECT_EQ(scene.world.marked(Mark::credential_stopped), 3u);
  const std::uint64_t dials = scene.world.dials();
  scene.push_many(60);  // for every shard
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::failed), 60u);
  EXPECT_EQ(scene.world.dials(), dials);
  scene.world.control(EventKind::credential_resumed, 0);
  scene.push_many(60);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 64u);
}

TEST(Scenario, NoAlarmIsRaisedForARemovedCredential) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.credential_connections = 1;
  draw.script = "when always -> answer 400 BadDeviceToken\n";
  Scene scene(draw);
  scene.push_many(20);
  ASSERT_TRUE(scene.world.run_until([&] { return scene.world.counters().in_flight == 20; }, 10 * kSec));
  scene.world.control(EventKind::credential_removed, 0);
  ASSERT_TRUE(scene.all_end(10 * kSec));
  EXPECT_EQ(scene.world.of(End::rejected), 20u) << "what is in flight is awaited";
  EXPECT_EQ(scene.world.marked(Mark::credential_alarmed), 0u);
}

TEST(Scenario, ASpellOfRefusedStreamsIsWaitedOut) {
  Draw draw = quiet();
  draw.script = "when between 0s and 3s -> reset REFUSED_STREAM\n";
  Scene scene(draw);
  scene.push_many(500);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 500u) << "APNs never took them, so none of them has failed";
  EXPECT_EQ(scene.world.processed(), 500u);
  EXPECT_GE(scene.world.marked(Mark::refused_again), 500u);
}

TEST(Scenario, AReadyPeerThatGrantsNothingIsGivenUp) {
  for (const char* what : {"streams 0", "window 0"}) {
    Draw draw = quiet();
    draw.give_up = 1;
    draw.script = std::string("when on connect -> ") + what + "\n";
    Scene scene(draw);
    scene.push_many(10);
    ASSERT_TRUE(scene.all_end(300 * kSec)) << what;
    EXPECT_EQ(scene.world.of(End::failed), 10u) << what;
    EXPECT_GE(scene.world.marked(Mark::takes_nothing), 2u) << what;
    EXPECT_EQ(scene.world.marked(Mark::gave_up), 1u) << what;
  }
}

TEST(Scenario, AFailureOfLongAgoDoesNotGiveAPushUp) {
  Draw draw = quiet();
  draw.give_up = 1;
  Scene scene(draw);
  scene.world.outage(kSec);
  Spec hasty = spec_of();
  hasty.deadline_ns = 500 * kMs;
  scene.push_many(3, hasty);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::expired), 3u);
  scene.world.run_for(60 * kSec);
  scene.push_many(3);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 3u) << "nothing was tried meanwhile";
}

TEST(Scenario, SlowRatesDoNotVoidEachOthersLeases) {
  Draw draw = quiet();
  draw.groups = 1;
  Scene scene(draw);
  scene.world.set_rate(dispatch::Pace::engine, 0, 1);
  scene.world.set_rate(dispatch::Pace::credential, 0, 0.9);
  scene.world.set_rate(dispatch::Pace::group, 0, 0.95);
  Spec spec = spec_of();
  spec.group = 1;
  scene.push_many(400, spec);
  scene.world.run_for(300 * kSec);
  EXPECT_GE(scene.world.of(End::accepted), 300 * 9 / 10 - 8);
  EXPECT_LE(scene.world.of(End::accepted), 300 * 9 / 10 + 3);
  EXPECT_EQ(scene.world.dials(), 1u) << "what waits for its rate needs no further connection";
}

TEST(Scenario, APauseOutlivesTheRenewalOfItsCertificate) {
  Draw draw = quiet();
  Scene scene(draw);
  scene.push_many(10);
  ASSERT_TRUE(scene.all_end());
  scene.world.control(EventKind::credential_paused, 0);
  scene.push_many(10);
  scene.world.replace(0);
  scene.world.run_for(30 * kSec);
  EXPECT_EQ(scene.world.of(End::accepted), 10u);
  scene.world.control(EventKind::credential_resumed, 0);
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 20u);
}

TEST(Scenario, AnOldProviderTokenDoesNotHoldALoneConnectionUp) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = true;
  draw.credential_connections = 1;
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  // Idle long enough for the token to grow old, then the connection goes, then pushes over the old one's end.
  for (const int minute : {0, 35, 79, 80, 86, 90, 100}) {
    const std::int64_t at = kSec + minute * 60 * kSec;
    if (at > scene.world.now()) scene.world.run_for(at - scene.world.now());
    if (minute == 79) scene.world.mass_death(true);
    scene.push_many(3, spec);
    ASSERT_TRUE(scene.all_end(30 * kSec)) << "minute " << minute;
  }
  EXPECT_EQ(scene.world.of(End::accepted), 21u);
}

TEST(Scenario, OneRequestShowsThatAProviderTokenIsTaken) {
  Draw draw = quiet();
  draw.credentials = 2;
  draw.provider_tokens = draw.provider_certificate = true;  // so that the server's SETTINGS allow more than one stream at once
  draw.latency_ns = 50 * kMs;
  Scene scene(draw);
  Spec spec = spec_of();
  spec.credential = 1;
  spec.template_index = 3;
  scene.push_many(100, spec);
  std::uint64_t before = 0;
  ASSERT_TRUE(scene.world.run_until(
      [&] {
        if (scene.world.of(End::accepted) == 0) before = std::max(before, scene.world.counters().in_flight);
        return scene.world.of(End::accepted) != 0;
      },
      10 * kSec));
  EXPECT_LE(before, 2u) << "one for each of two connections";
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.of(End::accepted), 100u);
}

TEST(Scenario, TheOldVersionGoesOnceTheNewOneAnswers) {
  for (const bool many : {false, true}) {
    Draw draw = quiet();
    draw.credential_connections = many ? 3 : 1;
    draw.streams_max = draw.peer_streams = 10;
    Scene scene(draw);
    scene.push_many(300);
    ASSERT_TRUE(scene.all_end());
    const std::uint64_t dials = scene.world.dials();
    scene.world.replace(0);
    scene.world.run_for(10 * kSec);
    EXPECT_LE(scene.world.dials(), 2 * dials) << "one for one";
    EXPECT_LE(scene.world.counters().connections_opened, 2 * dials);
    scene.push_many(300);
    ASSERT_TRUE(scene.all_end());
    scene.world.run_for(10 * kSec);
    EXPECT_EQ(scene.world.of(End::accepted), 600u);
    EXPECT_EQ(scene.world.processed(), 600u);
  }
}

TEST(Scenario, RollingKeepsWhatIsInFlight) {
  Draw draw = quiet();
  draw.credential_connections = 4;
  draw.streams_max = draw.peer_streams = 20;
  Scene scene(draw);
  scene.push_many(3000);
  scene.world.run_for(kSec);
  const std::uint64_t before = scene.world.counters().in_flight;
  ASSERT_GT(before, 60u);
  scene.world.control(EventKind::credential_rolled, 0);
  std::uint64_t least = before;
  for (int i = 0; i < 100; ++i) {
    scene.world.run_for(5 * kMs);
    if (scene.world.counters().waiting != 0) least = std::min(least, scene.world.counters().in_flight);
  }
  EXPECT_GE(least, before / 2) << "older connections go one by one";
  ASSERT_TRUE(scene.all_end());
  EXPECT_EQ(scene.world.processed(), 3000u);
}

TEST(Simulation, TheSameSeedGoesTheSameWay) {
  std::uint64_t before = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Report first = World(Draw::from(seed)).run();
    const Report second = World(Draw::from(seed)).run();
    EXPECT_TRUE(first.good) << seed << ": " << (first.said.empty() ? "" : first.said.front());
    EXPECT_EQ(first.hash, second.hash) << seed;
    EXPECT_NE(first.hash, before);
    before = first.hash;
  }
}

}  // namespace
}  // namespace tocsin::sim
