// SPDX-License-Identifier: Apache-2.0
// --fail-if: "p999_us>2000", one comparison of a figure of the headline. Pure. Errors name the column.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <tocsin/result.h>

#include "cli/bench/spec.h"

namespace tocsin::cli::bench {

Result<FailIf> parse_fail_if(const std::string& text, const std::vector<std::string>& metrics);

// Whether it holds for this headline; a figure that was not measured (null) counts as one that breaks the limit.
bool holds(const FailIf& condition, const nlohmann::ordered_json& headline);

}  // namespace tocsin::cli::bench
