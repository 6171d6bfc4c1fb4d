// SPDX-License-Identifier: Apache-2.0
// The report: one HTML page that holds everything, styles and charts included, and fetches nothing. Made from a results document
// (results.h), so that an old result can be drawn again. Pure: JSON in, text out.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/bench/comparison.h"

namespace tocsin::cli::bench {

// `comparison`: null, or this document (as "after") against another.
std::string report_html(const nlohmann::ordered_json& document, const Comparison* comparison);

}  // namespace tocsin::cli::bench
