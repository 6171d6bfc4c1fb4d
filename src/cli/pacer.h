// SPDX-License-Identifier: Apache-2.0
// Pacer: how many pushes may be handed over now, for an even rate. What was not used is kept for at most
// 50 ms, so that a pause is not followed by a burst. Threads: one at a time; time is an argument.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tocsin::cli {

class Pacer {
 public:
  static constexpr double kBurstSeconds = 0.05;

  explicit Pacer(double per_second) : rate_(per_second), burst_(std::max(1.0, per_second * kBurstSeconds)) {}

  bool on() const { return rate_ > 0; }

  std::uint64_t allowed(std::int64_t mono_ns) {
    if (last_ns_ == 0) last_ns_ = mono_ns, saved_ = 1;
    saved_ = std::min(burst_, saved_ + rate_ * static_cast<double>(mono_ns - last_ns_) / 1e9);
    last_ns_ = mono_ns;
    return static_cast<std::uint64_t>(saved_);
  }
  void used(std::uint64_t pushes) { saved_ -= static_cast<double>(pushes); }

  // Milliseconds until the next push may go, 1 at least.
  int wait_ms() const {
    if (saved_ >= 1) return 1;
    return static_cast<int>(std::clamp((1 - saved_) / rate_ * 1000, 1.0, 20.0));
  }

 private:
  double rate_;
  double burst_;
  double saved_ = 0;
  std::int64_t last_ns_ = 0;
};

}  // namespace tocsin::cli
