// SPDX-License-Identifier: Apache-2.0
#include "mockd/report.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/hex.h"

namespace tocsin::mockd {
namespace {

std::string token_text(base::ByteView token) {
  return base::hex_encode({reinterpret_cast<const std::uint8_t*>(token.data()), token.size()});
}

std::string id_text(const Uuid& id) { return id == Uuid{} ? std::string() : base::uuid_format(id); }

// 1234567 as "1,234,567".
std::string grouped(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

}  // namespace

std::string totals_json(const Totals& all, const mock::ScriptCounts* faults) {
  const mock::LedgerTotals& totals = all.ledger;
  nlohmann::ordered_json json{
      {"profile", mock::profile_name(all.profile)},
      {"requests", all.requests()},    {"accepted", all.accepted()},
      {"rejected", totals.rejected},   {"tokens", totals.tokens},
      {"tokens_accepted", totals.tokens_accepted}, {"doubled", totals.doubled},
      {"doubled_same_id", totals.doubled_same_id},
  };
  json["by_reason"] = totals.by_reason;
  if (totals.history_lost != 0) json["history_lost"] = totals.history_lost;
  if (all.profile != mock::Profile::validate) {
    json["validated"] = totals.requests;
    json["flood"] = {{"connections", all.flood.connections}, {"streams", all.flood.streams},
                     {"end_streams", all.flood.end_streams}, {"body_bytes", all.flood.body_bytes},
                     {"resets", all.flood.resets}};
  }
  if (faults != nullptr) {
    nlohmann::ordered_json& done = json["faults"] = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < mock::kFaults; ++i) {
      if (faults->done[i] != 0) done[std::string(mock::fault_word(static_cast<mock::Fault>(i)))] = faults->done[i];
    }
  }
  return json.dump();
}

std::string totals_text(const Totals& all, const mock::ScriptCounts* faults) {
  const mock::LedgerTotals& totals = all.ledger;
  std::string text = "requests  " + grouped(all.requests()) + "\naccepted  " + grouped(all.accepted()) +
                     "\nrejected  " + grouped(totals.rejected) + "\n";
  for (const auto& [reason, count] : totals.by_reason) text.append("          ").append(reason).append(" ").append(grouped(count)).append("\n");
  text.append("tokens    ").append(grouped(totals.tokens)).append(" seen, ").append(grouped(totals.tokens_accepted));
  text.append(" accepted at least once\ndoubled   ").append(grouped(totals.doubled)).append(", ");
  text.append(grouped(totals.doubled_same_id)).append(" of them with the same apns-id\n");
  if (all.profile != mock::Profile::validate) {
    text.append("profile   ").append(mock::profile_name(all.profile)).append(": ").append(grouped(totals.requests));
    text.append(" validated, ").append(grouped(all.flood.end_streams)).append(" only counted (");
    text.append(grouped(all.flood.body_bytes)).append(" bytes of bodies), on ").append(grouped(all.flood.connections));
    text.append(" connections\n");
  }
  if (faults == nullptr) return text;
  text.append("faults    ").append(grouped(faults->sum())).append("\n");
  for (std::size_t i = 0; i < mock::kFaults; ++i) {
    if (faults->done[i] == 0) continue;
    text.append("          ").append(mock::fault_word(static_cast<mock::Fault>(i))).append(" ").append(grouped(faults->done[i])).append("\n");
  }
  return text;
}

std::string entry_json(base::ByteView token, const mock::LedgerEntry& entry, const std::vector<mock::Acceptance>& history) {
  nlohmann::ordered_json json{
      {"token", token_text(token)},
      {"accepted", entry.accepted},
      {"rejected", entry.rejected},
      {"apns_id", id_text(entry.last_apns_id)},
      {"first_apns_id", id_text(entry.first_apns_id)},
      {"last_status", entry.last_status},
      {"last_unix_ms", entry.last_unix_ms},
  };
  nlohmann::ordered_json& all = json["history"] = nlohmann::ordered_json::array();
  for (const mock::Acceptance& one : history) {
    all.push_back({{"apns_id", id_text(one.apns_id)}, {"unix_ms", one.unix_ms}, {"connection", one.connection}});
    if (one.answer_lost) all.back()["answer_lost"] = true;
  }
  return json.dump();
}

namespace {

// A file that is whole or absent: written under another name first. Errors name `what`.
class WholeFile {
 public:
  WholeFile(const char* what, const std::string& path)
      : what_(what), path_(path), temporary_(path + ".new"), file_(std::fopen(temporary_.c_str(), "we")), error_(file_ ? 0 : errno) {}

  std::string lines;
  void spill_beyond(std::size_t bytes) {
    if (lines.size() <= bytes) return;
    if (error_ == 0 && std::fwrite(lines.data(), 1, lines.size(), file_.get()) != lines.size()) error_ = errno;
    lines.clear();
  }
  Result<void> finish() {
    spill_beyond(0);
    if (error_ == 0 && std::fflush(file_.get()) != 0) error_ = errno;
    file_.reset();
    if (error_ == 0 && std::rename(temporary_.c_str(), path_.c_str()) != 0) error_ = errno;
    if (error_ == 0) return {};
    return Error{Code::io, std::string("cannot write ") + what_ + " to " + path_ + ": " + std::strerror(error_)};
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const char* what_;
  const std::string path_, temporary_;
  std::unique_ptr<std::FILE, Close> file_;
  int error_;
};

constexpr std::size_t kSpillBytes = 1u << 20;

}  // namespace

Result<void> write_ledger(const mock::Ledger& ledger, const std::string& path) {
  WholeFile file("the ledger", path);
  std::string& lines = file.lines;
  ledger.for_each([&](base::ByteView token, const mock::LedgerEntry& entry) {
    lines.append(R"({"token":")").append(token_text(token));
    lines.append(R"(","accepted":)").append(std::to_string(entry.accepted));
    lines.append(R"(,"rejected":)").append(std::to_string(entry.rejected));
    lines.append(R"(,"apns_id":")").append(id_text(entry.last_apns_id)).append("\"");
    if (entry.accepted > 1) {
      const char* before = R"(,"history":[)";
      for (const mock::Acceptance& one : ledger.history(entry)) {
        lines.append(before).append(R"({"apns_id":")").append(id_text(one.apns_id)).append(R"(","unix_ms":)");
        lines.append(std::to_string(one.unix_ms)).append(R"(,"connection":)").append(std::to_string(one.connection));
        lines.append(one.answer_lost ? R"(,"answer_lost":true})" : "}");
        before = ",";
      }
      lines.append("]");
    }
    lines.append("}\n");
    file.spill_beyond(kSpillBytes);
  });
  return file.finish();
}

Result<void> write_connections(const std::vector<ConnectionEnd>& ends, const std::string& path) {
  WholeFile file("the connections", path);
  for (const ConnectionEnd& end : ends) {
    const nlohmann::ordered_json line{{"connection", end.connection},         {"by", ended_by_word(end.by)},
                                      {"opened_unix_ms", end.opened_unix_ms}, {"ended_unix_ms", end.ended_unix_ms},
                                      {"streams_open", end.streams_open}};
    file.lines.append(line.dump()).append("\n");
    file.spill_beyond(kSpillBytes);
  }
  return file.finish();
}

}  // namespace tocsin::mockd
