// SPDX-License-Identifier: Apache-2.0
// PEM: the blocks of a text, whatever stands between them.
//
// Threads: pure functions. Ownership: blocks are views into the caller's text.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace tocsin::tls {

struct PemBlock {
  std::string_view label;  // "CERTIFICATE"
  std::string_view text;   // from -----BEGIN to the end line, inclusive
};

std::vector<PemBlock> pem_blocks(std::string_view text);

// The certificates of a text as DER, in their order. False if one of them cannot be decoded; `bad` counts
// from 1. A text without certificates gives none.
bool pem_certificates(std::string_view text, std::vector<std::vector<unsigned char>>& der, std::size_t& bad);

}  // namespace tocsin::tls
