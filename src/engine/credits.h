// SPDX-License-Identifier: Apache-2.0
// Credits: a bounded count shared by threads; what bounds every queue of the engine. Taking is a compare-and-swap
// loop per chunk of pushes (bytes: per push that needs a block). Threads: any.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tocsin::engine {

class Credits {
 public:
  explicit Credits(std::uint64_t total) : free_(total), total_(total) {}

  // Takes up to `wanted`; answers how many.
  std::uint64_t take(std::uint64_t wanted) {
    std::uint64_t free = free_.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint64_t taken = std::min(free, wanted);
      if (taken == 0) return 0;
      // acquire: what the releaser did with the place happened before we use it.
      if (free_.compare_exchange_weak(free, free - taken, std::memory_order_acquire, std::memory_order_relaxed)) {
        return taken;
      }
    }
  }
  void give(std::uint64_t count) {
    if (count != 0) free_.fetch_add(count, std::memory_order_release);
  }
  std::uint64_t used() const { return total_ - free_.load(std::memory_order_acquire); }

 private:
  alignas(64) std::atomic<std::uint64_t> free_;
  const std::uint64_t total_;
};

}  // namespace tocsin::engine
