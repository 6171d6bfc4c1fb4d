// SPDX-License-Identifier: Apache-2.0
// SlotArray: room for a fixed number of T on cache line boundaries, untouched until it is used.
//
// A large pushes_max costs address space only until that many pushes wait: nothing is constructed here, and whoever takes
// a slot for the first time assigns it. Threads: one at a time. Ownership: the memory; T must need no destructor.
// Errors: std::bad_alloc at construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

namespace tocsin::dispatch {

inline constexpr std::size_t kCacheLine = 64;

template <class T>
class SlotArray {
  // Aggregates of this kind live as soon as their storage does, so that assignment is all they need.
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T> && std::is_aggregate_v<T>);

 public:
  explicit SlotArray(std::uint32_t count)
      : slots_(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{kCacheLine}))) {}

  T* data() const { return slots_.get(); }
  T& operator[](std::uint32_t slot) const { return slots_.get()[slot]; }

 private:
  struct Free {
    void operator()(T* slots) const { ::operator delete(slots, std::align_val_t{kCacheLine}); }
  };
  std::unique_ptr<T, Free> slots_;
};

}  // namespace tocsin::dispatch
