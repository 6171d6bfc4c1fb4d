// SPDX-License-Identifier: Apache-2.0
// Delays: answers that must not leave before their time, earliest first.
//
// Threads: one at a time. Ownership: holds copies. Bounds: none of its own; an answer waits only while its
// stream is open, so the sum of the connections' stream limits bounds it. Memory is kept between uses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/now.h"
#include "mock/gateway.h"

namespace tocsin::mockd {

struct DelayedAnswer {
  std::uint64_t connection = 0;
  std::int32_t stream_id = 0;
  mock::Reply reply;
};

class Delays {
 public:
  // Due times are rounded up to this grid: answers of one batch leave in one write.
  static constexpr std::int64_t kGridNs = 250'000;

  void add(std::int64_t due_mono_ns, const DelayedAnswer& answer) {
    std::uint32_t place = 0;
    if (free_.empty()) {
      place = static_cast<std::uint32_t>(answers_.size());
      answers_.push_back(answer);
    } else {
      place = free_.back();
      free_.pop_back();
      answers_[place] = answer;
    }
    heap_.push_back({(due_mono_ns + kGridNs - 1) / kGridNs * kGridNs, place});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  // False if nothing is due.
  bool take_due(std::int64_t now_mono_ns, DelayedAnswer& out) {
    if (next_due() > now_mono_ns) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const std::uint32_t place = heap_.back().place;
    heap_.pop_back();
    out = answers_[place];
    free_.push_back(place);
    return true;
  }

  std::int64_t next_due() const { return heap_.empty() ? base::kNever : heap_.front().due_mono_ns; }
  std::size_t size() const { return heap_.size(); }

 private:
  struct Due {
    std::int64_t due_mono_ns;
    std::uint32_t place;
  };
  static bool later(const Due& a, const Due& b) { return a.due_mono_ns > b.due_mono_ns; }

  std::vector<Due> heap_;
  std::vector<DelayedAnswer> answers_;
  std::vector<std::uint32_t> free_;
};

}  // namespace tocsin::mockd
