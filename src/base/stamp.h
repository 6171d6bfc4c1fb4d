// SPDX-License-Identifier: Apache-2.0
// Stamping: copies of one image, each with values of its own, shown as text: the 64 digits of a token of 32 bytes, and the 36
// characters of UUIDs, in lower or upper case. One call for a whole run of copies, so that the choice of code, the digit tables
// and the permutations are paid for once.
//
// Threads: any; pure functions. Ownership: none; a run looks at what it is given and keeps nothing. Bounds: reads the image up to the
// next whole kStampBlock; writes `count` copies and up to kStampSlack bytes behind them, which it spoils.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tocsin::base {

inline constexpr std::size_t kStampBlock = 64;
inline constexpr std::size_t kStampSlack = kStampBlock;
inline constexpr std::size_t kStampUuidsMax = 3;

struct StampImage {
  struct Uuid {
    std::uint32_t at = 0;
    bool upper = false;
  };
  const char* bytes = nullptr;
  std::size_t size = 0;
  std::uint32_t token_at = 0;
  std::uint32_t uuids_used = 0;
  std::array<Uuid, kStampUuidsMax> uuids{};  // neither they nor the token overlap
};

// Of one copy.
struct StampValues {
  const std::uint8_t* token = nullptr;
  std::array<const std::uint8_t*, kStampUuidsMax> uuids{};  // those that the image has
};

struct StampCode {
  const char* name;
  void (*run)(const StampImage& image, const StampValues* values, std::size_t count, char* out);
};

// Those that this CPU can run, slowest first: the portable one is always there, and the last is to be used.
std::span<const StampCode> stamp_codes();

}  // namespace tocsin::base
