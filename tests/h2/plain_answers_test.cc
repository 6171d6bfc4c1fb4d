// SPDX-License-Identifier: Apache-2.0
// Runs of the shortest answers, HEADERS with nothing but an indexed :status 200 and END_STREAM, which the purpose-made codec
// reads on a way of their own. What shows must be what nghttp2's session shows, and what RFC 9113 asks for.
#include <functional>
#include <ostream>

#include "client_peer.h"
#include "conformance.h"

namespace tocsin::h2 {
namespace {

using namespace test;

constexpr std::uint8_t kPlainFlags = kEndHeaders | kEndStream;

std::string plain(std::int32_t id) { return frame(kHeaders, kPlainFlags, id, kStatus200); }
std::string plain_run(std::initializer_list<std::int32_t> ids) {
  std::string run;
  for (const std::int32_t id : ids) run += plain(id);
  return run;
}

// What a session shows. A GOAWAY's text and the sentence of an error are each codec's own.
struct Shown {
  std::vector<std::string> lines;    // answers and written frames, as they came
  std::vector<std::string> answers;
  bool ok = true;
  std::uint32_t goaway_code = 0;

  std::string text() const {
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    return all;
  }
};

std::string line_of(const Answer& answer) {
  const char* const kinds[] = {"complete", "reset", "broken"};
  std::string line = std::to_string(answer.tag) + " " + kinds[static_cast<int>(answer.kind)] + " " + std::to_string(answer.status);
  if (answer.kind != AnswerKind::complete) line += " code " + std::to_string(answer.error_code);
  if (answer.headers_seen != (answer.status != 0)) line += " headers_seen is wrong";
  if (answer.stream_id <= 0) line += " without id";
  for (const std::string_view text : answer.captured) line += text.empty() ? "" : " " + std::string(text);
  if (!answer.body.empty()) line += " body " + std::string(base::as_text(answer.body));
  return line + (answer.body_cut ? " cut" : "");
}

// A session whose every step is written down.
struct Watched {
  explicit Watched(const ClientOptions& options) : raw(options) {}

  void feed(std::string_view bytes) {
    const std::size_t before = raw.answers.size(), events_before = raw.events.size();
    // Exactly these bytes, so that a sanitizer sees a look beyond them.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const bool ok = raw.feed({exact.data(), exact.size()});
    // What came apart stands among the others where it came.
    const std::span<const std::uint64_t> plain = raw.client->plain_tags();
    std::size_t told = 0;
    const auto tell = [this](std::string line) {
      shown.answers.push_back(std::move(line));
      shown.lines.push_back("answer " + shown.answers.back());
    };
    const auto tell_plain = [&](std::size_t until) {
      for (; told < until; ++told) tell(std::to_string(plain[told]) + " complete 200");
    };
    for (std::size_t i = before; i < raw.answers.size(); ++i) {
      ASSERT_LE(told, raw.answers[i].plain_before);
      ASSERT_LE(raw.answers[i].plain_before, plain.size());
      tell_plain(raw.answers[i].plain_before);
      tell(line_of(raw.answers[i]));
    }
    tell_plain(plain.size());
    apart += plain.size();
    for (std::size_t i = events_before; i < raw.events.size(); ++i) {
      shown.lines.push_back("event " + std::to_string(static_cast<int>(raw.events[i].kind)));
    }
    if (!ok && shown.ok) {
      shown.lines.push_back("error");
      EXPECT_NE(raw.error.find("the server broke HTTP/2"), std::string::npos) << raw.error;
    }
    shown.ok = ok;
  }
  void write_down() {
    for (const Frame& one : raw.written()) {
      std::string line = "wrote " + std::to_string(one.type) + " " + std::to_string(one.flags) + " " + std::to_string(one.id) + " ";
      if (one.type == kGoaway) {
        shown.goaway_code = one.word(4);
        line += std::to_string(one.word(0)) + " " + std::to_string(one.word(4));
      } else if (one.type == kHeaders) {
        line += "block";  // each codec's own encoding
      } else {
        line += base::hex_encode(std::span(reinterpret_cast<const std::uint8_t*>(one.payload.data()), one.payload.size()));
      }
      shown.lines.push_back(std::move(line));
    }
  }
  void say_state() {
    std::string line = "open";
    for (const std::uint64_t tag : raw.open_tags()) line += " " + std::to_string(tag);
    line += ", streams " + std::to_string(raw.client->open_streams()) + ", room " + std::to_string(raw.client->can_start());
    shown.lines.push_back(std::move(line) + ", window " + std::to_string(raw.client->send_window()));
  }

  Raw raw;
  Shown shown;
  std::size_t apart = 0;
};

// A codec, and whether plain answers may come apart.
struct Way {
  Codec codec;
  bool apart = false;
};
constexpr Way kWays[] = {{kFast, false}, {kFast, true}, {kNghttp2, true}};

struct Play {
  ClientOptions options{.captures = {"apns-id", "apns-unique-id"}};
  std::string begin = settings({{3, 1000}}) + settings_ack();
  std::size_t requests = 6;              // tags 100, 101, ... on the streams 1, 3, ...
  std::string body{};
  std::function<void(Raw&)> before{};
  std::vector<std::string> pieces{};     // what the peer sends, receive by receive

  Play& with(std::string bytes) {
    pieces = {std::move(bytes)};
    return *this;
  }
};

Shown play_with(const Way& way, const Play& play) {
  codec = way.codec;
  ClientOptions options = play.options;
  options.plain_apart = way.apart;
  Watched watched(options);
  if (!play.begin.empty()) watched.feed(play.begin);
  watched.raw.written();
  EXPECT_EQ(watched.raw.send(play.requests, play.body), play.requests);
  watched.raw.written();
  if (play.before) play.before(watched.raw);
  watched.shown.lines.clear();
  for (const std::string& piece : play.pieces) {
    const std::size_t before = watched.shown.lines.size();
    watched.feed(piece);
    watched.write_down();
    // At which byte of a torn frame a codec sees its fault is its own matter; what follows from it is not.
    if (watched.shown.lines.size() != before) watched.say_state();
  }
  watched.say_state();
  return watched.shown;
}

Shown both(const Play& play) {
  Shown first = play_with({kNghttp2, false}, play);
  for (const Way& way : kWays) {
    const Shown other = play_with(way, play);
    EXPECT_EQ(first.text(), other.text()) << way.codec << (way.apart ? " apart" : "");
    EXPECT_EQ(first.ok, other.ok);
  }
  return first;
}
// The bytes of the one piece at once, and one by one, must end in the same answers.
Shown both_ways(Play play) {
  const Shown whole = both(play);
  const std::string bytes = play.pieces.at(0);
  play.pieces.clear();
  for (const char byte : bytes) play.pieces.emplace_back(1, byte);
  const Shown single = both(play);
  EXPECT_EQ(whole.answers, single.answers);
  EXPECT_EQ(whole.ok, single.ok);
  EXPECT_EQ(whole.goaway_code, single.goaway_code);
  return whole;
}

using Lines = std::vector<std::string>;
Lines complete(std::initializer_list<int> tags) {
  Lines lines;
  for (const int tag : tags) lines.push_back(std::to_string(tag) + " complete 200");
  return lines;
}
void expect_error(const Shown& shown, std::uint32_t code, const Lines& answers = {}) {
  EXPECT_FALSE(shown.ok);
  EXPECT_EQ(shown.goaway_code, code);
  EXPECT_EQ(shown.answers, answers);
}

TEST(PlainAnswers, ARunInAnyTwoPieces) {
  const std::string run = plain_run({1, 7, 3, 11, 5, 9});
  for (std::size_t cut = 0; cut <= run.size(); ++cut) {
    Play play;
    play.pieces = {run.substr(0, cut), run.substr(cut)};
    EXPECT_EQ(both(play).answers, complete({100, 103, 101, 105, 102, 104})) << cut;
    ASSERT_FALSE(HasFailure()) << cut;
  }
  EXPECT_EQ(both_ways(Play().with(run)).answers, complete({100, 103, 101, 105, 102, 104}));
}

TEST(PlainAnswers, ATornFrameBehindARun) {
  const std::string fields = headers(5, literal(":status", "410") + literal("apns-id", kId), false) + frame(kData, kEndStream, 5, "{}");
  struct Behind {
    std::string bytes;
    Lines answers;
  };
  const std::vector<Behind> cases = {
      {plain(5), {"102 complete 200"}},
      {rst(5, 7), {"102 reset 0 code 7"}},
      {fields, {"102 complete 410 " + kId + " body {}"}},
      {frame(kPing, 0, 0, "12345678"), {}},
      {frame(kHeaders, kPlainFlags | kPadded, 5, padded(kStatus200, 3)), {"102 complete 200"}},
  };
  for (const Behind& behind : cases) {
    Lines expected = complete({101, 100});
    expected.insert(expected.end(), behind.answers.begin(), behind.answers.end());
    expected.push_back("103 complete 200");
    for (std::size_t cut = 0; cut <= behind.bytes.size(); ++cut) {
      Play play;
      play.pieces = {plain_run({3, 1}) + behind.bytes.substr(0, cut), behind.bytes.substr(cut) + plain(7)};
      EXPECT_EQ(both(play).answers, expected);
      ASSERT_FALSE(HasFailure()) << cut;
    }
  }
}

// Bytes that would be such a frame if a head that is torn were forgotten, and if a payload were taken for frames.
TEST(PlainAnswers, FramesInsideOthers) {
  const std::string payload = bytes({0, 0, 0, 1, 0x88});
  for (const std::string& around : {frame(0xfa, 0, 0x00010105, payload), frame(0xfa, 0, 0, plain(1)), frame(0xfa, 0, 0, plain_run({1, 3, 5})),
                                    headers(11, kStatus200, false) + frame(kData, kEndStream, 11, plain_run({1, 3}))}) {
    for (std::size_t cut = 0; cut <= around.size(); ++cut) {
      Play play;
      play.pieces = {plain(7) + around.substr(0, cut), around.substr(cut) + plain(9)};
      const Shown shown = both(play);
      EXPECT_EQ(shown.answers.front(), "103 complete 200");
      EXPECT_EQ(shown.answers.back(), "104 complete 200");
      EXPECT_EQ(std::count(shown.answers.begin(), shown.answers.end(), "100 complete 200"), 0);
      ASSERT_FALSE(HasFailure()) << cut;
    }
  }
}

// RFC 9113 section 4.3: no frame but its CONTINUATION may follow a HEADERS without END_HEADERS.
TEST(PlainAnswers, NoneWhileABlockIsOpen) {
  for (const std::string& open : {frame(kHeaders, 0, 1, kStatus200), frame(kHeaders, kEndStream, 1, kStatus200), frame(kHeaders, kEndStream, 1, ""),
                                  frame(kHeaders, kEndStream, 1, kStatus200 + std::string("\x00\x01", 2)),
                                  frame(kHeaders, kEndStream, 1, kStatus200) + frame(kContinuation, 0, 1, "")}) {
    for (const std::int32_t id : {1, 3, 99}) expect_error(both_ways(Play().with(open + plain_run({id, 5}))), kProtocolError);
    expect_error(both_ways(Play().with(plain(7) + open + plain(3))), kProtocolError, complete({103}));
  }
  // An open block of a stream that nobody waits for is one as well.
  const auto cancel = [](Raw& raw) { ASSERT_TRUE(raw.client->cancel(100)); raw.written(); };
  Play play;
  play.before = cancel;
  expect_error(both_ways(play.with(frame(kHeaders, kEndStream, 1, kStatus200) + plain(3))), kProtocolError);
  // Once it ends, runs go on.
  const std::string split = split_block(1, kStatus200 + literal("apns-id", kId), {1, 9}, true);
  EXPECT_EQ(both_ways(Play().with(plain(3) + split + plain_run({7, 5}))).answers,
            (Lines{"101 complete 200", "100 complete 200 " + kId, "103 complete 200", "102 complete 200"}));
}

TEST(PlainAnswers, IdsThatCannotBe) {
  // A stream that END_STREAM closed: what comes behind may be an error, and is ignored by both.
  EXPECT_EQ(both_ways(Play().with(plain_run({1, 1, 3, 1, 3, 5}))).answers, complete({100, 101, 102}));
  // Section 5.1: HEADERS of a server on an idle stream; 5.1.1: on one of its own that was not promised; on stream 0.
  for (const std::int32_t id : {13, 0x7fffffff, 2, 4, 0}) {
    expect_error(both_ways(Play().with(plain(id))), kProtocolError);
    expect_error(both_ways(Play().with(plain_run({3, 1, id, 5}))), kProtocolError, complete({101, 100}));
  }
  // Section 4.1: the reserved bit is ignored.
  const auto reserved = [](std::uint32_t id) { return plain(static_cast<std::int32_t>(0x80000000u | id)); };
  EXPECT_EQ(both_ways(Play().with(reserved(1) + plain(3) + reserved(7) + reserved(7))).answers, complete({100, 101, 103}));
  for (const std::uint32_t id : {0u, 2u, 13u}) {
    expect_error(both_ways(Play().with(plain(3) + reserved(id))), kProtocolError, complete({101}));
  }
}

// RFC 7541 section 4.2: a table made smaller asks for a size update at the start of the next block.
TEST(PlainAnswers, ASizeUpdateIsDue) {
  Play play;
  play.options.header_table_bytes = 100;
  expect_error(both_ways(play.with(plain_run({1, 3}))), kCompressionError);
  const auto updated = [](std::int32_t id) { return headers(id, hpack_table_size(100) + kStatus200, true); };
  EXPECT_EQ(both_ways(play.with(updated(1) + plain_run({3, 5}))).answers, complete({100, 101, 102}));
  // Before the acknowledgement nothing is due yet.
  play.begin = settings({{3, 1000}});
  expect_error(both_ways(play.with(plain_run({1, 3}) + settings_ack() + plain(5))), kCompressionError, complete({100, 101}));
  EXPECT_EQ(both_ways(play.with(plain(1) + settings_ack() + updated(3) + plain(5))).answers, complete({100, 101, 102}));
  // A larger one asks for nothing.
  play.options.header_table_bytes = 8192;
  EXPECT_EQ(both_ways(play.with(plain(1) + settings_ack() + plain(3))).answers, complete({100, 101}));
}

// :status and 200 are 42 bytes of a list (section 6.5.2: 32 more for each field).
TEST(PlainAnswers, HeaderListBound) {
  Play play;
  play.options.header_list_max = 42;
  EXPECT_EQ(both_ways(play.with(plain_run({1, 3}))).answers, complete({100, 101}));
  play.options.header_list_max = 41;
  const Shown small = both(play.with(plain_run({1, 3})));
  EXPECT_EQ(small.answers, (Lines{"100 broken 0 code 1", "101 broken 0 code 1"}));
  EXPECT_NE(small.text().find("wrote 3 0 1 00000001"), std::string::npos) << small.text();
  EXPECT_NE(small.text().find("wrote 3 0 3 00000001"), std::string::npos) << small.text();
}

TEST(PlainAnswers, StreamsThatNobodyWaitsFor) {
  for (const bool written : {false, true}) {
    Play play;
    play.before = [written](Raw& raw) {
      ASSERT_TRUE(raw.client->cancel(101));
      if (written) raw.written();
    };
    EXPECT_EQ(both_ways(play.with(plain_run({1, 3, 5, 3}))).answers, complete({100, 102})) << written;
  }
  // Reset by the peer, before the run and inside it.
  Play play;
  EXPECT_EQ(both_ways(play.with(rst(3, 8) + plain_run({1, 3, 5}))).answers,
            (Lines{"101 reset 0 code 8", "100 complete 200", "102 complete 200"}));
  EXPECT_EQ(both_ways(play.with(plain_run({1}) + rst(3, 7) + plain_run({3, 5}) + rst(5, 7) + plain(7))).answers,
            (Lines{"100 complete 200", "101 reset 0 code 7", "102 complete 200", "103 complete 200"}));
  // Refused by a GOAWAY.
  EXPECT_EQ(both_ways(play.with(plain(1) + goaway(9, 0) + plain_run({3, 11, 5}))).answers,
            (Lines{"100 complete 200", "105 reset 0 code 7", "101 complete 200", "102 complete 200"}));
}

// Section 8.1: a server may answer before it has read the whole request; what is left of it is of no use.
TEST(PlainAnswers, BodiesStillGoingOut) {
  Play play;
  play.begin = settings({{3, 1000}, {4, 10}}) + settings_ack();
  play.requests = 3;
  play.body = std::string(12, 'x');
  const auto wrote = [](const Shown& shown, const std::string& what) {
    return std::count(shown.lines.begin(), shown.lines.end(), "wrote " + what);
  };
  const Shown shown = both_ways(play.with(plain_run({3, 1}) + window(5, 100)));
  EXPECT_EQ(shown.answers, complete({101, 100}));
  EXPECT_EQ(wrote(shown, "3 0 3 00000008"), 1) << shown.text();
  EXPECT_EQ(wrote(shown, "3 0 1 00000008"), 1) << shown.text();
  EXPECT_EQ(wrote(shown, "0 1 5 7878"), 1) << shown.text();
  EXPECT_EQ(shown.lines.back(), "open 102, streams 1, room 999, window 65503");
  // Again, before our RST_STREAM is out: half-closed (remote), so STREAM_CLOSED (section 5.1); behind it, it is ignored.
  expect_error(both(play.with(plain_run({3, 1, 3}))), kStreamClosed, complete({101, 100}));
  play.pieces = {plain_run({3, 1}), plain_run({3, 1, 5})};
  EXPECT_EQ(both(play).answers, complete({101, 100, 102}));
  // Whole bodies of other streams beside those that wait.
  play.before = [](Raw& raw) { EXPECT_EQ(raw.send(2, "body", 200), 2u); raw.written(); };
  EXPECT_EQ(both_ways(play.with(plain_run({7, 1, 9}))).answers, complete({200, 100, 201}));
}

// Section 3.4: a server's first frame is SETTINGS.
TEST(PlainAnswers, NoneBeforeSettings) {
  Play play;
  play.begin.clear();
  play.requests = 0;
  expect_error(both_ways(play.with(plain(1))), kProtocolError);
  expect_error(both_ways(play.with(plain_run({1, 3}) + settings({}))), kProtocolError);
  expect_error(both_ways(play.with(settings({}) + plain(1))), kProtocolError);
}

// Frames that look nearly like one.
TEST(PlainAnswers, NearMisses) {
  const auto about = [](const std::string& bytes) { return both_ways(Play().with(plain(3) + bytes + plain(5))).answers; };
  const auto answers = [](const std::string& middle) { return Lines{"101 complete 200", middle, "102 complete 200"}; };
  EXPECT_EQ(about(frame(kHeaders, 0xd2 | kPlainFlags, 1, kStatus200)), answers("100 complete 200"));
  EXPECT_EQ(about(headers(1, "\x89", true)), answers("100 complete 204"));
  EXPECT_EQ(about(headers(1, "\x8d", true)), answers("100 complete 404"));
  EXPECT_EQ(about(headers(1, kStatus200, false) + frame(kData, kEndStream, 1, kStatus200)), answers("100 complete 200 body \x88"));
  EXPECT_EQ(about(headers(1, kStatus200, false) + plain(7) + headers(1, literal("x-t", "1"), true)),
            (Lines{"101 complete 200", "103 complete 200", "100 complete 200", "102 complete 200"}));
  EXPECT_EQ(about(headers(1, literal(":status", "103"), false) + plain(1)), answers("100 complete 200"));
  EXPECT_EQ(about(frame(0xfa, kPlainFlags, 1, kStatus200) + plain(1)), answers("100 complete 200"));
  // A pseudo-field in trailers, and one twice (section 8.3).
  EXPECT_EQ(both(Play().with(plain(3) + headers(1, kStatus200, false) + plain(1) + plain(5))).answers,
            (Lines{"101 complete 200", "100 broken 200 code 1", "102 complete 200"}));
  EXPECT_EQ(both(Play().with(plain(3) + headers(1, kStatus200 + kStatus200, true) + plain(5))).answers,
            (Lines{"101 complete 200", "100 broken 0 code 1", "102 complete 200"}));
  expect_error(both_ways(Play().with(plain(3) + frame(kContinuation, kPlainFlags, 1, kStatus200))), kProtocolError, complete({101}));
  expect_error(both_ways(Play().with(plain(3) + frame(kHeaders, kPlainFlags | kPadded, 1, kStatus200))), kProtocolError, complete({101}));
  expect_error(both_ways(Play().with(plain(3) + frame(kHeaders, kPlainFlags | kPriorityFlag, 1, kStatus200))), kFrameSizeError, complete({101}));
}

// Anything between the answers of any order, in any pieces; a few streams stay for long, and new requests go out all the time.
TEST(PlainAnswers, AnyFramesBetween) {
  for (std::uint64_t run = 0; run < 150; ++run) {
    std::size_t apart = 0;
    const auto talk = [&](const Way& way) {
      codec = way.codec;
      base::Prng prng(run);
      Watched watched({.captures = {"apns-id"}, .plain_apart = way.apart});
      watched.feed(settings({{3, 300}}) + settings_ack());
      watched.raw.written();
      std::vector<std::pair<std::int32_t, std::uint64_t>> open;  // ids with their tags, those that stay first
      std::int32_t next = 1;
      std::uint64_t tag = 1000;
      for (int turn = 0; turn < 25 && watched.shown.ok; ++turn) {
        const std::uint64_t count = prng.below(60);
        EXPECT_EQ(watched.raw.send(count, prng.chance(0.5) ? "body" : "", tag), count);
        for (std::uint64_t i = 0; i < count; ++i, next += 2) open.emplace_back(next, tag++);
        watched.write_down();
        std::string bytes;
        const std::size_t stay = prng.chance(0.1) ? 0 : 12;
        while (open.size() > stay && (open.size() > 200 || !prng.chance(0.03))) {
          const std::size_t at = stay + (prng.chance(0.7) ? 0 : prng.below(open.size() - stay));
          const auto [id, its_tag] = open[at];
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
          switch (prng.below(25)) {
            case 0: bytes += rst(id, 7); break;
            case 1: bytes += headers(id, literal(":status", "410") + literal("apns-id", kId), false) + frame(kData, kEndStream, id, "{}"); break;
            case 2: bytes += headers(id, kStatus200 + hpack_added("apns-id", std::to_string(id)), true); break;
            case 3: bytes += plain_run({id, id}); break;
            case 4:
              EXPECT_TRUE(watched.raw.client->cancel(its_tag));
              bytes += plain(id);
              break;
            case 5: bytes += headers(id, literal(":status", "103"), false) + plain(id); break;
            case 6: bytes += frame(kPing, 0, 0, "12345678") + plain(id); break;
            case 7: bytes += frame(kHeaders, kPlainFlags, static_cast<std::int32_t>(0x80000000u | static_cast<std::uint32_t>(id)), kStatus200); break;
            default: bytes += plain(id);
          }
        }
        if (turn == 24 && prng.chance(0.5)) bytes += plain(prng.chance(0.5) ? 0 : next);
        while (!bytes.empty()) {
          const std::size_t piece = prng.chance(0.5) ? bytes.size() : std::min<std::size_t>(bytes.size(), 1 + prng.below(100));
          watched.feed(std::string_view(bytes).substr(0, piece));
          bytes.erase(0, piece);
          if (prng.chance(0.3)) watched.write_down();
        }
        watched.say_state();
      }
      apart = watched.apart;
      return watched.shown;
    };
    const Shown other = talk({kNghttp2, false});
    ASSERT_GT(other.answers.size(), 50u);
    for (const Way& way : kWays) {
      const Shown shown = talk(way);
      ASSERT_EQ(shown.text(), other.text()) << "run " << run << ' ' << way.codec << (way.apart ? " apart" : "");
      if (way.apart && way.codec.make_at == kFast.make_at) {
        EXPECT_GT(apart, shown.answers.size() / 2) << "run " << run;
      } else {
        EXPECT_EQ(apart, 0u);
      }
    }
  }
}

// Apart come those whose frames lie whole in what was read; tags and their places hold for one receive().
TEST(PlainTags, AreThoseOfTheLastReceive) {
  codec = kFast;
  Raw raw({.captures = {"apns-id"}, .plain_apart = true});
  raw.begin({{3, 1000}});
  ASSERT_EQ(raw.send(8), 8u);
  raw.written();
  const auto tags = [&raw] {
    const std::span<const std::uint64_t> plain = raw.client->plain_tags();
    return std::vector<std::uint64_t>(plain.begin(), plain.end());
  };
  using Tags = std::vector<std::uint64_t>;
  EXPECT_EQ(tags(), Tags{});
  const std::string torn = plain(5);
  ASSERT_TRUE(raw.feed(plain_run({3, 1}) + rst(7, 8) + plain(9) + torn.substr(0, 4)));
  EXPECT_EQ(tags(), (Tags{101, 100, 104}));
  ASSERT_EQ(raw.answers.size(), 1u);
  EXPECT_EQ(raw.answers[0].tag, 103u);
  EXPECT_EQ(raw.answers[0].plain_before, 2u);
  EXPECT_EQ(raw.open_tags(), (Tags{102, 105, 106, 107}));
  ASSERT_TRUE(raw.feed(torn.substr(4) + plain(11)));
  EXPECT_EQ(tags(), Tags{105}) << "of a torn frame an Answer is made";
  ASSERT_EQ(raw.answers.size(), 2u);
  EXPECT_EQ(raw.answers[1].tag, 102u);
  EXPECT_EQ(raw.answers[1].plain_before, 0u);
  // A field that is asked for makes an Answer, and one that is not as well.
  ASSERT_TRUE(raw.feed(headers(13, kStatus200 + literal("apns-id", kId), true) + headers(15, kStatus200 + literal("x", "y"), true)));
  EXPECT_EQ(tags(), Tags{});
  ASSERT_EQ(raw.answers.size(), 4u);
  ASSERT_TRUE(raw.feed({}));
  EXPECT_EQ(tags(), Tags{});
  ASSERT_EQ(raw.send(1, {}, 200), 1u);
  raw.written();
  EXPECT_FALSE(raw.feed(plain(17) + plain(0)));
  EXPECT_EQ(tags(), Tags{200}) << "what was read before the fault counts";
  EXPECT_FALSE(raw.feed({}));
  EXPECT_EQ(tags(), Tags{});
}

}  // namespace
}  // namespace tocsin::h2
