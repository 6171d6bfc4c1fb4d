// SPDX-License-Identifier: Apache-2.0
// The mock's profiles beside validate, against our own client session, in memory: the hand-over at every boundary, and
// what the counts say of it.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "apns/request.h"
#include "base/hex.h"
#include "h2/client_session.h"
#include "mock/conversation.h"

namespace tocsin::mock {
namespace {

constexpr std::string_view kTopic = "com.apple.mgmt.External.0a1b2c3d";
constexpr std::int64_t kMs = base::kMillisecond;
using Ending = Conversation::Ending;

struct World {
  std::shared_ptr<GatewayConfig> config = std::make_shared<GatewayConfig>();
  h2::ServerOptions options;
  ProfileOptions profile{Profile::flood, 0};
  base::Now now{1000 * base::kSecond, 1'700'000'000 * base::kSecond};
  std::unique_ptr<Service> service;

  Service& server() {
    if (!service) service = std::make_unique<Service>(config, nullptr, options, 1, Share{}, profile);
    return *service;
  }
  std::uint64_t judged() { return server().gateway().ledger().totals().requests; }
  std::uint64_t counted() { return server().traffic().flood.end_streams; }
};

// One connection. The client's bytes can be held and given in pieces.
struct Wire {
  World& world;
  std::unique_ptr<h2::ClientSession> client;
  std::unique_ptr<Conversation> server;
  std::uint32_t prepared = 0;
  std::map<std::uint64_t, unsigned> statuses;
  std::map<std::uint64_t, int> times;
  std::map<std::uint64_t, std::string> ids;
  std::string error;
  bool goaway = false;

  explicit Wire(World& w, bool certificate = true, decltype(h2::make_nghttp2_client)* make_client = h2::make_nghttp2_client)
      : world(w) {
    h2::ClientOptions options;
    options.captures = {"apns-id"};
    client = *make_client(options);
    TemplateOptions push;
    push.topic = kTopic;
    push.push_type = PushType::mdm;
    prepared = client->prepare(apns::request_fields(push, "localhost", false, {}), base::BodyShape::whole());
    Peer peer;
    peer.has_certificate = certificate;
    peer.uid = kTopic;
    server = world.server().converse(peer, world.server().on_connect(world.now), world.now);
    pump();
  }

  // The bytes of these pushes, whose tokens are their tags.
  std::string written(std::uint64_t from, std::uint64_t to) {
    base::ByteBuffer up;
    for (std::uint64_t tag = from; tag < to; ++tag) {
      std::array<unsigned char, 32> token{};
      token[0] = 7;
      token[30] = static_cast<unsigned char>(tag >> 8);
      token[31] = static_cast<unsigned char>(tag);
      const Uuid id = id_of(tag);
      h2::Request request;
      request.tag = tag;
      request.prepared = prepared;
      request.slots[0] = std::as_bytes(std::span(token));
      request.slots[1] = std::as_bytes(std::span(id));
      request.content = base::as_bytes(R"({"mdm":"magic"})");
      EXPECT_EQ(client->write({&request, 1}, up), 1u);
    }
    client->write_pending(up);
    return std::string(base::as_text(up.readable()));
  }

  static Uuid id_of(std::uint64_t tag) {
    Uuid id{};
    id[0] = 1;
    id[15] = static_cast<std::uint8_t>(tag);
    return id;
  }

  void pump() {
    std::vector<h2::Answer> answers;
    std::vector<h2::Event> events;
    for (int round = 0; round < 12; ++round) {
      base::ByteBuffer up, down;
      client->write_pending(up);
      if (!up.empty()) server->receive(up.readable(), world.now);
      if (server->deadline() <= world.now.mono_ns) server->run(world.now);
      server->write(down, world.now);
      if (up.empty() && down.empty()) return;
      answers.clear();
      events.clear();
      const Result<void> read = client->receive(down.readable(), answers, events);
      if (!read.ok()) error = read.error().message;
      for (const h2::Answer& answer : answers) {
        statuses[answer.tag] = answer.status;
        ++times[answer.tag];
        ids[answer.tag] = answer.captured[0];
      }
      for (const h2::Event& event : events) goaway = goaway || event.kind == h2::EventKind::goaway;
    }
  }

  // Every push up to `to` was answered once, with 200.
  void expect_all(std::uint64_t to) {
    EXPECT_EQ(error, "");
    EXPECT_FALSE(server->broken()) << server->why();
    EXPECT_EQ(statuses.size(), to);
    for (const auto& [tag, status] : statuses) {
      EXPECT_EQ(status, 200u) << tag;
      EXPECT_EQ(times[tag], 1) << tag;
      if (world.profile.profile == Profile::apns) {
        EXPECT_EQ(ids[tag], base::uuid_format(id_of(tag))) << tag;
      }
    }
    EXPECT_EQ(world.judged() + world.counted(), to);
    EXPECT_EQ(world.server().traffic().requests, to);
    EXPECT_EQ(world.server().traffic().accepted, to);
    EXPECT_EQ(server->open_streams(), 0u);
    EXPECT_EQ(client->open_streams(), 0u);
  }
};

void hand_over_at_every_boundary(Profile profile) {
  constexpr std::uint64_t kPushes = 12;
  for (const std::uint64_t first : {0u, 1u, 5u}) {
    for (std::size_t cut = 0;; ++cut) {
      SCOPED_TRACE(std::to_string(first) + " validated first, cut at " + std::to_string(cut));
      World world;
      world.profile = {profile, first};
      Wire wire(world);
      // Hands over with the next bytes: the limit is reached by these.
      const std::string before = wire.written(0, first);
      if (first != 0) wire.server->receive(base::as_bytes(before), world.now);
      EXPECT_EQ(world.judged(), first);
      const std::string text = wire.written(first, kPushes);
      if (cut > text.size()) break;
      wire.server->receive(base::as_bytes(text).first(cut), world.now);
      wire.server->receive(base::as_bytes(text).subspan(cut), world.now);
      wire.pump();
      wire.expect_all(kPushes);
      EXPECT_TRUE(wire.server->handed_over());
      EXPECT_EQ(world.judged(), first);
      EXPECT_EQ(world.server().traffic().flood.connections, 1u);
      EXPECT_EQ(world.server().traffic().flood.body_bytes, (kPushes - first) * 15);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(FloodProfile, HandsOverAtEveryBoundary) { hand_over_at_every_boundary(Profile::flood); }
TEST(ApnsProfile, HandsOverAtEveryBoundary) { hand_over_at_every_boundary(Profile::apns); }

void hand_over_in_the_middle(Profile profile) {
  constexpr std::uint64_t kPushes = 40;
  for (std::size_t piece = 1; piece < 900; piece += piece / 7 + 1) {
    SCOPED_TRACE(piece);
    World world;
    world.profile = {profile, 17};
    world.config->delay_ns = 5 * kMs;  // validated ones wait while later ones are already counted
    Wire wire(world);
    const std::string text = wire.written(0, kPushes);
    for (std::size_t at = 0; at < text.size(); at += piece) {
      wire.server->receive(base::as_bytes(std::string_view(text).substr(at, piece)), world.now);
    }
    EXPECT_TRUE(wire.server->handed_over());
    wire.pump();
    EXPECT_TRUE(wire.statuses.empty());
    EXPECT_EQ(wire.server->open_streams(), kPushes);
    EXPECT_EQ(world.server().traffic().answers_waiting, kPushes);
    world.now.mono_ns += 6 * kMs;
    wire.pump();
    wire.expect_all(kPushes);
    // As many as were asked for, and what the piece held besides.
    EXPECT_GE(world.judged(), 17u);
    EXPECT_LE(world.judged(), 17u + piece / 100 + 1);
    EXPECT_EQ(world.server().traffic().answers_waiting, 0u);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FloodProfile, HandsOverInTheMiddleOfPiecesOfEverySize) { hand_over_in_the_middle(Profile::flood); }
TEST(ApnsProfile, HandsOverInTheMiddleOfPiecesOfEverySize) { hand_over_in_the_middle(Profile::apns); }

TEST(ApnsProfile, GivesEachRequestItsIdLongAfterTheHandOver) {
  for (const auto make_client : {h2::make_nghttp2_client, h2::make_fast_client}) {
    World world;
    world.profile = {Profile::apns, 3};
    Wire wire(world, true, make_client);
    EXPECT_TRUE(wire.server->separate_records());
    for (std::uint64_t i = 0; i < 200; i += 10) {
      wire.server->receive(base::as_bytes(wire.written(i, i + 10)), world.now);
      wire.pump();
    }
    wire.expect_all(200);
    EXPECT_LT(world.judged(), 30u);
  }
}

TEST(FloodProfile, EachConnectionValidatesItsShareThoughOthersWereMany) {
  World world;
  world.profile.validate_first = 300;
  Wire first(world), second(world);
  for (std::uint64_t i = 0; i < 310; ++i) {
    first.server->receive(base::as_bytes(first.written(i, i + 1)), world.now);
    first.pump();
  }
  EXPECT_TRUE(first.server->handed_over());
  EXPECT_EQ(world.judged(), 300u);
  for (std::uint64_t i = 0; i < 150; ++i) {
    second.server->receive(base::as_bytes(second.written(i, i + 1)), world.now);
    second.pump();
    EXPECT_EQ(second.server->handed_over(), i >= kValidatedEach) << i;
  }
  EXPECT_EQ(world.judged(), 300u + kValidatedEach);
  EXPECT_EQ(world.counted(), 10u + 50u);
}

TEST(ValidateProfile, IsNeverHandedOver) {
  World world;
  world.profile = {};
  Wire wire(world);
  wire.server->receive(base::as_bytes(wire.written(0, 20)), world.now);
  wire.pump();
  wire.expect_all(20);
  EXPECT_FALSE(wire.server->handed_over());
  EXPECT_EQ(world.judged(), 20u);
}

// Until a push with a good token was accepted one stream is the limit, and no hand-over makes it otherwise.
TEST(FloodProfile, IsNotHandedOverWhileItProbes) {
  World world;
  world.config->provider_keys["ABCDEFGHIJ"] = {};
  Wire wire(world, false);
  for (std::uint64_t i = 0; i < 5; ++i) {
    wire.server->receive(base::as_bytes(wire.written(i, i + 1)), world.now);
    wire.pump();
    EXPECT_EQ(wire.statuses[i], 403u);
  }
  EXPECT_FALSE(wire.server->handed_over());
  EXPECT_EQ(wire.server->streams_max(), 1u);
}

TEST(FloodProfile, DelaysAreDrawnForWhatCameTogether) {
  World world;
  world.config->delay_ns = 10 * kMs;
  world.config->jitter_ns = 5 * kMs;
  Wire wire(world);
  std::uint64_t next = 0;
  for (int batch = 0; batch < 20; ++batch, next += 5) {
    wire.server->receive(base::as_bytes(wire.written(next, next + 5)), world.now);
    wire.pump();
    EXPECT_GE(wire.server->deadline(), world.now.mono_ns + 0);
    world.now.mono_ns += kMs / 2;
  }
  EXPECT_TRUE(wire.statuses.empty());
  std::size_t seen = 0;
  for (int step = 0; step < 40 && wire.statuses.size() < next; ++step) {
    ASSERT_NE(wire.server->deadline(), base::kNever);
    EXPECT_GE(wire.server->deadline(), world.now.mono_ns);
    world.now.mono_ns = wire.server->deadline();
    wire.pump();
    EXPECT_GT(wire.statuses.size(), seen);
    EXPECT_EQ(wire.statuses.size() % 5, 0u);
    seen = wire.statuses.size();
  }
  EXPECT_LE(world.now.mono_ns, 1000 * base::kSecond + 26 * kMs);
  EXPECT_EQ(wire.server->deadline(), base::kNever);
  wire.expect_all(next);
}

TEST(FloodProfile, ACountThatDiesWithItsConnectionIsNoLongerWaitedFor) {
  World world;
  world.config->delay_ns = 10 * kMs;
  {
    Wire wire(world);
    wire.server->receive(base::as_bytes(wire.written(0, 7)), world.now);
    EXPECT_EQ(world.server().traffic().answers_waiting, 7u);
  }
  EXPECT_EQ(world.server().traffic().answers_waiting, 0u);
}

TEST(FloodProfile, DrainsAsTheOthers) {
  World world;
  world.config->delay_ns = 10 * kMs;
  Wire wire(world);
  wire.server->receive(base::as_bytes(wire.written(0, 3)), world.now);
  wire.server->drain();
  const std::string late = wire.written(3, 4);
  wire.pump();
  EXPECT_TRUE(wire.goaway);
  wire.server->receive(base::as_bytes(late), world.now);
  EXPECT_EQ(wire.server->ending(), Ending::none);
  world.now.mono_ns += 11 * kMs;
  wire.pump();
  EXPECT_EQ(wire.server->ending(), Ending::close);
  EXPECT_EQ(world.counted(), 3u);
  for (std::uint64_t tag = 0; tag < 3; ++tag) EXPECT_EQ(wire.statuses[tag], 200u);
}

TEST(FloodProfile, WhoBreaksHttp2IsToldAndEnded) {
  World world;
  Wire wire(world);
  wire.server->receive(base::as_bytes(wire.written(0, 3)), world.now);
  ASSERT_TRUE(wire.server->handed_over());
  const char data_on_idle[] = "\0\0\1\0\1\0\0\1\1x";
  wire.server->receive(base::as_bytes(std::string_view(data_on_idle, 10)), world.now);
  EXPECT_TRUE(wire.server->broken());
  EXPECT_NE(wire.server->why().find("idle stream"), std::string_view::npos) << wire.server->why();
  EXPECT_EQ(wire.server->ending(), Ending::close);
  wire.pump();
  EXPECT_TRUE(wire.goaway);
}

}  // namespace
}  // namespace tocsin::mock
