// SPDX-License-Identifier: Apache-2.0
// The public door without a peer: options, credentials, templates, what submit takes and refuses, full engines.
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "rig.h"

namespace tocsin::engine_tests {
namespace {

template <class T>
std::string message_of(const Result<T>& result) { return result.ok() ? "(ok)" : result.error().message; }

template <class T>
Code code_of(const Result<T>& result) { return result.ok() ? Code::ok : result.error().code; }

bool names(const std::string& message, const std::string& field) { return message.find(field) != std::string::npos; }

TEST(EngineOptions, OutOfBoundsIsRefusedByName) {
  struct Case {
    const char* field;
    std::function<void(EngineOptions&)> spoil;
  };
  const Case cases[] = {
      {"shards", [](auto& o) { o.shards = 0; }},
      {"shards", [](auto& o) { o.shards = 257; }},
      {"pushes_max", [](auto& o) { o.pushes_max = 1023; }},
      {"pushes_max", [](auto& o) { o.pushes_max = 64'000'001; }},
      {"shard_queue_pushes_max", [](auto& o) { o.shard_queue_pushes_max = 255; }},
      {"shard_queue_bytes_max", [](auto& o) { o.shard_queue_bytes_max = 65'535; }},
      {"connections_max", [](auto& o) { o.connections_max = 0; }},
      {"connections_max", [](auto& o) { o.connections_max = 65'537; }},
      {"dials_max", [](auto& o) { o.dials_max = 0; }},
      {"dials_max", [](auto& o) { o.dials_max = 1025; }},
      {"templates_max", [](auto& o) { o.templates_max = 0; }},
      {"credentials_max", [](auto& o) { o.credentials_max = 1'000'001; }},
      {"attempts_max", [](auto& o) { o.attempts_max = 101; }},
      {"groups_max", [](auto& o) { o.groups_max = 0; }},
      {"groups_max", [](auto& o) { o.groups_max = 1'000'001; }},
      {"dead_tokens_max", [](auto& o) { o.dead_tokens_max = 64'000'001; }},
      {"rate", [](auto& o) { o.rate = -1; }},
      {"rate", [](auto& o) { o.rate = 0.0009; }},
      {"rate", [](auto& o) { o.rate = 1.1e9; }},
      {"rate", [](auto& o) { o.rate = std::numeric_limits<double>::quiet_NaN(); }},
      {"cpus", [](auto& o) { o.cpus = {1023}; }},
      {"cpus", [](auto& o) { o.cpus = {-1}; }},
      {"cpus", [](auto& o) { o.cpus = {1'000'000}; }},
  };
  for (const Case& c : cases) {
    EngineOptions options;
    c.spoil(options);
    const auto started = Engine::start(options);
    EXPECT_EQ(code_of(started), Code::invalid_argument) << c.field;
    EXPECT_TRUE(names(message_of(started), c.field)) << c.field << ": " << message_of(started);
  }
}

TEST(Credential, WhatIsWrongIsSaidBeforeAnyConnection) {
  struct Case {
    Code code;
    const char* says;
    std::function<void(CredentialOptions&)> spoil;
  };
  portal::Validity now;
  now.now_unix_s = std::time(nullptr);
  portal::Validity over = now;
  over.from_days = -400;
  auto authority = portal::Authority::make(now).value();
  const auto expired = authority->issue_push({kit().topic, {}, over}).value();
  const auto other = authority->issue_push({kit().topic, {}, now}).value();

  const Case cases[] = {
      {Code::invalid_argument, "port", [](auto& o) { o.port = 0; }},
      {Code::invalid_argument, "host", [](auto& o) { o.host.clear(); }},
      {Code::invalid_argument, "connections_max", [](auto& o) { o.connections_max = 0; }},
      {Code::invalid_argument, "connections_max", [](auto& o) { o.connections_max = 1025; }},
      {Code::invalid_argument, "connections_min", [](auto& o) { o.connections_min = 0; }},
      {Code::invalid_argument, "connections_min", [](auto& o) { o.connections_min = o.connections_max + 1; }},
      {Code::invalid_argument, "span", [](auto& o) { o.span = 2; }},
      {Code::invalid_argument, "streams_max", [](auto& o) { o.streams_max = 0; }},
      {Code::invalid_argument, "connect_timeout_ms", [](auto& o) { o.connect_timeout_ms = 9; }},
      {Code::invalid_argument, "handshake_timeout_ms", [](auto& o) { o.handshake_timeout_ms = 3'600'001; }},
      {Code::invalid_argument, "answer_timeout_ms", [](auto& o) { o.answer_timeout_ms = 0; }},
      {Code::invalid_argument, "backoff_min_ms", [](auto& o) { o.backoff_min_ms = 0; }},
      {Code::invalid_argument, "backoff_max_ms", [](auto& o) { o.backoff_max_ms = o.backoff_min_ms - 1; }},
      {Code::invalid_argument, "tls_min", [](auto& o) { o.tls_min = 11; }},
      {Code::invalid_argument, "tls_max", [](auto& o) { o.tls_min = 13, o.tls_max = 12; }},
      {Code::invalid_argument, "alternate_port", [](auto& o) { o.alternate_port = -2; }},
      {Code::invalid_argument, "alternate_port", [](auto& o) { o.alternate_port = 65'536; }},
      {Code::invalid_argument, "alternate_port", [](auto& o) { o.alternate_port = o.port; }},
      {Code::invalid_argument, "ping_after_ms", [](auto& o) { o.ping_after_ms = 9; }},
      {Code::invalid_argument, "ping_timeout_ms", [](auto& o) { o.ping_timeout_ms = 0; }},
      {Code::invalid_argument, "ping_idle_ms", [](auto& o) { o.ping_idle_ms = 3'600'001; }},
      {Code::invalid_argument, "probe_after_ms", [](auto& o) { o.probe_after_ms = 1; }},
      {Code::invalid_argument, "idle_close_ms", [](auto& o) { o.idle_close_ms = 999; }},
      {Code::invalid_argument, "outage_give_up_ms", [](auto& o) { o.outage_give_up_ms = 604'800'001; }},
      {Code::invalid_argument, "bad_tokens_share", [](auto& o) { o.bad_tokens_share = 1.01; }},
      {Code::invalid_argument, "bad_tokens_share", [](auto& o) { o.bad_tokens_share = -0.01; }},
      {Code::invalid_argument, "bad_tokens_least", [](auto& o) { o.bad_tokens_least = 9; }},
      {Code::invalid_argument, "rate", [](auto& o) { o.rate = -3; }},
      {Code::invalid_argument, "proxy", [](auto& o) { o.proxy = "http://user:not it@proxy"; }},
      {Code::invalid_argument, "proxy", [](auto& o) { o.proxy = "socks5://proxy:1080"; }},
      {Code::invalid_argument, "pkcs12", [](auto& o) { o.pkcs12 = kit().push_p12; }},
      {Code::invalid_argument, "key_pem", [](auto& o) { o.key_pem.clear(); }},
      {Code::invalid_argument, "certificate_pem", [](auto& o) { o.certificate_pem.clear(); }},
      {Code::key_mismatch, "key", [&](auto& o) { o.key_pem = other.key_pem; }},
      {Code::expired, "", [&](auto& o) { o.certificate_pem = expired.certificate_pem, o.key_pem = expired.key_pem; }},
      {Code::bad_password, "password", [](auto& o) {
         o.certificate_pem.clear(), o.key_pem.clear();
         o.pkcs12 = kit().push_p12, o.pkcs12_password = "not it";
       }},
      {Code::bad_certificate, "", [](auto& o) { o.certificate_pem = "no certificate"; }},
  };
  EngineOptions small;
  small.credentials_max = 1;
  auto engine = Engine::start(small).value();
  for (const Case& c : cases) {
    CredentialOptions options = credential_options(443);
    c.spoil(options);
    const auto added = engine->add_credential(options);
    EXPECT_EQ(code_of(added), c.code) << c.says << ": " << message_of(added);
    EXPECT_TRUE(names(message_of(added), c.says)) << message_of(added);
    EXPECT_FALSE(names(message_of(added), "not it")) << "a password was shown";
  }
  CredentialOptions p12 = credential_options(443);
  p12.certificate_pem.clear();
  p12.key_pem.clear();
  p12.pkcs12 = kit().push_p12;
  p12.pkcs12_password = "tocsin";
  ASSERT_TRUE(engine->add_credential(p12).ok());
  const auto full = engine->add_credential(p12);
  EXPECT_EQ(code_of(full), Code::capacity);
  EXPECT_TRUE(names(message_of(full), "credentials_max"));
  const EngineStats stats = engine->stats();
  ASSERT_EQ(stats.credentials.size(), 1u);
  EXPECT_EQ(stats.credentials[0].topic, kit().topic);
  EXPECT_GT(stats.credentials[0].not_after_unix_s, now.now_unix_s);
  EXPECT_EQ(stats.connections_opened + stats.dials_failed, 0u);
}

TEST(Template, WhatIsWrongIsSaidByName) {
  EngineOptions small;
  small.templates_max = 1;
  auto engine = Engine::start(small).value();
  struct Case {
    Code code;
    const char* says;
    std::function<void(TemplateOptions&)> spoil;
  };
  const Case cases[] = {
      {Code::invalid_argument, "topic", [](auto& o) { o.topic.clear(); }},
      {Code::invalid_argument, "priority", [](auto& o) { o.priority = 7; }},
      {Code::invalid_argument, "payload", [](auto& o) { o.payload = "{\"mdm\":"; }},
      {Code::invalid_argument, "payload", [](auto& o) { o.payload = R"({"mdm":"no mark"})"; }},
  };
  for (const Case& c : cases) {
    TemplateOptions options = mdm_template();
    c.spoil(options);
    const auto added = engine->add_template(options);
    EXPECT_EQ(code_of(added), c.code) << c.says << ": " << message_of(added);
    EXPECT_TRUE(names(message_of(added), c.says)) << message_of(added);
  }
  ASSERT_TRUE(engine->add_template(mdm_template()).ok());
  EXPECT_EQ(code_of(engine->add_template(mdm_template())), Code::capacity);
}

TEST(Submit, RefusesWhatItDoesNotActOnAndGoesOnBehindIt) {
  const Peer silent;
  const Rig rig(EngineOptions{}, credential_options(silent.port()));
  ASSERT_EQ(rig.engine->add_group({}).value(), static_cast<GroupHandle>(1));
  auto submitter = rig.engine->submitter().value();
  struct Case {
    Code code;
    const char* field;
    std::function<void(Push&)> spoil;
  };
  const std::string long_token(kTokenHexDigitsMax + 2, 'a');
  const std::string long_part(kPartBytesMax + 1, 'x');
  const std::string long_collapse(kCollapseIdBytesMax + 1, 'x');
  const Case cases[] = {
      {Code::unknown_handle, "group", [](Push& p) { p.group = static_cast<GroupHandle>(2); }},
      {Code::invalid_argument, "priority_class", [](Push& p) { p.priority_class = static_cast<PriorityClass>(3); }},
      {Code::invalid_argument, "deadline_unix_ns", [](Push& p) { p.deadline_unix_ns = -1; }},
      {Code::invalid_argument, "token_registered_unix_ms", [](Push& p) { p.token_registered_unix_ms = -1; }},
      {Code::invalid_argument, "token_registered_unix_ms",
       [](Push& p) { p.token_registered_unix_ms = std::int64_t{1} << 48; }},
      {Code::unsupported, "struct_bytes", [](Push& p) { p.struct_bytes += 8; }},
      {Code::unsupported, "version", [](Push& p) { p.version = 2; }},
      {Code::invalid_argument, "reserved", [](Push& p) { p.reserved = 1; }},
      {Code::invalid_argument, "policy", [](Push& p) { p.policy = static_cast<Policy>(7); }},
      {Code::unknown_handle, "template_handle", [](Push& p) { p.template_handle = TemplateHandle::none; }},
      {Code::unknown_handle, "template_handle", [](Push& p) { p.template_handle = static_cast<TemplateHandle>(99); }},
      {Code::unknown_handle, "credential", [](Push& p) { p.credential = CredentialHandle::none; }},
      {Code::unknown_handle, "credential", [](Push& p) { p.credential = static_cast<CredentialHandle>(2); }},
      {Code::invalid_argument, "token", [](Push& p) { p.token = {}; }},
      {Code::invalid_argument, "token", [](Push& p) { p.token = std::string_view("abc"); }},
      {Code::invalid_argument, "token", [](Push& p) { p.token = std::string_view("zz00"); }},
      {Code::invalid_argument, "token", [&](Push& p) { p.token = std::string_view(long_token); }},
      {Code::invalid_argument, "part", [&](Push& p) { p.part = std::string_view(long_part); }},
      {Code::invalid_argument, "part", [](Push& p) { p.part = std::string_view("\xff\xfe"); }},
      {Code::invalid_argument, "payload", [](Push& p) { p.payload = std::string_view("{}"); }},
      {Code::invalid_argument, "collapse_id", [&](Push& p) { p.collapse_id = std::string_view(long_collapse); }},
  };
  std::uint64_t taken = 0;
  std::size_t at = 0;
  for (const Case& c : cases) {
    Batch batch = rig.batch(taken, 700);
    const std::size_t wrong = at = (at * 7 + 3) % 700;  // somewhere in any chunk
    c.spoil(batch.pushes[wrong]);
    const SubmitResult said = submitter.submit(batch.pushes);
    EXPECT_EQ(said.taken, wrong) << c.field;
    EXPECT_EQ(said.error, c.code) << c.field << ": " << said.message;
    EXPECT_TRUE(names(said.message, c.field)) << c.field << ": " << said.message;
    taken += said.taken;
    const SubmitResult rest = submitter.submit(std::span<const Push>(batch.pushes).subspan(wrong + 1));
    EXPECT_EQ(rest.taken, 700 - wrong - 1);
    EXPECT_EQ(rest.error, Code::ok) << rest.message;
    taken += rest.taken;
  }
  // Forms of payload that do not fit their template.
  Batch own(0, 1, rig.own, rig.credential);
  own.own_payloads(64);
  own.pushes[0].part = std::string_view("x");
  EXPECT_TRUE(names(submitter.submit(own.pushes).message, "part"));
  own.pushes[0].part = {};
  own.pushes[0].payload = std::string_view("not JSON");
  EXPECT_TRUE(names(submitter.submit(own.pushes).message, "payload"));
  own.own_payloads(4097);
  EXPECT_TRUE(names(submitter.submit(own.pushes).message, "payload"));

  EXPECT_EQ(rig.engine->stats().submitted, taken);
  rig.engine->stop();
  const auto outcomes = rig.collect(taken);
  ASSERT_EQ(outcomes.size(), taken);
  for (const Outcome& outcome : outcomes) ASSERT_EQ(outcome.end, End::returned);
}

TEST(Submit, NothingIsTakenOfNothing) {
  const Rig rig(EngineOptions{}, credential_options(closed_port()));
  auto submitter = rig.engine->submitter().value();
  const SubmitResult said = submitter.submit({});
  EXPECT_EQ(said.taken, 0u);
  EXPECT_EQ(said.error, Code::ok);
}

TEST(Submit, AtMost256SubmittersAtATime) {
  const Rig rig(EngineOptions{}, credential_options(closed_port()));
  std::vector<Submitter> all;
  for (int i = 0; i < 256; ++i) all.push_back(rig.engine->submitter().value());
  EXPECT_EQ(code_of(rig.engine->submitter()), Code::capacity);
  all.pop_back();
  EXPECT_TRUE(rig.engine->submitter().ok());
  Submitter moved = std::move(all.front());
  all.front() = std::move(all.back());
  all.pop_back();
  EXPECT_EQ(moved.submit({}).error, Code::ok);
}

// Places are held until an outcome is read, so what is taken can be told to the push.
TEST(Full, PushesMaxCountsUntilOutcomesAreRead) {
  EngineOptions options;
  options.pushes_max = 1024;
  CredentialOptions who = credential_options(closed_port());
  who.backoff_min_ms = who.backoff_max_ms = 5;
  who.connect_give_up_ms = 30;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 3000);
  const SubmitResult first = submitter.submit(batch.pushes);
  EXPECT_EQ(first.taken, 1024u);
  EXPECT_EQ(first.error, Code::ok);
  EXPECT_EQ(submitter.submit(std::span<const Push>(batch.pushes).subspan(1024)).taken, 0u);
  std::size_t at = 1024;
  std::vector<std::uint8_t> seen(3000, 0);
  std::size_t read = 0;
  std::vector<Outcome> some(100);
  while (read < 3000) {
    const std::size_t got = rig.engine->wait(some, 10'000);
    ASSERT_NE(got, 0u);
    for (std::size_t i = 0; i < got; ++i) ASSERT_EQ(seen[some[i].id]++, 0u);
    read += got;
    const SubmitResult more = submitter.submit(std::span<const Push>(batch.pushes).subspan(at));
    EXPECT_EQ(more.taken, std::min(got, 3000 - at));  // exactly the places that were read
    at += more.taken;
  }
  EXPECT_EQ(rig.engine->poll(some), 0u);
}

TEST(Full, AShardTakesItsQueueAndNoMore) {
  EngineOptions options;
  options.shard_queue_pushes_max = 256;
  const auto peer = std::make_unique<Peer>();
  CredentialOptions who = credential_options(peer->port());
  who.handshake_timeout_ms = 300;
  who.connect_give_up_ms = 200;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 700);
  const SubmitResult said = submitter.submit(batch.pushes);
  EXPECT_EQ(said.taken, 256u);
  EXPECT_EQ(said.error, Code::ok);
  EXPECT_EQ(rig.engine->stats().waiting, 256u);
  const auto ended = rig.collect(256);
  ASSERT_EQ(ended.size(), 256u);
  EXPECT_EQ(ended[0].end, End::failed);
  EXPECT_EQ(ended[0].reason, Reason::cannot_connect);
  // They fail at once now, so that more than one queue's worth may get through.
  EXPECT_GE(submitter.submit(std::span<const Push>(batch.pushes).subspan(256)).taken, 256u);
  rig.engine->stop();
}

TEST(Full, AShardTakesItsBytesAndNoMore) {
  EngineOptions options;
  options.shard_queue_bytes_max = 64 << 10;
  const Peer peer;
  CredentialOptions who = credential_options(peer.port());
  who.handshake_timeout_ms = 300;
  who.connect_give_up_ms = 200;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  Batch batch(0, 100, rig.own, rig.credential);
  batch.own_payloads(4000);
  const std::size_t fit = (64 << 10) / (4000 + 32);  // payload and token
  const SubmitResult said = submitter.submit(batch.pushes);
  EXPECT_EQ(said.taken, fit);
  EXPECT_EQ(said.error, Code::ok);
  EXPECT_EQ(rig.engine->stats().queue_bytes, fit * 4032);
  // Small pushes need no bytes: they still fit.
  Batch small = rig.batch(1000, 50);
  EXPECT_EQ(submitter.submit(small.pushes).taken, 50u);
  ASSERT_EQ(rig.collect(fit + 50).size(), fit + 50);
  EXPECT_EQ(rig.engine->stats().queue_bytes, 0u);
  EXPECT_GE(submitter.submit(std::span<const Push>(batch.pushes).subspan(fit)).taken, fit);
  rig.engine->stop();
}

TEST(Stop, ReturnsWhatWasNeverWrittenAndIsIdempotent) {
  const Peer silent;
  EngineOptions options;
  options.shards = 2;
  const Rig rig(options, credential_options(silent.port()));
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 5000);
  ASSERT_EQ(submitter.submit(batch.pushes).taken, 5000u);
  EXPECT_FALSE(rig.engine->drain(50)) << "nothing can end while the peer is silent";
  EXPECT_EQ(submitter.submit(batch.pushes).error, Code::stopped) << "a draining engine takes nothing";
  rig.engine->stop(0);
  rig.engine->stop(0);
  rig.engine->stop(1000);
  EXPECT_TRUE(rig.engine->drain(0));
  const SubmitResult late = submitter.submit(batch.pushes);
  EXPECT_EQ(late.taken, 0u);
  EXPECT_EQ(late.error, Code::stopped);
  const auto outcomes = rig.collect(5000);
  ASSERT_EQ(outcomes.size(), 5000u);
  std::vector<std::uint8_t> seen(5000, 0);
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(seen[outcome.id]++, 0u);
    EXPECT_EQ(outcome.end, End::returned);
    EXPECT_EQ(outcome.reason, Reason::engine_stopped);
    EXPECT_EQ(outcome.attempts, 0u);
    EXPECT_EQ(outcome.sent_unix_ns, 0);
    EXPECT_GT(outcome.ended_unix_ns, 0);
  }
  EXPECT_EQ(rig.engine->stats().ends[static_cast<std::size_t>(End::returned)], 5000u);
  EXPECT_EQ(rig.engine->stats().waiting, 0u);
}

TEST(Stop, ReturnsWhatStillWaitsInTheInboxToo) {
  for (int round = 0; round < 10; ++round) {
    const Peer silent;
    const Rig rig(EngineOptions{}, credential_options(silent.port()));
    auto submitter = rig.engine->submitter().value();
    Batch batch = rig.batch(0, 20'000);  // many times what a worker takes in one step
    ASSERT_EQ(submitter.submit(batch.pushes).taken, 20'000u);
    rig.engine->stop();
    ASSERT_EQ(rig.collect(20'000, 5'000).size(), 20'000u);
  }
}

TEST(Stop, FromSeveralThreadsAndWithoutWork) {
  const Rig rig(EngineOptions{}, credential_options(closed_port()));
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { rig.engine->stop(); });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(rig.engine->drain(0));
}

}  // namespace
}  // namespace tocsin::engine_tests
