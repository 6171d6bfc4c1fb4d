// SPDX-License-Identifier: Apache-2.0
#include "base/hex.h"

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tocsin::base {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

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
  for (std::size_t i = 0; i < 256; ++i) table[i] = {kDigits[i >> 4], kDigits[i & 15]};
  return table;
}();

constexpr std::size_t kDashes[] = {8, 13, 18, 23};

// A token goes through here twice a push and an apns-id twice, so 16 digits are done at a time where the
// instruction set that every x86-64 has allows it; the tables above do the rest, and everything elsewhere.
#if defined(__SSE2__)
constexpr std::size_t kWide = 16;

// 8 bytes to 16 digits.
void encode_wide(const std::uint8_t* in, char* out) {
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
Kinds kinds_of(__m128i text, __m128i lower) {
  const auto within = [](__m128i value, char low, char high) {  // signed: bytes of 0x80 and up are below everything
    return _mm_and_si128(_mm_cmpgt_epi8(value, _mm_set1_epi8(static_cast<char>(low - 1))),
                         _mm_cmplt_epi8(value, _mm_set1_epi8(static_cast<char>(high + 1))));
  };
  return {within(text, '0', '9'), within(lower, 'a', 'f')};
}

// 16 digits to 8 bytes; false if one of them is none.
bool decode_wide(const char* in, std::uint8_t* out) {
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
#endif

}  // namespace

bool hex_decode(std::string_view hex, std::uint8_t* out) {
  if (hex.size() % 2 != 0) return false;
  std::size_t i = 0;
#if defined(__SSE2__)
  for (; i + kWide <= hex.size(); i += kWide) {
    if (!decode_wide(hex.data() + i, out + i / 2)) return false;
  }
#endif
  std::uint8_t bad = 0;
  for (; i < hex.size(); i += 2) {
    const std::uint8_t high = kValues[static_cast<std::uint8_t>(hex[i])];
    const std::uint8_t low = kValues[static_cast<std::uint8_t>(hex[i + 1])];
    bad = static_cast<std::uint8_t>(bad | high | low);
    out[i / 2] = static_cast<std::uint8_t>(high << 4 | (low & 15));
  }
  return (bad & 0xf0) == 0;
}

void hex_encode(std::span<const std::uint8_t> bytes, char* out) {
#if defined(__SSE2__)
  for (; bytes.size() >= kWide / 2; bytes = bytes.subspan(kWide / 2), out += kWide) encode_wide(bytes.data(), out);
#endif
  for (const std::uint8_t byte : bytes) {
    *out++ = kPairs[byte][0];
    *out++ = kPairs[byte][1];
  }
}

std::string hex_encode(std::span<const std::uint8_t> bytes) {
  std::string text(bytes.size() * 2, '\0');
  hex_encode(bytes, text.data());
  return text;
}

std::size_t hex_first_bad(std::string_view text) {
  std::size_t i = 0;
#if defined(__SSE2__)
  for (; i + kWide <= text.size(); i += kWide) {
    const __m128i wide = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
    if (!kinds_of(wide, _mm_or_si128(wide, _mm_set1_epi8(0x20))).all()) break;
  }
#endif
  for (; i < text.size(); ++i) {
    if (kValues[static_cast<std::uint8_t>(text[i])] == 0xff) return i;
  }
  return std::string_view::npos;
}

void uuid_format(const std::array<std::uint8_t, 16>& uuid, char* out, bool upper) {
  char digits[32];
  hex_encode(uuid, digits);
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

// The 32 digits of the canonical form, not yet looked at; false if its length or its dashes are not right.
bool uuid_digits(std::string_view text, char* digits) {
  if (text.size() != kUuidTextBytes) return false;
  for (const std::size_t dash : kDashes) {
    if (text[dash] != '-') return false;
  }
  std::memcpy(digits, text.data(), 8);
  std::memcpy(digits + 8, text.data() + 9, 4);
  std::memcpy(digits + 12, text.data() + 14, 4);
  std::memcpy(digits + 16, text.data() + 19, 4);
  std::memcpy(digits + 20, text.data() + 24, 12);
  return true;
}

}  // namespace

bool uuid_parse(std::string_view text, std::array<std::uint8_t, 16>& out) {
  char digits[32];
  std::array<std::uint8_t, 16> parsed;
  if (!uuid_digits(text, digits) || !hex_decode({digits, sizeof(digits)}, parsed.data())) return false;
  out = parsed;
  return true;
}

LetterCase uuid_parse_case(std::string_view text, std::array<std::uint8_t, 16>& out) {
  char digits[32];
  if (!uuid_digits(text, digits) || !hex_decode({digits, sizeof(digits)}, out.data())) return LetterCase::mixed;
  unsigned upper = 0, lower = 0;
  for (const char digit : digits) {
    upper += digit >= 'A' && digit <= 'F' ? 1 : 0;
    lower += digit >= 'a' ? 1 : 0;
  }
  if (lower == 0) return LetterCase::upper;
  return upper == 0 ? LetterCase::lower : LetterCase::mixed;
}

}  // namespace tocsin::base
