// SPDX-License-Identifier: Apache-2.0
// Delays: what one conversation does later (give an answer, reset a stream), earliest first.
//
// Threads: one at a time. Ownership: holds copies. Bounds: none of its own; a thing waits only while its
// stream is open, so the connection's stream limit bounds it. Memory is kept between uses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/now.h"

namespace tocsin::mock {

// Due times are rounded up to this grid: answers of one batch leave in one write.
inline constexpr std::int64_t kDelayGridNs = 250'000;

template <class T>
class Delays {
 public:
  void add(std::int64_t due_mono_ns, const T& what) {
    std::uint32_t place = 0;
    if (free_.empty()) {
      place = static_cast<std::uint32_t>(kept_.size());
      kept_.push_back(what);
    } else {
      place = free_.back();
      free_.pop_back();
      kept_[place] = what;
    }
    heap_.push_back({(due_mono_ns + kDelayGridNs - 1) / kDelayGridNs * kDelayGridNs, sequence_++, place});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  // False if nothing is due. Equal times come out in the order in which they went in.
  bool take_due(std::int64_t now_mono_ns, T& out) {
    if (next_due() > now_mono_ns) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const std::uint32_t place = heap_.back().place;
    heap_.pop_back();
    out = kept_[place];
    free_.push_back(place);
    return true;
  }

  std::int64_t next_due() const { return heap_.empty() ? base::kNever : heap_.front().due_mono_ns; }
  std::size_t size() const { return heap_.size(); }

 private:
  struct Due {
    std::int64_t due_mono_ns;
    std::uint64_t sequence;
    std::uint32_t place;
  };
  static bool later(const Due& a, const Due& b) {
    return a.due_mono_ns != b.due_mono_ns ? a.due_mono_ns > b.due_mono_ns : a.sequence > b.sequence;
  }

  std::vector<Due> heap_;
  std::vector<T> kept_;
  std::vector<std::uint32_t> free_;
  std::uint64_t sequence_ = 0;
};

}  // namespace tocsin::mock
