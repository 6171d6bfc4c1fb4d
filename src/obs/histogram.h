// SPDX-License-Identifier: Apache-2.0
// Histogram: counts of values in log-linear buckets, 64 to an octave, so that a percentile is at most
// 1/64 above the true value. For nanoseconds up to some 19 hours, and for sizes.
//
// Threads: one at a time; merge per-thread ones for a whole. Ownership: a plain value. Bounds: 21 KiB,
// fixed; values beyond kValueMax count in the last bucket (max() stays exact).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tocsin::obs {

class Histogram {
 public:
  static constexpr unsigned kSubBits = 6;    // 64 buckets to an octave
  static constexpr unsigned kValueBits = 46;
  static constexpr std::uint64_t kValueMax = (std::uint64_t{1} << kValueBits) - 1;

  void record(std::uint64_t value, std::uint64_t times = 1) {
    if (times == 0) return;
    counts_[index_of(value)] += times;
    if (count_ == 0 || value < min_) min_ = value;
    if (value > max_) max_ = value;
    count_ += times;
    sum_ += static_cast<double>(value) * static_cast<double>(times);
  }

  void merge(const Histogram& other) {
    if (other.count_ == 0) return;
    for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    if (count_ == 0 || other.min_ < min_) min_ = other.min_;
    if (other.max_ > max_) max_ = other.max_;
    count_ += other.count_;
    sum_ += other.sum_;
  }

  void clear() { *this = Histogram{}; }

  // The value that `percent` (0 to 100) of all values do not exceed, rounded up to its bucket's end but
  // never beyond max(). 0 when empty.
  std::uint64_t percentile(double percent) const;

  // Calls f(highest value of a bucket, how often) for every bucket that counted something, in ascending order.
  template <class F>
  void for_each(F f) const {
    for (std::size_t i = 0; i < kBuckets; ++i) {
      if (counts_[i] != 0) f(highest_of(i), counts_[i]);
    }
  }

  std::uint64_t count() const { return count_; }
  std::uint64_t min() const { return min_; }
  std::uint64_t max() const { return max_; }
  double sum() const { return sum_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

 private:
  static constexpr std::size_t kBuckets = (kValueBits - kSubBits - 1) * (std::size_t{1} << kSubBits) +
                                          (std::size_t{2} << kSubBits);

  // Values below 128 have a bucket each; above, `shift` drops what 7 significant bits cannot hold.
  static constexpr std::size_t index_of(std::uint64_t value) {
    if (value > kValueMax) value = kValueMax;
    const unsigned width = static_cast<unsigned>(std::bit_width(value));
    const unsigned shift = width > kSubBits + 1 ? width - kSubBits - 1 : 0;
    return (static_cast<std::size_t>(shift) << kSubBits) + static_cast<std::size_t>(value >> shift);
  }
  static std::uint64_t highest_of(std::size_t index);

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t min_ = 0;
  std::uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace tocsin::obs
