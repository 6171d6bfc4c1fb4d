// SPDX-License-Identifier: Apache-2.0
// FreeSlots: which slots of a table are free, the lowest first, so that a table that was once fuller comes back to the memory
// at its beginning, and what is taken one after the other mostly lies so.
//
// A bitmap of slots given back, above it one of its words that have any, and so on up to a single word. Slots never taken
// yet are in none of them: they begin at end(), above all others. The bitmaps are asked for as zeros, so that of a large table
// no memory is touched before a slot comes back that stands there.
//
// Threads: one at a time. Bounds: `slots` of them, for each of which little more than a bit of address space is set aside;
// nothing is allocated after construction. Errors: std::bad_alloc at construction; taking more than there are is asserted;
// giving back what was not taken is misuse.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/assertion.h"

namespace tocsin::dispatch {

class FreeSlots {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr unsigned kAhead = 5;

  explicit FreeSlots(std::uint32_t slots)
      : slots_(slots), words_(static_cast<std::uint64_t*>(std::calloc(words_of(slots), sizeof(std::uint64_t)))) {
    if (words_ == nullptr && slots != 0) throw std::bad_alloc();
    std::uint32_t begin = 0;
    for (std::uint64_t count = per_word(slots); count != 0; count = count == 1 ? 0 : per_word(count)) {
      begins_[levels_++] = begin;
      begin += static_cast<std::uint32_t>(count);
    }
  }

  std::uint32_t take() {
    if (lowest_ == kNone) return take_fresh();
    std::uint64_t& bits = words_[lowest_];
    const std::uint32_t slot = lowest_ * kBits + first(bits);
    bits &= bits - 1;
    if (bits == 0) lowest_ = word_after(lowest_);
    return slot;
  }

  void give(std::uint32_t slot) {
    const std::uint32_t word = slot / kBits;
    std::uint64_t& bits = words_[word];
    if (bits == 0) announce(word);
    bits |= std::uint64_t{1} << slot % kBits;
    if (word < lowest_) lowest_ = word;
  }

  // A slot that is taken soon, if nothing lower is given back: the one after kAhead others, or of those in sight (in the lowest
  // word that has any and in the next) the last. kNone: none is.
  std::uint32_t upcoming() const {
    if (lowest_ == kNone) return kNone;
    std::uint64_t bits = words_[lowest_];
    for (unsigned i = 0; i < kAhead; ++i) bits &= bits - 1;
    return bits != 0 ? lowest_ * kBits + first(bits) : upcoming_further();
  }

  // Slots from here on were never taken.
  std::uint32_t end() const { return fresh_; }

 private:
  static constexpr std::uint32_t kBits = 64;
  static constexpr unsigned kLevelsMax = 6;  // 64^6 is more than there are numbers
  struct Free {
    void operator()(std::uint64_t* words) const { std::free(words); }
  };

  static std::uint32_t first(std::uint64_t bits) { return static_cast<std::uint32_t>(std::countr_zero(bits)); }
  static std::uint64_t per_word(std::uint64_t count) { return (count + kBits - 1) / kBits; }
  static std::uint32_t words_of(std::uint32_t slots) {
    std::uint64_t words = 0;
    for (std::uint64_t count = per_word(slots); count != 0; count = count == 1 ? 0 : per_word(count)) words += count;
    return static_cast<std::uint32_t>(words);
  }
  std::uint64_t& word(unsigned level, std::uint32_t index) const { return words_[begins_[level] + index]; }

  std::uint32_t take_fresh() {
    TOCSIN_ASSERT(fresh_ < slots_);
    return fresh_++;
  }

  // This word gets its first bit.
  void announce(std::uint32_t index) {
    for (unsigned level = 1; level < levels_; ++level, index /= kBits) {
      std::uint64_t& bits = word(level, index / kBits);
      const bool known = bits != 0;
      bits |= std::uint64_t{1} << index % kBits;
      if (known) return;
    }
  }

  // The lowest word lost its last bit: which one is the lowest now.
  std::uint32_t word_after(std::uint32_t index) {
    for (unsigned level = 1; level < levels_; ++level) {
      std::uint64_t& bits = word(level, index / kBits);
      bits &= bits - 1;  // that of the lowest
      index /= kBits;
      if (bits == 0) continue;
      for (; level != 0; --level) index = index * kBits + first(word(level, index));
      return index;
    }
    return kNone;
  }

  // The same where the lowest word has no more than kAhead.
  std::uint32_t upcoming_further() const {
    std::uint32_t at = lowest_;
    std::uint64_t bits = words_[at];
    unsigned ahead = kAhead;
    if (levels_ > 1) {
      std::uint64_t others = word(1, at / kBits);
      others &= others - 1;
      if (others != 0) {
        for (; bits != 0; bits &= bits - 1) --ahead;
        at = at / kBits * kBits + first(others);
        bits = words_[at];
      }
    }
    for (; ahead != 0 && (bits & (bits - 1)) != 0; --ahead) bits &= bits - 1;
    return at * kBits + first(bits);
  }

  std::uint32_t slots_;
  std::unique_ptr<std::uint64_t[], Free> words_;  // level by level
  std::array<std::uint32_t, kLevelsMax> begins_{};
  unsigned levels_ = 0;
  std::uint32_t lowest_ = kNone;  // of the words of level 0 that have a bit
  std::uint32_t fresh_ = 0;
};

}  // namespace tocsin::dispatch
