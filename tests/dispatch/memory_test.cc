// SPDX-License-Identifier: Apache-2.0
// What a push costs that waits: its record with a UUID as bytes, its place, its key in the index, and nothing of attempts
// that it has not had.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
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

// A shard asks for what is known of attempts only when there were some, or it ends.
TEST(Queues, WhatIsKnownOfAttemptsBeginsAnewWithEachPush) {
  Queue queue(4, 1);
  PushRecord record;
  record.token_bytes = 32;
  std::memset(record.inline_bytes, 7, record.token_bytes);
  queue.add_credential();
  std::vector<Queue::Superseded> superseded;
  const std::uint32_t slot = queue.insert(record, 0, true, false, superseded);
  ASSERT_EQ(queue.pop(0), slot);
  queue.meta(slot).attempts = 3;
  queue.meta(slot).maybe_processed = true;
  std::uint64_t by = 0;
  bool accepted = false;
  ASSERT_TRUE(queue.requeue(slot, kTickNone, superseded, by, accepted));
  EXPECT_EQ(queue.meta(slot).attempts, 3);
  ASSERT_EQ(queue.pop(0), slot);
  queue.finish(slot, false, superseded);
  ASSERT_EQ(queue.insert(record, 0, true, false, superseded), slot);
  EXPECT_EQ(queue.meta(slot).attempts, 0);
  EXPECT_FALSE(queue.meta(slot).maybe_processed);
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
  EXPECT_EQ(sizeof(PushRecord) + kCacheLine / 2, 144u) << "a push that waits, its key in the index aside";
}

}  // namespace
}  // namespace tocsin::dispatch::test
