// SPDX-License-Identifier: Apache-2.0
// Plain text: printable ASCII without quote and backslash, which stands in a JSON string as it is.
//
// Most of what a push brings is of this kind, so the search for its end is done 16 bytes at a time where the instruction
// set that every x86-64 has allows it, and byte by byte elsewhere. Threads: pure functions.
#pragma once

#include <bit>
#include <cstddef>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tocsin::base {

constexpr bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

// What plain_end() may read behind `end`.
inline constexpr std::size_t kPlainPadding = 16;

#if defined(__SSE2__)
// Bit i: the i-th of 16 bytes is not plain.
inline unsigned not_plain_16(const char* at) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  // Signed: bytes of 0x80 and up are below 0x20, too.
  const __m128i low = _mm_or_si128(_mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
  const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(low, marks)));
}
#endif

// The first byte of [at, end) that is not plain, or `end`. kPlainPadding bytes behind `end` must be readable.
inline const char* plain_end(const char* at, const char* end) {
#if defined(__SSE2__)
  for (; at < end; at += 16) {
    if (const unsigned found = not_plain_16(at); found != 0) {
      at += std::countr_zero(found);
      return at < end ? at : end;
    }
  }
  return end;
#else
  while (at < end && is_plain(*at)) ++at;
  return at;
#endif
}

// How many bytes at the beginning of `text` are plain.
inline std::size_t plain_bytes(std::string_view text) {
  std::size_t at = 0;
#if defined(__SSE2__)
  for (; at + 16 <= text.size(); at += 16) {
    if (const unsigned found = not_plain_16(text.data() + at); found != 0)
      return at + static_cast<std::size_t>(std::countr_zero(found));
  }
  if (at != 0 && at != text.size()) {  // the last 16 once more: those seen already are plain
    const std::size_t last = text.size() - 16;
    const unsigned found = not_plain_16(text.data() + last);
    return found == 0 ? text.size() : last + static_cast<std::size_t>(std::countr_zero(found));
  }
#endif
  while (at < text.size() && is_plain(text[at])) ++at;
  return at;
}

inline bool is_plain(std::string_view text) { return plain_bytes(text) == text.size(); }

}  // namespace tocsin::base
