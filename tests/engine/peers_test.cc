// SPDX-License-Identifier: Apache-2.0
// The engine over real sockets: the mock, which keeps a ledger, and peers that are no push service.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include <gtest/gtest.h>

#include "base/hex.h"
#include "rig.h"

namespace tocsin::engine_tests {
namespace {

std::optional<mock::LedgerEntry> entry_of(const mockd::Server& server, std::uint64_t id) {
  std::array<std::uint8_t, 32> token{};
  base::hex_decode(token_hex(id), token.data());
  return server.find(std::as_bytes(std::span(token)));
}

// Submits all, however often the engine is full meanwhile.
void submit_all(Submitter& submitter, std::span<const Push> pushes) {
  while (!pushes.empty()) {
    const SubmitResult said = submitter.submit(pushes);
    ASSERT_EQ(said.error, Code::ok) << said.message;
    pushes = pushes.subspan(said.taken);
    if (said.taken == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::vector<Outcome> push_and_collect(const Rig& rig, std::uint64_t first, std::size_t count) {
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(first, count);
  EXPECT_EQ(submitter.submit(batch.pushes).taken, count);
  return rig.collect(count);
}

TEST(Outcome, SaysWhatTheLedgerSays) {
  mockd::Options options = mock_options();
  options.gateway.dead_share = 0.05;
  options.gateway.dead_base_unix_ms = std::int64_t{std::time(nullptr)} * 1000;
  options.gateway.reject_share = 0.1;
  const auto server = serve(std::move(options));
  EngineOptions engine_options;
  engine_options.shards = 2;
  const Rig rig(engine_options, credential_options(port_of(server->address())));
  constexpr std::size_t kCount = 20'000;
  const auto outcomes = push_and_collect(rig, 0, kCount);
  ASSERT_EQ(outcomes.size(), kCount);
  std::size_t ends[kEnds + 1] = {};
  std::size_t unregistered = 0;
  std::vector<std::uint8_t> seen(kCount, 0);
  std::set<Uuid> ids;
  for (const Outcome& o : outcomes) {
    ASSERT_EQ(seen[o.id]++, 0u);
    ++ends[static_cast<std::size_t>(o.end)];
    ids.insert(o.apns_id);
    const auto entry = entry_of(*server, o.id);
    ASSERT_TRUE(entry.has_value());
    ASSERT_EQ(entry->accepted, o.end == End::accepted ? 1u : 0u);
    ASSERT_EQ(entry->rejected, o.end == End::rejected ? 1u : 0u);
    ASSERT_EQ(entry->last_status, o.status);
    if (o.end == End::accepted) {
      ASSERT_EQ(o.status, 200);
      ASSERT_EQ(o.reason, Reason::none);
      ASSERT_EQ(entry->last_apns_id, o.apns_id);
    } else {
      ASSERT_NE(o.reason, Reason::none);
    }
    if (o.status == 410) {
      ++unregistered;
      ASSERT_GT(o.unregistered_unix_ms, 0);
    }
    ASSERT_EQ(o.attempts, 1);
    ASSERT_GT(o.submitted_unix_ns, 0);
    ASSERT_GE(o.sent_unix_ns, o.submitted_unix_ns);
    ASSERT_GE(o.ended_unix_ns, o.sent_unix_ns);
  }
  EXPECT_EQ(ids.size(), kCount) << "each push has its own apns-id";
  EXPECT_EQ(ends[1] + ends[2], kCount);
  EXPECT_GT(unregistered, kCount / 40);
  EXPECT_GT(ends[2], kCount / 10);
  ASSERT_TRUE(rig.engine->drain(10'000));
  const EngineStats stats = rig.engine->stats();
  EXPECT_EQ(stats.submitted, kCount);
  EXPECT_EQ(stats.outcomes, kCount);
  EXPECT_EQ(stats.ends[1], ends[1]);
  EXPECT_EQ(stats.attempts, kCount);
  EXPECT_EQ(stats.waiting + stats.in_flight, 0u);
  EXPECT_EQ(server->totals().requests, kCount);
}

TEST(Outcome, GivenIdsTokensAndPayloadsArrive) {
  const auto server = serve(mock_options());
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  std::vector<Push> pushes;
  Uuid given{};
  for (std::size_t i = 0; i < given.size(); ++i) given[i] = static_cast<std::uint8_t>(i + 1);
  const std::string longest(kTokenHexDigitsMax, 'e');
  const std::string awkward = "quote \" backslash \\ line\n \xc3\xa9";
  {
    // Copied before submit returns: the texts die before the pushes are sent.
    const auto token = std::make_unique<std::string>(longest);
    auto part = std::make_unique<std::string>(awkward);
    Push push;
    push.id = 7;
    push.token = std::string_view(*token);
    push.part = std::string_view(*part);
    push.collapse_id = std::string_view("one-of-these");
    push.template_handle = rig.mdm;
    push.credential = rig.credential;
    push.apns_id = given;
    ASSERT_EQ(submitter.submit({&push, 1}).taken, 1u);
    std::fill(part->begin(), part->end(), '\x01');
  }
  Batch own(100, 50, rig.own, rig.credential);
  own.own_payloads(4096);
  ASSERT_EQ(submitter.submit(own.pushes).taken, 50u);
  const auto outcomes = rig.collect(51);
  ASSERT_EQ(outcomes.size(), 51u);
  for (const Outcome& o : outcomes) {
    EXPECT_EQ(o.end, End::accepted) << o.id << ' ' << o.reason_view();
    EXPECT_EQ(o.apns_id == given, o.id == 7);
  }
  std::array<std::uint8_t, kTokenHexDigitsMax / 2> token{};
  base::hex_decode(longest, token.data());
  const auto entry = server->find(std::as_bytes(std::span(token)));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->last_apns_id, given);
}

TEST(Reading, ByPollWaitDispatchAndEventFd) {
  const auto server = serve(mock_options());
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  Engine& engine = *rig.engine;
  auto submitter = engine.submitter().value();
  std::vector<Outcome> some(64);
  EXPECT_EQ(engine.poll(some), 0u);
  EXPECT_EQ(engine.poll({}), 0u);
  const auto before = Clock::now();
  EXPECT_EQ(engine.wait(some, 50), 0u);
  EXPECT_GE(Clock::now() - before, std::chrono::milliseconds(50));

  std::set<std::uint64_t> seen;
  const auto note = [&seen](std::span<const Outcome> batch) {
    for (const Outcome& o : batch) EXPECT_TRUE(seen.insert(o.id).second);
  };
  // wait
  Batch first = rig.batch(0, 300);
  ASSERT_EQ(submitter.submit(first.pushes).taken, 300u);
  while (seen.size() < 300) {
    const std::size_t got = engine.wait(some, 10'000);
    ASSERT_NE(got, 0u);
    note(std::span(some).first(got));
  }
  // dispatch, with a bound
  Batch second = rig.batch(300, 3000);
  ASSERT_EQ(submitter.submit(second.pushes).taken, 3000u);
  ASSERT_TRUE(rig.engine->drain(20'000));
  std::size_t largest = 0;
  EXPECT_EQ(engine.dispatch([&](auto batch) { note(batch), largest = std::max(largest, batch.size()); }, 1500), 1500u);
  EXPECT_EQ(engine.dispatch([&](auto batch) { note(batch), largest = std::max(largest, batch.size()); }, 5000), 1500u);
  EXPECT_LE(largest, 1024u);
  EXPECT_EQ(engine.dispatch([&](auto) { ADD_FAILURE(); }, 10), 0u);
  EXPECT_EQ(seen.size(), 3300u);
}

TEST(Reading, TheEventFdSignalsEachArrivalAfterAnEmptyPoll) {
  const auto server = serve(mock_options());
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  std::vector<Outcome> some(64);
  for (std::uint64_t round = 0; round < 20; ++round) {
    Batch batch = rig.batch(round * 100, 100);
    ASSERT_EQ(submitter.submit(batch.pushes).taken, 100u);
    std::size_t got = 0;
    while (got < 100) {
      pollfd entry{rig.engine->outcome_event_fd(), POLLIN, 0};
      ASSERT_EQ(::poll(&entry, 1, 10'000), 1) << "no signal in round " << round << " after " << got;
      std::uint64_t count = 0;
      ASSERT_EQ(::read(entry.fd, &count, sizeof(count)), 8);
      for (std::size_t n = 0; (n = rig.engine->poll(some)) != 0;) got += n;
    }
    ASSERT_EQ(got, 100u);
  }
}

TEST(Threads, SeveralProducersAndPollersLoseAndDoubleNothing) {
  mockd::Options options = mock_options();
  options.workers = 2;
  options.gateway.reject_share = 0.2;
  const auto server = serve(std::move(options));
  EngineOptions engine_options;
  engine_options.shards = 2;
  engine_options.pushes_max = 4096;  // full most of the time
  engine_options.shard_queue_pushes_max = 1500;
  const Rig rig(engine_options, credential_options(port_of(server->address())));
  constexpr std::size_t kEach = 10'000;
  constexpr unsigned kProducers = 4;
  std::vector<std::atomic<std::uint8_t>> seen(kEach * kProducers);
  std::atomic<std::size_t> read{0}, accepted{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> pollers;
  for (unsigned i = 0; i < 3; ++i) {
    pollers.emplace_back([&, i] {
      std::vector<Outcome> some(100 + i);
      while (!done.load()) {
        const std::size_t got = i == 0 ? rig.engine->poll(some) : rig.engine->wait(some, 5);
        for (std::size_t n = 0; n < got; ++n) {
          ++seen[some[n].id];
          if (some[n].end == End::accepted) ++accepted;
        }
        read += got;
        if (got == 0 && i == 0) std::this_thread::yield();
      }
    });
  }
  std::vector<std::thread> producers;
  for (unsigned t = 0; t < kProducers; ++t) {
    producers.emplace_back([&, t] {
      auto submitter = rig.engine->submitter().value();
      Batch batch = rig.batch(t * kEach, kEach);
      submit_all(submitter, batch.pushes);
    });
  }
  for (auto& producer : producers) producer.join();
  EXPECT_TRUE(rig.engine->drain(60'000));
  const auto limit = Clock::now() + std::chrono::seconds(20);
  while (read.load() < seen.size() && Clock::now() < limit) std::this_thread::yield();
  done = true;
  for (auto& poller : pollers) poller.join();
  EXPECT_EQ(read.load(), seen.size());
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
  const mock::LedgerTotals totals = server->totals();
  EXPECT_EQ(totals.requests, seen.size());
  EXPECT_EQ(totals.accepted, accepted.load());
  EXPECT_EQ(totals.doubled, 0u);
}

TEST(Stop, RacesWithProducersAndStillConserves) {
  const auto server = serve(mock_options());
  for (int round = 0; round < 5; ++round) {
    EngineOptions options;
    options.shards = 2;
    const Rig rig(options, credential_options(port_of(server->address())));
    std::atomic<std::uint64_t> taken{0};
    std::vector<std::thread> producers;
    for (unsigned t = 0; t < 2; ++t) {
      producers.emplace_back([&, t] {
        auto submitter = rig.engine->submitter().value();
        Batch batch = rig.batch(t * 100'000, 500);
        for (;;) {
          const SubmitResult said = submitter.submit(batch.pushes);
          taken += said.taken;
          if (said.error == Code::stopped) return;
          if (said.taken == 0) std::this_thread::yield();
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10 * round));
    rig.engine->stop(round % 2 == 0 ? 0 : 200);
    for (auto& producer : producers) producer.join();
    EXPECT_EQ(rig.collect(taken.load()).size(), taken.load());
    std::vector<Outcome> more(1);
    EXPECT_EQ(rig.engine->poll(more), 0u);
  }
}

TEST(Stop, WithoutGraceWhatIsInFlightIsUnknownAndTheRestReturned) {
  mockd::Options options = mock_options();
  options.gateway.delay_ns = 30 * base::kSecond;
  options.http2.streams_max = 100;
  const auto server = serve(std::move(options));
  CredentialOptions who = credential_options(port_of(server->address()));
  who.connections_max = 1;
  const Rig rig(EngineOptions{}, who);
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 500);
  ASSERT_EQ(submitter.submit(batch.pushes).taken, 500u);
  const auto limit = Clock::now() + std::chrono::seconds(10);
  while (rig.engine->stats().in_flight < 100 && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(rig.engine->stats().in_flight, 100u) << "the peer's stream limit holds";
  const auto before = Clock::now();
  rig.engine->stop(100);
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(10));
  std::map<End, std::size_t> ends;
  for (const Outcome& o : rig.collect(500)) {
    ++ends[o.end];
    EXPECT_EQ(o.reason, Reason::engine_stopped) << o.reason_view();
    EXPECT_EQ(o.attempts, o.end == End::unknown ? 1u : 0u);
  }
  EXPECT_EQ(ends[End::unknown], 100u);
  EXPECT_EQ(ends[End::returned], 400u);
}

TEST(Stop, GraceLetsAnswersCome) {
  mockd::Options options = mock_options();
  options.gateway.delay_ns = 300 * base::kMillisecond;
  const auto server = serve(std::move(options));
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 200);
  ASSERT_EQ(submitter.submit(batch.pushes).taken, 200u);
  const auto limit = Clock::now() + std::chrono::seconds(10);
  while (rig.engine->stats().in_flight < 200 && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  rig.engine->stop(10'000);
  for (const Outcome& o : rig.collect(200)) EXPECT_EQ(o.end, End::accepted);
  EXPECT_EQ(server->totals().accepted, 200u);
}

TEST(Stop, ASecondCallWithLessGraceBringsTheEndNearer) {
  mockd::Options options = mock_options();
  options.gateway.delay_ns = 600 * base::kSecond;
  const auto server = serve(std::move(options));
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 50);
  ASSERT_EQ(submitter.submit(batch.pushes).taken, 50u);
  const auto limit = Clock::now() + std::chrono::seconds(10);
  while (rig.engine->stats().in_flight < 50 && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  std::atomic<bool> ended{false};
  std::thread patient([&] {
    rig.engine->stop(600'000);
    ended = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(ended) << "it waits for answers";
  EXPECT_EQ(rig.engine->stats().inside, 50u);
  rig.engine->stop(0);
  patient.join();
  EXPECT_EQ(rig.engine->stats().unread, 50u);
  for (const Outcome& o : rig.collect(50)) EXPECT_EQ(o.end, End::unknown);
  EXPECT_EQ(rig.engine->stats().unread, 0u);
  EXPECT_EQ(rig.engine->stats().inside, 0u);
}

TEST(Engines, TwoInOneProcessKeepApart) {
  const auto one = serve(mock_options());
  const auto two = serve(mock_options());
  EngineOptions software;
  software.tls_crypto = TlsCrypto::wolfssl;
  const Rig a(EngineOptions{}, credential_options(port_of(one->address())));
  {
    const Rig b(software, credential_options(port_of(two->address())));
    std::thread other([&] { EXPECT_EQ(push_and_collect(b, 50'000, 3000).size(), 3000u); });
    EXPECT_EQ(push_and_collect(a, 0, 3000).size(), 3000u);
    other.join();
    EXPECT_NE(b.engine->stats().tls_crypto.find("wolfssl"), std::string::npos);
  }
  EXPECT_EQ(push_and_collect(a, 3000, 1000).size(), 1000u) << "one outlives the other";
  EXPECT_EQ(one->totals().accepted, 4000u);
  EXPECT_EQ(two->totals().accepted, 3000u);
}

TEST(Life, AServerThatRestartsIsFoundAgain) {
  auto server = serve(mock_options());
  const std::string address = server->address();
  CredentialOptions who = credential_options(port_of(address));
  who.backoff_max_ms = 200;
  const Rig rig(EngineOptions{}, who);
  for (const Outcome& o : push_and_collect(rig, 0, 500)) EXPECT_EQ(o.end, End::accepted);
  server->stop(500);
  server.reset();
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(1000, 500);
  ASSERT_EQ(submitter.submit(batch.pushes).taken, 500u);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  mockd::Options again = mock_options();
  again.listen = address;
  server = serve(std::move(again));
  const auto outcomes = rig.collect(500);
  ASSERT_EQ(outcomes.size(), 500u);
  for (const Outcome& o : outcomes) EXPECT_EQ(o.end, End::accepted) << o.reason_view();
  EXPECT_EQ(server->totals().accepted, 500u);
}

// ---- peers that are no push service: a sentence, and an end

void expect_unreachable(CredentialOptions who, const std::string& says) {
  who.backoff_min_ms = 10;
  who.backoff_max_ms = 50;
  who.connect_give_up_ms = 1500;
  who.handshake_timeout_ms = 500;
  const auto before = Clock::now();
  const Rig rig(EngineOptions{}, who);
  const auto outcomes = push_and_collect(rig, 0, 20);
  const auto seconds = std::chrono::duration<double>(Clock::now() - before).count();
  ASSERT_EQ(outcomes.size(), 20u) << says;
  EXPECT_LT(seconds, 10.0) << says;
  for (const Outcome& o : outcomes) {
    EXPECT_EQ(o.end, End::failed);
    EXPECT_EQ(o.reason, Reason::cannot_connect);
    EXPECT_EQ(o.attempts, 0u);
    EXPECT_GT(o.reason_text_bytes, 0u);
  }
  const EngineStats stats = rig.engine->stats();
  ASSERT_EQ(stats.credentials.size(), 1u);
  EXPECT_TRUE(stats.credentials[0].gave_up);
  EXPECT_NE(stats.credentials[0].unreachable_since_unix_ns, 0);
  EXPECT_NE(stats.credentials[0].last_error.find(says), std::string::npos) << stats.credentials[0].last_error;
  // Later ones fail at once, not after another give-up time.
  const auto again = Clock::now();
  EXPECT_EQ(push_and_collect(rig, 100, 5).size(), 5u);
  EXPECT_LT(Clock::now() - again, std::chrono::milliseconds(1200));
}

TEST(Unreachable, ClosedPort) { expect_unreachable(credential_options(closed_port()), "Connection refused"); }

TEST(Unreachable, NameThatDoesNotExist) {
  CredentialOptions who = credential_options(443);
  who.host = "no-such-host.invalid";
  expect_unreachable(who, "no-such-host.invalid");
}

TEST(Unreachable, AuthorityNobodyKnows) {
  const auto server = serve(mock_options());
  CredentialOptions who = credential_options(port_of(server->address()));
  who.ca_pem = foreign_ca_pem();
  expect_unreachable(who, "is not trusted");
  EXPECT_EQ(server->totals().requests, 0u);
}

TEST(Unreachable, AnotherName) {
  const auto server = serve(mock_options());
  CredentialOptions who = credential_options(port_of(server->address()));
  who.tls_name = "push.example.com";
  expect_unreachable(who, "not for push.example.com");
  EXPECT_EQ(server->totals().requests, 0u);
}

TEST(Unreachable, ServerThatSpeaksPlainText) {
  const Peer peer([](int fd) {
    char first[512];
    [[maybe_unused]] const ssize_t got = ::recv(fd, first, sizeof(first), 0);
    static constexpr std::string_view kAnswer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    ::send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
  });
  expect_unreachable(credential_options(peer.port()), "does not speak TLS: it sent \"HTTP/1.1");
}

TEST(Unreachable, ServerThatClosesAtOnce) {
  const Peer peer([](int) {});
  expect_unreachable(credential_options(peer.port()), "127.0.0.1");
}

TEST(Unreachable, ServerThatSaysNothing) {
  const Peer peer;
  CredentialOptions who = credential_options(peer.port());
  expect_unreachable(who, "handshake");
}

TEST(Unreachable, ServerWithoutAlpn) {
  WOLFSSL_CTX* context = wolfSSL_CTX_new(wolfTLS_server_method());
  const auto& issued = kit().server;
  const auto bytes = [](const std::string& text) { return reinterpret_cast<const unsigned char*>(text.data()); };
  ASSERT_EQ(wolfSSL_CTX_use_certificate_chain_buffer(context, bytes(issued.certificate_pem),
                                                     static_cast<long>(issued.certificate_pem.size())), WOLFSSL_SUCCESS);
  ASSERT_EQ(wolfSSL_CTX_use_PrivateKey_buffer(context, bytes(issued.key_pem), static_cast<long>(issued.key_pem.size()),
                                              WOLFSSL_FILETYPE_PEM), WOLFSSL_SUCCESS);
  {
    const Peer peer([context](int fd) {
      WOLFSSL* ssl = wolfSSL_new(context);
      wolfSSL_set_fd(ssl, fd);
      if (wolfSSL_accept(ssl) == WOLFSSL_SUCCESS) {
        char first[64];
        wolfSSL_read(ssl, first, sizeof(first));
      }
      wolfSSL_free(ssl);
      wc_ecc_fp_free();  // tables of this thread
    });
    expect_unreachable(credential_options(peer.port()), "ALPN h2");
  }
  wolfSSL_CTX_free(context);
}

TEST(Unreachable, ServerThatWantsACertificateOfAnotherAuthority) {
  mockd::Options options = mock_options();
  options.client_ca_pem = foreign_ca_pem();
  options.require_client_certificate = true;
  const auto server = serve(std::move(options));
  expect_unreachable(credential_options(port_of(server->address())), "certificate");
}

}  // namespace
}  // namespace tocsin::engine_tests
