// SPDX-License-Identifier: Apache-2.0
// What hex.cc and stamp.cc share: digit tables, and with AVX2 the two texts of fixed size that every push has, a token's 64
// digits and a UUID's 36 characters.
//
// Threads: any; pure functions. Ownership: none. Bounds: exactly the bytes named are read and written. The caller has asked the CPU
// for AVX2, and ends with _mm256_zeroupper().
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define TOCSIN_HEX_AVX2 __attribute__((target("avx2")))
#endif

namespace tocsin::base {

inline constexpr char kHexDigits[] = "0123456789abcdef";
inline constexpr char kUpperHexDigits[] = "0123456789ABCDEF";

#if defined(__x86_64__)

// Sixteen digits, in both halves.
TOCSIN_HEX_AVX2 inline __m256i avx2_table(const char* digits) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(digits)));
}

// The 32 digits of 16 bytes. A byte in each 16-bit lane: its high half becomes the lower byte, which is written first.
TOCSIN_HEX_AVX2 inline __m256i avx2_digits(const std::uint8_t* bytes, __m256i table) {
  const __m256i lanes = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  const __m256i low = _mm256_slli_epi16(_mm256_and_si256(lanes, _mm256_set1_epi16(0x0f)), 8);
  return _mm256_shuffle_epi8(table, _mm256_or_si256(_mm256_srli_epi16(lanes, 4), low));
}

// 32 bytes to 64 digits: every device token of today.
TOCSIN_HEX_AVX2 inline void avx2_hex_32(const std::uint8_t* bytes, __m256i table, char* out) {
  const __m256i first = avx2_digits(bytes, table);
  const __m256i second = avx2_digits(bytes + 16, table);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), first);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32), second);
}

// In one go, without a buffer between: a push has two of them. Of both halves of the digits the bytes go to their places with zeros where
// the dashes stand; the four characters between the halves' stores come from the seam.
TOCSIN_HEX_AVX2 inline void avx2_uuid(const std::uint8_t* bytes, __m256i table, char* out) {
  const __m256i text = avx2_digits(bytes, table);
  const __m128i first = _mm256_castsi256_si128(text);
  const __m128i second = _mm256_extracti128_si256(text, 1);
  const __m128i front = _mm_shuffle_epi8(first, _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -1, 8, 9, 10, 11, -1, 12, 13));
  const __m128i seam = _mm_shuffle_epi8(_mm_alignr_epi8(second, first, 14), _mm_setr_epi8(0, 1, -1, 2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  const __m128i back = _mm_shuffle_epi8(second, _mm_setr_epi8(1, 2, 3, -1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const __m128i front_dashes = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, '-', 0, 0, 0, 0, '-', 0, 0);
  const __m128i back_dashes = _mm_setr_epi8(0, 0, 0, '-', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_or_si128(front, front_dashes));
  const std::uint32_t four = static_cast<std::uint32_t>(_mm_cvtsi128_si32(seam)) | std::uint32_t{'-'} << 16;
  std::memcpy(out + 16, &four, sizeof(four));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 20), _mm_or_si128(back, back_dashes));
}

#endif

}  // namespace tocsin::base
