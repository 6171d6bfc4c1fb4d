// SPDX-License-Identifier: Apache-2.0
#include "obs/histogram.h"

#include <algorithm>
#include <cmath>

namespace tocsin::obs {

std::uint64_t Histogram::highest_of(std::size_t index) {
  constexpr std::size_t kSub = std::size_t{1} << kSubBits;
  if (index < 2 * kSub) return index;
  const std::size_t shift = (index >> kSubBits) - 1;
  const std::uint64_t mantissa = index - (shift << kSubBits);
  return ((mantissa + 1) << shift) - 1;
}

std::uint64_t Histogram::percentile(double percent) const {
  if (count_ == 0) return 0;
  const double share = std::clamp(percent, 0.0, 100.0) / 100.0;
  const double exact = std::ceil(share * static_cast<double>(count_));
  const std::uint64_t rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(exact), 1, count_);
  if (rank == count_) return max_;
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::clamp(highest_of(i), min_, max_);
  }
  return max_;
}

}  // namespace tocsin::obs
