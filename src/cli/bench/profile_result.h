// SPDX-License-Identifier: Apache-2.0
// ProfileResult: all runs of one profile, judged together, and what is told of them: the line of --json, the entry of the
// results file. Threads: one. Ownership: plain data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cli/bench/run_result.h"

namespace tocsin::cli::bench {

struct SweepPoint {
  std::string name, value;
  RunResult run;
};

struct MemoryResult {
  double bytes_per_connection = -1;
  double bytes_per_queued_push = -1;
};

struct ProfileResult {
  std::string profile;
  std::vector<RunResult> runs;       // at least one
  std::optional<RunResult> ceiling;  // closed loop, before the runs: what the mock's own CPU per push allows
  std::optional<RunResult> staged;   // with stage clocks on, in no other figure
  std::vector<RunResult> curve;
  std::vector<SweepPoint> sweeps;
  MemoryResult memory;
  double spread_max = 0.15;
};

// (largest - least) / median of a figure over the runs; the greater of CPU per push and, in closed loop, pushes per second.
double spread_of(const ProfileResult& result);
double median_of(std::vector<double> values);

// What the mock could do: its CPUs over its own CPU per push, from the first, separate run. 0 without one.
double ceiling_of(const ProfileResult& result);

// Why the profile's figures must not be used: each run's reasons once, and a spread beyond the bound.
std::vector<std::string> void_reasons(const ProfileResult& result);

// The flat record: medians over the runs, percentiles of all runs' latencies together.
nlohmann::ordered_json headline(const ProfileResult& result);

// Headline and everything beneath: runs, percentile curve, series, stages, curve, sweeps.
nlohmann::ordered_json full_record(const ProfileResult& result);

// Names of the headline's numbers, for --fail-if.
std::vector<std::string> metric_names();

std::string text_summary(const ProfileResult& result);

obs::Histogram merged_latency(const ProfileResult& result);

}  // namespace tocsin::cli::bench
