// SPDX-License-Identifier: Apache-2.0
// BlockHeap: the allocator of one session, for nghttp2 (through nghttp2_mem) and for our own tables.
//
// Freed blocks go to a free list of their size class and are handed out again, so that a warmed-up
// session takes no memory from the system. Small blocks are cut from slabs, larger ones come one by one.
// Threads: one at a time, and only from its session's. Ownership: owns every block; all of them must be
// back before it dies. Bounds: what it holds never shrinks below the session's peak, until it dies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "base/bytes.h"

namespace tocsin::h2 {

class BlockHeap {
 public:
  BlockHeap();
  ~BlockHeap();
  BlockHeap(const BlockHeap&) = delete;
  BlockHeap& operator=(const BlockHeap&) = delete;

  void* allocate(std::size_t bytes);  // 16-byte aligned; nullptr only if the system has none
  void free(void* block);             // nullptr is allowed
  void* reallocate(void* block, std::size_t bytes);
  static std::size_t usable(const void* block);

  nghttp2_mem* mem() { return &mem_; }
  std::size_t blocks_in_use() const { return in_use_; }
  std::uint64_t system_allocations() const { return system_allocations_; }

 private:
  struct Head;
  static constexpr std::uint32_t kClasses = 22;

  Head* fresh(std::uint32_t size_class, std::size_t bytes);

  nghttp2_mem mem_{};
  Head* free_[kClasses]{};
  std::byte* slab_ = nullptr;  // where the next small block is cut
  std::size_t slab_left_ = 0;
  std::vector<void*> owned_;   // slabs and single blocks of the classes, for the end
  std::size_t in_use_ = 0;
  std::uint64_t system_allocations_ = 0;
};

// Bytes that grow inside a BlockHeap; whoever holds it must release() it.
struct GrowBlock {
  std::byte* data = nullptr;
  std::uint32_t size = 0;
  std::uint32_t capacity = 0;

  void reserve(BlockHeap& heap, std::size_t bytes);
  void append(BlockHeap& heap, const void* bytes, std::size_t count);
  void release(BlockHeap& heap) {
    heap.free(data);
    *this = {};
  }
  base::ByteView view() const { return {data, size}; }
};

}  // namespace tocsin::h2
