// SPDX-License-Identifier: Apache-2.0
// The client session: against hand-made frames, and against the server session in memory.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>
#include <set>

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include "base/hex.h"
#include "base/prng.h"
#include "frames.h"
#include "h2/nghttp2_client.h"
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

base::FieldList push_fields() {
  base::FieldList list;
  list.constant(":method", "POST");
  list.constant(":scheme", "https");
  list.constant(":authority", "api.push.apple.com");
  list.slot(":path", base::SlotFormat::hex, "/3/device/");
  list.constant("apns-topic", "com.apple.mgmt.External.1");
  list.constant("apns-push-type", "mdm");
  list.slot("apns-id", base::SlotFormat::uuid);
  list.slot("apns-collapse-id", base::SlotFormat::text, "c-");
  return list;
}

// The three slot values of request n.
struct Values {
  std::array<std::uint8_t, 32> token{};
  std::array<std::uint8_t, 16> id{};
  std::string collapse;
  explicit Values(std::uint64_t n) : collapse(std::to_string(n)) {
    for (std::size_t i = 0; i < token.size(); ++i) token[i] = static_cast<std::uint8_t>(base::mix64(n + i * 77));
    for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(base::mix64(n * 31 + i));
  }
  std::string id_text() const { return base::uuid_format(id); }
};

Request make_request(std::uint64_t tag, std::uint32_t prepared, const Values& values, std::string_view body = {}) {
  Request request;
  request.tag = tag;
  request.prepared = prepared;
  request.slots[0] = std::as_bytes(std::span(values.token));
  request.slots[1] = std::as_bytes(std::span(values.id));
  request.slots[2] = base::as_bytes(values.collapse);
  if (!body.empty()) {
    request.body[0] = base::as_bytes(body);
    request.body_parts = 1;
  }
  return request;
}

// A client whose peer is the test.
struct Raw {
  explicit Raw(ClientOptions options = {.captures = {"apns-id", "apns-unique-id"}}, std::int32_t first_id = 1)
      : client(std::move(make_nghttp2_client_at(options, first_id)).value()), prepared(client->prepare(push_fields())) {}

  // With the peer's SETTINGS behind it.
  static Raw open(std::vector<std::pair<std::uint32_t, std::uint32_t>> entries = {{3, 1000}}) {
    Raw raw;
    raw.begin(entries);
    return raw;
  }
  void begin(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& entries) {
    feed(settings(entries) + settings_ack());
    written();
    events.clear();
  }
  bool feed(std::string_view bytes) {
    const auto result = client->receive(base::as_bytes(bytes), answers, events);
    if (!result.ok()) error = result.error().message;
    return result.ok();
  }
  std::vector<Frame> written() {
    client->write_pending(out);
    return parse(take(out));
  }
  // Requests tagged 100, 101, ... from `first`.
  std::size_t send(std::size_t count, std::string_view body = {}, std::uint64_t first = 100) {
    std::vector<Values> values;
    std::vector<Request> requests;
    for (std::size_t i = 0; i < count; ++i) values.emplace_back(first + i);
    for (std::size_t i = 0; i < count; ++i) requests.push_back(make_request(first + i, prepared, values[i], body));
    return client->write(requests, out);
  }
  std::vector<std::uint64_t> open_tags() {
    std::vector<Orphan> orphans;
    client->open_tags(orphans);
    std::vector<std::uint64_t> tags;
    for (const Orphan& orphan : orphans) tags.push_back(orphan.tag);
    std::sort(tags.begin(), tags.end());
    return tags;
  }

  std::unique_ptr<ClientSession> client;
  std::uint32_t prepared;
  base::ByteBuffer out;
  std::vector<Answer> answers;
  std::vector<Event> events;
  std::string error;
};

const std::string kStatus200 = "\x88";
const std::string kId = "00000000-1111-2222-3333-444444444444";

TEST(ClientSession, ForgottenListsLeaveTheirNumbers) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.client->prepare(push_fields()), 1u);
  raw.client->forget_prepared();
  EXPECT_EQ(raw.prepared = raw.client->prepare(push_fields()), 0u);
  EXPECT_EQ(raw.send(1), 1u);
}

TEST(ClientSession, BeginsWithPrefaceAndSettingsAndWaitsForThePeers) {
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

TEST(ClientSession, OwnLimitCountsToo) {
  Raw raw(ClientOptions{.streams_max = 3});
  raw.begin({});  // no MAX_CONCURRENT_STREAMS: unlimited
  EXPECT_EQ(raw.client->can_start(), 3u);
  EXPECT_EQ(raw.send(5), 3u);
  EXPECT_EQ(raw.client->can_start(), 0u);
  EXPECT_EQ(raw.client->open_streams(), 3u);
}

TEST(ClientSession, AnswersCarryStatusCapturesAndBody) {
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

TEST(ClientSession, BodiesOfAnswersAreCutAtTheirBound) {
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

TEST(ClientSession, LimitLoweredBelowWhatIsOpen) {
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

TEST(ClientSession, BodyWaitsForTheStreamWindow) {
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

TEST(ClientSession, BodyWaitsForTheConnectionWindow) {
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

TEST(ClientSession, AnsweredBeforeItsBodyWasSent) {
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

TEST(ClientSession, GoawayInTheMiddle) {
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

TEST(ClientSession, DoubleGoaway) {
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

TEST(ClientSession, ResetsSayTheirCode) {
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

TEST(ClientSession, BrokenResponsesAreResetAndReportedOnce) {
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

TEST(ClientSession, HeaderListBound) {
  Raw raw(ClientOptions{.header_list_max = 200});
  raw.begin({});
  ASSERT_EQ(raw.send(1), 1u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200 + literal("a", std::string(100, 'x')) + literal("b", std::string(100, 'x')), false)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::broken);
  EXPECT_EQ(of_type(raw.written(), kRst).size(), 1u);
}

TEST(ClientSession, Trailers) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(1), 1u);
  ASSERT_TRUE(raw.feed(headers(1, kStatus200, false) + frame(kData, 0, 1, "b") + headers(1, literal("x-t", "1"), true)));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::complete);
  EXPECT_EQ(base::as_text(raw.answers[0].body), "b");
}

TEST(ClientSession, InterimResponsesAreNoAnswersAndTheirCapturesAreForgotten) {
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

TEST(ClientSession, HuffmanAndDynamicTable) {
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

TEST(ClientSession, ContinuationPaddingAndUnknownFrames) {
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

TEST(ClientSession, ConnectionErrorsAreSentencesAndKeepTheOpenTags) {
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

TEST(ClientSession, PushBeforeOurSettingsWereAcknowledged) {
  Raw raw;
  ASSERT_TRUE(raw.feed(settings({{3, 10}})));
  ASSERT_EQ(raw.send(1), 1u);
  EXPECT_FALSE(raw.feed(frame(kPush, kEndHeaders, 1, u32(2) + kStatus200)));
  EXPECT_NE(raw.error.find("PUSH_PROMISE"), std::string::npos) << raw.error;
  EXPECT_EQ(raw.open_tags(), std::vector<std::uint64_t>{100});
}

TEST(ClientSession, StreamWindowOverflowBreaksThatStream) {
  Raw raw = Raw::open();
  ASSERT_EQ(raw.send(2, "body"), 2u);
  ASSERT_TRUE(raw.feed(window(1, 0x7fffffff)));
  ASSERT_EQ(raw.answers.size(), 1u) << "in the same receive";
  EXPECT_EQ(raw.answers[0].kind, AnswerKind::broken);
  EXPECT_EQ(raw.answers[0].error_code, 3u);
  EXPECT_EQ(raw.client->can_start(), 999u);
}

TEST(ClientSession, Pings) {
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

TEST(ClientSession, ControlFramesGoFirst) {
  Raw raw = Raw::open();
  ASSERT_TRUE(raw.feed(frame(kPing, 0, 0, "12345678")));
  ASSERT_EQ(raw.send(2, "body"), 2u);
  const auto frames = parse(take(raw.out));
  ASSERT_EQ(frames.size(), 5u);
  EXPECT_EQ(frames[0].type, kPing);
  EXPECT_EQ(frames[1].type, kHeaders);
  EXPECT_EQ(frames[2].type, kData);
}

TEST(ClientSession, Cancel) {
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

TEST(ClientSession, OwnGoawayStopsNewRequestsOnly) {
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

TEST(ClientSession, StreamIdsRunOut) {
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

TEST(ClientSession, OptionsAreChecked) {
  EXPECT_FALSE(make_nghttp2_client({.captures = {"a", "b", "c", "d", "e"}}).ok());
  EXPECT_FALSE(make_nghttp2_client({.window_bytes = 0x80000000u}).ok());
}

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

TEST(ClientAndServer, RequestsDecodeAsTheyWereGiven) {
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
    for (std::uint64_t n = 0; n < 20; ++n) {
      const Values values(n);
      Request request = make_request(n, pair.raw.prepared, values);
      request.body = {base::as_bytes("{\"mdm\":\""), base::as_bytes("magic"), base::as_bytes("\"}")};
      request.body_parts = 3;
      ASSERT_EQ(pair.raw.client->write({&request, 1}, pair.raw.out), 1u);
      pair.pump(cuts);
    }
    EXPECT_EQ(seen, 20u);
  }
}

// 20,000 requests over 1,000 streams; answers come in another order than requests, and each carries what
// belongs to its tag.
TEST(ClientAndServer, EveryAnswerHasItsTag) {
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

TEST(ClientAndServer, BodiesLargerThanTheWindows) {
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

TEST(ClientAndServer, NoAllocationAfterWarmUp) {
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

TEST(ClientAndServer, MutatedBytesNeverCrashAndNeverDoubleATag) {
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

}  // namespace
}  // namespace tocsin::h2
