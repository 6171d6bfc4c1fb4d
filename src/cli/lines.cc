// SPDX-License-Identifier: Apache-2.0
#include "cli/lines.h"

#include <cstring>

namespace tocsin::cli {

LineReader::LineReader(ByteSource& source, std::size_t buffer_bytes)
    : source_(source),
      capacity_(buffer_bytes + kLineBytesMax + 2),
      buffer_(std::make_unique<char[]>(capacity_ + kLinePadding)) {}

LineState LineReader::more() {
  if (begin_ != 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    scanned_ -= begin_;
    begin_ = 0;
  }
  const ReadResult got = source_.read({buffer_.get() + end_, capacity_ - end_});
  switch (got.state) {
    case ReadState::data:
      end_ += got.bytes;
      return LineState::line;
    case ReadState::wait:
      return LineState::wait;
    case ReadState::failed:
      return LineState::failed;
    case ReadState::end:
      break;
  }
  ended_ = true;
  return LineState::end;
}

LineState LineReader::give(std::string_view& line, std::size_t bytes, std::size_t used) {
  line = {buffer_.get() + begin_, bytes};
  begin_ += used;
  scanned_ = begin_;
  ++number_;
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  if (line.size() <= kLineBytesMax) return LineState::line;
  line = line.substr(0, kLineShownBytes);
  return LineState::too_long;
}

// Drops what is left of a line that is too long; its beginning is in shown_.
LineState LineReader::skip_rest(std::string_view& line) {
  for (;;) {
    const void* found = std::memchr(buffer_.get() + begin_, '\n', end_ - begin_);
    if (found != nullptr || (ended_ && begin_ == end_)) {
      begin_ = found != nullptr ? static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.get()) + 1 : end_;
      scanned_ = begin_;
      skipping_ = false;
      ++number_;
      line = shown_;
      return LineState::too_long;
    }
    begin_ = scanned_ = end_;
    const LineState state = more();
    if (state == LineState::wait || state == LineState::failed) return state;
  }
}

LineState LineReader::next(std::string_view& line) {
  if (skipping_) return skip_rest(line);
  for (;;) {
    const void* found = std::memchr(buffer_.get() + scanned_, '\n', end_ - scanned_);
    if (found != nullptr) {
      const auto bytes = static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.get()) - begin_;
      return give(line, bytes, bytes + 1);
    }
    scanned_ = end_;
    if (end_ - begin_ > kLineBytesMax + 1) {
      shown_.assign(buffer_.get() + begin_, kLineShownBytes);
      skipping_ = true;
      return skip_rest(line);
    }
    if (ended_) {
      if (begin_ == end_) return LineState::end;
      return give(line, end_ - begin_, end_ - begin_);  // the last line has no line end
    }
    const LineState state = more();
    if (state == LineState::wait || state == LineState::failed) return state;
  }
}

}  // namespace tocsin::cli
