// SPDX-License-Identifier: Apache-2.0
#include "dispatch/retry.h"

namespace tocsin::dispatch {
namespace {

// Between a half and the whole of `first`, doubled `how_often` times up to `most`.
std::int64_t doubled(std::int64_t first, unsigned how_often, std::int64_t most, base::Prng& chance) {
  std::int64_t bound = std::clamp<std::int64_t>(first, 2, most);
  for (unsigned i = 0; i < how_often && bound < most; ++i) bound *= 2;
  bound = std::min(bound, most);
  return bound / 2 + static_cast<std::int64_t>(chance.below(static_cast<std::uint64_t>(bound / 2)));
}

}  // namespace

std::int64_t retry_delay_ns(apns::Retry how, unsigned how_often, std::int64_t later_ns, base::Prng& chance) {
  switch (how) {
    case apns::Retry::later:
      if (how_often == 0) return doubled(later_ns, 0, base::kSecond, chance);
      return doubled(later_ns, how_often - 1, 900 * base::kSecond, chance);
    case apns::Retry::token: return doubled(base::kSecond, how_often, 300 * base::kSecond, chance);
    case apns::Retry::keep_token: return doubled(60 * base::kSecond, how_often, 1200 * base::kSecond, chance);
    case apns::Retry::never:
    case apns::Retry::elsewhere:
    case apns::Retry::new_token:
    case apns::Retry::rebind: break;
  }
  return 0;
}

}  // namespace tocsin::dispatch
