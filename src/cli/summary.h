// SPDX-License-Identifier: Apache-2.0
// Summary: what a run says at its end, for people or as one JSON object, and the exit code it earns.
// Threads: pure functions of their input, usage() aside.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tocsin/engine.h>

#include "cli/exit_codes.h"
#include "cli/tally.h"

namespace tocsin::cli {

// CPU time of all threads, and the peak of resident memory.
struct Usage {
  std::uint64_t cpu_ns = 0;
  double rss_mib = 0;
};
Usage usage();

struct SummaryFacts {
  Tally tally;
  std::vector<EndCounts> by_credential;  // as stats.credentials; said only where there are several
  RunEnd end;
  EngineStats stats;
  Usage usage;
  double seconds = 0;
  std::string input;
  std::string out;      // "" if not asked for
  std::string rejects;  // the file; "" if there was none
};

Exit exit_of(const Tally& tally, const RunEnd& end);
std::string summary_text(const SummaryFacts& facts, Exit code, bool colours);
std::string summary_json(const SummaryFacts& facts, Exit code);

}  // namespace tocsin::cli
