// SPDX-License-Identifier: Apache-2.0
// What people type: hex, UUIDs, durations, counts, rates, CPU lists, endpoints, expirations; and text on its way to JSON.
//
// Input: which reader, text. Properties: what is read and written again reads the same; values lie within their bounds;
// an error says something; JSON strings are UTF-8 that nlohmann's parser takes.
#include <cmath>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/hex.h"
#include "cli/units.h"
#include "fuzz.h"

namespace tocsin::fuzz {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

void hex(std::string_view text) {
  std::vector<std::uint8_t> bytes(text.size() / 2);
  const bool good = base::hex_decode(text, bytes.data());
  FUZZ_CHECK(good == (text.size() % 2 == 0 && base::hex_first_bad(text) == std::string_view::npos));
  if (good) FUZZ_CHECK(base::hex_encode(bytes) == lower(text));
  std::array<std::uint8_t, 16> uuid{};
  if (base::uuid_parse(text, uuid)) FUZZ_CHECK(base::uuid_format(uuid) == lower(text));
  const std::string back = base::hex_encode(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
  std::vector<std::uint8_t> again(text.size());
  FUZZ_CHECK(base::hex_decode(back, again.data()));
  FUZZ_CHECK(std::string_view(reinterpret_cast<const char*>(again.data()), again.size()) == text);
}

template <class T>
bool good(const Result<T>& result) {
  FUZZ_CHECK(result.ok() || !result.error().message.empty());
  return result.ok();
}

void values(std::string_view text) {
  constexpr std::int64_t kYearMs = 366LL * 86'400'000;
  if (const auto duration = cli::parse_duration_ms(text); good(duration)) FUZZ_CHECK(*duration >= 0 && *duration <= kYearMs);
  if (const auto count = cli::parse_count(text); good(count)) {
    FUZZ_CHECK(*count <= 1'000'000'000'000'000);
    const auto again = cli::parse_count(std::to_string(*count));
    FUZZ_CHECK(again.ok() && *again == *count);
    touch(cli::format_count(*count));
  }
  if (const auto rate = cli::parse_rate(text); good(rate)) FUZZ_CHECK(std::isfinite(*rate) && *rate > 0 && *rate <= 1e9);
  constexpr std::int64_t kNow = 1'750'000'001;
  if (const auto expiration = cli::parse_expiration(text, kNow); good(expiration)) FUZZ_CHECK(*expiration == 0 || *expiration >= 1'000'000'000);
  if (const auto cpus = cli::check_cpu_list(text); good(cpus) && !cpus->empty()) {
    const auto again = cli::check_cpu_list(*cpus);
    FUZZ_CHECK(again.ok() && *again == *cpus);
  }
}

void endpoint(std::string_view text) {
  const auto read = cli::parse_endpoint(text);
  if (!good(read)) return;
  FUZZ_CHECK(!read->host.empty() && read->port != 0);
  const bool brackets = text.starts_with('[');
  const std::string written = (brackets ? "[" + read->host + "]" : read->host) + ":" + std::to_string(read->port);
  const auto again = cli::parse_endpoint(written);
  FUZZ_CHECK(again.ok() && again->host == read->host && again->port == read->port);
}

void json(std::string_view text) {
  std::string out;
  cli::append_json_string(text, out);
  FUZZ_CHECK(printable(out));
  const nlohmann::json read = nlohmann::json::parse(out);
  FUZZ_CHECK(read.is_string());
  // What is UTF-8 already comes back as it was.
  const std::string dumped = nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
  if (nlohmann::json::parse(dumped).get<std::string>() == text) FUZZ_CHECK(read.get<std::string>() == text);
}

void times(std::string_view text) {
  Choices choices(text);
  std::string out;
  cli::TimeText time;
  while (!choices.empty()) {
    const auto ns = static_cast<std::int64_t>(std::uint64_t{choices.word()} << 32 | choices.word());
    out.clear();
    time.append(ns, out);
    FUZZ_CHECK(out.size() == 24 && out[10] == 'T' && out[23] == 'Z');
    std::string fresh;
    cli::TimeText().append(ns, fresh);
    FUZZ_CHECK(fresh == out);
    FUZZ_CHECK(cli::format_date(ns).size() == 10);
  }
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::uint8_t which = choices.byte();
  const Exact text(choices.rest());
  switch (which % 5) {
    case 0: hex(text.text()); break;
    case 1: values(text.text()); break;
    case 2: endpoint(text.text()); break;
    case 3: json(text.text()); break;
    default: times(text.text()); break;
  }
  return 0;
}
