// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tocsin/options.h>
#include <tocsin/push.h>
#include <tocsin/result.h>

#include "apns/answer.h"
#include "apns/reasons.h"
#include "apns/request.h"
#include "base/hex.h"
#include "base/prng.h"

namespace tocsin::apns {
namespace {

constexpr std::string_view kId = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

struct Row {
  int number;
  int status;
  const char* name;
  Retry retry = Retry::never;
  Scope scope = Scope::push;
};

// Written out a second time, from Apple's table and push.h's stable numbers: a slip in one of them shows.
constexpr Row kRows[] = {
    {2, 400, "BadCollapseId"}, {3, 400, "BadDeviceToken", Retry::never, Scope::token}, {4, 400, "BadExpirationDate"},
    {5, 400, "BadMessageId"}, {6, 400, "BadPriority"}, {7, 400, "BadTopic"},
    {8, 400, "DeviceTokenNotForTopic", Retry::never, Scope::token}, {9, 400, "DuplicateHeaders"},
    {10, 400, "IdleTimeout", Retry::elsewhere, Scope::connection}, {11, 400, "InvalidPushType"},
    {12, 400, "MissingDeviceToken"}, {13, 400, "MissingTopic"}, {14, 400, "PayloadEmpty"},
    {15, 400, "TopicDisallowed"}, {16, 403, "BadCertificate", Retry::never, Scope::credential},
    {17, 403, "BadCertificateEnvironment", Retry::never, Scope::credential},
    {18, 403, "ExpiredProviderToken", Retry::new_token, Scope::connection},
    {19, 403, "Forbidden", Retry::never, Scope::credential},
    {20, 403, "InvalidProviderToken", Retry::never, Scope::credential},
    {21, 403, "MissingProviderToken", Retry::never, Scope::credential},
    {22, 403, "UnrelatedKeyIdInToken", Retry::rebind, Scope::connection},
    {23, 403, "BadEnvironmentKeyIdInToken", Retry::never, Scope::credential}, {24, 404, "BadPath"},
    {25, 405, "MethodNotAllowed"}, {26, 410, "ExpiredToken", Retry::never, Scope::token},
    {27, 410, "Unregistered", Retry::never, Scope::token}, {28, 413, "PayloadTooLarge"},
    {29, 429, "TooManyProviderTokenUpdates", Retry::keep_token, Scope::credential},
    {30, 429, "TooManyRequests", Retry::token, Scope::token},
    {31, 500, "InternalServerError", Retry::later, Scope::connection},
    {32, 503, "ServiceUnavailable", Retry::later, Scope::push},
    {33, 503, "Shutdown", Retry::elsewhere, Scope::connection},
};

TEST(Reasons, TableIsApplesTable) {
  ASSERT_EQ(reason_table().size(), std::size(kRows));
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    const Row& row = kRows[i];
    const auto reason = static_cast<Reason>(row.number);
    const ReasonEntry* entry = find_reason(reason);
    ASSERT_EQ(entry, &reason_table()[i]) << row.name;
    EXPECT_EQ(entry->reason, reason);
    EXPECT_EQ(entry->status, row.status) << row.name;
    EXPECT_STREQ(entry->name, row.name);
    EXPECT_STREQ(reason_name(reason), row.name);
    EXPECT_EQ(reason_from_text(row.name), reason);
    EXPECT_LE(std::string_view(row.name).size(), kReasonTextBytes);
    EXPECT_TRUE(std::string_view(entry->advice).ends_with('.')) << row.name;
    EXPECT_GT(std::string_view(entry->advice).size(), 20u) << row.name;
    EXPECT_EQ(entry->retry, row.retry) << row.name;
    EXPECT_EQ(entry->scope, row.scope) << row.name;
  }
}

TEST(Reasons, AKnownReasonDecidesWhateverItsStatus) {
  for (const ReasonEntry& entry : reason_table()) {
    for (const int status : {0, 200, 400, 403, 410, 429, 500, 503, 999}) {
      const Rule rule = rule_for(static_cast<std::uint16_t>(status), entry.reason);
      EXPECT_EQ(rule.retry, entry.retry) << entry.name << " " << status;
      EXPECT_EQ(rule.scope, entry.scope) << entry.name << " " << status;
      EXPECT_STREQ(rule.advice, entry.advice);
    }
    // A replaced connection is one that the answer spoke about.
    if (entry.retry == Retry::elsewhere || entry.retry == Retry::new_token || entry.retry == Retry::rebind) {
      EXPECT_EQ(entry.scope, Scope::connection) << entry.name;
    }
    if (entry.status == 410) {
      EXPECT_EQ(entry.scope, Scope::token) << entry.name;
    }
  }
}

TEST(Reasons, EveryStatusHasARuleAndNoneUnknownStopsACredential) {
  const Reason unknown[] = {Reason::none, Reason::other, Reason::cannot_connect, Reason::credential_stopped,
                            static_cast<Reason>(999)};
  for (std::uint32_t status = 0; status <= 65535; ++status) {
    for (const Reason reason : unknown) {
      const Rule rule = rule_for(static_cast<std::uint16_t>(status), reason);
      const bool server_error = status >= 500 && status <= 599;
      ASSERT_EQ(rule.retry, server_error ? Retry::later : status == 429 ? Retry::token : Retry::never) << status;
      ASSERT_EQ(rule.scope, status == 410 || status == 429 ? Scope::token : Scope::push) << status;
      ASSERT_TRUE(std::string_view(rule.advice).ends_with('.')) << status;
      ASSERT_EQ(slows_down(static_cast<std::uint16_t>(status), reason), status >= 400 && status <= 499 && status != 410)
          << status;
    }
  }
  EXPECT_NE(std::string_view(rule_for(403, Reason::other).advice), rule_for(400, Reason::other).advice);
}

TEST(Reasons, WhatSlowsAConnectionDown) {
  for (const ReasonEntry& entry : reason_table()) {
    EXPECT_EQ(slows_down(entry.status, entry.reason), entry.status < 500 && entry.status != 410) << entry.name;
  }
  EXPECT_FALSE(slows_down(400, Reason::unregistered));
  EXPECT_FALSE(slows_down(400, Reason::expired_token));
}

TEST(Reasons, NumbersOutsideTheTable) {
  for (const int number : {0, 1, 34, 999, 1000, 1005, 1011, 65535}) EXPECT_EQ(find_reason(static_cast<Reason>(number)), nullptr);
  EXPECT_STREQ(reason_name(Reason::none), "");
  EXPECT_STREQ(reason_name(Reason::other), "Other");
  EXPECT_STREQ(reason_name(Reason::cannot_connect), "CannotConnect");
  EXPECT_STREQ(reason_name(Reason::connection_lost), "ConnectionLost");
  EXPECT_STREQ(reason_name(Reason::refused_by_peer), "RefusedByPeer");
  EXPECT_STREQ(reason_name(Reason::stream_reset), "StreamReset");
  EXPECT_STREQ(reason_name(Reason::engine_stopped), "EngineStopped");
  EXPECT_STREQ(reason_name(Reason::bad_answer), "BadAnswer");
  const char* ours[] = {"DeadlinePassed", "TokenKnownDead", "CancelledByCaller", "NewerPush", "CredentialStopped",
                        "CredentialRemoved"};
  for (std::size_t i = 0; i < std::size(ours); ++i) EXPECT_STREQ(reason_name(static_cast<Reason>(1006 + i)), ours[i]);
  EXPECT_EQ(static_cast<int>(Reason::deadline_passed), 1006);
  EXPECT_EQ(static_cast<int>(Reason::credential_removed), 1011);
  EXPECT_STREQ(reason_name(static_cast<Reason>(1012)), "?");
  EXPECT_STREQ(reason_name(static_cast<Reason>(500)), "?");
  EXPECT_EQ(reason_from_text(""), Reason::none);
  for (const char* text : {"badDeviceToken", "BadDeviceToken ", "BadDeviceToke", "CannotConnect", "Other", "x"}) {
    EXPECT_EQ(reason_from_text(text), Reason::other) << text;
  }
}

// The rows of the page's table under this heading.
std::vector<std::string> page_rows(const std::string& heading) {
  std::ifstream file(std::string(TOCSIN_SOURCE_DIR) + "/docs/reasons.md");
  std::vector<std::string> rows;
  std::string line;
  while (std::getline(file, line) && line != "## " + heading) {
  }
  while (std::getline(file, line) && !line.starts_with("## ")) {
    if (line.starts_with("| ")) rows.push_back(line);
  }
  if (!rows.empty()) rows.erase(rows.begin());  // the head
  return rows;
}

TEST(Reasons, ThePageIsTheTable) {
  const std::vector<std::string> rows = page_rows("Reasons that APNs documents");
  ASSERT_EQ(rows.size(), reason_table().size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const ReasonEntry& entry = reason_table()[i];
    EXPECT_EQ(rows[i], "| " + std::to_string(entry.status) + " | " + entry.name + " | " + retry_name(entry.retry) + " | " +
                           scope_name(entry.scope) + " | " + entry.advice + " |");
  }

  const std::pair<const char*, int> statuses[] = {{"4xx", 400}, {"403", 403}, {"410", 410}, {"429", 429}, {"5xx", 502}, {"other", 302}};
  const std::vector<std::string> unknown = page_rows("Reasons that this version does not know");
  ASSERT_EQ(unknown.size(), std::size(statuses));
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    const Rule rule = rule_for(static_cast<std::uint16_t>(statuses[i].second), Reason::other);
    EXPECT_EQ(unknown[i], std::string("| ") + statuses[i].first + " | " + retry_name(rule.retry) + " | " + scope_name(rule.scope) +
                              " | " + rule.advice + " |");
  }

  // Every cause on this side that has a name, and no other.
  const std::vector<std::string> own = page_rows("Causes on this side");
  std::size_t next = 0;
  for (int number = 1000; number < 2000; ++number) {
    const std::string name = reason_name(static_cast<Reason>(number));
    if (name == "?") continue;
    ASSERT_LT(next, own.size()) << name;
    EXPECT_TRUE(own[next].starts_with("| " + name + " | " + std::to_string(number) + " | ")) << own[next];
    ++next;
  }
  EXPECT_EQ(next, own.size());
}

TEST(Names, EndsPushTypesAndCodes) {
  const char* retries[] = {"never", "elsewhere", "later", "token", "new_token", "keep_token", "rebind", "?"};
  for (std::size_t i = 0; i < std::size(retries); ++i) EXPECT_STREQ(retry_name(static_cast<Retry>(i)), retries[i]);
  const char* scopes[] = {"push", "token", "connection", "credential", "?"};
  for (std::size_t i = 0; i < std::size(scopes); ++i) EXPECT_STREQ(scope_name(static_cast<Scope>(i)), scopes[i]);

  const char* ends[] = {"accepted", "rejected", "expired", "cancelled", "superseded", "failed", "unknown", "returned"};
  for (std::size_t i = 0; i < kEnds; ++i) EXPECT_STREQ(end_name(static_cast<End>(i + 1)), ends[i]);
  EXPECT_STREQ(end_name(static_cast<End>(0)), "?");
  EXPECT_STREQ(end_name(static_cast<End>(9)), "?");

  const char* types[] = {"alert", "background", "voip", "complication", "fileprovider", "location",
                         "liveactivity", "pushtotalk", "widgets", "controls", "mdm"};
  ASSERT_EQ(std::size(types), kPushTypes);
  for (std::size_t i = 0; i < kPushTypes; ++i) {
    PushType type{};
    EXPECT_STREQ(push_type_name(static_cast<PushType>(i)), types[i]);
    ASSERT_TRUE(push_type_from_name(types[i], type));
    EXPECT_EQ(type, static_cast<PushType>(i));
  }
  PushType type = PushType::voip;
  for (const char* name : {"", "MDM", "mdm ", "?", "alerts"}) EXPECT_FALSE(push_type_from_name(name, type)) << name;
  EXPECT_EQ(type, PushType::voip);
  EXPECT_STREQ(push_type_name(static_cast<PushType>(99)), "?");

  std::set<std::string> codes;
  for (int i = 0; i <= 15; ++i) codes.insert(code_name(static_cast<Code>(i)));
  EXPECT_EQ(codes.size(), 16u);
  EXPECT_EQ(codes.count("?"), 0u);
  EXPECT_STREQ(code_name(Code::unsupported_p12), "unsupported_p12");
  EXPECT_STREQ(code_name(static_cast<Code>(99)), "?");
}

// ---- answers ----

struct Read {
  char scratch[256];
  Verdict verdict;
  explicit Read(unsigned status, std::string_view body, std::string_view id = kId)
      : verdict(read_answer(status, id, body, scratch, sizeof scratch)) {}
};

TEST(Answer, OnlyStatus200IsAccepted) {
  const Read accepted(200, "");
  EXPECT_EQ(accepted.verdict.end, End::accepted);
  EXPECT_EQ(accepted.verdict.reason, Reason::none);
  ASSERT_TRUE(accepted.verdict.has_apns_id);
  EXPECT_EQ(base::uuid_format(accepted.verdict.apns_id), kId);
  EXPECT_EQ(Read(200, R"({"reason":"Unregistered"})").verdict.end, End::accepted);
  EXPECT_EQ(Read(200, R"({"reason":"Unregistered"})").verdict.reason, Reason::none);
  for (const unsigned status : {0u, 100u, 199u, 201u, 204u, 299u, 301u, 400u, 410u, 500u, 999u}) {
    EXPECT_EQ(Read(status, "").verdict.end, End::rejected) << status;
    EXPECT_EQ(Read(status, "").verdict.reason, Reason::none) << status;
  }
}

TEST(Answer, ApnsIdIsOptionalAndChecked) {
  for (const char* id : {"", "x", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1fg"}) {
    EXPECT_FALSE(Read(200, "", id).verdict.has_apns_id) << id;
    EXPECT_EQ(Read(200, "", id).verdict.apns_id, Uuid{}) << id;
  }
}

TEST(Answer, EveryReasonInItsUsualSpelling) {
  for (const ReasonEntry& entry : reason_table()) {
    const std::string body = std::string(R"({"reason":")") + entry.name + "\"}";
    const Read read(entry.status, body);
    EXPECT_EQ(read.verdict.reason, entry.reason) << body;
    EXPECT_TRUE(read.verdict.reason_text.empty());
    EXPECT_EQ(read.verdict.unregistered_unix_ms, 0);
  }
}

TEST(Answer, BodiesAreReadLeniently) {
  struct Case {
    const char* body;
    Reason reason;
    std::string_view text;
    std::int64_t timestamp;
  };
  const Case cases[] = {
      {R"({"reason":"Unregistered","timestamp":1700000000123})", Reason::unregistered, "", 1700000000123},
      {R"({"timestamp":1700000000123,"reason":"Unregistered"})", Reason::unregistered, "", 1700000000123},
      {" {\n \"reason\" : \"ExpiredToken\" ,\r\n\t\"timestamp\" : 5 } \n", Reason::expired_token, "", 5},
      {R"({"reason":"Unregistered","timestamp":1700000000123.0})", Reason::unregistered, "", 1700000000123},
      {R"({"reason":"Unregistered","timestamp":"soon"})", Reason::unregistered, "", 0},
      {R"({"reason":"Unregistered","timestamp":-5})", Reason::unregistered, "", 0},
      {R"({"reason":"Unregistered","timestamp":18446744073709551615})", Reason::unregistered, "", 0},
      {R"({"reason":"Unregistered","timestamp":null,"more":{"a":[1,2]}})", Reason::unregistered, "", 0},
      {R"({"more":"x","reason":"BadTopic"})", Reason::bad_topic, "", 0},
      {R"({"reason":"Bad\u0054opic"})", Reason::bad_topic, "", 0},
      {R"({"reason":"NewReason2027"})", Reason::other, "NewReason2027", 0},
      {R"({"reason":"New","timestamp":7})", Reason::other, "New", 7},
      {R"({"reason":"a\"b\\c\u00e9"})", Reason::other, "a\"b\\c\xc3\xa9", 0},
      {R"({"reason":""})", Reason::none, "", 0},
      {R"({})", Reason::other, "{}", 0},
      {R"({"reason":7})", Reason::other, R"({"reason":7})", 0},
      {R"(["reason"])", Reason::other, R"(["reason"])", 0},
      {R"({"reason":"Unregistered","timestamp":17)", Reason::other, R"({"reason":"Unregistered","timestamp":17)", 0},
      {R"({"reason":"Unregistered"}x)", Reason::other, R"({"reason":"Unregistered"}x)", 0},
      {R"({"reason":"Unregistered","timestamp":01})", Reason::other, R"({"reason":"Unregistered","timestamp":01})", 0},
      {"<html>\r\n502\x01\xff</html>", Reason::other, "<html>?" "?502?" "?</html>", 0},
      {" ", Reason::other, " ", 0},
  };
  for (const Case& c : cases) {
    const Read read(410, c.body);
    EXPECT_EQ(read.verdict.end, End::rejected) << c.body;
    EXPECT_EQ(read.verdict.reason, c.reason) << c.body;
    EXPECT_EQ(read.verdict.reason_text, c.text) << c.body;
    EXPECT_EQ(read.verdict.unregistered_unix_ms, c.timestamp) << c.body;
  }
  // Only 410 speaks of a time.
  EXPECT_EQ(Read(400, R"({"reason":"BadTopic","timestamp":1700000000123})").verdict.unregistered_unix_ms, 0);
}

TEST(Answer, LongTextsAreCutToTheScratch) {
  const Read raw(502, std::string(100'000, 'x'));
  EXPECT_EQ(raw.verdict.reason_text, std::string(256, 'x'));
  std::string body = R"({ "reason":"a)";
  for (int i = 0; i < 300; ++i) body += "\xc3\xa9";  // two bytes each
  body += "\"}";
  const Read cut(400, body);
  EXPECT_EQ(cut.verdict.reason, Reason::other);
  EXPECT_EQ(cut.verdict.reason_text.size(), 255u);  // "a" and 127 whole characters
}

TEST(Answer, RandomBodiesNeverBreakIt) {
  base::Prng prng(7);
  const std::string_view seeds[] = {R"({"reason":"Unregistered","timestamp":1700000000123})", R"({ "reason" : "Bad\u0054opic" })",
                                    R"({"a":[1,{"b":null}],"reason":"X"})"};
  int known = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string body;
    if (prng.chance(0.2)) {
      body.resize(prng.below(80));
      for (char& c : body) c = static_cast<char>(prng.next());
    } else {
      body = seeds[prng.below(std::size(seeds))];
      for (std::uint64_t edits = prng.below(4); edits != 0 && !body.empty(); --edits) {
        const std::size_t at = prng.below(body.size());
        switch (prng.below(3)) {
          case 0: body[at] = static_cast<char>(prng.next()); break;
          case 1: body.erase(at, 1 + prng.below(5)); break;
          default: body.insert(at, 1, "{}[]\":,\\0 "[prng.below(10)]); break;
        }
      }
    }
    // Exactly sized memory, so that a read beyond the body is seen.
    const std::vector<char> exact(body.begin(), body.end());
    char scratch[256];
    const Verdict verdict = read_answer(410, kId, {exact.data(), exact.size()}, scratch, sizeof scratch);
    EXPECT_EQ(verdict.end, End::rejected);
    EXPECT_LE(verdict.reason_text.size(), 256u);
    EXPECT_EQ(verdict.reason == Reason::other, !verdict.reason_text.empty());
    EXPECT_GE(verdict.unregistered_unix_ms, 0);
    known += verdict.reason == Reason::unregistered || verdict.reason == Reason::bad_topic;
  }
  EXPECT_GT(known, 2000);
}

// ---- requests ----

TEST(Checks, Token) {
  EXPECT_FALSE(check_token(std::string(64, 'a')));
  EXPECT_FALSE(check_token("aF"));
  EXPECT_FALSE(check_token(std::string(kTokenHexDigitsMax, '0')));
  const std::pair<std::string, Reason> bad[] = {
      {"", Reason::missing_device_token},
      {"a", Reason::bad_device_token},
      {std::string(63, 'a'), Reason::bad_device_token},
      {std::string(kTokenHexDigitsMax + 2, 'a'), Reason::bad_device_token},
      {std::string(62, 'a') + "g0", Reason::bad_device_token},
      {std::string("<").append(62, 'a').append(">"), Reason::bad_device_token},
      {"aa aa ", Reason::bad_device_token},
  };
  for (const auto& [token, reason] : bad) {
    const Refusal refusal = check_token(token);
    EXPECT_EQ(refusal.reason, reason) << token;
    EXPECT_STREQ(refusal.field, "token");
    EXPECT_TRUE(refusal.text.starts_with("token "));
    EXPECT_EQ(refusal.text.find("aaaaaaaaa"), std::string::npos) << "a token must not be printed";
  }
  EXPECT_NE(check_token(std::string(63, 'a')).text.find("63 digits"), std::string::npos);
  EXPECT_NE(check_token(std::string(62, 'a') + "g0").text.find("position 63"), std::string::npos);
}

TEST(Checks, TopicAgainstEveryPushType) {
  for (std::size_t i = 0; i < kPushTypes; ++i) {
    const auto type = static_cast<PushType>(i);
    const std::string suffix(topic_suffix(type));
    const std::string good = type == PushType::mdm ? "com.apple.mgmt.External.0a1b" : "com.example.app" + suffix;
    EXPECT_FALSE(check_topic(type, good)) << push_type_name(type);
    EXPECT_EQ(check_topic(type, "").reason, Reason::missing_topic);
    EXPECT_EQ(check_topic(type, std::string(257, 'a')).reason, Reason::bad_topic);
    EXPECT_EQ(check_topic(type, "com.example.app\n" + suffix).reason, Reason::bad_topic);
    EXPECT_EQ(check_topic(type, "com.ex\xc3\xa4mple" + suffix).reason, Reason::bad_topic);
    if (!suffix.empty()) {
      EXPECT_EQ(check_topic(type, "com.example.app").reason, Reason::device_token_not_for_topic);
      EXPECT_EQ(check_topic(type, suffix).reason, Reason::device_token_not_for_topic);
      EXPECT_NE(check_topic(type, "com.example.app").text.find(suffix), std::string::npos);
    }
  }
  EXPECT_EQ(check_topic(PushType::mdm, "com.example.app").reason, Reason::device_token_not_for_topic);
  EXPECT_EQ(check_topic(PushType::mdm, "com.apple.mgmt.").reason, Reason::device_token_not_for_topic);
}

struct TypeRow {
  PushType type;
  const char* topic;        // a good one
  std::size_t bytes_max;
  bool priority_10;         // 5 and 1: see below
  bool certificate, token;  // which credential may send it
};

// Apple, "Sending notification requests to APNs", one row a push type.
TEST(Checks, EveryPushTypeByApplesRules) {
  using enum PushType;
  const TypeRow rows[] = {
      {alert, "com.example.app", 4096, true, true, true},
      {background, "com.example.app", 4096, false, true, true},
      {voip, "com.example.app.voip", 5120, true, true, true},
      {complication, "com.example.app.complication", 4096, true, true, true},
      {fileprovider, "com.example.app.pushkit.fileprovider", 4096, true, true, true},
      {location, "com.example.app.location-query", 4096, true, false, true},
      {liveactivity, "com.example.app.push-type.liveactivity", 4096, true, true, true},
      {pushtotalk, "com.example.app.voip-ptt", 4096, true, true, true},
      {widgets, "com.example.app.push-type.widgets", 4096, true, true, true},
      {controls, "com.example.app.push-type.controls", 4096, true, true, true},
      {mdm, "com.apple.mgmt.External.0a1b", 4096, true, true, false},
  };
  ASSERT_EQ(std::size(rows), kPushTypes);
  for (const TypeRow& row : rows) {
    const char* name = push_type_name(row.type);
    EXPECT_EQ(payload_bytes_max(row.type), row.bytes_max) << name;
    EXPECT_EQ(check_priority(row.type, 10).reason, row.priority_10 ? Reason::none : Reason::bad_priority) << name;
    EXPECT_EQ(check_priority(row.type, 5).reason, Reason::none) << name;
    EXPECT_EQ(check_credential(row.type, false).reason, row.certificate ? Reason::none : Reason::topic_disallowed) << name;
    EXPECT_EQ(check_credential(row.type, true).reason, row.token ? Reason::none : Reason::topic_disallowed) << name;
    // A topic is good for its own push type, and for another only where both have the same suffix (none).
    for (const TypeRow& other : rows) {
      const bool fits = topic_suffix(row.type).empty() && row.type != mdm ? true : row.type == other.type;
      EXPECT_EQ(check_topic(row.type, other.topic).reason, fits ? Reason::none : Reason::device_token_not_for_topic)
          << name << " with " << other.topic;
    }
  }
  EXPECT_STREQ(check_credential(location, false).field, "credential");
  EXPECT_NE(check_credential(location, false).text.find(".p8"), std::string::npos);
  EXPECT_NE(check_credential(mdm, true).text.find("certificate"), std::string::npos);
}

TEST(Checks, PriorityCollapseIdAndPart) {
  for (unsigned priority = 0; priority <= 300; ++priority) {
    const bool known = priority == 1 || priority == 5 || priority == 10;
    EXPECT_EQ(check_priority(PushType::alert, priority).reason, known ? Reason::none : Reason::bad_priority);
    EXPECT_EQ(check_priority(PushType::background, priority).reason, priority == 5 ? Reason::none : Reason::bad_priority);
  }
  EXPECT_FALSE(check_collapse_id(std::string(64, 'x')));
  EXPECT_FALSE(check_collapse_id("two words"));
  for (const std::string& id : {std::string(), std::string(65, 'x'), std::string("a\nb"), std::string(" a"), std::string("a\0b", 3)}) {
    EXPECT_EQ(check_collapse_id(id).reason, Reason::bad_collapse_id);
  }
  EXPECT_FALSE(check_part("9A3C-plain"));
  EXPECT_FALSE(check_part("\xe2\x82\xac"));
  EXPECT_FALSE(check_part(std::string(kPartBytesMax, 'x')));
  for (const std::string& part : {std::string(), std::string(kPartBytesMax + 1, 'x'), std::string("\xff"), std::string("\xe2\x82")}) {
    EXPECT_TRUE(check_part(part));
    EXPECT_STREQ(check_part(part).field, "part");
  }
}

struct PayloadCase {
  PushType type;
  std::string json;
  Reason reason;
};

std::vector<PayloadCase> payload_cases() {
  using enum PushType;
  const Reason ok = Reason::none, json = Reason::other, type = Reason::invalid_push_type;
  std::vector<PayloadCase> cases = {
      {mdm, R"({"mdm":"3A9F-11"})", ok},
      {mdm, R"({ "mdm" : "x" } )", ok},
      {mdm, R"({"mdm":"a\"b\\\u00e9"})", ok},
      {mdm, "{\"mdm\":\"\xc3\xa9\"}", ok},
      {mdm, "{\"mdm\":\"\xc3\"}", json},
      {mdm, "{\"mdm\":\"a\nb\"}", json},
      {mdm, R"({"mdm":"a"b"})", json},
      {mdm, R"({"mdm":"a\"})", json},
      {mdm, R"({"mdm":""})", type},
      {mdm, R"({"mdm":7})", type},
      {mdm, R"({"mdm":"x","aps":{}})", type},
      {mdm, R"({"mdm":"x","mdm":"y"})", type},
      {mdm, R"({"aps":{}})", type},
      {mdm, R"({})", type},
      {alert, R"({"aps":{"alert":"hi","badge":3,"sound":"default"},"own":1})", ok},
      {alert, R"({"aps":{"alert":{"title":"a"},"sound":{"critical":1}}})", ok},
      {alert, R"({"aps":{}})", ok},
      {alert, R"({"aps":{"alert":7}})", type},
      {alert, R"({"aps":{"badge":"3"}})", type},
      {alert, R"({"aps":{"sound":3}})", type},
      {alert, R"({"aps":{"content-available":1}})", type},
      {alert, R"({"alert":"hi"})", type},
      {alert, R"({"aps":"hi"})", type},
      {alert, R"("aps")", json},
      {alert, R"([1])", json},
      {alert, R"({"aps":{})", json},
      {alert, R"({"aps":{}}})", json},
      {alert, R"({'aps':{}})", json},
      {alert, "not json", json},
      {alert, " ", json},
      {alert, "", Reason::payload_empty},
      {background, R"({"aps":{"content-available":1},"k":"v"})", ok},
      {background, R"({"aps":{"content-available":0}})", type},
      {background, R"({"aps":{}})", type},
      {background, R"({"aps":{"content-available":1,"alert":"x"}})", type},
      {background, R"({"aps":{"content-available":1,"badge":1}})", type},
      {background, R"({"aps":{"content-available":1,"sound":"x"}})", type},
      {background, R"({"k":1})", type},
      {liveactivity, R"({"aps":{"timestamp":1700000000,"event":"update","content-state":{}}})", ok},
      {liveactivity, R"({"aps":{"timestamp":1700000000,"event":"end"}})", ok},
      {liveactivity, R"({"aps":{"timestamp":1700000000,"event":"start"}})", type},
      {liveactivity, R"({"aps":{"timestamp":1700000000,"event":"pause","content-state":{}}})", type},
      {liveactivity, R"({"aps":{"event":"end"}})", type},
      {liveactivity, R"({})", type},
      {widgets, R"({"aps":{"content-changed":true}})", ok},
      {widgets, R"({"aps":{"content-changed":false}})", type},
      {controls, R"({"aps":{"content-changed":true}})", ok},
      {controls, R"({"aps":{}})", type},
      {voip, R"({"call":"7"})", ok},
      {complication, R"({"x":1})", ok},
      {fileprovider, R"({"container-identifier":"x"})", ok},
      {location, R"({})", ok},
      {pushtotalk, R"({"aps":{}})", ok},
      {pushtotalk, R"({"aps":[]})", type},
  };
  // Sizes at the bound and one beyond it, on both sides of the fast path.
  for (std::size_t i = 0; i < kPushTypes; ++i) {
    const auto push_type = static_cast<PushType>(i);
    const std::size_t bytes_max = payload_bytes_max(push_type);
    for (const std::size_t bytes : {bytes_max, bytes_max + 1}) {
      const std::string before = push_type == mdm ? R"({"mdm":")" : R"({"aps":{"content-available":1,"content-changed":true,"event":"end","timestamp":1},"x":")";
      const std::string alert_before = R"({"aps":{"alert":"a"},"x":")";
      const std::string& start = push_type == alert ? alert_before : before;
      cases.push_back({push_type, start + std::string(bytes - start.size() - 2, 'y') + "\"}",
                       bytes > bytes_max ? Reason::payload_too_large : ok});
    }
  }
  return cases;
}

TEST(Checks, PayloadAgainstPushType) {
  EXPECT_EQ(payload_bytes_max(PushType::voip), 5120u);
  EXPECT_EQ(payload_bytes_max(PushType::mdm), 4096u);
  PayloadChecker checker;  // one for all: nothing of a payload may linger
  for (const PayloadCase& c : payload_cases()) {
    const std::vector<char> exact(c.json.begin(), c.json.end());
    const std::string_view json(exact.data(), exact.size());
    const Refusal refusal = checker.check(c.type, json);
    EXPECT_EQ(refusal.reason, c.reason) << push_type_name(c.type) << " " << c.json.substr(0, 100) << ": " << refusal.text;
    EXPECT_EQ(check_payload(c.type, json).reason, c.reason);
    if (refusal) {
      EXPECT_STREQ(refusal.field, "payload");
      EXPECT_TRUE(refusal.text.starts_with("payload ")) << refusal.text;
    }
  }
}

TemplateOptions mdm_template() {
  TemplateOptions options;
  options.topic = "com.apple.mgmt.External.0a1b";
  options.push_type = PushType::mdm;
  options.form = PayloadForm::with_part;
  options.payload = R"({"mdm":"%PART%"})";
  return options;
}

TEST(Checks, Template) {
  EXPECT_FALSE(check_template(mdm_template())) << check_template(mdm_template()).text;
  struct Case {
    const char* field;
    Reason reason;
    void (*change)(TemplateOptions&);
  };
  const Case cases[] = {
      {"topic", Reason::missing_topic, [](TemplateOptions& t) { t.topic.clear(); }},
      {"topic", Reason::device_token_not_for_topic, [](TemplateOptions& t) { t.topic = "com.example.app"; }},
      {"priority", Reason::bad_priority, [](TemplateOptions& t) { t.priority = 9; }},
      {"push_type", Reason::invalid_push_type, [](TemplateOptions& t) { t.push_type = static_cast<PushType>(11); }},
      {"form", Reason::other, [](TemplateOptions& t) { t.form = static_cast<PayloadForm>(3); }},
      {"expiration", Reason::bad_expiration_date, [](TemplateOptions& t) { t.has_expiration = true; t.expiration_unix_s = -1; }},
      {"expiration", Reason::bad_expiration_date, [](TemplateOptions& t) { t.has_expiration = true; t.expiration_unix_s = 3600; }},
      {"expiration", Reason::bad_expiration_date, [](TemplateOptions& t) { t.has_expiration = true; t.expiration_unix_s = 1700000000000; }},
      {"expiration", Reason::bad_expiration_date, [](TemplateOptions& t) { t.expiration_unix_s = 1700000000; }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.payload = R"({"mdm":"x"})"; }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.payload = R"({"mdm":"%PART%%PART%"})"; }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.payload = R"({"mdm":%PART%})"; }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.payload = R"({"mdm":"\%PART%"})"; }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.payload = R"({"mdm":"\u00%PART%"})"; }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.payload = "%PART%"; }},
      {"payload", Reason::payload_too_large, [](TemplateOptions& t) { t.payload = R"({"mdm":"%PART%)" + std::string(4096, 'x') + "\"}"; }},
      {"payload", Reason::invalid_push_type, [](TemplateOptions& t) { t.payload = R"({"%PART%":"mdm"})"; }},
      {"payload", Reason::payload_empty, [](TemplateOptions& t) { t.form = PayloadForm::fixed; t.payload.clear(); }},
      {"payload", Reason::other, [](TemplateOptions& t) { t.form = PayloadForm::own; }},
  };
  for (const Case& c : cases) {
    TemplateOptions options = mdm_template();
    c.change(options);
    const Refusal refusal = check_template(options);
    EXPECT_STREQ(refusal.field, c.field) << refusal.text;
    EXPECT_EQ(refusal.reason, c.reason) << options.payload.substr(0, 40) << ": " << refusal.text;
    EXPECT_GT(refusal.text.size(), 15u);
  }
  TemplateOptions own = mdm_template();
  own.form = PayloadForm::own;
  own.payload.clear();
  own.has_expiration = true;
  EXPECT_FALSE(check_template(own));
  own.expiration_unix_s = 1'900'000'000;
  EXPECT_FALSE(check_template(own));
}

TEST(Fields, EverySlotInItsPlace) {
  TemplateOptions options = mdm_template();
  for (const bool collapse : {false, true}) {
    for (const bool expiration : {false, true}) {
      options.has_expiration = expiration;
      options.expiration_unix_s = expiration ? 1'900'000'000 : 0;
      const base::FieldList list = request_fields(options, "api.push.apple.com", collapse);
      std::map<std::string, base::FieldSpec> by_name;
      std::vector<std::string> slots;
      bool regular = false;
      for (const base::FieldSpec& field : list.fields) {
        EXPECT_TRUE(by_name.emplace(field.name, field).second) << field.name << " twice";
        if (field.slot) slots.push_back(field.name);
        if (field.name[0] == ':') EXPECT_FALSE(regular) << "pseudo-fields come first";
        else regular = true;
        EXPECT_EQ(field.indexing, field.slot ? base::Indexing::literal : base::Indexing::table);
      }
      EXPECT_EQ(by_name.at(":method").value, "POST");
      EXPECT_EQ(by_name.at(":scheme").value, "https");
      EXPECT_EQ(by_name.at(":authority").value, "api.push.apple.com");
      EXPECT_EQ(by_name.at(":path").value, "/3/device/");
      EXPECT_EQ(by_name.at(":path").format, base::SlotFormat::hex);
      EXPECT_EQ(by_name.at("apns-id").format, base::SlotFormat::uuid);
      EXPECT_EQ(by_name.at("apns-topic").value, options.topic);
      EXPECT_EQ(by_name.at("apns-push-type").value, "mdm");
      EXPECT_EQ(by_name.at("apns-priority").value, "10");
      EXPECT_EQ(by_name.count("apns-expiration"), expiration ? 1u : 0u);
      if (expiration) {
        EXPECT_EQ(by_name.at("apns-expiration").value, "1900000000");
      }
      const std::vector<std::string> expected =
          collapse ? std::vector<std::string>{":path", "apns-id", "apns-collapse-id"} : std::vector<std::string>{":path", "apns-id"};
      EXPECT_EQ(slots, expected);
      EXPECT_LE(slots.size(), base::kFieldSlotsMax);
    }
  }
}

TEST(Fields, AnAuthorizationIsOneMoreConstant) {
  const TemplateOptions options = mdm_template();
  const base::FieldList without = request_fields(options, "api.push.apple.com", true);
  const base::FieldList with = request_fields(options, "api.push.apple.com", true, "bearer a.b.c");
  ASSERT_EQ(with.fields.size(), without.fields.size() + 1);
  std::size_t at = 0;
  std::size_t found = 0;
  for (const base::FieldSpec& field : with.fields) {
    if (field.name == "authorization") {
      ++found;
      EXPECT_EQ(field.value, "bearer a.b.c");
      EXPECT_FALSE(field.slot);
      EXPECT_EQ(field.indexing, base::Indexing::table);
      EXPECT_GT(at, 3u) << "behind the pseudo-fields";
      continue;
    }
    EXPECT_EQ(field.name, without.fields[at].name);
    ++at;
  }
  EXPECT_EQ(found, 1u);
}

TEST(Parts, AnyPartGivesTheSamePartBack) {
  const PayloadHalves halves = split_payload(R"({"mdm":"%PART%"})");
  EXPECT_EQ(halves.before, R"({"mdm":")");
  EXPECT_EQ(halves.after, R"("})");
  std::string out = "keep:";
  EXPECT_FALSE(append_json_escaped("plain / text \x7f \xc3\xa9", out));
  EXPECT_EQ(out, "keep:plain / text \x7f \xc3\xa9");
  out.clear();
  EXPECT_TRUE(append_json_escaped(std::string("\"\\\n\r\t\0\x1f", 7), out));
  EXPECT_EQ(out, R"(\"\\\n\r\t\u0000\u001f)");
  for (int byte = 0; byte < 256; ++byte) {
    const bool plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
    for (std::size_t size = 1; size < 20; ++size) {
      for (std::size_t at = 0; at < size; ++at) {
        for (const char others : {' ', '~', '#', '!', ']'}) {
          std::string text(size, others);
          text[at] = static_cast<char>(byte);
          ASSERT_EQ(plain_json_text(text), plain) << byte << " at " << at << " of " << size << " of " << others;
        }
      }
    }
  }
  EXPECT_TRUE(plain_json_text(""));
  // Through the reader of answers, which unescapes: what went in comes out.
  base::Prng prng(3);
  for (int round = 0; round < 2000; ++round) {
    std::string part(1 + prng.below(40), ' ');
    for (char& c : part) c = static_cast<char>(prng.below(128));
    std::string body = R"({ "reason":")";
    append_json_escaped(part, body);
    body += "\"}";
    const Read read(400, body);
    ASSERT_EQ(read.verdict.reason, Reason::other);  // 1 to 40 bytes of chance are no reason of Apple's
    EXPECT_EQ(read.verdict.reason_text, part);
    std::string payload = halves.before;
    append_json_escaped(part, payload);
    payload += halves.after;
    EXPECT_FALSE(check_payload(PushType::mdm, payload)) << payload;
  }
}

}  // namespace
}  // namespace tocsin::apns
