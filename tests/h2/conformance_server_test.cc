// SPDX-License-Identifier: Apache-2.0
// The mock's server session against the sentences of RFC 9113 and RFC 7541 that bind the receiver of a client's bytes.
// Every row runs twice, its bytes whole and one by one, and must give the same verdict both times.
#include <algorithm>
#include <memory>

#include "conformance.h"
#include "h2/server_session.h"

namespace tocsin::h2 {
namespace {

using namespace test;

using Fields = std::vector<std::pair<std::string, std::string>>;

// A request handed out, copied: its views live only until the next receive().
struct Seen {
  std::int32_t id;
  Fields fields;
  std::string body;
};

// A server whose client has sent its preface and knows our SETTINGS.
struct Peer {
  explicit Peer(const ServerOptions& options = {})
      : server(std::move(make_nghttp2_server(options)).value()), streams_max(options.streams_max) {}
  void start(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& entries = {}) {
    ASSERT_TRUE(feed(std::string(kPreface) + settings(entries) + settings_ack())) << error;
    written();
  }
  bool feed(std::string_view bytes) {
    std::vector<ServerRequest> requests;
    const auto result = server->receive(base::as_bytes(bytes), requests);
    for (const ServerRequest& request : requests) {
      Seen one{request.stream_id, {}, std::string(base::as_text(request.body))};
      for (const FieldView& field : request.fields) one.fields.emplace_back(field.name, field.value);
      seen.push_back(std::move(one));
    }
    if (!result.ok()) error = result.error().message;
    return result.ok();
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
  std::size_t handed(std::int32_t id) const {
    return static_cast<std::size_t>(std::count_if(seen.begin(), seen.end(),
        [&](const Seen& one) { return one.id == id; }));
  }

  std::unique_ptr<ServerSession> server;
  std::uint32_t streams_max;
  base::ByteBuffer out;
  std::vector<Seen> seen;
  std::string error;
  std::vector<Frame> frames;  // what the row's bytes made it write
};

using ServerRow = Row<Peer>;
using Step = std::function<void(Peer&)>;

const std::string kPath = literal(":path", "/3/device/aa");
const std::string kAuthority = literal(":authority", "mock");
const std::string kGet = "\x82\x87" + kPath + kAuthority;
const std::string kPost = "\x83\x87" + kPath + kAuthority;
const std::string kPingBytes = "12345678";
const std::string kUnknown = frame(0xfa, 0xff, 0, "whatever");
const std::string kWhole = headers(1, kGet, true);
const std::string kOpen = headers(1, kPost, false);

Step with(ServerOptions options, std::vector<std::pair<std::uint32_t, std::uint32_t>> entries = {}) {
  return [=](Peer& peer) {
    peer = Peer(options);
    peer.start(entries);
  };
}
Step fed(std::string bytes) {
  return [=](Peer& peer) { ASSERT_TRUE(peer.feed(bytes)) << peer.error; };
}
// A request that was answered: its stream is closed on both sides.
Step closed_stream() {
  return [](Peer& peer) {
    ASSERT_TRUE(peer.feed(kWhole));
    ASSERT_TRUE(peer.server->respond(1, 200, {}, {}));
  };
}
Step reset_stream() {
  return [](Peer& peer) {
    ASSERT_TRUE(peer.feed(kOpen));
    peer.server->reset(1, kCancel);
  };
}
void fresh(Peer& peer) { peer = Peer(); }

// For `also`.
Step body_is(std::string body) {
  return [=](Peer& peer) {
    ASSERT_FALSE(peer.seen.empty());
    EXPECT_EQ(peer.seen.back().body, body);
  };
}
Step last_field(std::string name, std::string value) {
  return [=](Peer& peer) {
    ASSERT_FALSE(peer.seen.empty());
    EXPECT_EQ(peer.seen.back().fields.back(), std::pair(name, value));
  };
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
void silent(Peer& peer) { EXPECT_TRUE(peer.frames.empty()); }
// RST_STREAM with the code on the stream, and no request of it.
Step refuses(std::int32_t id, std::uint32_t code) {
  return [=](Peer& peer) {
    const auto resets = of_type(peer.frames, kRst);
    ASSERT_EQ(resets.size(), 1u);
    EXPECT_EQ(resets[0].id, id);
    EXPECT_EQ(resets[0].word(0), code);
    EXPECT_EQ(peer.handed(id), 0u);
  };
}
// What the session sends for these answers' bodies.
std::string sent_data(const std::vector<Frame>& frames) {
  std::string text;
  for (const Frame& one : of_type(frames, kData)) text += one.payload;
  return text;
}
Step answered_with(std::vector<std::pair<std::uint32_t, std::uint32_t>> entries, std::string body) {
  return [=](Peer& peer) {
    with({}, entries)(peer);
    ASSERT_TRUE(peer.feed(kWhole));
    ASSERT_TRUE(peer.server->respond(1, 200, {}, base::as_bytes(body)));
  };
}
Step sends(std::string text) {
  return [=](Peer& peer) { EXPECT_EQ(sent_data(peer.frames), text); };
}
std::string data_frames(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += frame(kData, 0, 1, std::string(16'384, 'x'));
  return all;
}

std::vector<ServerRow> connection_rows() {
  const std::string preface(kPreface);
  return {
      {"3.4", "the preface and SETTINGS open a connection", preface + settings({}) + kWhole, kAccepted, fresh},
      {"3.4", "a client need not wait for our SETTINGS, nor acknowledge them first",
       preface + settings({{3, 1}}) + kWhole + settings_ack(), kAccepted, fresh},
      {"3.4", "behind the preface comes SETTINGS: PING", preface + frame(kPing, 0, 0, kPingBytes), kBadProtocol, fresh},
      {"3.4", "behind the preface comes SETTINGS: HEADERS", preface + kWhole, kBadProtocol, fresh},
      {"3.4", "behind the preface comes SETTINGS: an acknowledgement", preface + settings_ack(), kBadProtocol, fresh},
      {"3.4", "behind the preface comes SETTINGS: an unknown frame", preface + kUnknown, kBadProtocol, fresh},

      {"4.1", "the reserved bit of a stream id is ignored",
       frame(kHeaders, kEndHeaders | kEndStream, static_cast<std::int32_t>(0x80000001u), kGet), kAccepted},
      {"4.1", "flags without meaning are ignored: HEADERS", frame(kHeaders, 0xd2 | kEndHeaders | kEndStream, 1, kGet),
       kAccepted},
      {"4.1", "flags without meaning are ignored: DATA", kOpen + frame(kData, 0xf6 | kEndStream, 1, "b"), kAccepted, {},
       body_is("b")},
      {"4.1", "flags without meaning are ignored: PING", frame(kPing, 0xfe, 0, kPingBytes), kTaken, {},
       writes(kPing, kAck, kPingBytes)},
      {"4.1", "flags without meaning are ignored: SETTINGS", frame(kSettings, 0xfe, 0, {}), kTaken, {},
       writes(kSettings, kAck, {})},

      {"4.2", "a frame of MAX_FRAME_SIZE is taken", kOpen + frame(kData, kEndStream, 1, std::string(16'384, 'x')),
       kAccepted, with({.body_max = 20'000}), body_is(std::string(16'384, 'x'))},
      {"4.2", "a larger DATA is FRAME_SIZE_ERROR", kOpen + frame(kData, 0, 1, std::string(16'385, 'x')), kBadSize},
      {"4.2", "a larger HEADERS is FRAME_SIZE_ERROR", headers(1, std::string(16'385, 'x'), true), kBadSize},
      {"4.2", "a larger frame of an unknown type as well", frame(0xfa, 0, 0, std::string(16'385, 'x')), kBadSize},
      {"4.2", "what we announced counts", kOpen + frame(kData, kEndStream, 1, std::string(20'000, 'x')), kAccepted,
       with({.frame_bytes_max = 20'000})},

      {"4.3", "a block that does not decode is COMPRESSION_ERROR",
       headers(1, bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), true), kBadBlock},
      {"4.3", "a block that ends inside a field is COMPRESSION_ERROR", headers(1, kGet.substr(0, 20), true), kBadBlock},
      {"4.3", "a block is contiguous: no PING inside", frame(kHeaders, 0, 1, kGet) + frame(kPing, 0, 0, kPingBytes),
       kBadProtocol},
      {"4.3", "a block is contiguous: no frame of another stream", frame(kHeaders, 0, 1, kGet) + headers(3, kGet, true),
       kBadProtocol},
      {"4.3", "a block is contiguous: no DATA of its stream", frame(kHeaders, 0, 1, kGet) + frame(kData, 0, 1, "x"),
       kBadProtocol},
      {"4.3", "a block is contiguous: no unknown frame", frame(kHeaders, 0, 1, kGet) + kUnknown, kBadProtocol},
      {"4.3", "blocks of refused streams still change the table",
       headers(1, kGet, false) + headers(3, kGet + hpack_added("apns-id", "x"), true) + headers(5,
       kGet + hpack_indexed(62), true), kTaken,
       [](Peer& peer) { peer = Peer({.streams_max = 1}); ASSERT_TRUE(peer.feed(std::string(kPreface) +
       settings({}))); peer.written(); },
       [](Peer& peer) { EXPECT_EQ(of_type(peer.frames, kRst).size(), 2u); EXPECT_TRUE(peer.seen.empty()); }},
      {"4.3", "blocks of malformed requests still change the table",
       headers(1, kGet + hpack_added("apns-id", "x") + literal("X", "1"), true) + headers(3, kGet + hpack_indexed(62),
       true), kTaken, {},
       [](Peer& peer) { last_field("apns-id", "x")(peer); EXPECT_EQ(peer.handed(3), 1u); }},
  };
}

std::vector<ServerRow> stream_rows() {
  return {
      {"5.1", "idle: DATA", frame(kData, kEndStream, 1, "x"), kBadProtocol},
      {"5.1", "idle: RST_STREAM", rst(1, 8), kBadProtocol},
      {"5.1", "idle: WINDOW_UPDATE", window(1, 10), kBadProtocol},
      {"5.1", "idle: CONTINUATION", frame(kContinuation, kEndHeaders, 1, kGet), kBadProtocol},
      {"5.1", "idle: PRIORITY is allowed", frame(kPriority, 0, 1, priority_fields(0, 5)), kIgnored},
      {"5.1", "half-closed (remote): DATA is STREAM_CLOSED", frame(kData, 0, 1, "x"), connection_error(kStreamClosed),
       fed(kWhole)},
      {"5.1", "half-closed (remote): HEADERS is STREAM_CLOSED", kWhole, connection_error(kStreamClosed), fed(kWhole)},
      {"5.1", "half-closed (remote): WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed",
       window(1, 9) + frame(kPriority, 0, 1, priority_fields(0, 5)) + rst(1, 8), kTaken, fed(kWhole), silent},
      {"5.1", "closed: DATA may be an error, and is ignored", frame(kData, 0, 1, "x"), kTaken, closed_stream(), silent},
      {"5.1", "closed: HEADERS may be an error, and is ignored", kWhole, kTaken, closed_stream(),
       [](Peer& peer) { silent(peer); EXPECT_EQ(peer.handed(1), 1u); }},
      {"5.1", "closed: WINDOW_UPDATE and RST_STREAM are ignored", window(1, 9) + rst(1, 8), kTaken, closed_stream(),
       silent},
      {"5.1", "closed: PRIORITY is allowed", frame(kPriority, 0, 1, priority_fields(0, 5)), kTaken, closed_stream(),
       silent},
      {"5.1", "closed by the client's RST_STREAM: DATA may be an error, and is ignored", frame(kData, 0, 1, "x"),
       kTaken, fed(kOpen + rst(1, 8)), silent},
      {"5.1", "after our RST_STREAM: DATA is discarded", frame(kData, kEndStream, 1, "x"), kTaken, reset_stream(),
       silent},
      {"5.1", "after our RST_STREAM: WINDOW_UPDATE and RST_STREAM are discarded", window(1, 9) + rst(1, 8), kTaken,
       reset_stream(), silent},
      {"5.1", "after our RST_STREAM: trailers are discarded", headers(1, literal("x-t", "1"), true), kTaken,
       reset_stream(), silent},

      {"5.1.1", "a client's streams are odd", headers(2, kGet, true), kBadProtocol},
      {"5.1.1", "stream 0 carries no message", headers(0, kGet, true), kBadProtocol},
      {"5.1.1", "ids grow", headers(3, kGet, true), kTaken, fed(headers(5, kGet, true)),
       [](Peer& peer) { silent(peer); EXPECT_EQ(peer.handed(3), 0u); }, nullptr,
       "a connection error by the letter; nghttp2 takes it for a late frame of a closed stream, and hands out nothing"},
      {"5.1.1", "ids may leave gaps", kWhole + headers(9, kGet, true), kAccepted, {},
       [](Peer& peer) { EXPECT_EQ(peer.handed(9), 1u); EXPECT_EQ(peer.server->last_stream_id(), 9); }},
      {"5.1.1", "ids that were passed over are closed, and their DATA ignored", frame(kData, 0, 3, "x"), kTaken,
       fed(headers(9, kGet, true)), silent},
      {"5.1.1", "the last id of all", headers(0x7fffffff, kGet, true), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.handed(0x7fffffff), 1u); }},

      {"5.1.2", "a stream beyond the limit is refused while the client may not know it",
       headers(1, kGet, true) + headers(3, kGet, true), kTaken,
       [](Peer& peer) { peer = Peer({.streams_max = 1}); ASSERT_TRUE(peer.feed(std::string(kPreface) +
       settings({}))); peer.written(); }, refuses(3, kRefusedStream)},
      {"5.1.2", "and is an error once it knows it", headers(1, kGet, true) + headers(3, kGet, true), kBadProtocol,
       with({.streams_max = 1})},
      {"5.1.2", "streams that are closed do not count", headers(3, kGet, true), kTaken,
       [](Peer& peer) { with({.streams_max = 1})(peer); closed_stream()(peer); },
       [](Peer& peer) { EXPECT_EQ(peer.handed(3), 1u); }},
      {"5.1.2", "half-closed streams count", headers(3, kGet, true), kBadProtocol,
       [](Peer& peer) { with({.streams_max = 1})(peer); ASSERT_TRUE(peer.feed(kWhole)); }},

      {"5.2", "DATA beyond the stream's window is FLOW_CONTROL_ERROR",
       kOpen + frame(kData, 0, 1, std::string(101, 'x')), stream_error(kFlowControlError), with({.window_bytes = 100})},
      {"5.2", "padding counts against the window", kOpen + frame(kData, kPadded, 1, padded(std::string(80, 'x'), 20)),
       stream_error(kFlowControlError), with({.window_bytes = 100})},
      {"5.2", "DATA up to the window is taken", kOpen + frame(kData, kEndStream, 1, std::string(100, 'x')), kAccepted,
       with({.window_bytes = 100})},
      {"5.2", "DATA beyond the connection's window is FLOW_CONTROL_ERROR", kOpen + data_frames(4), kBadFlow,
       [](Peer& peer) { with({.window_bytes = 1 << 20})(peer); peer.server->set_auto_window_update(false); }},
      {"5.2", "what was consumed is given back to both windows", kOpen + data_frames(3), kTaken, {},
       [](Peer& peer) {
         std::map<std::int32_t, std::uint32_t> given;
         for (const Frame& one : of_type(peer.frames, kWindow)) given[one.id] += one.word(0);
         EXPECT_GT(given[0], 32'000u);
         EXPECT_GT(given[1], 32'000u);
       }},
      {"5.2", "DATA of a stream that is gone still counts and is given back", data_frames(3), kTaken, reset_stream(),
       [](Peer& peer) {
         const auto updates = of_type(peer.frames, kWindow);
         ASSERT_FALSE(updates.empty());
         for (const Frame& one : updates) EXPECT_EQ(one.id, 0);
       }},

      {"5.3", "a PRIORITY frame changes nothing", frame(kPriority, 0, 1, priority_fields(0x80000003u, 255)), kTaken,
       fed(kWhole), silent},
      {"5.3", "priority fields in HEADERS change nothing",
       frame(kHeaders, kEndHeaders | kEndStream | kPriorityFlag, 1, priority_fields(3, 1) + kGet), kAccepted},
      {"5.3", "a stream that depends on itself means nothing any more", frame(kPriority, 0, 1, priority_fields(1, 1)),
       kBadProtocol, {}, {}, nullptr,
       "nghttp2 keeps the rule of RFC 7540 section 5.3.1, and no client breaks it"},

      {"5.4.1", "after a connection error nothing is read any more", window(0, 0) + kWhole, kBadProtocol},
      {"5.4.2", "RST_STREAM is not answered by RST_STREAM", rst(1, 2) + rst(1, 2), kTaken, fed(kOpen), silent},
      {"5.4.2", "a stream error leaves the other streams alone", headers(1, kPath, true) + headers(3, kGet, true),
       stream_error(kProtocolError), {}, [](Peer& peer) { EXPECT_EQ(peer.handed(3), 1u); }},

      {"5.5", "frames of unknown types are ignored: connection", kUnknown, kIgnored},
      {"5.5", "frames of unknown types are ignored: an idle stream", frame(0xfa, 0, 99, "x"), kIgnored},
      {"5.5", "frames of unknown types are ignored: PRIORITY_UPDATE (RFC 9218)", frame(0x10, 0, 0, u32(1) + "u=1"),
       kIgnored},
      {"5.5", "frames of unknown types between HEADERS and DATA",
       kOpen + frame(0xfa, 0xff, 1, "x") + frame(kData, kEndStream, 1, "b"), kAccepted, {}, body_is("b")},
      {"5.5", "unknown settings are ignored", settings({{0x4242, 1}, {0, 5}, {0xffff, 9}}), kTaken, {},
       writes(kSettings, kAck, {})},
  };
}

std::vector<ServerRow> frame_rows() {
  std::string many_continuations = frame(kHeaders, 0, 1, kGet);
  for (int i = 0; i < 200; ++i) many_continuations += frame(kContinuation, 0, 1, {});
  return {
      {"6.1", "DATA on stream 0", frame(kData, 0, 0, "x"), kBadProtocol},
      {"6.1", "padding is left out of the body", kOpen + frame(kData, kPadded | kEndStream, 1, padded("body", 200)),
       kAccepted, {}, body_is("body")},
      {"6.1", "padding may be all there is",
       kOpen + frame(kData, kPadded, 1, padded("", 9)) + frame(kData, kPadded | kEndStream, 1, padded("", 0)),
       kAccepted, {}, body_is("")},
      {"6.1", "padding as long as the payload is PROTOCOL_ERROR",
       kOpen + frame(kData, kPadded, 1, bytes({5, 'x', 0, 0, 0})), kBadProtocol},
      {"6.1", "empty DATA may end the stream", kOpen + frame(kData, kEndStream, 1, {}), kAccepted, {}, body_is("")},
      {"6.1", "PADDED without room for the pad length", kOpen + frame(kData, kPadded, 1, {}), kBadProtocol, {}, {},
       nullptr, "nghttp2 says PROTOCOL_ERROR instead of FRAME_SIZE_ERROR; the connection ends either way"},

      {"6.2", "padding is left out of the block",
       frame(kHeaders, kEndHeaders | kEndStream | kPadded, 1, padded(kGet, 33)), kAccepted, {},
       last_field(":authority", "mock")},
      {"6.2", "padding together with priority fields",
       frame(kHeaders, kEndHeaders | kEndStream | kPadded | kPriorityFlag, 1, padded(priority_fields(0, 9) + kGet, 3)),
       kAccepted, {}, last_field(":authority", "mock")},
      {"6.2", "padding longer than what is left is PROTOCOL_ERROR",
       frame(kHeaders, kEndHeaders | kPadded, 1, bytes({9, 0x82, 0, 0})), kBadProtocol},
      {"6.2", "PRIORITY without room for its fields", frame(kHeaders, kEndHeaders | kPriorityFlag, 1, u32(0)),
       kBadSize},

      {"6.3", "PRIORITY on stream 0", frame(kPriority, 0, 0, priority_fields(0, 0)), kBadProtocol},
      {"6.3", "PRIORITY of 4 bytes is FRAME_SIZE_ERROR", frame(kPriority, 0, 1, u32(0)), kBadSize},

      {"6.4", "RST_STREAM on stream 0", rst(0, 8), kBadProtocol},
      {"6.4", "RST_STREAM of 3 bytes", frame(kRst, 0, 1, "abc"), kBadSize, fed(kOpen)},
      {"6.4", "RST_STREAM of 5 bytes", frame(kRst, 0, 1, "abcde"), kBadSize, fed(kOpen)},
      {"6.4", "a stream that was reset takes no answer", rst(1, 0xdeadbeef), kTaken, fed(kWhole),
       [](Peer& peer) { silent(peer); EXPECT_FALSE(peer.server->respond(1, 200, {},
       {})); EXPECT_EQ(peer.server->open_streams(), 0u); }},

      {"6.5", "SETTINGS on a stream", frame(kSettings, 0, 1, {}), kBadProtocol},
      {"6.5", "SETTINGS whose length is no multiple of 6", frame(kSettings, 0, 0, "1234567"), kBadSize},
      {"6.5", "an acknowledgement with a payload", frame(kSettings, kAck, 0, u16(3) + u32(1)), kBadSize},
      {"6.5.2", "ENABLE_PUSH 0 and 1", settings({{2, 0}, {2, 1}}), kTaken, {}, writes(kSettings, kAck, {})},
      {"6.5.2", "ENABLE_PUSH above 1", settings({{2, 2}}), kBadProtocol},
      {"6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", settings({{4, 0x80000000u}}), kBadFlow},
      {"6.5.2", "MAX_FRAME_SIZE below 16384", settings({{5, 16'383}}), kBadProtocol},
      {"6.5.2", "MAX_FRAME_SIZE above 2^24-1", settings({{5, 1u << 24}}), kBadProtocol},
      {"6.5.2", "ends of the allowed ranges",
       settings({{1, 0}, {1, 0xffffffffu}, {4, 0}, {4, 0x7fffffff}, {5, 16'384}, {5, (1u << 24) - 1}, {6, 0},
       {3, 0xffffffffu}}), kTaken, {}, writes(kSettings, kAck, {})},
      {"6.5.3", "each SETTINGS is acknowledged once", settings({{3, 5}}) + settings({}) + settings({{3, 7}}), kTaken,
       {}, writes(kSettings, kAck, {}, 3)},
      {"6.5.3", "the values are taken in order, the last one counts", settings({{4, 4}, {4, 2}}), kTaken,
       answered_with({{4, 0}}, "body"), sends("bo")},
      {"6.5.3", "an acknowledgement nobody waits for", settings_ack(), kBadProtocol},

      {"6.6", "a client promises nothing", frame(kPush, kEndHeaders, 1, u32(2) + kGet), kBadProtocol, fed(kOpen)},

      {"6.7", "PING is answered with its payload", frame(kPing, 0, 0, "\x01\x02\x03\x04\x05\x06\x07\xff"), kTaken, {},
       writes(kPing, kAck, "\x01\x02\x03\x04\x05\x06\x07\xff")},
      {"6.7", "an acknowledgement is not answered", frame(kPing, kAck, 0, kPingBytes), kIgnored},
      {"6.7", "PING on a stream", frame(kPing, 0, 1, kPingBytes), kBadProtocol},
      {"6.7", "PING of 7 bytes", frame(kPing, 0, 0, "1234567"), kBadSize},
      {"6.7", "PING of 9 bytes", frame(kPing, 0, 0, "123456789"), kBadSize},

      {"6.8", "GOAWAY on a stream", frame(kGoaway, 0, 1, u32(0) + u32(0)), kBadProtocol},
      {"6.8", "GOAWAY of 7 bytes", frame(kGoaway, 0, 0, "1234567"), kBadSize},
      {"6.8", "what is open behind a client's GOAWAY is still answered", goaway(0, 0, "bye"), kTaken, fed(kWhole),
       [](Peer& peer) { EXPECT_FALSE(peer.server->finished()); EXPECT_TRUE(peer.server->respond(1, 200, {},
       {})); EXPECT_TRUE(peer.server->finished()); }},

      {"6.9", "an increment of 0 on the connection", window(0, 0), kBadProtocol},
      {"6.9", "an increment of 0 on a stream", window(1, 0), kBadProtocol, fed(kOpen)},
      {"6.9", "WINDOW_UPDATE of 3 bytes", frame(kWindow, 0, 0, "abc"), kBadSize},
      {"6.9", "WINDOW_UPDATE of 5 bytes", frame(kWindow, 0, 0, "abcde"), kBadSize},
      {"6.9.1", "the connection's window does not grow beyond 2^31-1", window(0, 0x7fffffff - 65'534), kBadFlow},
      {"6.9.1", "a stream's window grows to 2^31-1", window(1, 0x7fffffff - 65'535), kTaken, fed(kOpen), silent},
      {"6.9.1", "and not beyond it", window(1, 0x7fffffff - 65'534), stream_error(kFlowControlError), fed(kOpen)},
      {"6.9.1", "a body waits for the stream's window", window(1, 2), kTaken, answered_with({{4, 1}}, "body"),
       sends("od")},
      {"6.9.1", "a body waits for the connection's window", window(0, 5), kTaken,
       answered_with({{4, 1 << 20}}, std::string(65'535, 'x') + "0123456789"), sends("01234")},
      {"6.9.2", "a larger initial window opens streams that wait", settings({{4, 3}}), kTaken,
       answered_with({{4, 1}}, "body"), sends("od")},
      {"6.9.2", "a smaller one may make a window negative, and nothing is sent until it is above 0",
       settings({{4, 1}}) + window(1, 4), kTaken, answered_with({{4, 5}}, "0123456789"),
       [](Peer& peer) {
         EXPECT_EQ(sent_data(peer.frames), "");
         ASSERT_TRUE(peer.feed(window(1, 1)));
         EXPECT_EQ(sent_data(peer.written()), "5");
       }},
      {"6.9.2", "an initial window that lifts an open stream's beyond 2^31-1",
       window(1, 0x7fffffff - 65'535) + settings({{4, 65'536}}), stream_error(kFlowControlError), fed(kOpen), {},
       nullptr,
       "a connection error by the letter; nghttp2 ends the streams concerned, with the code asked for"},

      {"6.10", "CONTINUATION behind END_HEADERS", kOpen + frame(kContinuation, kEndHeaders, 1, literal("a", "b")),
       kBadProtocol},
      {"6.10", "CONTINUATION of another stream", frame(kHeaders, 0, 1, kGet) + frame(kContinuation, kEndHeaders, 3, {}),
       kBadProtocol},
      {"6.10", "CONTINUATION on stream 0", frame(kHeaders, 0, 1, kGet) + frame(kContinuation, kEndHeaders, 0, {}),
       kBadProtocol},
      {"6.10", "CONTINUATION may be empty",
       frame(kHeaders, kEndStream, 1, {}) + frame(kContinuation, 0, 1, kGet) + frame(kContinuation, kEndHeaders, 1, {}),
       kAccepted},
      {"6.10", "END_STREAM of HEADERS counts behind the last CONTINUATION", split_block(1, kGet, {1, 4, 9}, true),
       kAccepted, {}, last_field(":authority", "mock")},
      {"6.10", "CONTINUATION without end is not read for ever (section 10.5.1)", many_continuations,
       connection_error(kEnhanceYourCalm)},
  };
}

std::vector<ServerRow> message_rows() {
  const auto block = [](const std::string& fields) { return headers(1, fields, true); };
  const auto field = [&](std::string_view name, std::string_view value) { return block(kGet + literal(name, value)); };
  const auto sized = [](std::string_view length) { return headers(1, kPost + literal("content-length", length),
      false); };
  const std::string trailers = literal("x-t", "1");
  std::vector<ServerRow> rows = {
      {"8.1", "a request may be HEADERS alone", kWhole, kAccepted, {}, body_is("")},
      {"8.1", "HEADERS and DATA", kOpen + frame(kData, 0, 1, "bo") + frame(kData, kEndStream, 1, "dy"), kAccepted, {},
       body_is("body")},
      {"8.1", "trailers end it", kOpen + frame(kData, 0, 1, "b") + headers(1, trailers, true), kAccepted, {},
       body_is("b")},
      {"8.1", "trailers must end the stream", kOpen + headers(1, trailers, false), kMalformed},
      {"8.1", "a request that is reset before its end is none", kOpen + frame(kData, 0, 1, "b") + rst(1, 8), kTaken, {},
       [](Peer& peer) { EXPECT_TRUE(peer.seen.empty()); silent(peer); }},

      {"8.1.1", "content-length equal to the content",
       sized("4") + frame(kData, 0, 1, "bo") + frame(kData, kEndStream, 1, "dy"), kAccepted, {}, body_is("body")},
      {"8.1.1", "padding is no content", sized("4") + frame(kData, kPadded | kEndStream, 1, padded("body", 9)),
       kAccepted, {}, body_is("body")},
      {"8.1.1", "content-length larger than the content", sized("5") + frame(kData, kEndStream, 1, "body"), kMalformed},
      {"8.1.1", "content-length smaller than the content", sized("3") + frame(kData, kEndStream, 1, "body"),
       kMalformed},
      {"8.1.1", "content-length without content", block(kPost + literal("content-length", "3")), kMalformed},
      {"8.1.1", "content-length and trailers", sized("9") + frame(kData, 0, 1, "body") + headers(1, trailers, true),
       kMalformed},
      {"8.1.1", "content-length that is no number", field("content-length", "4x"), kMalformed},
      {"8.1.1", "content-length twice", block(kGet + literal("content-length", "0") + literal("content-length", "1")),
       kMalformed},

      {"8.2.1", "upper case in a name", field("Apns-Id", "x"), kMalformed},
      {"8.2.1", "an empty name", field("", "x"), kMalformed},
      {"8.2.1", "a space in a name", field("a b", "x"), kMalformed},
      {"8.2.1", "a colon in a name", field("a:b", "x"), kMalformed},
      {"8.2.1", "a byte above 7e in a name", field("a\xe9", "x"), kMalformed},
      {"8.2.1", "NUL in a value", field("x", std::string_view("a\0b", 3)), kMalformed},
      {"8.2.1", "CR in a value", field("x", "a\rb"), kMalformed},
      {"8.2.1", "LF in a value", field("x", "a\nb"), kMalformed},
      {"8.2.1", "a value that begins with a space", field("x", " a"), kMalformed},
      {"8.2.1", "a value that ends with a tab", field("x", "a\t"), kMalformed},
      {"8.2.1", "an empty value is allowed", field("x", ""), kAccepted, {}, last_field("x", "")},
      {"8.2.1", "bad fields in trailers as well", kOpen + headers(1, literal("X", "1"), true), kMalformed},
      {"8.2.2", "te may say trailers", field("te", "trailers"), kAccepted},
      {"8.2.2", "te may say nothing else", field("te", "gzip"), kMalformed},
      {"8.2.3", "cookie may come in several fields", block(kGet + literal("cookie", "a=b") + literal("cookie", "c=d")),
       kAccepted},

      {"8.3", "a pseudo-field behind a regular one", block("\x82\x87" + kPath + literal("a", "b") + kAuthority),
       kMalformed},
      {"8.3", "a pseudo-field that does not exist", block(kGet + literal(":unknown", "x")), kMalformed},
      {"8.3", "a pseudo-field of a response", block(kGet + "\x88"), kMalformed},
      {"8.3", "a pseudo-field in trailers", kOpen + headers(1, literal(":path", "/"), true), kMalformed},
      {"8.3.1", "no :method", block("\x87" + kPath + kAuthority), kMalformed},
      {"8.3.1", "no :scheme", block("\x82" + kPath + kAuthority), kMalformed},
      {"8.3.1", "no :path", block("\x82\x87" + kAuthority), kMalformed},
      {"8.3.1", "an empty :path", block("\x82\x87" + literal(":path", "") + kAuthority), kMalformed},
      {"8.3.1", "a :path that does not begin with a slash", block("\x82\x87" + literal(":path", "x") + kAuthority),
       kMalformed},
      {"8.3.1", "an asterisk is for OPTIONS", block("\x82\x87" + literal(":path", "*") + kAuthority), kMalformed},
      {"8.3.1", ":method twice", block(kGet + "\x82"), kMalformed},
      {"8.3.1", ":scheme twice", block(kGet + "\x87"), kMalformed},
      {"8.3.1", ":path twice", block(kGet + kPath), kMalformed},
      {"8.3.1", ":authority twice", block(kGet + kAuthority), kMalformed},
      {"8.3.1", "no :authority, but host", block("\x82\x87" + kPath + literal("host", "mock")), kAccepted},
      {"8.3.1", "user information in :authority", block("\x82\x87" + kPath + literal(":authority", "me@mock")),
       kAccepted, {}, {}, nullptr, "nghttp2 takes '@'; the mock reads no authority"},
      {"8.5", "CONNECT has no :scheme and :path", block(literal(":method", "CONNECT") + kPath + kAuthority),
       kMalformed},
      {"8.5", "CONNECT with :authority alone", headers(1, literal(":method", "CONNECT") + kAuthority, true), kAccepted},
  };
  for (const char* name : {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"}) {
    rows.push_back({"8.2.2", "connection-specific fields make a message malformed", field(name, "x"), kMalformed});
  }
  return rows;
}

std::vector<ServerRow> hpack_rows() {
  const auto end = [](const std::string& block) { return headers(1, block, true); };
  const ServerOptions small{.header_table_bytes = 100};
  const std::string added = kGet + hpack_added("apns-id", "x");
  const std::string long_value(60, 'v');
  return {
      {"hpack 2.3.3", "index 62 is the newest entry", end(added) + headers(3, kGet + hpack_indexed(62), true),
       kAccepted, {}, last_field("apns-id", "x")},
      {"hpack 2.3.3", "an index beyond the tables", end(kGet + hpack_indexed(62)), kBadBlock},
      {"hpack 2.3.3", "a name's index beyond the tables", end(kGet + hpack_integer(0x40, 6, 70) + hpack_text("x")),
       kBadBlock},
      {"hpack 4.2", "a size update at the start of a block", end(hpack_table_size(0) + kGet), kAccepted},
      {"hpack 4.2", "two of them, the smaller first", end(hpack_table_size(0) + hpack_table_size(4096) + kGet),
       kAccepted},
      {"hpack 4.2", "a size update behind a field", end(kGet + hpack_table_size(0)), kBadBlock},
      {"hpack 4.2", "our smaller table must be acknowledged in the next block", end(kGet), kBadBlock, with(small)},
      {"hpack 4.2", "our smaller table, acknowledged", end(hpack_table_size(100) + kGet), kAccepted, with(small)},
      {"hpack 4.3", "an update to 0 empties the table",
       headers(3, hpack_table_size(0) + kGet + hpack_indexed(62), true), kBadBlock, fed(end(added))},
      {"hpack 4.4", "a new entry evicts the oldest",
       end(hpack_table_size(100) + kGet + hpack_added("a", long_value) + hpack_added("b",
       long_value) + hpack_indexed(63)), kBadBlock, with(small)},
      {"hpack 4.4", "an entry larger than the table empties it and is no error",
       end(hpack_table_size(100) + kGet + hpack_added("x", std::string(100, 'y'))), kAccepted, with(small)},
      {"hpack 5.1", "an integer that does not fit",
       end(kGet + bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})), kBadBlock},
      {"hpack 5.1", "a string length that does not fit",
       end(kGet + bytes({0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f})), kBadBlock},
      {"hpack 5.2", "Huffman's code, padded with the start of EOS", end(kGet + hpack_huffman("apns-id", bytes({0x1f}))),
       kAccepted, {}, last_field("apns-id", "a")},
      {"hpack 5.2", "padding that is not EOS", end(kGet + hpack_huffman("x", bytes({0x18}))), kBadBlock},
      {"hpack 5.2", "padding longer than 7 bits", end(kGet + hpack_huffman("x", bytes({0x1f, 0xff}))), kBadBlock},
      {"hpack 5.2", "EOS in a string", end(kGet + hpack_huffman("x", bytes({0xff, 0xff, 0xff, 0xff}))), kBadBlock},
      {"hpack 6.1", "index 0", end(kGet + hpack_indexed(0)), kBadBlock},
      {"hpack 6.2", "literals never indexed", end(kGet + hpack_never("apns-id", "x")), kAccepted, {},
       last_field("apns-id", "x")},
      {"hpack 6.3", "a size update beyond SETTINGS_HEADER_TABLE_SIZE", end(hpack_table_size(4097) + kGet), kBadBlock},
  };
}

void check(const ServerRow& row, bool whole) {
  SCOPED_TRACE(std::string(row.section) + ": " + row.requirement + (whole ? "" : " (byte by byte)"));
  Peer peer;
  peer.start();
  if (row.before) row.before(peer);
  peer.written();
  const std::size_t seen = peer.seen.size();
  const bool fine = peer.feed(row.bytes, whole);
  peer.frames = peer.written();
  const auto goaways = of_type(peer.frames, kGoaway);
  const auto resets = of_type(peer.frames, kRst);
  const Kind kind = row.verdict.kind;
  const std::int32_t highest = peer.server->last_stream_id();

  if (kind == Kind::connection_error) {
    EXPECT_FALSE(fine) << "taken, though it is a connection error";
    EXPECT_NE(peer.error.find("the client broke HTTP/2"), std::string::npos) << peer.error;
    ASSERT_EQ(goaways.size(), 1u) << peer.error;
    EXPECT_EQ(goaways[0].word(4), row.verdict.code) << peer.error;
    EXPECT_LE(goaways[0].word(0), static_cast<std::uint32_t>(highest)) << "no stream that was never seen";
    EXPECT_EQ(peer.frames.back().type, kGoaway) << "nothing goes out behind it";
    const std::size_t handed = peer.seen.size();
    EXPECT_FALSE(peer.feed(headers(1001, kGet, true))) << "it stays broken";
    EXPECT_EQ(peer.seen.size(), handed);
    EXPECT_TRUE(peer.written().empty());
    if (row.also) row.also(peer);
    return;
  }
  ASSERT_TRUE(fine) << peer.error;
  EXPECT_TRUE(goaways.empty());
  if (kind == Kind::accepted) {
    EXPECT_TRUE(resets.empty());
    EXPECT_EQ(peer.handed(1), 1u);
  }
  if (kind == Kind::ignored) {
    EXPECT_EQ(peer.seen.size(), seen);
    EXPECT_TRUE(peer.frames.empty());
    ASSERT_TRUE(peer.feed(kWhole)) << peer.error;
    EXPECT_EQ(peer.handed(1), 1u);
  }
  if (kind == Kind::stream_error) {
    EXPECT_EQ(peer.handed(1), 0u);
    ASSERT_EQ(resets.size(), 1u);
    EXPECT_EQ(resets[0].id, 1);
    EXPECT_EQ(resets[0].word(0), row.verdict.code);
    EXPECT_FALSE(peer.server->respond(1, 200, {}, {}));
  }
  if (row.also) row.also(peer);
  // The connection goes on, where ids and the limit let it.
  if (highest > 1000 || peer.server->open_streams() >= peer.streams_max || peer.server->finished()) return;
  ASSERT_TRUE(peer.feed(headers(1001, kGet, true))) << peer.error;
  EXPECT_EQ(peer.handed(1001), 1u);
  EXPECT_TRUE(peer.server->respond(1001, 200, {}, {}));
}

std::vector<ServerRow> all_rows() {
  std::vector<ServerRow> all;
  for (const auto& part : {connection_rows(), stream_rows(), frame_rows(), message_rows(), hpack_rows()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void check_all(const std::vector<ServerRow>& rows) {
  for (const ServerRow& row : rows) {
    check(row, true);
    if (row.whole_only == nullptr) check(row, false);
  }
}

TEST(ServerConformance, PrefaceFramesAndBlocks) { check_all(connection_rows()); }
TEST(ServerConformance, Streams) { check_all(stream_rows()); }
TEST(ServerConformance, FrameDefinitions) { check_all(frame_rows()); }
TEST(ServerConformance, Messages) { check_all(message_rows()); }
TEST(ServerConformance, HeaderCompression) { check_all(hpack_rows()); }

TEST(ServerConformance, EverySectionHasRows) {
  expect_covered(all_rows(),
                 {"3.4", "4.1", "4.2", "4.3", "5.1", "5.1.1", "5.1.2", "5.2", "5.3", "5.4.1", "5.4.2", "5.5", "6.1",
                  "6.2",
                  "6.3", "6.4", "6.5", "6.5.2", "6.5.3", "6.6", "6.7", "6.8", "6.9", "6.9.1", "6.9.2", "6.10", "8.1",
                  "8.1.1", "8.2.1", "8.2.2", "8.2.3", "8.3", "8.3.1", "8.5", "hpack 2.3.3", "hpack 4.2", "hpack 4.3",
                  "hpack 4.4", "hpack 5.1", "hpack 5.2", "hpack 6.1", "hpack 6.2", "hpack 6.3"},
                 190);
}

// A preface that is none: nobody there would understand a GOAWAY, so nothing is said (section 3.4).
TEST(ServerConformance, APrefaceThatIsNone) {
  for (std::size_t at = 0; at < kPreface.size(); ++at) {
    for (const bool whole : {true, false}) {
      std::string bytes(kPreface);
      bytes[at] = static_cast<char>(bytes[at] ^ 1);
      Peer peer;
      EXPECT_FALSE(peer.feed(bytes + settings({}) + kWhole, whole)) << at;
      EXPECT_TRUE(of_type(peer.written(), kGoaway).empty()) << at;
      EXPECT_TRUE(peer.seen.empty()) << at;
      EXPECT_NE(peer.error.find("preface"), std::string::npos) << peer.error;
    }
  }
}

TEST(ServerConformance, EverySplitOfAShortRequest) {
  const std::string request = kOpen + frame(kData, kPadded | kEndStream, 1, padded("{}", 3));
  for (std::size_t first = 1; first < request.size(); ++first) {
    for (std::size_t second = first; second < request.size(); ++second) {
      Peer peer;
      peer.start();
      const std::string_view all = request;
      ASSERT_TRUE(peer.feed(all.substr(0, first)) && peer.feed(all.substr(first,
          second - first)) && peer.feed(all.substr(second)));
      ASSERT_EQ(peer.handed(1), 1u) << first << ", " << second;
      ASSERT_EQ(peer.seen[0].body, "{}");
      ASSERT_EQ(peer.seen[0].fields.size(), 4u);
    }
  }
}

TEST(ServerConformance, EverySplitOfAHeaderBlock) {
  for (std::size_t first = 0; first <= kGet.size(); ++first) {
    for (std::size_t second = first; second <= kGet.size(); ++second) {
      Peer peer;
      peer.start();
      ASSERT_TRUE(peer.feed(split_block(1, kGet, {first, second}, true))) << peer.error;
      ASSERT_EQ(peer.handed(1), 1u) << first << ", " << second;
      ASSERT_EQ(peer.seen[0].fields.size(), 4u);
    }
  }
}

}  // namespace
}  // namespace tocsin::h2
