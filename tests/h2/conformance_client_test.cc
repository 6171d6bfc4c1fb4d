// SPDX-License-Identifier: Apache-2.0
// The client session against the sentences of RFC 9113 and RFC 7541 that bind the receiver of a server's bytes.
// Every row runs twice, its bytes whole and one by one, and must give the same verdict both times.
#include "conformance_client.h"

namespace tocsin::h2 {
namespace {

using namespace test;

const std::string kPingBytes = "12345678";
const std::string kUnknown = frame(0xfa, 0xff, 0, "whatever");

std::vector<ClientRow> connection_rows() {
  return {
      {"3.4", "a server's preface is a SETTINGS frame, which may be empty", settings({}), kTaken, fresh,
       writes(kSettings, kAck, {})},
      {"3.4", "another frame first is a connection error: PING", frame(kPing, 0, 0, kPingBytes), kBadProtocol, fresh},
      {"3.4", "another frame first is a connection error: WINDOW_UPDATE", window(0, 1), kBadProtocol, fresh},
      {"3.4", "another frame first is a connection error: GOAWAY", goaway(0, 0), kBadProtocol, fresh},
      {"3.4", "another frame first is a connection error: an unknown one", kUnknown, kBadProtocol, fresh},
      {"3.4", "an acknowledgement is not the preface", settings_ack(), kBadProtocol, fresh},
      {"3.4", "a server that speaks HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", kBadProtocol,
       fresh},

      {"4.1", "the reserved bit of a stream id is ignored",
       frame(kHeaders, kEndHeaders | kEndStream, static_cast<std::int32_t>(0x80000001u), kOk), kAccepted},
      {"4.1", "flags without meaning are ignored: HEADERS", frame(kHeaders, 0xd2 | kEndHeaders | kEndStream, 1, kOk),
       kAccepted},
      {"4.1", "flags without meaning are ignored: DATA",
       headers(1, kOk, false) + frame(kData, 0xf6 | kEndStream, 1, "b"), kAccepted, {}, answered(200, "b")},
      {"4.1", "flags without meaning are ignored: PING", frame(kPing, 0xfe, 0, kPingBytes), kTaken, {},
       writes(kPing, kAck, kPingBytes)},
      {"4.1", "flags without meaning are ignored: SETTINGS", frame(kSettings, 0xfe, 0, {}), kTaken, {},
       writes(kSettings, kAck, {})},
      {"4.1", "flags without meaning are ignored: RST_STREAM", frame(kRst, 0xff, 1, u32(8)), kTaken, {}, was_reset(8)},

      {"4.2", "a frame of 16384 bytes is taken",
       headers(1, kOk, false) + frame(kData, 0, 1, std::string(16'384, 'x')) + frame(kData, kEndStream, 1, {}),
       kAccepted, with({.answer_body_max = 20'000}), answered(200, std::string(16'384, 'x'))},
      {"4.2", "a larger DATA is FRAME_SIZE_ERROR",
       headers(1, kOk, false) + frame(kData, 0, 1, std::string(16'385, 'x')), kBadSize},
      {"4.2", "a larger HEADERS is FRAME_SIZE_ERROR", headers(1, std::string(16'385, 'x'), true), kBadSize},
      {"4.2", "a larger frame of an unknown type as well", frame(0xfa, 0, 0, std::string(16'385, 'x')), kBadSize},

      {"4.3", "a block that does not decode is COMPRESSION_ERROR",
       headers(1, bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), true), kBadBlock},
      {"4.3", "a block that ends inside a field is COMPRESSION_ERROR", headers(1, kOkId.substr(0, 20), true),
       kBadBlock},
      {"4.3", "a block is contiguous: no PING inside", frame(kHeaders, 0, 1, kOk) + frame(kPing, 0, 0, kPingBytes),
       kBadProtocol},
      {"4.3", "a block is contiguous: no frame of another stream", frame(kHeaders, 0, 1, kOk) + headers(3, kOk, true),
       kBadProtocol},
      {"4.3", "a block is contiguous: no DATA of its stream", frame(kHeaders, 0, 1, kOk) + frame(kData, 0, 1, "x"),
       kBadProtocol},
      {"4.3", "a block is contiguous: no unknown frame", frame(kHeaders, 0, 1, kOk) + kUnknown, kBadProtocol},
      {"4.3", "blocks of streams that are gone still change the table",
       headers(1, kOk + hpack_added("apns-id", kId), true) + headers(3, kOk + hpack_indexed(62), true), kTaken,
       [](Peer& peer) { cancelled(peer); peer.written(); },
       [](Peer& peer) {
         EXPECT_EQ(peer.answer_to(100), nullptr);
         ASSERT_NE(peer.answer_to(101), nullptr);
         EXPECT_EQ(peer.answer_to(101)->apns_id, kId);
       }},
      {"4.3", "the fields of interim responses change the table",
       headers(1, literal(":status", "103") + hpack_added("apns-id", kId), false) + headers(1, kOk + hpack_indexed(62),
       true), kAccepted, {}, answered(200, {}, kId)},
  };
}

std::string data_frames(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += frame(kData, 0, 1, std::string(16'384, 'x'));
  return all;
}
constexpr const char* kWindowGrows = "what was read is given back before the rest of the frame comes";

std::vector<ClientRow> stream_rows() {
  return {
      {"5.1", "idle: HEADERS of a server on a stream that was never opened", headers(9, kOk, true), kBadProtocol},
      {"5.1", "idle: DATA", frame(kData, kEndStream, 9, "x"), kBadProtocol},
      {"5.1", "idle: RST_STREAM", rst(9, 8), kBadProtocol},
      {"5.1", "idle: WINDOW_UPDATE", window(9, 10), kBadProtocol},
      {"5.1", "idle: PRIORITY is allowed", frame(kPriority, 0, 9, priority_fields(0, 5)), kIgnored},
      {"5.1", "closed by END_STREAM: DATA may be an error, and is ignored", frame(kData, 0, 1, "x"), kTaken,
       fed(headers(1, kOk, true)), quiet(200)},
      {"5.1", "closed by END_STREAM: HEADERS may be an error, and is ignored", headers(1, kOk, true), kTaken,
       fed(headers(1, kOk, true)), quiet(200)},
      {"5.1", "after END_STREAM: WINDOW_UPDATE is ignored", window(1, 10), kTaken, fed(headers(1, kOk, true)),
       answered(200)},
      {"5.1", "after END_STREAM: RST_STREAM is ignored", rst(1, 8), kTaken, fed(headers(1, kOk, true)), answered(200)},
      {"5.1", "after END_STREAM: PRIORITY is allowed", frame(kPriority, 0, 1, priority_fields(0, 5)), kTaken,
       fed(headers(1, kOk, true)), answered(200)},
      {"5.1", "half-closed (remote), our body not yet out: we reset it, and HEADERS behind it is discarded",
       headers(1, kOk, true), kTaken,
       [](Peer& peer) { with({}, {{4, 1}}, "body")(peer); ASSERT_TRUE(peer.feed(headers(1, kOk, true))); }, quiet(200)},
      {"5.1", "closed by the peer's RST_STREAM: DATA may be an error, and is ignored", frame(kData, 0, 1, "x"), kTaken,
       fed(rst(1, 8)), [](Peer& peer) { was_reset(8)(peer); EXPECT_TRUE(peer.frames.empty()); }},
      {"5.1", "closed by the peer's RST_STREAM: HEADERS may be an error, and is ignored", headers(1, kOk, true), kTaken,
       fed(rst(1, 8)), [](Peer& peer) { was_reset(8)(peer); EXPECT_TRUE(peer.frames.empty()); }},
      {"5.1", "after our RST_STREAM: HEADERS is discarded", headers(1, kOkId, true), kTaken, cancelled},
      {"5.1", "after our RST_STREAM: HEADERS and DATA are discarded",
       headers(1, kOkId, false) + frame(kData, kEndStream, 1, "x"), kTaken, cancelled},
      {"5.1", "after our RST_STREAM: RST_STREAM and WINDOW_UPDATE are discarded", window(1, 5) + rst(1, 5), kTaken,
       cancelled},

      {"5.1.1", "streams of the server are even, and none was promised", headers(2, kOk, true), kBadProtocol},
      {"5.1.1", "stream 0 carries no message", headers(0, kOk, true), kBadProtocol},

      {"5.1.2", "a limit lowered below what is open closes nothing", settings({{3, 1}}) + headers(1, kOk, true), kTaken,
       {},
       [](Peer& peer) {
         answered(200)(peer);
         EXPECT_EQ(peer.client->can_start(), 0u);
       }},
      {"5.1.2", "a limit of 0 is a limit", settings({{3, 0}}), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.client->can_start(), 0u); }},
      {"5.1.2", "RST_STREAM(REFUSED_STREAM) says that nothing was processed", rst(1, kRefusedStream), kTaken, {},
       was_reset(kRefusedStream)},

      {"5.2", "DATA beyond the stream's window is FLOW_CONTROL_ERROR",
       headers(1, kOk, false) + frame(kData, 0, 1, std::string(101, 'x')), stream_error(kFlowControlError),
       with({.window_bytes = 100}), {}, kWindowGrows},
      {"5.2", "padding counts against the window",
       headers(1, kOk, false) + frame(kData, kPadded, 1, padded(std::string(80, 'x'), 20)),
       stream_error(kFlowControlError), with({.window_bytes = 100}), {}, kWindowGrows},
      {"5.2", "DATA up to the window is taken",
       headers(1, kOk, false) + frame(kData, kEndStream, 1, std::string(100, 'x')), kAccepted,
       with({.window_bytes = 100}), answered(200, std::string(100, 'x'))},
      {"5.2", "what was consumed is given back to both windows", headers(1, kOk, false) + data_frames(3), kTaken,
       with({.window_bytes = 65'535}),
       [](Peer& peer) {
         std::map<std::int32_t, std::uint32_t> given;
         for (const Frame& one : of_type(peer.frames, kWindow)) given[one.id] += one.word(0);
         EXPECT_GT(given[0], 32'000u);
         EXPECT_GT(given[1], 32'000u);
       }},
      {"5.2", "DATA of a stream that is gone still counts and is given back", data_frames(3), kTaken,
       [](Peer& peer) { with({.window_bytes = 65'535})(peer); cancelled(peer); peer.written(); },
       [](Peer& peer) {
         const auto updates = of_type(peer.frames, kWindow);
         ASSERT_FALSE(updates.empty());
         for (const Frame& one : updates) EXPECT_EQ(one.id, 0);
       }},

      {"5.3", "a PRIORITY frame changes nothing", frame(kPriority, 0, 1, priority_fields(0x80000003u, 255)), kIgnored},
      {"5.3", "priority fields in HEADERS change nothing",
       frame(kHeaders, kEndHeaders | kEndStream | kPriorityFlag, 1, priority_fields(3, 1) + kOk), kAccepted},

      {"5.4.1", "after a connection error nothing is read any more", window(0, 0) + headers(1, kOk, true),
       kBadProtocol},
      {"5.4.1", "a GOAWAY of a server in error ends nothing that it may still answer",
       goaway(3, 2) + headers(1, kOk, true), kTaken, {}, answered(200)},
      {"5.4.2", "RST_STREAM is not answered by RST_STREAM", rst(1, 2) + rst(1, 2), kTaken, {},
       [](Peer& peer) { was_reset(2)(peer); EXPECT_TRUE(peer.frames.empty()); }},
      {"5.4.2", "a stream error leaves the other streams alone",
       headers(1, literal("a", "b"), false) + headers(3, kOk, true), kMalformed, {},
       [](Peer& peer) { ASSERT_NE(peer.answer_to(101), nullptr); }},

      {"5.5", "frames of unknown types are ignored: connection", kUnknown, kIgnored},
      {"5.5", "frames of unknown types are ignored: an open stream",
       frame(0x0a, 0, 1, "x") + frame(0x0c, 5, 1, {}) + frame(0xff, 5, 1, "y"), kIgnored},
      {"5.5", "frames of unknown types are ignored: an idle stream", frame(0xfa, 0, 99, "x"), kIgnored},
      {"5.5", "frames of unknown types are ignored: PRIORITY_UPDATE (RFC 9218)", frame(0x10, 0, 0, u32(1) + "u=1"),
       kIgnored},
      {"5.5", "frames of unknown types between HEADERS and DATA",
       headers(1, kOk, false) + kUnknown + frame(kData, kEndStream, 1, "b"), kAccepted, {}, answered(200, "b")},
      {"5.5", "unknown settings are ignored", settings({{0x4242, 1}, {0, 5}, {0xffff, 9}}), kTaken, {},
       writes(kSettings, kAck, {})},
  };
}

// FRAME_SIZE_ERROR would be the code of section 4.2.
constexpr const char* kShortPadding = "nghttp2 says PROTOCOL_ERROR; the connection ends either way";

std::vector<ClientRow> frame_rows() {
  const std::string open = headers(1, kOk, false);
  return {
      {"6.1", "DATA on stream 0", frame(kData, 0, 0, "x"), kBadProtocol},
      {"6.1", "padding is left out of the body", open + frame(kData, kPadded | kEndStream, 1, padded("body", 200)),
       kAccepted, {}, answered(200, "body")},
      {"6.1", "padding may be all there is",
       open + frame(kData, kPadded, 1, padded("", 9)) + frame(kData, kPadded | kEndStream, 1, padded("", 0)), kAccepted,
       {}, answered(200)},
      {"6.1", "padding as long as the payload is PROTOCOL_ERROR",
       open + frame(kData, kPadded, 1, bytes({5, 'x', 0, 0, 0})), kBadProtocol},
      {"6.1", "PADDED without room for the pad length", open + frame(kData, kPadded, 1, {}), kBadProtocol, {}, {},
       nullptr, kShortPadding},
      {"6.1", "padding that is not zero may be taken",
       open + frame(kData, kPadded | kEndStream, 1, bytes({2, 'b', 7, 7})), kAccepted, {}, answered(200, "b")},
      {"6.1", "empty DATA may end the stream", open + frame(kData, kEndStream, 1, {}), kAccepted, {}, answered(200)},

      {"6.2", "HEADERS on stream 0", frame(kHeaders, kEndHeaders, 0, kOk), kBadProtocol},
      {"6.2", "padding is left out of the block",
       frame(kHeaders, kEndHeaders | kEndStream | kPadded, 1, padded(kOkId, 33)), kAccepted, {},
       answered(200, {}, kId)},
      {"6.2", "padding together with priority fields",
       frame(kHeaders, kEndHeaders | kEndStream | kPadded | kPriorityFlag, 1, padded(priority_fields(0, 9) + kOkId, 3)),
       kAccepted, {}, answered(200, {}, kId)},
      {"6.2", "padding longer than what is left is PROTOCOL_ERROR",
       frame(kHeaders, kEndHeaders | kPadded, 1, bytes({9, 0x88, 0, 0})), kBadProtocol},
      {"6.2", "PADDED without room for the pad length", frame(kHeaders, kEndHeaders | kPadded, 1, {}), kBadProtocol, {},
       {}, nullptr, kShortPadding},
      {"6.2", "PRIORITY without room for its fields", frame(kHeaders, kEndHeaders | kPriorityFlag, 1, u32(0)),
       kBadSize},

      {"6.3", "PRIORITY on stream 0", frame(kPriority, 0, 0, priority_fields(0, 0)), kIgnored, {}, {}, nullptr,
       "a connection error by the letter; we announce NO_RFC7540_PRIORITIES, and nghttp2 reads no PRIORITY then"},
      {"6.3", "PRIORITY of 4 bytes is FRAME_SIZE_ERROR", frame(kPriority, 0, 1, u32(0)), kBadSize},
      {"6.3", "PRIORITY of 6 bytes is FRAME_SIZE_ERROR", frame(kPriority, 0, 1, u32(0) + "ab"), kBadSize},

      {"6.4", "RST_STREAM on stream 0", rst(0, 8), kBadProtocol},
      {"6.4", "RST_STREAM of 3 bytes", frame(kRst, 0, 1, "abc"), kBadSize},
      {"6.4", "RST_STREAM of 5 bytes", frame(kRst, 0, 1, "abcde"), kBadSize},
      {"6.4", "the code is handed on, known or not", rst(1, 0xdeadbeef), kTaken, {}, was_reset(0xdeadbeef)},

      {"6.5", "SETTINGS on a stream", frame(kSettings, 0, 1, {}), kBadProtocol},
      {"6.5", "SETTINGS whose length is no multiple of 6", frame(kSettings, 0, 0, "1234567"), kBadSize},
      {"6.5", "an acknowledgement with a payload", frame(kSettings, kAck, 0, u16(3) + u32(1)), kBadSize},
      {"6.5", "an acknowledgement on a stream", frame(kSettings, kAck, 1, {}), kBadProtocol},
      {"6.5.2", "ENABLE_PUSH 0 of a server is allowed", settings({{2, 0}}), kTaken, {}, writes(kSettings, kAck, {})},
      {"6.5.2", "ENABLE_PUSH 1 of a server is PROTOCOL_ERROR", settings({{2, 1}}), kBadProtocol},
      {"6.5.2", "ENABLE_PUSH above 1", settings({{2, 2}}), kBadProtocol},
      {"6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", settings({{4, 0x80000000u}}), kBadFlow},
      {"6.5.2", "MAX_FRAME_SIZE below 16384", settings({{5, 16'383}}), kBadProtocol},
      {"6.5.2", "MAX_FRAME_SIZE above 2^24-1", settings({{5, 1u << 24}}), kBadProtocol},
      {"6.5.2", "ends of the allowed ranges",
       settings({{1, 0}, {1, 0xffffffffu}, {4, 0}, {4, 0x7fffffff}, {5, 16'384}, {5, (1u << 24) - 1}, {6, 0},
       {3, 0xffffffffu}}), kTaken, {}, writes(kSettings, kAck, {})},
      {"6.5.3", "each SETTINGS is acknowledged once", settings({{3, 5}}) + settings({}) + settings({{3, 7}}), kTaken,
       {}, writes(kSettings, kAck, {}, 3)},
      {"6.5.3", "the values are taken in order, the last one counts",
       settings({{3, 9}, {3, 7}}) + settings({{3, 8}, {3, 6}}), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.client->peer_streams_max(), 6u); EXPECT_EQ(peer.client->can_start(), 4u); }},
      {"6.5.3", "an acknowledgement nobody waits for", settings_ack(), kBadProtocol},

      {"6.6", "PUSH_PROMISE although push is off", frame(kPush, kEndHeaders, 1, u32(2) + kOk), kBadProtocol},
      {"6.6", "PUSH_PROMISE on stream 0", frame(kPush, kEndHeaders, 0, u32(2) + kOk), kBadProtocol},
      {"6.6", "PUSH_PROMISE of an odd stream", frame(kPush, kEndHeaders, 1, u32(9) + kOk), kBadProtocol},

      {"6.7", "PING is answered with its payload", frame(kPing, 0, 0, "\x01\x02\x03\x04\x05\x06\x07\xff"), kTaken, {},
       writes(kPing, kAck, "\x01\x02\x03\x04\x05\x06\x07\xff")},
      {"6.7", "an acknowledgement is not answered", frame(kPing, kAck, 0, kPingBytes), kIgnored},
      {"6.7", "PING on a stream", frame(kPing, 0, 1, kPingBytes), kBadProtocol},
      {"6.7", "PING of 7 bytes", frame(kPing, 0, 0, "1234567"), kBadSize},
      {"6.7", "PING of 9 bytes", frame(kPing, 0, 0, "123456789"), kBadSize},

      {"6.8", "GOAWAY on a stream", frame(kGoaway, 0, 1, u32(0) + u32(0)), kBadProtocol},
      {"6.8", "GOAWAY of 7 bytes", frame(kGoaway, 0, 0, "1234567"), kBadSize},
      {"6.8", "streams up to the last id are still answered", goaway(1, 0) + headers(1, kOk, true), kTaken, {},
       [](Peer& peer) {
         answered(200)(peer);
         ASSERT_NE(peer.answer_to(101), nullptr);
         EXPECT_EQ(peer.answer_to(101)->kind, AnswerKind::reset);
         EXPECT_EQ(peer.answer_to(101)->error_code, kRefusedStream);
       }},
      {"6.8", "the reserved bit of the last id is ignored",
       goaway(static_cast<std::int32_t>(0x80000003u), 0) + headers(1, kOk, true), kTaken, {}, answered(200)},
      {"6.8", "a notice first, then the true last id", goaway(0x7fffffff, 0) + goaway(3, 0) + headers(1, kOk, true),
       kTaken, {}, answered(200)},
      {"6.8", "the last id must not grow", goaway(1, 0) + goaway(3, 0), kBadProtocol},
      {"6.8", "an unknown code and debug data are handed on", goaway(3, 0xdeadbeef, "why"), kTaken, {},
       [](Peer& peer) {
         ASSERT_FALSE(peer.events.empty());
         const auto found = std::find_if(peer.events.begin(), peer.events.end(),
         [](const Event& one) { return one.kind == EventKind::goaway; });
         ASSERT_NE(found, peer.events.end());
         EXPECT_EQ(found->error_code, 0xdeadbeefu);
         EXPECT_EQ(found->last_stream_id, 3);
         EXPECT_EQ(peer.client->can_start(), 0u);
       }},

      {"6.9", "an increment of 0 on the connection", window(0, 0), kBadProtocol},
      {"6.9", "an increment of 0 on a stream", window(1, 0), kBadProtocol},
      {"6.9", "WINDOW_UPDATE of 3 bytes", frame(kWindow, 0, 1, "abc"), kBadSize},
      {"6.9", "WINDOW_UPDATE of 5 bytes", frame(kWindow, 0, 0, "abcde"), kBadSize},
      {"6.9", "the reserved bit of the increment is ignored", frame(kWindow, 0, 0, u32(0x80000005u)), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.client->send_window(), 65'540); }},
      {"6.9.1", "the connection's window grows to 2^31-1", window(0, 0x7fffffff - 65'535), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.client->send_window(), 0x7fffffff); }},
      {"6.9.1", "and not beyond it", window(0, 0x7fffffff - 65'534), kBadFlow},
      {"6.9.1", "a stream's window grows to 2^31-1", window(1, 0x7fffffff - 65'535), kIgnored},
      {"6.9.1", "and not beyond it", window(1, 0x7fffffff - 65'534), stream_error(kFlowControlError)},
      {"6.9.1", "a body waits for the stream's window", window(1, 2), kTaken, with({}, {{4, 1}}, "body"),
       writes(kData, 0, "od")},
      {"6.9.1", "a body does not start in a window of 0", settings({{4, 0}}), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.send(7, "body"), 0u); }},
      {"6.9.2", "a larger initial window opens streams that wait", settings({{4, 3}}), kTaken,
       with({}, {{4, 1}}, "body"),
       [](Peer& peer) { EXPECT_EQ(sent_data(peer.frames), "od"); }},
      {"6.9.2", "a smaller one may make a window negative, and nothing is sent until it is above 0",
       settings({{4, 1}}) + window(1, 4), kTaken, with({}, {{4, 5}}, "0123456789"), [](Peer& peer) {
         EXPECT_EQ(sent_data(peer.frames), "");  // 5 sent of a window that is now 1: -4, and 4 came
         ASSERT_TRUE(peer.feed(window(1, 1)));
         EXPECT_EQ(sent_data(peer.written()), "5");
         ASSERT_TRUE(peer.feed(settings({{4, 5}})));
         EXPECT_EQ(sent_data(peer.written()), "6789");
       }},
      {"6.9.2", "an initial window that lifts an open stream's beyond 2^31-1",
       window(1, 0x7fffffff - 65'535) + settings({{4, 65'536}}), stream_error(kFlowControlError), {}, {}, nullptr,
       "a connection error by the letter; nghttp2 ends the streams concerned, with the code asked for"},
      {"6.9.2", "SETTINGS do not touch the connection's window", settings({{4, 1'000'000}}), kTaken, {},
       [](Peer& peer) { EXPECT_EQ(peer.client->send_window(), 65'535); }},

      {"6.10", "CONTINUATION without HEADERS", frame(kContinuation, kEndHeaders, 1, kOk), kBadProtocol},
      {"6.10", "CONTINUATION behind END_HEADERS", open + frame(kContinuation, kEndHeaders, 1, literal("a", "b")),
       kBadProtocol},
      {"6.10", "CONTINUATION of another stream", frame(kHeaders, 0, 1, kOk) + frame(kContinuation, kEndHeaders, 3, {}),
       kBadProtocol},
      {"6.10", "CONTINUATION on stream 0", frame(kHeaders, 0, 1, kOk) + frame(kContinuation, kEndHeaders, 0, {}),
       kBadProtocol},
      {"6.10", "CONTINUATION may be empty",
       frame(kHeaders, kEndStream, 1, {}) + frame(kContinuation, 0, 1, kOkId) + frame(kContinuation, kEndHeaders, 1,
       {}), kAccepted, {}, answered(200, {}, kId)},
      {"6.10", "END_STREAM of HEADERS counts behind the last CONTINUATION", split_block(1, kOkId, {1, 4}, true),
       kAccepted, {}, answered(200, {}, kId)},
      {"6.10", "CONTINUATION without end is not read for ever (section 10.5.1)",
       [] {
         std::string all = frame(kHeaders, 0, 1, kOk);
         for (int i = 0; i < 200; ++i) all += frame(kContinuation, 0, 1, {});
         return all;
       }(),
       connection_error(kEnhanceYourCalm)},
  };
}

std::vector<ClientRow> message_rows() {
  const std::string open = headers(1, kOk, false);
  const auto field = [](std::string_view name,
      std::string_view value) { return headers(1, kOk + literal(name, value), false); };
  const auto status = [](std::string_view text, bool end) { return headers(1, literal(":status", text), end); };
  std::vector<ClientRow> rows = {
      {"8.1", "a response may be HEADERS alone", headers(1, kOkId, true), kAccepted, {}, answered(200, {}, kId)},
      {"8.1", "HEADERS and DATA",
       headers(1, literal(":status", "410") + literal("apns-id", kId), false) + frame(kData, 0, 1,
       "{\"a\":") + frame(kData, kEndStream, 1, "1}"), kAccepted, {}, answered(410, "{\"a\":1}", kId)},
      {"8.1", "trailers end it", open + frame(kData, 0, 1, "b") + headers(1, literal("x-t", "1"), true), kAccepted, {},
       answered(200, "b")},
      {"8.1", "trailers without DATA", open + headers(1, literal("x-t", "1"), true), kAccepted, {}, answered(200)},
      {"8.1", "trailers must end the stream", open + headers(1, literal("x-t", "1"), false), kMalformed},
      {"8.1", "interim responses come before", status("100", false) + status("103", false) + headers(1, kOkId, true),
       kAccepted, {}, answered(200, {}, kId)},
      {"8.1", "what an interim response said is not the answer's",
       headers(1, literal(":status", "103") + literal("apns-id", "early"), false) + headers(1, kOk, true), kAccepted,
       {}, answered(200)},
      {"8.1", "an interim response behind the final one", open + status("103", false), kMalformed},
      {"8.1", "an interim response must not end the stream", status("100", true), kMalformed},
      {"8.1", "DATA must not end a stream that had interim responses only",
       status("100", false) + frame(kData, kEndStream, 1, {}), kMalformed},
      {"8.1", "DATA before a final response", status("100", false) + frame(kData, 0, 1, "x"), kMalformed},
      {"8.1", "DATA before HEADERS", frame(kData, 0, 1, "x"), kBadProtocol},
      {"8.1", "a complete response stands although RST_STREAM(NO_ERROR) follows", status("413", true) + rst(1, 0),
       kTaken, with({}, {{4, 1}}, "a long body"), answered(413)},
      {"8.1", "RST_STREAM(NO_ERROR) in the middle of a response is no end", open + rst(1, 0), kTaken, {}, was_reset(0)},
      {"8.1", "RST_STREAM(NO_ERROR) before a response is no success", rst(1, 0), kTaken, {},
       [](Peer& peer) { was_reset(0)(peer); EXPECT_FALSE(peer.answer_to(100)->headers_seen); EXPECT_EQ(peer.answer_to(100)->status, 0); }},

      {"8.1.1", "content-length equal to the content",
       field("content-length", "4") + frame(kData, 0, 1, "bo") + frame(kData, kEndStream, 1, "dy"), kAccepted, {},
       answered(200, "body")},
      {"8.1.1", "content-length 0 without content", headers(1, kOk + literal("content-length", "0"), true), kAccepted},
      {"8.1.1", "padding is no content",
       field("content-length", "4") + frame(kData, kPadded | kEndStream, 1, padded("body", 9)), kAccepted, {},
       answered(200, "body")},
      {"8.1.1", "content-length larger than the content",
       field("content-length", "5") + frame(kData, kEndStream, 1, "body"), kMalformed},
      {"8.1.1", "content-length smaller than the content",
       field("content-length", "3") + frame(kData, kEndStream, 1, "body"), kMalformed},
      {"8.1.1", "content-length and trailers",
       field("content-length", "9") + frame(kData, 0, 1, "body") + headers(1, literal("x-t", "1"), true), kMalformed},
      {"8.1.1", "content-length without content", headers(1, kOk + literal("content-length", "5"), true), kMalformed},
      {"8.1.1", "304 may tell the length of what it leaves out",
       headers(1, literal(":status", "304") + literal("content-length", "5"), true), kAccepted, {}, answered(304)},
      {"8.1.1", "a content-length counts what is cut as well",
       field("content-length", "9") + frame(kData, kEndStream, 1, "123456789"), kAccepted, with({.answer_body_max = 4}),
       answered(200, "1234")},
      {"8.1.1", "a malformed end does not take back the status that was read",
       field("content-length", "5") + frame(kData, kEndStream, 1, "body"), kMalformed, {},
       [](Peer& peer) { EXPECT_TRUE(peer.answer_to(100)->headers_seen); EXPECT_EQ(peer.answer_to(100)->status, 200); }},
      {"8.1.1", "content-length that is no number", field("content-length", "4x"), kMalformed},
      {"8.1.1", "content-length that is empty", field("content-length", ""), kMalformed},
      {"8.1.1", "content-length beyond any number", field("content-length", "99999999999999999999"), kMalformed},
      {"8.1.1", "content-length twice",
       headers(1, kOk + literal("content-length", "4") + literal("content-length", "5"), false), kMalformed},

      {"8.2.1", "upper case in a name", field("Apns-Id", "x"), kMalformed},
      {"8.2.1", "an empty name", field("", "x"), kMalformed},
      {"8.2.1", "a space in a name", field("a b", "x"), kMalformed},
      {"8.2.1", "a colon in a name", field("a:b", "x"), kMalformed},
      {"8.2.1", "a control character in a name", field("a\x7f", "x"), kMalformed},
      {"8.2.1", "a byte above 7e in a name", field("a\xe9", "x"), kMalformed},
      {"8.2.1", "NUL in a value", field("x", std::string_view("a\0b", 3)), kMalformed},
      {"8.2.1", "CR in a value", field("x", "a\rb"), kMalformed},
      {"8.2.1", "LF in a value", field("x", "a\nb"), kMalformed},
      {"8.2.1", "CR in a value that is captured", field("apns-id", "a\rb"), kMalformed},
      {"8.2.1", "a value that begins with a space", field("x", " a"), kMalformed},
      {"8.2.1", "a value that ends with a tab", field("x", "a\t"), kMalformed},
      {"8.2.1", "spaces inside a value, and bytes above 7f, are allowed",
       headers(1, kOk + literal("x", "a \t\xe9 b"), true), kAccepted},
      {"8.2.1", "an empty value is allowed", headers(1, kOk + literal("x", ""), true), kAccepted},
      {"8.2.1", "bad fields in trailers as well", open + headers(1, literal("X", "1"), true), kMalformed},
      {"8.2.2", "te of a server has no meaning and is no connection-specific field",
       headers(1, kOk + literal("te", "trailers"), true), kAccepted},

      {"8.3", "a pseudo-field behind a regular one", headers(1, literal("a", "b") + kOk, false), kMalformed},
      {"8.3", "a pseudo-field that does not exist", headers(1, kOk + literal(":unknown", "x"), false), kMalformed},
      {"8.3", "pseudo-fields of a request", headers(1, kOk + literal(":path", "/"), false), kMalformed},
      {"8.3", "a pseudo-field in trailers", open + headers(1, kOk, true), kMalformed},
      {"8.3", "a pseudo-field twice", headers(1, kOk + kOk, false), kMalformed},
      {"8.3.2", "no :status", headers(1, literal("a", "b"), false), kMalformed},
      {"8.3.2", "no field at all", headers(1, {}, false), kMalformed},
      {"8.3.2", ":status of two digits", status("20", false), kMalformed},
      {"8.3.2", ":status of four digits", status("2000", false), kMalformed},
      {"8.3.2", ":status with a letter", status("2x0", false), kMalformed},
      {"8.3.2", ":status that is empty", status("", false), kMalformed},
      {"8.3.2", ":status below 100", status("099", false), kMalformed},
      {"8.3.2", ":status above 599 should be read as a 5xx (RFC 9110 section 15)", status("600", false), kMalformed, {},
       {}, nullptr, "no status of APNs; the push is retried as after a 5xx, and its fate is said to be unknown"},

      {"8.4", "a pushed response without promise", headers(2, kOk, true), kBadProtocol},
      {"8.4", "a promise behind our SETTINGS_ENABLE_PUSH 0, split",
       frame(kPush, 0, 1, u32(2)) + frame(kContinuation, kEndHeaders, 1, kOk), kBadProtocol},
      {"8.6", "HTTP/2 has no 101", status("101", false), kMalformed},
  };
  for (const char* name : {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"}) {
    rows.push_back({"8.2.2", "connection-specific fields make a message malformed", field(name, "x"),
        kMalformed});
  }
  return rows;
}

std::vector<ClientRow> hpack_rows() {
  const auto end = [](const std::string& block) { return headers(1, block, true); };
  const ClientOptions small{.header_table_bytes = 100};
  const std::string added = kOk + hpack_added("apns-id", kId);
  return {
      {"hpack 2.3.3", "index 62 is the newest entry",
       end(kOk + hpack_added("apns-id", kId)) + headers(3, kOk + hpack_indexed(62), true), kTaken, {},
       [](Peer& peer) { ASSERT_NE(peer.answer_to(101), nullptr); EXPECT_EQ(peer.answer_to(101)->apns_id, kId); }},
      {"hpack 2.3.3", "an index beyond the tables", end(kOk + hpack_indexed(62)), kBadBlock},
      {"hpack 2.3.3", "a name's index beyond the tables", end(kOk + hpack_integer(0x40, 6, 70) + hpack_text("x")),
       kBadBlock},
      {"hpack 4.2", "a size update at the start of a block", end(hpack_table_size(0) + kOk), kAccepted},
      {"hpack 4.2", "two of them, the smaller first", end(hpack_table_size(0) + hpack_table_size(4096) + kOk),
       kAccepted},
      {"hpack 4.2", "a size update behind a field", end(kOk + hpack_table_size(0)), kBadBlock},
      {"hpack 4.2", "a size update between fields", end(kOk + hpack_table_size(0) + literal("a", "b")), kBadBlock},
      {"hpack 4.2", "our smaller table must be acknowledged in the next block", end(kOk), kBadBlock, with(small)},
      {"hpack 4.2", "our smaller table, acknowledged", end(hpack_table_size(100) + kOkId), kAccepted, with(small),
       answered(200, {}, kId)},
      {"hpack 4.3", "an update to 0 empties the table", headers(3, hpack_table_size(0) + kOk + hpack_indexed(62), true),
       kBadBlock, fed(end(added))},
      {"hpack 4.4", "a new entry evicts the oldest",
       end(hpack_table_size(100) + kOk + hpack_added("apns-id", kId) + hpack_added("x-other", kId) + hpack_indexed(63)),
       kBadBlock, with(small)},
      {"hpack 4.4", "an entry larger than the table empties it and is no error",
       end(hpack_table_size(100) + kOk + hpack_added("apns-id", kId) + hpack_added("x", std::string(100, 'y'))),
       kAccepted, with(small), answered(200, {}, kId)},
      {"hpack 5.1", "an integer that does not fit",
       end(kOk + bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})), kBadBlock},
      {"hpack 5.1", "a string length that does not fit",
       end(kOk + bytes({0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f})), kBadBlock},
      {"hpack 5.1", "an integer with zeros behind it",
       end(kOk + bytes({0x00, 0x01, 'x', 0x7f, 0x80, 0x00}) + std::string(127, 'v')), kAccepted},
      {"hpack 5.2", "Huffman's code, padded with the start of EOS", end(kOk + hpack_huffman("apns-id", bytes({0x1f}))),
       kAccepted, {}, answered(200, {}, "a")},
      {"hpack 5.2", "padding that is not EOS", end(kOk + hpack_huffman("x", bytes({0x18}))), kBadBlock},
      {"hpack 5.2", "padding longer than 7 bits", end(kOk + hpack_huffman("x", bytes({0x1f, 0xff}))), kBadBlock},
      {"hpack 5.2", "EOS in a string", end(kOk + hpack_huffman("x", bytes({0xff, 0xff, 0xff, 0xff}))), kBadBlock},
      {"hpack 5.2", "a string longer than its block", end(kOk + bytes({0x00, 0x01, 'x', 0x09, 'v'})), kBadBlock},
      {"hpack 6.1", "index 0", end(kOk + hpack_indexed(0)), kBadBlock},
      {"hpack 6.2", "literals with incremental indexing", end(added), kAccepted, {}, answered(200, {}, kId)},
      {"hpack 6.2", "literals without indexing", end(kOkId), kAccepted, {}, answered(200, {}, kId)},
      {"hpack 6.2", "literals never indexed", end(kOk + hpack_never("apns-id", kId)), kAccepted, {},
       answered(200, {}, kId)},
      {"hpack 6.2", "a name from the static table", end(hpack_integer(0x00, 4, 8) + hpack_text("410")), kAccepted, {},
       answered(410)},
      {"hpack 6.3", "a size update beyond SETTINGS_HEADER_TABLE_SIZE", end(hpack_table_size(4097) + kOk), kBadBlock},
      {"hpack 6.3", "a size update that does not fit",
       end(bytes({0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}) + kOk), kBadBlock},
  };
}

void check(const ClientRow& row, bool whole) {
  SCOPED_TRACE(std::string(row.section) + ": " + row.requirement + (whole ? "" : " (byte by byte)"));
  Peer peer(ClientOptions{.captures = {"apns-id"}});
  peer.start();
  if (row.before) row.before(peer);
  peer.written();
  const bool fresh_one = peer.client->open_streams() == 0 && peer.seen.empty() && !peer.client->settings_seen();
  const std::size_t completed = peer.completed();
  const std::size_t seen = peer.seen.size();
  const bool fine = peer.feed(row.bytes, whole);
  peer.frames = peer.written();
  const auto goaways = of_type(peer.frames, kGoaway);
  const auto resets = of_type(peer.frames, kRst);
  const Kind kind = row.verdict.kind;

  if (kind == Kind::connection_error) {
    EXPECT_FALSE(fine) << "taken, though it is a connection error";
    EXPECT_NE(peer.error.find("the server broke HTTP/2"), std::string::npos) << peer.error;
    ASSERT_EQ(goaways.size(), 1u) << peer.error;
    EXPECT_EQ(goaways[0].word(0), 0u) << "no stream of the server's was processed";
    EXPECT_EQ(goaways[0].word(4), row.verdict.code) << peer.error;
    EXPECT_EQ(peer.frames.back().type, kGoaway) << "nothing goes out behind it";
    EXPECT_EQ(peer.client->can_start(), 0u);
    EXPECT_FALSE(peer.feed(headers(3, kOk, true))) << "it stays broken";
    EXPECT_TRUE(peer.written().empty());
    EXPECT_EQ(peer.completed(), completed);
  } else {
    ASSERT_TRUE(fine) << peer.error;
    EXPECT_TRUE(goaways.empty());
  }
  if (kind == Kind::accepted || kind == Kind::ignored) {
    EXPECT_TRUE(resets.empty());
  }
  if (kind == Kind::ignored) {
    EXPECT_EQ(peer.seen.size(), seen);
    EXPECT_TRUE(peer.frames.empty());
    ASSERT_TRUE(peer.feed(headers(1, kOk, true))) << peer.error;
  }
  if (kind == Kind::accepted || kind == Kind::ignored) {
    ASSERT_NE(peer.answer_to(100), nullptr);
    EXPECT_EQ(peer.answer_to(100)->kind, AnswerKind::complete);
  }
  if (kind == Kind::stream_error) {
    ASSERT_NE(peer.answer_to(100), nullptr);
    EXPECT_EQ(peer.answer_to(100)->kind, AnswerKind::broken);
    EXPECT_EQ(peer.answer_to(100)->error_code, row.verdict.code);
    ASSERT_EQ(resets.size(), 1u);
    EXPECT_EQ(resets[0].id, 1);
    EXPECT_EQ(resets[0].word(0), row.verdict.code);
  }
  if (row.also) row.also(peer);
  if (fresh_one) return;
  // The connection goes on, and each tag ends once.
  if (kind != Kind::connection_error && peer.answer_to(101) == nullptr) {
    ASSERT_TRUE(peer.feed(headers(3, kOk, true))) << peer.error;
    ASSERT_NE(peer.answer_to(101), nullptr);
    EXPECT_EQ(peer.answer_to(101)->kind, AnswerKind::complete);
  }
  std::vector<Orphan> open;
  peer.client->open_tags(open);
  for (const std::uint64_t tag : {100u, 101u}) {
    const auto is_open = std::count_if(open.begin(), open.end(), [&](const Orphan& one) { return one.tag == tag; });
    EXPECT_EQ(is_open + (peer.answer_to(tag) != nullptr ? 1 : 0), tag == 100 && peer.cancelled ? 0 : 1) << tag;
  }
}

std::vector<ClientRow> all_rows() {
  std::vector<ClientRow> all;
  for (const auto& part : {connection_rows(), stream_rows(), frame_rows(), message_rows(),
      hpack_rows()}) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void check_all(const std::vector<ClientRow>& rows) {
  for (const ClientRow& row : rows) {
    check(row, true);
    if (row.whole_only == nullptr) check(row, false);
  }
}

class ClientConformance : public EachClient {};
INSTANTIATE_TEST_SUITE_P(Codecs, ClientConformance, testing::Values(kFast, kNghttp2), codec_name);

TEST_P(ClientConformance, PrefaceFramesAndBlocks) { check_all(connection_rows()); }
TEST_P(ClientConformance, Streams) { check_all(stream_rows()); }
TEST_P(ClientConformance, FrameDefinitions) { check_all(frame_rows()); }
TEST_P(ClientConformance, Messages) { check_all(message_rows()); }
TEST_P(ClientConformance, HeaderCompression) { check_all(hpack_rows()); }

TEST(ClientConformanceTable, EverySectionHasRows) {
  expect_covered(all_rows(),
                 {"3.4", "4.1", "4.2", "4.3", "5.1", "5.1.1", "5.1.2", "5.2", "5.3", "5.4.1", "5.4.2", "5.5", "6.1",
                  "6.2",
                  "6.3", "6.4", "6.5", "6.5.2", "6.5.3", "6.6", "6.7", "6.8", "6.9", "6.9.1", "6.9.2", "6.10", "8.1",
                  "8.1.1", "8.2.1", "8.2.2", "8.3", "8.3.2", "8.4", "8.6", "hpack 2.3.3", "hpack 4.2", "hpack 4.3",
                  "hpack 4.4", "hpack 5.1", "hpack 5.2", "hpack 6.1", "hpack 6.2", "hpack 6.3"},
                 190);
}

// A short answer in any two, and in any three, pieces; and its block in HEADERS and CONTINUATION cut at any place.
TEST_P(ClientConformance, EverySplitOfAShortAnswer) {
  const std::string block = literal(":status", "410") + literal("apns-id", kId);
  const std::string answer = headers(1, block, false) + frame(kData, kPadded | kEndStream, 1, padded("{}", 3));
  for (std::size_t first = 1; first < answer.size(); ++first) {
    for (std::size_t second = first; second < answer.size(); ++second) {
      Peer peer(ClientOptions{.captures = {"apns-id"}});
      peer.start();
      const std::string_view all = answer;
      ASSERT_TRUE(peer.feed(all.substr(0, first)) && peer.feed(all.substr(first,
          second - first)) && peer.feed(all.substr(second)));
      answered(410, "{}", kId)(peer);
      ASSERT_FALSE(HasFailure()) << first << ", " << second;
    }
  }
}

TEST_P(ClientConformance, EverySplitOfAHeaderBlock) {
  const std::string block = literal(":status", "410") + literal("apns-id", kId);
  for (std::size_t first = 0; first <= block.size(); ++first) {
    for (std::size_t second = first; second <= block.size(); ++second) {
      Peer peer(ClientOptions{.captures = {"apns-id"}});
      peer.start();
      ASSERT_TRUE(peer.feed(split_block(1, block, {first, second}, true))) << peer.error;
      answered(410, {}, kId)(peer);
      ASSERT_FALSE(HasFailure()) << first << ", " << second;
    }
  }
}

}  // namespace
}  // namespace tocsin::h2
