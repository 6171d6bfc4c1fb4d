// SPDX-License-Identifier: Apache-2.0
// What makes a response's fields malformed (RFC 9113 section 8.2 and 8.3), for both client sessions.
//
// Threads: pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tocsin::h2 {

inline constexpr std::uint64_t kNoLength = ~std::uint64_t{0};

// Three digits, 100 to 599, or 0.
inline std::uint16_t status_value(std::string_view text) {
  if (text.size() != 3) return 0;
  unsigned value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return 0;
    value = value * 10 + static_cast<unsigned>(digit - '0');
  }
  return value >= 100 && value < 600 ? static_cast<std::uint16_t>(value) : std::uint16_t{0};
}

// Digits only, or kNoLength.
inline std::uint64_t length_value(std::string_view text) {
  if (text.empty() || text.size() > 18) return kNoLength;
  std::uint64_t value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return kNoLength;
    value = value * 10 + static_cast<unsigned>(digit - '0');
  }
  return value;
}

// Fields of an HTTP/1 connection, which make a message malformed (section 8.2.2).
inline bool connection_specific(std::string_view name) {
  switch (name.size()) {
    case 7: return name == "upgrade";
    case 10: return name == "connection" || name == "keep-alive";
    case 16: return name == "proxy-connection";
    case 17: return name == "transfer-encoding";
    default: return false;
  }
}

// RFC 9110's token characters, without upper case.
inline constexpr std::array<bool, 256> kNameCharacters = [] {
  std::array<bool, 256> table{};
  for (unsigned c = '0'; c <= '9'; ++c) table[c] = true;
  for (unsigned c = 'a'; c <= 'z'; ++c) table[c] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] = true;
  return table;
}();

// Of a regular field.
inline bool valid_name(std::string_view name) {
  if (name.empty()) return false;
  for (const char c : name) {
    if (!kNameCharacters[static_cast<unsigned char>(c)]) return false;
  }
  return true;
}

// No control characters but tabs, no blank at either end (section 8.2.1).
inline bool valid_value(std::string_view value) {
  if (value.empty()) return true;
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  if (blank(value.front()) || blank(value.back())) return false;
  std::size_t i = 0;
#if defined(__SSE2__)
  const auto bad = [&](std::size_t at) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(value.data() + at));
    // Unsigned "below 0x20" by way of the minimum.
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1f)), text);
    const __m128i low_but_tab = _mm_andnot_si128(_mm_cmpeq_epi8(text, _mm_set1_epi8('\t')), low);
    return _mm_movemask_epi8(_mm_or_si128(low_but_tab, _mm_cmpeq_epi8(text, _mm_set1_epi8(0x7f)))) != 0;
  };
  if (value.size() >= 16) {
    for (; i + 16 <= value.size(); i += 16) {
      if (bad(i)) return false;
    }
    return i == value.size() || !bad(value.size() - 16);
  }
#endif
  for (; i < value.size(); ++i) {
    const auto c = static_cast<unsigned char>(value[i]);
    if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
  }
  return true;
}

}  // namespace tocsin::h2
