// SPDX-License-Identifier: Apache-2.0
#include "mock/script_words.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>

#include "base/now.h"

namespace tocsin::mock {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out(1, '"');
  out.append(text.substr(0, 60)).push_back('"');
  return out;
}

std::optional<Complaint> cut_line(std::string_view line, std::vector<Word>& out) {
  std::size_t at = 0;
  while (at < line.size()) {
    const char c = line[at];
    if (blank(c)) {
      ++at;
    } else if (c == '#') {
      break;
    } else if (c == ',') {
      out.push_back({line.substr(at, 1), at + 1});
      ++at;
    } else if (line.substr(at).starts_with("->")) {
      out.push_back({line.substr(at, 2), at + 1});
      at += 2;
    } else if (c == '"') {
      const std::size_t end = line.find('"', at + 1);
      if (end == std::string_view::npos) return Complaint{at + 1, "this quotation has no end; close it with \""};
      out.push_back({line.substr(at + 1, end - at - 1), at + 1, true});
      at = end + 1;
    } else {
      std::size_t end = at;
      while (end < line.size() && !blank(line[end]) && line[end] != ',' && line[end] != '#' && line[end] != '"' &&
             !line.substr(end).starts_with("->")) {
        ++end;
      }
      out.push_back({line.substr(at, end - at), at + 1});
      at = end;
    }
  }
  return std::nullopt;
}

std::string Words::here() const {
  return at_ < words_.size() ? quoted(words_[at_].text) : std::string("the end of the line");
}

void Words::expect(std::string_view text, std::string_view where) {
  if (failed() || take(text)) return;
  complain(here() + " stands where " + quoted(text) + " is expected, " + std::string(where));
}

std::string_view Words::text(std::string_view what) {
  if (failed()) return {};
  if (at_ == words_.size() || (!words_[at_].quoted && is_separator())) {
    complain(std::string(what) + " is missing before " + here());
    return {};
  }
  return words_[at_++].text;
}

std::uint64_t Words::number(std::string_view what, std::uint64_t min, std::uint64_t max) {
  const std::size_t where = column();
  const std::string_view word = text(what);
  if (failed()) return min;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error == std::errc{} && end == word.data() + word.size() && value >= min && value <= max) return value;
  complain(where, quoted(word) + " is not " + std::string(what) + "; give a number from " + std::to_string(min) + " to " +
                      std::to_string(max));
  return min;
}

std::int64_t Words::duration(std::string_view what) {
  struct Unit {
    std::string_view name;
    std::int64_t ns;
  };
  static constexpr Unit kUnits[] = {{"us", 1000},          {"ms", base::kMillisecond},    {"s", base::kSecond},
                                    {"m", 60 * base::kSecond}, {"h", 3600 * base::kSecond}, {"d", 86'400 * base::kSecond}};
  constexpr std::int64_t kLongestNs = 366ll * 86'400 * base::kSecond;
  const std::size_t where = column();
  const std::string_view word = text(what);
  if (failed()) return 0;
  std::int64_t value = 0;
  const char* last = word.data() + word.size();
  const auto [end, error] = std::from_chars(word.data(), last, value);
  if (error == std::errc{} && value == 0 && end == last) return 0;
  const std::string_view unit(end, static_cast<std::size_t>(last - end));
  for (const Unit& known : kUnits) {
    if (error == std::errc{} && unit == known.name && value >= 0 && value <= kLongestNs / known.ns) return value * known.ns;
  }
  complain(where, quoted(word) + " is not " + std::string(what) + "; give a whole number and a unit, at most 366d: 200us, 250ms, 10s, 5m, 2h");
  return 0;
}

double Words::share(std::string_view what) {
  const std::size_t where = column();
  std::string_view word = text(what);
  if (failed()) return 0;
  const std::string_view given = word;
  const bool percent = word.ends_with('%');
  if (percent) word.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (percent) value /= 100;
  if (error == std::errc{} && end == word.data() + word.size() && value > 0 && value <= 1) return value;
  complain(where, quoted(given) + " is not " + std::string(what) + "; give more than 0 and at most 1, as 0.01 or 1%");
  return 0;
}

std::uint32_t Words::code(std::string_view what, std::span<const std::string_view> names, std::uint32_t first,
                          std::uint32_t max) {
  const std::size_t where = column();
  const std::string_view word = text(what);
  if (failed()) return 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) return first + static_cast<std::uint32_t>(i);
  }
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error == std::errc{} && end == word.data() + word.size() && value <= max) return value;
  complain(where, quoted(word) + " is not " + std::string(what) + suggestion(word, names) + " or a number up to " + std::to_string(max));
  return 0;
}

std::string suggestion(std::string_view word, std::span<const std::string_view> known) {
  std::string_view nearest;
  std::size_t least = std::max<std::size_t>(word.size() / 3, 2) + 1;
  for (const std::string_view candidate : known) {
    const std::size_t far = distance(word, candidate);
    if (far < least) {
      least = far;
      nearest = candidate;
    }
  }
  std::string text;
  if (!nearest.empty()) text.append("; did you mean ").append(nearest).append("?");
  text.append(nearest.empty() ? "; known are " : " Known are ");
  for (std::size_t i = 0; i < known.size(); ++i) text.append(i == 0 ? "" : ", ").append(known[i]);
  return text;
}

}  // namespace tocsin::mock
