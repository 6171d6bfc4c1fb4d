// SPDX-License-Identifier: Apache-2.0
// The image goes out in whole blocks, which spoil what lies behind it: the next copy comes there. Then each value over its hole.
#include "base/stamp.h"

#include <cstring>

#include "base/hex.h"
#include "base/hex_avx2.h"
#include "base/hex_code.h"

#if defined(__x86_64__)
#define TOCSIN_STAMP_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
#endif

namespace tocsin::base {
namespace {

void run_portable(const StampImage& image, const StampValues* values, std::size_t count, char* out) {
  const HexCode& hex = hex_codes().front();
  for (; count != 0; --count, ++values, out += image.size) {
    std::memcpy(out, image.bytes, image.size);
    hex.encode(values->token, 32, out + image.token_at);
    for (std::size_t i = 0; i < image.uuids_used; ++i) {
      uuid_format_plain(values->uuids[i], out + image.uuids[i].at, image.uuids[i].upper);
    }
  }
}

#if defined(__x86_64__)

// For a known number of UUIDs the tables and places stay in registers.
template <std::size_t kUuids>
TOCSIN_HEX_AVX2 void copies_avx2(const StampImage& image, const StampValues* values, std::size_t count, char* out) {
  const __m256i lower = avx2_table(kHexDigits);
  __m256i tables[kStampUuidsMax];
  std::size_t places[kStampUuidsMax];
  for (std::size_t i = 0; i < kUuids; ++i) {
    tables[i] = avx2_table(image.uuids[i].upper ? kUpperHexDigits : kHexDigits);
    places[i] = image.uuids[i].at;
  }
  const char* const bytes = image.bytes;
  const std::size_t size = image.size;
  const std::size_t token_at = image.token_at;
  for (; count != 0; --count, ++values, out += size) {
    for (std::size_t at = 0; at < size; at += kStampBlock) {
      const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + at));
      const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + at + 32));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), first);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at + 32), second);
    }
    avx2_hex_32(values->token, lower, out + token_at);
    for (std::size_t i = 0; i < kUuids; ++i) avx2_uuid(values->uuids[i], tables[i], out + places[i]);
  }
  _mm256_zeroupper();
}

// With VBMI a byte may go anywhere, and any eight bits of a quadword become a byte: each character gets the byte that holds its half,
// shifted so that the half is the lower one. Of what is left above, two bits reach into the table of 64, which has the digits four times.
constexpr auto kTokenBytes = [] {
  std::array<std::uint8_t, 64> table{};
  for (std::size_t i = 0; i < 64; ++i) table[i] = static_cast<std::uint8_t>(i / 2);
  return table;
}();
constexpr auto kTokenShifts = [] {
  std::array<std::uint8_t, 64> table{};
  for (std::size_t i = 0; i < 64; ++i) table[i] = static_cast<std::uint8_t>(i % 8 * 8 + (i % 2 == 0 ? 4 : 0));
  return table;
}();
constexpr std::uint64_t kUuidDashes = 1ull << 8 | 1ull << 13 | 1ull << 18 | 1ull << 23;
constexpr auto kUuidBytes = [] {
  std::array<std::uint8_t, 64> table{};
  std::size_t digit = 0;
  for (std::size_t i = 0; i < kUuidTextBytes; ++i) table[i] = static_cast<std::uint8_t>((kUuidDashes >> i & 1) != 0 ? 0 : digit++ / 2);
  return table;
}();
constexpr auto kUuidShifts = [] {
  std::array<std::uint8_t, 64> table{};
  std::size_t digit = 0;
  for (std::size_t i = 0; i < kUuidTextBytes; ++i) {
    const bool first = (kUuidDashes >> i & 1) == 0 && digit++ % 2 == 0;
    table[i] = static_cast<std::uint8_t>(i % 8 * 8 + (first ? 4 : 0));
  }
  return table;
}();

// With whole masks, which cost nothing: GCC 12 takes what stands for "no mask" in the plain forms for a variable not initialised.
constexpr std::uint64_t kAll = ~std::uint64_t{0};
TOCSIN_STAMP_AVX512 inline __m512i load_512(const void* from) { return _mm512_loadu_si512(from); }
TOCSIN_STAMP_AVX512 inline __m512i table_512(const char* digits) {
  return _mm512_maskz_broadcast_i32x4(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(digits)));
}
TOCSIN_STAMP_AVX512 inline __m512i permute_512(__m512i places, __m512i bytes) {
  return _mm512_maskz_permutexvar_epi8(kAll, places, bytes);
}
TOCSIN_STAMP_AVX512 inline __m512i halves_512(__m512i shifts, __m512i bytes) {
  return _mm512_maskz_multishift_epi64_epi8(kAll, shifts, bytes);
}

template <std::size_t kUuids>
TOCSIN_STAMP_AVX512 void copies_avx512(const StampImage& image, const StampValues* values, std::size_t count, char* out) {
  const __m512i token_bytes = load_512(kTokenBytes.data()), token_shifts = load_512(kTokenShifts.data());
  const __m512i uuid_bytes = load_512(kUuidBytes.data()), uuid_shifts = load_512(kUuidShifts.data());
  const __m512i lower = table_512(kHexDigits);
  const __m512i dashes = _mm512_set1_epi8('-');
  __m512i tables[kStampUuidsMax];
  std::size_t places[kStampUuidsMax];
  for (std::size_t i = 0; i < kUuids; ++i) {
    tables[i] = table_512(image.uuids[i].upper ? kUpperHexDigits : kHexDigits);
    places[i] = image.uuids[i].at;
  }
  const char* const bytes = image.bytes;
  const std::size_t size = image.size;
  const std::size_t token_at = image.token_at;
  for (; count != 0; --count, ++values, out += size) {
    for (std::size_t at = 0; at < size; at += kStampBlock) _mm512_storeu_si512(out + at, load_512(bytes + at));
    const __m512i token = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values->token)));
    const __m512i halves = halves_512(token_shifts, permute_512(token_bytes, token));
    _mm512_storeu_si512(out + token_at, permute_512(halves, lower));
    for (std::size_t i = 0; i < kUuids; ++i) {
      const __m512i uuid = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values->uuids[i])));
      const __m512i digits = halves_512(uuid_shifts, permute_512(uuid_bytes, uuid));
      const __m512i text = _mm512_mask_permutexvar_epi8(dashes, ~kUuidDashes, digits, tables[i]);
      char* const to = out + places[i];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_maskz_extracti64x4_epi64(0xf, text, 0));
      const int last = _mm_cvtsi128_si32(_mm512_maskz_extracti32x4_epi32(0xf, text, 2));
      std::memcpy(to + 32, &last, sizeof(last));
    }
  }
  _mm256_zeroupper();
}

void run_avx2(const StampImage& image, const StampValues* values, std::size_t count, char* out) {
  switch (image.uuids_used) {
    case 0: return copies_avx2<0>(image, values, count, out);
    case 1: return copies_avx2<1>(image, values, count, out);
    case 2: return copies_avx2<2>(image, values, count, out);
    default: return copies_avx2<3>(image, values, count, out);
  }
}
void run_avx512(const StampImage& image, const StampValues* values, std::size_t count, char* out) {
  switch (image.uuids_used) {
    case 0: return copies_avx512<0>(image, values, count, out);
    case 1: return copies_avx512<1>(image, values, count, out);
    case 2: return copies_avx512<2>(image, values, count, out);
    default: return copies_avx512<3>(image, values, count, out);
  }
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi");
}
#endif

constexpr StampCode kCodes[] = {
    {"portable", run_portable},
#if defined(__x86_64__)
    {"avx2", run_avx2},
    {"avx512", run_avx512},
#endif
};

}  // namespace

std::span<const StampCode> stamp_codes() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) return {kCodes, 1};
  return {kCodes, has_avx512() ? 3u : 2u};
#else
  return kCodes;
#endif
}

}  // namespace tocsin::base
