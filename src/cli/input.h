// SPDX-License-Identifier: Apache-2.0
// Input: records out of a file or standard input, NDJSON or CSV, plain or gzip.
//
// NDJSON: one object a line. CSV: a header row that names the columns (ours or NanoMDM's), quotes as in
// RFC 4180. A line that cannot be used becomes a Reject and the rest goes on. Unknown keys and columns are
// ignored and named once in a warning.
//
// Threads: one at a time. Ownership: views in Record and Reject die at the next call. Bounds: lines.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <tocsin/result.h>

#include "cli/byte_source.h"
#include "cli/lines.h"
#include "cli/record.h"

namespace tocsin::cli {

enum class Format : std::uint8_t { automatic, ndjson, csv };

// By extension (".gz" aside): .csv; .ndjson, .jsonl, .json. Anything else is automatic: the first character decides.
Format format_from_name(std::string_view path);

enum class InputState : std::uint8_t {
  record,
  reject,
  wait,  // a pipe has nothing now
  end,
  failed,  // the file cannot be read on; see error()
};

struct InputOptions {
  Format format = Format::automatic;  // automatic: by name, else by the first character
  std::uint64_t from_line = 1;        // lines before it are skipped (a CSV's header is read)
  std::size_t buffer_bytes = 256 * 1024;
};

// What turns lines into records; one for each format.
class LineParser {
 public:
  virtual ~LineParser() = default;
  enum class Took : std::uint8_t {
    record,
    reject,
    nothing,  // an empty line, the header, or the record goes on in the next line
    failed,   // the whole input cannot be used; `reject.error` says why
  };
  virtual Took take(std::uint64_t number, std::string_view line, Record& record, Reject& reject) = 0;
  // The input has ended; a record may still be open.
  virtual Took finish(Record&, Reject&) { return Took::nothing; }
  // True if every line must be seen even before from_line (a header, quotes that go on over lines).
  virtual bool must_see() const { return false; }
  // Names of ignored keys since the last call.
  std::string take_unknown() { return std::move(unknown_); }

 protected:
  std::string unknown_;
};
// `short_cuts` false: the general parser reads every line, and the result is the same (tests compare the two).
std::unique_ptr<LineParser> make_ndjson_parser(bool short_cuts = true);
std::unique_ptr<LineParser> make_csv_parser();

class Input {
 public:
  static Result<std::unique_ptr<Input>> open(const std::string& path, const InputOptions& options);
  ~Input();

  InputState next(Record& record, Reject& reject);

  const std::string& error() const { return error_; }
  std::string take_warning();  // "" or one sentence; at most one for each unknown key
  std::uint64_t line() const { return lines_.number(); }
  const std::string& name() const { return source_->name(); }
  const ByteSource& source() const { return *source_; }

 private:
  Input(std::unique_ptr<ByteSource> source, const InputOptions& options);
  InputState judged(LineParser::Took took, const Record& record, const Reject& reject);

  std::unique_ptr<ByteSource> source_;
  InputOptions options_;
  LineReader lines_;
  std::unique_ptr<LineParser> parser_;
  std::string error_;
  bool finished_ = false;
};

}  // namespace tocsin::cli
