// SPDX-License-Identifier: Apache-2.0
// Credentials beside each other: what stops one, what is left of a removed one, what they share: endpoints, places for
// connections, the engine's rate.
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "engine/rate.h"
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

PushSpec to(std::uint32_t credential) {
  PushSpec spec;
  spec.credential = credential;
  return spec;
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

TEST(Alarmed, ByAnotherShardsWord) {
  World world;
  world.add_default();
  std::string why = "150 of the last 200 answers were BadDeviceToken";
  Event told = of(EventKind::credential_alarmed, 0);
  told.text = why;
  world.event(told);
  world.push_many(20);
  ASSERT_FALSE(world.run(kSec));
  EXPECT_EQ(world.links(), 0u);
  EXPECT_TRUE(world.statuses[0].alarmed);
  EXPECT_FALSE(world.statuses[0].alarmed_here) << "or the word would go round for ever";
  EXPECT_EQ(world.statuses[0].last_error, why);
  EXPECT_EQ(world.logged("credential_alarmed"), 0u);
  world.event(of(EventKind::credential_resumed, 0));
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 20u);
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

// ---- removed

TEST(Removed, NothingIsLeftOfItOnceItsPushesAndConnectionsAreGone) {
  World world;
  world.add_template(PayloadForm::fixed, "{}");
  const std::uint32_t other = world.add_credential();
  world.push(to(other));
  ASSERT_TRUE(world.run_until_ended());
  const std::size_t flows = world.shard().flows();
  for (int round = 0; round < 50; ++round) {
    const std::uint32_t tenant = world.add_credential();
    world.judge = [tenant](Link& link, const Seen&) {
      Verdict late;
      if (link.credential == tenant) late.delay_ns = 200 * kMs;
      return late;
    };
    const auto first = world.push_many(5, to(tenant));
    world.run(50 * kMs);
    world.event(of(EventKind::credential_removed, tenant));
    world.run(50 * kMs);
    EXPECT_FALSE(world.statuses[tenant].removed) << "answers are awaited";
    EXPECT_TRUE(world.config_alive(tenant));
    world.run(kSec);
    for (const std::uint64_t id : first) EXPECT_EQ(world.outcome(id).end, End::accepted);
    EXPECT_TRUE(world.statuses[tenant].removed);
    EXPECT_FALSE(world.config_alive(tenant));
    EXPECT_EQ(world.shard().flows(), flows);
    // Submitted by another thread just before: handed back, and again nothing is left.
    const auto late = world.push_many(3, to(tenant));
    ASSERT_TRUE(world.run_until_ended(kSec));
    for (const std::uint64_t id : late) EXPECT_EQ(world.outcome(id).end, End::returned);
    EXPECT_EQ(world.shard().flows(), flows);
  }
  world.push(to(other));
  ASSERT_TRUE(world.run_until_ended());
  world.finish();
}

// ---- one endpoint, several credentials

TEST(Endpoint, ThatAnswersOneCredentialEndsTheOthersWaitForIt) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    ShardOptions options;
    options.seed = seed;
    World world(options, seed);
    CredentialConfig config = World::plain_credential();
    config.give_up_ns = 0;
    for (int i = 0; i < 5; ++i) world.add_credential(config);
    world.add_template(PayloadForm::fixed, "{}");
    bool out = true;
    world.on_dial = [&](std::uint32_t) { return out ? Dial::refuse : Dial::accept; };
    for (std::uint32_t i = 0; i < 5; ++i) world.push(to(i));
    world.run(50 * kSec);
    out = false;
    ASSERT_TRUE(world.run(31 * kSec, [&] { return !world.outcomes.empty(); }));
    ASSERT_TRUE(world.run_until_ended(kSec)) << "seed " << seed << ": up to half a minute of their own was left";
    EXPECT_EQ(world.ended_as(End::accepted), 5u);
    world.finish();
  }
}

TEST(Endpoint, ThatServesOneIsNotDownBecauseItTurnsAnotherAway) {
  World world;
  world.add_credential();
  world.add_credential();
  world.add_template(PayloadForm::fixed, "{}");
  world.on_dial = [&](std::uint32_t credential) {
    if (credential == 0) return Dial::accept;
    world.at(10 * kMs, [&] { world.hang_up(*world.newest()); });
    return Dial::raw;
  };
  world.push(to(0));
  ASSERT_TRUE(world.run_until_ended());
  world.push(to(1));
  world.run(20 * kSec);
  EXPECT_GE(world.links(), 5u) << "the other has failed again and again";
  EXPECT_EQ(world.logged("endpoint_down"), 0u);
  world.hang_up(world.link(0));
  world.run(10 * kMs);
  const std::int64_t begun = world.now();
  const std::uint64_t id = world.push(to(0));
  ASSERT_TRUE(world.run(kSec, [&] { return world.outcomes.count(id) != 0; }));
  EXPECT_LT(world.now() - begun, 300 * kMs);
  world.finish();
}

// ---- places

// Few streams and slow answers, and more pushes whenever few are left: these are never idle.
class Places : public testing::Test {
 protected:
  void begin(std::uint32_t places, std::vector<unsigned> connections_max) {
    ShardOptions options;
    options.connections_max = places;
    world_ = std::make_unique<World>(options);
    world_->server.streams_max = 2;
    for (const unsigned most : connections_max) {
      CredentialConfig config = World::plain_credential();
      config.connections_max = most;
      config.streams_max = 2;
      world_->add_credential(config);
    }
    world_->add_template(PayloadForm::fixed, "{}");
    served_.resize(connections_max.size());
    pushed_.resize(connections_max.size());
    last_.resize(connections_max.size());
    longest_.resize(connections_max.size());
    world_->judge = [this](Link& link, const Seen&) {
      const std::int64_t gap = world_->now() - last_[link.credential];
      longest_[link.credential] = std::max(longest_[link.credential], gap);
      last_[link.credential] = world_->now();
      ++served_[link.credential];
      Verdict late;
      late.delay_ns = 20 * kMs;
      return late;
    };
  }
  // Keeps this one busy from now on.
  void busy(std::uint32_t credential) {
    last_[credential] = world_->now();
    feed(credential);
  }
  void feed(std::uint32_t credential) {
    if (over_) return;
    for (; pushed_[credential] < served_[credential] + 80; ++pushed_[credential]) world_->push(to(credential));
    world_->at(50 * kMs, [this, credential] { feed(credential); });
  }
  unsigned ready(std::uint32_t credential) {
    unsigned count = 0;
    for (Link* link : world_->usable_links()) count += link->credential == credential ? 1 : 0;
    return count;
  }

  std::unique_ptr<World> world_;
  std::vector<unsigned> served_, pushed_;
  std::vector<std::int64_t> last_, longest_;
  bool over_ = false;
};

TEST_F(Places, ANewcomerGetsOneFromWhoHasMost) {
  begin(4, {4, 1, 4});
  busy(0);
  world_->run(5 * kSec);
  ASSERT_EQ(ready(0), 4u);
  busy(1);
  world_->run(kSec - 50 * kMs);
  EXPECT_EQ(served_[1], 0u) << "a short wait takes nothing from anybody";
  world_->run(500 * kMs);
  EXPECT_GT(served_[1], 0u);
  EXPECT_EQ(ready(0), 3u);
  // A third one that could use four gets one, and those that have some wait behind those that have none.
  busy(2);
  world_->run(5 * kSec);
  EXPECT_EQ(ready(0), 2u);
  EXPECT_EQ(ready(1), 1u);
  EXPECT_EQ(ready(2), 1u);
  EXPECT_EQ(marked(*world_, Mark::place_given_up), 2u) << "and then they stay where they are";
  world_->run(60 * kSec);
  EXPECT_EQ(marked(*world_, Mark::place_given_up), 2u);
  over_ = true;
  world_->finish(30 * kSec);
}

TEST_F(Places, MoreCredentialsThanPlacesTakeTurns) {
  begin(2, {2, 2, 2, 2, 2});
  for (std::uint32_t i = 0; i < 5; ++i) busy(i);
  world_->run(200 * kSec);
  for (std::uint32_t i = 0; i < 5; ++i) {
    // Two places and turns of ten seconds: each comes again within about thirty.
    EXPECT_GT(served_[i], 2000u) << i;
    EXPECT_LT(longest_[i], 40 * kSec) << i;
  }
  EXPECT_LE(marked(*world_, Mark::place_given_up), 50u) << "no connection lives less than its turn";
  over_ = true;
  world_->finish(30 * kSec);
}

TEST_F(Places, OneThatCannotDialHoldsNobodyUp) {
  begin(1, {1, 1, 1});
  // The first in the line meets a refusal each time, and then waits for its back-off.
  world_->on_dial = [](std::uint32_t credential) { return credential == 1 ? Dial::refuse : Dial::accept; };
  busy(0);
  world_->run(12 * kSec);
  world_->push(to(1));
  world_->run(100 * kMs);
  busy(2);
  world_->run(25 * kSec);
  EXPECT_GT(served_[2], 100u);
  EXPECT_GT(served_[0], 100u);
  over_ = true;
  world_->finish(30 * kSec);
}

// ---- the engine's rate, over several shards and credentials

// Shards in one thread and on one time, with the engine's bucket between them.
class Rated : public testing::Test {
 protected:
  static constexpr double kRate = 2000;

  void begin(unsigned shards, std::uint32_t credentials) {
    bucket_.set(kRate, kSec);
    for (unsigned i = 0; i < shards; ++i) {
      ShardOptions options;
      options.paced = true;
      options.seed = i + 1;
      World& world = *worlds_.emplace_back(std::make_unique<World>(options, i + 1));
      for (std::uint32_t c = 0; c < credentials; ++c) world.add_credential();
      world.add_template(PayloadForm::fixed, "{}");
      world.on_want = [this, &world](const Want& want) {
        const engine::Lease lease = bucket_.take(want.count, world.now(), chance_.unit());
        Event granted = of(EventKind::granted, want.index);
        granted.pace = want.pace;
        granted.result = lease.count;
        granted.deadline_mono_ns = lease.again_mono_ns;
        world.event(granted);
      };
      auto& served = served_.emplace_back(credentials);
      world.judge = [&served](Link& link, const Seen&) {
        ++served[link.credential];
        return Verdict::accept();
      };
      pushed_.emplace_back(credentials);
    }
  }
  // Keeps so many waiting from now on.
  void feed(unsigned shard, std::uint32_t credential, unsigned waiting, std::int64_t every_ns = kMs) {
    for (; pushed_[shard][credential] < served_[shard][credential] + waiting; ++pushed_[shard][credential]) {
      worlds_[shard]->push(to(credential));
    }
    worlds_[shard]->at(every_ns, [=, this] { feed(shard, credential, waiting, every_ns); });
  }
  void run(std::int64_t ns) {
    for (std::int64_t at = 0; at < ns; at += kMs) {
      for (auto& world : worlds_) world->run(kMs);
    }
  }
  // Requests a second that all shards together sent, over so long.
  double measure(std::int64_t ns) {
    const unsigned before = total();
    run(ns);
    return static_cast<double>(total() - before) * kSec / static_cast<double>(ns);
  }
  unsigned total() const {
    unsigned sum = 0;
    for (const auto& shard : served_) {
      for (const unsigned count : shard) sum += count;
    }
    return sum;
  }

  engine::RateBucket bucket_;
  base::Prng chance_{7};
  std::vector<std::unique_ptr<World>> worlds_;
  std::deque<std::vector<unsigned>> served_;
  std::vector<std::vector<unsigned>> pushed_;
};

TEST_F(Rated, OneBusyCredentialAmongManyIdleOnesHasAllOfIt) {
  begin(4, 101);
  // All have been served before; then a hundred are idle, and some of these are paused with pushes that wait.
  for (unsigned shard = 0; shard < 4; ++shard) {
    for (std::uint32_t c = 0; c < 101; ++c) worlds_[shard]->push(to(c));
  }
  run(2 * kSec);
  for (unsigned shard = 0; shard < 4; ++shard) {
    for (std::uint32_t c = 1; c < 50; ++c) {
      worlds_[shard]->event(of(EventKind::credential_paused, c));
      worlds_[shard]->push_many(100, to(c));
    }
  }
  feed(2, 0, 400);
  run(kSec);
  const double rate = measure(10 * kSec);
  EXPECT_GT(rate, kRate * 0.95);
  EXPECT_LT(rate, kRate * 1.05);
}

TEST_F(Rated, EquallyBusyOnesShareIt) {
  begin(4, 100);
  for (std::uint32_t c = 0; c < 100; ++c) feed(c % 4, c, 40);
  run(2 * kSec);
  const auto before = served_;
  const double rate = measure(20 * kSec);
  EXPECT_GT(rate, kRate * 0.95);
  EXPECT_LT(rate, kRate * 1.05);
  for (std::uint32_t c = 0; c < 100; ++c) {
    const unsigned count = served_[c % 4][c] - before[c % 4][c];
    EXPECT_GT(count, 240u) << c << ": of 400 for each";
    EXPECT_LT(count, 560u) << c;
  }
}

// What cannot go takes no part of the rate from other shards: held pushes beside a trickle, and a peer that takes few.
TEST_F(Rated, AShardAsksForWhatItCanSend) {
  begin(4, 3);
  for (unsigned shard = 0; shard < 2; ++shard) {
    World& world = *worlds_[shard];
    world.event(of(EventKind::credential_paused, 1));
    world.push_many(5000, to(1));
    feed(shard, 0, 1, 20 * kMs);
  }
  worlds_[1]->server.streams_max = 2;
  worlds_[1]->judge = [this](Link& link, const Seen&) {
    ++served_[1][link.credential];
    Verdict late;
    late.delay_ns = 30 * kMs;
    return late;
  };
  worlds_[1]->push_many(5000, to(2));
  pushed_[1][2] = 5000;
  for (unsigned shard = 2; shard < 4; ++shard) feed(shard, 0, 400);
  run(2 * kSec);
  const double rate = measure(10 * kSec);
  EXPECT_GT(rate, kRate * 0.95);
  EXPECT_LT(rate, kRate * 1.05);
}

}  // namespace
}  // namespace tocsin::dispatch::test
