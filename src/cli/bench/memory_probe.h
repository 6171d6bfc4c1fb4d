// SPDX-License-Identifier: Apache-2.0
// The memory probe: what a connection and a queued push add to this process's resident memory. Threads: the caller's.
// Bounds: as long as it takes to open the spec's connections, at most some minutes. Errors: one sentence.
#pragma once

#include <cstdint>
#include <string>

#include <tocsin/result.h>

#include "cli/bench/profile_result.h"

namespace tocsin::cli::bench {

// Queues `pushes` (at least 1) MDM pushes behind a paused credential, and opens the spec's connections (64 at least).
Result<MemoryResult> probe_memory(const RunSpec& spec, std::uint64_t pushes, const std::string& directory);

}  // namespace tocsin::cli::bench
