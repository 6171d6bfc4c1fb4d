// SPDX-License-Identifier: Apache-2.0
// Outputs: the outcomes file and the rejects file, one JSON object a line each.
//
// Threads: one at a time. Ownership: each writer owns its descriptor (standard output excepted). Bounds: a
// buffer of 256 KiB; a full disk stops the run with a message, it loses nothing silently.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tocsin/push.h>
#include <tocsin/result.h>

#include "cli/record.h"
#include "cli/units.h"

namespace tocsin::cli {

// Buffered lines to a file, "-" is standard output.
class LineWriter {
 public:
  LineWriter() = default;
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  Result<void> open(const std::string& path, bool append);
  bool is_open() const { return fd_ >= 0; }
  const std::string& path() const { return path_; }

  std::string& buffer() { return buffer_; }
  Result<void> flush_if_full() { return buffer_.size() < kFlushBytes ? Result<void>() : flush(); }
  Result<void> flush();
  int descriptor() const { return fd_; }
  std::uint64_t written() const { return written_; }  // the file's size after the last flush

 private:
  static constexpr std::size_t kFlushBytes = 256 * 1024;
  int fd_ = -1;
  std::uint64_t written_ = 0;
  std::string path_;
  std::string buffer_;
};

// Whose outcome it is, as the input has it.
struct OutcomeOf {
  std::uint64_t line = 0;
  std::string_view token;
  std::string_view id;   // JSON text; empty: the line's number stands in for it
  bool resumed = false;  // an earlier part of the run had admitted it and left no outcome
  std::uint64_t superseded_by_line = 0;  // 0: none, or not known any more
};

// Appends {"line":17,"id":...,"token":"...","outcome":"accepted",...} and a newline. outcome_scan.h reads it
// back: the order of the first five keys stays.
void append_outcome(const Outcome& outcome, const OutcomeOf& of, TimeText& time, std::string& out);

// Ends that leave a line to be sent when the run is continued: it was certainly never sent, for want of a
// connection or a credential, or because the run was stopped.
constexpr bool is_unsent(End end, Reason reason) {
  if (end != End::failed) return end == End::returned;
  return reason == Reason::cannot_connect || reason == Reason::credential_stopped ||
         reason == Reason::credential_removed;
}

// From the last write to the answer, 0 if it was never written.
std::int64_t latency_ns(const Outcome& outcome);

// Appends {"line":17,"field":"token","error":"...","input":"..."} and a newline.
void append_reject(const Reject& reject, std::string& out);

// "outcomes.ndjson" -> "outcomes.rejects.ndjson"; "" and "-" -> "tocsin-rejects.ndjson".
std::string rejects_path_for(std::string_view out_path);

}  // namespace tocsin::cli
