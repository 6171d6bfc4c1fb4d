// SPDX-License-Identifier: Apache-2.0
// BlockPool: memory for the bytes of pushes that do not fit their record (own payloads, long tokens).
//
// Four size classes, each a stack of free blocks behind a lock of its own; blocks are made on first need and
// kept, so that a warmed-up pool does not allocate, and a release never does. Threads: any. Bounds: none of its
// own; the shards' byte credits bound what is out, and so what is ever made. Ownership: blocks not given back leak
// by design of the caller, never silently: outstanding() tells.
//
// Not a ConcurrentQueue: with several consumers and no producer tokens, version 1.0.3 recycles its inner blocks
// without an acquire (a data race by the language's rules), and it allocates and frees them as it goes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace tocsin::engine {

class BlockPool {
 public:
  // The largest holds a payload of 5,120 bytes with the longest token, part and collapse id.
  static constexpr std::array<std::size_t, 4> kClassBytes = {256, 1024, 4608, 7168};

  BlockPool() = default;
  ~BlockPool() {
    for (List& list : lists_) {
      for (std::byte* block : list.free) delete[] block;
    }
  }
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // nullptr when no memory can be had.
  std::byte* acquire(std::size_t bytes, std::uint32_t& block_class) {
    std::uint32_t index = 0;
    while (index + 1 < kClassBytes.size() && kClassBytes[index] < bytes) ++index;
    block_class = index;
    List& list = lists_[index];
    std::byte* block = nullptr;
    {
      const std::lock_guard lock(list.mutex);
      if (list.free.empty()) {
        block = make(list, kClassBytes[index]);
      } else {
        block = list.free.back();  // the last one back is the warmest
        list.free.pop_back();
      }
    }
    if (block != nullptr) outstanding_.fetch_add(1, std::memory_order_relaxed);
    return block;
  }

  void release(std::byte* block, std::uint32_t block_class) {
    outstanding_.fetch_sub(1, std::memory_order_relaxed);
    List& list = lists_[block_class];
    const std::lock_guard lock(list.mutex);
    list.free.push_back(block);  // has room: see make()
  }

  std::uint64_t outstanding() const { return outstanding_.load(std::memory_order_relaxed); }

 private:
  struct alignas(64) List {
    std::mutex mutex;
    std::vector<std::byte*> free;
    std::size_t made = 0;
  };

  // Room for the block's return is made with it.
  static std::byte* make(List& list, std::size_t bytes) {
    std::byte* block = new (std::nothrow) std::byte[bytes];
    if (block == nullptr) return nullptr;
    try {
      if (list.free.capacity() <= list.made) list.free.reserve(2 * list.made + 64);
    } catch (const std::bad_alloc&) {
      delete[] block;
      return nullptr;
    }
    ++list.made;
    return block;
  }

  std::array<List, kClassBytes.size()> lists_;
  std::atomic<std::uint64_t> outstanding_{0};
};

}  // namespace tocsin::engine
