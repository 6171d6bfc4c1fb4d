// SPDX-License-Identifier: Apache-2.0
// `tocsin fleet generate`. Threads: the main thread. Ownership: `root` owns the options.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace tocsin::cli {

void register_fleet(CLI::App& root, std::function<int()>& action);

}  // namespace tocsin::cli
