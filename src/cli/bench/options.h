// SPDX-License-Identifier: Apache-2.0
// The options of `tocsin bench`: declared, parsed, checked. Threads: one.
#pragma once

#include <string>

#include "cli/bench/spec.h"

namespace CLI {
class App;
}

namespace tocsin::cli::bench {

// Each option checks its own value; `options` must outlive `app`.
void add_options(CLI::App& app, BenchOptions& options);

// What no single option can see; "" if all is well.
std::string check_options(const BenchOptions& options);

// A profile's spec: the options with the profile's own defaults.
RunSpec spec_of(const BenchOptions& options, const std::string& profile);

}  // namespace tocsin::cli::bench
