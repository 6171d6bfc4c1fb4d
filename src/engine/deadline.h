// SPDX-License-Identifier: Apache-2.0
// A wall-clock deadline as the shard keeps it: a tick of monotonic time, fixed at submit. Pure; threads: any.
#pragma once

#include <cstdint>
#include <limits>

#include "base/now.h"
#include "dispatch/record.h"

namespace tocsin::engine {

// The wall time of an apns-expiration in seconds, saturated where nanoseconds do not reach (year 2262).
constexpr std::int64_t expiration_wall_ns(std::int64_t unix_s) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / base::kSecond;
  return unix_s >= kMost ? std::numeric_limits<std::int64_t>::max() : unix_s * base::kSecond;
}

// The first tick at or after the deadline (no push expires early); 1, which is past, for one that has passed; the last
// tick for what lies beyond 32 bits of ticks. deadline_wall_ns > 0.
constexpr dispatch::Tick deadline_tick(std::int64_t deadline_wall_ns, base::Now now, std::int64_t start_mono_ns) {
  if (deadline_wall_ns <= now.wall_ns) return 1;
  const std::int64_t left_ns = deadline_wall_ns - now.wall_ns;
  const std::int64_t since_start_ns = now.mono_ns - start_mono_ns;
  constexpr std::int64_t kMostNs = std::int64_t{dispatch::kTickMax} * dispatch::kTickNs;
  if (left_ns >= kMostNs - since_start_ns) return dispatch::kTickMax;
  return static_cast<dispatch::Tick>((since_start_ns + left_ns + dispatch::kTickNs - 1) / dispatch::kTickNs);
}

}  // namespace tocsin::engine
