// SPDX-License-Identifier: Apache-2.0
// The flood server against the sentences of RFC 9113 that bind a receiver which decodes no field block, and its taking
// over of a connection. Every row runs four times: its bytes whole and one by one, on a connection that is the flood
// server's from the preface on, and on one that it took over.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "conformance.h"
#include "h2/client_session.h"
#include "h2/flood_server.h"

namespace tocsin::h2 {
namespace {

using namespace test;

const std::string kPath = literal(":path", "/3/device/aa");
const std::string kPost = "\x83\x87" + kPath + literal(":authority", "mock");
const std::string kWhole = headers(1, kPost, true);
const std::string kOpen = headers(1, kPost, false);
const std::string kPingBytes = "12345678";

// A client that has sent its preface and acknowledged our SETTINGS, and the server.
struct Peer {
  explicit Peer(bool taken_over, ServerOptions wanted = {}) : options(wanted), over(taken_over) {
    options.literal_answers = true;
  }
  void start(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& entries = {}) {
    const std::string hello = std::string(kPreface) + settings(entries) + settings_ack();
    if (!over) {
      server = std::make_unique<FloodServer>(options);
      ASSERT_TRUE(feed(hello)) << error;
    } else {
      older = std::move(make_nghttp2_server(options)).value();
      std::vector<ServerRequest> requests;
      ASSERT_TRUE(older->receive(base::as_bytes(hello), requests).ok());
      ASSERT_TRUE(older->settings_acknowledged());
      server = std::make_unique<FloodServer>(options, *older);
    }
    written();
  }
  // `from_older` gets the ids and bodies that the older session hands out.
  bool feed(std::string_view bytes) {
    while (!bytes.empty()) {
      std::vector<ServerRequest> requests;
      const auto read = server->receive(base::as_bytes(bytes), requests);
      for (const ServerRequest& request : requests) {
        from_older.emplace_back(request.stream_id, std::string(base::as_text(request.body)));
      }
      if (!read.ok()) {
        error = read.error().message;
        return false;
      }
      bytes.remove_prefix(*read);
    }
    return true;
  }
  bool feed(std::string_view bytes, bool whole) {
    if (whole) return feed(bytes);
    for (const char& byte : bytes) {
      if (!feed({&byte, 1})) return false;
    }
    return true;
  }
  std::vector<Frame> written() {
    server->write_pending(out);
    return parse(take(out));
  }
  std::uint64_t requests() const { return server->counts().end_streams; }

  ServerOptions options;
  bool over;
  std::unique_ptr<ServerSession> older;
  std::unique_ptr<FloodServer> server;
  std::vector<std::pair<std::int32_t, std::string>> from_older;
  std::string error;
  base::ByteBuffer out;
  std::vector<Frame> frames;
};

using FloodRow = Row<Peer>;
using Step = std::function<void(Peer&)>;

Step with(ServerOptions options, std::vector<std::pair<std::uint32_t, std::uint32_t>> entries = {}) {
  return [=](Peer& peer) {
    peer = Peer(peer.over, options);
    peer.start(entries);
  };
}
Step fed(std::string bytes) {
  return [=](Peer& peer) { ASSERT_TRUE(peer.feed(bytes)) << peer.error; };
}
void answered(Peer& peer) {
  ASSERT_TRUE(peer.feed(kWhole));
  peer.server->answer(1);
  peer.written();
}
Step writes(std::uint8_t type, std::uint8_t flags, std::string payload, std::size_t times = 1) {
  return [=](Peer& peer) {
    ASSERT_EQ(peer.frames.size(), times);
    for (const Frame& one : peer.frames) {
      EXPECT_EQ(one.type, type);
      EXPECT_EQ(one.flags, flags);
      EXPECT_EQ(one.payload, payload);
    }
  };
}
Step requests_are(std::uint64_t count, std::uint64_t body_bytes = 0) {
  return [=](Peer& peer) {
    EXPECT_EQ(peer.requests(), count);
    EXPECT_EQ(peer.server->counts().body_bytes, body_bytes);
  };
}
void silent(Peer& peer) { EXPECT_TRUE(peer.frames.empty()); }
void nothing_open(Peer& peer) {
  EXPECT_TRUE(peer.frames.empty());
  EXPECT_EQ(peer.server->open_streams(), 0u);
}
std::string data_frames(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += frame(kData, 0, 1, std::string(16'384, 'x'));
  return all;
}

// HEADERS and the DATA that ends the stream: the usual request.
std::string usual(std::int32_t id, std::size_t bytes = 1) {
  return headers(id, kPost, false) + frame(kData, kEndStream, id, std::string(bytes, 'x'));
}

std::vector<FloodRow> rows() {
  std::string many_continuations = frame(kHeaders, 0, 1, kPost);
  for (int i = 0; i < 200; ++i) many_continuations += frame(kContinuation, 0, 1, {});
  std::string many_pings;
  for (int i = 0; i < 5000; ++i) many_pings += frame(kPing, 0, 0, kPingBytes);
  return {
      {"4.1", "the reserved bit of a stream id is ignored",
       frame(kHeaders, kEndHeaders | kEndStream, static_cast<std::int32_t>(0x80000001u), kPost), kAccepted},
      {"4.1", "flags without meaning are ignored",
       frame(kHeaders, 0x92 | kEndHeaders, 1, kPost) + frame(kData, 0xf6 | kEndStream, 1, "b"), kAccepted, {},
       requests_are(1, 1)},
      {"4.2", "a frame of MAX_FRAME_SIZE is taken", kOpen + frame(kData, kEndStream, 1, std::string(16'384, 'x')),
       kAccepted, {}, requests_are(1, 16'384)},
      {"4.2", "a larger one is FRAME_SIZE_ERROR, before it has come whole",
       frame(kData, 0, 1, std::string(16'385, 'x')).substr(0, 20), kBadSize},
      {"4.2", "as the DATA of a request", usual(1, 16'385), kBadSize},
      {"4.2", "what we announced counts", kOpen + frame(kData, kEndStream, 1, std::string(20'000, 'x')), kAccepted,
       with({.frame_bytes_max = 20'000}), requests_are(1, 20'000)},
      {"4.3", "a block is contiguous: no PING inside", frame(kHeaders, 0, 1, kPost) + frame(kPing, 0, 0, kPingBytes),
       kBadProtocol},
      {"4.3", "a block is contiguous: no HEADERS of another stream",
       frame(kHeaders, 0, 1, kPost) + headers(3, kPost, true), kBadProtocol},
      {"4.3", "a block is contiguous: no DATA of its stream", frame(kHeaders, 0, 1, kPost) + frame(kData, 0, 1, "x"),
       kBadProtocol},
      {"4.3", "a block is contiguous: no unknown frame", frame(kHeaders, 0, 1, kPost) + frame(0xfa, 0, 1, "x"),
       kBadProtocol},

      {"5.1", "idle: DATA", frame(kData, kEndStream, 1, "x"), kBadProtocol},
      {"5.1", "idle: RST_STREAM", rst(1, 8), kBadProtocol},
      {"5.1", "idle: WINDOW_UPDATE", window(1, 10), kBadProtocol},
      {"5.1", "idle: PRIORITY is allowed", frame(kPriority, 0, 1, priority_fields(0, 5)), kIgnored},
      {"5.1", "half-closed (remote): DATA is STREAM_CLOSED", frame(kData, 0, 1, "x"), connection_error(kStreamClosed),
       fed(kWhole)},
      {"5.1", "half-closed (remote): HEADERS", kWhole, kBadProtocol, fed(kWhole), {}, nullptr,
       "by the letter STREAM_CLOSED; which ids were begun and which passed over is not kept"},
      {"5.1", "half-closed (remote): WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed",
       window(1, 9) + frame(kPriority, 0, 1, priority_fields(0, 5)) + rst(1, 8), kTaken, fed(kWhole), nothing_open},
      {"5.1", "closed: DATA is STREAM_CLOSED", frame(kData, 0, 1, "x"), connection_error(kStreamClosed), answered},
      {"5.1", "closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are ignored",
       window(1, 9) + frame(kPriority, 0, 1, priority_fields(0, 5)) + rst(1, 8), kTaken, answered, nothing_open},
      {"5.1.1", "a client's streams are odd", headers(2, kPost, true), kBadProtocol},
      {"5.1.1", "stream 0 carries no message", headers(0, kPost, true), kBadProtocol},
      {"5.1.1", "ids grow", headers(3, kPost, true), kBadProtocol, fed(headers(5, kPost, true))},
      {"5.1.1", "a stream is begun once", kOpen, kBadProtocol, fed(kOpen)},
      {"5.1.1", "requests on even streams", usual(1) + usual(2), kBadProtocol},
      {"5.1.1", "requests on streams that were passed over", usual(5) + usual(3), kBadProtocol},
      {"5.1.1", "ids may leave gaps", kWhole + headers(9, kPost, true), kAccepted, {},
       [](Peer& peer) { EXPECT_EQ(peer.requests(), 2u); EXPECT_EQ(peer.server->last_stream_id(), 9); }},
      {"5.1.1", "the last id of all", headers(0x7fffffff, kPost, true), kAccepted, {}, requests_are(1)},
      {"5.1.2", "streams beyond the limit", headers(1, kPost, true) + headers(3, kPost, true), kBadProtocol,
       with({.streams_max = 1})},
      {"5.1.2", "requests beyond the limit", usual(1) + usual(3) + usual(5), kBadProtocol, with({.streams_max = 2})},
      {"5.1.2", "requests up to the limit", usual(1) + usual(3), kAccepted, with({.streams_max = 2}), requests_are(2, 2)},
      {"5.1.2", "streams without their end count", headers(1, kPost, false) + headers(3, kPost, true), kBadProtocol,
       with({.streams_max = 1})},
      {"5.1.2", "streams that were answered do not count", headers(3, kPost, true), kTaken,
       [](Peer& peer) { with({.streams_max = 1})(peer); answered(peer); }, requests_are(2)},
      {"5.1.2", "streams that were reset do not count", kOpen + rst(1, 8) + headers(3, kPost, true), kTaken,
       with({.streams_max = 1}), requests_are(1)},

      {"5.2", "DATA beyond the stream's window", kOpen + frame(kData, 0, 1, std::string(101, 'x')), kBadFlow,
       with({.window_bytes = 100})},
      {"5.2", "and DATA that ends its stream", usual(1, 101), kBadFlow, with({.window_bytes = 100})},
      {"5.2", "and requests that together are beyond the connection's window",
       usual(1, 16'384) + usual(3, 16'384) + usual(5, 16'384) + usual(7, 16'384), kBadFlow, with({.window_bytes = 1 << 20}),
       {}, "byte by byte the window is given back in between"},
      {"5.2", "padding counts against the window", kOpen + frame(kData, kPadded, 1, padded(std::string(80, 'x'), 20)),
       kBadFlow, with({.window_bytes = 100})},
      {"5.2", "DATA up to the window is taken", kOpen + frame(kData, kEndStream, 1, std::string(100, 'x')), kAccepted,
       with({.window_bytes = 100}), requests_are(1, 100)},
      {"5.2", "DATA beyond the connection's window", kOpen + data_frames(4), kBadFlow, with({.window_bytes = 1 << 20}),
       {}, "byte by byte the window is given back in between"},
      {"5.2", "what was consumed is given back to both windows", kOpen + data_frames(3), kTaken, {},
       [](Peer& peer) {
         std::map<std::int32_t, std::uint32_t> given;
         for (const Frame& one : of_type(peer.frames, kWindow)) given[one.id] += one.word(0);
         EXPECT_GE(given[0], 32'768u);
         EXPECT_GE(given[1], 32'768u);
       }},
      {"5.2", "even of a window of one byte", kOpen + frame(kData, 0, 1, "x"), kTaken, with({.window_bytes = 1}),
       writes(kWindow, 0, u32(1))},

      {"5.5", "frames of unknown types are ignored: connection", frame(0xfa, 0xff, 0, "whatever"), kIgnored},
      {"5.5", "frames of unknown types are ignored: an idle stream", frame(0xfa, 0, 99, "x"), kIgnored},
      {"5.5", "frames of unknown types between HEADERS and DATA",
       kOpen + frame(0xfa, 0xff, 1, "x") + frame(kData, kEndStream, 1, "b"), kAccepted, {}, requests_are(1, 1)},
      {"5.5", "unknown settings are ignored", settings({{0x4242, 1}, {0, 5}}), kTaken, {}, writes(kSettings, kAck, {})},

      {"6.1", "DATA on stream 0", frame(kData, 0, 0, "x"), kBadProtocol},
      {"6.1", "padding is no body", kOpen + frame(kData, kPadded | kEndStream, 1, padded("body", 200)), kAccepted, {},
       requests_are(1, 4)},
      {"6.1", "padding as long as the payload", kOpen + frame(kData, kPadded, 1, bytes({5, 'x', 0, 0, 0})),
       kBadProtocol},
      {"6.1", "PADDED without room for the pad length", kOpen + frame(kData, kPadded, 1, {}), kBadSize},
      {"6.1", "empty DATA may end the stream", kOpen + frame(kData, kEndStream, 1, {}), kAccepted},
      {"6.2", "padding together with priority fields",
       frame(kHeaders, kEndHeaders | kEndStream | kPadded | kPriorityFlag, 1, padded(priority_fields(0, 9) + kPost, 3)),
       kAccepted},
      {"6.2", "padding longer than what is left", frame(kHeaders, kEndHeaders | kPadded, 1, bytes({9, 0x82, 0, 0})),
       kBadProtocol},
      {"6.2", "PRIORITY without room for its fields", frame(kHeaders, kEndHeaders | kPriorityFlag, 1, u32(0)), kBadSize},
      {"6.3", "PRIORITY on stream 0", frame(kPriority, 0, 0, priority_fields(0, 0)), kBadProtocol},
      {"6.3", "PRIORITY of 4 bytes", frame(kPriority, 0, 1, u32(0)), kBadSize},
      {"6.4", "RST_STREAM on stream 0", rst(0, 8), kBadProtocol},
      {"6.4", "RST_STREAM of 3 bytes", frame(kRst, 0, 1, "abc"), kBadSize, fed(kOpen)},
      {"6.4", "a request that is reset before its end is none", frame(kData, 0, 1, "b") + rst(1, 8), kTaken, fed(kOpen),
       [](Peer& peer) { nothing_open(peer); EXPECT_EQ(peer.requests(), 0u); EXPECT_EQ(peer.server->counts().resets, 1u); }},
      {"6.4", "a stream that was reset takes no answer", rst(1, 0xdeadbeef), kTaken, fed(kWhole),
       [](Peer& peer) { peer.server->answer(1); EXPECT_TRUE(peer.written().empty()); nothing_open(peer); }},

      {"6.5", "SETTINGS on a stream", frame(kSettings, 0, 1, {}), kBadProtocol},
      {"6.5", "SETTINGS whose length is no multiple of 6", frame(kSettings, 0, 0, "1234567"), kBadSize},
      {"6.5", "an acknowledgement with a payload", frame(kSettings, kAck, 0, u16(3) + u32(1)), kBadSize},
      {"6.5.2", "ENABLE_PUSH above 1", settings({{2, 2}}), kBadProtocol},
      {"6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", settings({{4, 0x80000000u}}), kBadFlow},
      {"6.5.2", "MAX_FRAME_SIZE below 16384", settings({{5, 16'383}}), kBadProtocol},
      {"6.5.2", "MAX_FRAME_SIZE above 2^24-1", settings({{5, 1u << 24}}), kBadProtocol},
      {"6.5.2", "ends of the allowed ranges",
       settings({{1, 0xffffffffu}, {2, 0}, {2, 1}, {4, 0}, {4, 0x7fffffff}, {5, 16'384}, {5, (1u << 24) - 1}, {6, 0}}),
       kTaken, {}, writes(kSettings, kAck, {})},
      {"6.5.3", "each SETTINGS is acknowledged once", settings({{3, 5}}) + settings({}) + settings({{3, 7}}), kTaken,
       {}, writes(kSettings, kAck, {}, 3)},
      {"6.5.3", "an acknowledgement nobody waits for", settings_ack(), kBadProtocol},
      {"6.6", "a client promises nothing", frame(kPush, kEndHeaders, 1, u32(2) + kPost), kBadProtocol, fed(kOpen)},
      {"6.7", "PING is answered with its payload", frame(kPing, 0, 0, kPingBytes), kTaken, {},
       writes(kPing, kAck, kPingBytes)},
      {"6.7", "an acknowledgement is not answered", frame(kPing, kAck, 0, kPingBytes), kIgnored},
      {"6.7", "PING on a stream", frame(kPing, 0, 1, kPingBytes), kBadProtocol},
      {"6.7", "PING of 7 bytes", frame(kPing, 0, 0, "1234567"), kBadSize},
      {"6.7", "PINGs whose answers nobody reads (section 10.5)", many_pings, connection_error(kEnhanceYourCalm)},
      {"6.8", "GOAWAY on a stream", frame(kGoaway, 0, 1, u32(0) + u32(0)), kBadProtocol},
      {"6.8", "GOAWAY of 7 bytes", frame(kGoaway, 0, 0, "1234567"), kBadSize},
      {"6.8", "what is open behind a client's GOAWAY is still answered", goaway(0, 0, "bye"), kTaken, fed(kWhole),
       [](Peer& peer) {
         EXPECT_FALSE(peer.server->finished());
         peer.server->answer(1);
         EXPECT_EQ(peer.written().size(), 1u);
         EXPECT_TRUE(peer.server->finished());
       }},
      {"6.9", "an increment of 0 on the connection", window(0, 0), kBadProtocol},
      {"6.9", "an increment of 0 on a stream", window(1, 0), kBadProtocol, fed(kOpen)},
      {"6.9", "WINDOW_UPDATE of 3 bytes", frame(kWindow, 0, 0, "abc"), kBadSize},
      {"6.9.1", "the connection's window grows to 2^31-1", window(0, 0x7fffffff - 65'535), kTaken, {}, silent},
      {"6.9.1", "and not beyond it", window(0, 0x7fffffff - 65'534), kBadFlow},
      {"6.10", "CONTINUATION behind END_HEADERS", kOpen + frame(kContinuation, kEndHeaders, 1, literal("a", "b")),
       kBadProtocol},
      {"6.10", "CONTINUATION of another stream", frame(kHeaders, 0, 1, kPost) + frame(kContinuation, kEndHeaders, 3, {}),
       kBadProtocol},
      {"6.10", "CONTINUATION may be empty",
       frame(kHeaders, kEndStream, 1, {}) + frame(kContinuation, 0, 1, kPost) + frame(kContinuation, kEndHeaders, 1, {}),
       kAccepted},
      {"6.10", "END_STREAM of HEADERS counts behind the last CONTINUATION", split_block(1, kPost, {1, 4, 9}, true),
       kAccepted},
      {"6.10", "CONTINUATION without end is not read for ever", many_continuations, connection_error(kEnhanceYourCalm)},

      {"8.1", "HEADERS and DATA", kOpen + frame(kData, 0, 1, "bo") + frame(kData, kEndStream, 1, "dy"), kAccepted, {},
       requests_are(1, 4)},
      {"8.1", "trailers end it", kOpen + frame(kData, 0, 1, "b") + headers(1, literal("x-t", "1"), true), kAccepted, {},
       requests_are(1, 1)},
      {"8.1", "trailers in pieces end it", kOpen + split_block(1, literal("x-t", "1"), {2}, true), kAccepted},
      {"8.1", "trailers must end the stream", kOpen + headers(1, literal("x-t", "1"), false), kBadProtocol},
      {"8.1", "a request has fields", headers(1, {}, true), kBadProtocol},
      {"8.1", "a request has fields, if it has a body, too", usual(1) + headers(3, {}, false) + frame(kData, kEndStream, 3, "x"),
       kBadProtocol},
      {"8.1", "a request has fields: in pieces", frame(kHeaders, 0, 1, {}) + frame(kContinuation, kEndHeaders, 1, {}),
       kBadProtocol},
  };
}

void check(const FloodRow& row, bool whole, bool over) {
  SCOPED_TRACE(std::string(row.section) + ": " + row.requirement + (whole ? "" : " (byte by byte)") +
               (over ? " (taken over)" : ""));
  Peer peer(over);
  peer.start();
  if (row.before) row.before(peer);
  peer.written();
  const std::uint64_t before = peer.requests();
  const bool fine = peer.feed(row.bytes, whole);
  const std::int32_t highest = peer.server->last_stream_id();
  peer.frames = peer.written();
  const auto goaways = of_type(peer.frames, kGoaway);
  EXPECT_TRUE(of_type(peer.frames, kRst).empty());
  EXPECT_TRUE(peer.from_older.empty());
  if (row.verdict.kind == Kind::connection_error) {
    EXPECT_FALSE(fine) << "taken, though it is a connection error";
    EXPECT_NE(peer.error.find("the client broke HTTP/2"), std::string::npos) << peer.error;
    ASSERT_EQ(goaways.size(), 1u) << peer.error;
    EXPECT_EQ(goaways[0].word(4), row.verdict.code) << peer.error;
    EXPECT_EQ(goaways[0].word(0), static_cast<std::uint32_t>(highest));
    EXPECT_EQ(peer.frames.back().type, kGoaway) << "nothing goes out behind it";
    const std::uint64_t had = peer.requests();
    EXPECT_FALSE(peer.feed(headers(1001, kPost, true))) << "it stays broken";
    EXPECT_EQ(peer.requests(), had);
    EXPECT_TRUE(peer.written().empty());
    return;
  }
  ASSERT_TRUE(fine) << peer.error;
  EXPECT_TRUE(goaways.empty());
  if (row.verdict.kind == Kind::accepted) {
    EXPECT_GT(peer.requests(), before);
  }
  if (row.verdict.kind == Kind::ignored) {
    EXPECT_EQ(peer.requests(), before);
    EXPECT_TRUE(peer.frames.empty());
    ASSERT_TRUE(peer.feed(kWhole)) << peer.error;
    EXPECT_EQ(peer.requests(), before + 1);
  }
  if (row.also) row.also(peer);
  // The connection goes on, where ids and the limit let it.
  if (highest > 1000 || peer.server->open_streams() >= peer.options.streams_max) return;
  const std::uint64_t had = peer.requests();
  ASSERT_TRUE(peer.feed(headers(1001, kPost, true))) << peer.error;
  EXPECT_EQ(peer.requests(), had + 1);
  peer.server->answer(peer.server->waiting());
  EXPECT_FALSE(of_type(peer.written(), kHeaders).empty());
}

TEST(FloodConformance, AllRows) {
  for (const FloodRow& row : rows()) {
    for (const bool over : {false, true}) {
      check(row, true, over);
      if (row.whole_only == nullptr) check(row, false, over);
    }
  }
}

TEST(FloodConformance, EverySectionHasRows) {
  expect_covered(rows(), {"4.1", "4.2", "4.3", "5.1", "5.1.1", "5.1.2", "5.2", "5.5", "6.1", "6.2", "6.3", "6.4", "6.5",
                          "6.5.2", "6.5.3", "6.6", "6.7", "6.8", "6.9", "6.9.1", "6.10", "8.1"}, 90);
}

TEST(FloodConformance, ThePrefaceAndSettingsOpenAConnection) {
  for (std::size_t at = 0; at < kPreface.size(); ++at) {
    std::string bytes(kPreface);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    Peer peer(false);
    peer.server = std::make_unique<FloodServer>(peer.options);
    EXPECT_FALSE(peer.feed(bytes + settings({}) + kWhole)) << at;
    EXPECT_NE(peer.error.find("preface"), std::string::npos) << peer.error;
    EXPECT_TRUE(peer.written().empty()) << "nobody there would understand it";
    EXPECT_EQ(peer.requests(), 0u);
  }
  for (const std::string& first : {kWhole, frame(kPing, 0, 0, kPingBytes), settings_ack(), frame(0xfa, 0, 0, "x"),
                                   frame(kData, 0, 1, "x"), frame(kContinuation, kEndHeaders, 1, kPost)}) {
    Peer peer(false);
    peer.server = std::make_unique<FloodServer>(peer.options);
    EXPECT_FALSE(peer.feed(std::string(kPreface) + first));
    EXPECT_EQ(of_type(peer.written(), kGoaway).size(), 1u);
  }
}

TEST(Flood, BeforeItsSettingsAreKnownALimitRefusesAndTheWindowIsTheDefault) {
  Peer peer(false, {.streams_max = 1, .window_bytes = 100});
  peer.server = std::make_unique<FloodServer>(peer.options);
  // 3 and 5 cannot know the limit; 3's body is read to its end.
  ASSERT_TRUE(peer.feed(std::string(kPreface) + settings({}) + kOpen + headers(3, kPost, false) + headers(5, kPost, true)));
  ASSERT_TRUE(peer.feed(frame(kData, 0, 1, std::string(150, 'x')) + frame(kData, 0, 3, "abc") + frame(kData, kEndStream, 3, "d")))
      << peer.error;
  const auto resets = of_type(peer.written(), kRst);
  ASSERT_EQ(resets.size(), 2u);
  EXPECT_EQ(resets[0].id, 3);
  EXPECT_EQ(resets[1].id, 5);
  EXPECT_EQ(resets[0].word(0), kRefusedStream);
  EXPECT_EQ(peer.server->counts().refused, 2u);
  EXPECT_EQ(peer.server->counts().body_bytes, 150u);
  // Known: the open stream's window would be negative; what was used up is given back, and no more.
  ASSERT_TRUE(peer.feed(settings_ack()));
  const auto updates = of_type(peer.written(), kWindow);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].id, 1);
  EXPECT_EQ(updates[0].word(0), 150u);
  ASSERT_TRUE(peer.feed(frame(kData, 0, 1, {}) + frame(kData, 0, 1, "x"))) << peer.error;
  EXPECT_FALSE(peer.feed(frame(kData, 0, 1, std::string(100, 'x'))));
  EXPECT_NE(peer.error.find("window"), std::string::npos) << peer.error;
}

TEST(Flood, RefusedStreamsThatAreLeftOpenAreBounded) {
  Peer peer(false, {.streams_max = 1});
  peer.server = std::make_unique<FloodServer>(peer.options);
  ASSERT_TRUE(peer.feed(std::string(kPreface) + settings({})));
  bool fine = true;
  int id = 1;
  for (; fine && id < 40'000; id += 2) {
    fine = peer.feed(headers(id, kPost, false));
    peer.written();
  }
  EXPECT_FALSE(fine);
  EXPECT_NE(peer.error.find("left open"), std::string::npos) << peer.error;
}

TEST(Flood, AnswersAreHeadersOfOneByteInTheOrderOfTheRequests) {
  Peer peer(false);
  peer.start();
  ASSERT_TRUE(peer.feed(headers(1, kPost, false) + headers(3, kPost, true) + headers(5, kPost, false) +
                        frame(kData, kEndStream, 5, "x") + frame(kData, kEndStream, 1, "y")));
  EXPECT_EQ(peer.server->waiting(), 3u);
  EXPECT_TRUE(peer.written().empty());
  EXPECT_EQ(peer.server->open_streams(), 3u);
  peer.server->answer(2);
  const auto first = peer.written();
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].id, 3);
  EXPECT_EQ(first[1].id, 5);
  for (const Frame& one : first) {
    EXPECT_EQ(one.type, kHeaders);
    EXPECT_EQ(one.flags, kEndHeaders | kEndStream);
    EXPECT_EQ(one.payload, "\x88");
  }
  EXPECT_EQ(peer.server->open_streams(), 1u);
  peer.server->answer(5);
  EXPECT_EQ(peer.written().at(0).id, 1);
  EXPECT_TRUE(peer.written().empty());
  EXPECT_EQ(peer.server->open_streams(), 0u);
}

TEST(Flood, ASmallerTableIsAcknowledgedInTheNextBlock) {
  for (const bool over : {false, true}) {
    Peer peer(over);
    peer.start();
    ASSERT_TRUE(peer.feed(settings({{1, 100}}) + kWhole + headers(3, kPost, true)));
    peer.server->answer(2);
    const auto answers = of_type(peer.written(), kHeaders);
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0].payload, "\x20\x88");
    EXPECT_EQ(answers[1].payload, "\x88");
    // Said before anything was answered, so that the older session has not said it, either.
    Peer early(over);
    early.start({{1, 100}});
    ASSERT_TRUE(early.feed(kWhole));
    early.server->answer(1);
    EXPECT_EQ(of_type(early.written(), kHeaders).at(0).payload, "\x20\x88");
  }
}

TEST(Flood, BehindItsGoawayStreamsAreRefusedAndOlderOnesEnd) {
  Peer peer(false);
  peer.start();
  ASSERT_TRUE(peer.feed(kOpen));
  peer.server->goaway(-1, 0, {});
  ASSERT_TRUE(peer.feed(usual(3) + frame(kData, kEndStream, 1, "x")));
  EXPECT_EQ(peer.requests(), 1u);
  peer.server->answer(1);
  const auto frames = peer.written();
  EXPECT_EQ(of_type(frames, kGoaway).at(0).word(0), 1u);
  EXPECT_EQ(of_type(frames, kRst).at(0).id, 3);
  EXPECT_EQ(of_type(frames, kHeaders).at(0).id, 1);
  EXPECT_EQ(peer.server->open_streams(), 0u);
}

// Bodies that come in any order, so that the table of open streams grows, moves up and shrinks.
TEST(Flood, ManyStreamsWhoseBodiesComeInAnyOrder) {
  for (std::uint32_t step : {1u, 7u, 331u, 997u}) {
    Peer peer(false);
    peer.start();
    std::string begin;
    for (int i = 0; i < 1000; ++i) begin += headers(2 * i + 1, kPost, false);
    ASSERT_TRUE(peer.feed(begin)) << peer.error;
    for (std::uint32_t i = 0; i < 1000; ++i) {
      const auto id = static_cast<std::int32_t>(2 * (i * step % 1000) + 1);
      ASSERT_TRUE(peer.feed(frame(kData, 0, id, "ab"))) << peer.error;
      ASSERT_TRUE(peer.feed(frame(kData, kEndStream, id, "c"))) << peer.error;
    }
    EXPECT_EQ(peer.requests(), 1000u);
    EXPECT_EQ(peer.server->counts().body_bytes, 3000u);
    peer.server->answer(1000);
    std::set<std::int32_t> answered_ids;
    for (const Frame& one : peer.written()) answered_ids.insert(one.id);
    EXPECT_EQ(answered_ids.size(), 1000u);
    EXPECT_EQ(peer.server->open_streams(), 0u);
  }
}

TEST(Flood, EverySplitOfAShortConversation) {
  const std::string all = std::string(kPreface) + settings({{3, 9}}) + settings_ack() + split_block(1, kPost, {3}, false) +
                          frame(kData, kPadded | kEndStream, 1, padded("{}", 3)) + frame(kPing, 0, 0, kPingBytes) +
                          headers(3, kPost, true) + window(0, 5);
  for (std::size_t first = 1; first < all.size(); ++first) {
    for (std::size_t second = first; second < all.size(); second += 3) {
      Peer peer(false);
      peer.server = std::make_unique<FloodServer>(peer.options);
      const std::string_view text = all;
      ASSERT_TRUE(peer.feed(text.substr(0, first)) && peer.feed(text.substr(first, second - first)) &&
                  peer.feed(text.substr(second))) << peer.error;
      ASSERT_EQ(peer.requests(), 2u) << first << ", " << second;
      ASSERT_EQ(peer.server->counts().body_bytes, 2u);
      peer.server->answer(2);
      const auto frames = peer.written();
      ASSERT_EQ(of_type(frames, kHeaders).size(), 2u);
      ASSERT_EQ(of_type(frames, kPing).size(), 1u);
    }
  }
}

// The cursor against every cut: it stops exactly where a frame begins that is inside no field block.
TEST(FrameCursor, StopsBetweenFrames) {
  const std::vector<std::string> parts = {std::string(kPreface), settings({{3, 9}}), split_block(1, kPost, {3, 9}, true),
                                          frame(kData, 0, 1, {}), frame(kPing, 0, 0, kPingBytes), kOpen};
  std::string all;
  std::set<std::size_t> places;
  for (const std::string& part : parts) {
    all += part;
    places.insert(all.size());
  }
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    FrameCursor cursor;
    EXPECT_EQ(cursor.advance(base::as_bytes(all).first(cut), false), cut);
    EXPECT_EQ(cursor.between_frames(), places.contains(cut)) << cut;
    const std::size_t next = *places.lower_bound(cut);
    EXPECT_EQ(cursor.advance(base::as_bytes(all).subspan(cut), true), next - cut) << cut;
    EXPECT_TRUE(cursor.between_frames());
  }
  FrameCursor cursor;
  EXPECT_EQ(cursor.advance(base::as_bytes(all).first(30), true), 24u);
}

// Streams of every kind that are open when the connection is taken over.
struct Takeover : Peer {
  explicit Takeover(std::string before, ServerOptions wanted = {}) : Peer(true, wanted) {
    older = std::move(make_nghttp2_server(options)).value();
    std::vector<ServerRequest> requests;
    EXPECT_TRUE(older->receive(base::as_bytes(std::string(kPreface) + settings({}) + settings_ack() + before), requests).ok());
    for (const ServerRequest& request : requests) complete.push_back(request.stream_id);
    server = std::make_unique<FloodServer>(options, *older);
    written();
  }
  std::vector<std::int32_t> complete;
};

TEST(FloodTakeover, OlderStreamsEndInTheOlderSessionAndLaterOnesInItsOwn) {
  Takeover peer(headers(1, kPost, true) + headers(3, kPost, false) + headers(5, kPost, false) + frame(kData, 0, 5, "he") +
                headers(7, kPost, false) + headers(9, kPost, false));
  ASSERT_EQ(peer.complete, std::vector<std::int32_t>{1});
  EXPECT_EQ(peer.server->open_streams(), 5u);
  // 3 and 5 end in one piece of bytes: both are handed out, each with its body; 7 ends with trailers that use a table
  // the older session knows nothing of; 9 is reset.
  ASSERT_TRUE(peer.feed(headers(11, kPost + hpack_added("x", "y"), false) + frame(kData, kEndStream, 3, "three") +
                        frame(kData, kEndStream, 5, "llo") + frame(kData, kEndStream, 11, "eleven") +
                        headers(7, hpack_indexed(62), true) + rst(9, 8) + headers(13, kPost, true)))
      << peer.error;
  const std::vector<std::pair<std::int32_t, std::string>> handed = {{3, "three"}, {5, "hello"}, {7, ""}};
  EXPECT_EQ(peer.from_older, handed);
  EXPECT_EQ(peer.requests(), 2u);
  EXPECT_EQ(peer.server->counts().body_bytes, 6u);
  EXPECT_EQ(peer.server->open_streams(), 6u);
  for (const std::int32_t id : {5, 1, 7, 3}) {
    EXPECT_TRUE(peer.older->respond(id, 410, {}, base::as_bytes(R"({"reason":"Unregistered"})")));
  }
  peer.server->answer(2);
  const auto frames = peer.written();
  std::map<std::int32_t, std::string> blocks;
  for (const Frame& one : of_type(frames, kHeaders)) {
    EXPECT_TRUE(blocks.emplace(one.id, one.payload).second) << one.id << " was answered twice";
  }
  EXPECT_EQ(blocks.size(), 6u);
  EXPECT_EQ(blocks[11], "\x88");
  // The status that the static table lacks is a literal that is never indexed.
  EXPECT_EQ(blocks[1].substr(0, 1), "\x18");
  EXPECT_EQ(blocks[3], blocks[1]);
  EXPECT_EQ(of_type(frames, kData).size(), 4u);
  EXPECT_EQ(peer.server->open_streams(), 0u);
  EXPECT_EQ(peer.server->last_stream_id(), 13);
  // The older session is done with; what comes on its streams now is late.
  EXPECT_FALSE(peer.feed(frame(kData, 0, 3, "x")));
}

TEST(FloodTakeover, TheConnectionsWindowIsOne) {
  // 40,000 of 65,535 are used up before, by a stream whose body goes on.
  Takeover peer(headers(1, kPost, false) + frame(kData, 0, 1, std::string(16'000, 'x')) +
                frame(kData, 0, 1, std::string(8'000, 'x')), {.window_bytes = 1 << 20, .body_max = 1 << 20});
  EXPECT_EQ(peer.older->receive_window(), 65'535 - 24'000);
  ASSERT_TRUE(peer.feed(frame(kData, 0, 1, std::string(6'000, 'x')) + headers(3, kPost, false) +
                        frame(kData, kEndStream, 3, std::string(6'000, 'y'))));
  auto updates = of_type(peer.written(), kWindow);
  ASSERT_EQ(updates.size(), 1u) << "one keeper of the window, one update";
  EXPECT_EQ(updates[0].id, 0);
  EXPECT_EQ(updates[0].word(0), 36'000u);
  // And on, with both kinds of streams, many windows long.
  std::uint64_t given = 36'000, sent = 36'000;
  for (int i = 0; i < 50; ++i) {
    const std::int32_t id = 5 + 2 * i;
    ASSERT_TRUE(peer.feed(frame(kData, 0, 1, std::string(10'000, 'x')) + headers(id, kPost, false) +
                          frame(kData, kEndStream, id, std::string(9'000, 'y')))) << peer.error << i;
    sent += 19'000;
    for (const Frame& one : of_type(peer.written(), kWindow)) {
      if (one.id == 0) given += one.word(0);
    }
    EXPECT_LE(given, sent);
    EXPECT_LE(sent, given + 32'768);
  }
  ASSERT_TRUE(peer.feed(frame(kData, kEndStream, 1, {})));
  ASSERT_EQ(peer.from_older.size(), 1u);
  EXPECT_EQ(peer.from_older[0].second.size(), 24'000u + 6'000u + 50 * 10'000u);
}

TEST(FloodTakeover, AViolationOnAnOlderStreamNamesTheNewestStream) {
  Takeover peer(headers(1, kPost, true));
  EXPECT_FALSE(peer.feed(headers(3, kPost, true) + frame(kData, 0, 1, "x")));
  const auto frames = peer.written();
  ASSERT_EQ(of_type(frames, kGoaway).size(), 1u);
  EXPECT_EQ(frames.back().word(0), 3u);
  EXPECT_EQ(frames.back().word(4), kStreamClosed);
}

TEST(FloodTakeover, TheLimitCountsBothKindsOfStreams) {
  Takeover peer(headers(1, kPost, true), {.streams_max = 2});
  ASSERT_TRUE(peer.feed(headers(3, kPost, true)));
  EXPECT_FALSE(peer.feed(headers(5, kPost, true)));
  EXPECT_NE(peer.error.find("MAX_CONCURRENT_STREAMS"), std::string::npos) << peer.error;
}

TEST(FloodTakeover, SettingsReachBothAndAreAcknowledgedOnce) {
  Takeover peer(headers(1, kPost, true));
  ASSERT_TRUE(peer.feed(settings({{1, 0}, {4, 3}}) + headers(3, kPost, true)));
  peer.server->answer(1);
  auto frames = peer.written();
  EXPECT_EQ(of_type(frames, kSettings).size(), 1u);
  EXPECT_EQ(of_type(frames, kHeaders).at(0).payload, "\x20\x88");
  // The body waits for the window that the client made small, and goes on.
  ASSERT_TRUE(peer.older->respond(1, 400, {}, base::as_bytes("abcdef")));
  frames = peer.written();
  EXPECT_EQ(of_type(frames, kData).at(0).payload, "abc");
  ASSERT_TRUE(peer.feed(window(1, 9) + window(0, 7)));
  EXPECT_EQ(of_type(peer.written(), kData).at(0).payload, "def");
  EXPECT_EQ(peer.server->open_streams(), 0u);
  // Alone: it acknowledges by itself.
  ASSERT_TRUE(peer.feed(settings({{3, 1}})));
  EXPECT_EQ(of_type(peer.written(), kSettings).size(), 1u);
}

// Our own clients on the other side, in pieces of every size.
void answers_our_client(decltype(make_nghttp2_client)* make_client) {
  for (const bool over : {false, true}) {
    for (std::size_t piece = 1; piece < 300; piece = piece * 2 + 1) {
      SCOPED_TRACE(std::to_string(piece) + (over ? " taken over" : ""));
      ClientOptions options;
      options.captures = {"apns-id"};
      auto client = std::move(make_client(options)).value();
      Peer peer(over, {.streams_max = 7, .window_bytes = 1 << 20, .connection_window_bytes = 1 << 24});
      peer.server = over ? nullptr : std::make_unique<FloodServer>(peer.options);
      if (over) peer.older = std::move(make_nghttp2_server(peer.options)).value();
      base::FieldList list;
      list.constant(":method", "POST");
      list.constant(":scheme", "https");
      list.constant(":authority", "mock");
      list.constant(":path", "/3/device/00");
      const std::uint32_t prepared = client->prepare(list, base::BodyShape::whole());
      std::set<std::uint64_t> done;
      std::uint64_t next = 1;
      std::vector<Answer> answers;
      std::vector<Event> events;
      for (int round = 0; round < 400 && done.size() < 50; ++round) {
        base::ByteBuffer up, down;
        client->write_pending(up);
        while (next <= 50 && client->can_start() > 0) {
          Request request;
          request.tag = next;
          request.prepared = prepared;
          request.content = base::as_bytes(R"({"mdm":"magic"})");
          if (client->write({&request, 1}, up) == 0) break;
          ++next;
        }
        const std::string text = take(up);
        for (std::size_t at = 0; at < text.size(); at += piece) {
          const std::string_view some = std::string_view(text).substr(at, piece);
          if (peer.server != nullptr) {
            ASSERT_TRUE(peer.feed(some)) << peer.error;
            continue;
          }
          std::vector<ServerRequest> requests;
          ASSERT_TRUE(peer.older->receive(base::as_bytes(some), requests).ok());
          for (const ServerRequest& one : requests) EXPECT_TRUE(peer.older->respond(one.stream_id, 200, {}, {}));
        }
        if (peer.server == nullptr) {
          peer.older->write_pending(down);
          if (peer.older->settings_acknowledged()) peer.server = std::make_unique<FloodServer>(peer.options, *peer.older);
        }
        if (peer.server != nullptr) {
          peer.server->answer(peer.server->waiting());
          peer.server->write_pending(down);
        }
        const std::string back = take(down);
        for (std::size_t at = 0; at < back.size(); at += piece) {
          answers.clear();
          const auto read = client->receive(base::as_bytes(std::string_view(back).substr(at, piece)), answers, events);
          ASSERT_TRUE(read.ok()) << read.error().message;
          for (const Answer& answer : answers) {
            EXPECT_EQ(answer.status, 200);
            EXPECT_EQ(answer.kind, AnswerKind::complete);
            EXPECT_TRUE(done.insert(answer.tag).second) << "answered twice";
          }
        }
      }
      EXPECT_EQ(done.size(), 50u);
      EXPECT_EQ(client->open_streams(), 0u);
    }
  }
}

TEST(Flood, AnswersTheNghttp2Client) { answers_our_client(make_nghttp2_client); }
TEST(Flood, AnswersTheFastClient) { answers_our_client(make_fast_client); }

}  // namespace
}  // namespace tocsin::h2
