// SPDX-License-Identifier: Apache-2.0
// The client session against hand-made frames, each codec.
#include <map>
#include <set>

#include <nghttp2/nghttp2.h>

#include "client_peer.h"
#include "h2/fast_table.h"

namespace tocsin::h2 {
namespace {

using namespace test;

INSTANTIATE_TEST_SUITE_P(Codecs, EachClient, testing::Values(kFast, kNghttp2), codec_name);

TEST_P(EachClient, ForgottenListsLeaveTheirNumbers) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.client->prepare(push_fields(), base::BodyShape::whole()), 1u);
  raw.client->forget_prepared();
  EXPECT_EQ(raw.prepared = raw.client->prepare(push_fields(), base::BodyShape::whole()), 0u);
  EXPECT_EQ(raw.send(1), 1u);
}

TEST_P(EachClient, BeginsWithPrefaceAndSettingsAndWaitsForThePeers) {
  Raw raw;
  EXPECT_EQ(raw.client->can_start(), 0u);
  EXPECT_FALSE(raw.client->settings_seen());
  EXPECT_EQ(raw.send(1), 0u);
  const std::string first = take(raw.out);
  ASSERT_TRUE(first.starts_with(kPreface));
  const auto frames = parse(first);
  ASSERT_GE(frames.size(), 2u);
  EXPECT_EQ(frames[0].type, kSettings);
  EXPECT_NE(frames[0].payload.find(u16(2) + u32(0)), std::string::npos) << "ENABLE_PUSH 0";
  EXPECT_NE(frames[0].payload.find(u16(4) + u32(1u << 20)), std::string::npos) << "INITIAL_WINDOW_SIZE";
  EXPECT_EQ(frames[1].type, kWindow);
  EXPECT_EQ(frames[1].word(0), (1u << 20) - 65'535u);

  ASSERT_TRUE(raw.feed(settings({{3, 7}})));
  ASSERT_EQ(raw.events.size(), 1u);
  EXPECT_EQ(raw.events[0].kind, EventKind::settings);
  EXPECT_EQ(raw.client->peer_streams_max(), 7u);
  EXPECT_EQ(raw.client->can_start(), 7u);
  const auto answer = raw.written();
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_EQ(answer[0].type, kSettings);
  EXPECT_EQ(answer[0].flags, kAck);
  ASSERT_TRUE(raw.feed(settings_ack()));
  EXPECT_EQ(raw.events.back().kind, EventKind::settings_ack);
}

TEST_P(EachClient, OwnLimitCountsToo) {
  Raw raw(ClientOptions{.streams_max = 3});
  raw.begin({});  // no MAX_CONCURRENT_STREAMS: unlimited
  EXPECT_EQ(raw.client->can_start(), 3u);
  EXPECT_EQ(raw.send(5), 3u);
  EXPECT_EQ(raw.client->can_start(), 0u);
  EXPECT_EQ(raw.client->open_streams(), 3u);
}

TEST_P(EachClient, AnswersCarryStatusCapturesAndBody) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(2), 2u);
  EXPECT_EQ(raw.client->next_stream_id(), 5);
  ASSERT_TRUE(raw.feed(headers(3, literal(":status", "410") + literal("apns-id", kId) + literal("x-other", "1"), false) +
                       frame(kData, 0, 3, "{\"reason\":") + frame(kData, kEndStream, 3, "\"Unregistered\"}")));
  ASSERT_TRUE(raw.feed(headers(1, kStatus200 + literal("apns-unique-id", std::string(100, 'u')) + literal("apns-id", kId), true)));
  ASSERT_EQ(raw.answers.size(), 2u);
  EXPECT_EQ(raw.answers[0].tag, 101u);
  const Answer& answer = raw.answers[1];
  EXPECT_EQ(answer.tag, 100u);
  EXPECT_EQ(answer.stream_id, 1);
  EXPECT_EQ(answer.kind, AnswerKind::complete);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.captured[0], kId);
  EXPECT_EQ(answer.captured[1], std::string(100, 'u'));
  EXPECT_TRUE(answer.body.empty());
  EXPECT_EQ(raw.client->open_streams(), 0u);
}

TEST_P(EachClient, BodiesOfAnswersAreCutAtTheirBound) {
  Raw raw(ClientOptions{.answer_body_max = 10});
  raw.begin({});
  ASSERT_EQ(raw.send(2), 2u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200, false) + frame(kData, 0, 1, "0123456") +
                       frame(kData, kEndStream, 1, "789abc") + headers(3, kStatus200, false) +
                       frame(kData, kEndStream, 3, "0123456789")));
  ASSERT_EQ(raw.answers.size(), 2u);
  EXPECT_EQ(base::as_text(raw.answers[0].body), "0123456789");
  EXPECT_TRUE(raw.answers[0].body_cut);
  EXPECT_EQ(base::as_text(raw.answers[1].body), "0123456789");
  EXPECT_FALSE(raw.answers[1].body_cut);
}

TEST_P(EachClient, LimitLoweredBelowWhatIsOpen) {
  Raw raw = Raw::open({{3, 10}});
  ASSERT_EQ(raw.send(10), 10u);
  ASSERT_TRUE(raw.feed(settings({{3, 4}})));
  EXPECT_EQ(raw.client->can_start(), 0u);
  EXPECT_EQ(raw.client->open_streams(), 10u);
  for (std::int32_t id = 1; id <= 13; id += 2) {
    EXPECT_EQ(raw.send(1), 0u);
    ASSERT_TRUE(raw.feed(headers(id, kStatus200, true)));
  }
  EXPECT_EQ(raw.client->open_streams(), 3u);
  EXPECT_EQ(raw.client->can_start(), 1u);
  EXPECT_EQ(raw.answers.size(), 7u);
  EXPECT_EQ(raw.send(5, {}, 200), 1u);
}

TEST_P(EachClient, BodyWaitsForTheStreamWindow) {
  Raw raw = Raw::open({{3, 100}, {4, 0}});
  EXPECT_EQ(raw.send(1, "body"), 0u) << "not even the first byte fits";
  EXPECT_EQ(raw.send(1), 1u) << "no body, no window";
  raw.written();
  ASSERT_TRUE(raw.feed(settings({{4, 3}})));
  raw.written();
  EXPECT_EQ(raw.send(1, "body"), 1u);
  auto data = of_type(parse(take(raw.out)), kData);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0].payload, "bod");
  EXPECT_EQ(data[0].flags, 0);
  ASSERT_TRUE(raw.feed(window(3, 100)));
  data = of_type(raw.written(), kData);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0].payload, "y");
  EXPECT_EQ(data[0].flags, kEndStream);
}

TEST_P(EachClient, BodyWaitsForTheConnectionWindow) {
  Raw raw = Raw::open({{3, 100}, {4, 1 << 20}});
  const std::string body(40'000, 'x');
  EXPECT_EQ(raw.send(5, body), 2u) << "the second is continued, the third cannot begin";
  EXPECT_EQ(raw.client->send_window(), 0);
  std::map<std::int32_t, std::size_t> sent;
  const auto count = [&](const std::vector<Frame>& frames) {
    for (const Frame& one : of_type(frames, kData)) sent[one.id] += one.payload.size();
  };
  count(parse(take(raw.out)));
  EXPECT_EQ(sent[1] + sent[3], 65'535u);
  EXPECT_EQ(raw.send(1), 1u) << "a request without body needs no window";
  ASSERT_TRUE(raw.feed(window(0, 14'464)));
  count(raw.written());
  EXPECT_EQ(sent[1] + sent[3], 79'999u);
  ASSERT_TRUE(raw.feed(window(0, 1)));
  count(raw.written());
  EXPECT_EQ(sent[1], 40'000u);
  EXPECT_EQ(sent[3], 40'000u);
}

TEST_P(EachClient, AnsweredBeforeItsBodyWasSent) {
  Raw raw = Raw::open({{3, 1}, {4, 10}});
  ASSERT_EQ(raw.send(1, std::string(100, 'x')), 1u);
  raw.written();
  ASSERT_TRUE(raw.feed(headers(1, literal(":status", "413"), true)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::complete);
  EXPECT_EQ(raw.answers[0].status, 413);
  const auto resets = of_type(raw.written(), kRst);
  ASSERT_EQ(resets.size(), 1u);
  EXPECT_EQ(resets[0].word(0), 8u);
  EXPECT_EQ(raw.client->can_start(), 1u);
  ASSERT_TRUE(raw.feed(window(1, 1000) + rst(1, 0)));
  EXPECT_EQ(raw.answers.size(), 1u);
}

TEST_P(EachClient, GoawayInTheMiddle) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(6), 6u);  // ids 1 to 11, tags 100 to 105
  ASSERT_TRUE(raw.feed(goaway(5, 0, "{\"reason\":\"Shutdown\"}")));
  ASSERT_EQ(raw.events.size(), 1u);
  EXPECT_EQ(raw.events[0].kind, EventKind::goaway);
  EXPECT_EQ(raw.events[0].last_stream_id, 5);
  EXPECT_EQ(raw.events[0].debug, "{\"reason\":\"Shutdown\"}");
  std::set<std::uint64_t> refused;
  for (const Answer& answer : raw.answers) {
    EXPECT_EQ(answer.kind, AnswerKind::reset);
    EXPECT_EQ(answer.error_code, 7u);
    EXPECT_TRUE(refused.insert(answer.tag).second);
  }
  EXPECT_EQ(refused, (std::set<std::uint64_t>{103, 104, 105}));
  EXPECT_EQ(raw.client->can_start(), 0u);
  EXPECT_EQ(raw.send(1), 0u);
  raw.answers.clear();
  ASSERT_TRUE(raw.feed(headers(3, kStatus200, true)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].tag, 101u);
  EXPECT_EQ(raw.open_tags(), (std::vector<std::uint64_t>{100, 102}));
}

TEST_P(EachClient, DoubleGoaway) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(4), 4u);
  ASSERT_TRUE(raw.feed(goaway(0x7fffffff, 0)));
  EXPECT_TRUE(raw.answers.empty());
  EXPECT_EQ(raw.client->can_start(), 0u);
  ASSERT_TRUE(raw.feed(goaway(3, 0, "bye")));
  ASSERT_EQ(raw.events.size(), 2u);
  EXPECT_EQ(raw.answers.size(), 2u);
  ASSERT_TRUE(raw.feed(goaway(3, 2)));
  EXPECT_EQ(raw.answers.size(), 2u) << "each tag once";
  ASSERT_TRUE(raw.feed(headers(1, kStatus200, true)));
  EXPECT_EQ(raw.answers.size(), 3u);
  EXPECT_FALSE(raw.feed(goaway(5, 0))) << "the last id may not grow";
  EXPECT_EQ(raw.open_tags(), std::vector<std::uint64_t>{101});
}

TEST_P(EachClient, ResetsSayTheirCode) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(4), 4u);
  ASSERT_TRUE(raw.feed(rst(1, 7) + rst(3, 0) + headers(5, kStatus200 + literal("apns-id", kId), false) + rst(5, 2) +
                       rst(7, 11)));
  ASSERT_EQ(raw.answers.size(), 4u);
  for (const Answer& answer : raw.answers) EXPECT_EQ(answer.kind, AnswerKind::reset);
  EXPECT_EQ(raw.answers[0].error_code, 7u);
  EXPECT_EQ(raw.answers[1].error_code, 0u) << "NO_ERROR before headers is a reset, no success";
  EXPECT_FALSE(raw.answers[1].headers_seen);
  EXPECT_EQ(raw.answers[1].status, 0);
  EXPECT_TRUE(raw.answers[2].headers_seen);
  EXPECT_EQ(raw.answers[2].status, 200);
  EXPECT_EQ(raw.answers[2].captured[0], kId);
  EXPECT_EQ(raw.answers[3].error_code, 11u);
  EXPECT_EQ(raw.client->can_start(), 1000u);
}

TEST_P(EachClient, BrokenResponsesAreResetAndReportedOnce) {
  const std::vector<std::string> broken = {
      headers(1, literal("apns-id", kId), true),                                     // no :status
      headers(1, literal(":status", "2x0"), true),                                   // no number
      headers(1, literal(":status", "101"), true),                                   // HTTP/2 has none
      headers(1, literal(":status", "100"), true),                                   // nothing final
      headers(1, kStatus200 + kStatus200, true),                                     // twice
      headers(1, literal("apns-id", kId) + kStatus200, true),                        // behind a regular field
      headers(1, literal(":path", "/") + kStatus200, true),                          // a request's field
      headers(1, kStatus200 + literal("Apns-Id", kId), true),                        // upper case
      headers(1, kStatus200 + literal("", "x"), true),                               // no name
      headers(1, kStatus200 + literal("x", std::string("a\0b", 3)), true),           // NUL
      headers(1, kStatus200, false) + headers(1, literal("x-trailer", "1"), false),  // trailers that do not end
      headers(1, kStatus200, false) + headers(1, kStatus200, true),                  // pseudo-field in trailers
      headers(1, literal(":status", "100"), false) + frame(kData, kEndStream, 1, "body first"),
      headers(1, literal(":status", "100"), false) + frame(kData, kEndStream, 1, ""),
  };
  for (std::size_t i = 0; i < broken.size(); ++i) {
    Raw raw = Raw::open();
    ASSERT_EQ(raw.send(2), 2u);
    raw.written();
    ASSERT_TRUE(raw.feed(broken[i])) << "case " << i << ": " << raw.error;
    ASSERT_EQ(raw.answers.size(), 1u) << "case " << i;
    EXPECT_EQ(raw.answers[0].kind, AnswerKind::broken) << "case " << i;
    EXPECT_EQ(raw.answers[0].tag, 100u);
    const auto resets = of_type(raw.written(), kRst);
    ASSERT_EQ(resets.size(), 1u) << "case " << i;
    EXPECT_EQ(resets[0].word(0), 1u);
    EXPECT_EQ(raw.client->open_streams(), 1u) << "case " << i;
    EXPECT_EQ(raw.client->can_start(), 999u) << "case " << i;
    ASSERT_TRUE(raw.feed(headers(3, kStatus200, true))) << "the connection goes on";
    EXPECT_EQ(raw.answers.size(), 2u) << "case " << i;
  }
}

TEST_P(EachClient, HeaderListBound) {
  Raw raw(ClientOptions{.header_list_max = 200});
  raw.begin({});
  ASSERT_EQ(raw.send(1), 1u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200 + literal("a", std::string(100, 'x')) + literal("b", std::string(100, 'x')), false)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::broken);
  EXPECT_EQ(of_type(raw.written(), kRst).size(), 1u);
}

TEST_P(EachClient, Trailers) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(1), 1u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200, false) + frame(kData, 0, 1, "b") + headers(1, literal("x-t", "1"), true)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::complete);
  EXPECT_EQ(base::as_text(raw.answers[0].body), "b");
}

TEST_P(EachClient, InterimResponsesAreNoAnswersAndTheirCapturesAreForgotten) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(1), 1u);
  ASSERT_TRUE(raw.feed(headers(1, literal(":status", "103") + literal("apns-id", "early"), false)));
  ASSERT_TRUE(raw.feed(headers(1, literal(":status", "100"), false)));
  EXPECT_TRUE(raw.answers.empty());
  ASSERT_TRUE(raw.feed(headers(1, kStatus200 + literal("apns-id", kId), true)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].captured[0], kId);
  EXPECT_EQ(raw.answers[0].status, 200);
}

TEST_P(EachClient, HuffmanAndDynamicTable) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(3), 3u);
  nghttp2_hd_deflater* deflater = nullptr;
  ASSERT_EQ(nghttp2_hd_deflate_new(&deflater, 4096), 0);
  const auto encode = [&](std::string value) {
    std::string name = "apns-id";
    std::string status = ":status";
    std::string ok = "200";
    const auto bytes = [](std::string& text) { return reinterpret_cast<std::uint8_t*>(text.data()); };
    nghttp2_nv fields[] = {{bytes(status), bytes(ok), 7, 3, 0}, {bytes(name), bytes(value), name.size(), value.size(), 0}};
    std::string block(200, '\0');
    const ssize_t size = nghttp2_hd_deflate_hd(deflater, bytes(block), block.size(), fields, 2);
    block.resize(static_cast<std::size_t>(size));
    return block;
  };
  const std::string first = encode(kId);
  const std::string second = encode(kId);
  EXPECT_LT(first.size(), kId.size() + 7) << "Huffman";
  EXPECT_EQ(second.size(), 2u) << "indexed";
  const std::string third = encode("another");
  nghttp2_hd_deflate_del(deflater);
  ASSERT_TRUE(raw.feed(headers(5, first, true) + headers(1, second, true) + headers(3, third, true)));
  ASSERT_EQ(raw.answers.size(), 3u);
  EXPECT_EQ(raw.answers[0].captured[0], kId);
  EXPECT_EQ(raw.answers[1].captured[0], kId);
  EXPECT_EQ(raw.answers[2].captured[0], "another");
}

TEST_P(EachClient, ContinuationPaddingAndUnknownFrames) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(2), 2u);
  const std::string block = kStatus200 + literal("apns-id", kId);
  ASSERT_TRUE(raw.feed(frame(kHeaders, 0, 1, block.substr(0, 9)) + frame(kContinuation, 0, 1, block.substr(9, 20)) +
                       frame(kContinuation, kEndHeaders, 1, block.substr(29))));
  ASSERT_TRUE(raw.feed(frame(0x77, 0xff, 1, "whatever") + frame(0x10, 0, 0, "")));
  ASSERT_TRUE(raw.feed(frame(kData, kPadded | kEndStream, 1, std::string("\x04", 1) + "body" + std::string(4, '\0'))));
  ASSERT_TRUE(raw.feed(frame(kHeaders, kPadded | kEndHeaders | kEndStream, 3, std::string("\x03", 1) + block + std::string(3, '\0'))));
  ASSERT_EQ(raw.answers.size(), 2u);
  EXPECT_EQ(raw.answers[0].tag, 100u);
  EXPECT_EQ(raw.answers[1].captured[0], kId);
}

TEST_P(EachClient, ConnectionErrorsAreSentencesAndKeepTheOpenTags) {
  const std::vector<std::string> faults = {
      frame(kPush, kEndHeaders, 1, u32(2) + kStatus200),
      frame(kData, 0, 1, std::string(16'385, 'x')),              // larger than MAX_FRAME_SIZE
      window(0, 0x7fffffff),                                     // overflows the connection's window
      window(0, 0),
      frame(kHeaders, kEndHeaders, 0, kStatus200),               // stream 0
      headers(1, "\xff\xff\xff\xff\xff\xff", true),              // no HPACK
      frame(kHeaders, 0, 1, kStatus200) + frame(kPing, 0, 0, std::string(8, 'p')),  // CONTINUATION is due
      frame(kSettings, 0, 0, "12345"),
      headers(9, kStatus200, true),                              // a stream that was never opened
      frame(kData, kEndStream, 1, "body before any HEADERS"),
  };
  for (std::size_t i = 0; i < faults.size(); ++i) {
    Raw raw = Raw::open();
    ASSERT_EQ(raw.send(2), 2u);
    raw.written();
    EXPECT_FALSE(raw.feed(faults[i])) << "case " << i;
    EXPECT_NE(raw.error.find("the server broke HTTP/2"), std::string::npos) << raw.error;
    EXPECT_EQ(of_type(raw.written(), kGoaway).size(), 1u) << "case " << i;
    EXPECT_EQ(raw.open_tags(), (std::vector<std::uint64_t>{100, 101})) << "case " << i;
    EXPECT_EQ(raw.client->can_start(), 0u);
    EXPECT_EQ(raw.send(1), 0u);
    EXPECT_FALSE(raw.feed(headers(1, kStatus200, true))) << "it stays broken";
    EXPECT_TRUE(raw.answers.empty());
  }
}

TEST_P(EachClient, PushBeforeOurSettingsWereAcknowledged) {
  Raw raw;
  ASSERT_TRUE(raw.feed(settings({{3, 10}})));
  ASSERT_EQ(raw.send(1), 1u);
  EXPECT_FALSE(raw.feed(frame(kPush, kEndHeaders, 1, u32(2) + kStatus200)));
  EXPECT_NE(raw.error.find("PUSH_PROMISE"), std::string::npos) << raw.error;
  EXPECT_EQ(raw.open_tags(), std::vector<std::uint64_t>{100});
}

TEST_P(EachClient, StreamWindowOverflowBreaksThatStream) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(2, "body"), 2u);
  ASSERT_TRUE(raw.feed(window(1, 0x7fffffff)));
  ASSERT_EQ(raw.answers.size(), 1u) << "in the same receive";
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::broken);
  EXPECT_EQ(raw.answers[0].error_code, 3u);
  EXPECT_EQ(raw.client->can_start(), 999u);
}

TEST_P(EachClient, Pings) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(frame(kPing, 0, 0, "12345678")));
  auto pings = of_type(raw.written(), kPing);
  ASSERT_EQ(pings.size(), 1u);
  EXPECT_EQ(pings[0].flags, kAck);
  EXPECT_EQ(pings[0].payload, "12345678");
  EXPECT_TRUE(raw.events.empty());
  raw.client->ping(0x0123456789abcdefull);
  pings = of_type(raw.written(), kPing);
  ASSERT_EQ(pings.size(), 1u);
  ASSERT_TRUE(raw.feed(frame(kPing, kAck, 0, pings[0].payload)));
  ASSERT_EQ(raw.events.size(), 1u);
  EXPECT_EQ(raw.events[0].kind, EventKind::ping_ack);
  EXPECT_EQ(raw.events[0].opaque, 0x0123456789abcdefull);
}

TEST_P(EachClient, ControlFramesGoFirst) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(frame(kPing, 0, 0, "12345678")));
  ASSERT_EQ(raw.send(2, "body"), 2u);
  const auto frames = parse(take(raw.out));
  ASSERT_EQ(frames.size(), 5u);
  EXPECT_EQ(frames[0].type, kPing);
  EXPECT_EQ(frames[1].type, kHeaders);
  EXPECT_EQ(frames[2].type, kData);
}

TEST_P(EachClient, Cancel) {
  Raw raw = Raw::open({{3, 2}});
  ASSERT_EQ(raw.send(2), 2u);
  raw.written();
  EXPECT_FALSE(raw.client->cancel(5));
  EXPECT_TRUE(raw.client->cancel(100));
  EXPECT_FALSE(raw.client->cancel(100));
  EXPECT_EQ(raw.open_tags(), std::vector<std::uint64_t>{101});
  const auto resets = of_type(raw.written(), kRst);
  ASSERT_EQ(resets.size(), 1u);
  EXPECT_EQ(resets[0].id, 1);
  EXPECT_EQ(resets[0].word(0), 8u);
  EXPECT_EQ(raw.client->can_start(), 1u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200, true) + rst(1, 5)));
  EXPECT_TRUE(raw.answers.empty()) << "too late";
  ASSERT_TRUE(raw.feed(headers(3, kStatus200, true)));
  EXPECT_EQ(raw.answers.size(), 1u);
}

TEST_P(EachClient, OwnGoawayStopsNewRequestsOnly) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(1), 1u);
  raw.written();
  raw.client->goaway();
  raw.client->goaway();
  const auto frames = of_type(raw.written(), kGoaway);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].word(4), 0u);
  EXPECT_EQ(raw.client->can_start(), 0u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200, true)));
  EXPECT_EQ(raw.answers.size(), 1u);
}

TEST_P(EachClient, FieldsBeyondWhatABlockMayBeNeverGoOut) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(1), 1u);
  base::FieldList list = push_fields();
  list.constant("x-large", std::string(65'536, 'x'));
  const std::uint32_t large = raw.client->prepare(list, base::BodyShape::whole());
  const Values values(7);
  const Request request = make_request(7, large, values, "body");
  take(raw.out);
  EXPECT_EQ(raw.client->write({&request, 1}, raw.out), 1u);
  EXPECT_TRUE(raw.out.empty());
  EXPECT_EQ(raw.client->open_streams(), 1u);
  ASSERT_TRUE(raw.feed({}));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].tag, 7u);
  EXPECT_EQ(raw.answers[0].stream_id, 3);
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::reset);
  EXPECT_EQ(raw.answers[0].error_code, 7u);
  EXPECT_EQ(raw.send(1), 1u);
  EXPECT_EQ(raw.client->next_stream_id(), 7);
}

TEST_P(EachClient, LargeFieldsAreSplitIntoContinuation) {
  Raw raw = Raw::open();
  base::FieldList list = push_fields();
  list.constant("x-large", std::string(40'000, '~'), base::Indexing::literal);
  raw.prepared = raw.client->prepare(list, base::BodyShape::whole());
  take(raw.out);
  ASSERT_EQ(raw.send(1), 1u);
  const auto frames = parse(take(raw.out));
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].type, kHeaders);
  EXPECT_EQ(frames[0].flags, kEndStream);
  EXPECT_EQ(frames[1].type, kContinuation);
  EXPECT_EQ(frames[1].flags, 0);
  EXPECT_EQ(frames[2].flags, kEndHeaders);
  std::string block;
  for (const Frame& one : frames) {
    EXPECT_LE(one.payload.size(), 16'384u);
    block += one.payload;
  }
  EXPECT_NE(block.find(std::string(40'000, '~')), std::string::npos);
}

TEST_P(EachClient, StreamIdsRunOut) {
  Raw raw({.captures = {}}, 0x7ffffffb);
  raw.begin({{3, 100}});
  EXPECT_EQ(raw.client->can_start(), 3u);
  EXPECT_EQ(raw.send(10), 3u);
  EXPECT_EQ(raw.client->can_start(), 0u);
  EXPECT_EQ(raw.client->next_stream_id(), 0);
  ASSERT_TRUE(raw.feed(headers(0x7fffffff, kStatus200, true)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].tag, 102u);
  EXPECT_EQ(raw.send(1), 0u);
}

TEST_P(EachClient, OptionsAreChecked) {
  EXPECT_TRUE(codec.make({.captures = {"a", "b"}}).ok());
  const auto three = codec.make({.captures = {"a", "b", "c"}});
  ASSERT_FALSE(three.ok());
  EXPECT_NE(three.error().message.find("at most 2"), std::string::npos) << three.error().message;
  EXPECT_FALSE(codec.make({.window_bytes = 0x80000000u}).ok());
}

TEST_P(EachClient, MutatedBytesNeverCrashAndNeverDoubleATag) {
  base::Prng prng(99);
  for (int run = 0; run < 400; ++run) {
    Raw raw = Raw::open();
    ASSERT_EQ(raw.send(4, "body"), 4u);
    std::string bytes = headers(1, kStatus200 + literal("apns-id", kId), false) + frame(kData, kEndStream, 1, "b") + rst(3, 7) +
                        headers(5, kStatus200, true) + window(0, 10) + goaway(7, 0, "x") + headers(7, kStatus200, true);
    for (std::uint64_t i = 0; i <= prng.below(4); ++i) bytes[prng.below(bytes.size())] = static_cast<char>(prng.next());
    const bool ok = raw.feed(bytes);
    raw.written();
    std::multiset<std::uint64_t> tags;
    for (const Answer& answer : raw.answers) tags.insert(answer.tag);
    for (const std::uint64_t tag : raw.open_tags()) tags.insert(tag);
    EXPECT_EQ(tags, (std::multiset<std::uint64_t>{100, 101, 102, 103})) << "run " << run << " ok " << ok;
  }
}

// Streams come in order and go in any; a few stay for the whole time, in the way of others' places.
TEST(FastTable, HoldsWhatItIsGivenWhoeverStays) {
  base::Prng prng(5);
  BlockHeap heap;
  FastTable table(heap);
  std::map<std::int32_t, std::uint64_t> model;
  std::int32_t next = 1;
  for (int turn = 0; turn < 200'000; ++turn) {
    const bool room = model.size() < 300;
    if (room && prng.below(50) == 0) {  // a run of them
      const auto run = static_cast<std::uint32_t>(1 + prng.below(40));
      table.reserve(run);
      for (std::uint32_t i = 0; i < run; ++i, next += 2) {
        FastStream& made = table.insert_reserved(next);
        made.tag = model[next] = prng.next() | 1;
      }
      continue;
    }
    if (room && (model.size() < 5 || prng.below(2) == 0)) {
      FastStream& made = table.insert(next);
      EXPECT_EQ(made.id, next);
      EXPECT_EQ(made.tag, 0u);
      made.tag = prng.next() | 1;
      model[next] = made.tag;
      next += 2;
    } else {
      auto which = model.begin();
      // Of ten that stay, one goes now and then.
      std::advance(which, prng.below(5000) == 0 ? 0 : std::min<std::uint64_t>(10 + prng.below(20), model.size() - 1));
      FastStream* found = table.find(which->first);
      ASSERT_NE(found, nullptr) << which->first;
      EXPECT_EQ(found->tag, which->second);
      table.erase(*found);
      EXPECT_EQ(table.find(which->first), nullptr);
      model.erase(which);
    }
    ASSERT_EQ(table.size(), model.size());
    if (turn % 997 != 0) continue;
    std::map<std::int32_t, std::uint64_t> seen;
    table.for_each([&](const FastStream& stream) { seen[stream.id] = stream.tag; });
    ASSERT_EQ(seen, model);
    for (const auto& [id, tag] : model) ASSERT_EQ(table.find(id)->tag, tag);
    EXPECT_EQ(table.find(next), nullptr);
  }
}

}  // namespace
}  // namespace tocsin::h2
