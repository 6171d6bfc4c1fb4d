// SPDX-License-Identifier: Apache-2.0
// Units, outcomes, the summary, the made-up fleet, and that the documentation has the table of exit codes.
#include <gtest/gtest.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "base/hex.h"
#include "cli/exit_codes.h"
#include "cli/fleet_generate.h"
#include "cli/outputs.h"
#include "cli/pacer.h"
#include "cli/preflight.h"
#include "cli/progress.h"
#include "cli/push_metrics.h"
#include "cli/push_options.h"
#include "cli/rejects.h"
#include "cli/slots.h"
#include "cli/summary.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

using nlohmann::json;

TEST(Units, Durations) {
  EXPECT_EQ(*parse_duration_ms("250ms"), 250);
  EXPECT_EQ(*parse_duration_ms("10s"), 10'000);
  EXPECT_EQ(*parse_duration_ms("1.5m"), 90'000);
  EXPECT_EQ(*parse_duration_ms("2h"), 7'200'000);
  EXPECT_EQ(*parse_duration_ms("1d"), 86'400'000);
  EXPECT_EQ(*parse_duration_ms("0"), 0);
  for (const char* bad : {"", "10", "s", "-1s", "1 s", "1w", "9999d", "1.2.3s"})
    EXPECT_FALSE(parse_duration_ms(bad).ok()) << bad;
  EXPECT_NE(parse_duration_ms("ten").error().message.find("'ten'"), std::string::npos);
}

TEST(Units, CountsRatesCpus) {
  EXPECT_EQ(*parse_count("1_000_000"), 1'000'000u);
  EXPECT_EQ(*parse_count("1.5M"), 1'500'000u);
  EXPECT_EQ(*parse_count("10k"), 10'000u);
  for (const char* bad : {"", "x", "1.5", "-1", "1kk"}) EXPECT_FALSE(parse_count(bad).ok()) << bad;
  EXPECT_DOUBLE_EQ(*parse_rate("20k/s"), 20'000);
  EXPECT_DOUBLE_EQ(*parse_rate("600/m"), 10);
  EXPECT_DOUBLE_EQ(*parse_rate("5"), 5);
  for (const char* bad : {"", "0", "0/s", "5/", "5/y", "/s", "fast"}) EXPECT_FALSE(parse_rate(bad).ok()) << bad;
  EXPECT_EQ(*check_cpu_list("0,2,4-6"), "0,2,4,5,6");
  for (const char* bad : {"a", "3-1", "1,,2", "-1", "1-"}) EXPECT_FALSE(check_cpu_list(bad).ok()) << bad;
}

TEST(Units, Endpoints) {
  const auto at = [](const char* text) {
    auto e = parse_endpoint(text);
    return e.ok() ? e->host + " " + std::to_string(e->port) : std::string("wrong");
  };
  EXPECT_EQ(at("api.push.apple.com"), "api.push.apple.com 443");
  EXPECT_EQ(at("127.0.0.1:2197"), "127.0.0.1 2197");
  EXPECT_EQ(at("[::1]:2197"), "::1 2197");
  EXPECT_EQ(at("[::1]"), "::1 443");
  for (const char* bad : {"", ":443", "h:", "h:0", "h:70000", "h:x", "::1", "[::1", "[::1]x", "https://h:1", "h:1:2"})
    EXPECT_EQ(at(bad), "wrong") << bad;
}

TEST(Units, Expirations) {
  EXPECT_EQ(*parse_expiration("0", 1'800'000'000), 0);
  EXPECT_EQ(*parse_expiration("1900000000", 1'800'000'000), 1'900'000'000);
  EXPECT_EQ(*parse_expiration("3600s", 1'800'000'000), 1'800'003'600);
  EXPECT_EQ(*parse_expiration("+1d", 1'800'000'001), 1'800'086'460) << "rounded up to the minute";
  EXPECT_EQ(*parse_expiration("1s", 1'800'000'000) % kExpirationGridS, 0);
  EXPECT_NE(parse_expiration("3600", 1'800'000'000).error().message.find("3600s"), std::string::npos) << "with a hint";
  for (const char* bad : {"", "soon", "+", "-1d", "+0s"})
    EXPECT_FALSE(parse_expiration(bad, 1'800'000'000).ok()) << bad;
}

TEST(Units, TextsForPeople) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1'234'567), "1,234,567");
  EXPECT_EQ(format_seconds(200), "3 min 20 s");
  EXPECT_EQ(format_date(1'800'000'000), "2027-01-15");
  TimeText time;
  std::string text;
  time.append(1'800'000'000'123'456'789, text);
  EXPECT_EQ(text, "2027-01-15T08:00:00.123Z");
  time.append(1'800'000'000'999'999'999, text);
  EXPECT_EQ(text.substr(24), "2027-01-15T08:00:00.999Z");
  text.clear();
  append_json_string(std::string("a\"\\\n\t\x01\x7f é\xff\xc3", 12), text);
  EXPECT_EQ(json::parse(text).get<std::string>(), "a\"\\\n\t\x01\x7f é\ufffd\ufffd");
}

Outcome sample() {
  Outcome o;
  o.end = End::rejected;
  o.status = 410;
  o.reason = Reason::unregistered;
  o.apns_id = {1, 2, 3};
  o.unregistered_unix_ms = 1'700'000'000'000;
  o.submitted_unix_ns = 1'800'000'000'000'000'000;
  o.sent_unix_ns = o.submitted_unix_ns + 1'000'000;
  o.ended_unix_ns = o.sent_unix_ns + 812'345;
  o.attempts = 2;
  o.flags = kPossiblyDoubled;
  return o;
}

std::string line_of(const Outcome& outcome, std::string_view id) {
  TimeText time;
  std::string out;
  append_outcome(outcome, {17, "ab12", id}, time, out);
  EXPECT_TRUE(out.ends_with("}\n"));
  return out;
}

TEST(Outcomes, AreJsonWithAllThatIsKnown) {
  const json j = json::parse(line_of(sample(), "\"d\\u0031\""));
  EXPECT_EQ(j["id"], "d1");
  EXPECT_EQ(j["token"], "ab12");
  EXPECT_EQ(j["outcome"], "rejected");
  EXPECT_EQ(j["status"], 410);
  EXPECT_EQ(j["reason"], "Unregistered");
  EXPECT_EQ(j["apns_id"], "01020300-0000-0000-0000-000000000000");
  EXPECT_EQ(j["unregistered_at_ms"], 1'700'000'000'000);
  EXPECT_EQ(j["attempts"], 2);
  EXPECT_EQ(j["possibly_doubled"], true);
  EXPECT_EQ(j["latency_us"], 812);
  EXPECT_EQ(j["at"], "2027-01-15T08:00:00.001Z");
  EXPECT_EQ(json::parse(line_of(sample(), "815e1"))["id"], 815e1);
  EXPECT_EQ(json::parse(line_of(sample(), ""))["id"], 17) << "the line stands in for an absent id";
}

TEST(Outcomes, AcceptedIsShortAndForeignReasonsAreVerbatim) {
  Outcome o = sample();
  o.end = End::accepted;
  o.status = 200;
  o.reason = Reason::none;
  o.unregistered_unix_ms = 0;
  o.flags = 0;
  const json accepted = json::parse(line_of(o, "1"));
  EXPECT_FALSE(accepted.contains("reason"));
  EXPECT_FALSE(accepted.contains("unregistered_at_ms"));
  EXPECT_FALSE(accepted.contains("possibly_doubled"));
  const auto text = [](Outcome& to, std::string_view words) {
    to.reason_text_bytes = static_cast<std::uint8_t>(words.size());
    std::memcpy(to.reason_text, words.data(), words.size());
  };
  Outcome strange = sample();
  strange.reason = Reason::other;
  text(strange, "New\"Reason\n\xff");
  EXPECT_EQ(json::parse(line_of(strange, "1"))["reason"], "New\"Reason\n\ufffd");
  Outcome ours = sample();
  ours.end = End::failed;
  ours.status = 0;
  ours.sent_unix_ns = 0;
  ours.reason = Reason::cannot_connect;
  text(ours, "connection refused");
  const json failed = json::parse(line_of(ours, "1"));
  EXPECT_EQ(failed["reason"], "CannotConnect");
  EXPECT_EQ(failed["cause"], "connection refused");
  EXPECT_FALSE(failed.contains("status"));
  EXPECT_FALSE(failed.contains("latency_us"));
}

TEST(Rejects, FileAndPaths) {
  EXPECT_EQ(rejects_path_for("outcomes.ndjson"), "outcomes.rejects.ndjson");
  EXPECT_EQ(rejects_path_for("a.b/out"), "a.b/out.rejects.ndjson");
  EXPECT_EQ(rejects_path_for("-"), "tocsin-rejects.ndjson");
  EXPECT_EQ(rejects_path_for(""), "tocsin-rejects.ndjson");
  const std::string path = testing::TempDir() + "tocsin_rejects_" + std::to_string(getpid());
  testing::internal::CaptureStderr();
  {
    RejectLog log("devices.ndjson", path, false);
    const std::string input(2000, 'x');
    for (std::uint64_t line = 1; line <= 8; ++line)
      ASSERT_TRUE(log.add({line, "token", "token has 3 digits", input}).ok());
    ASSERT_TRUE(log.finish().ok());
    ASSERT_TRUE(log.finish().ok()) << "twice does no harm";
    EXPECT_EQ(log.count(), 8u);
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("devices.ndjson:1: token: has 3 digits\n"), std::string::npos) << said;
  EXPECT_EQ(said.find("devices.ndjson:6"), std::string::npos);
  EXPECT_NE(said.find("3 more such lines"), std::string::npos);
  std::ifstream file(path);
  std::string line;
  std::uint64_t lines = 0;
  while (std::getline(file, line)) {
    const json j = json::parse(line);
    EXPECT_EQ(j["line"], ++lines);
    EXPECT_EQ(j["field"], "token");
    EXPECT_EQ(j["input"].get<std::string>().size(), 512u);
  }
  EXPECT_EQ(lines, 8u);
  unlink(path.c_str());
}

TEST(Writer, SaysWhatTheDiskSays) {
  LineWriter full;
  ASSERT_TRUE(full.open("/dev/full", false).ok());
  full.buffer() += "x\n";
  const auto flushed = full.flush();
  ASSERT_FALSE(flushed.ok());
  EXPECT_NE(flushed.error().message.find("No space left"), std::string::npos);
  LineWriter nowhere;
  EXPECT_FALSE(nowhere.open("/nonexistent/out.ndjson", false).ok());
}

TEST(Slots, KeepTextsApartAndRefuseWhenFull) {
  Slots slots(3);
  const auto a = slots.take(1, "aa", "\"x\""), b = slots.take(2, "bbbb", ""), c = slots.take(3, "cc", "7");
  EXPECT_EQ(slots.take(4, "dd", ""), Slots::kNone);
  EXPECT_TRUE(slots.full());
  EXPECT_EQ(slots.token(a), "aa");
  EXPECT_EQ(slots.id(a), "\"x\"");
  EXPECT_EQ(slots.id(b), "");
  slots.give_back(b);
  const auto d = slots.take(5, "ee", "9");
  EXPECT_EQ(d, b);
  EXPECT_EQ(slots.token(d), "ee");
  EXPECT_EQ(slots.line(c), 3u);
  EXPECT_EQ(slots.in_use(), 3u);
}

TEST(Pacer, IsEvenAndKeepsFiftyMillisecondsAtMost) {
  Pacer pacer(1000);
  std::int64_t now = 1'000'000'000;
  std::uint64_t sent = 0;
  for (int ms = 0; ms < 1000; ++ms, now += 1'000'000) {
    const std::uint64_t n = pacer.allowed(now);
    EXPECT_LE(n, 2u);
    pacer.used(n);
    sent += n;
  }
  EXPECT_NEAR(static_cast<double>(sent), 1000, 2);
  EXPECT_EQ(pacer.allowed(now + 10'000'000'000), 50u) << "no burst after a pause";
  Pacer slow(2);
  EXPECT_EQ(slow.allowed(1), 1u);
  slow.used(1);
  EXPECT_EQ(slow.allowed(400'000'000), 0u);
  EXPECT_GE(slow.wait_ms(), 1);
  EXPECT_EQ(slow.allowed(510'000'000), 1u);
}

TEST(Summary, ExitCodes) {
  Tally tally;
  RunEnd end;
  EXPECT_EQ(exit_of(tally, end), Exit::done);
  Outcome accepted;
  accepted.end = End::accepted;
  accepted.status = 200;
  tally.add(accepted);
  end.submitted = 1;
  EXPECT_EQ(exit_of(tally, end), Exit::done);
  end.input_rejects = 1;
  EXPECT_EQ(exit_of(tally, end), Exit::partly);
  RunEnd nothing;
  nothing.input_rejects = 3;
  EXPECT_EQ(exit_of(Tally{}, nothing), Exit::bad_input) << "every line was wrong";
  tally.add(sample());
  end = RunEnd{};
  end.submitted = 2;
  EXPECT_EQ(exit_of(tally, end), Exit::partly);
  end.input_error = "cut off";
  EXPECT_EQ(exit_of(tally, end), Exit::bad_input);
  end.gave_up = true;
  EXPECT_EQ(exit_of(tally, end), Exit::cannot_connect);
  end.interrupted = true;
  EXPECT_EQ(exit_of(tally, end), Exit::cannot_connect) << "nothing is left to resume";
  end.resume_line = 3;
  EXPECT_EQ(exit_of(tally, end), Exit::interrupted);
  end.own_error = "disk full";
  EXPECT_EQ(exit_of(tally, end), Exit::failed);
}

TEST(Summary, SaysAllToPeopleAndMachines) {
  SummaryFacts facts;
  Outcome accepted = sample();
  accepted.end = End::accepted;
  accepted.status = 200;
  accepted.reason = Reason::none;
  accepted.flags = 0;
  facts.tally.add(accepted);
  facts.tally.add(sample());
  facts.end.submitted = 2;
  facts.end.input_rejects = 1;
  facts.end.resume_line = 5;
  facts.end.sent_behind_resume = 2;
  facts.end.interrupted = true;
  facts.stats.tls_crypto = "ipsec-mb (avx2)";
  facts.usage = {3000, 41.5};
  facts.seconds = 2;
  facts.input = "f.ndjson";
  facts.rejects = "o.rejects.ndjson";
  const std::string text = summary_text(facts, Exit::interrupted, false);
  for (const char* part :
       {"accepted   1 of 2 pushes", "rejected   1 by APNs", "Unregistered: ", "o.rejects.ndjson", "--from-line 5",
        "p99.9", "ipsec-mb (avx2)", "1500 ns of CPU a push", "Accepted by APNs is not yet seen by the device."}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << "no colours unless wanted";
  EXPECT_NE(summary_text(facts, Exit::interrupted, true).find("\x1b[32m"), std::string::npos);
  const std::string line = summary_json(facts, Exit::interrupted);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const json j = json::parse(line);
  EXPECT_EQ(j["submitted"], 2);
  EXPECT_EQ(j["accepted"], 1);
  EXPECT_EQ(j["rejected_by_reason"]["Unregistered"], 1);
  EXPECT_EQ(j["client_cpu_ns_per_push"], 1500);
  EXPECT_EQ(j["pushes_per_second"], 1);
  EXPECT_EQ(j["exit_code"], 130);
  EXPECT_EQ(j["resume_line"], 5);
}

TEST(Progress, SaysWhatMatters) {
  Tally tally;
  tally.add(sample());
  EngineStats stats;
  stats.in_flight = 1234;
  stats.attempts = 5000;
  ProgressFacts facts{&tally, &stats, 0.5, false};
  const std::string text = progress_text(facts, 95'012, 12);
  for (const char* part :
       {"sent 5,000", "rejected 1 (Unregistered 1)", "in flight 1,234", "95,012/s", "ETA 12 s", "p99"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << ": " << text;
  }
  CredentialStats lost;
  lost.unreachable_since_unix_ns = 1'800'000'000'000'000'000;
  lost.last_error = "connection refused";
  stats.credentials.push_back(lost);
  EXPECT_TRUE(progress_text(facts, 0, -1).starts_with("APNs unreachable since ")) << progress_text(facts, 0, -1);
}

TEST(Metrics, PageNamesEveryEndAndReason) {
  Tally tally;
  tally.add(sample());
  EngineStats stats;
  stats.submitted = 1;
  const std::string page = PushMetrics::page(stats, tally);
  for (const char* part :
       {"tocsin_pushes_submitted_total 1\n", "tocsin_push_outcomes_total{end=\"rejected\"} 1\n",
        "tocsin_push_rejections_total{reason=\"Unregistered\"} 1\n", "tocsin_push_latency_seconds_count 1\n"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
}

TEST(Options, ParseAndContradict) {
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
    return chosen ? std::string() : std::string("not chosen");
  };
  PushOptions o;
  EXPECT_EQ(parse({"push",          "f.csv",        "--cert",  "c",           "--key",    "k",
                   "--rate",        "20k/s",        "--cpus",  "1,3",         "--policy", "at-most-once",
                   "--endpoint",    "[::1]:2197",   "--grace", "3s",          "--limit",  "10k",
                   "--no-progress", "--expiration", "+1d",     "--log-level", "debug",  "--answer-timeout", "20s"},
                  o),
            "");
  EXPECT_EQ(o.rate, 20'000);
  EXPECT_EQ(o.cpus, (std::vector<int>{1, 3}));
  EXPECT_EQ(o.policy, Policy::at_most_once);
  EXPECT_EQ(o.endpoint.host, "::1");
  EXPECT_EQ(o.grace_ms, 3000);
  EXPECT_EQ(o.answer_timeout_ms, 20'000);
  EXPECT_EQ(o.limit, 10'000u);
  EXPECT_FALSE(o.progress);
  EXPECT_EQ(check_relations(o), "");
  PushOptions wrong;
  EXPECT_NE(parse({"push", "f", "--rate", "fast"}, wrong).find("'fast' is not a rate"), std::string::npos);
  EXPECT_NE(parse({"push", "f", "--expiration", "3600"}, wrong).find("3600s"), std::string::npos);
  EXPECT_NE(parse({"push"}, wrong), "");
  const auto relation = [](auto set) {
    PushOptions p;
    p.input = "f";
    p.cert = "c";
    set(p);
    return check_relations(p);
  };
  EXPECT_NE(relation([](PushOptions& p) { p.cert.clear(); }).find("--cert"), std::string::npos);
  EXPECT_NE(relation([](PushOptions& p) { p.p12 = "x"; }).find("--p12"), std::string::npos);
  EXPECT_NE(relation([](PushOptions& p) { p.sandbox = p.endpoint_given = true; }).find("--sandbox"), std::string::npos);
  EXPECT_NE(relation([](PushOptions& p) {
              p.strict = true;
              p.input = "-";
            }).find("--strict"),
            std::string::npos);
  for (const std::int64_t ms : {9, 3'600'001})
    EXPECT_NE(relation([ms](PushOptions& p) { p.answer_timeout_ms = ms; }).find("--answer-timeout"), std::string::npos);
  EXPECT_EQ(relation([](PushOptions& p) { p.answer_timeout_ms = 10; }), "");
  EXPECT_EQ(relation([](PushOptions&) {}), "");
}

TEST(Options, AppPayload) {
  PushOptions o;
  o.alert = "Back at \"9\"";
  EXPECT_EQ(json::parse(app_payload(o)), (json{{"aps", {{"alert", "Back at \"9\""}}}}));
  o.title = "T";
  o.badge = 0;
  o.sound = "default";
  EXPECT_EQ(
      json::parse(app_payload(o)),
      (json{{"aps", {{"alert", {{"title", "T"}, {"body", "Back at \"9\""}}}, {"badge", 0}, {"sound", "default"}}}}));
  o.title = "bad \xff";
  EXPECT_TRUE(json::accept(app_payload(o)));
}

TEST(Preflight, TopicAgainstCertificate) {
  tls::CertificateFacts facts;
  EXPECT_EQ(topic_refusal(facts, PushType::alert, "com.example"), "") << "nothing to compare with";
  facts.uid = "com.example";
  EXPECT_EQ(topic_refusal(facts, PushType::alert, "com.example"), "");
  EXPECT_EQ(topic_refusal(facts, PushType::voip, "com.example.voip"), "");
  EXPECT_NE(topic_refusal(facts, PushType::alert, "com.other"), "");
  facts.topics = {"com.example", "com.example.voip"};
  EXPECT_EQ(topic_refusal(facts, PushType::voip, "com.example.voip"), "");
  EXPECT_NE(topic_refusal(facts, PushType::complication, "com.example.complication"), "")
      << "the certificate lists its topics";
}

TEST(Preflight, ErrorsNameTheFile) {
  PushOptions o;
  o.endpoint_given = true;
  o.cert = "/nonexistent/push.pem";
  auto missing = run_preflight(o, 1'800'000'000);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("/nonexistent/push.pem: cannot be opened"), std::string::npos);
  o.cert.clear();
  auto none = run_preflight(o, 1'800'000'000);
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->warnings.empty());
  o.ca = "/dev/null";
  EXPECT_NE(run_preflight(o, 1'800'000'000).error().message.find("is empty"), std::string::npos);
}

std::string fleet(FleetOptions options, std::string& dead) {
  FleetGenerator generator(options);
  std::string out;
  generator.append_header(out);
  while (!generator.done()) generator.append_next(out, dead);
  return out;
}

TEST(Fleet, SameSeedSameDevicesAndTheyAreRealistic) {
  std::string dead, dead_again, none;
  const std::string a = fleet({2000, 7, 0.1, "", Format::ndjson}, dead);
  EXPECT_EQ(a, fleet({2000, 7, 0.1, "", Format::ndjson}, dead_again));
  EXPECT_EQ(dead, dead_again);
  EXPECT_NE(a, fleet({2000, 8, 0.1, "", Format::ndjson}, none));
  EXPECT_EQ(a, fleet({2000, 7, 0, "", Format::ndjson}, none = "")) << "who is dead does not change the devices";
  EXPECT_EQ(none, "");
  std::set<std::string> tokens, ids;
  std::size_t from = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::size_t end = a.find('\n', from);
    const json j = json::parse(a.substr(from, end - from));
    from = end + 1;
    EXPECT_EQ(j["token"].get<std::string>().size(), 64u);
    EXPECT_EQ(base::hex_first_bad(j["token"].get<std::string>()), std::string::npos);
    Uuid magic;
    EXPECT_TRUE(base::uuid_parse(j["magic"].get<std::string>(), magic));
    EXPECT_EQ(j["magic"].get<std::string>().find_first_of("abcdef"), std::string::npos) << "upper case";
    EXPECT_TRUE(j["topic"].get<std::string>().starts_with("com.apple.mgmt.External."));
    tokens.insert(j["token"]);
    ids.insert(j["id"]);
  }
  EXPECT_EQ(from, a.size());
  EXPECT_EQ(tokens.size(), 2000u);
  EXPECT_EQ(ids.size(), 2000u);
  const auto dead_count = std::count(dead.begin(), dead.end(), '\n');
  EXPECT_NEAR(static_cast<double>(dead_count), 200, 60);
  EXPECT_TRUE(tokens.contains(dead.substr(0, 64)));
  EXPECT_EQ(dead[64], ',');
}

TEST(Fleet, CsvHasTheSameDevices) {
  std::string dead;
  const std::string csv = fleet({3, 7, 0, "com.apple.mgmt.x", Format::csv}, dead);
  const std::string ndjson = fleet({3, 7, 0, "com.apple.mgmt.x", Format::ndjson}, dead);
  EXPECT_TRUE(csv.starts_with("id,topic,magic,token\n"));
  const json j = json::parse(ndjson.substr(0, ndjson.find('\n')));
  const std::string row = j["id"].get<std::string>() + ",com.apple.mgmt.x," + j["magic"].get<std::string>() + "," +
                          j["token"].get<std::string>() + "\n";
  EXPECT_NE(csv.find(row), std::string::npos);
}

TEST(ExitCodes, TheTableStandsInTheDocumentation) {
  std::ifstream file(std::string(TOCSIN_SOURCE_DIR) + "/docs/cli.md");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  ASSERT_FALSE(text.empty());
  int last = -1;
  for (const ExitCodeEntry& entry : kExitCodes) {
    const int code = exit_number(entry.code);
    EXPECT_GT(code, last);
    last = code;
    const std::string row = "| " + std::to_string(code) + " | " + entry.name + " | " + entry.meaning + " |\n";
    EXPECT_NE(text.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace tocsin::cli
