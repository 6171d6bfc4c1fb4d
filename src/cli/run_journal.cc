// SPDX-License-Identifier: Apache-2.0
#include "cli/run_journal.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tocsin::cli {
namespace {

using nlohmann::ordered_json;

constexpr int kVersion = 2;  // 1 had no mark that was taken back

std::string text_of(const ordered_json& j) {
  return j.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

bool hash_parse(const std::string& text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return error == std::errc() && end == text.data() + text.size() && text.size() == 16;
}

RunHeader header_of(const ordered_json& j) {
  RunHeader header;
  if (!run_key_parse(j.at("key").get<std::string>(), header.key)) throw std::invalid_argument("key");
  header.input = j.at("input").get<std::string>();
  header.input_known = j.contains("input_hash");
  if (header.input_known) {
    header.input_bytes = j.at("input_bytes").get<std::uint64_t>();
    header.input_hash = j.at("input_hash").get<std::string>();
  }
  header.from_line = j.at("from_line").get<std::uint64_t>();
  header.rejects_from = j.at("rejects_from").get<std::uint64_t>();
  for (const auto& [name, value] : j.at("settings").items())
    header.settings.emplace_back(name, value.get<std::string>());
  return header;
}

void take_record(const ordered_json& j, JournalFacts& facts) {
  if (j.contains("session")) {
    facts.sessions.push_back({j.at("outcomes_from").get<std::uint64_t>(), j.at("retry_failed").get<bool>(), 0});
    // What an earlier session left was synced before this one began.
    facts.outcomes_synced = std::max(facts.outcomes_synced, facts.sessions.back().outcomes_from);
    facts.ended = false;
  } else if (j.contains("mark")) {
    InputCheck check{j.at("line").get<std::uint64_t>(), 0};
    if (facts.sessions.empty() || !hash_parse(j.at("hash").get<std::string>(), check.hash))
      throw std::invalid_argument("mark");
    std::uint64_t& mark = facts.sessions.back().mark;
    mark = std::max(mark, j.at("mark").get<std::uint64_t>());
    facts.checks.push_back(check);
  } else if (j.contains("synced")) {
    facts.outcomes_synced = std::max(facts.outcomes_synced, j.at("synced").get<std::uint64_t>());
  } else if (j.contains("admitted") && !j.contains("ended")) {
    const std::uint64_t admitted = j.at("admitted").get<std::uint64_t>();
    if (facts.sessions.empty() || admitted > facts.sessions.back().mark) throw std::invalid_argument("admitted");
    facts.sessions.back().mark = admitted;
  } else {
    const std::string how = j.at("ended").get<std::string>();
    const SessionEnd end{how == "done", j.at("limit").get<std::uint64_t>(), j.at("admitted").get<std::uint64_t>(),
                         j.at("outcomes").get<std::uint64_t>()};
    if (facts.sessions.empty() || end.admitted > facts.sessions.back().mark) throw std::invalid_argument("admitted");
    facts.sessions.back().mark = end.admitted;
    facts.ended = true;
    facts.end = end;
  }
}

}  // namespace

bool JournalFacts::may_have_sent() const {
  return std::any_of(sessions.begin(), sessions.end(), [](const RunSession& session) { return session.mark != 0; });
}

Result<JournalFacts> read_journal(std::string_view bytes) {
  JournalFacts facts;
  while (facts.bytes < bytes.size()) {
    const std::size_t end = bytes.find('\n', facts.bytes);
    if (end == std::string_view::npos) break;
    const std::string_view line = bytes.substr(facts.bytes, end - facts.bytes);
    try {
      const ordered_json j = ordered_json::parse(line);
      if (!facts.begun) {
        if (const int version = j.at("tocsin_run").get<int>(); version < 1 || version > kVersion)
          return Error{Code::unsupported, fmt::format("was written in form {} by a later tocsin; use that", version)};
        facts.header = header_of(j);
        facts.begun = true;
      } else {
        take_record(j, facts);
      }
    } catch (const std::exception&) {
      // Zeros are what a power cut leaves of bytes that were not yet on the disk; anything else was never ours.
      if (!facts.begun && line.find('\0') == std::string_view::npos)
        return Error{Code::invalid_argument, "is not the journal of a run: its first line cannot be read"};
      break;
    }
    facts.bytes = end + 1;
  }
  std::stable_sort(facts.checks.begin(), facts.checks.end(),
                   [](const InputCheck& a, const InputCheck& b) { return a.line < b.line; });
  return facts;
}

Result<void> RunJournal::write_through(std::string_view record) {
  if (auto wrote = file_->append(record); !wrote.ok()) return wrote;
  return file_->wait(file_->start_sync());
}

Result<void> RunJournal::begin(const RunHeader& header) {
  ordered_json j;
  j["tocsin_run"] = kVersion;
  j["key"] = run_key_text(header.key);
  j["input"] = header.input;
  if (header.input_known) {
    j["input_bytes"] = header.input_bytes;
    j["input_hash"] = header.input_hash;
  }
  j["from_line"] = header.from_line;
  j["rejects_from"] = header.rejects_from;
  j["settings"] = ordered_json::object();
  for (const auto& [name, value] : header.settings) j["settings"][name] = value;
  return write_through(text_of(j));
}

Result<void> RunJournal::begin_session(const RunSession& session) {
  last_ = easy_ = durable_ = written_ = ticket_ = marked_line_ = 0;
  marked_ns_ = waited_ns_ = 0;
  return write_through(text_of(
      {{"session", 1}, {"outcomes_from", session.outcomes_from}, {"retry_failed", session.retry_failed}}));
}

Result<void> RunJournal::write_mark(std::uint64_t mark, std::uint64_t line, std::string_view text) {
  const std::string record =
      fmt::format("{{\"mark\":{},\"line\":{},\"hash\":\"{}\"}}\n", mark, line, hash_text(hash_of(text)));
  if (auto wrote = file_->append(record); !wrote.ok()) return wrote;
  written_ = mark;
  ticket_ = file_->start_sync();
  return {};
}

void RunJournal::settle_mark() {
  durable_ = written_;
  ticket_ = 0;
}

// The sender stands still; only so is it known how long a sync takes.
Result<void> RunJournal::await_mark() {
  const std::int64_t began = clock_();
  if (auto waited = file_->wait(ticket_); !waited.ok()) return waited;
  const std::int64_t now = clock_();
  waited_ns_ += now - began;
  stride_ns_ = std::clamp((now - marked_ns_) * 5 / 2, stride_ns_, kStrideNsMax);
  settle_mark();
  return {};
}

// The next stride from the rate since the last mark. A rate that rose or fell is followed in a few marks, lest a gap
// between lines, or a pause, be taken for a rate.
void RunJournal::learn_stride(std::uint64_t line) {
  const std::int64_t now = clock_();
  if (marked_ns_ != 0) {
    const auto took = static_cast<double>(std::max<std::int64_t>(now - marked_ns_ - waited_ns_, 1));
    const double wanted = static_cast<double>(line - marked_line_) * static_cast<double>(stride_ns_) / took;
    const std::uint64_t least = std::max(stride_ / 4, kStrideMin);
    const std::uint64_t most = std::min(stride_ * 8, kStrideMax);
    stride_ = wanted >= static_cast<double>(most) ? most : std::max(static_cast<std::uint64_t>(wanted), least);
    // A disk that was slow once need not stay so.
    if (waited_ns_ == 0) stride_ns_ = std::max(stride_ns_ - stride_ns_ / 16, kStrideNs);
  }
  marked_line_ = line;
  marked_ns_ = now;
  waited_ns_ = 0;
}

Result<void> RunJournal::admit_further(std::uint64_t line, std::string_view text) {
  if (ticket_ != 0 && file_->synced() >= ticket_) settle_mark();
  if (line > durable_ && ticket_ != 0) {
    if (auto waited = await_mark(); !waited.ok()) return waited;
  }
  if (ticket_ == 0 && line + stride_ / 2 > durable_) {
    learn_stride(line);
    const bool behind = line > durable_;  // the first, or a stretch of lines that were done already
    if (auto wrote = write_mark((behind ? line - 1 : durable_) + stride_, line, text); !wrote.ok()) return wrote;
    if (behind) {
      if (auto waited = await_mark(); !waited.ok()) return waited;
    }
  }
  easy_ = ticket_ != 0 ? durable_ : durable_ - stride_ / 2;
  return {};
}

Result<void> RunJournal::rest() {
  if (written_ == last_) return {};
  if (auto wrote = file_->append(fmt::format("{{\"admitted\":{}}}\n", last_)); !wrote.ok()) return wrote;
  easy_ = durable_ = written_ = last_;
  ticket_ = 0;
  return {};
}

Result<void> RunJournal::outcomes_synced(std::uint64_t bytes) {
  return file_->append(fmt::format("{{\"synced\":{}}}\n", bytes));
}

Result<void> RunJournal::end(const SessionEnd& end) {
  return write_through(text_of({{"ended", end.done ? "done" : "stopped"},
                                {"limit", end.limit},
                                {"admitted", end.admitted},
                                {"outcomes", end.outcomes}}));
}

}  // namespace tocsin::cli
