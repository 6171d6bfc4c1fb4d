// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "apns/answer.h"
#include "apns/provider_token.h"
#include "apns/reasons.h"
#include "base/hex.h"
#include "base/prng.h"
#include "mock/gateway.h"

namespace tocsin::mock {
namespace {

constexpr std::string_view kTopic = "com.apple.mgmt.External.0a1b2c3d";
constexpr std::string_view kId = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
constexpr base::Now kNow{5 * base::kSecond, 1'700'000'000 * base::kSecond};

std::string token_hex(std::uint64_t number) {
  base::Prng prng(number);
  std::vector<std::uint8_t> bytes(32);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(prng.next());
  return base::hex_encode(bytes);
}

std::string device_path(std::string_view token) { return std::string("/3/device/").append(token); }

std::vector<std::byte> raw(std::string_view hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  EXPECT_TRUE(base::hex_decode(hex, reinterpret_cast<std::uint8_t*>(bytes.data())));
  return bytes;
}

Peer mdm_peer() { return {true, std::string(kTopic), {}}; }
Peer app_peer() { return {true, "com.example.app", {"com.example.app.voip", "com.example.app.push-type.liveactivity"}}; }

// A request as a client would write it, to be bent by the tests.
struct Request {
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body = R"({"mdm":"3A9F-plain"})";
  bool body_cut = false;

  static Request mdm(std::string token = token_hex(1)) {
    Request request;
    request.fields = {{":method", "POST"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", device_path(token)},
                      {"apns-topic", std::string(kTopic)}, {"apns-push-type", "mdm"}, {"apns-priority", "10"},
                      {"apns-expiration", "1900000000"}, {"apns-id", std::string(kId)}, {"apns-collapse-id", "c1"},
                      {"user-agent", "test"}};
    return request;
  }
  static Request app(std::string type, std::string topic, std::string body, std::string priority = "10") {
    Request request = mdm();
    request.set("apns-push-type", std::move(type)).set("apns-topic", std::move(topic)).set("apns-priority", std::move(priority));
    request.body = std::move(body);
    return request;
  }
  Request& set(std::string_view name, std::string value) {
    for (auto& field : fields) {
      if (field.first == name) field.second = value;
    }
    return *this;
  }
  Request& without(std::string_view name) {
    std::erase_if(fields, [name](const auto& field) { return field.first == name; });
    return *this;
  }
  Request& twice(std::string_view name) {
    const auto found = std::find_if(fields.begin(), fields.end(), [name](const auto& field) { return field.first == name; });
    fields.push_back(*found);
    return *this;
  }
};

struct World {
  std::shared_ptr<GatewayConfig> config = std::make_shared<GatewayConfig>();
  std::unique_ptr<Gateway> gateway;
  base::Now now = kNow;

  Reply ask(const Peer& peer, const Request& request) {
    if (!gateway) gateway = std::make_unique<Gateway>(config, 0);
    std::vector<h2::FieldView> fields;
    for (const auto& [name, value] : request.fields) fields.push_back({name, value});
    h2::ServerRequest view;
    view.fields = fields;
    view.body = base::as_bytes(request.body);
    view.body_bytes = request.body.size();
    view.body_cut = request.body_cut;
    Reply reply;
    Peer copy = peer;
    gateway->handle(copy, view, now, reply);
    return reply;
  }
};

std::string usual_body(const Reply& reply) {
  const char* name = reply.reason == Reason::other ? "BadRequestPayload" : reason_name(reply.reason);
  std::string body = std::string(R"({"reason":")") + name + '"';
  if (reply.status == 410) body += R"(,"timestamp":)" + std::to_string(reply.timestamp_unix_ms);
  return body + "}";
}

TEST(Gateway, AcceptsAValidRequestAndBooksIt) {
  World world;
  const Reply reply = world.ask(mdm_peer(), Request::mdm());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.reason, Reason::none);
  EXPECT_TRUE(reply.body().empty());
  EXPECT_EQ(base::uuid_format(reply.apns_id), kId);
  EXPECT_FALSE(reply.unique_id);
  const LedgerEntry* entry = world.gateway->ledger().find(raw(token_hex(1)));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->accepted, 1u);
  EXPECT_EQ(entry->last_apns_id, reply.apns_id);
  EXPECT_EQ(entry->last_unix_ms, kNow.wall_ns / base::kMillisecond);
}

struct Case {
  const char* what;
  Reason reason;
  std::function<void(Request&)> bend;
  Peer peer = mdm_peer();
};

std::vector<Case> cases() {
  const std::string topic(kTopic);
  const Peer nobody;
  const Peer two_topics{true, topic, {"com.example.app"}};
  const Peer only_bundle{true, "", {"com.example.app"}};
  const Peer no_topic{true, "", {}};
  const auto set = [](std::string name, std::string value) {
    return [name, value](Request& r) { r.set(name, value); };
  };
  const auto without = [](std::string name) { return [name](Request& r) { r.without(name); }; };
  const auto body = [](std::string text) { return [text](Request& r) { r.body = text; }; };
  const auto app = [](std::string type, std::string app_topic, std::string text, std::string priority = "10") {
    return [=](Request& r) { r = Request::app(type, app_topic, text, priority); };
  };
  using enum Reason;
  std::vector<Case> all = {
      {"as it is", none, [](Request&) {}},
      {"GET", method_not_allowed, set(":method", "GET")},
      {"lower-case method", method_not_allowed, set(":method", "post")},
      {"no method", method_not_allowed, without(":method")},
      {"no path", bad_path, without(":path")},
      {"root", bad_path, set(":path", "/")},
      {"other version", bad_path, set(":path", "/2/device/" + token_hex(1))},
      {"broadcast path", bad_path, set(":path", "/4/broadcasts/apps/x")},
      {"longer word", bad_path, set(":path", "/3/devices/" + token_hex(1))},
      {"path behind the token", bad_path, set(":path", device_path(token_hex(1) + "/x"))},
      {"no token, no slash", missing_device_token, set(":path", "/3/device")},
      {"no token", missing_device_token, set(":path", "/3/device/")},
      {"odd token", bad_device_token, set(":path", device_path(std::string(63, 'a')))},
      {"no hex", bad_device_token, set(":path", device_path(std::string(63, 'a').append("g")))},
      {"query", bad_device_token, set(":path", device_path(token_hex(1) + "?x="))},
      {"token at its bound", none, set(":path", device_path(std::string(200, 'a')))},
      {"token too long", bad_device_token, set(":path", device_path(std::string(202, 'a')))},
      {"short upper-case token", none, set(":path", "/3/device/AF")},
      {"no id", none, without("apns-id")},
      {"empty id", bad_message_id, set("apns-id", "")},
      {"id without dashes", bad_message_id, set("apns-id", "0f1e2d3c4b5a69788796a5b4c3d2e1f0")},
      {"no hex in id", bad_message_id, set("apns-id", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1fx")},
      {"no certificate", missing_provider_token, [](Request&) {}, nobody},
      {"token authority", invalid_provider_token, [](Request& r) { r.fields.emplace_back("authorization", "bearer x.y.z"); }, nobody},
      {"one topic, none named", none, without("apns-topic")},
      {"two topics, none named", missing_topic, without("apns-topic"), two_topics},
      {"no topic anywhere", missing_topic, without("apns-topic"), no_topic},
      {"bundle speaks for itself", none, [](Request& r) {
         r = Request::app("alert", "", R"({"aps":{"alert":"x"}})");
         r.without("apns-topic");
       }, only_bundle},
      {"empty topic", missing_topic, set("apns-topic", "")},
      {"topic with a space", bad_topic, set("apns-topic", "com.apple.mgmt x")},
      {"topic too long", bad_topic, set("apns-topic", std::string(257, 'x'))},
      {"another's topic", topic_disallowed, set("apns-topic", "com.apple.mgmt.External.ffff")},
      {"second topic", none, app("alert", "com.example.app", R"({"aps":{"alert":"x"}})"), two_topics},
      {"mdm to an app", device_token_not_for_topic, app("mdm", "com.example.app", R"({"mdm":"x"})"), app_peer()},
      {"voip without suffix", device_token_not_for_topic, app("voip", "com.example.app", "{}"), app_peer()},
      {"voip", none, app("voip", "com.example.app.voip", R"({"call":1})"), app_peer()},
      {"unknown type", invalid_push_type, set("apns-push-type", "mdmx")},
      {"empty type", invalid_push_type, set("apns-push-type", "")},
      {"upper-case type", invalid_push_type, set("apns-push-type", "MDM")},
      {"no type, MDM", none, without("apns-push-type")},
      {"no type, MDM, app payload", invalid_push_type, [](Request& r) { r.without("apns-push-type").body = R"({"aps":{}})"; }},
      {"no type, app", none, [](Request& r) {
         r = Request::app("", "com.example.app", R"({"anything":1})");
         r.without("apns-push-type");
       }, app_peer()},
      {"no type, app, no JSON", other, [](Request& r) {
         r = Request::app("", "com.example.app", "x");
         r.without("apns-push-type");
       }, app_peer()},
      {"background", none, app("background", "com.example.app", R"({"aps":{"content-available":1}})", "5"), app_peer()},
      {"background at once", bad_priority, app("background", "com.example.app", R"({"aps":{"content-available":1}})"), app_peer()},
      {"background, default priority", bad_priority, [](Request& r) {
         r = Request::app("background", "com.example.app", R"({"aps":{"content-available":1}})");
         r.without("apns-priority");
       }, app_peer()},
      {"no priority", none, without("apns-priority")},
      {"no expiration", none, without("apns-expiration")},
      {"expiration 0", none, set("apns-expiration", "0")},
      {"no collapse id", none, without("apns-collapse-id")},
      {"collapse id at its bound", none, set("apns-collapse-id", std::string(64, 'x'))},
      {"collapse id too long", bad_collapse_id, set("apns-collapse-id", std::string(65, 'x'))},
      {"empty collapse id", bad_collapse_id, set("apns-collapse-id", "")},
      {"no payload", payload_empty, body("")},
      {"payload at its bound", none, body(R"({"mdm":")" + std::string(4086, 'x') + "\"}")},
      {"payload too large", payload_too_large, body(R"({"mdm":")" + std::string(4087, 'x') + "\"}")},
      {"voip payload at its bound", none, app("voip", "com.example.app.voip", R"({"c":")" + std::string(5112, 'x') + "\"}"), app_peer()},
      {"voip payload too large", payload_too_large, app("voip", "com.example.app.voip", R"({"c":")" + std::string(5113, 'x') + "\"}"), app_peer()},
      {"payload cut by the session", payload_too_large, [](Request& r) { r.body_cut = true; }},
      {"no JSON", other, body("mdm")},
      {"half JSON", other, body(R"({"mdm":"x")")},
      {"array", other, body(R"(["mdm"])")},
      {"escaped magic", none, body(R"({"mdm":"a\"b"})")},
      {"app payload", invalid_push_type, body(R"({"aps":{"alert":"x"}})")},
      {"empty magic", invalid_push_type, body(R"({"mdm":""})")},
      {"more than the magic", invalid_push_type, body(R"({"mdm":"x","y":1})")},
      {"alert without aps", invalid_push_type, app("alert", "com.example.app", R"({"x":1})"), app_peer()},
      {"unknown fields may repeat", none, [](Request& r) { r.twice("user-agent"); }},
  };
  for (const char* text : {"", "0", "2", "010", "05", "+5", "5 ", "high", "100", "-1", "99999999999999999999"}) {
    all.push_back({"priority", bad_priority, set("apns-priority", text)});
  }
  for (const char* text : {"1", "5"}) all.push_back({"priority", none, set("apns-priority", text)});
  for (const char* text : {"", "-1", "1.5", "soon", " 1", "99999999999999999999"}) {
    all.push_back({"expiration", bad_expiration_date, set("apns-expiration", text)});
  }
  for (const char* name : {"apns-topic", "apns-push-type", "apns-priority", "apns-expiration", "apns-id", "apns-collapse-id", ":path"}) {
    all.push_back({name, duplicate_headers, [name](Request& r) { r.twice(name); }});
  }
  return all;
}

TEST(Gateway, JudgesEveryField) {
  std::set<Reason> reached;
  World world;
  LedgerTotals expected;
  for (const Case& c : cases()) {
    Request request = Request::mdm();
    c.bend(request);
    const Reply reply = world.ask(c.peer, request);
    ASSERT_EQ(reply.reason, c.reason) << c.what << ": " << reason_name(reply.reason);
    reached.insert(reply.reason);
    ++expected.requests;
    EXPECT_NE(reply.apns_id, Uuid{}) << c.what;
    if (c.reason == Reason::none) {
      ++expected.accepted;
      EXPECT_EQ(reply.status, 200);
      EXPECT_TRUE(reply.body().empty());
      continue;
    }
    ++expected.rejected;
    ++expected.by_reason[reason_name(c.reason)];
    EXPECT_EQ(reply.status, c.reason == Reason::other ? 400 : apns::find_reason(c.reason)->status) << c.what;
    EXPECT_EQ(reply.body(), usual_body(reply)) << c.what;
    // What the client reads is what the mock meant.
    char scratch[256];
    const apns::Verdict verdict =
        apns::read_answer(reply.status, base::uuid_format(reply.apns_id), reply.body(), scratch, sizeof scratch);
    EXPECT_EQ(verdict.reason, reply.reason);
    EXPECT_EQ(verdict.apns_id, reply.apns_id);
    if (c.reason == Reason::other) {
      EXPECT_EQ(verdict.reason_text, "BadRequestPayload");
    }
  }
  const LedgerTotals totals = world.gateway->ledger().totals();
  EXPECT_EQ(totals.requests, expected.requests);
  EXPECT_EQ(totals.accepted, expected.accepted);
  EXPECT_EQ(totals.rejected, expected.rejected);
  EXPECT_EQ(totals.by_reason, expected.by_reason);
  using enum Reason;
  for (const Reason reason : {bad_collapse_id, bad_device_token, bad_expiration_date, bad_message_id, bad_priority, bad_topic,
                              device_token_not_for_topic, duplicate_headers, invalid_push_type, missing_device_token,
                              missing_topic, payload_empty, topic_disallowed, invalid_provider_token,
                              missing_provider_token, bad_path, method_not_allowed, payload_too_large, other, none}) {
    EXPECT_TRUE(reached.contains(reason)) << reason_name(reason);
  }
}

// Everything is wrong at once; repaired one by one in APNs' order, the next fault shows each time.
TEST(Gateway, ValidatesInApnsOrder) {
  World world;
  world.config->dead[token_hex(1)] = 1'690'000'000'123;
  Peer peer;
  Request r = Request::mdm();
  r.set(":method", "GET").set(":path", "/x").set("apns-id", "x").set("apns-topic", "two words").set("apns-push-type", "x")
      .set("apns-priority", "7").set("apns-expiration", "x").set("apns-collapse-id", std::string(65, 'x')).twice("apns-priority");
  r.body.clear();
  const std::pair<Reason, std::function<void()>> steps[] = {
      {Reason::method_not_allowed, [&] { r.set(":method", "POST"); }},
      {Reason::bad_path, [&] { r.set(":path", "/3/device/"); }},
      {Reason::duplicate_headers, [&] { r.fields.pop_back(); }},
      {Reason::bad_message_id, [&] { r.set("apns-id", std::string(kId)); }},
      {Reason::missing_device_token, [&] { r.set(":path", "/3/device/xx"); }},
      {Reason::bad_device_token, [&] { r.set(":path", device_path(token_hex(1))); }},
      {Reason::missing_provider_token, [&] { peer = mdm_peer(); }},
      {Reason::bad_topic, [&] { r.set("apns-topic", "com.example.app"); }},
      {Reason::topic_disallowed, [&] { r.set("apns-topic", std::string(kTopic)); }},
      {Reason::invalid_push_type, [&] { r.set("apns-push-type", "mdm"); }},
      {Reason::bad_priority, [&] { r.set("apns-priority", "10"); }},
      {Reason::bad_expiration_date, [&] { r.set("apns-expiration", "0"); }},
      {Reason::bad_collapse_id, [&] { r.set("apns-collapse-id", "c"); }},
      {Reason::payload_empty, [&] { r.body = std::string(5000, 'x'); }},
      {Reason::payload_too_large, [&] { r.body = std::string("x"); }},
      {Reason::other, [&] { r.body = "{}"; }},
      {Reason::invalid_push_type, [&] { r.body = R"({"mdm":"x"})"; }},
      {Reason::unregistered, [&] { r.set(":path", device_path(token_hex(2))); }},
      {Reason::none, [] {}},
  };
  for (const auto& [reason, repair] : steps) {
    const Reply reply = world.ask(peer, r);
    ASSERT_EQ(reply.reason, reason) << "got " << reason_name(reply.reason) << ", expected " << reason_name(reason);
    EXPECT_EQ(reply.timestamp_unix_ms, reason == Reason::unregistered ? 1'690'000'000'123 : 0);
    repair();
  }
}

TEST(Gateway, ApnsIdIsEchoedOrMade) {
  World world;
  Request wrong_method = Request::mdm();
  wrong_method.set(":method", "GET");
  EXPECT_EQ(base::uuid_format(world.ask(mdm_peer(), wrong_method).apns_id), kId);
  std::set<Uuid> made;
  for (int i = 0; i < 100; ++i) {
    Request request = Request::mdm();
    request.without("apns-id");
    made.insert(world.ask(mdm_peer(), request).apns_id);
  }
  EXPECT_EQ(made.size(), 100u);
  for (const Uuid& id : made) {
    EXPECT_EQ(id[6] >> 4, 4);
    EXPECT_EQ(id[8] >> 6, 2);
  }
}

TEST(Gateway, WithoutCertificateWhereNoneIsRequired) {
  World world;
  world.config->require_certificate = false;
  EXPECT_EQ(world.ask(Peer{}, Request::mdm()).reason, Reason::none);
  EXPECT_EQ(world.ask(Peer{}, Request::mdm().without("apns-topic")).reason, Reason::missing_topic);
  EXPECT_EQ(world.ask(Peer{}, Request::mdm().set("apns-topic", "a b")).reason, Reason::bad_topic);
}

TEST(Gateway, DeadTokens) {
  World world;
  world.config->dead[token_hex(7)] = 1'650'000'000'777;
  std::string upper = token_hex(7);
  for (char& c : upper) c = static_cast<char>(c >= 'a' ? c - 32 : c);
  for (const std::string& token : {token_hex(7), upper}) {
    const Reply reply = world.ask(mdm_peer(), Request::mdm(token));
    EXPECT_EQ(reply.status, 410);
    EXPECT_EQ(reply.reason, Reason::unregistered);
    EXPECT_EQ(reply.body(), R"({"reason":"Unregistered","timestamp":1650000000777})");
  }
  EXPECT_EQ(world.ask(mdm_peer(), Request::mdm(token_hex(8))).status, 200);
  std::int64_t since = 0;
  EXPECT_TRUE(token_is_dead(*world.config, raw(token_hex(7)), since));
  EXPECT_EQ(since, 1'650'000'000'777);
  EXPECT_FALSE(token_is_dead(*world.config, raw(token_hex(8)), since));
}

TEST(Gateway, DeadShareIsAFactOfTheToken) {
  constexpr int kTokens = 20'000;
  constexpr std::int64_t kBase = 1'700'000'000'000;
  for (const double share : {0.0, 0.01, 0.25, 1.0}) {
    auto config = std::make_shared<GatewayConfig>();
    config->dead_share = share;
    config->dead_base_unix_ms = kBase;
    World one{config, std::make_unique<Gateway>(config, 1)};
    auto elsewhere = std::make_shared<GatewayConfig>(*config);
    elsewhere->seed = 99;
    World two{elsewhere, std::make_unique<Gateway>(elsewhere, 2)};
    int dead = 0, expired = 0;
    std::int64_t earliest = kBase, latest = 0;
    for (int i = 0; i < kTokens; ++i) {
      const std::string token = token_hex(static_cast<std::uint64_t>(i));
      std::int64_t since = 0;
      const bool is_dead = token_is_dead(*config, raw(token), since);
      const Reply reply = one.ask(mdm_peer(), Request::mdm(token));
      ASSERT_EQ(reply.status, is_dead ? 410 : 200);
      if (i % 10 == 0) {
        const Reply other = two.ask(mdm_peer(), Request::mdm(token));
        ASSERT_EQ(other.reason, reply.reason);
        ASSERT_EQ(other.timestamp_unix_ms, reply.timestamp_unix_ms);
      }
      if (!is_dead) continue;
      ++dead;
      expired += reply.reason == Reason::expired_token;
      ASSERT_EQ(reply.timestamp_unix_ms, since);
      earliest = std::min(earliest, since);
      latest = std::max(latest, since);
    }
    // Five standard deviations: never off by chance, always off by a wrong threshold.
    EXPECT_NEAR(dead, kTokens * share, 5 * std::sqrt(kTokens * share * (1 - share)) + 0.5);
    EXPECT_NEAR(expired, dead / 16.0, 5 * std::sqrt(dead / 16.0) + 0.5);
    if (dead > 1000) {
      const std::int64_t days90 = 90ll * 86'400'000;
      EXPECT_GE(earliest, kBase - days90);
      EXPECT_LT(earliest, kBase - days90 * 95 / 100);
      EXPECT_GT(latest, kBase - days90 / 20);
      EXPECT_LE(latest, kBase);
    }
  }
}

TEST(Gateway, RandomRejectionsFollowTheSeed) {
  const auto run = [](std::uint64_t seed, std::uint64_t worker, std::map<Reason, int>& seen) {
    auto config = std::make_shared<GatewayConfig>();
    config->reject_share = 0.3;
    config->seed = seed;
    World world{config, std::make_unique<Gateway>(config, worker)};
    std::vector<Reason> reasons;
    for (int i = 0; i < 20'000; ++i) {
      const Reply reply = world.ask(mdm_peer(), Request::mdm());
      EXPECT_EQ(reply.status, reply.reason == Reason::none ? 200 : apns::find_reason(reply.reason)->status);
      reasons.push_back(reply.reason);
      ++seen[reply.reason];
    }
    EXPECT_EQ(world.gateway->ledger().totals().accepted, static_cast<std::uint64_t>(seen[Reason::none]));
    return reasons;
  };
  std::map<Reason, int> seen, again, other;
  const auto first = run(5, 1, seen);
  EXPECT_EQ(first, run(5, 1, again));
  EXPECT_NE(first, run(5, 2, other));
  EXPECT_NEAR(20'000 - seen[Reason::none], 6000, 5 * std::sqrt(20'000 * 0.21));
  for (const apns::ReasonEntry& entry : apns::reason_table()) {
    // Neither a dead token, nor what asks for another try, nor what stops the credential.
    if (entry.status == 410 || entry.retry != apns::Retry::never || entry.scope == apns::Scope::credential) {
      EXPECT_EQ(seen.count(entry.reason), 0u);
    } else {
      EXPECT_GT(seen[entry.reason], 100) << entry.name;
    }
  }
}

TEST(Gateway, DelayJitterAndSandbox) {
  World world;
  world.config->delay_ns = 1000;
  world.config->jitter_ns = 500;
  world.config->sandbox = true;
  std::int64_t least = 10'000, most = 0;
  std::set<Uuid> unique;
  for (int i = 0; i < 500; ++i) {
    const Reply reply = world.ask(mdm_peer(), Request::mdm());
    least = std::min(least, reply.delay_ns);
    most = std::max(most, reply.delay_ns);
    EXPECT_TRUE(reply.unique_id);
    unique.insert(reply.unique_id_value);
  }
  EXPECT_GE(least, 1000);
  EXPECT_LT(least, 1050);
  EXPECT_GT(most, 1450);
  EXPECT_LT(most, 1500);
  EXPECT_EQ(unique.size(), 500u);
  EXPECT_FALSE(world.ask(mdm_peer(), Request::mdm().set(":method", "PUT")).unique_id);
}

TEST(Gateway, AShareOfWhatIsAcceptedIsBare) {
  World world;
  EXPECT_FALSE(world.ask(mdm_peer(), Request::mdm()).bare);
  world.config->bare_share = 0.3;
  int bare = 0;
  for (int i = 0; i < 1000; ++i) bare += world.ask(mdm_peer(), Request::mdm()).bare ? 1 : 0;
  EXPECT_NEAR(bare, 300, 60);
  world.config->bare_share = 1;
  EXPECT_TRUE(world.ask(mdm_peer(), Request::mdm()).bare);
  EXPECT_FALSE(world.ask(mdm_peer(), Request::mdm().set(":method", "PUT")).bare);
}

TEST(Gateway, RefusedRequestsAreBookedUnderTheirToken) {
  World world;
  EXPECT_EQ(world.ask(mdm_peer(), Request::mdm().set(":method", "GET")).status, 405);
  EXPECT_EQ(world.ask(mdm_peer(), Request::mdm().set(":path", "/nowhere")).status, 404);
  const LedgerEntry* entry = world.gateway->ledger().find(raw(token_hex(1)));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->rejected, 1u);
  EXPECT_EQ(entry->last_status, 405);
  EXPECT_EQ(world.gateway->ledger().totals().tokens, 1u);
  EXPECT_EQ(world.gateway->ledger().totals().rejected, 2u);
}

// Chance in every field, on every path: nothing crashes, everything is booked once.
TEST(Gateway, RandomRequestsAreBookedOnce) {
  World world;
  base::Prng prng(11);
  std::uint64_t accepted = 0;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    Request request = Request::mdm(token_hex(i % 50));
    for (std::uint64_t edits = prng.below(3); edits != 0; --edits) {
      std::string& text = prng.chance(0.2) ? request.body : request.fields[prng.below(request.fields.size())].second;
      if (prng.chance(0.2)) text.clear();
      else if (!text.empty()) text[prng.below(text.size())] = static_cast<char>(prng.next());
      if (prng.chance(0.1)) text.append(prng.below(300), 'z');
    }
    const Reply reply = world.ask(mdm_peer(), request);
    accepted += reply.status == 200;
    ASSERT_EQ(reply.body().empty(), reply.status == 200);
    if (reply.status != 200) {
      ASSERT_EQ(reply.body(), usual_body(reply));
    }
  }
  const LedgerTotals totals = world.gateway->ledger().totals();
  EXPECT_EQ(totals.requests, 20'000u);
  EXPECT_EQ(totals.accepted, accepted);
  EXPECT_GT(accepted, 5000u);
  EXPECT_LT(accepted, 19'000u);
}

// A key of a made-up team; the tests need no secret one.
std::shared_ptr<const apns::ProviderKey> provider_key(const char* key_id, const char* team_id) {
  static constexpr std::string_view kPem =
      "-----BEGIN PRIVATE KEY-----\n"
      "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5KmNgsOdkB+9di9F\n"
      "R9AM0kR+15t4/6GwRtMUDdz4626hRANCAASOmouMEQTO0pBTzDPcO88f9OHqzsx9\n"
      "TpkApPCW274sIOiZUEVNulxiFYuumE8GrgyOmQB4U30eKuO/Cf00tuFg\n"
      "-----END PRIVATE KEY-----\n";
  auto key = apns::read_p8(kPem, key_id, team_id);
  EXPECT_TRUE(key.ok()) << (key.ok() ? "" : key.error().message);
  return *key;
}

// A world with one trusted key, and connections that push with tokens of a given iat.
struct TokenWorld {
  World world;
  std::shared_ptr<const apns::ProviderKey> key = provider_key("ABCDE12345", "TEAM123456");
  base::Now now = kNow;

  explicit TokenWorld(std::vector<std::string> topics = {}) {
    world.config->provider_keys["ABCDE12345"] = {key->public_key(), "TEAM123456", std::move(topics)};
    world.gateway = std::make_unique<Gateway>(world.config, 0);
  }
  std::int64_t now_s() const { return now.wall_ns / base::kSecond; }
  void pass_s(std::int64_t seconds) {
    now.mono_ns += seconds * base::kSecond;
    now.wall_ns += seconds * base::kSecond;
  }
  static std::string bearer(const apns::ProviderKey& key, std::int64_t iat) { return "bearer " + apns::make_provider_token(key, iat); }
  Reason ask(Peer& peer, const std::string& authorization, const std::string& topic = "com.example.app", const std::string& type = "alert") {
    Request request = Request::app(type, topic, R"({"aps":{"alert":"x"}})");
    if (type == "mdm") request.body = R"({"mdm":"magic"})";
    if (!authorization.empty()) request.fields.emplace_back("authorization", authorization);
    std::vector<h2::FieldView> fields;
    for (const auto& [name, value] : request.fields) fields.push_back({name, value});
    h2::ServerRequest view;
    view.fields = fields;
    view.body = base::as_bytes(request.body);
    view.body_bytes = request.body.size();
    Reply reply;
    world.gateway->handle(peer, view, now, reply);
    return reply.reason;
  }
};

TEST(ProviderTokens, AreJudgedAsAppleDoes) {
  TokenWorld world;
  const std::int64_t now_s = world.now_s();
  const auto stranger = provider_key("ZZZZZ12345", "TEAM123456");
  const auto other_team = provider_key("ABCDE12345", "OTHER12345");
  const std::string good = TokenWorld::bearer(*world.key, now_s);
  std::string forged = good;
  forged[forged.size() - 20] = forged[forged.size() - 20] == 'A' ? 'B' : 'A';
  struct Row {
    const char* name;
    std::string authorization;
    Reason reason;
  };
  for (const Row& row : {
           Row{"good", good, Reason::none},
           Row{"the word in capitals", "Bearer" + good.substr(6), Reason::none},
           Row{"an hour old", TokenWorld::bearer(*world.key, now_s - 3600), Reason::none},
           Row{"older", TokenWorld::bearer(*world.key, now_s - 3601), Reason::expired_provider_token},
           Row{"a little in the future", TokenWorld::bearer(*world.key, now_s + 300), Reason::none},
           Row{"in the future", TokenWorld::bearer(*world.key, now_s + 301), Reason::invalid_provider_token},
           Row{"none", "", Reason::missing_provider_token},
           Row{"no bearer", good.substr(7), Reason::invalid_provider_token},
           Row{"no token", "bearer x.y.z", Reason::invalid_provider_token},
           Row{"forged", forged, Reason::invalid_provider_token},
           Row{"a key that nobody knows", TokenWorld::bearer(*stranger, now_s), Reason::invalid_provider_token},
           Row{"another team's name", TokenWorld::bearer(*other_team, now_s), Reason::invalid_provider_token},
       }) {
    Peer peer;
    EXPECT_EQ(world.ask(peer, row.authorization), row.reason) << row.name;
    EXPECT_EQ(peer.provider.bound(), row.reason == Reason::none) << row.name;
  }
  Peer certified = app_peer();
  EXPECT_EQ(world.ask(certified, "bearer nonsense"), Reason::none) << "with a certificate nobody looks";
}

TEST(ProviderTokens, AgeOnAConnection) {
  TokenWorld world;
  Peer peer;
  const std::string first = TokenWorld::bearer(*world.key, world.now_s());
  EXPECT_EQ(world.ask(peer, first), Reason::none);
  world.pass_s(3600);
  EXPECT_EQ(world.ask(peer, first), Reason::none);
  world.pass_s(1);
  EXPECT_EQ(world.ask(peer, first), Reason::expired_provider_token);
  EXPECT_EQ(world.ask(peer, TokenWorld::bearer(*world.key, world.now_s())), Reason::none);
}

TEST(ProviderTokens, MayChangeEveryTwentyMinutes) {
  TokenWorld world;
  Peer peer;
  const std::string first = TokenWorld::bearer(*world.key, world.now_s());
  const std::string second = TokenWorld::bearer(*world.key, world.now_s() + 1);
  EXPECT_EQ(world.ask(peer, first), Reason::none);
  world.pass_s(1100);
  EXPECT_EQ(world.ask(peer, second), Reason::too_many_provider_token_updates);
  EXPECT_EQ(world.ask(peer, first), Reason::none) << "the one in use stays good";
  Peer other;
  EXPECT_EQ(world.ask(other, second), Reason::none) << "another connection has its own clock";
  world.pass_s(100);
  EXPECT_EQ(world.ask(peer, second), Reason::none);
  EXPECT_EQ(world.ask(peer, first), Reason::too_many_provider_token_updates);
}

TEST(ProviderTokens, BindTheConnectionToTheirKey) {
  TokenWorld world;
  const auto sibling = provider_key("FGHIJ12345", "TEAM123456");
  world.world.config->provider_keys["FGHIJ12345"] = {sibling->public_key(), "TEAM123456", {}};
  Peer peer;
  EXPECT_EQ(world.ask(peer, TokenWorld::bearer(*world.key, world.now_s())), Reason::none);
  world.pass_s(2000);
  EXPECT_EQ(world.ask(peer, TokenWorld::bearer(*sibling, world.now_s())), Reason::unrelated_key_id_in_token);
}

TEST(ProviderTokens, TopicsAndTypes) {
  TokenWorld world({"com.example.app"});
  const std::string good = TokenWorld::bearer(*world.key, world.now_s());
  Peer peer;
  EXPECT_EQ(world.ask(peer, good, "com.example.app"), Reason::none);
  EXPECT_EQ(world.ask(peer, good, "com.example.app.voip", "voip"), Reason::none);
  EXPECT_EQ(world.ask(peer, good, "com.example.other"), Reason::topic_disallowed);
  EXPECT_EQ(world.ask(peer, good, "com.example.application"), Reason::topic_disallowed);
  EXPECT_EQ(world.ask(peer, good, ""), Reason::missing_topic);
  EXPECT_EQ(world.ask(peer, good, "com.example.app.location-query", "location"), Reason::none);
  TokenWorld anything;
  Peer mdm;
  EXPECT_EQ(anything.ask(mdm, TokenWorld::bearer(*anything.key, anything.now_s()), std::string(kTopic), "mdm"), Reason::topic_disallowed)
      << "MDM wants a certificate";
  Peer certified = app_peer();
  certified.topics.push_back("com.example.app.location-query");
  EXPECT_EQ(anything.ask(certified, "", "com.example.app.location-query", "location"), Reason::topic_disallowed)
      << "location wants a provider token";
}

TEST(Gateway, PerTokenRate) {
  World world;
  world.config->per_token_rate = 3;
  std::vector<unsigned> statuses;
  for (int i = 0; i < 5; ++i) statuses.push_back(world.ask(mdm_peer(), Request::mdm()).status);
  EXPECT_EQ(statuses, (std::vector<unsigned>{200, 200, 200, 429, 429}));
  EXPECT_EQ(world.ask(mdm_peer(), Request::mdm(token_hex(2))).status, 200);
  world.now.mono_ns += base::kSecond;
  EXPECT_EQ(world.ask(mdm_peer(), Request::mdm()).status, 200);
}

}  // namespace
}  // namespace tocsin::mock
