// SPDX-License-Identifier: Apache-2.0
// RunKey: what makes one run's apns-ids its own, and the same again when the run is continued.
//
// A push's apns-id follows from (run key, line of the input), so that a push that is sent twice around a
// crash carries the same apns-id both times. Threads: values and pure functions, random_run_key() aside.
// Nothing here is a secret, and nothing here is cryptography.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <tocsin/push.h>
#include <tocsin/result.h>

namespace tocsin::cli {

struct RunKey {
  std::array<std::uint64_t, 2> words{};
  bool operator==(const RunKey&) const = default;
};

RunKey random_run_key();                   // 128 bits of the kernel
RunKey run_key_from(std::string_view text);  // of --run-key: the same text, the same key
std::string run_key_text(const RunKey& key);  // 32 hex digits
bool run_key_parse(std::string_view text, RunKey& out);

// A UUID with the version and variant bits of version 4.
Uuid apns_id_of(const RunKey& key, std::uint64_t line);

// Finds accidents (another file, another order), not malice.
std::uint64_t hash_of(std::string_view bytes, std::uint64_t seed = 0);
std::string hash_text(std::uint64_t hash);  // 16 hex digits

}  // namespace tocsin::cli
