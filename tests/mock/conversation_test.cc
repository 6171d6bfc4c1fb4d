// SPDX-License-Identifier: Apache-2.0
// The mock's conversation against our own client session, in memory: the faultless path, and every fault as the
// client sees it and as the ledger has it.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "apns/request.h"
#include "h2/client_session.h"
#include "mock/conversation.h"

namespace tocsin::mock {
namespace {

constexpr std::string_view kTopic = "com.apple.mgmt.External.0a1b2c3d";
constexpr std::int64_t kMs = base::kMillisecond;
using Ending = Conversation::Ending;

Peer mdm_peer() {
  Peer peer;
  peer.has_certificate = true;
  peer.uid = kTopic;
  return peer;
}

struct World {
  std::shared_ptr<GatewayConfig> config = std::make_shared<GatewayConfig>();
  h2::ServerOptions options;
  std::shared_ptr<const Script> script;
  std::unique_ptr<Service> service;
  base::Now now{1000 * base::kSecond, 1'700'000'000 * base::kSecond};

  explicit World(std::string_view text = {}) {
    if (text.empty()) return;
    auto parsed = Script::parse(text, "t");
    EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
    if (parsed.ok()) script = *parsed;
  }
  Service& server() {
    if (!service) service = std::make_unique<Service>(config, script, options, 1);
    return *service;
  }
  void pass(std::int64_t ns) {
    now.mono_ns += ns;
    now.wall_ns += ns;
  }
  std::uint64_t done(Fault fault) { return server().counts().of(fault); }
};

// One connection: our client on one side, a conversation on the other.
struct Wire {
  World& world;
  std::unique_ptr<h2::ClientSession> client;
  std::unique_ptr<Conversation> server;
  ConnectFaults faults;
  std::uint32_t prepared = 0;
  std::string to_client;  // all that the server ever said
  std::map<std::uint64_t, h2::Answer> answers;
  std::map<std::uint64_t, std::string> bodies;
  std::vector<h2::Event> events;
  std::vector<std::string> debugs;  // of GOAWAYs
  std::string client_error;
  std::size_t split = 0;  // bytes that reach the client at a time; 0: all at once

  explicit Wire(World& w, Peer peer = mdm_peer(), std::string authorization = {}, PushType type = PushType::mdm,
                std::string topic = std::string(kTopic))
      : world(w) {
    h2::ClientOptions options;
    options.captures = {"apns-id"};
    client = *h2::make_nghttp2_client(options);
    TemplateOptions push;
    push.topic = std::move(topic);
    push.push_type = type;
    prepared = client->prepare(apns::request_fields(push, "localhost", false, authorization), base::BodyShape::whole());
    faults = world.server().on_connect(world.now);
    server = world.server().converse(peer, faults, world.now);
    pump();
  }

  void reprepare(std::string authorization, std::string topic) {
    TemplateOptions push;
    push.topic = std::move(topic);
    push.push_type = PushType::alert;
    prepared = client->prepare(apns::request_fields(push, "localhost", false, authorization), base::BodyShape::whole());
  }

  void pump() {
    std::vector<h2::Answer> got;
    std::vector<h2::Event> heard;
    for (int round = 0; round < 12; ++round) {
      base::ByteBuffer up;
      client->write_pending(up);
      if (!up.empty()) server->receive(up.readable(), world.now);
      if (server->deadline() <= world.now.mono_ns) server->run(world.now);
      base::ByteBuffer down;
      server->write(down, world.now);
      if (up.empty() && down.empty()) return;
      const std::string_view text = base::as_text(down.readable());
      to_client.append(text);
      if (!client_error.empty()) continue;
      const std::size_t step = split == 0 ? std::max<std::size_t>(text.size(), 1) : split;
      for (std::size_t at = 0; at < text.size() && client_error.empty(); at += step) {
        got.clear();
        heard.clear();
        const Result<void> read = client->receive(base::as_bytes(text.substr(at, step)), got, heard);
        for (h2::Answer& answer : got) {
          bodies[answer.tag] = base::as_text(answer.body);
          answer.body = {};
          answer.captured = {};
          answers[answer.tag] = answer;
        }
        for (const h2::Event& event : heard) {
          events.push_back(event);
          if (event.kind == h2::EventKind::goaway) debugs.emplace_back(event.debug);
        }
        if (!read.ok()) client_error = read.error().message;
      }
    }
  }

  // Writes pushes with these tags in one batch, then lets both sides talk. The token's last byte is the tag.
  void push(std::initializer_list<std::uint64_t> tags) { push(std::vector<std::uint64_t>(tags)); }
  void push(const std::vector<std::uint64_t>& tags) {
    static constexpr std::string_view kBody = R"({"mdm":"magic"})";
    static constexpr std::string_view kAlert = R"({"aps":{"alert":"x"}})";
    std::vector<std::array<std::uint8_t, 4>> tokens;
    std::vector<Uuid> ids;
    std::vector<h2::Request> requests;
    for (const std::uint64_t tag : tags) {
      tokens.push_back(token(tag));
      ids.push_back(Uuid{1, 2, 3, static_cast<std::uint8_t>(tag)});
    }
    for (std::size_t i = 0; i < tags.size(); ++i) {
      h2::Request request;
      request.tag = tags[i];
      request.prepared = prepared;
      request.slots[0] = std::as_bytes(std::span(tokens[i]));
      request.slots[1] = std::as_bytes(std::span(ids[i]));
      request.content = base::as_bytes(alert ? kAlert : kBody);
      requests.push_back(request);
    }
    base::ByteBuffer up;
    written = client->write(requests, up);
    if (!up.empty()) server->receive(up.readable(), world.now);
    pump();
  }
  bool alert = false;
  std::size_t written = 0;

  static std::array<std::uint8_t, 4> token(std::uint64_t tag) { return {0xaa, 0xbb, 0xcc, static_cast<std::uint8_t>(tag)}; }
  std::uint32_t accepted(std::uint64_t tag) {
    const auto bytes = token(tag);
    const LedgerEntry* entry = world.server().gateway().ledger().find(std::as_bytes(std::span(bytes)));
    return entry == nullptr ? 0 : entry->accepted;
  }
  std::uint16_t status(std::uint64_t tag) { return answers.contains(tag) ? answers[tag].status : std::uint16_t{0}; }
  const h2::Event* goaway(std::size_t which = 0) {
    for (const h2::Event& event : events) {
      if (event.kind == h2::EventKind::goaway && which-- == 0) return &event;
    }
    return nullptr;
  }
};

TEST(Conversation, AnswersAndBooksWithoutAScript) {
  World world;
  Wire wire(world);
  wire.push({1, 2, 3});
  EXPECT_EQ(wire.status(1), 200);
  EXPECT_EQ(wire.status(3), 200);
  EXPECT_EQ(wire.accepted(2), 1u);
  EXPECT_EQ(wire.server->last_accepted_stream(), 5);
  EXPECT_EQ(wire.server->goaway_last(), -1);
  EXPECT_EQ(wire.server->connection(), 1u);
  EXPECT_EQ(world.server().traffic().accepted, 3u);
  EXPECT_EQ(wire.server->ending(), Ending::none);
  EXPECT_EQ(wire.server->deadline(), base::kNever);
  EXPECT_EQ(world.server().counts().sum(), 0u);
}

TEST(Conversation, DelayedAnswersWaitAndDrainEnds) {
  World world;
  world.config->delay_ns = 50 * kMs;
  Wire wire(world);
  wire.push({1, 2});
  EXPECT_TRUE(wire.answers.empty());
  EXPECT_EQ(wire.accepted(1), 1u);
  EXPECT_EQ(world.server().traffic().answers_waiting, 2u);
  EXPECT_EQ(wire.server->deadline(), world.now.mono_ns + 50 * kMs);
  wire.server->drain();
  wire.pump();
  EXPECT_EQ(wire.server->goaway_last(), 3);
  EXPECT_EQ(wire.server->ending(), Ending::none);
  world.pass(50 * kMs);
  wire.pump();
  EXPECT_EQ(wire.status(1), 200);
  EXPECT_EQ(wire.status(2), 200);
  EXPECT_EQ(wire.server->ending(), Ending::close);
  EXPECT_EQ(world.server().traffic().answers_waiting, 0u);
}

TEST(Conversation, SaysWhatTheClientDidWrong) {
  World world;
  const ConnectFaults faults = world.server().on_connect(world.now);
  const auto server = world.server().converse(mdm_peer(), faults, world.now);
  server->receive(base::as_bytes("GET / HTTP/1.1\r\n\r\n-------"), world.now);
  EXPECT_TRUE(server->broken());
  EXPECT_FALSE(server->why().empty());
  EXPECT_EQ(server->ending(), Ending::close);
}

// One push (tag 5) amid others, by a rule that strikes the third request; what client and ledger then have.
struct FaultRow {
  const char* action;
  std::uint16_t status;         // of tag 3's answer; 0: none
  std::uint32_t booked;         // how often the ledger accepted tag 3
  bool reset;                   // tag 3's stream was reset
  Ending ending;
  std::uint16_t later_status;   // of tag 4, in the same batch
  std::function<void(World&, Wire&)> more;
};

TEST(Conversation, EveryFaultOfARequest) {
  const FaultRow rows[] = {
      {"answer 503 ServiceUnavailable", 503, 0, false, Ending::none, 200,
       [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], R"({"reason":"ServiceUnavailable"})"); }},
      {"answer 410 Unregistered timestamp 1700000000123", 410, 0, false, Ending::none, 200,
       [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], R"({"reason":"Unregistered","timestamp":1700000000123})"); }},
      {"answer 410 Unregistered", 410, 0, false, Ending::none, 200,
       [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], R"({"reason":"Unregistered","timestamp":1700000000000})"); }},
      {"answer 410 ExpiredToken timestamp -1s", 410, 0, false, Ending::none, 200,
       [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], R"({"reason":"ExpiredToken","timestamp":1699999999000})"); }},
      {"answer 418 Teapot", 418, 0, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], R"({"reason":"Teapot"})"); }},
      {"answer 500", 500, 0, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], ""); }},
      {"answer 429 TooManyRequests hold 2s", 429, 0, false, Ending::none, 200,
       [](World& world, Wire& w) {
         world.pass(1999 * kMs);
         w.push({3});
         EXPECT_EQ(w.status(3), 429);
         world.pass(kMs);
         w.push({3});
         EXPECT_EQ(w.status(3), 200);
         EXPECT_EQ(world.done(Fault::answer), 2u);
       }},
      {"broken-body", 500, 0, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.bodies[3], "{\"reason\":\"Intern"); }},
      {"oversized-body 20000", 500, 0, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_TRUE(w.answers[3].body_cut); }},
      {"no-answer", 0, 0, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.server->open_streams(), 1u); }},
      {"no-answer-but-accept", 0, 1, false, Ending::none, 200, nullptr},
      {"delay 700ms", 0, 1, false, Ending::none, 200,
       [](World& world, Wire& w) {
         world.pass(700 * kMs);
         w.pump();
         EXPECT_EQ(w.status(3), 200);
       }},
      {"delay 700ms, answer 503", 0, 0, false, Ending::none, 200,
       [](World& world, Wire& w) {
         world.pass(700 * kMs);
         w.pump();
         EXPECT_EQ(w.status(3), 503);
       }},
      {"reset REFUSED_STREAM", 0, 0, true, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.answers[3].error_code, 7u); }},
      {"reset INTERNAL_ERROR accepted", 0, 1, true, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.answers[3].error_code, 2u); }},
      {"reset CANCEL after headers", 200, 1, true, Ending::none, 200,
       [](World&, Wire& w) {
         EXPECT_TRUE(w.answers[3].headers_seen);
         w.push({6, 7});  // the header tables of both sides are still in step
         EXPECT_EQ(w.status(7), 200);
       }},
      {"close", 0, 0, false, Ending::close, 0, nullptr},
      {"tcp-reset", 0, 0, false, Ending::reset, 0, nullptr},
      {"half-close", 0, 0, false, Ending::half_close, 0, nullptr},
      {"tls alert", 0, 0, false, Ending::alert, 0, nullptr},
      {"no-answer-but-accept, tcp-reset", 0, 1, false, Ending::reset, 0, nullptr},
      {"reset INTERNAL_ERROR accepted, close", 0, 1, true, Ending::close, 0, nullptr},
      {"vanish", 0, 0, false, Ending::none, 0,
       [](World& world, Wire& w) {
         EXPECT_TRUE(w.server->vanished());
         const std::size_t said = w.to_client.size();
         w.client->ping(1);
         world.pass(base::kSecond);
         w.push({6});
         EXPECT_EQ(w.to_client.size(), said);
         EXPECT_EQ(w.accepted(6), 0u);
         EXPECT_EQ(w.server->deadline(), base::kNever);
       }},
      {"garbage", 0, 0, false, Ending::half_close, 0, [](World&, Wire& w) { EXPECT_FALSE(w.client_error.empty()); }},
      {"unknown-frame", 200, 1, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.client_error, ""); }},
      {"goaway", 200, 1, false, Ending::close, 200,
       [](World&, Wire& w) {
         ASSERT_NE(w.goaway(), nullptr);
         EXPECT_EQ(w.goaway()->last_stream_id, 9);
         EXPECT_EQ(w.server->goaway_last(), 9);
       }},
      {"goaway last -2 reason Shutdown", 200, 1, false, Ending::close, 0,
       [](World&, Wire& w) {
         ASSERT_NE(w.goaway(), nullptr);
         EXPECT_EQ(w.goaway()->last_stream_id, 5);
         EXPECT_EQ(w.debugs[0], R"({"reason":"Shutdown"})");
         EXPECT_EQ(w.accepted(4) + w.accepted(5), 0u);
       }},
      {"goaway last none code ENHANCE_YOUR_CALM", 0, 0, true, Ending::close, 0,
       [](World&, Wire& w) {
         ASSERT_NE(w.goaway(), nullptr);
         EXPECT_EQ(w.goaway()->last_stream_id, 3) << "what was judged is not disowned";
         EXPECT_EQ(w.goaway()->error_code, 11u);
         EXPECT_EQ(w.status(2), 200);
       }},
      {"goaway last 7", 200, 1, false, Ending::close, 200, [](World&, Wire& w) { EXPECT_EQ(w.accepted(5), 0u); }},
      {"goaway last all text \"for ever\"", 200, 1, false, Ending::none, 200,
       [](World&, Wire& w) {
         ASSERT_NE(w.goaway(), nullptr);
         EXPECT_EQ(w.goaway()->last_stream_id, 0x7fffffff);
         EXPECT_EQ(w.debugs[0], "for ever");
         EXPECT_EQ(w.server->goaway_last(), 0x7fffffff);
       }},
      {"goaway twice, delay 100ms", 0, 1, false, Ending::none, 200,
       [](World& world, Wire& w) {
         ASSERT_NE(w.goaway(), nullptr);
         EXPECT_EQ(w.goaway()->last_stream_id, 0x7fffffff);
         EXPECT_EQ(w.goaway(1), nullptr);
         world.pass(20 * kMs);
         w.pump();
         EXPECT_EQ(w.client_error, "");
         EXPECT_EQ(w.server->goaway_last(), 9);
         ASSERT_NE(w.goaway(1), nullptr);
         EXPECT_EQ(w.goaway(1)->last_stream_id, 9);
         EXPECT_EQ(w.server->ending(), Ending::none);
         world.pass(80 * kMs);
         w.pump();
         EXPECT_EQ(w.status(3), 200);
         EXPECT_EQ(w.server->ending(), Ending::close);
       }},
      {"streams 1", 200, 1, false, Ending::none, 200,
       [](World&, Wire& w) {
         EXPECT_EQ(w.client->peer_streams_max(), 1u);
         EXPECT_EQ(w.server->streams_max(), 1u);
         w.push({6, 7});
         EXPECT_EQ(w.written, 1u);
       }},
      {"window 0", 200, 1, false, Ending::none, 200,
       [](World&, Wire& w) {
         w.push({6});
         EXPECT_EQ(w.accepted(6), 0u);
       }},
      {"settings MAX_CONCURRENT_STREAMS 3", 200, 1, false, Ending::none, 200,
       [](World&, Wire& w) { EXPECT_EQ(w.client->peer_streams_max(), 3u); }},
      {"settings 4660 1", 200, 1, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.client_error, ""); }},
      {"ping-silence", 200, 1, false, Ending::none, 200,
       [](World&, Wire& w) {
         w.client->ping(77);
         w.pump();
         EXPECT_EQ(w.server->pings_seen(), 1u);
         EXPECT_TRUE(std::none_of(w.events.begin(), w.events.end(), [](const h2::Event& e) { return e.kind == h2::EventKind::ping_ack; }));
       }},
      {"slow 3/10ms", 200, 1, false, Ending::none, 200, [](World&, Wire& w) { EXPECT_EQ(w.server->pace(), (Pace{3, 10 * kMs})); }},
      {"stall 3s", 0, 1, false, Ending::none, 0,
       [](World& world, Wire& w) {
         EXPECT_EQ(world.server().stalled_until(world.now), world.now.mono_ns + 3 * base::kSecond);
         EXPECT_EQ(w.server->deadline(), world.now.mono_ns + 3 * base::kSecond);
         world.pass(3 * base::kSecond);
         w.pump();
         EXPECT_EQ(w.status(3), 200);
         EXPECT_EQ(w.status(5), 200);
       }},
      {"no-window-updates", 200, 1, false, Ending::none, 200,
       [](World&, Wire& w) {
         const std::int64_t before = w.client->send_window();
         for (int i = 0; i < 3000; ++i) w.push({6});
         EXPECT_LT(w.client->send_window(), before - 30'000);
       }},
  };
  for (const FaultRow& row : rows) {
    SCOPED_TRACE(row.action);
    for (const std::size_t split : {std::size_t{0}, std::size_t{1}}) {
      World world(std::string("when request 3 -> ") + row.action);
      Wire wire(world);
      wire.split = split;
      wire.push({1, 2, 3, 4, 5});
      EXPECT_EQ(wire.status(3), row.status);
      EXPECT_EQ(wire.accepted(3), row.booked);
      EXPECT_EQ(wire.answers.contains(3) && wire.answers[3].kind == h2::AnswerKind::reset, row.reset);
      EXPECT_EQ(wire.server->ending(), row.ending);
      EXPECT_EQ(wire.status(4), row.later_status);
      EXPECT_FALSE(wire.server->broken()) << wire.server->why();
      EXPECT_GT(world.server().counts().sum(), 0u);
      if (row.more) row.more(world, wire);
      EXPECT_FALSE(wire.server->broken()) << wire.server->why();
    }
  }
}

TEST(Conversation, FaultsOfTheConnectionFromItsBeginning) {
  World world("when connection 1 -> streams 2, window 100\nwhen connection 2 -> goaway last none reason Shutdown\n"
              "when connection 3 -> probe\nwhen connection 4 -> slow 1/1ms, ping-silence\nwhen connection 5 -> refuse\n"
              "when connection 6 -> tls wrong-name");
  Wire first(world);
  EXPECT_EQ(first.client->peer_streams_max(), 2u);
  EXPECT_EQ(first.server->streams_max(), 2u);
  Wire second(world);
  ASSERT_NE(second.goaway(), nullptr);
  EXPECT_EQ(second.goaway()->last_stream_id, 0);
  EXPECT_EQ(second.server->ending(), Ending::close);
  Wire third(world);
  EXPECT_EQ(third.client->peer_streams_max(), 1u);
  third.push({1});
  EXPECT_EQ(third.status(1), 200);
  EXPECT_EQ(third.client->peer_streams_max(), 1000u);
  Wire fourth(world);
  EXPECT_EQ(fourth.server->pace(), (Pace{1, kMs}));
  EXPECT_EQ(world.server().on_connect(world.now).accept, AcceptFault::refuse);
  EXPECT_EQ(world.server().on_connect(world.now).tls, TlsFault::wrong_name);
  for (const Fault fault : {Fault::streams, Fault::window, Fault::goaway, Fault::probe, Fault::slow, Fault::ping_silence, Fault::refuse,
                            Fault::tls_wrong_name}) {
    EXPECT_EQ(world.done(fault), 1u) << fault_word(fault);
  }
}

// One push only: Debian's nghttp2 1.52 takes no more than 8 CONTINUATION frames in a connection's whole life.
TEST(Conversation, SplitHeaderBlocks) {
  World world("when always -> split-headers 12");
  Wire wire(world);
  wire.push({1});
  EXPECT_EQ(wire.status(1), 200);
  EXPECT_NE(wire.to_client.find(std::string("\x00\x00\x0c\x09", 4)), std::string::npos) << "12 bytes of CONTINUATION";
  EXPECT_EQ(world.done(Fault::split_headers), 1u);
}

TEST(Conversation, WindowsOfTimeComeAndGo) {
  World world("when for 2s every 10s -> streams 1\nwhen between 3s and 4s -> stall\nwhen after 30s -> goaway");
  Wire wire(world);
  const auto streams_at = [&](std::int64_t ms) {
    world.pass(1000 * base::kSecond + ms * kMs - world.now.mono_ns);
    EXPECT_LE(wire.server->deadline(), world.now.mono_ns) << "it asks to be run at " << ms;
    wire.pump();
    return wire.client->peer_streams_max();
  };
  EXPECT_EQ(streams_at(3000), 1000u);
  EXPECT_NE(world.server().stalled_until(world.now), 0);
  EXPECT_EQ(streams_at(4000), 1000u);
  EXPECT_EQ(world.server().stalled_until(world.now), 0);
  EXPECT_EQ(streams_at(10'000), 1u);
  Wire late(world);
  EXPECT_EQ(late.client->peer_streams_max(), 1u);
  EXPECT_EQ(streams_at(12'000), 1000u);
  EXPECT_EQ(world.done(Fault::streams), 2u);
  EXPECT_EQ(streams_at(30'000), 1u);
  ASSERT_NE(wire.goaway(), nullptr);
  EXPECT_EQ(wire.server->ending(), Ending::close);
}

TEST(Conversation, ErrorsLowerTheLimitAndSuccessesRaiseIt) {
  World world("when request 1 to 6 -> answer 400 BadDeviceToken\nwhen request 7 to 12 -> answer 410 Unregistered");
  world.config->throttle_errors = 2;
  world.options.streams_max = 8;
  Wire wire(world);
  const auto push_one = [&] {
    wire.push({1});
    return wire.client->peer_streams_max();
  };
  std::vector<std::uint32_t> limits;
  for (int i = 0; i < 20; ++i) limits.push_back(push_one());
  EXPECT_EQ(limits, (std::vector<std::uint32_t>{8, 4, 4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 8}));
  EXPECT_EQ(world.done(Fault::throttle), 3u);
}

// The model's promises under a storm: whatever the client is told, the ledger agrees with it.
TEST(Conversation, PromisesHoldUnderEveryNamedScript) {
  for (const NamedScript& named : named_scripts()) {
    SCOPED_TRACE(named.name);
    World world(named.text);
    std::map<std::uint64_t, std::uint32_t> told;
    for (int connection = 0; connection < 60; ++connection) {
      Wire wire(world);
      for (int batch = 0; batch < 40 && wire.server->ending() == Ending::none && !wire.server->vanished(); ++batch) {
        const std::uint32_t tag = static_cast<std::uint32_t>(connection * 40 + batch) % 200;
        const std::uint32_t before[3] = {wire.accepted(tag), wire.accepted(tag + 1), wire.accepted(tag + 2)};
        wire.answers.clear();
        wire.push({tag, tag + 1, tag + 2});
        world.pass(7 * kMs);
        wire.pump();
        for (std::uint32_t i = 0; i < 3; ++i) {
          const bool taken = wire.accepted(tag + i) > before[i];
          if (wire.status(tag + i) == 200) {
            EXPECT_TRUE(taken);
          }
          const bool refused = wire.answers.contains(tag + i) && wire.answers[tag + i].kind == h2::AnswerKind::reset &&
                               wire.answers[tag + i].error_code == 7;
          if (refused || wire.status(tag + i) > 200) {
            EXPECT_FALSE(taken) << tag + i;
          }
        }
        EXPECT_LE(wire.server->last_accepted_stream(), wire.server->goaway_last() < 0 ? 0x7fffffff : wire.server->goaway_last());
        EXPECT_FALSE(wire.server->broken()) << wire.server->why();
      }
      world.pass(200 * kMs);
    }
  }
}

TEST(Conversation, TheSameSeedIsTheSameRun) {
  std::string said[2];
  for (std::string& all : said) {
    World world(find_named_script("everything")->text);
    for (int connection = 0; connection < 20; ++connection) {
      Wire wire(world);
      for (int batch = 0; batch < 20; ++batch) {
        wire.push({1, 2, 3, 4});
        world.pass(3 * kMs);
      }
      all += wire.to_client;
    }
  }
  EXPECT_EQ(said[0], said[1]);
}

}  // namespace
}  // namespace tocsin::mock
