// SPDX-License-Identifier: Apache-2.0
#include "cli/dead_tokens.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>
#include <simdjson.h>

#include "apns/request.h"
#include "cli/byte_source.h"
#include "cli/lines.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

namespace ondemand = simdjson::ondemand;

// Of an entry's two names, with their values.
const char* read_time(std::string_view key, ondemand::value value, std::int64_t& out_ms) {
  if (key == "unregistered_at_ms") {
    return value.get_int64().get(out_ms) == simdjson::SUCCESS && out_ms > 0 ? "" : "is not a time in Unix milliseconds";
  }
  std::string_view text = value.raw_json_token();
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  if (text.starts_with('"') && value.get_string().get(text) != simdjson::SUCCESS) return "is not a string";
  return parse_time_ms(text, out_ms) ? "" : kNoTime;
}

// "" or what is wrong, with the field.
std::string read_line(ondemand::parser& parser, std::string_view line, DeadTokenLine& out) {
  ondemand::document document;
  ondemand::object object;
  if (parser.iterate(line.data(), line.size(), line.size() + kLinePadding).get(document) != simdjson::SUCCESS ||
      document.get_object().get(object) != simdjson::SUCCESS)
    return "line is not a JSON object";
  for (auto item : object) {
    ondemand::field field;
    std::string_view key, text;
    if (std::move(item).get(field) != simdjson::SUCCESS || field.unescaped_key().get(key) != simdjson::SUCCESS)
      return "line is not a JSON object";
    if (key == "token" || key == "topic") {
      if (field.value().get_string().get(text) != simdjson::SUCCESS) return std::string(key) + " is not a string";
      (key == "token" ? out.token : out.topic).assign(text);
    } else if (key == "unregistered_at" || key == "unregistered_at_ms") {
      if (const char* wrong = read_time(key, field.value(), out.unregistered_unix_ms); *wrong != '\0')
        return fmt::format("{} {}", key, wrong);
    }
  }
  if (out.unregistered_unix_ms == 0) return {};
  if (const auto wrong = apns::check_token(out.token)) return wrong.text;
  return {};
}

}  // namespace

Result<std::vector<DeadTokenLine>> read_dead_tokens(const std::string& path) {
  auto source = ByteSource::open(path);
  if (!source.ok()) return source.error();
  LineReader lines(**source);
  ondemand::parser parser;
  std::vector<DeadTokenLine> out;
  for (;;) {
    std::string_view line;
    switch (lines.next(line)) {
      case LineState::end:
        return out;
      case LineState::failed:
        return Error{Code::io, "--dead-tokens: " + lines.error()};
      case LineState::wait:
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // a pipe has nothing now
        continue;
      case LineState::too_long:
        return Error{Code::invalid_argument, fmt::format("{}:{}: line is longer than {} bytes", path, lines.number(), kLineBytesMax)};
      case LineState::line:
        break;
    }
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    DeadTokenLine each;
    if (const std::string wrong = read_line(parser, line, each); !wrong.empty()) {
      return Error{Code::invalid_argument,
                   fmt::format("{}:{}: {}; --dead-tokens wants the outcomes of a run, or lines with token and "
                               "unregistered_at",
                               path, lines.number(), wrong)};
    }
    if (each.unregistered_unix_ms == 0) continue;
    if (out.size() == kDeadTokensFileMax)
      return Error{Code::capacity, fmt::format("{}: names more than {} dead tokens", path, kDeadTokensFileMax)};
    out.push_back(std::move(each));
  }
}

Result<void> give_dead_tokens(Engine& engine, CredentialHandle credential, const std::vector<std::string>& topics,
                              bool only, const std::vector<DeadTokenLine>& lines) {
  std::vector<DeadToken> batch;
  const auto give = [&]() -> Result<void> {
    for (;;) {
      auto given = engine.add_dead_tokens(credential, batch);
      if (given.ok() || given.error().code != Code::capacity) {
        batch.clear();
        return given;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the shards still read the last batch
    }
  };
  // The batch looks at the texts of `lines` and `topics`, which both outlive it.
  const auto add = [&](const DeadTokenLine& line, const std::string& topic) -> Result<void> {
    batch.push_back({Bytes(line.token), Bytes(topic), line.unregistered_unix_ms});
    return batch.size() < kDeadTokensPerCall ? Result<void>() : give();
  };
  for (const DeadTokenLine& line : lines) {
    if (only && !line.topic.empty()) {
      if (auto added = add(line, line.topic); !added.ok()) return added;
      continue;
    }
    for (const std::string& topic : topics) {
      if (!line.topic.empty() && line.topic != topic) continue;
      if (auto added = add(line, topic); !added.ok()) return added;
    }
  }
  return batch.empty() ? Result<void>() : give();
}

}  // namespace tocsin::cli
