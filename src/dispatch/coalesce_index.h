// SPDX-License-Identifier: Apache-2.0
// CoalesceIndex: from a coalescing key to the newest live push that has it. Open addressing with backward-shift deletion;
// entries hold the hash's low half, so that a look at a record is needed only where that agrees.
//
// Threads: one at a time. Ownership: stores slots only; the caller says whether a slot has a key. Bounds: at most half full
// up to kLargeEntries (8 MB, where looks are what counts), above at most 6/7 full and grown by a quarter, so that a key
// costs 9.3 to 11.7 bytes; keeps its size. Places go by the hash as a share of the size, so that growing reads and writes the
// tables from end to end.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/prefetch.h"

namespace tocsin::dispatch {

class CoalesceIndex {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;

  std::uint32_t size() const { return size_; }

  // The slot with this key, by same(slot); kNone.
  template <class Same>
  std::uint32_t find(std::uint64_t hash, Same&& same) const {
    if (size_ == 0) return kNone;
    for (std::size_t at = home(static_cast<std::uint32_t>(hash)); entries_[at].slot != kNone; at = following(at)) {
      if (entries_[at].hash == static_cast<std::uint32_t>(hash) && same(entries_[at].slot)) return entries_[at].slot;
    }
    return kNone;
  }

  // Asks for the memory where that key is looked for.
  void expect(std::uint64_t hash) const {
    if (size_ != 0) base::prefetch(&entries_[home(static_cast<std::uint32_t>(hash))]);
  }

  // Another slot stands for a key that is there as `old`.
  void replace(std::uint64_t hash, std::uint32_t old, std::uint32_t slot) { entries_[place(hash, old)].slot = slot; }

  void add(std::uint64_t hash, std::uint32_t slot) {
    if (std::size_t{size_} + 1 > fill_max(entries_.size())) grow();
    put({slot, static_cast<std::uint32_t>(hash)});
    ++size_;
  }

  void erase(std::uint64_t hash, std::uint32_t slot) {
    std::size_t hole = place(hash, slot);
    for (std::size_t at = following(hole); entries_[at].slot != kNone; at = following(at)) {
      // An entry moves back if its home does not lie between the hole and its place.
      if (way(home(entries_[at].hash), at) >= way(hole, at)) {
        entries_[hole] = entries_[at];
        hole = at;
      }
    }
    entries_[hole] = Entry{};
    --size_;
  }

  std::size_t entries() const { return entries_.size(); }

 private:
  static constexpr std::size_t kEntriesMin = 1024;
  static constexpr std::size_t kLargeEntries = std::size_t{1} << 20;

  struct Entry {
    std::uint32_t slot = kNone;
    std::uint32_t hash = 0;  // it alone decides the place
  };

  static std::size_t fill_max(std::size_t entries) { return entries <= kLargeEntries ? entries / 2 : entries / 7 * 6; }
  std::size_t home(std::uint32_t hash) const { return static_cast<std::size_t>(std::uint64_t{hash} * entries_.size() >> 32); }
  std::size_t following(std::size_t at) const { return at + 1 == entries_.size() ? 0 : at + 1; }
  // Steps from one place to another.
  std::size_t way(std::size_t from, std::size_t to) const { return to >= from ? to - from : to + entries_.size() - from; }

  std::size_t place(std::uint64_t hash, std::uint32_t slot) const {
    std::size_t at = home(static_cast<std::uint32_t>(hash));
    while (entries_[at].slot != slot) at = following(at);
    return at;
  }
  void put(Entry entry) {
    std::size_t at = home(entry.hash);
    while (entries_[at].slot != kNone) at = following(at);
    entries_[at] = entry;
  }
  void grow() {
    const std::size_t had = entries_.size();
    std::vector<Entry> old(had == 0 ? kEntriesMin : had < kLargeEntries ? 2 * had : had + had / 4);
    old.swap(entries_);
    for (const Entry& entry : old) {
      if (entry.slot != kNone) put(entry);
    }
  }

  std::vector<Entry> entries_;
  std::uint32_t size_ = 0;
};

}  // namespace tocsin::dispatch
