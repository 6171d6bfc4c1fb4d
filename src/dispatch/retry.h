// SPDX-License-Identifier: Apache-2.0
// Retries: when, how many, and how a connection is taken back into use after an outage.
//
// Threads: one at a time. Time and chance come in. Source: Apple, "Handling notification responses from APNs" (the
// classes stand in apns/reasons.h).
#pragma once

#include <algorithm>
#include <cstdint>

#include "apns/reasons.h"
#include "base/now.h"
#include "base/prng.h"

namespace tocsin::dispatch {

// How long a push waits before it is tried again; 0 for the classes that do not wait. `how_often`: delays it has had
// already. later_ns: the first long wait of Retry::later (its very first is short: another connection may do).
std::int64_t retry_delay_ns(apns::Retry how, unsigned how_often, std::int64_t later_ns, base::Prng& chance);

// An answer that asks for a later try does not use up attempts_max: APNs did not take the push, and a spell of such
// answers lasts minutes. It may do so this often: with waits that double up to 15 minutes, an hour or so, as long as
// pushes wait for an endpoint that cannot be reached at all.
inline constexpr unsigned kWaitsMax = 10;

// Retries may not become the load. Each first attempt adds a tenth of a retry, each accepted push two (so that what piled
// up in an outage goes out at a growing rate once answers are good), and 10 a second come in any case.
class RetryBudget {
 public:
  explicit RetryBudget(double left = 100) : left_(left) {}
  void first_attempts(std::uint32_t count) { add(0.1 * count); }
  void accepted(std::uint32_t count) { add(2.0 * count); }
  bool spend(std::int64_t now) {
    if (filled_at_ == base::kNever) filled_at_ = now;  // the origin of `now` is arbitrary
    if (now > filled_at_) {
      add(static_cast<double>(now - filled_at_) * (kPerSecond / static_cast<double>(base::kSecond)));
      filled_at_ = now;
    }
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
  }

 private:
  static constexpr double kPerSecond = 10;
  static constexpr double kMost = 1000;
  void add(double amount) { left_ = std::min(left_ + amount, kMost); }

  double left_;
  std::int64_t filled_at_ = base::kNever;
};

// After an outage each connection begins with few requests in flight; each accepted push allows one more, which doubles
// them with every round trip, until that no longer limits anything.
class Ramp {
 public:
  void start() { limit_ = 32; }
  bool active() const { return limit_ != 0; }
  std::uint32_t limit() const { return limit_; }
  // True: it has ended just now.
  bool good_answers(std::uint32_t count) {
    if (limit_ == 0 || (limit_ += count) < 4096) return false;
    limit_ = 0;
    return true;
  }

 private:
  std::uint32_t limit_ = 0;
};

}  // namespace tocsin::dispatch
