// SPDX-License-Identifier: Apache-2.0
#include "h2/block_heap.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define TOCSIN_HEAP_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOCSIN_HEAP_POISON 1
#endif
#endif
#if defined(TOCSIN_HEAP_POISON)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

namespace tocsin::h2 {

// Before each block. The link lives here and not in the block, so that a freed block can be poisoned whole.
struct alignas(16) BlockHeap::Head {
  union {
    Head* next;
    std::uint64_t bytes;  // of a block beyond the classes
  };
  std::uint32_t size_class;
  std::uint32_t pad;
};

namespace {

// 16 classes of 64 bytes each, then powers of two up to 64 KB: nghttp2's per-stream objects are below 1 KB, its
// frame buffers (16 KB + header) and our bodies are beyond.
constexpr std::size_t kSmallStep = 64;
constexpr std::uint32_t kSmallClasses = 16;
constexpr std::uint32_t kLargest = 21;
constexpr std::uint32_t kBeyond = 22;
constexpr std::size_t kSlabBytes = 16 * 1024;

std::uint32_t class_of(std::size_t bytes) {
  if (bytes <= kSmallStep * kSmallClasses) return bytes == 0 ? 0 : static_cast<std::uint32_t>((bytes - 1) / kSmallStep);
  const auto power = static_cast<std::uint32_t>(std::bit_width(bytes - 1));  // 11 for 1,025 to 2,048
  return std::min(power + kSmallClasses - 11, kBeyond);
}

std::size_t class_bytes(std::uint32_t size_class) {
  return size_class < kSmallClasses ? (size_class + 1) * kSmallStep : std::size_t{1} << (size_class + 11 - kSmallClasses);
}

BlockHeap& heap_of(void* user) { return *static_cast<BlockHeap*>(user); }

}  // namespace

BlockHeap::BlockHeap() {
  static_assert(kLargest + 1 == kClasses);
  mem_.mem_user_data = this;
  mem_.malloc = [](std::size_t bytes, void* user) { return heap_of(user).allocate(bytes); };
  mem_.free = [](void* block, void* user) { heap_of(user).free(block); };
  mem_.calloc = [](std::size_t count, std::size_t each, void* user) {
    void* block = heap_of(user).allocate(count * each);
    if (block != nullptr) std::memset(block, 0, count * each);
    return block;
  };
  mem_.realloc = [](void* block, std::size_t bytes, void* user) { return heap_of(user).reallocate(block, bytes); };
}

BlockHeap::~BlockHeap() {
  TOCSIN_ASSERT(in_use_ == 0);
  for (void* memory : owned_) ::operator delete(memory);
}

BlockHeap::Head* BlockHeap::fresh(std::uint32_t size_class, std::size_t bytes) {
  const std::size_t total = sizeof(Head) + bytes;
  if (size_class >= kSmallClasses) {
    void* memory = ::operator new(total, std::nothrow);
    ++system_allocations_;
    if (memory != nullptr && size_class != kBeyond) owned_.push_back(memory);
    return static_cast<Head*>(memory);
  }
  if (slab_left_ < total) {
    // What is left of the old slab is given up: at most one small block.
    slab_ = static_cast<std::byte*>(::operator new(kSlabBytes, std::nothrow));
    ++system_allocations_;
    if (slab_ == nullptr) {
      slab_left_ = 0;
      return nullptr;
    }
    owned_.push_back(slab_);
    slab_left_ = kSlabBytes;
  }
  std::byte* cut = slab_;
  slab_ += total;
  slab_left_ -= total;
  return reinterpret_cast<Head*>(cut);
}

void* BlockHeap::allocate(std::size_t bytes) {
  const std::uint32_t size_class = class_of(bytes);
  Head* head = nullptr;
  if (size_class != kBeyond && free_[size_class] != nullptr) {
    head = free_[size_class];
    free_[size_class] = head->next;
    ASAN_UNPOISON_MEMORY_REGION(head + 1, class_bytes(size_class));
  } else {
    const std::size_t block_bytes = size_class == kBeyond ? bytes : class_bytes(size_class);
    head = fresh(size_class, block_bytes);
    if (head == nullptr) return nullptr;
    head->size_class = size_class;
    head->bytes = block_bytes;
  }
  ++in_use_;
  return head + 1;
}

void BlockHeap::free(void* block) {
  if (block == nullptr) return;
  Head* head = static_cast<Head*>(block) - 1;
  --in_use_;
  if (head->size_class == kBeyond) {
    ::operator delete(head);
    return;
  }
  ASAN_POISON_MEMORY_REGION(block, class_bytes(head->size_class));
  head->next = free_[head->size_class];
  free_[head->size_class] = head;
}

std::size_t BlockHeap::usable(const void* block) {
  const Head* head = static_cast<const Head*>(block) - 1;
  return head->size_class == kBeyond ? static_cast<std::size_t>(head->bytes) : class_bytes(head->size_class);
}

void* BlockHeap::reallocate(void* block, std::size_t bytes) {
  if (block == nullptr) return allocate(bytes);
  const std::size_t had = usable(block);
  if (bytes <= had) return block;
  void* larger = allocate(bytes);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, had);
  free(block);
  return larger;
}

void GrowBlock::reserve(BlockHeap& heap, std::size_t bytes) {
  if (bytes <= capacity) return;
  void* larger = heap.reallocate(data, bytes);
  TOCSIN_ASSERT(larger != nullptr);
  data = static_cast<std::byte*>(larger);
  capacity = static_cast<std::uint32_t>(BlockHeap::usable(larger));
}

void GrowBlock::append(BlockHeap& heap, const void* bytes, std::size_t count) {
  if (count == 0) return;
  if (capacity - size < count) reserve(heap, std::max<std::size_t>(size + count, std::size_t{capacity} * 2));
  std::memcpy(data + size, bytes, count);
  size += static_cast<std::uint32_t>(count);
}

}  // namespace tocsin::h2
