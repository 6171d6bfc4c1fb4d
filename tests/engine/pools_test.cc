// SPDX-License-Identifier: Apache-2.0
// Credits, BlockPool and Registry: alone and pulled at by several threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "engine/block_pool.h"
#include "engine/credits.h"
#include "engine/dial_budget.h"
#include "engine/places.h"
#include "engine/registry.h"

namespace tocsin::engine {
namespace {

TEST(Credits, TakesWhatIsThereAndNoMore) {
  Credits credits(10);
  EXPECT_EQ(credits.take(4), 4u);
  EXPECT_EQ(credits.take(0), 0u);
  EXPECT_EQ(credits.take(100), 6u);
  EXPECT_EQ(credits.take(1), 0u);
  EXPECT_EQ(credits.used(), 10u);
  credits.give(3);
  EXPECT_EQ(credits.used(), 7u);
  EXPECT_EQ(credits.take(5), 3u);
}

TEST(Credits, NeverMoreOutThanThereAre) {
  constexpr std::uint64_t kTotal = 100;
  Credits credits(kTotal);
  std::atomic<std::uint64_t> out{0};
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 20'000; ++i) {
        const std::uint64_t taken = credits.take(1 + (i + t) % 40);
        if (out.fetch_add(taken) + taken > kTotal) exceeded = true;
        out.fetch_sub(taken);
        credits.give(taken);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(credits.used(), 0u);
  EXPECT_EQ(credits.take(kTotal + 1), kTotal);
}

TEST(Places, GoToThoseWithoutOneFirstAndOfThemToTheLongestWaiting) {
  constexpr std::int64_t kMs = base::kMillisecond;
  Places places(2);
  EXPECT_TRUE(places.take(1, base::kNever, 0));
  EXPECT_TRUE(places.take(2, 0, 0)) << "nobody is before it";
  EXPECT_EQ(places.used(), 2u);
  // 4 has waited longer than 3, though it asks later.
  EXPECT_FALSE(places.take(3, 20 * kMs, 30 * kMs));
  EXPECT_FALSE(places.take(4, 10 * kMs, 31 * kMs));
  places.give(1);
  EXPECT_FALSE(places.take(1, base::kNever, 40 * kMs)) << "it has some already";
  EXPECT_FALSE(places.take(3, 20 * kMs, 41 * kMs));
  EXPECT_TRUE(places.take(4, 10 * kMs, 42 * kMs));
  places.give(1);
  EXPECT_TRUE(places.take(3, 20 * kMs, 50 * kMs));
  // Of as many places as wait, each gets one, whoever comes first.
  EXPECT_FALSE(places.take(5, 60 * kMs, 60 * kMs));
  EXPECT_FALSE(places.take(6, 61 * kMs, 61 * kMs));
  places.give(2);
  EXPECT_TRUE(places.take(6, 61 * kMs, 70 * kMs));
  EXPECT_TRUE(places.take(5, 60 * kMs, 70 * kMs));
  // One that comes no more is forgotten.
  EXPECT_FALSE(places.take(7, 80 * kMs, 80 * kMs));
  places.give(1);
  EXPECT_FALSE(places.take(1, base::kNever, 80 * kMs + Places::kForgetNs));
  EXPECT_TRUE(places.take(1, base::kNever, 81 * kMs + Places::kForgetNs));
  EXPECT_EQ(places.used(), 2u);
}

TEST(Places, WhoComesAnewStandsInLineOnce) {
  constexpr std::int64_t kMs = base::kMillisecond;
  Places places(1);
  EXPECT_TRUE(places.take(1, base::kNever, 0));
  // Its pushes went and new ones came: it waits since then, and is not in its own way.
  for (std::int64_t at = 1; at < 5; ++at) EXPECT_FALSE(places.take(2, at * kMs, at * kMs));
  places.give(1);
  EXPECT_TRUE(places.take(2, 5 * kMs, 5 * kMs));
  places.give(1);
  EXPECT_TRUE(places.take(1, base::kNever, 6 * kMs)) << "nobody is left in the line";
}

TEST(DialBudget, TellsOneForEachThatIsGivenBackAndNobodyOnceItIsClosed) {
  DialBudget budget(1);
  std::vector<unsigned> told;
  budget.set_tell([&told](unsigned shard) { told.push_back(shard); });
  EXPECT_FALSE(budget.await(0)) << "there is one";
  EXPECT_TRUE(budget.take(2));
  EXPECT_FALSE(budget.take(0));
  EXPECT_TRUE(budget.await(0));
  EXPECT_TRUE(budget.await(0)) << "it stands there once";
  EXPECT_TRUE(budget.await(1));
  budget.give();
  EXPECT_EQ(told, std::vector<unsigned>{0});
  budget.pass_on(0);
  EXPECT_EQ(told, (std::vector<unsigned>{0, 1}));
  // A shard that is at rest stands in line yet, and its thread ends: its wake-up has nobody to wake.
  EXPECT_TRUE(budget.take(1));
  EXPECT_TRUE(budget.await(0));
  budget.close();
  EXPECT_TRUE(budget.await(1));
  budget.give();
  budget.pass_on(1);
  EXPECT_EQ(told.size(), 2u);
  EXPECT_EQ(budget.free(0), 1u);
}

TEST(DialBudget, KeepsForWhomItTellsWhatItTellsOf) {
  DialBudget budget(2);
  std::vector<unsigned> told;
  budget.set_tell([&told](unsigned shard) { told.push_back(shard); });
  EXPECT_TRUE(budget.take(0));
  EXPECT_TRUE(budget.take(0));
  EXPECT_TRUE(budget.await(1));
  EXPECT_TRUE(budget.await(2));
  // Shard 0 gives one back and wants the next at once, before shard 1 has woken.
  budget.give();
  EXPECT_FALSE(budget.take(0)) << "shard 1 has waited for it";
  EXPECT_EQ(budget.free(0), 0u);
  EXPECT_EQ(budget.free(1), 1u);
  EXPECT_TRUE(budget.await(0)) << "behind shard 2";
  EXPECT_TRUE(budget.take(1));
  EXPECT_FALSE(budget.take(1)) << "it was one";
  budget.pass_on(1);
  EXPECT_EQ(told, std::vector<unsigned>{1}) << "nothing is left to pass on";
  budget.give();
  budget.give();
  EXPECT_EQ(told, (std::vector<unsigned>{1, 2, 0}));
  budget.pass_on(2);
  budget.pass_on(0);
  EXPECT_EQ(budget.free(1), 2u) << "none is lost by being kept";
  // Kept for one that ends: close() takes it back.
  EXPECT_TRUE(budget.take(0));
  EXPECT_TRUE(budget.take(0));
  EXPECT_TRUE(budget.await(1));
  budget.give();
  budget.close();
  EXPECT_EQ(budget.free(0), 1u);
}

TEST(BlockPool, EachSizeGetsABlockThatHoldsIt) {
  BlockPool pool;
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{256}, std::size_t{257}, std::size_t{1024}, std::size_t{4608},
                                  std::size_t{4609}, std::size_t{7168}}) {
    std::uint32_t block_class = 99;
    std::byte* block = pool.acquire(bytes, block_class);
    ASSERT_NE(block, nullptr);
    ASSERT_LT(block_class, BlockPool::kClassBytes.size());
    EXPECT_GE(BlockPool::kClassBytes[block_class], bytes);
    EXPECT_TRUE(block_class == 0 || BlockPool::kClassBytes[block_class - 1] < bytes);
    std::memset(block, 0x5a, bytes);
    EXPECT_EQ(pool.outstanding(), 1u);
    pool.release(block, block_class);
  }
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(BlockPool, GivesBlocksAgain) {
  BlockPool pool;
  std::set<std::byte*> first;
  std::uint32_t block_class = 0;
  for (int i = 0; i < 100; ++i) first.insert(pool.acquire(1000, block_class));
  EXPECT_EQ(first.size(), 100u);
  for (std::byte* block : first) pool.release(block, block_class);
  for (int i = 0; i < 100; ++i) {
    std::byte* block = pool.acquire(900, block_class);
    EXPECT_EQ(first.count(block), 1u);
    EXPECT_EQ(first.erase(block), 1u);  // none twice
    pool.release(block, block_class);
    first.insert(block);
  }
}

TEST(BlockPool, OneOwnerAtATimeAcrossThreads) {
  BlockPool pool;
  std::atomic<unsigned> torn{0};
  std::vector<std::thread> threads;
  for (unsigned t = 1; t <= 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 5'000; ++i) {
        std::uint32_t block_class = 0;
        const std::size_t bytes = 200 + (i * 37) % 6'000;
        std::byte* block = pool.acquire(bytes, block_class);
        std::memset(block, static_cast<int>(t), bytes);
        const bool whole = std::all_of(block, block + bytes, [t](std::byte b) { return b == static_cast<std::byte>(t); });
        if (!whole) ++torn;
        pool.release(block, block_class);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(Registry, WhatIsBelowTheSizeIsComplete) {
  Registry<const std::uint64_t> registry(2'000);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  std::thread reader([&] {
    while (!stop.load()) {
      const std::uint32_t size = registry.size();
      for (std::uint32_t i = 0; i < size; ++i) {
        if (registry[i] == nullptr || *registry[i] / 10'000 > 1) ++wrong;
      }
    }
  });
  std::vector<std::thread> writers;
  for (std::uint64_t t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 1'000; ++i) {
        if (!registry.add(std::make_shared<const std::uint64_t>(t * 10'000 + i))) ++wrong;
      }
    });
  }
  for (auto& writer : writers) writer.join();
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(registry.size(), 2'000u);
  EXPECT_FALSE(registry.add(std::make_shared<const std::uint64_t>(1)).has_value());
}

}  // namespace
}  // namespace tocsin::engine
