// SPDX-License-Identifier: Apache-2.0
// Credentials and what happens to them: stopped by an answer, by an alarm, by another shard's word.
#include <gtest/gtest.h>

#include "harness.h"

namespace tocsin::dispatch::test {
namespace {

Event of(EventKind kind, std::uint32_t index) {
  Event event;
  event.kind = kind;
  event.index = index;
  return event;
}

std::uint64_t marked(const World& world, Mark mark) {
  return world.counters().marks[static_cast<std::size_t>(mark)];
}

// ---- stopped

TEST(Stopped, ItsConnectionsGoThoughNothingWaits) {
  World world;
  world.add_default();
  world.judge = [](Link&, const Seen&) { return Verdict::reject(403, R"({"reason":"BadCertificate"})"); };
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  world.run(kSec);
  EXPECT_EQ(marked(world, Mark::credential_stopped), 1u);
  EXPECT_EQ(world.shard().connections_in_use(), 0u);
  EXPECT_TRUE(world.link(0).server->finished()) << "the peer was told GOAWAY";
  // Resumed, it begins anew.
  world.judge = {};
  world.event(of(EventKind::credential_resumed, 0));
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 1u);
  world.finish();
}

TEST(Stopped, AnAlarmLetsGoOfItsConnectionsToo) {
  World world;
  CredentialConfig config = World::plain_credential();
  config.bad_tokens_least = 10;
  world.add_credential(config);
  world.add_template(PayloadForm::fixed, "{}");
  world.judge = [](Link&, const Seen&) { return Verdict::reject(400, R"({"reason":"BadDeviceToken"})"); };
  world.push_many(10);
  ASSERT_TRUE(world.run_until_ended());
  world.run(kSec);
  EXPECT_EQ(marked(world, Mark::credential_alarmed), 1u);
  EXPECT_EQ(world.shard().connections_in_use(), 0u);
  world.finish();
}

TEST(Stopped, ByAnotherShardsWordWithoutADialOfItsOwn) {
  World world;
  world.add_default();
  world.push();
  ASSERT_TRUE(world.run_until_ended());
  ASSERT_EQ(world.links(), 1u);
  std::string why = "APNs answered 403 BadCertificate.";
  Event told = of(EventKind::credential_stopped, 0);
  told.reason = Reason::credential_stopped;
  told.text = why;
  world.event(told);
  world.push_many(20);
  ASSERT_TRUE(world.run_until_ended(kSec));
  EXPECT_EQ(world.ended_as(End::failed), 20u);
  EXPECT_EQ(world.outcome(2).reason, Reason::credential_stopped);
  world.run(kSec);
  EXPECT_EQ(world.links(), 1u);
  EXPECT_EQ(world.shard().connections_in_use(), 0u);
  EXPECT_TRUE(world.statuses[0].stopped);
  EXPECT_FALSE(world.statuses[0].stopped_here) << "or the word would go round for ever";
  EXPECT_EQ(world.logged("credential_stopped"), 0u) << "the finder has said so";
  world.finish();
}

TEST(Stopped, OneOnItsWayIsGivenUp) {
  World world;
  world.add_default();
  world.on_dial = [](std::uint32_t) { return Dial::hang; };
  world.push();
  world.run(100 * kMs);
  ASSERT_EQ(world.shard().connections_in_use(), 1u);
  Event told = of(EventKind::credential_stopped, 0);
  told.reason = Reason::cannot_connect;
  world.event(told);
  world.run(100 * kMs);
  EXPECT_EQ(world.shard().connections_in_use(), 0u);
  EXPECT_EQ(world.ended_as(End::failed), 1u);
  world.finish();
}

}  // namespace
}  // namespace tocsin::dispatch::test
