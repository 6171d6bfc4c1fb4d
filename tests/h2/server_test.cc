// SPDX-License-Identifier: Apache-2.0
// The server session against hand-made frames: what it announces, what it hands out, what it refuses.
// The client's tests drive the two sessions against each other.

#include <algorithm>

#include <gtest/gtest.h>

#include "base/prng.h"
#include "frames.h"
#include "h2/server_session.h"

namespace tocsin::h2 {
namespace {

using namespace test;

// A request handed out, copied: views live only until the next receive().
struct Seen {
  std::int32_t id;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  std::uint64_t body_bytes;
  bool body_cut;
};

struct Raw {
  explicit Raw(const ServerOptions& options = {}) : server(std::move(make_nghttp2_server(options)).value()) {}
  static Raw open(const ServerOptions& options = {}, const std::string& client_settings = settings({})) {
    Raw raw(options);
    EXPECT_TRUE(raw.feed(std::string(kPreface) + client_settings + settings_ack()));
    raw.written();
    return raw;
  }
  bool feed(std::string_view bytes) {
    std::vector<ServerRequest> requests;
    const auto result = server->receive(base::as_bytes(bytes), requests);
    for (const ServerRequest& request : requests) {
      Seen one{request.stream_id, {}, std::string(base::as_text(request.body)), request.body_bytes, request.body_cut};
      for (const FieldView& field : request.fields) one.fields.emplace_back(field.name, field.value);
      seen.push_back(std::move(one));
    }
    if (!result.ok()) error = result.error().message;
    return result.ok();
  }
  std::vector<Frame> written() {
    server->write_pending(out);
    return parse(take(out));
  }

  std::unique_ptr<ServerSession> server;
  base::ByteBuffer out;
  std::vector<Seen> seen;
  std::string error;
};

const std::string kGet = "\x82\x87" + literal(":path", "/3/device/aa") + literal(":authority", "mock");
const std::string kPost = "\x83\x87" + literal(":path", "/3/device/aa") + literal(":authority", "mock");

TEST(ServerSession, AnnouncesItsOptionsFirst) {
  Raw raw({.streams_max = 500, .connection_window_bytes = 1 << 20});
  const auto frames = raw.written();
  ASSERT_GE(frames.size(), 2u);
  ASSERT_EQ(frames[0].type, kSettings);
  for (const auto& [id, value] : {std::pair{1u, 4096u}, {3u, 500u}, {4u, 65'535u}, {5u, 16'384u}, {6u, 8000u}}) {
    EXPECT_NE(frames[0].payload.find(u16(id) + u32(value)), std::string::npos) << id;
  }
  EXPECT_EQ(frames[1].type, kWindow);
  EXPECT_EQ(frames[1].word(0), (1u << 20) - 65'535u);
}

TEST(ServerSession, HandsOutCompleteRequests) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kPost + literal("apns-id", "x"), false) + frame(kData, 0, 1, "ab")));
  EXPECT_TRUE(raw.seen.empty());
  ASSERT_TRUE(raw.feed(headers(3, kGet, true)));
  ASSERT_TRUE(raw.feed(frame(kData, kEndStream, 1, "c")));
  ASSERT_EQ(raw.seen.size(), 2u);
  EXPECT_EQ(raw.seen[0].id, 3);
  EXPECT_EQ(raw.seen[0].body, "");
  EXPECT_EQ(raw.seen[1].id, 1);
  EXPECT_EQ(raw.seen[1].body, "abc");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {":method", "POST"}, {":scheme", "https"}, {":path", "/3/device/aa"}, {":authority", "mock"}, {"apns-id", "x"}};
  EXPECT_EQ(raw.seen[1].fields, expected);
  EXPECT_EQ(raw.server->open_streams(), 2u);
  EXPECT_EQ(raw.server->last_stream_id(), 3);
}

TEST(ServerSession, ManyAndLongFieldsByteByByte) {
  Raw raw = Raw::open();
  std::string block = kGet;
  for (int i = 0; i < 60; ++i) block += literal("x-" + std::to_string(i), std::string(60, static_cast<char>('a' + i % 26)));
  for (const char byte : headers(1, block, true)) ASSERT_TRUE(raw.feed({&byte, 1}));
  ASSERT_EQ(raw.seen.size(), 1u);
  ASSERT_EQ(raw.seen[0].fields.size(), 64u);
  for (std::size_t i = 0; i < 60; ++i) {
    EXPECT_EQ(raw.seen[0].fields[4 + i].first, "x-" + std::to_string(i));
    EXPECT_EQ(raw.seen[0].fields[4 + i].second, std::string(60, static_cast<char>('a' + i % 26)));
  }
}

TEST(ServerSession, Responds) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true) + headers(3, kGet, true) + headers(5, kGet, true)));
  const FieldView indexed[] = {{"apns-id", "00000000-1111-2222-3333-444444444444"}};
  EXPECT_TRUE(raw.server->respond(1, 200, indexed, {}));
  EXPECT_TRUE(raw.server->respond(3, 410, indexed, base::as_bytes("{}")));
  EXPECT_FALSE(raw.server->respond(3, 410, indexed, {})) << "answered already";
  EXPECT_FALSE(raw.server->respond(9, 200, {}, {})) << "never seen";
  const auto frames = raw.written();
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].type, kHeaders);
  EXPECT_EQ(frames[0].flags, kEndStream | kEndHeaders);
  EXPECT_EQ(frames[0].payload[0], '\x88');
  EXPECT_EQ(frames[1].id, 3);
  EXPECT_EQ(frames[1].flags, kEndHeaders);
  EXPECT_LT(frames[1].payload.size(), 10u) << "apns-id came from the table";
  EXPECT_EQ(frames[2].type, kData);
  EXPECT_EQ(frames[2].flags, kEndStream);
  EXPECT_EQ(frames[2].payload, "{}");
  EXPECT_EQ(raw.server->open_streams(), 1u);
}

TEST(ServerSession, LiteralFieldsStayOutOfTheTable) {
  Raw raw = Raw::open();
  for (std::int32_t id = 1; id <= 5; id += 2) ASSERT_TRUE(raw.feed(headers(id, kGet, true)));
  const FieldView literals[] = {{"apns-id", "00000000-1111-2222-3333-444444444444", true}};
  for (std::int32_t id = 1; id <= 5; id += 2) EXPECT_TRUE(raw.server->respond(id, 200, literals, {}));
  const auto frames = raw.written();
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].payload, frames[1].payload);
  EXPECT_EQ(frames[1].payload, frames[2].payload);
  EXPECT_EQ(frames[0].payload[1] & 0xf0, 0x10) << "never indexed";
}

TEST(ServerSession, BodiesWaitForTheClientsWindow) {
  Raw raw = Raw::open({}, settings({{4, 5}}));
  ASSERT_TRUE(raw.feed(headers(1, kGet, true)));
  {
    std::string body = "0123456789";
    EXPECT_TRUE(raw.server->respond(1, 200, {}, base::as_bytes(body)));
    body.assign(10, '-');
  }
  auto data = of_type(raw.written(), kData);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0].payload, "01234");
  ASSERT_TRUE(raw.feed(window(1, 100)));
  data = of_type(raw.written(), kData);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0].payload, "56789");
  EXPECT_EQ(data[0].flags, kEndStream);
  EXPECT_EQ(raw.server->open_streams(), 0u);
}

TEST(ServerSession, MalformedRequestsAreReset) {
  const std::string path = literal(":path", "/");
  const std::string authority = literal(":authority", "mock");
  const std::vector<std::string> malformed = {
      headers(1, "\x82\x87" + authority, true),                                    // no :path
      headers(1, "\x82" + path + authority, true),                                 // no :scheme
      headers(1, kGet + "\x82", true),                                             // :method twice
      headers(1, literal("a", "b") + kGet, true),                                  // pseudo-field behind a regular one
      headers(1, kGet + literal("Apns-Id", "x"), true),                            // upper case
      headers(1, kGet + literal("apns-topic", std::string("a\0b", 3)), true),      // NUL
      headers(1, kGet + literal("connection", "close"), true),                     // of HTTP/1
      headers(1, kGet + literal(":status", "200"), true),                          // a response's
      headers(1, kPost + literal("content-length", "5"), false) + frame(kData, kEndStream, 1, "abc"),
      headers(1, kGet + literal("a", std::string(126, 'x')), true),                // longer than header_list_max here
  };
  for (std::size_t i = 0; i < malformed.size(); ++i) {
    Raw raw = Raw::open({.header_list_max = 300});
    ASSERT_TRUE(raw.feed(malformed[i])) << "case " << i << ": " << raw.error;
    EXPECT_TRUE(raw.seen.empty()) << "case " << i;
    const auto resets = of_type(raw.written(), kRst);
    ASSERT_EQ(resets.size(), 1u) << "case " << i;
    EXPECT_EQ(resets[0].word(0), 1u) << "case " << i;
    EXPECT_FALSE(raw.server->respond(1, 200, {}, {}));
    EXPECT_EQ(raw.server->open_streams(), 0u) << "case " << i;
    ASSERT_TRUE(raw.feed(headers(3, kGet, true))) << "the connection goes on";
    EXPECT_EQ(raw.seen.size(), 1u) << "case " << i;
  }
}

TEST(ServerSession, ConnectionErrorsAreSentences) {
  const std::string open = std::string(kPreface) + settings({});
  const std::vector<std::string> faults = {
      "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
      open + frame(kData, 0, 1, "x"),
      open + headers(2, kGet, true),
      open + headers(1, "\xff\xff\xff\xff\xff\xff", true),
      open + frame(kSettings, 0, 0, "12345"),
      open + frame(kHeaders, kEndHeaders, 1, std::string(16'385, 'x')),
      open + window(0, 0),
  };
  for (std::size_t i = 0; i < faults.size(); ++i) {
    Raw raw;
    EXPECT_FALSE(raw.feed(faults[i])) << "case " << i;
    EXPECT_NE(raw.error.find("the client broke HTTP/2"), std::string::npos) << raw.error;
    EXPECT_EQ(of_type(raw.written(), kGoaway).size(), i == 0 ? 0u : 1u) << "case " << i;  // HTTP/1 would not read it
    EXPECT_FALSE(raw.feed(headers(7, kGet, true))) << "it stays broken";
  }
}

TEST(ServerSession, BodyIsCutAtItsBoundAndCountedWhole) {
  Raw raw = Raw::open({.body_max = 10});
  ASSERT_TRUE(raw.feed(headers(1, kPost, false) + frame(kData, 0, 1, "0123456") + frame(kData, kEndStream, 1, "789abc")));
  ASSERT_EQ(raw.seen.size(), 1u);
  EXPECT_EQ(raw.seen[0].body, "0123456789");
  EXPECT_EQ(raw.seen[0].body_bytes, 13u);
  EXPECT_TRUE(raw.seen[0].body_cut);
}

TEST(ServerSession, WindowsAreReplenished) {
  Raw raw = Raw::open();
  std::size_t granted = 0;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(raw.feed(headers(1 + 2 * i, kPost, false) + frame(kData, kEndStream, 1 + 2 * i, std::string(10'000, 'x'))));
    for (const Frame& one : of_type(raw.written(), kWindow)) granted += one.id == 0 ? one.word(0) : 0;
  }
  EXPECT_GE(granted, 400'000u - 65'535u);
  EXPECT_EQ(raw.seen.size(), 40u);
}

TEST(ServerSession, GoawayDropsWhatIsAboveItsLastId) {
  Raw raw = Raw::open();
  for (std::int32_t id = 1; id <= 7; id += 2) ASSERT_TRUE(raw.feed(headers(id, kGet, true)));
  raw.server->goaway(3, 0, "{\"reason\":\"Shutdown\"}");
  const auto frames = of_type(raw.written(), kGoaway);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].word(0), 3u);
  EXPECT_EQ(frames[0].word(4), 0u);
  EXPECT_EQ(frames[0].payload.substr(8), "{\"reason\":\"Shutdown\"}");
  EXPECT_EQ(raw.server->open_streams(), 2u);
  EXPECT_FALSE(raw.server->respond(5, 200, {}, {}));
  EXPECT_FALSE(raw.server->respond(7, 200, {}, {}));
  EXPECT_TRUE(raw.server->respond(1, 200, {}, {}));
  EXPECT_TRUE(raw.server->respond(3, 200, {}, {}));
  EXPECT_EQ(of_type(raw.written(), kHeaders).size(), 2u);
}

TEST(ServerSession, GoawayWithAnErrorCodeIsNoErrorOfTheClient) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true)));
  raw.server->goaway(-1, 11, "slow down");
  const auto frames = of_type(raw.written(), kGoaway);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].word(0), 1u) << "the highest seen";
  EXPECT_EQ(frames[0].word(4), 11u);
  EXPECT_TRUE(raw.feed(headers(3, kGet, true)));
  EXPECT_EQ(raw.seen.size(), 1u) << "nothing new is taken";
  EXPECT_TRUE(raw.server->respond(1, 200, {}, {}));
}

TEST(ServerSession, ShutdownNoticeStillServesNewStreams) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true)));
  raw.server->goaway(0x7fffffff, 0, {});
  ASSERT_EQ(of_type(raw.written(), kGoaway).size(), 1u);
  ASSERT_TRUE(raw.feed(headers(3, kGet, true)));
  EXPECT_EQ(raw.seen.size(), 2u);
  raw.server->goaway(-1, 0, {});
  const auto frames = of_type(raw.written(), kGoaway);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].word(0), 3u);
  EXPECT_TRUE(raw.server->respond(1, 200, {}, {}));
  EXPECT_TRUE(raw.server->respond(3, 200, {}, {}));
}

TEST(ServerSession, ClientResetsAndOurs) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true) + rst(1, 8) + headers(3, kPost, false) + headers(5, kGet, true)));
  EXPECT_EQ(raw.seen.size(), 2u) << "complete before it was reset";
  EXPECT_FALSE(raw.server->respond(1, 200, {}, {}));
  raw.server->reset(3, 7);
  raw.server->reset(3, 7);
  const auto resets = of_type(raw.written(), kRst);
  ASSERT_EQ(resets.size(), 1u);
  EXPECT_EQ(resets[0].id, 3);
  EXPECT_EQ(resets[0].word(0), 7u);
  EXPECT_EQ(raw.server->open_streams(), 1u);
  ASSERT_TRUE(raw.feed(frame(kData, kEndStream, 3, "late")));
  EXPECT_EQ(raw.seen.size(), 2u);
}

TEST(ServerSession, StreamsBeyondTheLimit) {
  Raw raw = Raw::open({.streams_max = 2});
  ASSERT_TRUE(raw.feed(headers(1, kGet, true) + headers(3, kGet, true)));
  raw.server->set_streams_max(1);
  const auto frames = of_type(raw.written(), kSettings);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].payload, u16(3) + u32(1));
  EXPECT_TRUE(raw.server->respond(1, 200, {}, {}));
  raw.written();
  // Not acknowledged yet: the client may not know, so it is told that nothing was done.
  ASSERT_TRUE(raw.feed(headers(5, kGet, true)));
  const auto resets = of_type(raw.written(), kRst);
  ASSERT_EQ(resets.size(), 1u);
  EXPECT_EQ(resets[0].word(0), 7u);
  ASSERT_TRUE(raw.feed(settings_ack()));
  EXPECT_FALSE(raw.feed(headers(7, kGet, true))) << "now it knew";
}

TEST(ServerSession, FinishedWhenTheClientSaidGoaway) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true)));
  ASSERT_TRUE(raw.feed(goaway(0, 0)));
  EXPECT_FALSE(raw.server->finished());
  EXPECT_TRUE(raw.server->respond(1, 200, {}, {}));
  EXPECT_TRUE(raw.server->finished());
}

TEST(ServerSession, Trailers) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kPost, false) + frame(kData, 0, 1, "b") + headers(1, literal("x-t", "1"), true)));
  ASSERT_EQ(raw.seen.size(), 1u);
  EXPECT_EQ(raw.seen[0].fields.size(), 4u);
  EXPECT_EQ(raw.seen[0].body, "b");
}

std::uint64_t granted(const std::vector<Frame>& frames, std::int32_t id) {
  std::uint64_t bytes = 0;
  for (const Frame& one : of_type(frames, kWindow)) bytes += one.id == id ? one.word(0) : 0;
  return bytes;
}

TEST(ServerFaults, InjectedBytesStandBehindWhatIsPending) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true) + headers(3, kGet, true)));
  const std::string unknown = frame(0xfa, 0x55, 1, "unknown");
  EXPECT_TRUE(raw.server->respond(1, 200, {}, {}));
  raw.server->reset(3, 8);  // only submitted
  raw.server->inject(base::as_bytes(unknown));
  raw.server->inject(base::as_bytes(std::string_view("\x01\x02", 2)));
  raw.server->write_pending(raw.out);
  const std::string bytes = take(raw.out);
  ASSERT_TRUE(bytes.ends_with(unknown + "\x01\x02"));
  const auto frames = parse(std::string_view(bytes).substr(0, bytes.size() - 2));
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].type, kHeaders);
  EXPECT_EQ(frames[1].type, kRst);
  EXPECT_EQ(frames[2].type, 0xfa);
}

TEST(ServerFaults, WindowUpdatesCanBeWithheld) {
  Raw raw = Raw::open();
  raw.server->set_auto_window_update(false);
  const std::string chunk(10'000, 'x');
  ASSERT_TRUE(raw.feed(headers(1, kPost, false) + headers(3, kPost, false)));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(raw.feed(frame(kData, 0, 1, chunk) + frame(kData, i == 2 ? kEndStream : std::uint8_t{0}, 3, chunk)));
  ASSERT_TRUE(raw.feed(frame(kData, 0, 1, chunk.substr(0, 5000))));
  EXPECT_TRUE(of_type(raw.written(), kWindow).empty());
  raw.server->set_auto_window_update(true);
  auto frames = raw.written();
  EXPECT_EQ(granted(frames, 0), 65'000u);
  EXPECT_EQ(granted(frames, 1), 35'000u);
  EXPECT_EQ(granted(frames, 3), 0u) << "it has ended";
  // And on from here as before.
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(raw.feed(frame(kData, 0, 1, chunk)));
  frames = raw.written();
  EXPECT_EQ(granted(frames, 0), 40'000u);
  EXPECT_EQ(granted(frames, 1), 40'000u);
}

TEST(ServerFaults, AWithheldWindowIsEnforced) {
  Raw raw = Raw::open();
  raw.server->set_auto_window_update(false);
  ASSERT_TRUE(raw.feed(headers(1, kPost, false)));
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(raw.feed(frame(kData, 0, 1, std::string(10'000, 'x'))));
  EXPECT_FALSE(raw.feed(frame(kData, 0, 1, std::string(10'000, 'x'))));
  const auto frames = of_type(raw.written(), kGoaway);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].word(4), 3u) << "FLOW_CONTROL_ERROR";
}

TEST(ServerFaults, InitialWindowOfLaterAndOpenStreams) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kPost, false)));
  raw.server->set_initial_window(10);
  const auto frames = of_type(raw.written(), kSettings);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].payload, u16(4) + u32(10));
  ASSERT_TRUE(raw.feed(frame(kData, 0, 1, std::string(100, 'x')))) << "not acknowledged yet";
  ASSERT_TRUE(raw.feed(settings_ack() + headers(3, kPost, false) + frame(kData, 0, 3, std::string(10, 'x'))));
  EXPECT_TRUE(of_type(raw.written(), kRst).empty());
  raw.feed(headers(5, kPost, false) + frame(kData, 0, 5, std::string(11, 'x')));
  const auto broken = raw.written();
  EXPECT_EQ(of_type(broken, kRst).size() + of_type(broken, kGoaway).size(), 1u) << "beyond its window";
}

TEST(ServerFaults, PingsCanGoUnanswered) {
  Raw raw = Raw::open();
  const std::string ping = frame(kPing, 0, 0, "12345678");
  raw.server->set_auto_ping_ack(false);
  ASSERT_TRUE(raw.feed(ping + ping + frame(kPing, kAck, 0, "12345678")));
  EXPECT_TRUE(raw.written().empty());
  EXPECT_EQ(raw.server->pings_seen(), 2u);
  raw.server->set_auto_ping_ack(true);
  EXPECT_TRUE(raw.written().empty()) << "they are gone for good";
  ASSERT_TRUE(raw.feed(frame(kPing, 0, 0, "abcdefgh")));
  const auto frames = raw.written();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].type, kPing);
  EXPECT_EQ(frames[0].flags, kAck);
  EXPECT_EQ(frames[0].payload, "abcdefgh");
  EXPECT_EQ(raw.server->pings_seen(), 3u);
}

TEST(ServerFaults, AFloodOfPingsIsNotAnsweredWithoutBound) {
  Raw raw = Raw::open();
  std::string pings;
  for (int i = 0; i < 3000; ++i) pings += frame(kPing, 0, 0, "12345678");
  EXPECT_FALSE(raw.feed(pings));
  EXPECT_NE(raw.error.find("ENHANCE_YOUR_CALM"), std::string::npos) << raw.error;
}

TEST(ServerFaults, HeaderBlocksAreSplitAtAnySize) {
  const FieldView fields[] = {{"apns-id", "00000000-1111-2222-3333-444444444444", true}, {"x-long", "abcdefghijklmnop", true}};
  const auto answer = [&](std::size_t bytes) {
    Raw raw = Raw::open();
    EXPECT_TRUE(raw.feed(headers(1, kGet, true) + headers(3, kGet, true)));
    raw.server->split_headers(bytes);
    EXPECT_TRUE(raw.server->respond(1, 200, fields, base::as_bytes("body")));
    EXPECT_TRUE(raw.server->respond(3, 200, fields, {}));
    return raw.written();
  };
  const auto whole = answer(0);
  ASSERT_EQ(whole.size(), 3u);
  const std::string block = whole[0].payload;
  for (std::size_t bytes = 1; bytes <= block.size() + 1; ++bytes) {
    SCOPED_TRACE(bytes);
    const auto frames = answer(bytes);
    std::size_t at = 0;
    for (const std::int32_t id : {1, 3}) {
      std::string joined;
      for (bool first = true, end = false; !end; first = false, ++at) {
        ASSERT_LT(at, frames.size());
        const Frame& one = frames[at];
        EXPECT_EQ(one.id, id);
        EXPECT_EQ(one.type, first ? kHeaders : kContinuation);
        EXPECT_LE(one.payload.size(), bytes);
        EXPECT_EQ(one.flags & kEndStream, first && id == 3 ? kEndStream : 0);
        EXPECT_FALSE(one.payload.empty());
        joined += one.payload;
        end = (one.flags & kEndHeaders) != 0;
      }
      EXPECT_EQ(joined, block);
      if (id == 1) {
        ASSERT_LT(at, frames.size());
        EXPECT_EQ(frames[at].type, kData);
        EXPECT_EQ(frames[at++].payload, "body");
      }
    }
    EXPECT_EQ(at, frames.size());
  }
}

TEST(ServerFaults, ABlockBeyondOneFrameIsSplitToo) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(headers(1, kGet, true)));
  raw.server->split_headers(7000);
  const std::string value(12'000, '^');  // longer in Huffman's code than plain
  const FieldView fields[] = {{"x-a", value, true}, {"x-b", value, true}};
  EXPECT_TRUE(raw.server->respond(1, 200, fields, {}));
  const auto frames = raw.written();
  ASSERT_GE(frames.size(), 4u);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    EXPECT_EQ(frames[i].type, i == 0 ? kHeaders : kContinuation);
    EXPECT_EQ(frames[i].flags, (i == 0 ? kEndStream : 0) | (i + 1 == frames.size() ? kEndHeaders : 0)) << i;
    EXPECT_LE(frames[i].payload.size(), 7000u);
    bytes += frames[i].payload.size();
  }
  EXPECT_GT(bytes, 24'000u);
}

TEST(ServerFaults, AnySettings) {
  Raw raw = Raw::open();
  const std::pair<std::uint16_t, std::uint32_t> odd[] = {{3, 0}, {0x4242, 7}, {6, 90}};
  raw.server->set_settings(odd);
  const std::pair<std::uint16_t, std::uint32_t> forbidden[] = {{2, 1}, {4, 0x80000000u}, {5, 100}};
  raw.server->set_settings(forbidden);
  const auto frames = raw.written();
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].payload, u16(3) + u32(0) + u16(0x4242) + u32(7) + u16(6) + u32(90));
  EXPECT_EQ(frames[1].type, kSettings);
  EXPECT_EQ(frames[1].flags, 0);
  EXPECT_EQ(frames[1].id, 0);
  EXPECT_EQ(frames[1].payload, u16(2) + u32(1) + u16(4) + u32(0x80000000u) + u16(5) + u32(100));
  ASSERT_TRUE(raw.feed(settings_ack()));
  EXPECT_FALSE(raw.feed(headers(1, kGet, true))) << "no stream is allowed now";
}

TEST(ServerSession, OptionsAreChecked) {
  EXPECT_FALSE(make_nghttp2_server({.frame_bytes_max = 100}).ok());
  EXPECT_FALSE(make_nghttp2_server({.window_bytes = 0x80000000u}).ok());
}

TEST(ServerSession, MutatedBytesNeverCrash) {
  base::Prng prng(7);
  const std::string good = std::string(kPreface) + settings({{4, 20}}) + headers(1, kPost, false) + frame(kData, kEndStream, 1, "abc") +
                           frame(kHeaders, 0, 3, kGet.substr(0, 5)) + frame(kContinuation, kEndHeaders, 3, kGet.substr(5)) +
                           rst(3, 8) + frame(kPing, 0, 0, "12345678") + headers(5, kGet, true) + window(5, 9) + goaway(0, 0);
  std::size_t handed = 0;
  for (int run = 0; run < 1000; ++run) {
    std::string bytes = good;
    for (std::uint64_t i = 0; i <= prng.below(4); ++i) bytes[24 + prng.below(bytes.size() - 24)] = static_cast<char>(prng.next());
    Raw raw;
    std::string_view left = bytes;
    bool ok = true;
    while (ok && !left.empty()) {
      const std::size_t piece = std::min<std::size_t>(left.size(), 1 + prng.below(40));
      const std::size_t before = raw.seen.size();
      ok = raw.feed(left.substr(0, piece));
      left.remove_prefix(piece);
      for (std::size_t i = before; i < raw.seen.size(); ++i) {
        raw.server->respond(raw.seen[i].id, 200, {}, base::as_bytes("a body of thirty bytes or so.."));
      }
    }
    raw.written();
    handed += raw.seen.size();
  }
  EXPECT_GT(handed, 500u);
}

}  // namespace
}  // namespace tocsin::h2
