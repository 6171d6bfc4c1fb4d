// SPDX-License-Identifier: Apache-2.0
// --dead-tokens: what an earlier run learnt of tokens that are unregistered.
//
// NDJSON, plain or gzip. Two kinds of line are understood, and may be mixed: outcomes as --out writes them, of which those
// with `unregistered_at_ms` count; and {"token":...,"topic":...,"unregistered_at":...} (Unix seconds or RFC 3339). A line
// without a topic holds for every topic of the run. Lines that name no time are passed over.
//
// Threads: one at a time. Bounds: kDeadTokensFileMax tokens in memory, some 120 bytes each. Errors name file, line and field.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tocsin/engine.h>

namespace tocsin::cli {

inline constexpr std::size_t kDeadTokensFileMax = 16'000'000;

struct DeadTokenLine {
  std::string token;
  std::string topic;  // "": every topic of the run
  std::int64_t unregistered_unix_ms = 0;
};

Result<std::vector<DeadTokenLine>> read_dead_tokens(const std::string& path);

// Hands them to the engine. `topics`: those of this credential; `only`: it is the only one, so that whatever topic a line
// names is its own.
Result<void> give_dead_tokens(Engine& engine, CredentialHandle credential, const std::vector<std::string>& topics,
                              bool only, const std::vector<DeadTokenLine>& lines);

}  // namespace tocsin::cli
