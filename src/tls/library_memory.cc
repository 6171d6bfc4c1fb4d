// SPDX-License-Identifier: Apache-2.0
#include "tls/library_memory.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <string>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/memory.h>

namespace tocsin::tls {
namespace {

// Sizes have four classes to an octave, from 64 bytes to 64 KiB; larger blocks are not kept.
constexpr std::size_t kSmallest = 64;
constexpr unsigned kOctaves = 10;
constexpr unsigned kClasses = 4 * kOctaves + 1;
constexpr std::size_t kLargest = kSmallest << kOctaves;
constexpr std::uint32_t kNotKept = kClasses;

struct alignas(16) Head {
  std::uint64_t bytes;  // behind the head
  std::uint32_t size_class;
  std::uint32_t unused;
};

struct Free {
  Free* next;
};

// The class that holds so many bytes, at most kLargest, and how many it holds.
struct SizeClass {
  std::uint32_t number;
  std::size_t bytes;
};
constexpr SizeClass class_of(std::size_t bytes) {
  if (bytes <= kSmallest) return {0, kSmallest};
  const unsigned octave = static_cast<unsigned>(std::bit_width((bytes - 1) / kSmallest)) - 1;
  const std::size_t base = kSmallest << octave;
  const std::size_t quarter = base / 4;
  const std::size_t quarters = (bytes - base + quarter - 1) / quarter;  // 1 to 4
  return {4 * octave + static_cast<std::uint32_t>(quarters), base + quarters * quarter};
}
static_assert(class_of(64).number == 0 && class_of(65).number == 1 && class_of(65).bytes == 80);
static_assert(class_of(128).number == 4 && class_of(128).bytes == 128 && class_of(129).number == 5);
static_assert(class_of(kLargest).number == kClasses - 1 && class_of(kLargest).bytes == kLargest);

struct Kept {
  Free* lists[kClasses];
  std::size_t bytes;
  std::uint64_t taken;
  bool ended;  // the thread is ending: nothing is kept any more
};
// Plain data, alive as long as its thread: other destructors of the thread may still free.
thread_local Kept t_kept;

struct AtThreadEnd {
  bool armed = false;
  ~AtThreadEnd() {
    t_kept.ended = true;
    for (Free*& list : t_kept.lists) {
      while (list != nullptr) {
        Free* const block = list;
        list = block->next;
        std::free(reinterpret_cast<Head*>(block) - 1);
      }
    }
    t_kept.bytes = 0;
  }
};
thread_local AtThreadEnd t_end;

}  // namespace

void* library_allocate(std::size_t bytes) {
  const SizeClass size = bytes <= kLargest ? class_of(bytes) : SizeClass{kNotKept, bytes};
  if (size.number != kNotKept && t_kept.lists[size.number] != nullptr) {
    Free* const block = t_kept.lists[size.number];
    t_kept.lists[size.number] = block->next;
    t_kept.bytes -= size.bytes;
    return block;
  }
  if (size.bytes > SIZE_MAX - sizeof(Head)) return nullptr;
  auto* const head = static_cast<Head*>(std::malloc(sizeof(Head) + size.bytes));
  if (head == nullptr) return nullptr;
  head->bytes = size.bytes;
  head->size_class = size.number;
  ++t_kept.taken;
  return head + 1;
}

void library_free(void* block) {
  if (block == nullptr) return;
  Head* const head = static_cast<Head*>(block) - 1;
  if (head->size_class == kNotKept || t_kept.ended || t_kept.bytes + head->bytes > kLibraryBytesKept) {
    std::free(head);
    return;
  }
  t_end.armed = true;  // made on first use, so that its destructor runs
  auto* const free = static_cast<Free*>(block);
  free->next = t_kept.lists[head->size_class];
  t_kept.lists[head->size_class] = free;
  t_kept.bytes += head->bytes;
}

void* library_reallocate(void* block, std::size_t bytes) {
  if (block == nullptr) return library_allocate(bytes);
  const std::size_t before = (static_cast<Head*>(block) - 1)->bytes;
  if (bytes <= before) return block;
  void* const larger = library_allocate(bytes);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, before);
  library_free(block);
  return larger;
}

std::uint64_t library_blocks_taken() { return t_kept.taken; }

Result<void> keep_library_memory() {
  const int result = wolfSSL_SetAllocators(library_allocate, library_free, library_reallocate);
  if (result == 0) return {};
  return Error{Code::internal, "wolfSSL takes no allocators (error " + std::to_string(result) + ")"};
}

}  // namespace tocsin::tls
