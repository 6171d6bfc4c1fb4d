// SPDX-License-Identifier: Apache-2.0
// A token goes through here twice a push and an apns-id twice. Three codes, each of which leaves its rest to the one before it: tables;
// 16 digits at a time with what every x86-64 has; 32 at a time with AVX2. Which one is asked of the CPU at every call: that is a load
// and a branch that goes the same way for ever, and it needs no variable, no start-up order and no resolver of the linker's.
#include "base/hex.h"

#include <cstring>

#include "base/hex_avx2.h"
#include "base/hex_code.h"

namespace tocsin::base {
namespace {

// 0xff marks what is no hex digit.
constexpr auto kValues = [] {
  std::array<std::uint8_t, 256> table{};
  for (auto& value : table) value = 0xff;
  for (std::uint8_t i = 0; i < 10; ++i) table['0' + i] = i;
  for (std::uint8_t i = 0; i < 6; ++i) {
    table['a' + i] = static_cast<std::uint8_t>(10 + i);
    table['A' + i] = static_cast<std::uint8_t>(10 + i);
  }
  return table;
}();

// Both digits of each byte value, so that encoding is one load and one store a byte.
constexpr auto kPairs = [] {
  std::array<std::array<char, 2>, 256> table{};
  for (std::size_t i = 0; i < 256; ++i) table[i] = {kHexDigits[i >> 4], kHexDigits[i & 15]};
  return table;
}();

constexpr std::size_t kDashes[] = {8, 13, 18, 23};

bool decode_portable(const char* digits, std::size_t count, std::uint8_t* out) {
  std::uint8_t bad = 0;
  for (std::size_t i = 0; i < count; i += 2) {
    const std::uint8_t high = kValues[static_cast<std::uint8_t>(digits[i])];
    const std::uint8_t low = kValues[static_cast<std::uint8_t>(digits[i + 1])];
    bad = static_cast<std::uint8_t>(bad | high | low);
    out[i / 2] = static_cast<std::uint8_t>(high << 4 | (low & 15));
  }
  return (bad & 0xf0) == 0;
}

void encode_portable(const std::uint8_t* bytes, std::size_t count, char* out) {
  for (std::size_t i = 0; i < count; ++i) {
    *out++ = kPairs[bytes[i]][0];
    *out++ = kPairs[bytes[i]][1];
  }
}

std::size_t first_bad_portable(const char* text, std::size_t count) {
  std::size_t i = 0;
  while (i < count && kValues[static_cast<std::uint8_t>(text[i])] != 0xff) ++i;
  return i;
}

#if defined(__x86_64__)

// 8 bytes to 16 digits.
[[gnu::always_inline]] inline void encode_wide(const std::uint8_t* in, char* out) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in));
  const __m128i low_mask = _mm_set1_epi8(0x0f);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), low_mask);
  const __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(bytes, low_mask));
  // '0' + n, and for 10 to 15 the way from ':' to 'a' on top.
  const __m128i letters = _mm_and_si128(_mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9)), _mm_set1_epi8('a' - '0' - 10));
  const __m128i text = _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8('0')), letters);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), text);
}

// Which of 16 characters are digits 0-9, and which letters a-f or A-F.
struct Kinds {
  __m128i digit;
  __m128i letter;
  bool all() const { return _mm_movemask_epi8(_mm_or_si128(digit, letter)) == 0xffff; }
};
[[gnu::always_inline]] inline Kinds kinds_of(__m128i text, __m128i lower) {
  const auto within = [](__m128i value, char low, char high) {  // signed: bytes of 0x80 and up are below everything
    return _mm_and_si128(_mm_cmpgt_epi8(value, _mm_set1_epi8(static_cast<char>(low - 1))),
                         _mm_cmplt_epi8(value, _mm_set1_epi8(static_cast<char>(high + 1))));
  };
  return {within(text, '0', '9'), within(lower, 'a', 'f')};
}

// 16 digits to 8 bytes; false if one of them is none.
[[gnu::always_inline]] inline bool decode_wide(const char* in, std::uint8_t* out) {
  const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  const __m128i lower = _mm_or_si128(text, _mm_set1_epi8(0x20));
  const Kinds kinds = kinds_of(text, lower);
  if (!kinds.all()) return false;
  const __m128i nibbles =
      _mm_or_si128(_mm_and_si128(kinds.digit, _mm_sub_epi8(text, _mm_set1_epi8('0'))),
                   _mm_and_si128(kinds.letter, _mm_sub_epi8(lower, _mm_set1_epi8('a' - 10))));
  // In each 16-bit lane the first digit is the low byte: (first << 4 | second), then the lanes packed to bytes.
  const __m128i first = _mm_and_si128(_mm_slli_epi16(nibbles, 4), _mm_set1_epi16(0x00f0));
  const __m128i bytes = _mm_or_si128(first, _mm_srli_epi16(nibbles, 8));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(bytes, bytes));
  return true;
}
bool decode_sse2(const char* digits, std::size_t count, std::uint8_t* out) {
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    if (!decode_wide(digits + i, out + i / 2)) return false;
  }
  return decode_portable(digits + i, count - i, out + i / 2);
}

void encode_sse2(const std::uint8_t* bytes, std::size_t count, char* out) {
  for (; count >= 8; bytes += 8, out += 16, count -= 8) encode_wide(bytes, out);
  encode_portable(bytes, count, out);
}

std::size_t first_bad_sse2(const char* text, std::size_t count) {
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m128i wide = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + i));
    if (!kinds_of(wide, _mm_or_si128(wide, _mm_set1_epi8(0x20))).all()) break;
  }
  return i + first_bad_portable(text + i, count - i);
}

// 32 characters as what they are worth if they are 0-9 (`digit`) and if they are a-f or A-F, less ten (`letter`).
struct Worths {
  __m256i digit, is_digit;
  __m256i letter, is_letter;
};
TOCSIN_HEX_AVX2 inline Worths worths_of(__m256i wide) {
  Worths worths;
  worths.digit = _mm256_sub_epi8(wide, _mm256_set1_epi8('0'));
  worths.letter = _mm256_sub_epi8(_mm256_or_si256(wide, _mm256_set1_epi8(0x20)), _mm256_set1_epi8('a'));
  // Unsigned: what is below '0' or 'a' has become large.
  worths.is_digit = _mm256_cmpeq_epi8(_mm256_min_epu8(worths.digit, _mm256_set1_epi8(9)), worths.digit);
  worths.is_letter = _mm256_cmpeq_epi8(_mm256_min_epu8(worths.letter, _mm256_set1_epi8(5)), worths.letter);
  return worths;
}
TOCSIN_HEX_AVX2 inline Worths worths_of(const char* text) {
  return worths_of(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text)));
}
// 16 x first + second in each 16-bit lane.
TOCSIN_HEX_AVX2 inline __m256i lanes_of(const Worths& worths) {
  const __m256i nibbles =
      _mm256_blendv_epi8(_mm256_add_epi8(worths.letter, _mm256_set1_epi8(10)), worths.digit, worths.is_digit);
  return _mm256_maddubs_epi16(nibbles, _mm256_set1_epi16(0x0110));
}
// Packing works on halves, so the second half's eight bytes come from the third quarter.
TOCSIN_HEX_AVX2 inline __m128i bytes_of(const Worths& worths) {
  const __m256i lanes = lanes_of(worths);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi16(lanes, lanes), 0b1000));
}
TOCSIN_HEX_AVX2 inline bool all_digits(const Worths& worths) {
  return _mm256_movemask_epi8(_mm256_or_si256(worths.is_digit, worths.is_letter)) == -1;
}

// The rest goes to plain SSE code, which every instruction after these slows down as long as upper halves are not cleared; gcc forgets it
// before a jump to a function of the same file.
TOCSIN_HEX_AVX2 bool decode_avx2(const char* digits, std::size_t count, std::uint8_t* out) {
  for (; count >= 32; digits += 32, out += 16, count -= 32) {
    const Worths worths = worths_of(digits);
    if (!all_digits(worths)) return false;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes_of(worths));
  }
  _mm256_zeroupper();
  return decode_sse2(digits, count, out);
}

// 64 digits to 32 bytes, judged in one go: every device token of today. Packing works on halves: of each 128 bits the first eight bytes come
// from the one text and the others from the other, which the permutation puts in order.
TOCSIN_HEX_AVX2 bool decode_64_avx2(const char* digits, std::uint8_t* out) {
  const Worths a = worths_of(digits);
  const Worths b = worths_of(digits + 32);
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(lanes_of(a), lanes_of(b)), 0b11011000);
  const __m256i good = _mm256_and_si256(_mm256_or_si256(a.is_digit, a.is_letter), _mm256_or_si256(b.is_digit, b.is_letter));
  const bool all = _mm256_movemask_epi8(good) == -1;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  _mm256_zeroupper();
  return all;
}

TOCSIN_HEX_AVX2 void encode_avx2(const std::uint8_t* bytes, std::size_t count, char* out) {
  const __m256i digits = avx2_table(kHexDigits);
  for (; count >= 16; bytes += 16, out += 32, count -= 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), avx2_digits(bytes, digits));
  }
  _mm256_zeroupper();
  encode_sse2(bytes, count, out);
}

TOCSIN_HEX_AVX2 void uuid_avx2(const std::uint8_t* bytes, char* out, const char* digits) {
  avx2_uuid(bytes, avx2_table(digits), out);
  _mm256_zeroupper();
}

// The way back, for a text whose length and dashes are right. What letters it has: bit 0 some upper, bit 1 some lower, or -1: there is
// something else in it.
TOCSIN_HEX_AVX2 int uuid_letters_avx2(const char* text, std::uint8_t* out) {
  const __m128i front = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text));
  const __m128i middle = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + 16));
  const __m128i back = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + 20));
  const __m128i first = _mm_or_si128(_mm_shuffle_epi8(front, _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, -1, -1)),
                                     _mm_shuffle_epi8(middle, _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1)));
  const __m128i second = _mm_or_si128(_mm_shuffle_epi8(back, _mm_setr_epi8(-1, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
                                      _mm_shuffle_epi8(middle, _mm_setr_epi8(3, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1)));
  const __m256i wide = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
  const Worths worths = worths_of(wide);
  int letters = -1;
  if (all_digits(worths)) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes_of(worths));
    const unsigned is_letter = static_cast<unsigned>(_mm256_movemask_epi8(worths.is_letter));
    const unsigned is_lower = is_letter & static_cast<unsigned>(_mm256_movemask_epi8(_mm256_slli_epi16(wide, 2)));  // bit 5 is the case
    letters = (is_letter != is_lower ? 1 : 0) | (is_lower != 0 ? 2 : 0);
  }
  _mm256_zeroupper();
  return letters;
}

TOCSIN_HEX_AVX2 void encode_32_avx2(const std::uint8_t* bytes, char* out) {
  avx2_hex_32(bytes, avx2_table(kHexDigits), out);
  _mm256_zeroupper();
}

TOCSIN_HEX_AVX2 std::size_t first_bad_avx2(const char* text, std::size_t count) {
  std::size_t i = 0;
  while (i + 32 <= count && all_digits(worths_of(text + i))) i += 32;
  _mm256_zeroupper();
  return i + first_bad_sse2(text + i, count - i);
}

bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }
#endif

constexpr HexCode kCodes[] = {
    {"portable", decode_portable, encode_portable, first_bad_portable},
#if defined(__x86_64__)
    {"sse2", decode_sse2, encode_sse2, first_bad_sse2},
    {"avx2", decode_avx2, encode_avx2, first_bad_avx2},
#endif
};

}  // namespace

std::span<const HexCode> hex_codes() {
#if defined(__x86_64__)
  return {kCodes, has_avx2() ? 3u : 2u};
#else
  return kCodes;
#endif
}

bool hex_decode(std::string_view hex, std::uint8_t* out) {
  if (hex.size() % 2 != 0) return false;
#if defined(__x86_64__)
  return has_avx2() ? decode_avx2(hex.data(), hex.size(), out) : decode_sse2(hex.data(), hex.size(), out);
#else
  return decode_portable(hex.data(), hex.size(), out);
#endif
}

bool hex_decode_64(const char* digits, std::uint8_t* out) {
#if defined(__x86_64__)
  return has_avx2() ? decode_64_avx2(digits, out) : decode_sse2(digits, 64, out);
#else
  return decode_portable(digits, 64, out);
#endif
}

void hex_encode_32(const std::uint8_t* bytes, char* out) {
#if defined(__x86_64__)
  if (has_avx2()) return encode_32_avx2(bytes, out);
  encode_sse2(bytes, 32, out);
#else
  encode_portable(bytes, 32, out);
#endif
}

void hex_encode(std::span<const std::uint8_t> bytes, char* out) {
#if defined(__x86_64__)
  has_avx2() ? encode_avx2(bytes.data(), bytes.size(), out) : encode_sse2(bytes.data(), bytes.size(), out);
#else
  encode_portable(bytes.data(), bytes.size(), out);
#endif
}

std::string hex_encode(std::span<const std::uint8_t> bytes) {
  std::string text(bytes.size() * 2, '\0');
  hex_encode(bytes, text.data());
  return text;
}

std::size_t hex_first_bad(std::string_view text) {
#if defined(__x86_64__)
  const std::size_t bad = has_avx2() ? first_bad_avx2(text.data(), text.size()) : first_bad_sse2(text.data(), text.size());
#else
  const std::size_t bad = first_bad_portable(text.data(), text.size());
#endif
  return bad == text.size() ? std::string_view::npos : bad;
}

void uuid_format(const std::uint8_t* uuid, char* out, bool upper) {
#if defined(__x86_64__)
  if (has_avx2()) return uuid_avx2(uuid, out, upper ? kUpperHexDigits : kHexDigits);
#endif
  uuid_format_plain(uuid, out, upper);
}

void uuid_format_plain(const std::uint8_t* uuid, char* out, bool upper) {
  char digits[32];
  encode_portable(uuid, 16, digits);
  if (upper) {
    for (char& digit : digits) digit = static_cast<char>(digit - (digit >= 'a' ? 'a' - 'A' : 0));
  }
  std::memcpy(out, digits, 8);
  std::memcpy(out + 9, digits + 8, 4);
  std::memcpy(out + 14, digits + 12, 4);
  std::memcpy(out + 19, digits + 16, 4);
  std::memcpy(out + 24, digits + 20, 12);
  for (const std::size_t dash : kDashes) out[dash] = '-';
}

std::string uuid_format(const std::array<std::uint8_t, 16>& uuid) {
  std::string text(kUuidTextBytes, '\0');
  uuid_format(uuid, text.data());
  return text;
}

namespace {

LetterCase letter_case(int letters) {
  if (letters < 0 || letters == 3) return LetterCase::mixed;
  return letters == 2 ? LetterCase::lower : LetterCase::upper;
}

bool uuid_shaped(std::string_view text) {
  return text.size() == kUuidTextBytes && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-';
}

int uuid_letters_plain(const char* text, std::uint8_t* out) {
  char digits[32];
  std::memcpy(digits, text, 8);
  std::memcpy(digits + 8, text + 9, 4);
  std::memcpy(digits + 12, text + 14, 4);
  std::memcpy(digits + 16, text + 19, 4);
  std::memcpy(digits + 20, text + 24, 12);
  if (!decode_portable(digits, sizeof(digits), out)) return -1;
  int letters = 0;
  for (const char digit : digits) letters |= digit >= 'a' ? 2 : digit >= 'A' ? 1 : 0;
  return letters;
}

int uuid_letters(const char* text, std::uint8_t* out) {
#if defined(__x86_64__)
  if (has_avx2()) return uuid_letters_avx2(text, out);
#endif
  return uuid_letters_plain(text, out);
}

}  // namespace

bool uuid_parse(std::string_view text, std::array<std::uint8_t, 16>& out) {
  std::array<std::uint8_t, 16> parsed;
  if (!uuid_shaped(text) || uuid_letters(text.data(), parsed.data()) < 0) return false;
  out = parsed;
  return true;
}

LetterCase uuid_parse_case(std::string_view text, std::array<std::uint8_t, 16>& out) {
  if (!uuid_shaped(text)) return LetterCase::mixed;
  return letter_case(uuid_letters(text.data(), out.data()));
}

LetterCase uuid_parse_case_plain(std::string_view text, std::array<std::uint8_t, 16>& out) {
  if (!uuid_shaped(text)) return LetterCase::mixed;
  return letter_case(uuid_letters_plain(text.data(), out.data()));
}

}  // namespace tocsin::base
