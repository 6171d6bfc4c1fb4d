// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/fail_if.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tocsin::cli::bench {

Result<FailIf> parse_fail_if(const std::string& text, const std::vector<std::string>& metrics) {
  const auto wrong = [&text](std::size_t at, const std::string& what) {
    return Error{Code::invalid_argument, fmt::format("'{}', column {}: {}", text, at + 1, what)};
  };
  const auto skip_blanks = [&text](std::size_t at) {
    while (at < text.size() && text[at] == ' ') ++at;
    return at;
  };
  FailIf out;
  out.text = text;
  const std::size_t name_at = skip_blanks(0);
  std::size_t at = name_at;
  while (at < text.size() && ((text[at] >= 'a' && text[at] <= 'z') || (text[at] >= '0' && text[at] <= '9') || text[at] == '_')) ++at;
  out.metric = text.substr(name_at, at - name_at);
  if (out.metric.empty()) return wrong(name_at, "a figure's name is expected, as in p999_us>2000");
  if (std::find(metrics.begin(), metrics.end(), out.metric) == metrics.end()) {
    std::string known;
    for (const std::string& name : metrics) known.append(known.empty() ? "" : ", ").append(name);
    return wrong(name_at, "there is no figure '" + out.metric + "'; there are " + known);
  }
  at = skip_blanks(at);
  std::size_t op_bytes = 0;
  for (const std::string_view op : {"<=", ">=", "==", "!=", "<", ">"}) {
    if (op_bytes == 0 && std::string_view(text).substr(at).starts_with(op)) op_bytes = op.size();
  }
  out.op = text.substr(at, op_bytes);
  if (out.op.empty()) return wrong(at, "one of < <= > >= == != is expected");
  at = skip_blanks(at + out.op.size());
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), out.value);
  if (error != std::errc{}) return wrong(at, "a number is expected");
  const std::size_t rest = skip_blanks(static_cast<std::size_t>(end - text.data()));
  if (rest != text.size()) return wrong(rest, "nothing is expected behind the number");
  return out;
}

bool holds(const FailIf& condition, const nlohmann::ordered_json& headline) {
  const auto found = headline.find(condition.metric);
  if (found == headline.end() || !found->is_number()) return true;
  const double value = found->get<double>();
  if (condition.op == "<") return value < condition.value;
  if (condition.op == "<=") return value <= condition.value;
  if (condition.op == ">") return value > condition.value;
  if (condition.op == ">=") return value >= condition.value;
  if (condition.op == "==") return value == condition.value;
  return value != condition.value;
}

}  // namespace tocsin::cli::bench
