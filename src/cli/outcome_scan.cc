// SPDX-License-Identifier: Apache-2.0
#include "cli/outcome_scan.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "cli/outputs.h"

namespace tocsin::cli {
namespace {

constexpr std::size_t kBlockBytes = 1 << 20;
constexpr std::size_t kTailShownBytes = 400;

// Takes `word` off the front of `text`.
bool skip(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

bool take_number(std::string_view& text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

// A JSON string or number.
bool skip_id(std::string_view& text) {
  if (!text.starts_with('"')) {
    const std::size_t comma = text.find(',');
    if (comma == std::string_view::npos || comma == 0) return false;
    text.remove_prefix(comma);
    return true;
  }
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool take_word(std::string_view& text, std::string_view& word) {
  const std::size_t quote = text.find('"');
  if (quote == std::string_view::npos) return false;
  word = text.substr(0, quote);
  text.remove_prefix(quote + 1);
  return true;
}

bool end_from_name(std::string_view name, End& out) {
  for (std::size_t i = 1; i <= kEnds; ++i) {
    out = static_cast<End>(i);
    if (name == end_name(out)) return true;
  }
  return false;
}

struct Reader {
  int fd = -1;
  ~Reader() {
    if (fd >= 0) ::close(fd);
  }
};

Error error_of(const std::string& path, const char* what) {
  return Error{Code::io, fmt::format("{}: {}: {}", path, what, std::strerror(errno))};
}

// Gives the file from `from` on to `feed`, which answers how many bytes it has used up, and stops when it
// cannot use a whole block. What was not used is the tail.
template <class Feed>
Result<TailFacts> read_lines(const std::string& path, std::uint64_t from, Feed feed) {
  Reader reader{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat facts {};
  if (reader.fd < 0 || ::fstat(reader.fd, &facts) != 0) return error_of(path, "cannot be read");
  TailFacts tail{from, static_cast<std::uint64_t>(facts.st_size), {}};
  const auto block = std::make_unique<char[]>(kBlockBytes);
  std::size_t held = 0;
  std::uint64_t at = from;
  for (bool more = true; more;) {
    const ssize_t got = ::pread(reader.fd, block.get() + held, kBlockBytes - held, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error_of(path, "cannot be read");
    at += static_cast<std::uint64_t>(got);
    held += static_cast<std::size_t>(got);
    const std::size_t used = feed(std::string_view(block.get(), held));
    tail.good_bytes += used;
    std::memmove(block.get(), block.get() + used, held - used);
    held -= used;
    more = got != 0 && held < kBlockBytes;
  }
  tail.tail.assign(block.get(), std::min(held, kTailShownBytes));
  return tail;
}

}  // namespace

bool parse_outcome_line(std::string_view text, OutcomeLine& out) {
  // Zeros in the middle are what a power cut leaves of a page that was never written.
  if (!text.ends_with('}') || std::memchr(text.data(), '\0', text.size()) != nullptr) return false;
  std::string_view word;
  std::uint64_t status = 0;
  if (!skip(text, "{\"line\":") || !take_number(text, out.line) || out.line == 0) return false;
  if (!skip(text, ",\"id\":") || !skip_id(text)) return false;
  if (!skip(text, ",\"token\":\"") || !take_word(text, word)) return false;
  if (!skip(text, ",\"outcome\":\"") || !take_word(text, word) || !end_from_name(word, out.end)) return false;
  if (skip(text, ",\"status\":") && !take_number(text, status)) return false;
  out.unsent = is_unsent(out.end, Reason::none);
  if (skip(text, ",\"reason\":\"") && take_word(text, word)) {
    for (const Reason reason : {Reason::cannot_connect, Reason::credential_stopped, Reason::credential_removed})
      out.unsent = out.unsent || (word == reason_name(reason) && is_unsent(out.end, reason));
  }
  return true;
}

OutcomeScan::OutcomeScan(const std::vector<RunSession>& sessions, RunHistory& history)
    : sessions_(sessions), history_(history), at_(sessions.empty() ? 0 : sessions.front().outcomes_from) {}

void OutcomeScan::begin_sessions(std::uint64_t upto) {
  while (next_session_ < sessions_.size() && sessions_[next_session_].outcomes_from <= upto) {
    history_.begin_session(sessions_[next_session_].mark, sessions_[next_session_].retry_failed);
    ++next_session_;
  }
}

std::size_t OutcomeScan::feed(std::string_view bytes) {
  std::size_t used = 0;
  while (!damaged_ && beyond_mark_ == 0) {
    const void* found = std::memchr(bytes.data() + used, '\n', bytes.size() - used);
    if (found == nullptr) break;
    const auto end = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    OutcomeLine outcome;
    if (!parse_outcome_line(bytes.substr(used, end - used), outcome)) {
      damaged_ = true;
      break;
    }
    begin_sessions(at_);
    if (outcome.line > history_.mark()) {
      beyond_mark_ = outcome.line;
      break;
    }
    history_.outcome(outcome.line, outcome.end, outcome.unsent);
    ++outcomes_;
    at_ += end + 1 - used;
    used = end + 1;
  }
  return used;
}

void OutcomeScan::finish() {
  begin_sessions(~0ull);
  history_.finish();
}

Result<TailFacts> scan_outcomes(const std::string& path, const JournalFacts& facts, RunHistory& history) {
  OutcomeScan scan(facts.sessions, history);
  auto tail = read_lines(path, scan.good_bytes(), [&](std::string_view bytes) { return scan.feed(bytes); });
  if (!tail.ok()) return tail;
  scan.finish();
  if (scan.beyond_mark() != 0) {
    return Error{Code::invalid_argument,
                 fmt::format("{}: has an outcome of line {}, which this run never sent; it belongs to another run",
                             path, scan.beyond_mark())};
  }
  if (tail->good_bytes >= facts.outcomes_synced) return tail;
  if (tail->file_bytes < facts.outcomes_synced) {
    return Error{Code::invalid_argument,
                 fmt::format("{}: is {} bytes long, but {} were written; what is missing cannot be made up for", path,
                             tail->file_bytes, facts.outcomes_synced)};
  }
  return Error{Code::invalid_argument,
               fmt::format("{}: the line at byte {} is not an outcome as tocsin wrote it; was the file changed?", path,
                           tail->good_bytes)};
}

Result<TailFacts> scan_rejects(const std::string& path, std::uint64_t from, LineMap& lines) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return TailFacts{};
  bool foreign = false, zeros = false;
  const auto feed = [&](std::string_view bytes) -> std::size_t {
    std::size_t used = 0;
    while (!foreign) {
      const void* found = std::memchr(bytes.data() + used, '\n', bytes.size() - used);
      if (found == nullptr) break;
      const auto end = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
      std::string_view text = bytes.substr(used, end - used);
      zeros = std::memchr(text.data(), '\0', text.size()) != nullptr;
      std::uint64_t line = 0;
      foreign = zeros || !text.ends_with('}') || !skip(text, "{\"line\":") || !take_number(text, line) ||
                !text.starts_with(",\"field\":");
      if (foreign) break;
      lines.set(line, 1);
      used = end + 1;
    }
    return used;
  };
  auto tail = read_lines(path, from, feed);
  if (!tail.ok() || !foreign || zeros) return tail;
  return Error{Code::invalid_argument,
               fmt::format("{}: the line at byte {} is not a reject as tocsin wrote it; move the file away, and the "
                           "rejects are written anew",
                           path, tail->good_bytes)};
}

}  // namespace tocsin::cli
