// SPDX-License-Identifier: Apache-2.0
#include "cli/outputs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "base/hex.h"

namespace tocsin::cli {
namespace {

void append_number(std::int64_t value, std::string& out) {
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out.append(digits, end);
}

}  // namespace

LineWriter::~LineWriter() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
}

Result<void> LineWriter::open(const std::string& path, bool append) {
  path_ = path;
  if (path == "-") {
    fd_ = STDOUT_FILENO;
    return {};
  }
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0644);
  if (fd_ < 0) return Error{Code::io, fmt::format("{}: cannot be written: {}", path, std::strerror(errno))};
  struct stat facts {};
  if (::fstat(fd_, &facts) == 0 && S_ISREG(facts.st_mode)) written_ = static_cast<std::uint64_t>(facts.st_size);
  buffer_.reserve(kFlushBytes + 64 * 1024);
  return {};
}

Result<void> LineWriter::flush() {
  std::string_view left = buffer_;
  while (!left.empty() && fd_ >= 0) {
    const ssize_t wrote = ::write(fd_, left.data(), left.size());
    if (wrote >= 0) {
      left.remove_prefix(static_cast<std::size_t>(wrote));
      written_ += static_cast<std::uint64_t>(wrote);
    } else if (errno != EINTR) {
      const int cause = errno;
      buffer_.erase(0, buffer_.size() - left.size());
      return Error{Code::io, fmt::format("{}: cannot be written: {}", path_, std::strerror(cause))};
    }
  }
  buffer_.clear();
  return {};
}

std::int64_t latency_ns(const Outcome& outcome) {
  return outcome.sent_unix_ns == 0 ? 0 : std::max<std::int64_t>(0, outcome.ended_unix_ns - outcome.sent_unix_ns);
}

void append_outcome(const Outcome& outcome, const OutcomeOf& of, TimeText& time, std::string& out) {
  append_number(static_cast<std::int64_t>(of.line), out += "{\"line\":");
  out += ",\"id\":";
  if (of.id.empty())
    append_number(static_cast<std::int64_t>(of.line), out);
  else
    out += of.id;
  out.append(",\"token\":\"").append(of.token).append("\",\"outcome\":\"").append(end_name(outcome.end)) += '"';
  if (outcome.status != 0) append_number(outcome.status, out += ",\"status\":");
  if (outcome.reason != Reason::none) {
    out += ",\"reason\":";
    const std::string_view name = outcome.reason == Reason::other ? outcome.reason_view() : reason_name(outcome.reason);
    append_json_string(name, out);
    if (outcome.reason != Reason::other && outcome.reason_text_bytes != 0) {
      append_json_string(outcome.reason_view(), out += ",\"cause\":");
    }
  }
  if (outcome.apns_id != Uuid{}) {
    char text[base::kUuidTextBytes];
    base::uuid_format(outcome.apns_id, text);
    out.append(",\"apns_id\":\"").append(text, sizeof(text)) += '"';
  }
  if (outcome.unregistered_unix_ms != 0) append_number(outcome.unregistered_unix_ms, out += ",\"unregistered_at_ms\":");
  if (of.superseded_by_line != 0)
    append_number(static_cast<std::int64_t>(of.superseded_by_line), out += ",\"superseded_by_line\":");
  append_number(outcome.attempts, out += ",\"attempts\":");
  if ((outcome.flags & kPossiblyDoubled) != 0) out += ",\"possibly_doubled\":true";
  if (of.resumed) out += ",\"resumed\":true";
  if (outcome.sent_unix_ns != 0) append_number(latency_ns(outcome) / 1000, out += ",\"latency_us\":");
  out += ",\"at\":\"";
  time.append(outcome.ended_unix_ns, out);
  out += "\"}\n";
}

void append_reject(const Reject& reject, std::string& out) {
  append_number(static_cast<std::int64_t>(reject.line), out += "{\"line\":");
  append_json_string(reject.field, out += ",\"field\":");
  append_json_string(reject.error, out += ",\"error\":");
  append_json_string(reject.input.substr(0, 512), out += ",\"input\":");
  out += "}\n";
}

std::string rejects_path_for(std::string_view out_path) {
  if (out_path.empty() || out_path == "-" || out_path.starts_with("/dev/")) return "tocsin-rejects.ndjson";
  const std::size_t slash = out_path.rfind('/');
  std::string_view stem = out_path;
  const std::size_t dot = out_path.rfind('.');
  if (dot != std::string_view::npos && dot != 0 && (slash == std::string_view::npos || dot > slash + 1))
    stem = out_path.substr(0, dot);
  return std::string(stem) + ".rejects.ndjson";
}

}  // namespace tocsin::cli
