// SPDX-License-Identifier: Apache-2.0
// Tally: what became of the pushes, in numbers. Threads: one at a time; copies may travel. Ownership: a
// plain value. Bounds: reasons without a number of their own are counted by text, at most 64 texts.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <tocsin/push.h>

#include "cli/outputs.h"
#include "obs/histogram.h"

namespace tocsin::cli {

struct Tally {
  std::uint64_t outcomes = 0;
  std::array<std::uint64_t, kEnds + 1> ends{};  // by End
  std::map<std::string, std::uint64_t> rejected_by_reason;
  std::map<std::string, std::uint64_t> failed_by_reason;
  std::uint64_t possibly_doubled = 0;
  std::uint64_t cannot_connect = 0;
  std::uint64_t credential_stopped = 0;
  obs::Histogram latency_ns;  // of answered pushes

  std::uint64_t of(End end) const { return ends[static_cast<std::size_t>(end)]; }

  void add(const Outcome& outcome) {
    ++outcomes;
    const auto end = static_cast<std::size_t>(outcome.end);
    ++ends[end <= kEnds ? end : 0];
    if ((outcome.flags & kPossiblyDoubled) != 0) ++possibly_doubled;
    if (outcome.status != 0 && outcome.sent_unix_ns != 0)
      latency_ns.record(static_cast<std::uint64_t>(tocsin::cli::latency_ns(outcome)));
    if (outcome.end == End::accepted) return;
    if (outcome.reason == Reason::cannot_connect) ++cannot_connect;
    if (outcome.reason == Reason::credential_stopped) ++credential_stopped;
    if (outcome.end == End::rejected)
      count(rejected_by_reason, outcome);
    else if (outcome.end == End::failed || outcome.end == End::unknown)
      count(failed_by_reason, outcome);
  }

  // Most frequent first.
  static std::vector<std::pair<std::string, std::uint64_t>> sorted(const std::map<std::string, std::uint64_t>& counts);

 private:
  static void count(std::map<std::string, std::uint64_t>& counts, const Outcome& outcome) {
    std::string name(outcome.reason == Reason::other ? outcome.reason_view()
                                                     : std::string_view(reason_name(outcome.reason)));
    if (name.empty()) name = "status " + std::to_string(outcome.status);
    const auto found = counts.find(name);
    if (found != counts.end())
      ++found->second;
    else
      ++counts[counts.size() < 64 ? name : std::string("Other")];
  }
};

// Pushes of one credential, by End.
using EndCounts = std::array<std::uint64_t, kEnds + 1>;

// How the run ended, beside the numbers.
struct RunEnd {
  std::uint64_t submitted = 0;
  std::uint64_t input_rejects = 0;
  std::uint64_t resume_line = 0;         // 0: nothing is left to send
  std::uint64_t sent_behind_resume = 0;  // lines from resume_line on that would be sent (or refused) again
  bool resumed = false;                  // --resume; the three below are its own
  std::uint64_t done_before = 0;         // lines that had their final outcome
  std::uint64_t sent_again = 0;          // may have been sent before: admitted, without an outcome
  std::uint64_t settled_unknown = 0;     // the same under at most once: not sent again
  bool kept = false;                     // --resume can go on from here
  bool interrupted = false;
  bool gave_up = false;     // the endpoint could not be reached
  std::string refused;      // APNs refuses every credential: why
  std::string brake;        // a brake has ended the run: why
  std::string input_error;  // the file could not be read to its end
  std::string own_error;    // disk, engine
};

}  // namespace tocsin::cli
