// SPDX-License-Identifier: Apache-2.0
// One hash of device tokens for the whole room: the ledger's table and the share of dead tokens.
//
// No seed: every worker and every run must agree on which tokens are dead. Threads: pure.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/bytes.h"
#include "base/prng.h"

namespace tocsin::mock {

inline std::uint64_t token_hash(base::ByteView token) {
  std::uint64_t hash = token.size();
  const std::byte* at = token.data();
  std::size_t left = token.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    hash = base::mix64(hash ^ word);
  }
  if (left != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, left);
    hash = base::mix64(hash ^ word);
  }
  return hash;
}

}  // namespace tocsin::mock
