// SPDX-License-Identifier: Apache-2.0
// Results: a bench's files. results.json has environment, command line and one full record a profile; PROFILE.hgrm is the
// latency distribution in HdrHistogram's text format. Threads: one; writes and reads files. Errors name the file.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <tocsin/result.h>

#include "obs/histogram.h"

namespace tocsin::cli::bench {

inline constexpr const char* kResultsFile = "results.json";

Result<void> write_text(const std::string& path, const std::string& text);

// The file, or the results.json of a directory. Checks that it is a result of this command.
Result<nlohmann::ordered_json> read_results(const std::string& path);

// Values in microseconds; the columns of HdrHistogram's outputPercentileDistribution.
std::string hgrm_text(const obs::Histogram& latency_ns);

}  // namespace tocsin::cli::bench
