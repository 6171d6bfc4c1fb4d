// SPDX-License-Identifier: Apache-2.0
// Registry: an append-only table of fixed capacity that any thread reads without a lock; templates, credentials
// and groups live in one. An index below size() is complete and never changes; what T says about itself may.
//
// Threads: add() under its own lock, size() and operator[] from any. Bounds: capacity at construction.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

namespace tocsin::engine {

template <class T>
class Registry {
 public:
  explicit Registry(std::uint32_t capacity)
      : entries_(std::make_unique<std::shared_ptr<T>[]>(capacity)), capacity_(capacity) {}

  // The new entry's index, or nothing when full.
  std::optional<std::uint32_t> add(std::shared_ptr<T> entry) {
    const std::lock_guard lock(mutex_);
    const std::uint32_t index = size_.load(std::memory_order_relaxed);
    if (index == capacity_) return std::nullopt;
    entries_[index] = std::move(entry);
    size_.store(index + 1, std::memory_order_release);
    return index;
  }
  std::uint32_t size() const { return size_.load(std::memory_order_acquire); }
  const std::shared_ptr<T>& operator[](std::uint32_t index) const { return entries_[index]; }

 private:
  std::unique_ptr<std::shared_ptr<T>[]> entries_;
  const std::uint32_t capacity_;
  std::atomic<std::uint32_t> size_{0};
  std::mutex mutex_;
};

}  // namespace tocsin::engine
