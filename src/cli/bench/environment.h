// SPDX-License-Identifier: Apache-2.0
// Environment: what a figure depends on besides the code: machine, kernel, versions, build, load. Threads: one; reads /proc.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace tocsin::cli::bench {

nlohmann::ordered_json environment();

// HEAD of the repository that holds this program, "" if there is none.
std::string commit_of_this_build();

}  // namespace tocsin::cli::bench
