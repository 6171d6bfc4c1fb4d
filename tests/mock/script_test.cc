// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "mock/script.h"

namespace tocsin::mock {
namespace {

constexpr std::int64_t kMs = base::kMillisecond;

base::Now at(std::int64_t ms) { return {1'000 * base::kSecond + ms * kMs, 1'700'000'000 * base::kSecond + ms * kMs}; }

std::shared_ptr<const Script> script(std::string_view text) {
  Result<std::shared_ptr<const Script>> parsed = Script::parse(text, "t");
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
  return parsed.ok() ? *parsed : Script::parse("", "t").value();
}

const Rule& only_rule(const std::shared_ptr<const Script>& parsed) {
  EXPECT_EQ(parsed->rules().size(), 1u);
  return parsed->rules().front();
}

// What the script does to the requests first..last, as one word each; "" for those that go their way.
std::vector<std::string> course(ScriptState& state, int requests, std::string_view token = "ab12", std::uint32_t connection = 1,
                                std::string_view topic = "com.example.app", std::int64_t ms = 0) {
  std::vector<std::string> words;
  for (int i = 0; i < requests; ++i) {
    std::vector<const Action*> actions;
    state.on_request({token, topic, connection}, at(ms), actions);
    std::string word;
    for (const Action* action : actions) word.append(word.empty() ? "" : "+").append(fault_word(action->fault));
    words.push_back(word);
  }
  return words;
}

TEST(Script, ReadsEveryAction) {
  struct Row {
    const char* text;
    Fault fault;
    void (*check)(const Action&);
  };
  const Row rows[] = {
      {"answer 503 ServiceUnavailable", Fault::answer,
       [](const Action& a) { EXPECT_EQ(a.status, 503); EXPECT_EQ(a.text, "ServiceUnavailable"); EXPECT_EQ(a.duration_ns, 0); }},
      {"answer 410 Unregistered timestamp 1700000000123", Fault::answer,
       [](const Action& a) { EXPECT_EQ(a.timestamp_unix_ms, 1700000000123); }},
      {"answer 410 Unregistered timestamp -5m", Fault::answer,
       [](const Action& a) { EXPECT_EQ(a.timestamp_ago_ns, 300 * base::kSecond); EXPECT_EQ(a.timestamp_unix_ms, -1); }},
      {"answer 429 TooManyRequests hold 2s", Fault::answer, [](const Action& a) { EXPECT_EQ(a.duration_ns, 2 * base::kSecond); }},
      {"answer 500", Fault::answer, [](const Action& a) { EXPECT_EQ(a.status, 500); EXPECT_EQ(a.text, ""); }},
      {"answer 400 \"A new reason\"", Fault::answer, [](const Action& a) { EXPECT_EQ(a.text, "A new reason"); }},
      {"delay 500ms", Fault::delay, [](const Action& a) { EXPECT_EQ(a.duration_ns, 500 * kMs); }},
      {"stall 3s", Fault::stall, [](const Action& a) { EXPECT_EQ(a.duration_ns, 3 * base::kSecond); }},
      {"no-answer", Fault::no_answer, nullptr},
      {"no-answer-but-accept", Fault::lost_answer, nullptr},
      {"reset REFUSED_STREAM", Fault::reset, [](const Action& a) { EXPECT_EQ(a.code, 7u); }},
      {"reset 99 after headers", Fault::reset, [](const Action& a) { EXPECT_EQ(a.code, 99u); EXPECT_TRUE(a.after_headers); }},
      {"reset INTERNAL_ERROR accepted", Fault::reset, [](const Action& a) { EXPECT_EQ(a.code, 2u); EXPECT_TRUE(a.accepted); }},
      {"goaway", Fault::goaway, [](const Action& a) { EXPECT_EQ(a.last, GoawayLast::seen); EXPECT_FALSE(a.twice); }},
      {"goaway last all", Fault::goaway, [](const Action& a) { EXPECT_EQ(a.last, GoawayLast::all); }},
      {"goaway last none code ENHANCE_YOUR_CALM", Fault::goaway,
       [](const Action& a) { EXPECT_EQ(a.last, GoawayLast::none); EXPECT_EQ(a.code, 11u); }},
      {"goaway last 17 reason Shutdown", Fault::goaway,
       [](const Action& a) { EXPECT_EQ(a.last_value, 17); EXPECT_EQ(a.text, R"({"reason":"Shutdown"})"); }},
      {"goaway last -3 text \"odd # words\" twice", Fault::goaway,
       [](const Action& a) { EXPECT_EQ(a.last, GoawayLast::back); EXPECT_EQ(a.last_value, 3); EXPECT_EQ(a.text, "odd # words"); EXPECT_TRUE(a.twice); }},
      {"streams 0", Fault::streams, [](const Action& a) { EXPECT_EQ(a.number, 0u); }},
      {"window 1200", Fault::window, [](const Action& a) { EXPECT_EQ(a.number, 1200u); }},
      {"no-window-updates", Fault::no_window_updates, nullptr},
      {"settings MAX_FRAME_SIZE 20000", Fault::settings, [](const Action& a) { EXPECT_EQ(a.code, 5u); EXPECT_EQ(a.number, 20'000u); }},
      {"settings 4660 1", Fault::settings, [](const Action& a) { EXPECT_EQ(a.code, 0x1234u); }},
      {"unknown-frame", Fault::unknown_frame, nullptr},
      {"split-headers 5", Fault::split_headers, [](const Action& a) { EXPECT_EQ(a.number, 5u); }},
      {"ping-silence", Fault::ping_silence, nullptr},
      {"garbage", Fault::garbage, nullptr},
      {"oversized-body", Fault::oversized_body, [](const Action& a) { EXPECT_EQ(a.number, 65'536u); EXPECT_EQ(a.status, 500); }},
      {"oversized-body 100000", Fault::oversized_body, [](const Action& a) { EXPECT_EQ(a.number, 100'000u); }},
      {"broken-body 400", Fault::broken_body, [](const Action& a) { EXPECT_EQ(a.status, 400); }},
      {"vanish", Fault::vanish, nullptr},
      {"close", Fault::close, nullptr},
      {"tcp-reset", Fault::tcp_reset, nullptr},
      {"half-close", Fault::half_close, nullptr},
      {"slow 1/10ms", Fault::slow, [](const Action& a) { EXPECT_EQ(a.number, 1u); EXPECT_EQ(a.duration_ns, 10 * kMs); }},
      {"probe", Fault::probe, nullptr},
      {"throttle 10", Fault::throttle, [](const Action& a) { EXPECT_EQ(a.number, 10u); }},
      {"tls alert", Fault::tls_alert, nullptr},
      {"tls refuse-certificate", Fault::tls_refuse_certificate, nullptr},
      {"tls expired", Fault::tls_expired, nullptr},
      {"tls wrong-name", Fault::tls_wrong_name, nullptr},
      {"tls no-alpn", Fault::tls_no_alpn, nullptr},
      {"tls hang", Fault::tls_hang, nullptr},
      {"refuse", Fault::refuse, nullptr},
      {"accept-and-hang", Fault::accept_and_hang, nullptr},
  };
  std::set<Fault> covered;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    const auto parsed = script(std::string("when always -> ") + row.text + "\n");
    ASSERT_EQ(parsed->rules().size(), 1u);
    ASSERT_EQ(parsed->rules()[0].actions.size(), 1u);
    EXPECT_EQ(parsed->rules()[0].actions[0].fault, row.fault);
    if (row.check != nullptr) row.check(parsed->rules()[0].actions[0]);
    EXPECT_TRUE(std::string_view(row.text).starts_with(fault_word(row.fault)));
    covered.insert(row.fault);
  }
  EXPECT_EQ(covered.size(), kFaults);
}

TEST(Script, TheEventFollowsFromClausesAndActions) {
  struct Row {
    const char* rule;
    Event event;
  };
  for (const Row& row : {
           Row{"when request 5 -> goaway", Event::request}, Row{"when every 5 -> tcp-reset", Event::request},
           Row{"when always -> answer 503", Event::request}, Row{"when connection 2 -> answer 503", Event::request},
           Row{"when between 1s and 2s -> answer 503", Event::request}, Row{"when topic a -> streams 1", Event::request},
           Row{"when ratio 1% -> delay 1s", Event::request}, Row{"when always -> streams 1", Event::connect},
           Row{"when connection every 3 -> ping-silence", Event::connect}, Row{"when always -> refuse", Event::connect},
           Row{"when between 1s and 2s -> refuse", Event::connect}, Row{"when on connect and after 1s -> goaway", Event::connect},
           Row{"when after 5s -> goaway", Event::time}, Row{"when for 2s every 10s -> stall", Event::time},
           Row{"when connection 3 and for 2s every 10s -> streams 1", Event::time},
           Row{"when always -> no-answer-but-accept, tcp-reset", Event::request}}) {
    EXPECT_EQ(only_rule(script(row.rule)).event, row.event) << row.rule;
  }
}

TEST(Script, ErrorsNameLineColumnAndWhatWouldBeRight) {
  struct Row {
    const char* text;
    const char* at;
    const char* says;
  };
  for (const Row& row : {
           Row{"# fine\n\n  if always -> close", "t:3:3: ", "\"when\" is expected"},
           Row{"when", "t:1:5: ", "a clause is missing"},
           Row{"when evry 5 -> close", "t:1:6: ", "did you mean every?"},
           Row{"when every -> close", "t:1:12: ", "a number of requests is missing"},
           Row{"when every x -> close", "t:1:12: ", "give a number from 1 to"},
           Row{"when every 0 -> close", "t:1:12: ", "give a number from 1 to"},
           Row{"when ratio 2 -> close", "t:1:12: ", "as 0.01 or 1%"},
           Row{"when ratio 0 -> close", "t:1:12: ", "more than 0"},
           Row{"when token xyz -> close", "t:1:12: ", "hex digits"},
           Row{"when request 5 to 4 -> close", "t:1:19: ", "from 5 to"},
           Row{"when between 5s -> close", "t:1:17: ", "\"and\" is expected"},
           Row{"when between 5s and 5s -> close", "t:1:21: ", "later than the beginning"},
           Row{"when for 2s -> close", "t:1:13: ", "for 2s every 10s"},
           Row{"when for 10s every 10s -> close", "t:1:20: ", "longer than"},
           Row{"when after 5 -> close", "t:1:12: ", "250ms, 10s, 5m"},
           Row{"when after 1s and after 2s -> close", "t:1:19: ", "write two rules"},
           Row{"when always close", "t:1:13: ", "\"->\""},
           Row{"when always ->", "t:1:15: ", "what to do is missing"},
           Row{"when always -> clsoe", "t:1:16: ", "did you mean close?"},
           Row{"when always -> tls expird", "t:1:16: ", "did you mean tls expired?"},
           Row{"when always -> close close", "t:1:22: ", "\",\" and a further action"},
           Row{"when always -> answer 200", "t:1:23: ", "from 300 to 599"},
           Row{"when always -> answer 503 A hold x", "t:1:34: ", "how long to hold"},
           Row{"when always -> answer 410 A timestamp -x", "t:1:40: ", "a time before now"},
           Row{"when always -> reset REFUSED_STREM", "t:1:22: ", "did you mean REFUSED_STREAM?"},
           Row{"when always -> reset REFUSED_STREAM accepted", "t:1:22: ", "promises that nothing was done"},
           Row{"when always -> reset CANCEL after", "t:1:34: ", "\"headers\" is expected"},
           Row{"when always -> goaway last 4", "t:1:28: ", "odd id"},
           Row{"when always -> goaway lst none", "t:1:23: ", "did you mean last?"},
           Row{"when always -> goaway text \"x", "t:1:28: ", "has no end"},
           Row{"when always -> slow 5", "t:1:21: ", "slow 1/10ms"},
           Row{"when always -> slow 1/0", "t:1:23: ", "more than 0"},
           Row{"when always -> slow x/1ms", "t:1:21: ", "a number of bytes"},
           Row{"when always -> streams", "t:1:23: ", "a stream limit is missing"},
           Row{"when always -> window 2147483648", "t:1:23: ", "2147483647"},
           Row{"when always -> settings FOO 1", "t:1:25: ", "or a number up to 65535"},
           Row{"when always -> stall", "t:1:16: ", "stall 3s"},
           Row{"when on connect -> answer 503", "t:1:20: ", "write two rules"},
           Row{"when every 5 -> refuse", "t:1:17: ", "when a connection is made"},
           Row{"when on connect and every 5 -> close", "t:1:32: ", "no request has come"},
       }) {
    SCOPED_TRACE(row.text);
    const Result<std::shared_ptr<const Script>> parsed = Script::parse(row.text, "t");
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code, Code::invalid_argument);
    EXPECT_TRUE(parsed.error().message.starts_with(row.at)) << parsed.error().message;
    EXPECT_NE(parsed.error().message.find(row.says), std::string::npos) << parsed.error().message;
  }
}

TEST(Script, BoundsHold) {
  std::string rules;
  for (std::size_t i = 0; i < kRulesMax; ++i) rules += "when always -> close\n";
  EXPECT_TRUE(Script::parse(rules, "t").ok());
  EXPECT_TRUE(Script::parse(rules + "when always -> close\n", "t").error().message.starts_with("t:1001:1: "));
  EXPECT_FALSE(Script::parse(std::string(kScriptBytesMax + 1, '#'), "t").ok());
}

// Every prefix and every single-byte change of a good script is read or refused, never worse.
TEST(Script, NoTextIsTooOdd) {
  std::string good;
  for (const NamedScript& named : named_scripts()) good += named.text;
  for (std::size_t i = 0; i < good.size(); i += 7) {
    (void)Script::parse(std::string_view(good).substr(0, i), "t");
    std::string bent = good.substr(i, 300);
    for (const char c : {'\0', '"', ',', '-', '>', '#', '9', '\xff', ' '}) {
      bent[bent.size() / 2] = c;
      const auto parsed = Script::parse(bent, "t");
      if (!parsed.ok()) {
        EXPECT_TRUE(parsed.error().message.starts_with("t:")) << parsed.error().message;
      }
    }
  }
}

TEST(Script, TheNamedOnesAreGood) {
  std::set<Fault> used;
  for (const NamedScript& named : named_scripts()) {
    SCOPED_TRACE(named.name);
    const auto parsed = Script::parse(named.text, named.name);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_FALSE((*parsed)->rules().empty());
    EXPECT_GT(named.summary.size(), 20u);
    EXPECT_EQ(find_named_script(named.name), &named);
    for (const Rule& rule : (*parsed)->rules()) {
      for (const Action& action : rule.actions) used.insert(action.fault);
    }
  }
  EXPECT_EQ(find_named_script("nothing"), nullptr);
  EXPECT_EQ(used.size(), kFaults) << "each fault stands in a named script";
}

TEST(ScriptState, Requests) {
  using Words = std::vector<std::string>;
  struct Row {
    const char* rule;
    Words words;
  };
  for (const Row& row : {
           Row{"when request 2 -> close", {"", "close", "", "", "", ""}},
           Row{"when request 2 to 3 -> close", {"", "close", "close", "", "", ""}},
           Row{"when every 2 -> close", {"", "close", "", "close", "", "close"}},
           Row{"when every 2 and times 1 -> close", {"", "close", "", "", "", ""}},
           Row{"when every 3 and request 1 to 4 -> close", {"", "", "close", "", "", ""}},
           Row{"when token AB1 -> close", {"close", "close", "close", "close", "close", "close"}},
           Row{"when token b -> close", Words(6)},
           Row{"when token ab123 -> close", Words(6)},
           Row{"when topic com.example.app and times 2 -> close", {"close", "close", "", "", "", ""}},
           Row{"when topic com.example -> close", Words(6)},
           Row{"when connection 2 and every 1 -> close", Words(6)},
           Row{"when connection every 1 and request 1 -> close, goaway", {"close+goaway", "", "", "", "", ""}},
           Row{"when request 1 -> close\nwhen request 1 -> delay 1s\nwhen request 3 -> garbage", {"close+delay", "", "garbage", "", "", ""}},
           Row{"when after 1s and every 1 -> close", Words(6)},
       }) {
    ScriptState state(script(row.rule), 1);
    EXPECT_EQ(course(state, 6), row.words) << row.rule;
  }
}

TEST(ScriptState, RatioFollowsTheSeedAlone) {
  const auto parsed = script("when ratio 0.1 -> close\nwhen ratio 0.1 -> goaway");
  ScriptState one(parsed, 7);
  ScriptState same(parsed, 7);
  ScriptState other(parsed, 8);
  const auto words = course(one, 20'000);
  EXPECT_EQ(course(same, 20'000), words);
  EXPECT_NE(course(other, 20'000), words);
  int close = 0;
  int both = 0;
  for (const std::string& word : words) {
    close += word.find("close") != std::string::npos;
    both += word == "close+goaway";
  }
  EXPECT_NEAR(close, 2000, 200);
  EXPECT_NEAR(both, 200, 70);  // two rules draw apart
}

TEST(ScriptState, HoldAnswersOneTokenForATime) {
  const auto parsed = script("when request 1 -> answer 429 TooManyRequests hold 2s");
  ScriptState state(parsed, 1);
  std::vector<const Action*> actions;
  state.on_request({"AB", "t", 1}, at(0), actions);
  ASSERT_EQ(actions.size(), 1u);
  state.hold("AB", *actions[0], at(0));
  EXPECT_EQ(course(state, 1, "ab", 1, "t", 1999)[0], "answer");
  EXPECT_EQ(course(state, 1, "ac", 1, "t", 1999)[0], "");
  EXPECT_EQ(course(state, 1, "ab", 1, "t", 2000)[0], "");
}

TEST(ScriptState, WindowsBeginWithTheFirstConnection) {
  ScriptState state(script("when between 1s and 2s -> refuse\nwhen after 3s -> tls expired\nwhen on connect -> slow 7/1ms, goaway"), 1);
  const auto connect = [&](std::uint32_t number, std::int64_t ms) {
    ConnectFaults faults;
    state.on_connect(number, at(ms), faults);
    return faults;
  };
  const ConnectFaults first = connect(1, 500);
  EXPECT_EQ(first.accept, AcceptFault::none);
  EXPECT_EQ(first.slow, (Pace{7, kMs}));
  ASSERT_EQ(first.on_open.size(), 1u);
  EXPECT_EQ(first.on_open[0]->fault, Fault::goaway);
  EXPECT_EQ(connect(2, 1499).accept, AcceptFault::none);
  EXPECT_EQ(connect(3, 1500).accept, AcceptFault::refuse);
  EXPECT_EQ(connect(4, 2499).accept, AcceptFault::refuse);
  EXPECT_EQ(connect(5, 2500).accept, AcceptFault::none);
  EXPECT_EQ(connect(6, 2500).tls, TlsFault::none);
  EXPECT_EQ(connect(7, 3500).tls, TlsFault::expired);
}

TEST(ScriptState, TimeRulesHaveEdges) {
  ScriptState state(script("when for 2s every 10s -> streams 1, goaway\nwhen after 25s and connection 2 -> close\n"
                           "when for 1s every 10s and times 1 -> stall"), 1);
  ConnectFaults faults;
  state.on_connect(1, at(0), faults);
  EXPECT_TRUE(faults.on_open.empty());
  const auto events = [&](std::uint32_t connection, std::int64_t from, std::int64_t to) {
    std::vector<const Action*> actions;
    state.on_time(connection, at(from).mono_ns, at(to).mono_ns, actions);
    std::string words;
    for (const Action* action : actions) words.append(fault_word(action->fault)).append(" ");
    return words;
  };
  EXPECT_EQ(state.next_edge(at(0)), at(10'000).mono_ns);
  EXPECT_EQ(state.next_edge(at(10'000)), at(11'000).mono_ns);
  EXPECT_EQ(state.next_edge(at(11'000)), at(12'000).mono_ns);
  EXPECT_EQ(state.next_edge(at(12'000)), at(20'000).mono_ns);
  EXPECT_EQ(events(1, 0, 9'999), "");
  EXPECT_EQ(events(1, 0, 10'000), "goaway stall ");
  EXPECT_EQ(events(1, 10'000, 19'999), "");
  EXPECT_EQ(events(1, 19'999, 40'000), "goaway ");  // missed ones are not made up for
  EXPECT_EQ(events(2, 24'000, 25'000), "close ");
  const auto streams = [&](std::int64_t ms) {
    Manner manner;
    manner.streams = 100;
    state.overlay(1, at(ms), manner);
    return manner.streams;
  };
  EXPECT_EQ(streams(9'999), 100u);
  EXPECT_EQ(streams(10'000), 1u);
  EXPECT_EQ(streams(11'999), 1u);
  EXPECT_EQ(streams(12'000), 100u);
  EXPECT_EQ(streams(20'500), 1u);
  EXPECT_EQ(state.stalled_until(at(10'500)), at(11'000).mono_ns);
  EXPECT_EQ(state.stalled_until(at(11'000)), 0);
  EXPECT_EQ(state.stalled_until(at(20'500)), 0) << "times 1";
}

}  // namespace
}  // namespace tocsin::mock
