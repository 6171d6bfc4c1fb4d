// SPDX-License-Identifier: Apache-2.0
// RunResult: what one run measured. Times in nanoseconds; "per push" is per push that ended in the main phase. Plain data.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tocsin/engine.h>

#include "cli/bench/mock_child.h"
#include "cli/bench/spec.h"
#include "obs/histogram.h"

namespace tocsin::cli::bench {

// One tenth of a second of the main phase.
struct SeriesPoint {
  double at_s = 0;
  double pushes_per_second = 0;
  double p50_us = 0, p99_us = 0, max_us = 0;
};

struct RunResult {
  RunSpec spec;
  double seconds = 0;               // the main phase as it was
  std::uint64_t pushes = 0;         // ended in it
  double pushes_per_second = 0;

  double client_cpu_ns = 0;         // per push: all threads of this process
  double client_user_ns = 0, client_system_ns = 0;
  double producer_cpu_ns = 0;       // of it: the thread that makes pushes and reads outcomes
  double mock_cpu_ns = 0;
  double sum_cpu_ns = 0;            // client and mock: loopback moves kernel work between them
  double machine_cpu_ns = 0;        // whatever ran on any CPU
  double unattributed_share = 0;    // of the machine's CPU: neither client nor mock
  double mock_busy = 0;             // share of its CPUs
  std::array<double, kStages> stage_cpu_ns{};  // with RunSpec::stages

  double enters = 0, writes = 0;    // per push
  double bytes_sent = 0, bytes_received = 0;
  double allocations = -1, allocated_bytes = -1;  // per push; -1: not counted

  // Open loop: from the intended time until the caller held the outcome, of pushes intended in the main phase. Closed loop:
  // from submit to answer, of pushes that ended in it.
  std::unique_ptr<obs::Histogram> latency;
  std::uint64_t intended = 0;       // open loop: in the main phase
  std::uint64_t not_started = 0;    // of them: not taken by the engine when it ended
  std::uint64_t late = 0;           // handed over more than kLateNs after their time
  std::vector<SeriesPoint> series;

  unsigned connections_open = 0;    // at the end of the main phase
  std::int64_t rss_bytes = 0;
  std::string crypto;

  // Of the whole run.
  std::uint64_t submitted = 0, ended = 0;
  std::array<std::uint64_t, kEnds + 1> ends{};
  std::uint64_t possibly_doubled = 0;
  std::string first_failure;        // of a push that was not accepted
  MockTotals mock;

  std::vector<std::string> void_because;
  bool valid() const { return void_because.empty(); }
};

inline constexpr std::int64_t kLateNs = 10'000'000;

// Why the run must not be used, from what it measured: the ledger against the outcomes, the mock's CPU.
void judge(RunResult& run);

// Starts a mock and an engine, loads it as the spec says, ends both. `directory`: of certificates and log; kept between runs.
// Errors: one sentence each; Code::stopped when a signal came.
struct AllocationCounter;
Result<RunResult> run_once(const RunSpec& spec, const std::string& directory, const AllocationCounter& allocations);

}  // namespace tocsin::cli::bench
