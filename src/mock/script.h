// SPDX-License-Identifier: Apache-2.0
// Script: when what goes wrong, from a small text file, one rule a line: `when CLAUSE and CLAUSE -> ACTION, ACTION`.
// ScriptState: one server's course through it. docs/faults.md is the grammar for people; faults.h has the actions.
//
// Pure and deterministic: the same script, seed, times and requests give the same faults. Threads: a Script is
// immutable; a ScriptState one at a time. Ownership: the state keeps its script alive; Actions handed out are
// the script's. Bounds: kScriptBytesMax, kRulesMax, and kHeldMax tokens under a `hold`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <tocsin/result.h>

#include "base/now.h"
#include "mock/faults.h"

namespace tocsin::mock {

inline constexpr std::size_t kScriptBytesMax = 256 * 1024;
inline constexpr std::size_t kRulesMax = 1000;
inline constexpr std::size_t kHeldMax = 100'000;

// What a rule waits for.
enum class Event : std::uint8_t {
  request,  // each request that fits
  connect,  // each connection that fits, when it is accepted or opens
  time,     // the beginning of the rule's time window, for each connection that is open then
};

// Time windows count from the server's first connection. The k-th is [start + k * period, + length).
struct Window {
  std::int64_t start_ns = 0;
  std::int64_t length_ns = base::kNever;
  std::int64_t period_ns = 0;  // 0: one window only
  bool holds(std::int64_t at_ns) const;
  // The next time after `at_ns` at which a window begins or ends; kNever: none.
  std::int64_t next_edge(std::int64_t at_ns) const;
  // The number of the last window that began at or before `at_ns`; -1: none did.
  std::int64_t begun(std::int64_t at_ns) const;
};

struct Rule {
  std::uint32_t line = 0;
  Event event = Event::request;
  // Clauses; each that is not its default must fit.
  std::uint64_t request_first = 0, request_last = 0;  // 0: any
  std::uint64_t every = 0;                            // of the requests that fit the rest
  double ratio = 1;
  std::string token;  // hex, lower case: how the token begins
  std::string topic;
  std::uint32_t connection = 0;
  std::uint32_t connection_every = 0;
  bool timed = false;
  Window window;
  std::uint64_t times = 0;  // 0: without limit
  std::vector<Action> actions;
};

class Script {
 public:
  // Errors read "NAME:LINE:COLUMN: what is wrong; what would be right". Code::invalid_argument.
  static Result<std::shared_ptr<const Script>> parse(std::string_view text, std::string_view name);

  const std::string& name() const { return name_; }
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  friend class ScriptParser;
  std::string name_;
  std::vector<Rule> rules_;
};

// The scripts that are compiled in.
struct NamedScript {
  std::string_view name;
  std::string_view text;     // the file
  std::string_view summary;  // its first comment line
};
const std::vector<NamedScript>& named_scripts();
// nullptr if there is none of that name.
const NamedScript* find_named_script(std::string_view name);

struct RequestFacts {
  std::string_view token_hex;  // as the path has it
  std::string_view topic;
  std::uint32_t connection = 0;
};

class ScriptState {
 public:
  ScriptState(std::shared_ptr<const Script> script, std::uint64_t seed);

  // Time zero of the script; only the first call counts.
  void begin(base::Now now);

  void on_connect(std::uint32_t connection, base::Now now, ConnectFaults& out);
  // Appends, in the rules' order.
  void on_request(const RequestFacts& request, base::Now now, std::vector<const Action*>& out);
  // From now on `action` answers every request of this token for action.duration_ns.
  void hold(std::string_view token_hex, const Action& action, base::Now now);

  // Of `time` rules: appends what began in (from, to] and happens once; each of them once.
  void on_time(std::uint32_t connection, std::int64_t from_mono_ns, std::int64_t to_mono_ns,
               std::vector<const Action*>& out);
  // ... and lays over `manner` what lasts at this time.
  void overlay(std::uint32_t connection, base::Now now, Manner& manner) const;
  // When on_time or overlay may say something new; kNever: not again.
  std::int64_t next_edge(base::Now now) const;
  // The end of a stall by a `time` rule that holds now; 0: none.
  std::int64_t stalled_until(base::Now now) const;

 private:
  bool passes(const Rule& rule, std::size_t index, std::uint64_t ordinal) const;
  bool spend(const Rule& rule, std::size_t index);
  static bool fits_connection(const Rule& rule, std::uint32_t connection);

  struct Held {
    const Action* action = nullptr;
    std::int64_t until_mono_ns = 0;
  };

  std::shared_ptr<const Script> script_;
  std::uint64_t seed_;
  std::int64_t zero_mono_ns_ = 0;
  bool begun_ = false;
  std::uint64_t requests_ = 0;
  std::vector<std::uint64_t> seen_;   // per rule: requests that fitted all but `every`, `ratio` and `times`
  std::vector<std::uint64_t> fired_;  // per rule
  std::unordered_map<std::string, Held> held_;
};

}  // namespace tocsin::mock
