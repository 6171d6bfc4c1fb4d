// SPDX-License-Identifier: Apache-2.0
// `tocsin bench`: the engine against the mock, measured so that the figures can be trusted. Threads: the main thread.
// Ownership: `root` owns the options.
#pragma once

#include <functional>

#include "cli/bench/allocations.h"

namespace CLI {
class App;
}

namespace tocsin::cli {

// Adds the subcommand. When it was chosen on the command line, `action` is set; it answers the exit code (exit_codes.h).
void register_bench(CLI::App& root, std::function<int()>& action, bench::AllocationCounter allocations);

}  // namespace tocsin::cli
