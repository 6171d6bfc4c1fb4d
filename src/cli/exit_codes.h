// SPDX-License-Identifier: Apache-2.0
// Exit codes: one table for all commands. `tocsin exit-codes` prints it, docs/cli.md lists it, and a test
// holds the two together. Threads: immutable. Numbers are stable: append, never renumber.
#pragma once

#include <array>

namespace tocsin::cli {

enum class Exit : int {
  done = 0,
  failed = 1,
  usage = 2,
  bad_input = 3,
  cannot_connect = 4,
  partly = 5,
  needs_care = 6,
  threshold = 7,
  refused = 8,
  void_result = 9,
  interrupted = 130,
};

constexpr int exit_number(Exit code) { return static_cast<int>(code); }

struct ExitCodeEntry {
  Exit code;
  const char* name;
  const char* meaning;
};

inline constexpr std::array<ExitCodeEntry, 11> kExitCodes{{
    {Exit::done, "done", "done as asked"},
    {Exit::failed, "failed", "failed for a reason of this machine (disk, io_uring, a bug of ours)"},
    {Exit::usage, "usage", "the command line is wrong"},
    {Exit::bad_input, "bad input",
     "a file, a certificate or every line of the input is wrong; nothing or not all was sent"},
    {Exit::cannot_connect, "cannot connect", "no connection to the endpoint could be made"},
    {Exit::partly, "partly", "done, but some pushes were rejected, failed or are unknown, or some lines were wrong"},
    {Exit::needs_care, "needs care",
     "with --strict: nothing is wrong yet, but something soon will be (a certificate about to end)"},
    {Exit::threshold, "threshold broken", "a measured value is beyond the limit that was given"},
    {Exit::refused, "refused", "refused by a brake or for want of a role"},
    {Exit::void_result, "result void", "the run ended but its result must not be used"},
    {Exit::interrupted, "interrupted",
     "stopped by a signal; all that was sent is accounted for and the rest can be resumed"},
}};

}  // namespace tocsin::cli
