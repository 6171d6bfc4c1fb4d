// SPDX-License-Identifier: Apache-2.0
#include "tls/channel.h"

#include <algorithm>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "need_ipsec_mb.h"
#include "pair.h"
#include "pki.h"
#include "tls/context.h"

namespace tocsin::tls {
namespace {

using testing::End;
using testing::Pair;
using testing::Pki;
using testing::Scene;
using testing::noise;

// version, client crypto, server crypto, bytes at a time
using Case = std::tuple<unsigned, Crypto, Crypto, std::size_t>;

class ChannelCases : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto [version, client, server, piece] = GetParam();
    if (client == Crypto::ipsec_mb || server == Crypto::ipsec_mb) testing::need_ipsec_mb();
    setup.client_min = setup.client_max = version;
    setup.client_crypto = client;
    setup.server_crypto = server;
    setup.client = "client";
    setup.client_anchor = "root.pem";
    setup.require_client = true;
  }
  Scene setup;
};

TEST_P(ChannelCases, HandshakeFactsAndData) {
  const auto [version, client_crypto, server_crypto, piece] = GetParam();
  Pair pair(setup);
  pair.handshake(piece);
  ASSERT_TRUE(pair.open()) << pair.why();
  const Facts client = pair.client.channel->facts();
  const Facts server = pair.server.channel->facts();
  EXPECT_EQ(client.version, version == 13 ? "TLS 1.3" : "TLS 1.2");
  EXPECT_EQ(server.version, client.version);
  EXPECT_EQ(client.cipher, server.cipher);
  const bool aes = client.cipher.find("AES_128_GCM") != std::string::npos || client.cipher.find("AES128-GCM") != std::string::npos;
  EXPECT_EQ(aes, server_crypto == Crypto::ipsec_mb) << client.cipher;
  EXPECT_EQ(client.alpn, "h2");
  EXPECT_EQ(server.alpn, "h2");
  EXPECT_EQ(client.peer_subject, "CN=localhost");
  EXPECT_EQ(client.peer_root, "O=Tests, CN=root");
  EXPECT_EQ(server.peer_uid, "com.apple.mgmt.External.42");
  EXPECT_EQ(server.peer_subject, "UID=com.apple.mgmt.External.42, CN=APSP:42, C=US");
  EXPECT_EQ(server.peer_root, "O=Tests, CN=root");
  const std::uint64_t before = crypto_callback_calls();
  std::size_t records = 0;
  for (const std::size_t bytes : {1u, 2u, 160u, 16'383u, 16'384u, 16'385u, 50'000u, 1'000'000u}) {
    if (piece == 1 && bytes > 20'000) continue;
    for (const bool up : {true, false}) {
      const std::string text = noise(bytes, bytes + up);
      End& from = up ? pair.client : pair.server;
      End& to = up ? pair.server : pair.client;
      ASSERT_EQ(from.channel->send(base::as_bytes(text), from.wire), State::open);
      records += (bytes + 16'383) / 16'384;
      pair.pump(piece);
      ASSERT_TRUE(pair.open()) << pair.why();
      ASSERT_EQ(to.plain.size(), bytes);
      ASSERT_TRUE(base::as_text(to.plain.readable()) == text);
      to.plain.clear();
    }
  }
  const std::uint64_t sides = aes ? (client_crypto == Crypto::ipsec_mb) + (server_crypto == Crypto::ipsec_mb) : 0;
  EXPECT_EQ(crypto_callback_calls() - before, records * sides);
}

TEST_P(ChannelCases, CloseNotify) {
  Pair pair(setup);
  pair.handshake();
  ASSERT_TRUE(pair.open()) << pair.why();
  pair.client.channel->send(base::as_bytes("last words"), pair.client.wire);
  pair.client.channel->close(pair.client.wire);
  const std::size_t once = pair.client.wire.size();
  pair.client.channel->close(pair.client.wire);
  EXPECT_EQ(pair.client.wire.size(), once);
  Pair::move(pair.client, pair.server, 1 << 20);
  EXPECT_EQ(base::as_text(pair.server.plain.readable()), "last words");
  EXPECT_EQ(pair.server.channel->state(), State::closed);
  EXPECT_EQ(pair.server.channel->failure().cause, Cause::none);
  pair.server.channel->close(pair.server.wire);
  Pair::move(pair.server, pair.client, 1 << 20);
  EXPECT_EQ(pair.client.channel->state(), State::closed) << pair.why();
}

TEST_P(ChannelCases, TheOtherSideMayStillSpeakAfterOurClose) {
  Pair pair(setup);
  pair.handshake();
  ASSERT_TRUE(pair.open()) << pair.why();
  pair.client.channel->close(pair.client.wire);
  pair.server.channel->send(base::as_bytes("in flight"), pair.server.wire);
  Pair::move(pair.server, pair.client, 7);
  EXPECT_EQ(base::as_text(pair.client.plain.readable()), "in flight");
  EXPECT_EQ(pair.client.channel->send(base::as_bytes("no more"), pair.client.wire), State::open);
  Pair::move(pair.client, pair.server, 1 << 20);
  EXPECT_TRUE(pair.server.plain.empty());
}

TEST_P(ChannelCases, TamperedRecordFails) {
  for (const std::size_t at : {5u, 20u, 2'000u}) {
    Pair pair(setup);
    pair.handshake();
    ASSERT_TRUE(pair.open()) << pair.why();
    pair.client.channel->send(base::as_bytes(noise(4'000, 1)), pair.client.wire);
    pair.client.wire.mutable_begin()[at] ^= std::byte{1};
    Pair::move(pair.client, pair.server, 1 << 20);
    EXPECT_EQ(pair.server.channel->state(), State::failed);
    EXPECT_EQ(pair.server.channel->failure().cause, Cause::protocol);
    EXPECT_NE(pair.server.channel->failure().text.find("integrity"), std::string::npos) << pair.why();
    EXPECT_TRUE(pair.server.plain.empty());
    // The alert reaches the other side.
    ASSERT_FALSE(pair.server.wire.empty());
    Pair::move(pair.server, pair.client, 1 << 20);
    EXPECT_EQ(pair.client.channel->state(), State::failed);
    EXPECT_EQ(pair.client.channel->failure().cause, Cause::alert) << pair.why();
    EXPECT_NE(pair.client.channel->failure().text.find("bad_record_mac"), std::string::npos) << pair.why();
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChannelCases, ::testing::Combine(::testing::Values(12u, 13u),
    ::testing::Values(Crypto::wolfssl, Crypto::ipsec_mb), ::testing::Values(Crypto::wolfssl, Crypto::ipsec_mb),
    ::testing::Values(std::size_t{1}, std::size_t{1} << 20)),
    [](const ::testing::TestParamInfo<Case>& which) {
      const auto name = [](Crypto crypto) { return std::string(crypto == Crypto::ipsec_mb ? "Ipsec" : "Wolf"); };
      return "Tls" + std::to_string(std::get<0>(which.param)) + name(std::get<1>(which.param)) + name(std::get<2>(which.param)) +
             (std::get<3>(which.param) == 1 ? "Bytes" : "Blocks");
    });

// version of the client
class Failures : public ::testing::TestWithParam<unsigned> {
 protected:
  Scene scene(std::string client = {}) const {
    Scene setup;
    setup.client_min = setup.client_max = GetParam();
    setup.client = std::move(client);
    return setup;
  }
  // Runs the handshake, then lets the server say a word, as APNs' settings would.
  static void run(Pair& pair) {
    pair.handshake();
    if (pair.server.channel->state() == State::open) pair.server.channel->send(base::as_bytes("hello"), pair.server.wire);
    pair.pump();
  }
  static void expect_client(const Pair& pair, Cause cause, const std::string& words) {
    EXPECT_EQ(pair.client.channel->state(), State::failed);
    EXPECT_EQ(pair.client.channel->failure().cause, cause) << pair.why();
    EXPECT_NE(pair.client.channel->failure().text.find(words), std::string::npos) << pair.why();
    EXPECT_TRUE(pair.client.plain.empty());
  }
};

TEST_P(Failures, Untrusted) {
  Scene with = scene();
  with.anchor = "stranger.pem";
  Pair pair(with);
  run(pair);
  expect_client(pair, Cause::untrusted, "\"O=Tests, CN=root\" of \"CN=localhost\"");
  // The server hears of it, and by the alert's name.
  EXPECT_EQ(pair.server.channel->failure().cause, Cause::own_certificate_refused) << pair.why();
}

TEST_P(Failures, Expired) {
  Scene with = scene();
  with.server = "expired";
  Pair pair(with);
  run(pair);
  expect_client(pair, Cause::certificate_expired, "has expired (on 20");
}

TEST_P(Failures, WrongName) {
  Scene with = scene();
  with.server = "wrong";
  Pair pair(with);
  run(pair);
  expect_client(pair, Cause::name_mismatch, "is for other.example, 10.9.8.7, not for localhost");
}

TEST_P(Failures, WrongAddress) {
  for (const char* name : {"127.0.0.1", "::1"}) {
    Scene with = scene();
    with.server = "wrong";
    with.name = name;
    Pair pair(with);
    run(pair);
    expect_client(pair, Cause::name_mismatch, std::string("not for ") + name);
  }
}

TEST_P(Failures, RightAddress) {
  for (const char* name : {"127.0.0.1", "::1", "localhost."}) {
    Scene with = scene();
    with.name = name;
    Pair pair(with);
    run(pair);
    EXPECT_TRUE(pair.open()) << name << ": " << pair.why();
    EXPECT_EQ(base::as_text(pair.client.plain.readable()), "hello");
  }
}

TEST_P(Failures, AddressTextInADnsNameIsNoAddress) {
  Scene with = scene();
  with.server = "server";
  with.name = "127.0.0.2";
  Pair pair(with);
  run(pair);
  expect_client(pair, Cause::name_mismatch, "not for 127.0.0.2");
}

TEST_P(Failures, NoAlpn) {
  Scene with = scene();
  with.offer_alpn = false;
  Pair pair(with);
  run(pair);
  expect_client(pair, Cause::no_alpn, "h2");
  with.require_alpn = false;
  Pair lenient(with);
  run(lenient);
  EXPECT_TRUE(lenient.open()) << lenient.why();
  EXPECT_EQ(lenient.client.channel->facts().alpn, "");
}

TEST_P(Failures, ClientCertificateMissing) {
  Scene with = scene();
  with.client_anchor = "root.pem";
  with.require_client = true;
  Pair pair(with);
  run(pair);
  EXPECT_EQ(pair.server.channel->failure().cause, Cause::untrusted) << pair.why();
  EXPECT_EQ(pair.client.channel->state(), State::failed);
  const Failure& failure = pair.client.channel->failure();
  EXPECT_TRUE(failure.cause == Cause::own_certificate_refused || (GetParam() == 12 && failure.cause == Cause::alert)) << pair.why();
  EXPECT_NE(failure.text.find("client certificate and none was given"), std::string::npos) << pair.why();
}

TEST_P(Failures, ClientCertificateOptional) {
  Scene with = scene();
  with.client_anchor = "root.pem";
  Pair pair(with);
  run(pair);
  ASSERT_TRUE(pair.open()) << pair.why();
  EXPECT_EQ(pair.server.channel->facts().peer_uid, "");
}

TEST_P(Failures, ClientCertificateOfAStranger) {
  Scene with = scene("outsider");
  with.client_anchor = "root.pem";
  Pair pair(with);
  run(pair);
  EXPECT_EQ(pair.server.channel->failure().cause, Cause::untrusted) << pair.why();
  expect_client(pair, Cause::own_certificate_refused, "APSP:43");
}

TEST_P(Failures, NoCommonVersion) {
  Scene with = scene();
  with.server_min = with.server_max = GetParam() == 12 ? 13 : 12;
  Pair pair(with);
  run(pair);
  EXPECT_EQ(pair.client.channel->state(), State::failed);
  // A server that knows TLS 1.2 only cannot tell a version from a cipher that it lacks.
  EXPECT_EQ(pair.client.channel->failure().cause, GetParam() == 12 ? Cause::protocol : Cause::alert) << pair.why();
  EXPECT_NE(pair.client.channel->failure().text.find("version"), std::string::npos) << pair.why();
}

TEST_P(Failures, ChainThroughAnIntermediate) {
  Scene with = scene();
  with.server = "chained";
  Pair pair(with);
  run(pair);
  ASSERT_TRUE(pair.open()) << pair.why();
  EXPECT_EQ(pair.client.channel->facts().peer_root, "O=Tests, CN=root");
}

INSTANTIATE_TEST_SUITE_P(Versions, Failures, ::testing::Values(12u, 13u),
                         [](const ::testing::TestParamInfo<unsigned>& which) { return "Tls" + std::to_string(which.param); });

TEST(Channel, NotTls) {
  const std::string http2_settings("\x00\x00\x12\x04", 4);
  for (const std::string& answer : {std::string("HTTP/1.1 400 Bad Request\r\n"), std::string("SSH-2.0-OpenSSH"),
                                    std::string("\x16\x02\x01"), http2_settings}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}}) {
      Pair pair({});
      pair.start();
      pair.client.wire.clear();
      pair.server.wire.append(answer);
      Pair::move(pair.server, pair.client, piece);
      EXPECT_EQ(pair.client.channel->state(), State::failed);
      EXPECT_EQ(pair.client.channel->failure().cause, Cause::not_tls) << pair.why();
    }
  }
  Pair pair({});
  pair.start();
  pair.client.wire.clear();
  pair.client.wire.append("GET / HTTP/1.1\r\n\r\n");
  Pair::move(pair.client, pair.server, 1000);
  EXPECT_EQ(pair.server.channel->failure().cause, Cause::not_tls);
  EXPECT_EQ(pair.server.channel->failure().text, "the client does not speak TLS: it sent \"GET / HTTP/1.1\"; check host and port");
}

// Alerts by number, in the clear, as a server sends them before keys are agreed.
TEST(Channel, AlertsOfTheServer) {
  const std::tuple<int, Cause, const char*> cases[] = {
      {42, Cause::own_certificate_refused, "bad_certificate"},   {44, Cause::own_certificate_refused, "revoked"},
      {45, Cause::own_certificate_refused, "certificate_expired"}, {46, Cause::own_certificate_refused, "certificate_unknown"},
      {48, Cause::own_certificate_refused, "unknown_ca"},        {49, Cause::own_certificate_refused, "access_denied"},
      {116, Cause::own_certificate_refused, "certificate_required"}, {120, Cause::no_alpn, "no_application_protocol"},
      {70, Cause::protocol, "protocol_version"},                 {40, Cause::alert, "handshake_failure"},
      {80, Cause::alert, "internal_error"},                      {112, Cause::alert, "unrecognized_name"}};
  for (const auto& [number, cause, word] : cases) {
    Scene setup;
    setup.client = "client";
    Pair pair(setup);
    pair.start();
    const char alert[] = {0x15, 3, 3, 0, 2, 2, static_cast<char>(number)};
    pair.server.wire.append(std::string_view(alert, sizeof alert));
    Pair::move(pair.server, pair.client, 1000);
    EXPECT_EQ(pair.client.channel->state(), State::failed);
    EXPECT_EQ(pair.client.channel->failure().cause, cause) << word << ": " << pair.why();
    EXPECT_NE(pair.client.channel->failure().text.find(word), std::string::npos) << pair.why();
  }
}

TEST(Channel, NothingHappensAfterFailure) {
  Scene setup;
  setup.anchor = "stranger.pem";
  Pair pair(setup);
  pair.handshake();
  ASSERT_EQ(pair.client.channel->state(), State::failed);
  const std::string text = pair.client.channel->failure().text;
  base::ByteBuffer plain, wire;
  EXPECT_EQ(pair.client.channel->send(base::as_bytes("x"), wire), State::failed);
  EXPECT_EQ(pair.client.channel->receive(base::as_bytes("x"), plain, wire), State::failed);
  pair.client.channel->close(wire);
  EXPECT_TRUE(wire.empty());
  EXPECT_TRUE(plain.empty());
  EXPECT_EQ(pair.client.channel->failure().text, text);
}

TEST(Channel, GarbageInsideARecordFails) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Pair pair({});
    pair.start();
    std::string bytes = noise(40, seed);
    bytes[0] = static_cast<char>(20 + seed % 4);
    bytes[1] = 3;
    bytes[3] = 0;
    bytes[4] = 35;
    pair.server.wire.clear();
    pair.server.wire.append(bytes);
    Pair::move(pair.server, pair.client, 1000);
    EXPECT_NE(pair.client.channel->state(), State::open);
  }
}

TEST(Channel, Plain) {
  const auto channel = make_plain_channel();
  base::ByteBuffer plain, wire;
  EXPECT_EQ(channel->start(wire), State::open);
  EXPECT_EQ(channel->send(base::as_bytes("out"), wire), State::open);
  EXPECT_EQ(channel->receive(base::as_bytes("in"), plain, wire), State::open);
  EXPECT_EQ(base::as_text(wire.readable()), "out");
  EXPECT_EQ(base::as_text(plain.readable()), "in");
  EXPECT_EQ(channel->facts().alpn, "h2");
  EXPECT_EQ(channel->facts().version, "plain");
  channel->close(wire);
  EXPECT_EQ(wire.size(), 3u);
}

TEST(Context, BadOptions) {
  ClientOptions client;
  EXPECT_EQ(make_client_context(client).error().code, Code::invalid_argument);
  client.ca_pem = "no certificates";
  EXPECT_EQ(make_client_context(client).error().code, Code::bad_certificate);
  client.ca_pem = Pki::get().file("root.pem");
  client.version_min = 13;
  client.version_max = 12;
  EXPECT_EQ(make_client_context(client).error().code, Code::invalid_argument);
  client.version_max = 13;
  const auto context = make_client_context(client);
  ASSERT_TRUE(context.ok());
  EXPECT_EQ((*context)->connect("").error().code, Code::invalid_argument);
  EXPECT_EQ((*context)->connect(std::string(300, 'a')).error().code, Code::invalid_argument);
  ServerOptions server;
  EXPECT_EQ(make_server_context(server).error().code, Code::invalid_argument);
  const Identity identity = Pki::get().identity("server");
  server.identity = &identity;
  server.require_client_certificate = true;
  EXPECT_EQ(make_server_context(server).error().code, Code::invalid_argument);
}

// Each thread has its own expanded keys; contexts are shared.
TEST(Context, SeveralThreadsShareAContext) {
  const Pki& pki = Pki::get();
  const auto choice = choose_crypto(Crypto::automatic);
  ASSERT_TRUE(choice.ok());
  ClientOptions client_options;
  client_options.ca_pem = pki.file("root.pem");
  client_options.crypto = choice->crypto;
  const Identity identity = pki.identity("server");
  ServerOptions server_options;
  server_options.identity = &identity;
  server_options.crypto = choice->crypto;
  const auto client_context = make_client_context(client_options);
  const auto server_context = make_server_context(server_options);
  ASSERT_TRUE(client_context.ok() && server_context.ok());
  std::vector<std::thread> threads;
  std::vector<int> good(3, 0);
  for (std::size_t t = 0; t < good.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 5; ++round) {
        End client, server;
        client.channel = std::move(*(*client_context)->connect("localhost"));
        server.channel = std::move(*(*server_context)->accept());
        client.channel->start(client.wire);
        while (!client.wire.empty() || !server.wire.empty()) {
          Pair::move(client, server, 1 << 20);
          Pair::move(server, client, 1 << 20);
        }
        const std::string text = noise(100'000, t);
        client.channel->send(base::as_bytes(text), client.wire);
        Pair::move(client, server, 4096);
        good[t] += base::as_text(server.plain.readable()) == text ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, std::vector<int>(3, 5));
}

TEST(Channel, WarmBuffersDoNotGrow) {
  Scene setup;
  setup.client_crypto = setup.server_crypto = choose_crypto(Crypto::automatic)->crypto;
  Pair pair(setup);
  pair.handshake();
  ASSERT_TRUE(pair.open());
  std::size_t wire = 0, plain = 0;
  for (int round = 0; round < 20; ++round) {
    pair.client.channel->send(base::as_bytes(noise(32'768, 3)), pair.client.wire);
    Pair::move(pair.client, pair.server, 1 << 20);
    ASSERT_EQ(pair.server.plain.size(), 32'768u);
    pair.server.plain.clear();
    if (round == 3) {
      wire = pair.client.wire.capacity();
      plain = pair.server.plain.capacity();
    }
  }
  EXPECT_EQ(pair.client.wire.capacity(), wire);
  EXPECT_EQ(pair.server.plain.capacity(), plain);
}

}  // namespace
}  // namespace tocsin::tls
