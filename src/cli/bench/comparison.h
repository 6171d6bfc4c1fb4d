// SPDX-License-Identifier: Apache-2.0
// `tocsin bench compare A B`: two results against each other, each figure as a ratio with an interval, and whatever differs besides.
// Pure but for run_compare. The interval: 95 % of the ratios of medians of 10,000 resamplings of the runs of both (bootstrap,
// seeded, so the same files give the same answer); with fewer than three runs on a side, the least and largest ratio that any two
// runs give. Runs that were not interleaved may differ by what else the machine did: bench/compare interleaves.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace tocsin::cli::bench {

struct Compared {
  std::string profile, metric;
  double before = 0, after = 0;     // medians
  double ratio = 1, low = 1, high = 1;
  bool differs() const { return low > 1 || high < 1; }
};

struct Comparison {
  std::vector<Compared> figures;
  std::vector<std::string> differences;  // of environment and set-up, "kernel: A / B"
  std::vector<std::string> left_out;     // profiles that only one of them has
  bool valid = true;                     // neither side has a void profile among those compared
};

Comparison compare_results(const nlohmann::ordered_json& before, const nlohmann::ordered_json& after);

struct Interval {
  double low = 1, high = 1;
};
Interval ratio_interval(const std::vector<double>& before, const std::vector<double>& after);

std::string comparison_text(const Comparison& comparison);
nlohmann::ordered_json comparison_json(const Comparison& comparison);

}  // namespace tocsin::cli::bench
