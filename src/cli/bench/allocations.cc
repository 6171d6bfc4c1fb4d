// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/allocations.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TOCSIN_ALLOCATOR_HOOKS
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TOCSIN_ALLOCATOR_HOOKS
#endif

#ifdef TOCSIN_ALLOCATOR_HOOKS
// Of the sanitizers' run time; Debian's gcc comes without the header (sanitizer/allocator_interface.h) that declares it.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, std::size_t),
                                                         void (*free_hook)(const volatile void*));
#endif

namespace {

std::atomic<bool> g_on{false};
alignas(64) std::atomic<std::uint64_t> g_calls{0};
std::atomic<std::uint64_t> g_bytes{0};

inline void seen(std::size_t bytes) {
  if (!g_on.load(std::memory_order_relaxed)) return;
  g_calls.fetch_add(1, std::memory_order_relaxed);
  g_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

void count(bool on) { g_on.store(on, std::memory_order_seq_cst); }

tocsin::cli::bench::Allocations total() { return {g_calls.load(), g_bytes.load()}; }

}  // namespace

#ifdef TOCSIN_ALLOCATOR_HOOKS

// A sanitizer has replaced malloc already, and tells.
namespace tocsin::cli::bench {
AllocationCounter allocation_counter() {
  static const bool installed = __sanitizer_install_malloc_and_free_hooks(
                                    [](const volatile void*, std::size_t bytes) { seen(bytes); },
                                    [](const volatile void*) {}) != 0;
  return installed ? AllocationCounter{&count, &total} : AllocationCounter{};
}
}  // namespace tocsin::cli::bench

#elif defined(__GLIBC__)

// The C library's own allocator stays; only the way in is ours, so free and whatever is not replaced here fit.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* block, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

#define TOCSIN_REPLACES __attribute__((visibility("default")))

TOCSIN_REPLACES void* malloc(std::size_t bytes) noexcept {
  seen(bytes);
  return __libc_malloc(bytes);
}
TOCSIN_REPLACES void* calloc(std::size_t count, std::size_t bytes) noexcept {
  seen(count * bytes);
  return __libc_calloc(count, bytes);
}
TOCSIN_REPLACES void* realloc(void* block, std::size_t bytes) noexcept {
  seen(bytes);
  return __libc_realloc(block, bytes);
}
TOCSIN_REPLACES void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  seen(bytes);
  return __libc_memalign(alignment, bytes);
}
TOCSIN_REPLACES void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  seen(bytes);
  return __libc_memalign(alignment, bytes);
}
TOCSIN_REPLACES int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) noexcept {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  seen(bytes);
  const int before = errno;
  void* block = __libc_memalign(alignment, bytes);
  errno = before;
  if (block == nullptr) return ENOMEM;
  *out = block;
  return 0;
}
}  // extern "C"

namespace tocsin::cli::bench {
AllocationCounter allocation_counter() { return {&count, &total}; }
}  // namespace tocsin::cli::bench

#else

namespace tocsin::cli::bench {
AllocationCounter allocation_counter() { return {}; }
}  // namespace tocsin::cli::bench

#endif
