// SPDX-License-Identifier: Apache-2.0
// Base64 in both alphabets (RFC 4648 sections 4 and 5) and PEM blocks (RFC 7468), as provider keys and tokens need them.
//
// Decoding is strict: no foreign character, no bits left over, padding exactly as the alphabet wants it.
// Threads: pure functions. Ownership: blocks are views into the caller's text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tocsin::apns {

// base64url without padding.
void append_base64url(std::string_view bytes, std::string& out);
bool decode_base64url(std::string_view text, std::string& out);

struct PemText {
  std::string_view label;  // "PRIVATE KEY"
  std::string_view body;   // base64 with its line ends
};
// Every block whose begin line has its end line. Blocks with header lines (RFC 1421) keep them in `body`.
std::vector<PemText> pem_texts(std::string_view text);

// Base64 with white space between, padded. `out` is overwritten; on false it holds what was read so far.
bool decode_pem_body(std::string_view body, std::vector<std::uint8_t>& out);

}  // namespace tocsin::apns
