// SPDX-License-Identifier: Apache-2.0
#include "cli/run_key.h"

#include <sys/random.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "base/assertion.h"
#include "base/prng.h"

namespace tocsin::cli {

RunKey random_run_key() {
  RunKey key;
  // Never short and never interrupted for so few bytes (getrandom(2)), once the machine has booted.
  const ssize_t got = ::getrandom(key.words.data(), sizeof(key.words), 0);
  TOCSIN_ASSERT(got == static_cast<ssize_t>(sizeof(key.words)));
  return key;
}

RunKey run_key_from(std::string_view text) { return {{hash_of(text, 1), hash_of(text, 2)}}; }

std::string run_key_text(const RunKey& key) { return hash_text(key.words[0]) + hash_text(key.words[1]); }

bool run_key_parse(std::string_view text, RunKey& out) {
  if (text.size() != 32) return false;
  for (std::size_t i = 0; i < 2; ++i) {
    const char* begin = text.data() + 16 * i;
    const auto [end, error] = std::from_chars(begin, begin + 16, out.words[i], 16);
    if (error != std::errc() || end != begin + 16) return false;
  }
  return true;
}

Uuid apns_id_of(const RunKey& key, std::uint64_t line) {
  // Both halves are bijections of the line under the key: two lines never share an id but by the six bits below.
  const std::uint64_t high = base::mix64(line ^ key.words[0]);
  const std::uint64_t low = base::mix64(base::mix64(~line ^ key.words[1]) ^ key.words[0]);
  Uuid id;
  std::memcpy(id.data(), &high, 8);
  std::memcpy(id.data() + 8, &low, 8);
  id[6] = static_cast<std::uint8_t>((id[6] & 0x0f) | 0x40);
  id[8] = static_cast<std::uint8_t>((id[8] & 0x3f) | 0x80);
  return id;
}

std::uint64_t hash_of(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t hash = base::mix64(seed ^ bytes.size());
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min<std::size_t>(8, bytes.size() - at));
    hash = base::mix64(hash ^ word);
  }
  return hash;
}

std::string hash_text(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace tocsin::cli
