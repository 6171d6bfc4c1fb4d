// SPDX-License-Identifier: Apache-2.0
// Slab: a fixed number of slots of T, handed out as handles of slot index + generation.
//
// A handle that crossed an asynchronous gap and comes back late finds another generation and resolves to
// nullptr (invariant 5). Threads: one at a time. Bounds: capacity is given once; acquire() answers
// nothing when it is reached. Memory comes at construction, none later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/assertion.h"

namespace tocsin::base {

// index in the low 32 bits, generation (odd while in use) in the high 32.
struct Handle {
  std::uint64_t value = 0;
  constexpr std::uint32_t index() const { return static_cast<std::uint32_t>(value); }
  constexpr std::uint32_t generation() const { return static_cast<std::uint32_t>(value >> 32); }
  constexpr explicit operator bool() const { return value != 0; }
  constexpr bool operator==(const Handle&) const = default;
};

template <class T>
class Slab {
 public:
  explicit Slab(std::uint32_t capacity)
      : slots_(std::make_unique<Slot[]>(capacity)), capacity_(capacity), free_(capacity != 0 ? 0 : kNone) {
    for (std::uint32_t i = 0; i < capacity; ++i) slots_[i].next = i + 1 < capacity ? i + 1 : kNone;
  }

  // A slot with a default-valued T, or an empty handle if none is left.
  Handle acquire() {
    if (free_ == kNone) return {};
    const std::uint32_t index = free_;
    Slot& slot = slots_[index];
    free_ = slot.next;
    ++slot.generation;
    ++in_use_;
    return Handle{static_cast<std::uint64_t>(slot.generation) << 32 | index};
  }

  void release(Handle handle) {
    Slot& slot = checked(handle);
    slot.value = T{};
    ++slot.generation;
    slot.next = free_;
    free_ = handle.index();
    --in_use_;
  }

  // nullptr for a stale handle.
  T* find(Handle handle) {
    if (handle.index() >= capacity_) return nullptr;
    Slot& slot = slots_[handle.index()];
    return slot.generation == handle.generation() && (slot.generation & 1) != 0 ? &slot.value : nullptr;
  }
  T& operator[](Handle handle) { return checked(handle).value; }
  const T& operator[](Handle handle) const { return const_cast<Slab*>(this)->checked(handle).value; }
  // Of what stands at an index now; empty if nothing does.
  Handle handle_at(std::uint32_t index) const {
    if (index >= capacity_ || (slots_[index].generation & 1) == 0) return {};
    return Handle{static_cast<std::uint64_t>(slots_[index].generation) << 32 | index};
  }

  std::uint32_t capacity() const { return capacity_; }
  std::uint32_t in_use() const { return in_use_; }

  // Visits every slot in use, in index order.
  template <class F>
  void for_each(F&& f) {
    for (std::uint32_t i = 0; i < capacity_; ++i) {
      Slot& slot = slots_[i];
      if ((slot.generation & 1) != 0) f(Handle{static_cast<std::uint64_t>(slot.generation) << 32 | i}, slot.value);
    }
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  struct Slot {
    T value{};
    std::uint32_t generation = 0;
    std::uint32_t next = kNone;
  };
  Slot& checked(Handle handle) {
    TOCSIN_ASSERT(handle.index() < capacity_);
    Slot& slot = slots_[handle.index()];
    TOCSIN_ASSERT(slot.generation == handle.generation() && (slot.generation & 1) != 0);
    return slot;
  }

  std::unique_ptr<Slot[]> slots_;
  std::uint32_t capacity_;
  std::uint32_t free_;
  std::uint32_t in_use_ = 0;
};

}  // namespace tocsin::base
