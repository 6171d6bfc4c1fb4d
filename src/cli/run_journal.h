// SPDX-License-Identifier: Apache-2.0
// RunJournal: what lets `tocsin push --resume` go on after a crash: a small file beside the outcomes.
//
// One JSON object a line:
//
//   {"tocsin_run":2,"key":"...","input":...,...}       what the run is; on the disk before anything is sent
//   {"session":1,"outcomes_from":0,"retry_failed":false}  one for the first start and one for each --resume
//   {"mark":1024,"line":1,"hash":"..."}                lines up to 1024 may be sent; line 1 had this hash
//   {"admitted":981}                                   the run waits: no line beyond 981 was sent, the mark is void
//   {"synced":81920}                                   so many bytes of the outcomes are on the disk
//   {"ended":"done","limit":0,"admitted":981,"outcomes":90112}  or "stopped"; no line beyond 981 was sent
//
// The one rule: no push is handed to the engine before a mark at or beyond its line is on the disk. So after
// any crash a line beyond the last mark was certainly not sent by that session. What lies between the last line
// sent and the mark is called doubtful after a crash though it was never sent, so marks stay near: a stride is
// what is sent in 50 ms, or in two and a half syncs of a disk that is slower than that, and a mark is never further
// ahead than a stride and a half; and when nothing is sent for a while, the mark is taken back to what was. Marks are
// synced in the background; the sender waits only when the disk becomes
// slower or the rate rises. A record that is torn or unreadable ends the file: nothing was sent on the strength of
// it or of what follows, because each mark's sync covers all that stands before it.
//
// Threads: one at a time (the file syncs on a thread of its own). Bounds: a mark of some 80 bytes for each 50 ms and
// for 16 lines, so that the journal is at most some 3 % of the outcomes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tocsin/push.h>
#include <tocsin/result.h>

#include "cli/durable_file.h"
#include "cli/run_key.h"

namespace tocsin::cli {

struct RunHeader {
  RunKey key;
  std::string input;
  bool input_known = false;  // a regular file: its size and the hash of its ends
  std::uint64_t input_bytes = 0;
  std::string input_hash;
  std::uint64_t from_line = 1;
  std::uint64_t rejects_from = 0;  // bytes of the rejects file that are not this run's
  // Options that a continued run must share, by name.
  std::vector<std::pair<std::string, std::string>> settings;
};

// A line that was admitted, to recognise the input by.
struct InputCheck {
  std::uint64_t line = 0;
  std::uint64_t hash = 0;
};

struct RunSession {
  std::uint64_t outcomes_from = 0;  // where its outcomes begin in the file
  bool retry_failed = false;
  std::uint64_t mark = 0;
};

// How a session came to an end of its own.
struct SessionEnd {
  bool done = false;           // nothing was left to send
  std::uint64_t limit = 0;     // --limit, 0: none
  std::uint64_t admitted = 0;  // the highest line that was handed over: what is beyond is not in doubt
  std::uint64_t outcomes = 0;  // bytes of the outcomes file; they need not be on the disk
};

struct JournalFacts {
  bool begun = false;  // false: no whole header, so nothing was ever sent
  RunHeader header;
  std::vector<RunSession> sessions;
  std::vector<InputCheck> checks;  // by line
  std::uint64_t outcomes_synced = 0;
  bool ended = false;  // the last session came to an end of its own; which:
  SessionEnd end;
  std::uint64_t bytes = 0;  // that can be used; what is behind is torn

  bool may_have_sent() const;
  bool unfinished() const { return may_have_sent() && !(ended && end.done); }
};

// Error: a whole first line that is no header of ours (another file, or a later version).
Result<JournalFacts> read_journal(std::string_view bytes);

class RunJournal {
 public:
  using Clock = std::int64_t (*)();  // monotonic nanoseconds

  static constexpr std::uint64_t kStrideMin = 16;
  static constexpr std::uint64_t kStrideMax = 262'144;
  static constexpr std::int64_t kStrideNs = 50'000'000;
  static constexpr std::int64_t kStrideNsMax = 2'000'000'000;  // for a disk whose sync takes 0.8 s or longer

  // `stride`: how far the first mark runs ahead.
  RunJournal(std::unique_ptr<DurableFile> file, Clock clock, std::uint64_t stride = 32)
      : file_(std::move(file)), clock_(clock), stride_(stride) {}

  // Both are on the disk when they return.
  Result<void> begin(const RunHeader& header);
  Result<void> begin_session(const RunSession& session);

  // Before the push of `line` is handed over, lines in order; `text` is the line itself.
  Result<void> admit(std::uint64_t line, std::string_view text) {
    last_ = line;
    return line <= easy_ ? Result<void>() : admit_further(line, text);
  }
  // Nothing is handed over for a while: the mark is taken back to the last line that was admitted. Not on the disk at once;
  // if it is lost, more lines are in doubt, that is all.
  Result<void> rest();
  // Not on the disk at once: it may be lost, and then the outcomes behind it count as not synced.
  Result<void> outcomes_synced(std::uint64_t bytes);
  Result<void> end(const SessionEnd& end);

 private:
  Result<void> admit_further(std::uint64_t line, std::string_view text);
  Result<void> write_mark(std::uint64_t mark, std::uint64_t line, std::string_view text);
  Result<void> write_through(std::string_view record);
  Result<void> await_mark();
  void settle_mark();
  void learn_stride(std::uint64_t line);

  std::unique_ptr<DurableFile> file_;
  Clock clock_;
  std::uint64_t last_ = 0;     // line that was admitted
  std::uint64_t easy_ = 0;     // lines up to here need no look at anything
  std::uint64_t durable_ = 0;  // the mark on the disk
  std::uint64_t written_ = 0;  // the mark in the file
  std::uint64_t ticket_ = 0;   // of written_, while it is not durable
  std::uint64_t stride_;
  std::int64_t stride_ns_ = kStrideNs;  // what a stride is to last
  std::uint64_t marked_line_ = 0;       // the line at which the last mark was written,
  std::int64_t marked_ns_ = 0;          // when; 0: none in this session yet
  std::int64_t waited_ns_ = 0;          // for the disk since then
};

}  // namespace tocsin::cli
