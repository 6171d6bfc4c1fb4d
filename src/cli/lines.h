// SPDX-License-Identifier: Apache-2.0
// LineReader: lines out of a ByteSource, in one buffer, without copies.
//
// Threads: one at a time. Ownership: a line is a view into the buffer until the next call; at least
// kLinePadding readable bytes follow it (simdjson reads beyond the end). Bounds: a line longer than
// kLineBytesMax is reported as too long, with its first kLineShownBytes, and skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "cli/byte_source.h"

namespace tocsin::cli {

inline constexpr std::size_t kLineBytesMax = 16 * 1024;
inline constexpr std::size_t kLineShownBytes = 512;
inline constexpr std::size_t kLinePadding = 64;

enum class LineState : std::uint8_t { line, too_long, wait, end, failed };

class LineReader {
 public:
  // `buffer_bytes`: what is read at once, beside the longest line.
  explicit LineReader(ByteSource& source, std::size_t buffer_bytes = 256 * 1024);

  // `line` comes without its line end ("\n" or "\r\n"); a byte order mark before the first is dropped.
  LineState next(std::string_view& line);

  std::uint64_t number() const { return number_; }  // of the last line, from 1
  const std::string& error() const { return source_.error(); }
  ByteSource& source() { return source_; }

 private:
  LineState more();
  LineState skip_rest(std::string_view& line);
  LineState give(std::string_view& line, std::size_t bytes, std::size_t used);

  ByteSource& source_;
  std::size_t capacity_;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::size_t scanned_ = 0;  // [begin_, scanned_) holds no line end
  std::uint64_t number_ = 0;
  bool ended_ = false;
  bool skipping_ = false;  // inside a line that is too long
  std::string shown_;      // its beginning
};

}  // namespace tocsin::cli
