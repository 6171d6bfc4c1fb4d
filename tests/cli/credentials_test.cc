// SPDX-License-Identifier: Apache-2.0
// Several credentials, provider keys, dead tokens, what lines say of their time, and what an operator is told of the
// credentials' states.
#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cli/credentials_file.h"
#include "cli/dead_tokens.h"
#include "cli/input.h"
#include "cli/lines.h"
#include "cli/prepare.h"
#include "cli/push_options.h"
#include "cli/state_watch.h"
#include "cli/summary.h"
#include "cli/units.h"
#include "portal/portal.h"

namespace tocsin::cli {
namespace {

using nlohmann::json;

constexpr std::int64_t kNow = 1'800'000'000;
constexpr const char* kTopicA = "com.apple.mgmt.External.aaaaaaaa-5e4f-4a6b-8c7d-9e0f1a2b3c4d";
constexpr const char* kTopicB = "com.apple.mgmt.External.bbbbbbbb-5e4f-4a6b-8c7d-9e0f1a2b3c4d";

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "tocsin-credentials-XXXXXX").string();
    path_ = ::mkdtemp(name.data()) == nullptr ? std::string() : name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string put(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

// Two MDM certificates, an app's that ends in ten days, and a provider key.
const Folder& files() {
  static const Folder folder;
  static const bool filled = [] {
    auto authority = portal::Authority::make({kNow, -1, 400});
    if (!authority.ok()) return false;
    const auto push = [&](const char* name, const char* uid, int days) {
      auto issued = (*authority)->issue_push({uid, {}, {kNow, -1, days}});
      folder.put(std::string(name) + ".pem", issued->certificate_pem);
      folder.put(std::string(name) + ".key", issued->key_pem);
    };
    push("a", kTopicA, 365);
    push("b", kTopicB, 365);
    push("app", "com.example.app", 10);
    portal::ServerSpec server;
    server.validity = {kNow, -1, 365};
    folder.put("AuthKey.p8", (*authority)->issue_server(server)->key_pem);  // PKCS#8 of P-256, as Apple's
    return true;
  }();
  EXPECT_TRUE(filled);
  return folder;
}

Result<std::vector<Preflight>> read(const std::string& text, unsigned shards = 1) {
  PushOptions options;
  options.credentials = files().put("credentials.json", text);
  options.connections = 6;
  options.connections_min = 3;
  options.shards = shards;
  return read_credentials(options, kNow);
}

std::string error_of(const std::string& text) {
  auto read_one = read(text);
  return read_one.ok() ? "" : read_one.error().message;
}

TEST(CredentialsFile, EachEntryIsLoadedAndJudged) {
  auto all = read(R"([{"name":"acme","cert":"a.pem","key":"a.key"},
    {"cert":"b.pem","key":"b.key","topics":[")" + std::string(kTopicB) + R"("],"endpoint":"[::1]:2197","connections":1},
    {"name":"app","cert":"app.pem","key":"app.key"},
    {"name":"p8","p8":"AuthKey.p8","key_id":"ABC123DEFG","team_id":"DEF123GHIJ","topics":["com.example.other"]}])", 8);
  ASSERT_TRUE(all.ok()) << all.error().message;
  ASSERT_EQ(all->size(), 4u);
  EXPECT_EQ((*all)[0].topics, std::vector<std::string>{kTopicA}) << "the certificate's";
  EXPECT_EQ((*all)[0].credential.connections_max, 6u);
  EXPECT_EQ((*all)[0].credential.connections_min, 3u);
  EXPECT_EQ((*all)[1].credential.connections_min, 1u) << "no more than its connections";
  EXPECT_EQ((*all)[0].credential.host, "api.push.apple.com");
  EXPECT_EQ((*all)[0].credential.span, 2u) << "eight shards for four credentials";
  EXPECT_EQ((*all)[1].name, kTopicB);
  EXPECT_EQ((*all)[1].credential.host, "::1");
  EXPECT_EQ((*all)[1].credential.port, 2197);
  EXPECT_EQ((*all)[1].credential.span, 1u) << "no more home shards than connections";
  EXPECT_TRUE((*all)[2].needs_care);
  ASSERT_EQ((*all)[2].warnings.size(), 1u);
  EXPECT_NE((*all)[2].warnings[0].find("entry 3 (app): "), std::string::npos) << (*all)[2].warnings[0];
  EXPECT_EQ((*all)[3].credential.provider_key_id, "ABC123DEFG");
  EXPECT_FALSE((*all)[3].credential.provider_key_p8.empty());
  EXPECT_FALSE((*all)[3].has_certificate);
  wipe_secrets((*all)[3].credential);
  EXPECT_TRUE((*all)[3].credential.provider_key_p8.empty());
}

TEST(CredentialsFile, ErrorsNameFileEntryAndField) {
  const std::string p8 = R"("p8":"AuthKey.p8","key_id":"ABC123DEFG","team_id":"DEF123GHIJ")";
  const struct {
    std::string text;
    std::vector<const char*> says;
  } cases[] = {
      {"[{\"name\":\n  secret}]", {"credentials.json:2:3: is not JSON"}},
      {"{}", {"credentials.json: is not a list"}},
      {"[]", {"is not a list of credentials"}},
      {"[7]", {"entry 1: is not an object"}},
      {R"([{"name":"x","password":"hunter2"}])", {"entry 1 (x): password: is unknown"}},
      {R"([{"cert":7}])", {"entry 1: cert: is not a string"}},
      {R"([{"cert":"a.pem","p12":"x.p12"}])", {"exactly one of cert, p12 and p8"}},
      {R"([{"name":"x"}])", {"exactly one of cert, p12 and p8"}},
      {R"([{"p8":"AuthKey.p8","team_id":"DEF123GHIJ","topics":["com.example"]}])", {"key_id: is missing"}},
      {R"([{"p8":"AuthKey.p8","key_id":"short","team_id":"DEF123GHIJ","topics":["com.example"]}])", {"AuthKey.p8"}},
      {R"([{"cert":"a.pem","key":"a.key","team_id":"DEF123GHIJ"}])", {"team_id: belongs to p8"}},
      {R"([{"cert":"a.pem","key":"b.key"}])", {"entry 1: ", "a.pem"}},
      {R"([{"cert":"gone.pem"}])", {"entry 1: cert ", "gone.pem: cannot be opened"}},
      {R"([{"cert":"a.pem"}])", {"holds no private key", "by key"}},
      {R"([{"cert":"a.pem","key":"a.key","topics":[]}])", {"topics: is not a list"}},
      {R"([{"cert":"a.pem","key":"a.key","topics":["com.example.app"]}])", {"topics: topic com.example.app is not", kTopicA}},
      {R"([{"cert":"a.pem","key":"a.key","endpoint":"a:b:c"}])", {"endpoint: "}},
      {R"([{"cert":"a.pem","key":"a.key","connections":0}])", {"connections: is not a number from 1 to 1024"}},
      {"[{" + p8 + "}]", {"topics: is missing"}},
      {"[{" + p8 + ",\"topics\":[\"" + kTopicA + "\"]}]", {"topics: APNs takes MDM pushes only"}},
      {R"([{"cert":"a.pem","key":"a.key"},{"name":"x","cert":"a.pem","key":"a.key"}])",
       {"entry 2 (x): topics: ", "belongs to entry 1 already"}},
      {R"([{"name":"x","cert":"a.pem","key":"a.key"},{"name":"x","cert":"b.pem","key":"b.key"}])",
       {"entry 2 (x): name: is also the name of an earlier entry"}},
  };
  for (const auto& each : cases) {
    const std::string error = error_of(each.text);
    for (const char* part : each.says) EXPECT_NE(error.find(part), std::string::npos) << each.text << "\n" << error;
    EXPECT_EQ(error.find("hunter2"), std::string::npos) << error;
    EXPECT_EQ(error.find("secret"), std::string::npos) << error;
  }
}

TEST(ProviderKey, OfTheCommandLine) {
  PushOptions o;
  o.input = "f";
  o.p8 = files().put("copy.p8", "not a key");
  EXPECT_NE(check_relations(o).find("--key-id and --team-id"), std::string::npos);
  o.key_id = "ABC123DEFG";
  o.team_id = "DEF123GHIJ";
  EXPECT_EQ(check_relations(o), "");
  auto wrong = run_preflight(o, kNow);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("copy.p8: "), std::string::npos) << wrong.error().message;
  o.topic = kTopicA;
  EXPECT_NE(check_relations(o).find("MDM"), std::string::npos);
  o.topic.clear();
  o.push_type = PushType::mdm;
  EXPECT_NE(check_relations(o).find("MDM"), std::string::npos);
  o.push_type.reset();
  o.cert = "x.pem";
  EXPECT_NE(check_relations(o).find("one of the two"), std::string::npos);
  PushOptions alone;
  alone.input = "f";
  alone.cert = "c";
  alone.team_id = "DEF123GHIJ";
  EXPECT_NE(check_relations(alone).find("--p8"), std::string::npos);
  alone.team_id.clear();
  alone.credentials = "list.json";
  EXPECT_NE(check_relations(alone).find("--credentials"), std::string::npos);
}

// --- Lines.

struct Line {
  std::string text;  // "route handle", or "field: error"
  Prepared prepared;
  std::vector<TemplateOptions> made;
};

Line prepare(const Defaults& defaults, const std::string& line, bool csv = false) {
  Line out;
  Preparer preparer(defaults, [&](const TemplateOptions& options) -> Result<TemplateHandle> {
    out.made.push_back(options);
    return static_cast<TemplateHandle>(out.made.size());
  });
  auto parser = csv ? make_csv_parser() : make_ndjson_parser();
  Record record;
  Reject reject;
  std::vector<std::string> padded;
  std::size_t from = 0;
  for (std::size_t end = 0; end != std::string::npos; from = end + 1) {
    end = line.find('\n', from);
    padded.push_back(line.substr(from, end == std::string::npos ? end : end - from) + std::string(kLinePadding, ' '));
    const std::string_view view(padded.back().data(), padded.back().size() - kLinePadding);
    if (parser->take(padded.size(), view, record, reject) != LineParser::Took::reject) continue;
    out.text = reject.field + ": " + reject.error;
    return out;
  }
  if (preparer.prepare(record, out.prepared, reject))
    out.text = std::to_string(out.prepared.route);
  else
    out.text = reject.field + ": " + reject.error;
  return out;
}

Defaults three_routes() {
  Defaults defaults;
  defaults.routes.resize(3);
  defaults.routes[0].topics = {kTopicA};
  defaults.routes[1].topics = {kTopicB, "com.example.app"};
  defaults.routes[2].topics = {"com.example.app.voip", "com.example.key"};
  defaults.routes[2].provider_key = true;
  return defaults;
}

TEST(Routes, EachLineGoesToTheCredentialOfItsTopic) {
  const Defaults defaults = three_routes();
  const auto to = [&](const std::string& rest) { return prepare(defaults, R"({"token":"ab",)" + rest + "}").text; };
  const std::string own = R"("payload":{"aps":{"alert":"x"}},)";
  EXPECT_EQ(to("\"magic\":\"M\",\"topic\":\"" + std::string(kTopicA) + "\""), "0");
  EXPECT_EQ(to("\"magic\":\"M\",\"topic\":\"" + std::string(kTopicB) + "\""), "1");
  EXPECT_EQ(to(own + R"("topic":"com.example.app")"), "1");
  EXPECT_EQ(to(own + R"("push_type":"voip","topic":"com.example.app.voip")"), "2") << "the exact topic wins";
  EXPECT_EQ(to(own + R"("push_type":"voip","topic":"com.example.key.voip")"), "2") << "without its type's suffix";
  const std::string unknown = to(own + R"("topic":"com.example.none")");
  EXPECT_TRUE(unknown.starts_with("topic: topic com.example.none belongs to no credential")) << unknown;
  EXPECT_TRUE(to(own + "\"push_type\":\"alert\",\"priority\":10").starts_with("topic: topic is missing"));
  Defaults key;
  key.routes.resize(1);
  key.routes[0].provider_key = true;
  EXPECT_TRUE(prepare(key, "{\"token\":\"ab\",\"magic\":\"M\",\"topic\":\"" + std::string(kTopicA) + "\"}")
                  .text.starts_with("push_type: APNs takes MDM"));
}

TEST(Lines, TheirTimeAndClass) {
  Defaults defaults;
  defaults.topic = kTopicA;
  const Line all = prepare(defaults, R"({"token":"ab","magic":"M","deadline":1800000060,"registered_at":"2027-01-15T09:00:00+01:00","priority_class":"urgent"})");
  ASSERT_EQ(all.text, "0");
  EXPECT_EQ(all.prepared.deadline_unix_ns, 1'800'000'060'000'000'000);
  EXPECT_EQ(all.prepared.registered_unix_ms, 1'800'000'000'000);
  EXPECT_EQ(all.prepared.priority_class, PriorityClass::urgent);
  EXPECT_TRUE(all.made.at(0).coalesce) << "an MDM wake-up";
  const Line csv = prepare(defaults, "token,magic,deadline,registered_at,priority_class\nab,M,1800000060,1800000000,bulk", true);
  ASSERT_EQ(csv.text, "0");
  EXPECT_EQ(csv.prepared.deadline_unix_ns, all.prepared.deadline_unix_ns);
  EXPECT_EQ(csv.prepared.registered_unix_ms, all.prepared.registered_unix_ms);
  EXPECT_EQ(csv.prepared.priority_class, PriorityClass::bulk);
  defaults.priority_class = PriorityClass::bulk;
  defaults.coalesce = false;
  const Line plain = prepare(defaults, R"({"token":"ab","magic":"M"})");
  EXPECT_EQ(plain.prepared.deadline_unix_ns, 0);
  EXPECT_EQ(plain.prepared.priority_class, PriorityClass::bulk);
  EXPECT_FALSE(plain.made.at(0).coalesce);
  const auto wrong = [&](const char* field) {
    return prepare(defaults, std::string(R"({"token":"ab","magic":"M",)") + field + "}").text;
  };
  EXPECT_TRUE(wrong(R"("deadline":3600)").starts_with("deadline: deadline 3600 is not a Unix time"));
  EXPECT_TRUE(wrong(R"("deadline":"soon")").starts_with("deadline: "));
  EXPECT_TRUE(wrong(R"("registered_at":"yesterday")").starts_with("registered_at: registered_at is not a time"));
  EXPECT_TRUE(wrong(R"("priority_class":"fast")").starts_with("priority_class: priority_class 'fast' is unknown"));
  EXPECT_TRUE(prepare(defaults, "token,registered_at\nab,tomorrow", true).text.starts_with("registered_at: "));
  EXPECT_TRUE(prepare(defaults, "token,deadline\nab,1.5", true).text.starts_with("deadline: "));
}

TEST(Units, Times) {
  std::int64_t ms = 0;
  const struct {
    const char* text;
    std::int64_t ms;
  } right[] = {{"1800000000", 1'800'000'000'000},
               {"2027-01-15T08:00:00Z", 1'800'000'000'000},
               {"2027-01-15t08:00:00.25z", 1'800'000'000'250},
               {"2027-01-15 03:00:00.1239-05:00", 1'800'000'000'123},
               {"2028-02-29T00:00:00Z", 1'835'395'200'000}};
  for (const auto& each : right) {
    EXPECT_TRUE(parse_time_ms(each.text, ms)) << each.text;
    EXPECT_EQ(ms, each.ms) << each.text;
  }
  for (const char* text : {"", "0", "-1800000000", "1800000000000", "2027-01-15", "2027-01-15T08:00:00", "2027-02-29T00:00:00Z",
                           "2027-01-15T24:00:00Z", "2027-01-15T08:60:00Z", "2027-01-15T08:00:00.Z", "2027-01-15T08:00:00+1:00",
                           "2027-01-15T08:00:00Zx", "2027-13-01T00:00:00Z", "999999999", "1969-01-01T00:00:00Z", "999999999999999999", "-9223372036854775808"})
    EXPECT_FALSE(parse_time_ms(text, ms)) << text;
}

TEST(Options, WhileItWaits) {
  const auto parse = [](std::vector<std::string> args, PushOptions& options) {
    CLI::App app("x");
    bool chosen = false;
    add_push_options(app, options, [&chosen] { chosen = true; });
    std::reverse(args.begin(), args.end());
    try {
      app.parse(args);
    } catch (const CLI::ParseError& error) {
      return std::string(error.what());
    }
    return std::string(chosen ? "" : "not chosen");
  };
  PushOptions o;
  EXPECT_EQ(parse({"push", "f", "--cert", "c", "--deadline", "10m", "--priority-class", "bulk", "--no-coalesce", "--fallback-port",
                   "2197", "--bad-token-brake", "0.25", "--retry-backoff", "2s", "--proxy", "http://p:8080"}, o), "");
  EXPECT_EQ(check_relations(o), "");
  EXPECT_EQ(o.deadline_ms, 600'000);
  EXPECT_EQ(o.priority_class, PriorityClass::bulk);
  EXPECT_EQ(o.coalesce, std::optional<bool>(false));
  EXPECT_EQ(o.alternate_port, 2197);
  EXPECT_EQ(o.bad_token_share, 0.25);
  EXPECT_EQ(o.retry_backoff_ms, 2000);
  PushOptions plain;
  EXPECT_EQ(parse({"push", "f", "--cert", "c"}, plain), "");
  EXPECT_FALSE(plain.coalesce.has_value()) << "each push type has its own default";
  PushOptions off;
  EXPECT_EQ(parse({"push", "f", "--coalesce", "--bad-token-brake", "off", "--fallback-port", "none"}, off), "");
  EXPECT_EQ(off.coalesce, std::optional<bool>(true));
  EXPECT_EQ(off.bad_token_share, 0);
  EXPECT_EQ(off.alternate_port, kAlternatePortNone);
  PushOptions wrong;
  EXPECT_NE(parse({"push", "f", "--fallback-port", "0"}, wrong).find("'0' is not a port"), std::string::npos);
  EXPECT_NE(parse({"push", "f", "--bad-token-brake", "50"}, wrong).find("'50' is not a share"), std::string::npos);
  EXPECT_NE(parse({"push", "f", "--priority-class", "high"}, wrong).find("urgent, normal or bulk"), std::string::npos);
}

TEST(DeadTokens, FromOutcomesAndFromLists) {
  const std::string path = files().put("dead.ndjson",
      R"({"line":1,"id":1,"token":"ab01","outcome":"accepted","status":200,"attempts":1})" "\n"
      R"({"line":2,"id":2,"token":"AB02","outcome":"rejected","status":410,"reason":"Unregistered","unregistered_at_ms":1700000000123,"attempts":1})" "\n\n"
      R"({"token":"ab03","topic":"com.example","unregistered_at":"2027-01-15T08:00:00Z"})" "\n"
      R"({"token":"ab04","unregistered_at":1800000001})");
  auto read_all = read_dead_tokens(path);
  ASSERT_TRUE(read_all.ok()) << read_all.error().message;
  ASSERT_EQ(read_all->size(), 3u);
  EXPECT_EQ((*read_all)[0].token, "AB02");
  EXPECT_EQ((*read_all)[0].topic, "");
  EXPECT_EQ((*read_all)[0].unregistered_unix_ms, 1'700'000'000'123);
  EXPECT_EQ((*read_all)[1].topic, "com.example");
  EXPECT_EQ((*read_all)[1].unregistered_unix_ms, 1'800'000'000'000);
  EXPECT_EQ((*read_all)[2].unregistered_unix_ms, 1'800'000'001'000);
  const auto wrong = [](const char* text) { return read_dead_tokens(files().put("wrong.ndjson", text)).error().message; };
  EXPECT_NE(wrong("{}\nnot json\n").find("wrong.ndjson:2: line is not a JSON object"), std::string::npos);
  EXPECT_NE(wrong(R"({"unregistered_at":1800000000})").find("wrong.ndjson:1: "), std::string::npos);
  EXPECT_NE(wrong(R"({"token":"abc","unregistered_at":1800000000})").find("3 digits"), std::string::npos);
  EXPECT_NE(wrong(R"({"token":"ab","unregistered_at":"never"})").find("unregistered_at is not a time"), std::string::npos);
  EXPECT_NE(wrong(R"({"token":"ab","unregistered_at_ms":-1})").find("unregistered_at_ms is not"), std::string::npos);
  EXPECT_FALSE(read_dead_tokens("/nonexistent/dead.ndjson").ok());
}

// --- States.

EngineStats stats_of(std::size_t credentials) {
  EngineStats stats;
  stats.waiting = 1234;
  stats.credentials.resize(credentials);
  for (std::size_t i = 0; i < credentials; ++i) stats.credentials[i].name = "c" + std::to_string(i);
  return stats;
}

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNowNs = kNow * kSecond;

TEST(States, AnOutageIsSaidWhenItBeginsAndWhenItEnds) {
  StateWatch watch(false);
  EngineStats stats = stats_of(1);
  CredentialStats& c = stats.credentials[0];
  EXPECT_TRUE(watch.look(stats, kNowNs).lines.empty());
  c.unreachable_since_unix_ns = kNowNs;
  c.last_error = "connection refused.";
  EXPECT_TRUE(watch.look(stats, kNowNs + kSecond / 2).lines.empty()) << "one failed dial is no outage";
  const auto begins = watch.look(stats, kNowNs + 2 * kSecond).lines;
  ASSERT_EQ(begins.size(), 1u);
  EXPECT_TRUE(begins[0].starts_with("APNs unreachable since ")) << begins[0];
  EXPECT_TRUE(begins[0].ends_with(" (2 s): connection refused; 1,234 pushes wait")) << begins[0];
  EXPECT_TRUE(watch.look(stats, kNowNs + 40 * kSecond).lines.empty()) << "once";
  c.unreachable_since_unix_ns = 0;
  c.connections_open = 1;
  const auto ends = watch.look(stats, kNowNs + 43 * kSecond).lines;
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(ends[0], "APNs reachable again after 43 s; 1,234 pushes wait");
  EXPECT_TRUE(watch.look(stats, kNowNs + 44 * kSecond).lines.empty());
}

TEST(States, WhereAProgressLineLivesItSaysTheOutage) {
  StateWatch watch(true);
  EngineStats stats = stats_of(2);
  stats.credentials[1].unreachable_since_unix_ns = kNowNs;
  EXPECT_TRUE(watch.look(stats, kNowNs + 5 * kSecond).lines.empty());
  EXPECT_TRUE(unreachable_text(stats.credentials[1], 7, kNowNs, true).starts_with("c1: APNs unreachable since "));
}

TEST(States, ARefusedCredentialEndsTheRunOnlyIfNoOtherIsLeft) {
  StateWatch watch(false);
  EngineStats stats = stats_of(2);
  stats.credentials[0].stopped = true;
  stats.credentials[0].last_error = "APNs answered 403 BadCertificate. Renew it.";
  auto found = watch.look(stats, kNowNs);
  ASSERT_EQ(found.lines.size(), 1u);
  EXPECT_NE(found.lines[0].find("c0: APNs answered 403 BadCertificate. Renew it. Nothing more is sent"), std::string::npos)
      << found.lines[0];
  EXPECT_EQ(found.refused, "");
  stats.credentials[1].gave_up = true;
  found = watch.look(stats, kNowNs);
  EXPECT_TRUE(found.lines.empty()) << "said once";
  EXPECT_TRUE(found.given_up);
  stats.credentials[1].gave_up = false;
  stats.credentials[1].stopped = true;
  found = watch.look(stats, kNowNs);
  EXPECT_EQ(found.refused, "c0: APNs answered 403 BadCertificate. Renew it");
  EXPECT_FALSE(found.given_up);
}

TEST(States, AnAlarmIsABrake) {
  StateWatch watch(true);
  EngineStats stats = stats_of(2);
  stats.credentials[1].alarmed = true;
  stats.credentials[1].last_error = "150 of the last 200 answers were BadDeviceToken.";
  auto found = watch.look(stats, kNowNs);
  ASSERT_EQ(found.lines.size(), 1u);
  EXPECT_NE(found.lines[0].find("--bad-token-brake off"), std::string::npos);
  EXPECT_EQ(found.alarmed, "c1: 150 of the last 200 answers were BadDeviceToken");
  found = watch.look(stats, kNowNs);
  EXPECT_TRUE(found.lines.empty());
  EXPECT_FALSE(found.alarmed.empty());
}

TEST(States, InExitCodeAndSummary) {
  SummaryFacts facts;
  Outcome superseded;
  superseded.end = End::superseded;
  superseded.reason = Reason::newer_push;
  facts.tally.add(superseded);
  facts.end.submitted = 1;
  EXPECT_EQ(exit_of(facts.tally, facts.end), Exit::done) << "its place was taken; nothing is amiss";
  facts.end.refused = "c0: 403";
  EXPECT_EQ(exit_of(facts.tally, facts.end), Exit::bad_input);
  facts.end.brake = "c1: BadDeviceToken";
  EXPECT_EQ(exit_of(facts.tally, facts.end), Exit::refused);
  facts.end.gave_up = true;
  EXPECT_EQ(exit_of(facts.tally, facts.end), Exit::cannot_connect);
  facts.end.gave_up = false;
  facts.stats = stats_of(2);
  facts.stats.retries = 17;
  facts.stats.credentials[1].alarmed = true;
  facts.by_credential.resize(2);
  facts.by_credential[0][static_cast<std::size_t>(End::accepted)] = 4321;
  facts.by_credential[1][static_cast<std::size_t>(End::rejected)] = 9;
  const std::string text = summary_text(facts, Exit::refused, false);
  for (const char* part : {"c0", "4,321", "paused: BadDeviceToken", "by a brake, credential c1", "17 attempts", "superseded 1"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  const json j = json::parse(summary_json(facts, Exit::refused));
  EXPECT_EQ(j["credentials"][0]["accepted"], 4321);
  EXPECT_EQ(j["credentials"][1]["alarmed"], true);
  EXPECT_EQ(j["brake"], "c1: BadDeviceToken");
  EXPECT_EQ(j["retries"], 17);
}

}  // namespace
}  // namespace tocsin::cli
