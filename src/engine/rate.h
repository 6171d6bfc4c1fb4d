// SPDX-License-Identifier: Apache-2.0
// RateBucket: a token bucket for one paced thing (the engine, a credential, a group), process-wide; Rate: the same behind
// a lock, with its switch. Shards ask for leases of a batch and hold none longer than 50 ms, so it is touched per batch, not per push.
//
// Bound: over any stretch of time no more than rate x time + burst are leased; burst is 50 ms worth, at least one.
// RateBucket is pure (time and jitter come in). Threads: RateBucket one at a time, Rate any.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/now.h"

namespace tocsin::engine {

// What a bucket answers: pushes that may go, or none and when to ask again.
struct Lease {
  std::uint32_t count = 0;
  std::int64_t again_mono_ns = 0;
};

class RateBucket {
 public:
  static constexpr double kBurstS = 0.050;    // what may have gathered
  static constexpr double kShareS = 0.020;    // the most that one lease takes, so that other shards get theirs
  static constexpr double kQuantumS = 0.005;  // the least worth a step, where more is wanted
  static constexpr std::int64_t kJitterMaxNs = 10 * base::kMillisecond;

  // 0: no limit. What has gathered stays, within the new burst; a bucket that had no limit begins with one push.
  void set(double per_second, std::int64_t now_mono_ns) {
    refill(now_mono_ns);
    if (rate_ == 0) tokens_ = 1;
    rate_ = per_second;
    tokens_ = std::min(tokens_, burst());
    last_mono_ns_ = now_mono_ns;
  }
  double per_second() const { return rate_; }

  // `chance` in [0, 1) spreads the askers: they come back up to kJitterMaxNs later than the earliest moment.
  Lease take(std::uint32_t asked, std::int64_t now_mono_ns, double chance) {
    if (rate_ == 0 || asked == 0) return {asked, now_mono_ns};
    refill(now_mono_ns);
    const double most = std::min<double>(asked, whole(kShareS));
    const double least = std::min(most, whole(kQuantumS));
    if (tokens_ < least) {
      const double wait_s = (least - tokens_) / rate_;
      return {0, now_mono_ns + 1 + static_cast<std::int64_t>(wait_s * 1e9 + chance * static_cast<double>(kJitterMaxNs))};
    }
    const auto count = static_cast<std::uint32_t>(std::min(most, tokens_));
    tokens_ -= count;
    return {count, now_mono_ns};
  }

 private:
  double burst() const { return std::max(1.0, rate_ * kBurstS); }
  double whole(double seconds) const {
    return std::max(1.0, static_cast<double>(static_cast<std::int64_t>(rate_ * seconds)));
  }
  void refill(std::int64_t now_mono_ns) {
    if (rate_ == 0 || now_mono_ns <= last_mono_ns_) return;
    tokens_ = std::min(burst(), tokens_ + rate_ * static_cast<double>(now_mono_ns - last_mono_ns_) * 1e-9);
    last_mono_ns_ = now_mono_ns;
  }

  double rate_ = 0;
  double tokens_ = 1;
  std::int64_t last_mono_ns_ = 0;
};

class Rate {
 public:
  void set(double per_second, std::int64_t now_mono_ns) {
    const std::lock_guard lock(mutex_);
    bucket_.set(per_second, now_mono_ns);
    paced_.store(per_second != 0, std::memory_order_release);
  }
  bool paced() const { return paced_.load(std::memory_order_acquire); }
  Lease take(std::uint32_t asked, std::int64_t now_mono_ns, double chance) {
    if (!paced()) return {asked, now_mono_ns};
    const std::lock_guard lock(mutex_);
    return bucket_.take(asked, now_mono_ns, chance);
  }

 private:
  std::mutex mutex_;
  RateBucket bucket_;
  std::atomic<bool> paced_{false};
};

}  // namespace tocsin::engine
