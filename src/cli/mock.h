// SPDX-License-Identifier: Apache-2.0
// `tocsin mock`: the APNs mock as a command. Threads: the main thread. Ownership: `root` owns the options.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace tocsin::cli {

// Adds the subcommand. When it was chosen on the command line, `action` is set; it runs until SIGINT or
// SIGTERM and answers the exit code (exit_codes.h).
void register_mock(CLI::App& root, std::function<int()>& action);

}  // namespace tocsin::cli
