// SPDX-License-Identifier: Apache-2.0
// Deadlines: the next moment at which each of many things wants to be looked at: a binary heap over small numbers, each in
// it at most once. Setting one costs O(log n), the earliest is at hand, and nobody else is looked at.
//
// Threads: one at a time. Bounds: one place per number that ever had a deadline. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/now.h"

namespace tocsin::dispatch {

class Deadlines {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;

  std::int64_t earliest() const { return heap_.empty() ? base::kNever : heap_.front().at; }
  std::size_t size() const { return heap_.size(); }

  // No later than `at`; kNever changes nothing.
  void bring(std::uint32_t number, std::int64_t at) {
    if (at == base::kNever) return;
    if (number >= places_.size()) places_.resize(number + std::size_t{1}, kNone);
    std::uint32_t place = places_[number];
    if (place == kNone) {
      place = static_cast<std::uint32_t>(heap_.size());
      heap_.push_back({at, number});
      places_[number] = place;
    } else if (at >= heap_[place].at) {
      return;
    }
    heap_[place].at = at;
    rise(place);
  }

  void cancel(std::uint32_t number) {
    if (number >= places_.size() || places_[number] == kNone) return;
    remove(places_[number]);
  }

  // One that is due, taken out; kNone: none is.
  std::uint32_t take(std::int64_t now) {
    if (heap_.empty() || heap_.front().at > now) return kNone;
    const std::uint32_t number = heap_.front().number;
    remove(0);
    return number;
  }

  void clear() {
    for (const Entry& entry : heap_) places_[entry.number] = kNone;
    heap_.clear();
  }

 private:
  struct Entry {
    std::int64_t at = 0;
    std::uint32_t number = 0;
  };
  void put(std::uint32_t place, const Entry& entry) {
    heap_[place] = entry;
    places_[entry.number] = place;
  }
  void rise(std::uint32_t place) {
    const Entry entry = heap_[place];
    while (place != 0) {
      const std::uint32_t above = (place - 1) / 2;
      if (heap_[above].at <= entry.at) break;
      put(place, heap_[above]);
      place = above;
    }
    put(place, entry);
  }
  void sink(std::uint32_t place) {
    const Entry entry = heap_[place];
    const auto size = static_cast<std::uint32_t>(heap_.size());
    for (;;) {
      std::uint32_t below = 2 * place + 1;
      if (below >= size) break;
      if (below + 1 < size && heap_[below + 1].at < heap_[below].at) ++below;
      if (heap_[below].at >= entry.at) break;
      put(place, heap_[below]);
      place = below;
    }
    put(place, entry);
  }
  void remove(std::uint32_t place) {
    places_[heap_[place].number] = kNone;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (place == heap_.size()) return;
    put(place, last);
    sink(place);
    rise(places_[last.number]);
  }

  std::vector<Entry> heap_;
  std::vector<std::uint32_t> places_;  // by number, in heap_
};

}  // namespace tocsin::dispatch
