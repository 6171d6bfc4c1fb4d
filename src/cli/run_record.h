// SPDX-License-Identifier: Apache-2.0
// RunRecord: what `tocsin push --out FILE` keeps on the disk so that --resume can go on, and what --resume
// finds there.
//
// The journal lies beside the outcomes as FILE.run. Nothing is kept for outcomes that go to a pipe or a
// device. Threads: one at a time. Ownership: owns journal and history. Errors say which file and what to do;
// each comes with its exit code.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/result.h>

#include "cli/exit_codes.h"
#include "cli/outputs.h"
#include "cli/push_options.h"
#include "cli/run_history.h"
#include "cli/run_journal.h"
#include "cli/run_key.h"

namespace tocsin::cli {

struct RunRecord {
  RunKey key;
  std::unique_ptr<RunJournal> journal;  // null: outcomes are not kept in a file
  std::uint64_t from_line = 1;

  // Of a continued run:
  bool resumed = false;
  bool retry_failed = false;
  bool all_done = false;                  // nothing is left, as the journal says: the input need not be read
  std::unique_ptr<RunHistory> history;    // null: a new run
  LineMap rejected;                       // lines that stand in the rejects file already
  std::vector<InputCheck> checks;

  Fate fate(std::uint64_t line) const { return history ? history->fate(line, retry_failed) : Fate::fresh; }
};

struct RunRefusal {
  Exit code = Exit::failed;
  std::string text;  // "": none
};

// "outcomes.ndjson" -> "outcomes.ndjson.run"
std::string journal_path_for(const std::string& out);

// Opens `out` (and cuts a torn tail), begins or reads the journal. `topic`: of lines that name none.
RunRefusal open_run(const PushOptions& options, const std::string& topic, LineWriter& out, RunRecord& run);

// Judges each record's line against what an earlier session has seen of the input, in order.
class InputWatch {
 public:
  explicit InputWatch(const std::vector<InputCheck>& checks) : checks_(checks) {}
  // False: the input is not the one that the run began with.
  bool seen(std::uint64_t line, std::string_view text) {
    if (next_ == checks_.size() || line < checks_[next_].line) return true;
    return compare(line, text);
  }
  // False: the input has ended before what was seen of it.
  bool ended() const { return next_ == checks_.size(); }
  std::uint64_t line() const { return next_ == checks_.size() ? 0 : checks_[next_].line; }  // of the next check

 private:
  bool compare(std::uint64_t line, std::string_view text);

  const std::vector<InputCheck>& checks_;
  std::size_t next_ = 0;
};

}  // namespace tocsin::cli
