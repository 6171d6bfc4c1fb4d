// SPDX-License-Identifier: Apache-2.0
// `tocsin push`. Threads: the main thread. Ownership: `root` owns the options.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace tocsin::cli {

// Adds the subcommand; `action` is set when it was chosen and answers the exit code.
void register_push(CLI::App& root, std::function<int()>& action);

}  // namespace tocsin::cli
