// SPDX-License-Identifier: Apache-2.0
// Words of the fault script: how a line is cut into them, and how single ones are read. Shared by the parser's two
// halves (clauses and actions) only.
//
// Threads: pure. Ownership: words view the script's text. Bounds: the script's.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mock/faults.h"

namespace tocsin::mock {

struct Word {
  std::string_view text;
  std::size_t column = 0;  // from 1
  bool quoted = false;
};

// A complaint about a place of the line.
struct Complaint {
  std::size_t column = 0;
  std::string text;
};

// Blanks part words; "->" and "," are words; a # ends the line; "quoted text" is one word without its quotes.
std::optional<Complaint> cut_line(std::string_view line, std::vector<Word>& out);

// One line's words, read from left to right. The first complaint stays; reading on after it is harmless.
class Words {
 public:
  Words(std::vector<Word> words, std::size_t line_length) : words_(std::move(words)), end_column_(line_length + 1) {}

  bool done() const { return failed() || at_ == words_.size(); }
  bool is(std::string_view text) const { return !done() && !words_[at_].quoted && words_[at_].text == text; }
  bool is_separator() const { return done() || is("->") || is(",") || is("and"); }
  bool take(std::string_view text) {
    if (!is(text)) return false;
    ++at_;
    return true;
  }
  void skip() { ++at_; }
  std::string_view peek() const { return done() ? std::string_view() : words_[at_].text; }
  std::size_t column() const { return at_ < words_.size() ? words_[at_].column : end_column_; }

  void expect(std::string_view text, std::string_view where);
  // Each says what was expected if the next word is not it, e.g. number("the number of streams", 1, 100).
  std::uint64_t number(std::string_view what, std::uint64_t min, std::uint64_t max);
  std::int64_t duration(std::string_view what);  // "250ms", "10s", "5m", "1h", "200us": nanoseconds
  double share(std::string_view what);           // "0.01", "1%"
  std::string_view text(std::string_view what);
  // A name of the list, or a number up to `max`.
  std::uint32_t code(std::string_view what, std::span<const std::string_view> names, std::uint32_t first, std::uint32_t max);

  bool failed() const { return complaint_.has_value(); }
  void complain(std::size_t column, std::string text) {
    if (!complaint_) complaint_ = Complaint{column, std::move(text)};
  }
  void complain(std::string text) { complain(column(), std::move(text)); }
  const Complaint& complaint() const { return *complaint_; }
  // What stands here, for a message: "\"foo\"" or "the end of the line".
  std::string here() const;

 private:
  std::vector<Word> words_;
  std::size_t end_column_;
  std::size_t at_ = 0;
  std::optional<Complaint> complaint_;
};

// In quotation marks, and not too much of it.
std::string quoted(std::string_view text);

// "; did you mean X?" if a known word is near, then the list.
std::string suggestion(std::string_view word, std::span<const std::string_view> known);

// Reads one action behind "->" or ",".
Action read_action(Words& words);

}  // namespace tocsin::mock
