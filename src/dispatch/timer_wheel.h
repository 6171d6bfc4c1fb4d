// SPDX-License-Identifier: Apache-2.0
// TimerWheel: slots of a pool ordered by the tick at which they are due, in four levels of 256 lists.
//
// A slot lies at the level of the highest byte in which its due tick differs from the wheel's now, in that byte's list, so
// that linking, unlinking and firing are O(1) and a slot moves down at most three times. Due ticks are not kept exactly in
// order below that, but none fires early, and all that are due by `to` fire in advance(to). Bitmaps find the next list,
// however far away it is.
//
// Threads: one at a time. Ownership: the links live in the pool's own entries, reached through `Links`. Bounds: ticks 1 to kTickMax; no memory of its own beyond the lists' heads.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "dispatch/record.h"

namespace tocsin::dispatch {

// Links: WheelLink& link(slot); Tick due(slot), kTickNone while not in the wheel; set_due(slot, Tick), which also tells it that
// it is in, or with kTickNone out.
template <class Links>
class TimerWheel {
 public:
  explicit TimerWheel(Links links) : links_(links) {
    for (auto& level : heads_) level.fill(WheelLink::kNone);
  }

  // One that is due already fires with the next advance.
  void link(std::uint32_t slot, Tick due) {
    if (due <= now_) due = now_ + 1;
    links_.set_due(slot, due);
    place(slot, due);
    ++size_;
  }

  void unlink(std::uint32_t slot) {
    const Tick due = links_.due(slot);
    if (due == kTickNone) return;
    remove(slot, due);
    links_.set_due(slot, kTickNone);
    --size_;
  }

  // Calls fire(slot) for each that is due by `to`; it is out of the wheel by then, and may be linked again.
  template <class Fire>
  void advance(Tick to, Fire&& fire) {
    while (now_ < to && size_ != 0) {
      unsigned level = 0;
      unsigned digit = 0;
      const Tick at = next(level, digit);
      if (at > to) break;
      now_ = at;
      std::uint32_t slot = heads_[level][digit];
      heads_[level][digit] = WheelLink::kNone;
      clear_bit(level, digit);
      while (slot != WheelLink::kNone) {
        const std::uint32_t following = links_.link(slot).next;
        const Tick due = links_.due(slot);
        if (due > now_) {
          place(slot, due);
        } else {
          links_.set_due(slot, kTickNone);
          --size_;
          fire(slot);
        }
        slot = following;
      }
    }
    if (now_ < to) now_ = to;
  }

  // Nothing fires before this tick; kTickMax when the wheel is empty.
  Tick next_due() const {
    unsigned level = 0;
    unsigned digit = 0;
    return size_ == 0 ? kTickMax : next(level, digit);
  }
  std::uint32_t size() const { return size_; }
  Tick now() const { return now_; }

 private:
  static constexpr unsigned kLevels = 4;

  static unsigned digit_of(Tick tick, unsigned level) { return tick >> (8 * level) & 255; }
  unsigned level_of(Tick due) const { return (31u - static_cast<unsigned>(std::countl_zero(due ^ now_))) / 8; }

  void place(std::uint32_t slot, Tick due) {
    const unsigned level = level_of(due);
    const unsigned digit = digit_of(due, level);
    std::uint32_t& head = heads_[level][digit];
    WheelLink& link = links_.link(slot);
    link.prev = WheelLink::kNone;
    link.next = head;
    if (head != WheelLink::kNone) links_.link(head).prev = slot;
    head = slot;
    bits_[level][digit / 64] |= std::uint64_t{1} << digit % 64;
  }

  void remove(std::uint32_t slot, Tick due) {
    const WheelLink link = links_.link(slot);
    if (link.next != WheelLink::kNone) links_.link(link.next).prev = link.prev;
    if (link.prev != WheelLink::kNone) {
      links_.link(link.prev).next = link.next;
      return;
    }
    // The first of its list: which list it is follows from where the wheel stands, as when it was placed.
    const unsigned level = level_of(due);
    const unsigned digit = digit_of(due, level);
    heads_[level][digit] = link.next;
    if (link.next == WheelLink::kNone) clear_bit(level, digit);
  }

  void clear_bit(unsigned level, unsigned digit) { bits_[level][digit / 64] &= ~(std::uint64_t{1} << digit % 64); }

  // The first list behind now; lower levels come first in time.
  Tick next(unsigned& level, unsigned& digit) const {
    for (level = 0; level < kLevels; ++level) {
      for (unsigned from = digit_of(now_, level) + 1; from < 256; from = (from / 64 + 1) * 64) {
        const std::uint64_t rest = bits_[level][from / 64] >> from % 64;
        if (rest == 0) continue;
        digit = from + static_cast<unsigned>(std::countr_zero(rest));
        const unsigned shift = 8 * level;
        const std::uint64_t above = level + 1 == kLevels ? 0 : (std::uint64_t{now_} >> (shift + 8)) << (shift + 8);
        return static_cast<Tick>(above | std::uint64_t{digit} << shift);
      }
    }
    return kTickMax;
  }

  Links links_;
  std::array<std::array<std::uint32_t, 256>, kLevels> heads_;
  std::uint64_t bits_[kLevels][4] = {};
  Tick now_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace tocsin::dispatch
