// SPDX-License-Identifier: Apache-2.0
// Chance: where a simulation's choices come from: a seeded generator, or bytes from outside until they are used up (so that
// a fuzzer steers them by what they cover), then the generator. Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/prng.h"

namespace tocsin::sim {

class Chance {
 public:
  explicit Chance(std::uint64_t seed, std::span<const std::uint8_t> choices = {}) : prng_(seed), choices_(choices) {}

  // Uniform in [0, bound), or what the bytes say, as few of them as the bound needs.
  std::uint64_t below(std::uint64_t bound) {
    if (choices_.empty()) return prng_.below(bound);
    std::uint64_t value = 0;
    for (std::uint64_t reach = 1; reach < bound && !choices_.empty() && reach < (1ull << 56); reach <<= 8) {
      value = value << 8 | choices_.front();
      choices_ = choices_.subspan(1);
    }
    return value % bound;
  }
  double unit() { return choices_.empty() ? prng_.unit() : static_cast<double>(below(65'536)) / 65'536.0; }
  bool chance(double likely) { return unit() < likely; }
  std::span<const std::uint8_t> choices() const { return choices_; }

 private:
  base::Prng prng_;
  std::span<const std::uint8_t> choices_;
};

}  // namespace tocsin::sim
