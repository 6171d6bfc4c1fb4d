// SPDX-License-Identifier: Apache-2.0
// Hex and UUID text. Lower case out, either case in. Where the CPU has vector instructions for it they are used, chosen at run time
// (hex_code.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tocsin::base {

// Decodes `hex` (even length) into `out`, which has room for hex.size() / 2 bytes. False, with `out`
// undefined, if the length is odd or a character is no hex digit.
bool hex_decode(std::string_view hex, std::uint8_t* out);
// The same for exactly 64 digits, which every device token of today has.
bool hex_decode_64(const char* digits, std::uint8_t* out);

// Writes 2 x bytes.size() lower-case digits to `out`.
void hex_encode(std::span<const std::uint8_t> bytes, char* out);
std::string hex_encode(std::span<const std::uint8_t> bytes);
// The same for exactly 32 bytes, which every device token of today has.
void hex_encode_32(const std::uint8_t* bytes, char* out);

// The index of the first character that is no hex digit, or npos.
std::size_t hex_first_bad(std::string_view text);

inline constexpr std::size_t kUuidTextBytes = 36;

// 16 bytes as 8-4-4-4-12, 36 characters to `out`.
void uuid_format(const std::uint8_t* uuid, char* out, bool upper = false);
inline void uuid_format(const std::array<std::uint8_t, 16>& uuid, char* out, bool upper = false) { uuid_format(uuid.data(), out, upper); }
std::string uuid_format(const std::array<std::uint8_t, 16>& uuid);

// The canonical form only (36 characters, dashes in their places); upper case is read too.
bool uuid_parse(std::string_view text, std::array<std::uint8_t, 16>& out);

// The case of a UUID's letters, so that its bytes give its text again; upper if it has none. mixed: of both cases, or no
// UUID, and `out` is undefined.
enum class LetterCase : std::uint8_t { upper, lower, mixed };
LetterCase uuid_parse_case(std::string_view text, std::array<std::uint8_t, 16>& out);

}  // namespace tocsin::base
