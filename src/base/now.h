// SPDX-License-Identifier: Apache-2.0
// Time as an argument. Monotonic and wall time are separate inputs of every step; pure rooms never read a clock.
#pragma once

#include <cstdint>
#include <limits>

namespace tocsin::base {

struct Now {
  std::int64_t mono_ns = 0;  // never steps back; origin is arbitrary
  std::int64_t wall_ns = 0;  // Unix time; may step
};

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t kMillisecond = 1'000'000;
inline constexpr std::int64_t kSecond = 1'000'000'000;

}  // namespace tocsin::base
