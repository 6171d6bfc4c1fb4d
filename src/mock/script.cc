// SPDX-License-Identifier: Apache-2.0
#include "mock/script.h"

#include <algorithm>

#include "base/hex.h"
#include "mock/script_words.h"

namespace tocsin::mock {
namespace {

constexpr std::string_view kClauses[] = {"always", "request", "every", "ratio", "token", "topic", "connection",
                                         "on connect", "between", "after", "for", "times"};
constexpr std::uint64_t kCountMax = 1ull << 48;

enum class Scope : std::uint8_t { request, connection, server, accept };

Scope scope_of(Fault fault) {
  if (fault <= Fault::broken_body) return Scope::request;
  if (fault <= Fault::tls_alert) return Scope::connection;
  return fault == Fault::stall ? Scope::server : Scope::accept;
}

// Which clauses a rule has, beside their values.
struct Clauses {
  bool any = false, always = false, on_connect = false;
  bool of_request = false;  // one that only a request can fit
  bool of_connection = false;
  bool ratio = false;  // of requests, unless another clause says of what
};

void read_time(Words& words, Rule& rule, std::string_view kind, std::size_t where) {
  if (rule.timed) return words.complain(where, "a rule has one of between, after and for; write two rules");
  rule.timed = true;
  Window& window = rule.window;
  if (kind == "after") {
    window.start_ns = words.duration("a time since the first connection");
  } else if (kind == "between") {
    window.start_ns = words.duration("a time since the first connection");
    words.expect("and", "as in: between 10s and 20s");
    const std::size_t end_column = words.column();
    window.length_ns = words.duration("a time since the first connection") - window.start_ns;
    if (window.length_ns <= 0) words.complain(end_column, "the end must be later than the beginning");
  } else {
    window.length_ns = words.duration("a length of time");
    words.expect("every", "as in: for 2s every 10s");
    const std::size_t period_column = words.column();
    window.period_ns = words.duration("a period");
    window.start_ns = window.period_ns;
    if (window.length_ns <= 0 || window.length_ns >= window.period_ns) {
      words.complain(period_column, "the period must be longer than the time that it repeats");
    }
  }
}

void read_connection(Words& words, Rule& rule) {
  if (words.take("every")) rule.connection_every = static_cast<std::uint32_t>(words.number("a number of connections", 1, 1u << 30));
  else rule.connection = static_cast<std::uint32_t>(words.number("a connection's number, or every N", 1, 1u << 30));
}

void read_token(Words& words, Rule& rule) {
  const std::size_t where = words.column();
  rule.token = words.text("how the token begins, in hex");
  for (char& c : rule.token) c = static_cast<char>(c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c);
  if (base::hex_first_bad(rule.token) != std::string::npos) words.complain(where, "a token begins with hex digits (0-9, a-f)");
}

void read_clause(Words& words, Rule& rule, Clauses& clauses) {
  const std::size_t where = words.column();
  const std::string_view kind = words.text("a clause");
  if (words.failed()) return;
  clauses.any = true;
  if (kind == "always") {
    clauses.always = true;
  } else if (kind == "request") {
    clauses.of_request = true;
    rule.request_first = rule.request_last = words.number("a request's number", 1, kCountMax);
    if (words.take("to")) rule.request_last = words.number("the last request's number", rule.request_first, kCountMax);
  } else if (kind == "every") {
    clauses.of_request = true;
    rule.every = words.number("a number of requests", 1, kCountMax);
  } else if (kind == "ratio") {
    clauses.ratio = true;
    rule.ratio = words.share("a share");
  } else if (kind == "token") {
    clauses.of_request = true;
    read_token(words, rule);
  } else if (kind == "topic") {
    clauses.of_request = true;
    rule.topic = words.text("a topic");
  } else if (kind == "connection") {
    clauses.of_connection = true;
    read_connection(words, rule);
  } else if (kind == "on") {
    words.expect("connect", "as in: on connect");
    clauses.on_connect = true;
  } else if (kind == "between" || kind == "after" || kind == "for") {
    read_time(words, rule, kind, where);
  } else if (kind == "times") {
    rule.times = words.number("a number of times", 1, kCountMax);
  } else {
    words.complain(where, quoted(kind) + " is no clause" + suggestion(kind, kClauses));
  }
}

// What the rule waits for follows from its clauses and from what it does.
void decide_event(Words& words, Rule& rule, const Clauses& clauses, const std::vector<std::size_t>& columns) {
  bool accept = false;
  bool request = clauses.of_request;
  for (const Action& action : rule.actions) {
    accept |= scope_of(action.fault) == Scope::accept;
    request |= scope_of(action.fault) == Scope::request;
  }
  for (std::size_t i = 0; i < rule.actions.size(); ++i) {
    const Fault fault = rule.actions[i].fault;
    const Scope scope = scope_of(fault);
    const std::string word(fault_word(fault));
    if (scope == Scope::request && (clauses.on_connect || accept)) {
      return words.complain(columns[i], word + " is done to a request, but the rule is about a connection that is being made; write two rules");
    }
    if (scope == Scope::accept && request) {
      return words.complain(columns[i], word + " is done when a connection is made, but the rule is about requests; use on connect, connection N or a time");
    }
  }
  if (clauses.on_connect && clauses.of_request) {
    return words.complain(columns.front(), "on connect does not go with request, every, token and topic: no request has come by then");
  }
  request |= clauses.ratio && !clauses.of_connection && !rule.timed && !clauses.on_connect && !accept;
  if (accept || clauses.on_connect) rule.event = Event::connect;
  else if (request) rule.event = Event::request;
  else rule.event = rule.timed ? Event::time : Event::connect;

  for (std::size_t i = 0; i < rule.actions.size(); ++i) {
    const Action& action = rule.actions[i];
    if (action.fault == Fault::stall && action.duration_ns == 0 &&
        (rule.event != Event::time || rule.window.length_ns == base::kNever)) {
      return words.complain(columns[i], "stall needs a length here, as in: stall 3s");
    }
  }
}

Rule read_rule(Words& words) {
  Rule rule;
  Clauses clauses;
  words.expect("when", "each rule begins so: when every 100 -> answer 503 ServiceUnavailable");
  do {
    read_clause(words, rule, clauses);
  } while (words.take("and"));
  if (!words.failed() && !words.is("->")) words.complain(words.here() + " stands where \"and\" and a further clause, or \"->\" and what to do, are expected");
  words.expect("->", "before what to do");
  std::vector<std::size_t> columns;
  do {
    columns.push_back(words.column());
    rule.actions.push_back(read_action(words));
  } while (words.take(","));
  if (!words.done()) words.complain(words.here() + " stands where \",\" and a further action, or the end of the line, are expected");
  if (!words.failed()) decide_event(words, rule, clauses, columns);
  return rule;
}

}  // namespace

class ScriptParser {
 public:
  static Result<std::shared_ptr<const Script>> parse(std::string_view text, std::string_view name) {
    auto script = std::make_shared<Script>();
    script->name_ = name;
    const auto bad = [name](std::size_t line, std::size_t column, std::string what) {
      // Words of the script are quoted in it; a terminal should get no control characters.
      for (char& c : what) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
      }
      return Error{Code::invalid_argument,
                   std::string(name) + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + what};
    };
    if (text.size() > kScriptBytesMax) return bad(1, 1, "a script has at most " + std::to_string(kScriptBytesMax) + " bytes");
    std::uint32_t number = 0;
    while (!text.empty()) {
      ++number;
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      std::vector<Word> cut;
      if (const auto complaint = cut_line(line, cut)) return bad(number, complaint->column, complaint->text);
      if (cut.empty()) continue;
      if (script->rules_.size() == kRulesMax) return bad(number, 1, "a script has at most " + std::to_string(kRulesMax) + " rules");
      Words words(std::move(cut), line.size());
      Rule rule = read_rule(words);
      if (words.failed()) return bad(number, words.complaint().column, words.complaint().text);
      rule.line = number;
      script->rules_.push_back(std::move(rule));
    }
    return std::shared_ptr<const Script>(std::move(script));
  }
};

const NamedScript* find_named_script(std::string_view name) {
  for (const NamedScript& script : named_scripts()) {
    if (script.name == name) return &script;
  }
  return nullptr;
}

Result<std::shared_ptr<const Script>> Script::parse(std::string_view text, std::string_view name) {
  return ScriptParser::parse(text, name);
}

}  // namespace tocsin::mock
