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

std::string totals_json(const mock::LedgerTotals& totals) {
  nlohmann::ordered_json json{
      {"requests", totals.requests},   {"accepted", totals.accepted},
      {"rejected", totals.rejected},   {"tokens", totals.tokens},
      {"tokens_accepted", totals.tokens_accepted}, {"doubled", totals.doubled},
      {"doubled_same_id", totals.doubled_same_id},
  };
  json["by_reason"] = totals.by_reason;
  return json.dump();
}

std::string totals_text(const mock::LedgerTotals& totals) {
  std::string text = "requests  " + grouped(totals.requests) + "\naccepted  " + grouped(totals.accepted) +
                     "\nrejected  " + grouped(totals.rejected) + "\n";
  for (const auto& [reason, count] : totals.by_reason) text.append("          ").append(reason).append(" ").append(grouped(count)).append("\n");
  text.append("tokens    ").append(grouped(totals.tokens)).append(" seen, ").append(grouped(totals.tokens_accepted));
  text.append(" accepted at least once\ndoubled   ").append(grouped(totals.doubled)).append(", ");
  return text.append(grouped(totals.doubled_same_id)).append(" of them with the same apns-id\n");
}

std::string entry_json(base::ByteView token, const mock::LedgerEntry& entry) {
  const nlohmann::ordered_json json{
      {"token", token_text(token)},
      {"accepted", entry.accepted},
      {"rejected", entry.rejected},
      {"apns_id", id_text(entry.last_apns_id)},
      {"first_apns_id", id_text(entry.first_apns_id)},
      {"last_status", entry.last_status},
      {"last_unix_ms", entry.last_unix_ms},
  };
  return json.dump();
}

Result<void> write_ledger(const mock::Ledger& ledger, const std::string& path) {
  const auto failed = [&path](int error) {
    return Error{Code::io, "cannot write the ledger to " + path + ": " + std::strerror(error)};
  };
  const std::string temporary = path + ".new";
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file(std::fopen(temporary.c_str(), "we"));
  if (!file) return failed(errno);
  std::string lines;
  bool good = true;
  const auto spill = [&] {
    good = good && std::fwrite(lines.data(), 1, lines.size(), file.get()) == lines.size();
    lines.clear();
  };
  ledger.for_each([&](base::ByteView token, const mock::LedgerEntry& entry) {
    lines.append(R"({"token":")").append(token_text(token));
    lines.append(R"(","accepted":)").append(std::to_string(entry.accepted));
    lines.append(R"(,"rejected":)").append(std::to_string(entry.rejected));
    lines.append(R"(,"apns_id":")").append(id_text(entry.last_apns_id)).append("\"}\n");
    if (lines.size() > (1u << 20)) spill();
  });
  spill();
  if (!good || std::fflush(file.get()) != 0) return failed(errno);
  file.reset();
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return failed(errno);
  return {};
}

}  // namespace tocsin::mockd
