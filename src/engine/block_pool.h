// SPDX-License-Identifier: Apache-2.0
// BlockPool: memory for the bytes of pushes that do not fit their record (own payloads, long tokens).
//
// Four size classes, each a lock-free free list; blocks are made on first need and kept, so that a warmed-up
// pool does not allocate. Threads: any. Bounds: none of its own; the shards' byte credits bound what is
// out, and so what is ever made. Ownership: blocks not given back leak by design of the caller, never silently: outstanding() tells.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include <concurrentqueue/concurrentqueue.h>

namespace tocsin::engine {

class BlockPool {
 public:
  // The largest holds a payload of 5,120 bytes with the longest token, part and collapse id.
  static constexpr std::array<std::size_t, 4> kClassBytes = {256, 1024, 4608, 7168};

  ~BlockPool() {
    for (auto& list : free_) {
      std::byte* block = nullptr;
      while (list.try_dequeue(block)) delete[] block;
    }
  }

  // nullptr when no memory can be had.
  std::byte* acquire(std::size_t bytes, std::uint32_t& block_class) {
    std::uint32_t index = 0;
    while (index + 1 < kClassBytes.size() && kClassBytes[index] < bytes) ++index;
    block_class = index;
    std::byte* block = nullptr;
    if (!free_[index].try_dequeue(block)) block = new (std::nothrow) std::byte[kClassBytes[index]];
    if (block != nullptr) outstanding_.fetch_add(1, std::memory_order_relaxed);
    return block;
  }

  void release(std::byte* block, std::uint32_t block_class) {
    outstanding_.fetch_sub(1, std::memory_order_relaxed);
    if (!free_[block_class].enqueue(block)) delete[] block;
  }

  std::uint64_t outstanding() const { return outstanding_.load(std::memory_order_relaxed); }

 private:
  std::array<moodycamel::ConcurrentQueue<std::byte*>, kClassBytes.size()> free_;
  std::atomic<std::uint64_t> outstanding_{0};
};

}  // namespace tocsin::engine
