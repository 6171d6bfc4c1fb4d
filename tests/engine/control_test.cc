// SPDX-License-Identifier: Apache-2.0
// What the door says about groups, rates, credentials and dead tokens, and its pure parts: buckets, deadlines, proxies.
#include <cstring>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "base/prng.h"
#include "engine/deadline.h"
#include "engine/provider_tokens.h"
#include "engine/proxy.h"
#include "engine/rate.h"
#include "engine/shared.h"
#include "rig.h"

namespace tocsin::engine_tests {
namespace {

template <class T>
Code code_of(const Result<T>& result) { return result.ok() ? Code::ok : result.error().code; }
template <class T>
std::string message_of(const Result<T>& result) { return result.ok() ? "(ok)" : result.error().message; }
bool says(const std::string& message, const std::string& what) { return message.find(what) != std::string::npos; }

// ---- RateBucket

TEST(RateBucket, WithoutALimitEverythingGoes) {
  engine::RateBucket bucket;
  EXPECT_EQ(bucket.take(1'000'000, 5, 0.5).count, 1'000'000u);
  bucket.set(10, 0);
  EXPECT_EQ(bucket.take(1'000'000, 0, 0.5).count, 1u) << "a limit begins with one push";
  bucket.set(0, 0);
  EXPECT_EQ(bucket.take(1'000'000, 0, 0.5).count, 1'000'000u);
}

TEST(RateBucket, NeverMoreThanTheRateAndTheBurstAndNothingIsWasted) {
  base::Prng prng(7);
  for (const double rate : {0.5, 1.0, 7.0, 100.0, 3'333.0, 250'000.0}) {
    engine::RateBucket bucket;
    std::int64_t now = 1'000'000'000'000;
    bucket.set(rate, now);
    const std::int64_t begin = now;
    struct Taken {
      std::int64_t at;
      std::uint64_t total;  // before it
    };
    std::vector<Taken> all;
    std::uint64_t total = 0;
    const double burst = std::max(1.0, rate * 0.05);
    const std::int64_t length = static_cast<std::int64_t>(std::max(5.0, 40 / rate) * 1e9);
    while (now - begin < length) {
      const auto asked = static_cast<std::uint32_t>(1 + prng.below(100'000));
      const engine::Lease lease = bucket.take(asked, now, prng.unit());
      EXPECT_LE(lease.count, std::max(1.0, rate * 0.02));
      if (lease.count != 0) {
        all.push_back({now, total});
        total += lease.count;
        now += static_cast<std::int64_t>(prng.below(3'000'000));
      } else {
        ASSERT_GT(lease.again_mono_ns, now);
        EXPECT_LE(static_cast<double>(lease.again_mono_ns - now), 1e9 / rate + 5e6 + 10e6 + 2);
        now = lease.again_mono_ns;
      }
    }
    // Any window: what was taken inside it is at most its worth and one burst.
    std::size_t first = 0;
    for (std::size_t last = 0; last < all.size(); ++last) {
      const std::uint64_t upto = last + 1 < all.size() ? all[last + 1].total : total;
      for (; all[last].at - all[first].at > base::kSecond; ++first) {
      }
      const double window_s = static_cast<double>(all[last].at - all[first].at) * 1e-9;
      ASSERT_LE(static_cast<double>(upto - all[first].total), rate * window_s + burst + 1e-6) << rate;
    }
    const double worth = rate * static_cast<double>(now - begin) * 1e-9;
    EXPECT_GE(static_cast<double>(total), 0.9 * worth - burst) << rate;
  }
}

TEST(RateBucket, ALowerRateKeepsNoHigherBurst) {
  engine::RateBucket bucket;
  bucket.set(100'000, 0);
  bucket.set(10, base::kSecond);  // 5,000 had gathered
  EXPECT_EQ(bucket.take(100, base::kSecond, 0).count, 1u);
  const engine::Lease none = bucket.take(100, base::kSecond, 0);
  EXPECT_EQ(none.count, 0u);
  EXPECT_NEAR(static_cast<double>(none.again_mono_ns - base::kSecond), 1e8, 1e3);
}

// ---- deadlines

TEST(Deadline, BecomesTheFirstTickAtOrAfterIt) {
  using engine::deadline_tick;
  const base::Now now{5'000'000'000, 1'700'000'000'000'000'000};
  const std::int64_t start = 4'000'000'000;
  EXPECT_EQ(deadline_tick(1, now, start), 1u);
  EXPECT_EQ(deadline_tick(now.wall_ns, now, start), 1u);
  EXPECT_EQ(deadline_tick(now.wall_ns + 1, now, start), 101u);
  EXPECT_EQ(deadline_tick(now.wall_ns + 10'000'000, now, start), 101u);
  EXPECT_EQ(deadline_tick(now.wall_ns + 10'000'001, now, start), 102u);
  EXPECT_EQ(deadline_tick(std::numeric_limits<std::int64_t>::max(), now, start), dispatch::kTickMax);
  EXPECT_EQ(engine::expiration_wall_ns(1'700'000'000), now.wall_ns);
  EXPECT_EQ(engine::expiration_wall_ns(std::numeric_limits<std::int64_t>::max()), std::numeric_limits<std::int64_t>::max());
  base::Prng prng(3);
  for (int i = 0; i < 10'000; ++i) {
    const auto left = static_cast<std::int64_t>(1 + prng.below(1'000'000'000'000'000));
    const dispatch::Tick tick = deadline_tick(now.wall_ns + left, now, start);
    const std::int64_t at = start + std::int64_t{tick} * dispatch::kTickNs - now.mono_ns;  // from now
    ASSERT_GE(at, left);
    ASSERT_LT(at - left, dispatch::kTickNs);
  }
}

// ---- proxies

TEST(Proxy, UrlsAreTakenApart) {
  struct Case {
    const char* url;
    const char* host;
    std::uint16_t port;
    const char* authorization;
  };
  for (const Case& c : {Case{"http://proxy.example:3128", "proxy.example", 3128, ""},
                        Case{"http://10.0.0.1:80/", "10.0.0.1", 80, ""},
                        Case{"http://[2001:db8::1]:8080", "2001:db8::1", 8080, ""},
                        Case{"http://a:b@p:1", "p", 1, "Basic YTpi"},
                        Case{"http://user@p:1", "p", 1, "Basic dXNlcjo="},
                        Case{"http://Aladdin:open%20sesame@[::1]:65535/", "::1", 65535, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
                        Case{"http://u:p%40%3a%2F:x@p:1", "p", 1, "Basic dTpwQDovOng="}}) {
    const auto proxy = engine::parse_proxy(c.url);
    ASSERT_TRUE(proxy.ok()) << c.url << ": " << message_of(proxy);
    EXPECT_EQ(proxy->host, c.host);
    EXPECT_EQ(proxy->port, c.port);
    EXPECT_EQ(proxy->authorization, c.authorization) << c.url;
  }
}

TEST(Proxy, WhatIsWrongIsSaidWithoutTheSecret) {
  for (const char* url : {"", "proxy:3128", "https://u:secret@p:1", "http://", "http://p", "http://u:secret@p", "http://:80",
                          "http://p:0", "http://p:65536", "http://p:8o", "http://p:80/x", "http://p:80?x", "http://[::1]",
                          "http://[::1:80", "http://[]:80", "http://[x]:80", "http://2001:db8::1:80", "http://:secret@p:1",
                          "http://u:secret%2@p:1", "http://u:secret%zz@p:1", "http://u:secret%0a@p:1", "http://u%3Av:secret@p:1",
                          "http://u:secret\n@p:1", "http://p q:1"}) {
    const auto proxy = engine::parse_proxy(url);
    ASSERT_FALSE(proxy.ok()) << url;
    EXPECT_EQ(proxy.error().code, Code::invalid_argument);
    EXPECT_EQ(proxy.error().message.find("proxy: "), 0u) << proxy.error().message;
    EXPECT_FALSE(says(proxy.error().message, "secret")) << proxy.error().message;
  }
}

// ---- provider tokens

TEST(ProviderTokens, OneSignatureForEachTimeAndTheLastTwoAreKept) {
  const auto key = apns::read_p8(p8_pem(), "ABC123DEFG", "TEAM456789").value();
  engine::ProviderTokens tokens(key);
  std::vector<std::string> seen(8);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < seen.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) seen[t] = tokens.token(1'700'000'000 + 1800 * static_cast<int>(t % 2));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(tokens.signatures(), 2u);
  EXPECT_EQ(seen[0], seen[2]);
  EXPECT_NE(seen[0], seen[1]);
  for (const std::string& token : seen) EXPECT_TRUE(apns::verify_provider_token(token, key->public_key()));
  EXPECT_EQ(apns::parse_provider_token(seen[1])->iat_unix_s, 1'700'001'800);
  tokens.token(1'700'003'600);  // in the place of the older one
  EXPECT_EQ(tokens.signatures(), 3u);
  EXPECT_EQ(tokens.token(1'700'003'600), engine::ProviderTokens(key).token(1'700'003'600));
  EXPECT_EQ(tokens.signatures(), 3u);
}

TEST(ProviderTokens, CredentialsWithOneKeyShareThem) {
  engine::ProviderTokenStore store;
  const auto read = [](const char* key_id, const char* team_id) { return apns::read_p8(p8_pem(), key_id, team_id).value(); };
  const auto one = store.of(read("ABC123DEFG", "TEAM456789"));
  const auto same = store.of(read("ABC123DEFG", "TEAM456789"));
  EXPECT_EQ(one, same);
  EXPECT_EQ(one->token(1'700'000'000), same->token(1'700'000'000));
  EXPECT_EQ(one->signatures(), 1u);
  EXPECT_NE(store.of(read("ABC123DEFH", "TEAM456789")), one);
  EXPECT_NE(store.of(read("ABC123DEFG", "TEAM456780")), one);
  std::weak_ptr<engine::ProviderTokens> gone;
  for (int i = 0; i < 100; ++i) gone = store.of(read("ABC123DEFG", ("TEAM4567" + std::to_string(10 + i % 90)).c_str()));
  EXPECT_TRUE(gone.expired()) << "the store keeps no key alive";
  EXPECT_EQ(store.of(read("ABC123DEFG", "TEAM456789")), one);
}

TEST(ProviderKey, IsCheckedBeforeAnyConnectionAndExcludesACertificate) {
  auto engine = Engine::start({}).value();
  CredentialOptions good = credential_options(closed_port());
  good.certificate_pem.clear();
  good.key_pem.clear();
  good.provider_key_p8 = p8_pem();
  good.provider_key_id = "ABC123DEFG";
  good.team_id = "TEAM456789";
  struct Case {
    Code code;
    const char* says;
    std::function<void(CredentialOptions&)> spoil;
  };
  for (const Case& c : {Case{Code::invalid_argument, "provider_key_p8", [](auto& o) { o.provider_key_p8.clear(); }},
                        Case{Code::invalid_argument, "key id", [](auto& o) { o.provider_key_id = "short"; }},
                        Case{Code::invalid_argument, "team id", [](auto& o) { o.team_id.clear(); }},
                        Case{Code::bad_key, "", [](auto& o) { o.provider_key_p8 = kit().push.certificate_pem; }},
                        Case{Code::bad_key, "RSA", [](auto& o) { o.provider_key_p8 = kit().push.key_pem; }},
                        Case{Code::invalid_argument, "one or the other", [](auto& o) {
                               o.certificate_pem = kit().push.certificate_pem;
                               o.key_pem = kit().push.key_pem;
                             }}}) {
    CredentialOptions options = good;
    c.spoil(options);
    const auto added = engine->add_credential(options);
    EXPECT_EQ(code_of(added), c.code) << c.says << ": " << message_of(added);
    EXPECT_TRUE(says(message_of(added), c.says)) << message_of(added);
    EXPECT_FALSE(says(message_of(added), "PRIVATE KEY-----")) << message_of(added);
  }
  ASSERT_TRUE(engine->add_credential(good).ok()) << message_of(engine->add_credential(good));
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.credentials[0].name, "TEAM456789.ABC123DEFG");
  EXPECT_EQ(stats.credentials[0].provider_key_id, "ABC123DEFG");
  EXPECT_EQ(stats.credentials[0].not_after_unix_s, 0);
}

// ---- routing

TEST(Route, ADeviceHasOneHomeShardWhateverTheLengthOfItsToken) {
  engine::CredentialEntry credential;
  credential.home = 5;
  credential.span = 3;
  std::vector<unsigned> hits(8, 0);
  for (std::uint64_t id = 0; id < 3000; ++id) {
    std::array<std::byte, 37> token{};
    const std::uint64_t word = base::mix64(id);
    std::memcpy(token.data(), &word, sizeof(word));
    const std::size_t bytes = 1 + id % token.size();
    const std::uint32_t shard = engine::route(credential, std::span(token).first(bytes), 8);
    EXPECT_EQ(shard, engine::route(credential, std::span(token).first(bytes), 8));
    ++hits.at(shard);
  }
  for (unsigned shard = 0; shard < 8; ++shard) {
    if (shard >= 5) {
      EXPECT_GT(hits[shard], 800u);
    } else {
      EXPECT_EQ(hits[shard], 0u);
    }
  }
}

// ---- the door

TEST(Group, NamesRatesAndHandlesAreChecked) {
  EngineOptions options;
  options.groups_max = 2;
  const Rig rig(options, credential_options(closed_port()));
  Engine& engine = *rig.engine;
  GroupOptions group;
  group.name = std::string(257, 'x');
  EXPECT_TRUE(says(message_of(engine.add_group(group)), "name has 257 bytes"));
  group.name = "campaign";
  group.rate = -1;
  EXPECT_EQ(code_of(engine.add_group(group)), Code::invalid_argument);
  group.rate = 50;
  const GroupHandle one = engine.add_group(group).value();
  EXPECT_EQ(one, static_cast<GroupHandle>(1));
  group.paused = true;
  EXPECT_TRUE(engine.add_group(group).ok());
  EXPECT_EQ(code_of(engine.add_group(group)), Code::capacity);
  EXPECT_TRUE(says(message_of(engine.add_group(group)), "groups_max"));

  for (const GroupHandle strange : {GroupHandle::none, static_cast<GroupHandle>(3)}) {
    EXPECT_EQ(code_of(engine.pause(strange)), Code::unknown_handle);
    EXPECT_EQ(code_of(engine.resume(strange)), Code::unknown_handle);
    EXPECT_EQ(code_of(engine.cancel(strange)), Code::unknown_handle);
    EXPECT_EQ(code_of(engine.set_rate(strange, 1)), Code::unknown_handle);
  }
  EXPECT_EQ(code_of(engine.set_rate(one, 1e-9)), Code::invalid_argument);
  EXPECT_EQ(code_of(engine.set_rate(2e9)), Code::invalid_argument);
  EXPECT_TRUE(engine.set_rate(one, 0).ok());
  EXPECT_TRUE(engine.set_rate(0).ok());
  EXPECT_TRUE(engine.pause(one).ok());
  EXPECT_TRUE(engine.pause(one).ok());
  EXPECT_TRUE(engine.resume(one).ok());
  EXPECT_TRUE(engine.cancel(one).ok());

  engine.stop();
  EXPECT_EQ(code_of(engine.pause(one)), Code::stopped);
  EXPECT_EQ(code_of(engine.add_group({})), Code::stopped);
  EXPECT_EQ(code_of(engine.set_rate(1)), Code::stopped);
  EXPECT_EQ(code_of(engine.cancel(std::span<const std::uint64_t>{})), Code::stopped);
  EXPECT_EQ(code_of(engine.add_credential(credential_options(443))), Code::stopped);
}

TEST(CancelIds, ListsAreBounded) {
  const Rig rig(EngineOptions{}, credential_options(closed_port()));
  const std::vector<std::uint64_t> many(65'537, 1);
  EXPECT_EQ(code_of(rig.engine->cancel(many)), Code::invalid_argument);
  EXPECT_TRUE(rig.engine->cancel(std::span(many).first(65'536)).ok());
  EXPECT_TRUE(rig.engine->cancel(std::span(many).first(0)).ok());
}

TEST(ReplaceCredential, IsCheckedLikeTheFirstAndChangesNothingOnAnError) {
  EngineOptions options;
  options.shards = 2;
  std::vector<std::string> warnings;
  options.log = [&](const LogRecord& record) {
    if (record.event == "credential_topic_changed") warnings.emplace_back(record.text);
  };
  CredentialOptions first = credential_options(closed_port());
  first.name = "first";
  first.span = 2;
  const Rig rig(options, first);
  Engine& engine = *rig.engine;

  CredentialOptions next = first;
  next.name = "second";
  next.key_pem.clear();
  EXPECT_TRUE(says(message_of(engine.replace_credential(rig.credential, next)), "key_pem"));
  next = first;
  next.span = 1;
  EXPECT_TRUE(says(message_of(engine.replace_credential(rig.credential, next)), "span is 1"));
  next.span = 0;
  next.connections_max = 1;
  EXPECT_TRUE(says(message_of(engine.replace_credential(rig.credential, next)), "connections_max"));
  EXPECT_EQ(code_of(engine.replace_credential(static_cast<CredentialHandle>(2), first)), Code::unknown_handle);
  EXPECT_EQ(engine.stats().credentials[0].name, "first");

  next = first;
  next.name = "second";
  next.span = 0;
  ASSERT_TRUE(engine.replace_credential(rig.credential, next).ok());
  EXPECT_EQ(engine.stats().credentials[0].name, "second");
  EXPECT_TRUE(warnings.empty());

  portal::Validity now;
  now.now_unix_s = std::time(nullptr);
  const auto other = portal::Authority::make(now).value()->issue_push({"com.example.another", {}, now}).value();
  next.certificate_pem = other.certificate_pem;
  next.key_pem = other.key_pem;
  ASSERT_TRUE(engine.replace_credential(rig.credential, next).ok());
  EXPECT_EQ(engine.stats().credentials[0].topic, "com.example.another");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(says(warnings[0], "com.example.another") && says(warnings[0], kit().topic)) << warnings[0];
}

TEST(RemoveCredential, ItsHandleIsUnknownFromThenOn) {
  const Rig rig(EngineOptions{}, credential_options(closed_port()));
  Engine& engine = *rig.engine;
  ASSERT_TRUE(engine.remove_credential(rig.credential).ok());
  EXPECT_EQ(code_of(engine.remove_credential(rig.credential)), Code::unknown_handle);
  EXPECT_EQ(code_of(engine.pause(rig.credential)), Code::unknown_handle);
  EXPECT_EQ(code_of(engine.roll_connections(rig.credential)), Code::unknown_handle);
  EXPECT_EQ(code_of(engine.set_rate(rig.credential, 5)), Code::unknown_handle);
  EXPECT_EQ(code_of(engine.replace_credential(rig.credential, credential_options(443))), Code::unknown_handle);
  auto submitter = engine.submitter().value();
  const Batch batch = rig.batch(0, 1);
  const SubmitResult said = submitter.submit(batch.pushes);
  EXPECT_EQ(said.error, Code::unknown_handle);
  EXPECT_EQ(said.message, "credential: it was removed");
  EXPECT_TRUE(engine.stats().credentials[0].removed);
  EXPECT_TRUE(engine.add_credential(credential_options(443)).ok()) << "others are not touched";
}

TEST(DeadTokens, ListsAreCheckedByFieldAndTakenWholeOrNotAtAll) {
  const Rig rig(EngineOptions{}, credential_options(closed_port()));
  const std::string hex = token_hex(1);
  const DeadToken good{std::string_view(hex), std::string_view("com.example"), 1'700'000'000'000};
  struct Case {
    const char* field;
    std::function<void(DeadToken&)> spoil;
  };
  const std::string long_topic(257, 'x');
  for (const Case& c : {Case{"tokens[2].token", [](DeadToken& t) { t.token = std::string_view("abc"); }},
                        Case{"tokens[2].token", [](DeadToken& t) { t.token = {}; }},
                        Case{"tokens[2].topic", [](DeadToken& t) { t.topic = {}; }},
                        Case{"tokens[2].topic", [&](DeadToken& t) { t.topic = std::string_view(long_topic); }},
                        Case{"tokens[2].unregistered_unix_ms", [](DeadToken& t) { t.unregistered_unix_ms = 0; }},
                        Case{"tokens[2].unregistered_unix_ms",
                             [](DeadToken& t) { t.unregistered_unix_ms = std::int64_t{1} << 48; }}}) {
    std::vector<DeadToken> tokens(4, good);
    c.spoil(tokens[2]);
    const auto said = rig.engine->add_dead_tokens(rig.credential, tokens);
    EXPECT_EQ(code_of(said), Code::invalid_argument) << c.field;
    EXPECT_EQ(message_of(said).find(c.field), 0u) << message_of(said);
  }
  const std::vector<DeadToken> many(kDeadTokensPerCall + 1, good);
  EXPECT_EQ(code_of(rig.engine->add_dead_tokens(rig.credential, many)), Code::invalid_argument);
  EXPECT_TRUE(rig.engine->add_dead_tokens(rig.credential, std::span(many).first(1000)).ok());
  EXPECT_EQ(code_of(rig.engine->add_dead_tokens(CredentialHandle::none, std::span(many).first(1))), Code::unknown_handle);

  EngineOptions without;
  without.dead_tokens_max = 0;
  const Rig none(without, credential_options(closed_port()));
  EXPECT_EQ(code_of(none.engine->add_dead_tokens(none.credential, std::span(many).first(1))), Code::unsupported);
}

}  // namespace
}  // namespace tocsin::engine_tests
