// SPDX-License-Identifier: Apache-2.0
// What a push costs that waits: its record with a UUID as bytes, its place, its key in the index, and nothing of attempts
// that it has not had.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "dispatch/coalesce_index.h"
#include "dispatch/push_queue.h"
#include "harness.h"

namespace tocsin::dispatch::test {
namespace {

// The index against a map, small and beyond the size where it is kept full; keys that share a hash among them.
TEST(CoalesceIndexes, FindWhatIsInThemAndNothingElse) {
  for (const std::uint32_t count : {1'000u, 1'300'000u}) {
    CoalesceIndex index;
    base::Prng prng(count);
    std::vector<std::uint64_t> hashes(count);
    for (std::uint32_t slot = 0; slot < count; ++slot) {
      // Every eighth has another's hash; some lie at the end of the table, where it goes on at its beginning.
      hashes[slot] = slot % 8 == 7 ? hashes[slot - 1] : slot % 64 == 1 ? 0xfffffff0u + prng.below(16) : prng.next();
    }
    const auto in = [&](std::uint32_t slot) {
      return index.find(hashes[slot], [slot](std::uint32_t other) { return other == slot; }) == slot;
    };
    // The second size has few keys at the very end, or its looks would all be there.
    for (std::uint32_t slot = 0; count > 1'000 && slot < count; ++slot) {
      if (slot % 64 == 1 && slot > 64'000) hashes[slot] = prng.next();
    }
    for (std::uint32_t slot = 0; slot < count; ++slot) index.add(hashes[slot], slot);
    ASSERT_EQ(index.size(), count);
    if (count > 600'000) {
      EXPECT_LT(static_cast<double>(index.entries()) * 8 / count, 12.0);
    }
    for (std::uint32_t slot = 0; slot < count; ++slot) ASSERT_TRUE(in(slot)) << slot;
    for (std::uint32_t slot = 0; slot < count; slot += 3) index.erase(hashes[slot], slot);
    for (std::uint32_t slot = 0; slot < count; ++slot) ASSERT_EQ(in(slot), slot % 3 != 0) << slot;
    for (std::uint32_t slot = 1; slot < count; slot += 3) {
      index.replace(hashes[slot], slot, slot - 1);
      std::swap(hashes[slot], hashes[slot - 1]);
      ASSERT_TRUE(in(slot - 1));
    }
    for (std::uint32_t slot = 1; slot < count; slot += 3) index.erase(hashes[slot - 1], slot - 1);
    for (std::uint32_t slot = 2; slot < count; slot += 3) index.erase(hashes[slot], slot);
    ASSERT_EQ(index.size(), 0u);
  }
}

// A mix of all it can do, with growing in between, against a multimap of half hashes: whatever has one is offered, once each,
// and nothing else is. Clustered hashes share the last buckets and overflow them far, and on at the table's beginning.
TEST(CoalesceIndexes, OfferExactlyWhatHasTheHash) {
  struct Kind {
    std::uint32_t hashes_from;
    std::uint32_t hashes;  // how many; 0: any
    std::size_t most;      // live ones
  };
  for (const Kind& kind : {Kind{0, 0, 400}, Kind{0, 0, 20'000}, Kind{0xfff00000u, 64, 400}, Kind{0xfa000000u, 0x6000000u, 480},
                           Kind{0xffffff00u, 256, 5'000}, Kind{0, 3, 60}}) {
    CoalesceIndex index;
    base::Prng prng(kind.hashes + kind.most);
    std::unordered_multimap<std::uint32_t, std::uint32_t> model;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> live;
    std::vector<std::uint32_t> unused;
    std::uint32_t next = 0;
    const auto any_hash = [&] {
      const std::uint64_t high = prng.next() << 32;  // which does not matter
      return high | (kind.hashes == 0 ? prng.next() >> 32 : kind.hashes_from + prng.below(kind.hashes));
    };
    const auto slot_for = [&] {
      if (unused.empty()) return next++;
      const std::uint32_t slot = unused.back();
      unused.pop_back();
      return slot;
    };
    const auto drop = [&](std::uint64_t hash, std::uint32_t slot) {
      auto [at, end] = model.equal_range(static_cast<std::uint32_t>(hash));
      while (at != end && at->second != slot) ++at;
      ASSERT_NE(at, end);
      model.erase(at);
      unused.push_back(slot);
    };
    const auto check = [&](std::uint64_t hash) {
      std::vector<std::uint32_t> offered, wanted;
      ASSERT_EQ(index.find(hash, [&](std::uint32_t slot) { return offered.push_back(slot), false; }), CoalesceIndex::kNone);
      for (auto [at, end] = model.equal_range(static_cast<std::uint32_t>(hash)); at != end; ++at) wanted.push_back(at->second);
      std::sort(offered.begin(), offered.end());
      std::sort(wanted.begin(), wanted.end());
      ASSERT_EQ(offered, wanted);
      if (wanted.empty()) return;
      const std::uint32_t one = wanted[prng.below(wanted.size())];
      ASSERT_EQ(index.find(hash, [one](std::uint32_t slot) { return slot == one; }), one);
    };
    // It fills up and empties again, some times.
    for (int step = 0; step < 400'000; ++step) {
      const double adds = step / 50'000 % 2 == 0 ? 0.65 : 0.35;
      if (prng.chance(0.1) && !live.empty()) {
        auto& [hash, slot] = live[prng.below(live.size())];
        const std::uint32_t other = slot_for();
        index.replace(hash, slot, other);
        drop(hash, std::exchange(slot, other));
        model.emplace(static_cast<std::uint32_t>(hash), other);
      } else if (prng.chance(adds) ? live.size() < kind.most : live.empty()) {
        const std::uint64_t hash = any_hash();
        live.emplace_back(hash, slot_for());
        index.add(hash, live.back().second);
        model.emplace(static_cast<std::uint32_t>(hash), live.back().second);
      } else {
        auto& one = live[prng.below(live.size())];
        std::swap(one, live.back());
        const auto [hash, slot] = live.back();
        live.pop_back();
        index.erase(hash, slot);
        drop(hash, slot);
        check(hash);
      }
      ASSERT_EQ(index.size(), live.size());
      if (step % 4 == 0) check(any_hash());
      if (step % 4 == 1 && !live.empty()) check(live[prng.below(live.size())].first);
      if (HasFatalFailure()) FAIL() << "step " << step << ", hashes from " << kind.hashes_from;
    }
    for (const auto& [hash, slot] : live) check(hash);
    while (!live.empty()) {
      index.erase(live.back().first, live.back().second);
      live.pop_back();
    }
    EXPECT_EQ(index.size(), 0u);
  }
}

// As full as it gets, most buckets have an overflow, and each that goes lets others come home.
TEST(CoalesceIndexes, LoseNothingWhileKeysComeAndGoInAFullTable) {
  constexpr std::uint32_t kKeys = 1'123'000;
  CoalesceIndex index;
  base::Prng prng(1);
  std::vector<std::uint64_t> hashes(kKeys);
  for (std::uint32_t slot = 0; slot < kKeys; ++slot) index.add(hashes[slot] = prng.next(), slot);
  const std::size_t entries = index.entries();
  EXPECT_GT(static_cast<double>(kKeys) / static_cast<double>(entries), 0.856);
  for (int i = 0; i < 1'500'000; ++i) {
    const auto slot = static_cast<std::uint32_t>(prng.below(kKeys));
    index.erase(hashes[slot], slot);
    index.add(hashes[slot] = prng.next(), slot);
  }
  EXPECT_EQ(index.entries(), entries);
  for (std::uint32_t slot = 0; slot < kKeys; ++slot) {
    unsigned times = 0;
    index.find(hashes[slot], [&](std::uint32_t other) {
      times += other == slot ? 1 : 0;
      EXPECT_EQ(static_cast<std::uint32_t>(hashes[other]), static_cast<std::uint32_t>(hashes[slot]));
      return false;
    });
    ASSERT_EQ(times, 1u);
  }
}

TEST(CoalesceIndexes, TakeTheMemoryTheyMay) {
  constexpr std::size_t kLarge = std::size_t{1} << 20;
  CoalesceIndex index;
  std::size_t grown = 0;
  for (std::uint32_t keys = 1; keys <= 3'000'000; ++keys) {
    const std::size_t before = index.entries();
    index.add(base::mix64(keys), keys);
    const std::size_t entries = index.entries();
    if (entries == before) continue;
    ++grown;
    // It grows only when it is full, and then it is not.
    if (before != 0) {
      ASSERT_GE(std::size_t{keys}, before <= kLarge ? before / 2 : before / 7 * 6 - 48);
    }
    ASSERT_LE(entries, before == 0 ? 1024u : before < kLarge ? 2 * before : before + before / 4);
    ASSERT_LE(std::size_t{keys}, entries <= kLarge ? entries / 2 : entries / 7 * 6);
    if (before > kLarge) {
      ASSERT_LE(static_cast<double>(entries) * 8 / keys, 11.7);
    }
  }
  EXPECT_EQ(grown, 17u);
}

// A shard asks for what is known of attempts only when there were some, or it ends.
TEST(Queues, WhatIsKnownOfAttemptsBeginsAnewWithEachPush) {
  Queue queue(4, 1);
  PushRecord record;
  record.token_bytes = 32;
  std::memset(record.inline_bytes, 7, record.token_bytes);
  queue.add_credential();
  std::vector<Queue::Superseded> superseded;
  const std::uint32_t slot = queue.insert(record, {0, true, false}, nullptr, superseded);
  ASSERT_EQ(queue.pop(0), slot);
  queue.meta(slot).attempts = 3;
  queue.meta(slot).maybe_processed = true;
  std::uint64_t by = 0;
  bool accepted = false;
  ASSERT_TRUE(queue.requeue(slot, kTickNone, superseded, by, accepted));
  EXPECT_EQ(queue.meta(slot).attempts, 3);
  ASSERT_EQ(queue.pop(0), slot);
  queue.finish(slot, false, superseded);
  ASSERT_EQ(queue.insert(record, {0, true, false}, nullptr, superseded), slot);
  EXPECT_EQ(queue.known(slot).attempts, 0);
  EXPECT_FALSE(queue.known(slot).maybe_processed);
  // Written once, it has none yet; what is known is known, before and after there is one.
  ASSERT_EQ(queue.pop(0), slot);
  EXPECT_EQ(queue.known(slot).attempts, 0);
  EXPECT_TRUE(queue.sent(slot, 77));
  EXPECT_FALSE(queue.record(slot).tried);
  EXPECT_EQ(queue.known(slot).attempts, 1);
  EXPECT_EQ(queue.known(slot).sent_mono_ns, 77);
  EXPECT_EQ(queue.meta(slot).attempts, 1);
  EXPECT_EQ(queue.meta(slot).sent_mono_ns, 77);
  ASSERT_TRUE(queue.requeue(slot, 50, superseded, by, accepted));
  EXPECT_EQ(queue.state(slot), PushState::delayed);
  std::vector<std::uint32_t> expired;
  queue.advance(49, expired);
  EXPECT_EQ(queue.state(slot), PushState::delayed);
  queue.advance(50, expired);
  ASSERT_EQ(queue.pop(0), slot);
  EXPECT_FALSE(queue.sent(slot, 99)) << "the second attempt";
  EXPECT_EQ(queue.known(slot).attempts, 2);
  EXPECT_EQ(queue.known(slot).sent_mono_ns, 99);
  EXPECT_TRUE(expired.empty());
}

// Its token is called dead while it waits behind another, long after it was taken in and found alive.
TEST(Records, ATokenThatDiesWhileItsPushWaits) {
  World world;
  world.add_default();
  world.server.streams_max = 1;
  std::array<std::byte, 32> token{};
  std::array<DeadToken, 1> dead{};
  std::uint64_t first = 0, other = 0, last = 0;
  world.judge = [&](Link&, const Seen& seen) {
    if (seen.id == first) {
      token = token_of(last);
      dead[0] = {0, "com.example.app", token, 1};
      Event event;
      event.kind = EventKind::dead_tokens;
      event.dead = dead;
      world.event(event);
    }
    if (seen.id == other) world.push();  // what is taken in meanwhile changes nothing
    return Verdict::accept();
  };
  first = world.push();
  other = world.push();
  last = world.push();
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.outcome(last).end, End::failed);
  EXPECT_EQ(world.outcome(last).reason, Reason::token_known_dead);
  EXPECT_EQ(world.outcome(last).attempts, 0u);
  EXPECT_EQ(world.outcome(other).end, End::accepted);
  world.finish();
}

// The harness compares every body with what was pushed.
TEST(Records, APartThatIsAUuidComesBackAsItWasWritten) {
  World world;
  world.add_credential();
  world.add_template(PayloadForm::with_part, R"({"mdm":"%PART%"})", "com.apple.mgmt.External.x");
  std::map<std::uint64_t, int> tries;
  world.judge = [&tries](Link&, const Seen& seen) {
    return tries[seen.id]++ == 0 ? Verdict::reset(7) : Verdict::accept();  // and once more
  };
  for (const char* part : {"B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51F0", "b2d2a9d1-4e4d-4b7c-8a51-6e1c8a2b51f0",
                           "B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51f0", "01234567-8901-2345-6789-012345678901",
                           "B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51F", "B2D2A9D1-4E4D-4B7C-8A51_6E1C8A2B51F0",
                           "B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51G0", "B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51F0F"}) {
    for (const bool external : {false, true}) {
      PushSpec spec;
      spec.part = part;
      spec.collapse = "one-key";
      spec.external = external;
      world.push(spec);
    }
  }
  ASSERT_TRUE(world.run_until_ended());
  EXPECT_EQ(world.ended_as(End::accepted), 16u);
  EXPECT_EQ(world.blocks_out(), 0u);
  world.finish();
}

TEST(Records, AnMdmWakeUpFitsWithoutABlock) {
  Uuid uuid;
  ASSERT_EQ(pack_uuid_content("B2D2A9D1-4E4D-4B7C-8A51-6E1C8A2B51F0", uuid), PushRecord::kUuidUpper);
  EXPECT_LE(32 + sizeof(uuid), kInlineBytes);
  EXPECT_EQ(sizeof(QueuedPush), 2 * kCacheLine) << "a push that waits, its key in the index aside";
}

}  // namespace
}  // namespace tocsin::dispatch::test
