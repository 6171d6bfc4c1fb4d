// SPDX-License-Identifier: Apache-2.0
// CoalesceIndex: from a coalescing key to the newest live push that has it. A table of buckets, each a cache line: the low
// halves of eight hashes, which are compared at once, and the slots they stand for. A look at a record is needed only where
// such a half agrees.
//
// What finds its bucket full goes into the next one that is not; so a look goes on only behind a full bucket, and what is
// erased from one is replaced by what overflowed it: nothing else is left behind. In a bucket the first places are taken.
//
// Threads: one at a time. Ownership: stores slots only; the caller says whether a slot has a key. Bounds: at most half full
// up to kLargeBuckets (8 MB, where looks are what counts), above at most 6/7 full and grown by a quarter, so that a key
// costs 9.3 to 11.7 bytes from 1.12 million on; keeps its size. Homes go by the hash as a share of the size, so that growing
// reads and writes the tables from end to end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/assertion.h"
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
    const auto half = static_cast<std::uint32_t>(hash);
    for (std::size_t at = home(half);; at = following(at)) {
      const Bucket& bucket = buckets_[at];
      for (unsigned found = equal(bucket.hashes, half); found != 0; found &= found - 1) {
        const std::uint32_t slot = bucket.slots[std::countr_zero(found)];
        if (slot != kNone && same(slot)) return slot;
      }
      if (!bucket.full()) return kNone;
    }
  }

  // Asks for the memory where that key is looked for.
  void expect(std::uint64_t hash) const {
    if (size_ != 0) base::prefetch(&buckets_[home(static_cast<std::uint32_t>(hash))]);
  }

  // Another slot stands for a key that is there as `old`.
  void replace(std::uint64_t hash, std::uint32_t old, std::uint32_t slot) {
    const auto [at, place] = place_of(hash, old);
    buckets_[at].slots[place] = slot;
  }

  void add(std::uint64_t hash, std::uint32_t slot) {
    if (size_ == most_) grow();
    put(static_cast<std::uint32_t>(hash), slot);
    ++size_;
  }

  void erase(std::uint64_t hash, std::uint32_t slot) {
    auto [hole, place] = place_of(hash, slot);
    while (buckets_[hole].full() && fill(hole, place)) {
    }
    Bucket& bucket = buckets_[hole];
    const unsigned last = bucket.count() - 1;
    bucket.hashes[place] = bucket.hashes[last];
    bucket.slots[place] = bucket.slots[last];
    bucket.slots[last] = kNone;
    --size_;
  }

  std::size_t entries() const { return count_ * kPlaces; }

 private:
  static constexpr unsigned kPlaces = 8;
  static constexpr std::size_t kBucketsMin = 128;
  static constexpr std::size_t kLargeBuckets = (std::size_t{1} << 20) / kPlaces;

  struct alignas(64) Bucket {
    std::uint32_t hashes[kPlaces] = {};  // they alone decide the home
    std::uint32_t slots[kPlaces] = {kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};

    bool full() const { return slots[kPlaces - 1] != kNone; }
    unsigned count() const { return full() ? kPlaces : static_cast<unsigned>(std::countr_zero(equal(slots, kNone))); }
  };

  // Bit i: the i-th of these is this value.
  static unsigned equal(const std::uint32_t (&values)[kPlaces], std::uint32_t value) {
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(value));
    const auto* at = reinterpret_cast<const __m128i*>(values);
    const __m128i low = _mm_cmpeq_epi32(_mm_load_si128(at), wanted);
    const __m128i high = _mm_cmpeq_epi32(_mm_load_si128(at + 1), wanted);
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(low, high), _mm_setzero_si128())));
#else
    unsigned found = 0;
    for (unsigned i = 0; i < kPlaces; ++i) found |= values[i] == value ? 1u << i : 0;
    return found;
#endif
  }

  static std::size_t fill_max(std::size_t buckets) {
    return buckets <= kLargeBuckets ? buckets * kPlaces / 2 : buckets * kPlaces / 7 * 6;
  }
  std::size_t home(std::uint32_t hash) const { return static_cast<std::size_t>(std::uint64_t{hash} * count_ >> 32); }
  std::size_t following(std::size_t at) const { return at + 1 == count_ ? 0 : at + 1; }
  // Steps from one bucket to another.
  std::size_t way(std::size_t from, std::size_t to) const { return to >= from ? to - from : to + count_ - from; }

  // Bucket and place of a slot that is there.
  std::pair<std::size_t, unsigned> place_of(std::uint64_t hash, std::uint32_t slot) const {
    for (std::size_t at = home(static_cast<std::uint32_t>(hash));; at = following(at)) {
      if (const unsigned found = equal(buckets_[at].slots, slot); found != 0) {
        return {at, static_cast<unsigned>(std::countr_zero(found))};
      }
      TOCSIN_ASSERT(buckets_[at].full());  // else it is nowhere
    }
  }

  void put(std::uint32_t hash, std::uint32_t slot) {
    std::size_t at = home(hash);
    while (buckets_[at].full()) at = following(at);
    Bucket& bucket = buckets_[at];
    const unsigned place = bucket.count();
    bucket.hashes[place] = hash;
    bucket.slots[place] = slot;
  }

  // Fills a hole in a full bucket with an entry behind it that would rather be there, whose place is the hole then. False:
  // there is none. No entry lies behind a bucket that is not full, but those at home there.
  bool fill(std::size_t& hole, unsigned& place) {
    for (std::size_t at = following(hole);; at = following(at)) {
      const Bucket& bucket = buckets_[at];
      for (unsigned i = 0; i < kPlaces && bucket.slots[i] != kNone; ++i) {
        if (way(home(bucket.hashes[i]), at) < way(hole, at)) continue;
        buckets_[hole].hashes[place] = bucket.hashes[i];
        buckets_[hole].slots[place] = bucket.slots[i];
        hole = at;
        place = i;
        return true;
      }
      if (!bucket.full()) return false;
    }
  }

  void grow() {
    count_ = count_ == 0 ? kBucketsMin : count_ < kLargeBuckets ? 2 * count_ : count_ + count_ / 4;
    most_ = fill_max(count_);
    std::vector<Bucket> old(count_);
    old.swap(buckets_);
    for (const Bucket& bucket : old) {
      for (unsigned i = 0; i < kPlaces && bucket.slots[i] != kNone; ++i) put(bucket.hashes[i], bucket.slots[i]);
    }
  }

  std::vector<Bucket> buckets_;
  std::size_t count_ = 0;  // of them
  std::size_t most_ = 0;   // keys before it grows
  std::uint32_t size_ = 0;
};

}  // namespace tocsin::dispatch
