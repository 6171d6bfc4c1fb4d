// SPDX-License-Identifier: Apache-2.0
// CoalesceIndex: from a coalescing key to the newest live push that has it. Open addressing with backward-shift deletion;
// entries hold the hash's low half, so that a look at a record is needed only where that agrees.
//
// Threads: one at a time. Ownership: stores slots only; the caller says whether a slot has a key. Bounds: grows by
// doubling and keeps its size; at most half full.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace tocsin::dispatch {

struct CoalesceKey {
  std::uint32_t topic = 0;
  bool by_collapse = false;
  base::ByteView token;
  base::ByteView collapse_id;  // empty unless by_collapse
  std::uint64_t hash = 0;
};

class CoalesceIndex {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;

  std::uint32_t size() const { return size_; }

  // The slot with this key, by same(slot); kNone.
  template <class Same>
  std::uint32_t find(std::uint64_t hash, Same&& same) const {
    if (size_ == 0) return kNone;
    for (std::size_t at = hash & mask_; entries_[at].slot != kNone; at = (at + 1) & mask_) {
      if (entries_[at].hash == static_cast<std::uint32_t>(hash) && same(entries_[at].slot)) return entries_[at].slot;
    }
    return kNone;
  }

  // Another slot stands for a key that is there as `old`.
  void replace(std::uint64_t hash, std::uint32_t old, std::uint32_t slot) { entries_[place(hash, old)].slot = slot; }

  void add(std::uint64_t hash, std::uint32_t slot) {
    if (2 * (std::size_t{size_} + 1) > entries_.size()) grow();
    put({slot, static_cast<std::uint32_t>(hash)});
    ++size_;
  }

  void erase(std::uint64_t hash, std::uint32_t slot) {
    std::size_t hole = place(hash, slot);
    for (std::size_t at = (hole + 1) & mask_; entries_[at].slot != kNone; at = (at + 1) & mask_) {
      // An entry moves back if its home does not lie between the hole and its place.
      const std::size_t home = entries_[at].hash & mask_;
      if (((at - home) & mask_) >= ((at - hole) & mask_)) {
        entries_[hole] = entries_[at];
        hole = at;
      }
    }
    entries_[hole] = Entry{};
    --size_;
  }

 private:
  struct Entry {
    std::uint32_t slot = kNone;
    std::uint32_t hash = 0;  // its low half also decides the place: tables stay below 2^32 entries
  };

  std::size_t place(std::uint64_t hash, std::uint32_t slot) const {
    std::size_t at = hash & mask_;
    while (entries_[at].slot != slot) at = (at + 1) & mask_;
    return at;
  }
  void put(Entry entry) {
    std::size_t at = entry.hash & mask_;
    while (entries_[at].slot != kNone) at = (at + 1) & mask_;
    entries_[at] = entry;
  }
  void grow() {
    std::vector<Entry> old(entries_.empty() ? 1024 : 2 * entries_.size());
    old.swap(entries_);
    mask_ = static_cast<std::uint32_t>(entries_.size() - 1);
    for (const Entry& entry : old) {
      if (entry.slot != kNone) put(entry);
    }
  }

  std::vector<Entry> entries_;
  std::uint32_t mask_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace tocsin::dispatch
