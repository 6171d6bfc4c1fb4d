// SPDX-License-Identifier: Apache-2.0
// wake() from other threads: before, during and after a wait, and many at once.
#include <atomic>
#include <chrono>
#include <thread>

#include "world.h"

namespace tocsin::io {
namespace {

class WakeTest : public ::testing::TestWithParam<bool> {
 protected:
  DriverOptions options() const {
    DriverOptions options;
    options.conservative = GetParam();
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Kernel, WakeTest, ::testing::Values(false, true),
                         [](const auto& kernel) { return kernel.param ? "old" : "best"; });

TEST_P(WakeTest, BeforeTheWait) {
  World world(options());
  std::vector<Completion> out;
  for (int i = 0; i < 5; ++i) {
    world.driver->reap(out);
    world.driver->wake();
    world.driver->wake();
    world.driver->wait(base::kNever);  // would hang if the wake were lost
    EXPECT_EQ(world.driver->stats().wakes, static_cast<std::uint64_t>(i + 1));
  }
  // Both wakes are used up: this one sleeps.
  world.driver->reap(out);
  const std::int64_t deadline = clock_now().mono_ns + 20 * base::kMillisecond;
  world.driver->wait(deadline);
  EXPECT_GE(clock_now().mono_ns, deadline);
  EXPECT_TRUE(out.empty());
}

TEST_P(WakeTest, DuringTheWait) {
  World world(options());
  Driver* driver = world.driver.get();
  std::thread waker([driver] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    driver->wake();
  });
  std::vector<Completion> out;
  while (driver->stats().wakes == 0) {
    driver->reap(out);
    driver->wait(base::kNever);
  }
  waker.join();
  EXPECT_EQ(driver->stats().wakes, 1u);
  EXPECT_TRUE(out.empty());
}

// An inbox as the engine's: producers wake on each empty-to-non-empty edge only, so one lost wake leaves
// the worker asleep over work.
TEST_P(WakeTest, NoneIsLostUnderHammering) {
  constexpr int kProducers = 3;
  constexpr std::uint64_t kItems = 20'000;
  std::atomic<std::uint64_t> inbox{0};
  std::atomic<Driver*> shared{nullptr};
  std::uint64_t taken = 0;
  int overslept = 0;
  std::thread worker([&] {
    World world(options());
    shared = world.driver.get();
    std::vector<Completion> out;
    while (taken < kProducers * kItems && overslept == 0) {
      world.driver->reap(out);
      taken += inbox.exchange(0, std::memory_order_acq_rel);
      const std::int64_t deadline = clock_now().mono_ns + 10 * base::kSecond;
      if (taken < kProducers * kItems) world.driver->wait(deadline);
      if (clock_now().mono_ns >= deadline) ++overslept;
    }
    EXPECT_GT(world.driver->stats().wakes, 0u);
    while (shared.load() != nullptr) std::this_thread::yield();  // producers may still be inside wake()
  });
  while (shared.load() == nullptr) std::this_thread::yield();
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < kItems; ++i) {
        if (inbox.fetch_add(1, std::memory_order_acq_rel) == 0) shared.load()->wake();
        if (i % 64 == static_cast<std::uint64_t>(p)) std::this_thread::yield();
        if (i % 4096 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  shared = nullptr;
  worker.join();
  EXPECT_EQ(taken, kProducers * kItems);
  EXPECT_EQ(overslept, 0);
}

}  // namespace
}  // namespace tocsin::io
