// SPDX-License-Identifier: Apache-2.0
// OutcomeScan: reads back what `--out` holds of a run, to continue it.
//
// Only lines as append_outcome() writes them are understood: a file that another program rewrote is refused
// rather than guessed at. The scan ends at the first line that is torn or damaged; whether that is a crash's
// trace or a fault is judged by how much of the file was known to be on the disk. Threads: one at a time.
// Bounds: one block and one line; about a gigabyte a second.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/push.h>
#include <tocsin/result.h>

#include "cli/run_history.h"
#include "cli/run_journal.h"

namespace tocsin::cli {

struct OutcomeLine {
  std::uint64_t line = 0;
  End end = End::failed;
  bool unsent = false;  // is_unsent()
};

// Without the line end. False: not a whole outcome.
bool parse_outcome_line(std::string_view text, OutcomeLine& out);

class OutcomeScan {
 public:
  OutcomeScan(const std::vector<RunSession>& sessions, RunHistory& history);

  // The file's bytes in order, from the first session's on; answers how many make whole lines. The rest is
  // given again, with more behind it.
  std::size_t feed(std::string_view bytes);
  // Begins the sessions that left no outcome.
  void finish();

  std::uint64_t good_bytes() const { return at_; }  // of the file
  std::uint64_t outcomes() const { return outcomes_; }
  bool damaged() const { return damaged_; }  // a line was met that cannot be read
  std::uint64_t beyond_mark() const { return beyond_mark_; }  // a line that this run never admitted, 0: none

 private:
  void begin_sessions(std::uint64_t upto);

  const std::vector<RunSession>& sessions_;
  RunHistory& history_;
  std::size_t next_session_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t outcomes_ = 0;
  std::uint64_t beyond_mark_ = 0;
  bool damaged_ = false;
};

// What a file of lines holds, and where its whole lines end.
struct TailFacts {
  std::uint64_t good_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::string tail;  // the first bytes behind good_bytes
};

// Reads the outcomes of `facts`' sessions from `path` into `history`. Errors: the file is gone, shorter than
// what was synced, damaged there, or of another run.
Result<TailFacts> scan_outcomes(const std::string& path, const JournalFacts& facts, RunHistory& history);

// The lines that the rejects file names from `from` on; a file that is not there holds none.
Result<TailFacts> scan_rejects(const std::string& path, std::uint64_t from, LineMap& lines);

}  // namespace tocsin::cli
