// SPDX-License-Identifier: Apache-2.0
// The codes that hex.h chooses from. For hex.cc, stamp.cc, tests and benchmarks: everyone else calls hex.h.
//
// Threads: any; nothing here changes once the program runs. Ownership: none. Bounds and errors: those of hex.h; `decode` is asked for
// texts of even length only, and may have written to `out` when it refuses. Nothing is read or written beyond what is named.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/hex.h"

namespace tocsin::base {

struct HexCode {
  const char* name;
  bool (*decode)(const char* digits, std::size_t count, std::uint8_t* out);
  void (*encode)(const std::uint8_t* bytes, std::size_t count, char* out);
  // The index of the first character that is no digit, or `count`.
  std::size_t (*first_bad)(const char* text, std::size_t count);
};

// Those that this CPU can run, slowest first: the portable one is always there, and the last is what hex.h uses.
std::span<const HexCode> hex_codes();

// uuid_format() and uuid_parse_case() with the portable code, on every CPU.
void uuid_format_plain(const std::uint8_t* uuid, char* out, bool upper);
LetterCase uuid_parse_case_plain(std::string_view text, std::array<std::uint8_t, 16>& out);

}  // namespace tocsin::base
