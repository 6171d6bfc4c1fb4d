// SPDX-License-Identifier: Apache-2.0
// The client session, each codec, against the server session in memory.
#include <cstdlib>
#include <functional>
#include <new>

#include "client_peer.h"
#include "h2/server_session.h"

namespace {
std::uint64_t allocations = 0;  // of this program's operator new, which is also what the sessions' heaps take from
}

// GCC sees malloc and free behind inlined new and delete and takes the pair for a mismatch.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace tocsin::h2 {
namespace {

using namespace test;

class EachClientAndServer : public EachClient {};
INSTANTIATE_TEST_SUITE_P(Codecs, EachClientAndServer, testing::Values(kFast, kNghttp2), codec_name);

// Both sessions in memory, with the bytes between them cut as the test likes.
struct Pair {
  explicit Pair(const ServerOptions& options = {})
      : server(std::move(make_nghttp2_server(options)).value()) {}

  void feed_server(base::ByteView bytes) {
    std::vector<ServerRequest> requests;
    const auto result = server->receive(bytes, requests);
    ASSERT_TRUE(result.ok()) << result.error().message;
    for (const ServerRequest& request : requests) on_request(request);
  }
  void feed_client(base::ByteView bytes) {
    const auto result = raw.client->receive(bytes, raw.answers, raw.events);
    ASSERT_TRUE(result.ok()) << result.error().message;
    for (const Answer& answer : raw.answers) on_answer(answer);
    raw.answers.clear();
  }
  template <class F>
  static void in_pieces(base::ByteView bytes, base::Prng* prng, F&& feed) {
    while (!bytes.empty()) {
      const std::size_t piece = prng == nullptr ? 1 : std::min<std::size_t>(bytes.size(), 1 + prng->below(3000));
      feed(bytes.first(piece));
      bytes = bytes.subspan(piece);
    }
  }
  void pump(base::Prng* prng) {
    raw.client->write_pending(raw.out);
    in_pieces(raw.out.readable(), prng, [&](base::ByteView piece) { feed_server(piece); });
    raw.out.clear();
    server->write_pending(back);
    in_pieces(back.readable(), prng, [&](base::ByteView piece) { feed_client(piece); });
    back.clear();
  }

  std::function<void(const ServerRequest&)> on_request = [](const ServerRequest&) {};
  std::function<void(const Answer&)> on_answer = [](const Answer&) {};
  Raw raw;
  std::unique_ptr<ServerSession> server;
  base::ByteBuffer back;
};

TEST_P(EachClientAndServer, RequestsDecodeAsTheyWereGiven) {
  for (const bool bytewise : {true, false}) {
    Pair pair;
    base::Prng prng(5);
    base::Prng* cuts = bytewise ? nullptr : &prng;
    std::uint64_t seen = 0;
    pair.on_request = [&](const ServerRequest& request) {
      const Values values(seen++);
      const std::vector<std::pair<std::string, std::string>> expected = {
          {":method", "POST"}, {":scheme", "https"}, {":authority", "api.push.apple.com"},
          {":path", "/3/device/" + base::hex_encode(values.token)}, {"apns-topic", "com.apple.mgmt.External.1"},
          {"apns-push-type", "mdm"}, {"apns-id", values.id_text()}, {"apns-collapse-id", "c-" + values.collapse}};
      ASSERT_EQ(request.fields.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(request.fields[i].name, expected[i].first);
        EXPECT_EQ(request.fields[i].value, expected[i].second);
      }
      EXPECT_EQ(base::as_text(request.body), "{\"mdm\":\"magic\"}");
      EXPECT_EQ(request.body_bytes, 15u);
    };
    pair.pump(cuts);
    const std::uint32_t prepared = pair.raw.client->prepare(push_fields(), {"{\"mdm\":\"", "\"}", true});
    for (std::uint64_t n = 0; n < 20; ++n) {
      const Values values(n);
      Request request = make_request(n, prepared, values);
      request.content = base::as_bytes("magic");
      ASSERT_EQ(pair.raw.client->write({&request, 1}, pair.raw.out), 1u);
      pair.pump(cuts);
    }
    EXPECT_EQ(seen, 20u);
  }
}

// 20,000 requests over 1,000 streams; answers come in another order than requests, and each carries what
// belongs to its tag.
TEST_P(EachClientAndServer, EveryAnswerHasItsTag) {
  Pair pair;
  base::Prng prng(11);
  struct Waiting {
    std::int32_t id;
    std::string apns_id;
    std::string body;
  };
  std::vector<Waiting> waiting;
  pair.on_request = [&](const ServerRequest& request) {
    waiting.push_back({request.stream_id, std::string(request.fields[6].value), std::string(base::as_text(request.body))});
  };
  constexpr std::uint64_t kTotal = 20'000;
  std::uint64_t next = 0;
  std::vector<bool> answered(kTotal);
  std::uint64_t count = 0;
  std::uint32_t open_most = 0;
  pair.on_answer = [&](const Answer& answer) {
    ASSERT_LT(answer.tag, kTotal);
    ASSERT_FALSE(answered[answer.tag]);
    answered[answer.tag] = true;
    ++count;
    ASSERT_EQ(answer.kind, AnswerKind::complete);
    ASSERT_EQ(answer.status, answer.tag % 3 == 0 ? 410 : 200);
    ASSERT_EQ(answer.captured[0], Values(answer.tag).id_text());
    ASSERT_EQ(base::as_text(answer.body), answer.tag % 3 == 0 ? "body " + std::to_string(answer.tag) : "");
  };
  pair.pump(&prng);
  while (count < kTotal && !HasFatalFailure()) {
    std::vector<Values> values;
    std::vector<std::string> bodies;
    std::vector<Request> requests;
    const std::uint64_t batch = std::min<std::uint64_t>(kTotal - next, prng.below(1200));
    for (std::uint64_t i = 0; i < batch; ++i) {
      values.emplace_back(next + i);
      bodies.push_back("body " + std::to_string(next + i));
    }
    for (std::uint64_t i = 0; i < batch; ++i) requests.push_back(make_request(next + i, pair.raw.prepared, values[i], bodies[i]));
    next += pair.raw.client->write(requests, pair.raw.out);
    open_most = std::max(open_most, pair.raw.client->open_streams());
    ASSERT_LE(open_most, 1000u);
    pair.pump(&prng);
    const std::size_t answers = next == kTotal ? waiting.size() : prng.below(waiting.size() + 1);
    for (std::size_t i = 0; i < answers; ++i) {
      std::swap(waiting[prng.below(waiting.size())], waiting.back());
      const Waiting one = waiting.back();
      waiting.pop_back();
      const bool dead = std::stoull(one.body.substr(5)) % 3 == 0;
      const FieldView fields[] = {{"apns-id", one.apns_id, prng.chance(0.5)}};
      ASSERT_TRUE(pair.server->respond(one.id, dead ? 410 : 200, fields, dead ? base::as_bytes(one.body) : base::ByteView{}));
    }
    pair.pump(&prng);
  }
  EXPECT_EQ(count, kTotal);
  EXPECT_EQ(open_most, 1000u);
  EXPECT_EQ(pair.raw.client->open_streams(), 0u);
  EXPECT_EQ(pair.server->open_streams(), 0u);
}

TEST_P(EachClientAndServer, BodiesLargerThanTheWindows) {
  for (const std::uint32_t stream_window : {65'535u, 100u}) {
    Pair pair({.window_bytes = stream_window});
    base::Prng prng(3);
    const std::string body(4096, 'p');
    std::size_t arrived = 0;
    std::size_t answered = 0;
    pair.on_request = [&](const ServerRequest& request) {
      ++arrived;
      EXPECT_EQ(base::as_text(request.body), body);
      EXPECT_TRUE(pair.server->respond(request.stream_id, 200, {}, {}));
    };
    pair.on_answer = [&](const Answer& answer) { answered += answer.status == 200; };
    pair.pump(&prng);
    std::size_t taken = 0;
    for (int round = 0; round < 2000 && answered < 100; ++round) {
      if (taken < 100) taken += pair.raw.send(100 - taken, body, taken);
      pair.pump(&prng);
    }
    EXPECT_EQ(arrived, 100u) << stream_window;
    EXPECT_EQ(answered, 100u);
  }
}

TEST_P(EachClientAndServer, NoAllocationAfterWarmUp) {
  Pair pair({.connection_window_bytes = 1 << 20});
  ClientSession& client = *pair.raw.client;
  ServerSession& server = *pair.server;
  pair.pump(nullptr);
  pair.pump(nullptr);
  constexpr std::size_t kBatch = 200;
  std::vector<Values> values;
  std::vector<Request> requests;
  for (std::size_t i = 0; i < kBatch; ++i) values.emplace_back(i);
  for (std::size_t i = 0; i < kBatch; ++i) requests.push_back(make_request(i, pair.raw.prepared, values[i], "{\"mdm\":\"0123456789\"}"));
  // Half of them as the engine's usual ones are.
  base::FieldList usual = push_fields();
  usual.fields.pop_back();
  const std::uint32_t usual_list = client.prepare(usual, {"{\"mdm\":\"", "\"}", true, base::SlotFormat::uuid});
  for (std::size_t i = 0; i < kBatch / 2; ++i) {
    requests[i].prepared = usual_list;
    requests[i].content = std::as_bytes(std::span(values[i].id));
  }
  std::vector<ServerRequest> arrived;
  std::vector<Answer> answers;
  std::vector<Event> events;
  std::size_t complete = 0;
  const auto round = [&] {
    ASSERT_EQ(client.write(requests, pair.raw.out), kBatch);
    arrived.clear();
    ASSERT_TRUE(server.receive(pair.raw.out.readable(), arrived).ok());
    pair.raw.out.clear();
    for (const ServerRequest& request : arrived) {
      const FieldView fields[] = {{"apns-id", request.fields[6].value, true}};
      server.respond(request.stream_id, 410, fields, base::as_bytes("{\"reason\":\"Unregistered\"}"));
    }
    server.write_pending(pair.back);
    answers.clear();
    ASSERT_TRUE(client.receive(pair.back.readable(), answers, events).ok());
    pair.back.clear();
    complete += answers.size();
  };
  for (int i = 0; i < 20; ++i) round();
  complete = 0;
  const std::uint64_t before = allocations;
  for (int i = 0; i < 50; ++i) round();
  const std::uint64_t during = allocations - before;
  EXPECT_EQ(complete, 10'000u);
  EXPECT_EQ(during, 0u);
}

}  // namespace
}  // namespace tocsin::h2
