// SPDX-License-Identifier: Apache-2.0
#include "base/hex.h"

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
// Where each byte's first digit stands in 8-4-4-4-12.
constexpr std::uint8_t kUuidDigits[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

}  // namespace

bool hex_decode(std::string_view hex, std::uint8_t* out) {
  if (hex.size() % 2 != 0) return false;
  std::uint8_t bad = 0;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const std::uint8_t high = kValues[static_cast<std::uint8_t>(hex[i])];
    const std::uint8_t low = kValues[static_cast<std::uint8_t>(hex[i + 1])];
    bad = static_cast<std::uint8_t>(bad | high | low);
    out[i / 2] = static_cast<std::uint8_t>(high << 4 | (low & 15));
  }
  return (bad & 0xf0) == 0;
}

void hex_encode(std::span<const std::uint8_t> bytes, char* out) {
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
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (kValues[static_cast<std::uint8_t>(text[i])] == 0xff) return i;
  }
  return std::string_view::npos;
}

void uuid_format(const std::array<std::uint8_t, 16>& uuid, char* out) {
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
    *out++ = kPairs[uuid[i]][0];
    *out++ = kPairs[uuid[i]][1];
  }
}

std::string uuid_format(const std::array<std::uint8_t, 16>& uuid) {
  std::string text(kUuidTextBytes, '\0');
  uuid_format(uuid, text.data());
  return text;
}

bool uuid_parse(std::string_view text, std::array<std::uint8_t, 16>& out) {
  if (text.size() != kUuidTextBytes) return false;
  for (const std::size_t dash : kDashes) {
    if (text[dash] != '-') return false;
  }
  // One pass without branches: an answer's apns-id is read once per push.
  std::array<std::uint8_t, 16> parsed;
  std::uint8_t bad = 0;
  for (std::size_t i = 0; i < parsed.size(); ++i) {
    const std::uint8_t high = kValues[static_cast<std::uint8_t>(text[kUuidDigits[i]])];
    const std::uint8_t low = kValues[static_cast<std::uint8_t>(text[kUuidDigits[i] + 1u])];
    bad = static_cast<std::uint8_t>(bad | high | low);
    parsed[i] = static_cast<std::uint8_t>(high << 4 | (low & 15));
  }
  if ((bad & 0xf0) != 0) return false;
  out = parsed;
  return true;
}

}  // namespace tocsin::base
