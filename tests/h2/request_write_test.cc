// SPDX-License-Identifier: Apache-2.0
// What a client writes for its requests, each codec: header lists as nghttp2's inflater reads them, bodies of every shape, and where
// runs of like requests end. The purpose-made codec writes the usual ones as copies of an image, the others piece by piece: nobody
// must be able to tell.
#include <deque>
#include <map>
#include <optional>

#include "base/hex_code.h"
#include "client_peer.h"
#include "h2/hpack_writer.h"
#include "h2/request_image.h"
#include "inflater.h"

namespace tocsin::h2 {
namespace {

using namespace test;

class EachClientWrites : public EachClient {};
INSTANTIATE_TEST_SUITE_P(Codecs, EachClientWrites, testing::Values(kFast, kNghttp2), codec_name);

const std::uint8_t* raw_bytes(std::string_view text) { return reinterpret_cast<const std::uint8_t*>(text.data()); }

std::string shown(base::SlotFormat format, const std::string& value) {
  std::string text(format == base::SlotFormat::hex ? 2 * value.size() : base::kUuidTextBytes, '\0');
  switch (format) {
    case base::SlotFormat::text: return value;
    case base::SlotFormat::hex: base::hex_codes().front().encode(raw_bytes(value), value.size(), text.data()); return text;
    case base::SlotFormat::uuid: base::uuid_format_plain(raw_bytes(value), text.data(), false); return text;
    case base::SlotFormat::uuid_upper: base::uuid_format_plain(raw_bytes(value), text.data(), true); return text;
  }
  return text;
}
bool is_uuid(base::SlotFormat format) { return format == base::SlotFormat::uuid || format == base::SlotFormat::uuid_upper; }

struct Shape {
  std::string before, after;
  bool content = false;
  base::SlotFormat format = base::SlotFormat::text;

  base::BodyShape view() const { return {before, after, content, format}; }
  std::string body(const std::string& value) const { return before + (content ? shown(format, value) : "") + after; }
};

struct List {
  base::FieldList fields;
  Shape shape;
  std::uint32_t number = 0;
};

// A request's values, which live here, and what a server must see of it.
struct Made {
  std::array<std::string, base::kFieldSlotsMax> slots;
  std::string content;
  Request request;
  Fields fields;
  std::string body;
};

struct Drawn {
  double usual = 1;               // how likely a token has 32 bytes and a text is short
  std::size_t content_max = 100;  // of a text
};

// A deque: views into its strings stay good.
void make(std::deque<Made>& out, const List& list, std::uint64_t tag, base::Prng& prng, const Drawn& drawn = {}) {
  const auto bytes = [&](std::size_t size) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(prng.next());
    return text;
  };
  Made& made = out.emplace_back();
  made.request.tag = tag;
  made.request.prepared = list.number;
  std::size_t slot = 0;
  for (const base::FieldSpec& spec : list.fields.fields) {
    std::string value = spec.value;
    if (spec.slot) {
      std::string& given = made.slots[slot];
      const std::size_t odd = prng.chance(0.5) ? prng.below(300) : 31 + 2 * prng.below(2);
      if (is_uuid(spec.format)) given = bytes(16);
      else if (spec.format == base::SlotFormat::hex) given = bytes(prng.chance(drawn.usual) ? 32 : odd);
      else given = std::string(prng.chance(drawn.usual) ? prng.below(20) : odd, 't');
      made.request.slots[slot++] = base::as_bytes(given);
      value += shown(spec.format, given);
    }
    made.fields.emplace_back(spec.name, value);
  }
  if (list.shape.content) {
    made.content = bytes(is_uuid(list.shape.format) ? 16 : prng.below(drawn.content_max + 1));
    made.request.content = base::as_bytes(made.content);
  }
  made.body = list.shape.body(made.content);
}

// What a server has read.
struct Reader {
  struct Got {
    Fields fields;
    std::string body;
    bool ended = false;
    std::size_t data_frames = 0;
  };

  void take(const std::vector<Frame>& frames) {
    std::string block;
    for (const Frame& one : frames) {
      if (one.type == kHeaders || one.type == kContinuation) {
        block += one.payload;
        if (one.type == kHeaders) {
          ASSERT_FALSE(got.contains(one.id));
          got[one.id].ended = (one.flags & kEndStream) != 0;
          order.push_back(one.id);
        }
        if ((one.flags & kEndHeaders) == 0) continue;
        blocks.push_back(block);
        const std::optional<Fields> fields = inflater.read(block);
        ASSERT_TRUE(fields.has_value()) << "stream " << one.id;
        got[one.id].fields = *fields;
        block.clear();
      } else if (one.type == kData) {
        Got& to = got.at(one.id);
        ASSERT_FALSE(to.ended) << "stream " << one.id;
        ASSERT_FALSE(one.payload.empty());
        to.body += one.payload;
        to.ended = (one.flags & kEndStream) != 0;
        ++to.data_frames;
      }
    }
  }

  Inflater inflater;
  std::map<std::int32_t, Got> got;
  std::vector<std::int32_t> order;
  std::vector<std::string> blocks;  // of the header blocks, all
};

struct Talk {
  explicit Talk(std::vector<std::pair<std::uint32_t, std::uint32_t>> entries = {{3, 1000}, {4, 1u << 20}}, std::int32_t first_id = 1)
      : raw({.captures = {"apns-id"}}, first_id) {
    raw.begin(entries);
  }
  void prepare(List& list) { list.number = raw.client->prepare(list.fields, list.shape.view()); }
  // Answers how many were taken; those are checked against what came out, as far as it came whole.
  std::size_t write(const std::deque<Made>& made, std::size_t from = 0) {
    std::vector<Request> requests;
    for (std::size_t i = from; i < made.size(); ++i) requests.push_back(made[i].request);
    const std::int32_t first = raw.client->next_stream_id();
    const std::size_t before = reader.order.size();
    const std::size_t taken = raw.client->write(requests, raw.out);
    reader.take(parse(take(raw.out)));
    EXPECT_EQ(reader.order.size() - before, taken);
    for (std::size_t i = 0; i < taken; ++i) {
      const std::int32_t id = first + static_cast<std::int32_t>(2 * i);
      EXPECT_EQ(reader.order[before + i], id);
      const Reader::Got& got = reader.got[id];
      EXPECT_EQ(got.fields, made[from + i].fields);
      wanted[id] = &made[from + i];
      if (got.ended) {
        EXPECT_EQ(got.body, made[from + i].body) << "stream " << id;
      }
    }
    return taken;
  }
  void more() { reader.take(raw.written()); }
  void check_whole() {
    for (const auto& [id, made] : wanted) {
      EXPECT_TRUE(reader.got[id].ended) << "stream " << id;
      EXPECT_EQ(reader.got[id].body, made->body) << "stream " << id;
    }
  }
  // 200 to every stream that is open.
  void answer_all() {
    std::string bytes;
    for (const auto& [id, made] : wanted) bytes += headers(id, kStatus200, true);
    std::multiset<std::uint64_t> tags, want;
    for (const auto& [id, made] : wanted) want.insert(made->request.tag);
    raw.answers.clear();
    ASSERT_TRUE(raw.feed(bytes)) << raw.error;
    for (const Answer& answer : raw.answers) tags.insert(answer.tag);
    EXPECT_EQ(tags, want);
    EXPECT_EQ(raw.client->open_streams(), 0u);
    wanted.clear();
  }

  Raw raw;
  Reader reader;
  std::map<std::int32_t, const Made*> wanted;
};

base::FieldList fields_of(const std::vector<base::SlotFormat>& slots, std::string_view topic = "com.apple.mgmt.External.1") {
  base::FieldList list;
  list.constant(":method", "POST");
  list.constant(":authority", "api.push.apple.com");
  std::size_t place = 0;
  for (const base::SlotFormat format : slots) {
    list.slot(place == 0 ? ":path" : "x-slot-" + std::to_string(place), format, place == 0 ? "/3/device/" : "");
    if (place++ == 0) list.constant("apns-topic", topic);
  }
  return list;
}

constexpr auto kHex = base::SlotFormat::hex, kUuid = base::SlotFormat::uuid, kUpper = base::SlotFormat::uuid_upper,
               kText = base::SlotFormat::text;

const Shape kWakeup{"{\"mdm\":\"", "\"}", true, kUuid};

TEST_P(EachClientWrites, BodiesOfEveryShapeWithListsOfEveryKind) {
  const std::vector<Shape> shapes = {
      {},
      {"x", "", false, kText},
      {"{\"mdm\":\"plain\"}", "", false, kText},
      {std::string(700, 'f'), std::string(30, 'g'), false, kText},
      {std::string(RequestImage::kBytesMax, 'f'), "", false, kText},
      {"", "", true, kText},
      {"{\"mdm\":\"", "\"}", true, kText},
      kWakeup,
      {"{\"mdm\":\"", "\"}", true, kUpper},
      {"", "", true, kUpper},
      {std::string(600, 'b'), std::string(77, 'a'), true, kUuid},
      {std::string(900, 'b'), std::string(900, 'a'), true, kUuid},
  };
  const std::vector<std::vector<base::SlotFormat>> slots = {
      {kHex, kUuid}, {kHex, kUpper}, {kUuid, kHex}, {kHex}, {kHex, kUuid, kUpper}, {kUpper, kUuid, kHex},
      {kHex, kUuid, kText}, {kText}, {kHex, kHex}, {kUuid}, {kUuid, kUuid, kUuid}, {}};
  base::Prng prng(31);
  for (std::size_t s = 0; s < shapes.size(); ++s) {
    for (std::size_t l = 0; l < slots.size(); ++l) {
      Talk talk;
      ASSERT_TRUE(talk.raw.feed(window(0, 0x7fff0000)));
      List list{fields_of(slots[l]), shapes[s]};
      talk.prepare(list);
      for (const std::size_t count : {1u, 1u, 2u, 31u, 32u, 33u, 100u}) {
        std::deque<Made> made;
        for (std::size_t i = 0; i < count; ++i) make(made, list, i, prng, {.usual = count == 33 ? 0.9 : 1});
        ASSERT_EQ(talk.write(made), count);
        talk.check_whole();
        talk.answer_all();
        ASSERT_FALSE(HasFailure()) << "shape " << s << ", slots " << l << ", " << count << " requests";
      }
    }
  }
}

// All at once, in runs of every length, with tokens, texts and contents of every size among them.
TEST_P(EachClientWrites, MixedListsAndSizes) {
  base::Prng prng(37);
  Talk talk({{3, 1000}, {4, 1u << 20}});
  ASSERT_TRUE(talk.raw.feed(window(0, 0x7fff0000)));
  std::vector<List> lists = {
      {fields_of({kHex, kUuid}), kWakeup},
      {fields_of({kHex, kUuid, kText}), kWakeup},
      {fields_of({kHex, kUuid}), {"{\"mdm\":\"", "\"}", true, kText}},
      {fields_of({kHex, kUuid}), {"{\"mdm\":\"", "\"}", true, kUpper}},
      {fields_of({kHex, kUuid}, "com.example.other"), {"{}", "", false, kText}},
      {fields_of({kHex, kUpper}, "com.example.other"), {"", "", true, kText}},
  };
  for (List& list : lists) talk.prepare(list);
  for (int round = 0; round < 60; ++round) {
    std::deque<Made> made;
    while (made.size() < 300) {
      const List& list = lists[prng.below(lists.size())];
      const std::size_t run = 1 + prng.below(prng.chance(0.2) ? 100 : 3);
      const Drawn drawn{.usual = round % 3 == 0 ? 0.7 : 1, .content_max = prng.chance(0.02) ? 40'000u : 100u};
      for (std::size_t i = 0; i < run; ++i) make(made, list, made.size(), prng, drawn);
    }
    if (round % 10 == 9) {  // whatever was prepared is void, and the numbers begin again
      talk.raw.client->forget_prepared();
      std::swap(lists[0], lists[prng.below(lists.size())]);
      for (List& list : lists) talk.prepare(list);
      made.clear();
      for (std::size_t i = 0; i < 100; ++i) make(made, lists[i / 10 % lists.size()], i, prng);
    }
    ASSERT_EQ(talk.write(made), made.size());
    talk.check_whole();
    talk.answer_all();
    ASSERT_FALSE(HasFailure()) << "round " << round;
    // What the bodies took.
    const std::int64_t used = 0x7fffffff - talk.raw.client->send_window();
    ASSERT_TRUE(used == 0 || talk.raw.feed(window(0, static_cast<std::uint32_t>(used))));
  }
}

// The connection's window lets so many bodies through whole, and of the next its beginning.
TEST_P(EachClientWrites, ARunEndsWhereTheConnectionsWindowDoes) {
  base::Prng prng(41);
  for (const Shape& shape : {kWakeup, Shape{"{\"mdm\":\"0123456789-magic-0123456789\"}", "", false, kText}}) {
    const auto body = static_cast<std::int64_t>(shape.body(std::string(16, 'u')).size());
    for (const std::int64_t whole : {0, 1, 5, 32, 33}) {
      for (const std::int64_t extra : {std::int64_t{0}, std::int64_t{1}, std::int64_t{11}, body - 1}) {
        Talk talk;
        List filler{fields_of({kText}), {"", "", true, kText}}, list{fields_of({kHex, kUuid}), shape};
        talk.prepare(filler);
        talk.prepare(list);
        std::deque<Made> made, rest;
        for (std::uint64_t i = 0; i < 2; ++i) make(made, list, i, prng);  // the image stands
        ASSERT_EQ(talk.write(made), 2u);
        make(rest, filler, 99, prng, {.content_max = 0});
        rest[0].body = std::string(static_cast<std::size_t>(talk.raw.client->send_window() - whole * body - extra), 'w');
        rest[0].request.content = base::as_bytes(rest[0].body);
        ASSERT_EQ(talk.write(rest), 1u);
        ASSERT_EQ(talk.raw.client->send_window(), whole * body + extra);

        std::deque<Made> run;
        for (std::uint64_t i = 0; i < 50; ++i) make(run, list, 100 + i, prng);
        const std::size_t taken = talk.write(run);
        ASSERT_EQ(taken, static_cast<std::size_t>(whole) + (extra != 0 ? 1 : 0));
        EXPECT_EQ(talk.raw.client->send_window(), 0);
        EXPECT_EQ(talk.raw.client->open_streams(), 3 + taken);
        if (extra != 0) {
          const Reader::Got& cut = talk.reader.got[talk.reader.order.back()];
          EXPECT_FALSE(cut.ended);
          EXPECT_EQ(cut.body, run[taken - 1].body.substr(0, static_cast<std::size_t>(extra)));
        }
        EXPECT_EQ(talk.write(run, taken), 0u);
        // It goes on, and so do the others.
        ASSERT_TRUE(talk.raw.feed(window(0, 100'000)));
        talk.more();
        talk.check_whole();
        EXPECT_EQ(talk.write(run, taken), 50 - taken);
        talk.check_whole();
        talk.answer_all();
        ASSERT_FALSE(HasFailure()) << whole << " bodies and " << extra << " bytes";
      }
    }
  }
}

// A peer whose streams begin with less than a body, exactly one, or nothing; and changes its mind.
TEST_P(EachClientWrites, StreamWindowsAboutABody) {
  base::Prng prng(43);
  Talk talk;
  List list{fields_of({kHex, kUuid}), kWakeup};
  talk.prepare(list);
  const auto body = static_cast<std::uint32_t>(list.shape.body(std::string(16, 'u')).size());
  std::uint64_t tag = 0;
  for (const std::uint32_t bytes : {body, body - 1, body + 1, 0u, body, 1u, 65'535u}) {
    ASSERT_TRUE(talk.raw.feed(settings({{4, bytes}})));
    talk.more();
    std::deque<Made> made;
    for (std::uint64_t i = 0; i < 40; ++i) make(made, list, tag++, prng);
    const std::int64_t before = talk.raw.client->send_window();
    const std::size_t taken = talk.write(made);
    EXPECT_EQ(taken, bytes == 0 ? 0u : 40u);
    EXPECT_EQ(before - talk.raw.client->send_window(), static_cast<std::int64_t>(taken) * std::min(bytes, body));
    for (const auto& [id, one] : talk.wanted) {
      EXPECT_EQ(talk.reader.got[id].ended, bytes >= body);
      EXPECT_EQ(talk.reader.got[id].body, one->body.substr(0, bytes));
    }
    std::string updates;
    for (const auto& [id, one] : talk.wanted) updates += window(id, body);
    ASSERT_TRUE(talk.raw.feed(updates));
    talk.more();
    talk.check_whole();
    talk.answer_all();
    ASSERT_FALSE(HasFailure()) << bytes;
  }
}

// What is left of a stream's window behind its body is what the peer thinks it is.
TEST_P(EachClientWrites, StreamsOfARunHaveTheirWindows) {
  base::Prng prng(47);
  Talk talk({{3, 1000}, {4, 1000}});
  List list{fields_of({kHex, kUuid}), kWakeup};
  talk.prepare(list);
  const auto body = static_cast<std::uint32_t>(list.shape.body(std::string(16, 'u')).size());
  std::deque<Made> made;
  for (std::uint64_t i = 0; i < 5; ++i) make(made, list, i, prng);
  ASSERT_EQ(talk.write(made), 5u);
  for (const std::int32_t id : {1, 7, 9}) {
    ASSERT_TRUE(talk.raw.feed(window(id, 0x7fffffff - (1000 - body))));
    ASSERT_TRUE(talk.raw.answers.empty());
    ASSERT_TRUE(talk.raw.feed(window(id, 1)));
    ASSERT_EQ(talk.raw.answers.size(), 1u) << id;
    EXPECT_EQ(talk.raw.answers[0].kind, AnswerKind::broken);
    EXPECT_EQ(talk.raw.answers[0].tag, static_cast<std::uint64_t>(id) / 2);
    talk.raw.answers.clear();
  }
  EXPECT_TRUE(talk.raw.client->cancel(1));
  EXPECT_EQ(talk.raw.open_tags(), std::vector<std::uint64_t>{2});
}

TEST_P(EachClientWrites, ARunEndsWithTheStreamIds) {
  base::Prng prng(53);
  for (const std::size_t left : {1u, 2u, 3u, 33u, 40u}) {
    Talk talk({{3, 1000}}, 0x7fffffff - static_cast<std::int32_t>(2 * (left - 1)));
    List list{fields_of({kHex, kUuid}), kWakeup};
    talk.prepare(list);
    std::deque<Made> made;
    for (std::uint64_t i = 0; i < 100; ++i) make(made, list, i, prng);
    ASSERT_EQ(talk.write(made), left);
    EXPECT_EQ(talk.reader.order.back(), 0x7fffffff);
    EXPECT_EQ(talk.raw.client->next_stream_id(), 0);
    EXPECT_EQ(talk.raw.client->can_start(), 0u);
    EXPECT_EQ(talk.write(made, left), 0u);
    talk.check_whole();
    talk.answer_all();
    EXPECT_EQ(talk.raw.client->can_start(), 0u);
  }
}

TEST_P(EachClientWrites, ARunEndsWithTheStreams) {
  base::Prng prng(59);
  Talk talk({{3, 50}});
  List list{fields_of({kHex, kUuid}), kWakeup};
  talk.prepare(list);
  std::deque<Made> made;
  for (std::uint64_t i = 0; i < 1000; ++i) make(made, list, i, prng);
  ASSERT_EQ(talk.write(made), 50u);
  EXPECT_EQ(talk.raw.client->open_streams(), 50u);
  EXPECT_EQ(talk.write(made, 50), 0u);
  std::size_t from = 50;
  while (from < made.size()) {
    // Some are answered, reset or given up, in any order; as many may start.
    std::size_t ended = 0;
    std::string bytes;
    for (auto one = talk.wanted.begin(); one != talk.wanted.end();) {
      if (!prng.chance(0.4)) {
        ++one;
        continue;
      }
      bytes += prng.chance(0.8) ? headers(one->first, kStatus200, true) : rst(one->first, 7);
      ++ended;
      one = talk.wanted.erase(one);
    }
    ASSERT_TRUE(talk.raw.feed(bytes));
    EXPECT_EQ(talk.raw.client->can_start(), ended);
    const std::size_t taken = talk.write(made, from);
    ASSERT_EQ(taken, std::min(ended, made.size() - from));
    from += taken;
  }
  talk.check_whole();
  talk.answer_all();
}

// More constants than the peer's table holds, and a table whose size changes: between runs, and so in the middle of what would have been
// one. Lists are compiled anew within runs as well, each kEvictEvery blocks while a constant has no place.
TEST_P(EachClientWrites, TablesThatChange) {
  base::Prng prng(61);
  Talk talk;
  ASSERT_TRUE(talk.raw.feed(window(0, 0x7fff0000)));
  std::vector<List> lists;
  HpackWriter writer;  // what the purpose-made codec's blocks must be, byte by byte
  writer.prepare(push_fields());  // as Raw does
  for (std::size_t i = 0; i < 12; ++i) {
    List& list = lists.emplace_back(List{fields_of({kHex, kUuid}, "com.example.topic." + std::to_string(i)), kWakeup});
    list.fields.constant("authorization", "bearer " + std::to_string(i) + std::string(500 + 40 * i, 'j'));
    if (i % 3 == 2) list.fields.slot("apns-collapse-id", kText);
    talk.prepare(list);
    EXPECT_EQ(writer.prepare(list.fields), list.number);
  }
  std::size_t blocks = 0;
  for (int round = 0; round < 80; ++round) {
    std::deque<Made> made;
    const std::size_t count = 100 + prng.below(800);
    while (made.size() < count) {
      const List& list = lists[prng.below(prng.chance(0.7) ? 3 : lists.size())];
      const std::size_t run = 1 + prng.below(prng.chance(0.3) ? 500 : 5);
      for (std::size_t i = 0; i < run && made.size() < count; ++i) make(made, list, made.size(), prng, {.usual = 0.999});
    }
    ASSERT_EQ(talk.write(made), made.size());
    talk.check_whole();
    if (std::string_view(codec.name) == "fast") {
      for (std::size_t i = 0; i < made.size(); ++i) {
        const std::size_t bytes = writer.begin(made[i].request.prepared, made[i].request.slots);
        std::string block(bytes + HpackWriter::kSlack, '\0');
        writer.write(made[i].request.slots, block.data());
        block.resize(bytes);
        ASSERT_EQ(talk.reader.blocks[blocks + i], block) << "round " << round << ", block " << i;
      }
    }
    blocks += made.size();
    talk.answer_all();
    ASSERT_FALSE(HasFailure()) << "round " << round;
    ASSERT_TRUE(talk.raw.feed(window(0, 0x7fffffff - static_cast<std::uint32_t>(talk.raw.client->send_window()))));
    if (prng.chance(0.4)) {
      const std::uint32_t sizes[] = {0, 60, 700, 2000, 4096, 10'000};
      const std::uint32_t size = sizes[prng.below(std::size(sizes))];
      ASSERT_TRUE(talk.raw.feed(settings({{1, size}})));
      talk.more();
      talk.reader.inflater.set_limit(size);
      writer.set_limit(size);
    }
  }
}

// Near the bound of a block by nghttp2's estimate: constants that the table makes short, too many of them for a request to go.
TEST_P(EachClientWrites, AShortBlockWhoseFieldsAreTooLongNeverGoes) {
  base::Prng prng(67);
  Talk talk;
  ASSERT_TRUE(talk.raw.feed(window(0, 0x7fff0000)));
  List list{fields_of({kHex, kUuid}), kWakeup};
  for (int i = 0; i < 17; ++i) list.fields.constant("x-same", std::string(3900, 's'));
  talk.prepare(list);
  for (int round = 0; round < 3; ++round) {
    std::deque<Made> made;
    for (std::uint64_t i = 0; i < 3; ++i) make(made, list, i, prng);
    std::vector<Request> requests;
    for (const Made& one : made) requests.push_back(one.request);
    ASSERT_EQ(talk.raw.client->write(requests, talk.raw.out), 3u);
    EXPECT_TRUE(talk.raw.out.empty());
    ASSERT_TRUE(talk.raw.feed({}));
    ASSERT_EQ(talk.raw.answers.size(), 3u);
    for (const Answer& answer : talk.raw.answers) EXPECT_EQ(answer.kind, AnswerKind::reset);
    talk.raw.answers.clear();
  }
}

// And where a first request fits, because its token is short, one with a usual token may not.
TEST_P(EachClientWrites, AShorterTokenFitsWhereTheUsualDoesNot) {
  base::Prng prng(73);
  constexpr std::size_t kBlockBytesMax = 65'531;
  List list{fields_of({kHex, kUuid}), kWakeup};
  for (int i = 0; i < 21; ++i) list.fields.constant("x-same", std::string(3050, 's'));
  const auto fits = [&](std::size_t token_bytes) {
    HpackWriter writer;
    const std::string token(token_bytes, 't'), id(16, 'i');
    return writer.fits(writer.prepare(list.fields), {base::as_bytes(token), base::as_bytes(id), {}}, kBlockBytesMax);
  };
  list.fields.constant("x-more", std::string(1, 'm'));
  while (fits(32)) list.fields.fields.back().value += "m";
  ASSERT_TRUE(fits(31));
  ASSERT_LT(list.fields.fields.back().value.size(), 840u) << "all of them find a place in the table";
  Talk talk;
  talk.prepare(list);
  for (int round = 0; round < 3; ++round) {
    std::deque<Made> made;
    for (std::uint64_t i = 0; i < 3; ++i) make(made, list, i, prng);
    made[0].slots[0].resize(31);
    made[0].request.slots[0] = base::as_bytes(made[0].slots[0]);
    std::vector<Request> requests;
    for (const Made& one : made) requests.push_back(one.request);
    ASSERT_EQ(talk.raw.client->write(requests, talk.raw.out), 3u);
    EXPECT_EQ(of_type(parse(take(talk.raw.out)), kHeaders).size(), 1u);
    ASSERT_TRUE(talk.raw.feed({}));
    ASSERT_EQ(talk.raw.answers.size(), 2u);
    for (const Answer& answer : talk.raw.answers) EXPECT_NE(answer.tag, 0u);
    talk.raw.answers.clear();
  }
}

// The constants are the session's from prepare() on, and contents once write() is back, however long they wait.
TEST_P(EachClientWrites, NothingIsLookedAtLater) {
  base::Prng prng(71);
  Talk talk({{3, 1000}, {4, 3}});
  List list{fields_of({kHex, kUuid}), kWakeup};
  {
    auto gone = std::make_unique<List>(list);
    list.number = talk.raw.client->prepare(gone->fields, gone->shape.view());
    gone->shape.before.assign(gone->shape.before.size(), '!');
    gone->shape.after.assign(gone->shape.after.size(), '!');
  }
  std::deque<Made> made;
  for (std::uint64_t i = 0; i < 3; ++i) make(made, list, i, prng);
  ASSERT_EQ(talk.write(made), 3u);
  for (Made& one : made) one.content.assign(16, '!');
  talk.raw.client->forget_prepared();
  ASSERT_TRUE(talk.raw.feed(settings({{4, 1000}})));
  talk.more();
  talk.check_whole();
}

// A list's image, and requests of which each is unusual in one thing.
TEST(RequestImage, GathersUsualRequestsOnly) {
  base::Prng prng(79);
  for (const Shape& shape : {kWakeup, Shape{"{}", "", false, kText}, Shape{}}) {
    for (const std::vector<base::SlotFormat>& slots : {std::vector{kHex, kUuid}, std::vector{kUpper, kHex}, std::vector{kHex}, std::vector{kUuid, kHex, kUuid}}) {
      HpackWriter writer;
      List list{fields_of(slots), shape};
      list.number = writer.prepare(list.fields);
      std::deque<Made> made;
      for (std::uint64_t i = 0; i < 5; ++i) make(made, list, i, prng);
      EXPECT_EQ(writer.alike(list.number), 0u);
      while (writer.alike(list.number) == 0) writer.begin(list.number, made[0].request.slots);
      RequestImage image;
      EXPECT_FALSE(image.made_for(writer.version()));
      image.make(writer.layout(list.number), RequestBody(shape.view()), writer.version());
      EXPECT_TRUE(image.made_for(writer.version()));
      ASSERT_NE(image.bytes(), 0u);

      std::array<base::StampValues, 4> values;
      std::vector<Request> requests;
      for (const Made& one : made) requests.push_back(one.request);
      EXPECT_EQ(image.gather(requests, list.number, values), 4u) << "as many as there is room for";
      EXPECT_EQ(image.gather(std::span(requests).first(3), list.number, values), 3u);
      const auto with = [&](auto&& spoil) {
        std::vector<Request> spoilt = requests;
        spoil(spoilt[2]);
        return image.gather(spoilt, list.number, values);
      };
      EXPECT_EQ(with([](Request& one) { ++one.prepared; }), 2u);
      const std::string bytes(33, 'b');
      for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        for (const std::size_t size : {0u, 15u, 17u, 31u, 33u}) {
          EXPECT_EQ(with([&](Request& one) { one.slots[slot] = base::as_bytes(bytes).first(size); }), 2u);
        }
      }
      const std::size_t other = with([&](Request& one) { one.content = base::as_bytes(bytes).first(15); });
      EXPECT_EQ(other, shape.content ? 2u : 4u) << "what a body has not is not looked at";
    }
  }
}

}  // namespace
}  // namespace tocsin::h2
