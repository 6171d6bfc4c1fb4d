// SPDX-License-Identifier: Apache-2.0
// Our HPACK: the examples of RFC 7541, and both directions against nghttp2's, whose tables must stay the same as ours.
#include <deque>
#include <memory>
#include <optional>

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include "base/hex.h"
#include "base/hex_code.h"
#include "base/prng.h"
#include "conformance.h"
#include "inflater.h"
#include "h2/hpack_reader.h"
#include "h2/hpack_writer.h"
#include "h2/huffman.h"
#include "h2/response_rules.h"

namespace tocsin::h2 {
namespace {

using namespace test;

std::string from_hex(std::string_view spaced) {
  std::string hex;
  for (const char c : spaced) {
    if (c != ' ') hex += c;
  }
  std::string out(hex.size() / 2, '\0');
  EXPECT_TRUE(base::hex_decode(hex, reinterpret_cast<std::uint8_t*>(out.data())));
  return out;
}
const std::uint8_t* raw(std::string_view text) { return reinterpret_cast<const std::uint8_t*>(text.data()); }

// A whole block, or nothing if it is bad.
std::optional<Fields> read(HpackReader& reader, std::string_view block) {
  Fields fields;
  // Exactly these bytes, so that a sanitizer sees a look beyond them.
  const std::vector<std::uint8_t> exact(block.begin(), block.end());
  const std::uint8_t* at = exact.data();
  const std::uint8_t* const end = at + exact.size();
  reader.begin_block();
  HpackReader::Field field;
  HpackReader::Read step;
  while ((step = reader.next(at, end, field)) == HpackReader::Read::field) fields.emplace_back(field.name, field.value);
  if (step == HpackReader::Read::bad || at != end || !reader.may_end()) return {};
  return fields;
}

struct Deflater {
  explicit Deflater(std::size_t bytes) { EXPECT_EQ(nghttp2_hd_deflate_new(&deflater, bytes), 0); }
  ~Deflater() { nghttp2_hd_deflate_del(deflater); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  std::string write(const Fields& fields, base::Prng& prng) {
    std::vector<nghttp2_nv> list;
    for (const auto& [name, value] : fields) {
      list.push_back({const_cast<std::uint8_t*>(raw(name)), const_cast<std::uint8_t*>(raw(value)), name.size(),
                      value.size(),
                      static_cast<std::uint8_t>(prng.chance(0.2) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    std::string block(nghttp2_hd_deflate_bound(deflater, list.data(), list.size()), '\0');
    const ssize_t size = nghttp2_hd_deflate_hd(deflater, reinterpret_cast<std::uint8_t*>(block.data()), block.size(),
                                               list.data(), list.size());
    EXPECT_GE(size, 0);
    block.resize(static_cast<std::size_t>(size));
    return block;
  }
  nghttp2_hd_deflater* deflater = nullptr;
};

TEST(HpackReader, RequestExamplesOfTheRfc) {
  const Fields first = {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "www.example.com"}};
  Fields second = first;
  second.emplace_back("cache-control", "no-cache");
  const Fields third = {{":method", "GET"}, {":scheme", "https"}, {":path", "/index.html"},
                        {":authority", "www.example.com"}, {"custom-key", "custom-value"}};
  const char* const blocks[2][3] = {
      // C.3, without Huffman
      {"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
       "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"},
      // C.4, with
      {"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
       "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"},
  };
  for (const auto& talk : blocks) {
    HpackReader reader;
    EXPECT_EQ(read(reader, from_hex(talk[0])), first);
    EXPECT_EQ(reader.table_bytes(), 57u);
    EXPECT_EQ(read(reader, from_hex(talk[1])), second);
    EXPECT_EQ(reader.table_bytes(), 110u);
    EXPECT_EQ(read(reader, from_hex(talk[2])), third);
    EXPECT_EQ(reader.table_bytes(), 164u);
  }
}

TEST(HpackReader, ResponseExamplesOfTheRfcWithEviction) {
  const std::string date1 = "Mon, 21 Oct 2013 20:13:21 GMT", date2 = "Mon, 21 Oct 2013 20:13:22 GMT";
  const Fields first = {{":status", "302"}, {"cache-control", "private"}, {"date", date1},
                        {"location", "https://www.example.com"}};
  const Fields second = {{":status", "307"}, {"cache-control", "private"}, {"date", date1},
                         {"location", "https://www.example.com"}};
  const Fields third = {{":status", "200"}, {"cache-control", "private"}, {"date", date2},
                        {"location", "https://www.example.com"}, {"content-encoding", "gzip"},
                        {"set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"}};
  const char* const blocks[2][3] = {
      // C.5
      {"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f"
       "7777772e6578616d706c652e636f6d",
       "4803333037c1c0bf",
       "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a"
       "584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"},
      // C.6
      {"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
       "4883640effc1c0bf",
       "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f36"
       "72c1ab270fb5291f9587316065c003ed4ee5b1063d5007"},
  };
  for (const auto& talk : blocks) {
    HpackReader reader;
    reader.set_limit(256);
    EXPECT_FALSE(reader.may_end()) << "the smaller table must be acknowledged";
    EXPECT_EQ(read(reader, from_hex("3fe101") + from_hex(talk[0])), first);
    EXPECT_EQ(reader.table_bytes(), 222u);
    EXPECT_EQ(read(reader, from_hex(talk[1])), second);
    EXPECT_EQ(reader.table_bytes(), 222u);
    EXPECT_EQ(read(reader, from_hex(talk[2])), third);
    EXPECT_EQ(reader.table_bytes(), 215u);
    EXPECT_EQ(reader.table_entries(), 3u);
  }
}

TEST(HpackReader, EveryStaticIndexAsNghttp2HasIt) {
  for (std::uint32_t index = 1; index <= 62; ++index) {
    HpackReader reader;
    Inflater inflater;
    const std::string block = hpack_indexed(index);
    const auto ours = read(reader, block);
    EXPECT_EQ(ours, inflater.read(block)) << index;
    EXPECT_EQ(ours.has_value(), index <= 61);
    for (const std::uint8_t form : std::initializer_list<std::uint8_t>{0x00, 0x10, 0x40}) {
      const std::string named = hpack_integer(form, form == 0x40 ? 6 : 4, index) + hpack_text("value");
      EXPECT_EQ(read(reader, named), inflater.read(named)) << index;
    }
  }
}

TEST(HpackReader, EverySymbolOfTheStringCode) {
  // nghttp2 codes what becomes shorter by it: a long shorter part beside each symbol sees to that.
  for (int c = 0; c < 256; ++c) {
    const std::string text = std::string(40, 'e') + static_cast<char>(c) + std::string(40, 'e');
    base::Prng prng(1);
    Deflater deflater(0);
    const std::string block = deflater.write({{"x", text}}, prng);
    EXPECT_LT(block.size(), text.size());
    HpackReader reader;
    EXPECT_EQ(read(reader, block), (Fields{{"x", text}})) << c;
  }
}

TEST(Huffman, Padding) {
  char out[64];
  const auto decode = [&](std::string_view coded) { return huffman_decode({raw(coded), coded.size()}, out); };
  EXPECT_EQ(decode({}), 0);
  EXPECT_EQ(decode("\x1f"), 1);  // 'a' and three ones
  EXPECT_EQ(out[0], 'a');
  EXPECT_EQ(decode("\x18"), -1) << "zeros behind it";
  EXPECT_EQ(decode("\x1f\xff"), -1) << "eight ones and more";
  EXPECT_EQ(decode("\xff"), -1) << "eight ones";
  EXPECT_EQ(decode("\xff\xff\xff\xff"), -1) << "EOS";
  EXPECT_EQ(decode("\xfe"), -1) << "the beginning of a long code";
  EXPECT_EQ(decode("\xf8"), 1) << "'&', eight bits";
  EXPECT_EQ(out[0], '&');
}

// Any bytes: what is good, what it says and what stands in the table afterwards.
TEST(HpackReader, AnyBytesAsNghttp2ReadsThem) {
  base::Prng prng(20261124);
  std::size_t good = 0;
  for (int run = 0; run < 60'000; ++run) {
    HpackReader reader;
    Inflater inflater;
    if (prng.chance(0.3)) {
      const auto limit = static_cast<std::uint32_t>(prng.below(8192));
      reader.set_limit(limit);
      inflater.set_limit(limit);
    }
    for (int blocks = 0; blocks < 3; ++blocks) {
      std::string block;
      for (std::uint64_t i = prng.below(12); i-- > 0;) {
        switch (prng.below(8)) {
          case 0: block += static_cast<char>(prng.next()); break;
          case 1: block += hpack_indexed(prng.below(70)); break;
          case 2: block += hpack_added("name" + std::to_string(prng.below(5)), std::string(prng.below(120), 'v')); break;
          case 3: block += hpack_table_size(prng.below(300)); break;
          case 4: block += hpack_integer(0x40, 6, prng.below(66)) + hpack_text("value"); break;
          case 5: block += hpack_huffman("x", std::string(1 + prng.below(3), static_cast<char>(prng.next()))); break;
          case 6: block += bytes({0x10, 0x01, 'y'}) + hpack_integer(0, 7, 3) + "abc"; break;
          default: block += hpack_integer(static_cast<std::uint8_t>(prng.below(4) << 6), 6, prng.next() >> prng.below(60)); break;
        }
      }
      const auto ours = read(reader, block);
      const auto theirs = inflater.read(block);
      ASSERT_EQ(ours, theirs) << "run " << run << ": " << base::hex_encode(std::span(raw(block), block.size()));
      if (!ours) break;
      ASSERT_EQ(reader.table_bytes(), inflater.table_bytes()) << "run " << run;
      ++good;
    }
  }
  EXPECT_GT(good, 10'000u);
}

// What nghttp2's encoder makes of lists without end, with table sizes that change, whole and in pieces.
TEST(HpackReader, Nghttp2sEncoder) {
  base::Prng prng(7);
  for (int run = 0; run < 40; ++run) {
    const std::uint64_t most = prng.chance(0.5) ? 4096 : prng.below(600);
    Deflater deflater(4096);
    HpackReader reader;
    for (int block = 0; block < 200; ++block) {
      if (prng.chance(0.1)) {
        const auto limit = static_cast<std::uint32_t>(prng.below(most + 1));
        reader.set_limit(limit);
        ASSERT_EQ(nghttp2_hd_deflate_change_table_size(deflater.deflater, limit), 0);
      }
      Fields fields;
      for (std::uint64_t i = prng.below(8); i-- > 0;) {
        std::string value(prng.below(60), '\0');
        for (char& c : value) c = static_cast<char>(prng.chance(0.9) ? '0' + prng.below(40) : prng.next());
        fields.emplace_back(prng.chance(0.3) ? ":status" : "name-" + std::to_string(prng.below(20)),
                            prng.chance(0.4) ? "fixed" : value);
      }
      const std::string text = deflater.write(fields, prng);
      if (prng.chance(0.5)) {
        ASSERT_EQ(read(reader, text), fields) << run << ", " << block;
        continue;
      }
      // In pieces: what a piece leaves is tried again with the next.
      std::string held;
      Fields seen;
      reader.begin_block();
      for (std::size_t from = 0; from <= text.size();) {
        const std::size_t piece = std::min<std::size_t>(text.size() - from, 1 + prng.below(9));
        held += text.substr(from, piece);
        from += piece == 0 ? 1 : piece;
        const std::uint8_t* at = raw(held);
        HpackReader::Field field;
        HpackReader::Read step;
        while ((step = reader.next(at, raw(held) + held.size(), field)) == HpackReader::Read::field) {
          seen.emplace_back(field.name, field.value);
        }
        ASSERT_EQ(step, HpackReader::Read::torn);
        held.erase(0, static_cast<std::size_t>(at - raw(held)));
      }
      ASSERT_TRUE(held.empty() && reader.may_end());
      ASSERT_EQ(seen, fields);
    }
  }
}

TEST(HpackReader, LongestStrings) {
  for (const std::size_t size : {65'535u, 65'536u, 65'537u}) {
    const std::string value(size, 'v');
    for (const std::string& block : {hpack_text("n") + hpack_text(value), hpack_text(value) + hpack_text("v")}) {
      HpackReader reader;
      Inflater inflater;
      const auto ours = read(reader, std::string(1, '\0') + block);
      EXPECT_EQ(ours, inflater.read(std::string(1, '\0') + block)) << size;
      EXPECT_EQ(ours.has_value(), size <= HpackReader::kStringMax);
    }
  }
}

// A list, its slots' values, and what they must decode to.
struct Prepared {
  base::FieldList list;
  std::vector<std::string> values;  // raw, of the slots
  std::uint32_t number = 0;

  Fields fields() const {
    Fields out;
    std::size_t slot = 0;
    for (const base::FieldSpec& spec : list.fields) {
      std::string value = spec.value;
      if (spec.slot) {
        const std::string& text = values[slot++];
        switch (spec.format) {
          case base::SlotFormat::text: value += text; break;
          case base::SlotFormat::hex: value += base::hex_encode({raw(text), text.size()}); break;
          case base::SlotFormat::uuid:
          case base::SlotFormat::uuid_upper: {
            std::string shown(base::kUuidTextBytes, '\0');
            base::uuid_format_plain(raw(text), shown.data(), spec.format == base::SlotFormat::uuid_upper);
            value += shown;
          }
        }
      }
      out.emplace_back(spec.name, value);
    }
    return out;
  }
};

std::string write(HpackWriter& writer, const Prepared& prepared) {
  HpackWriter::Slots slots{};
  for (std::size_t i = 0; i < prepared.values.size(); ++i) slots[i] = base::as_bytes(prepared.values[i]);
  const std::size_t bytes = writer.begin(prepared.number, slots);
  std::string block(bytes + HpackWriter::kSlack, '\0');
  writer.write(slots, block.data());
  block.resize(bytes);
  return block;
}

Prepared push_list(unsigned topic, std::string_view authorization, base::Prng& prng) {
  Prepared made;
  made.list.constant(":method", "POST");
  made.list.constant(":scheme", "https");
  made.list.constant(":authority", "api.push.apple.com");
  made.list.slot(":path", base::SlotFormat::hex, "/3/device/");
  if (!authorization.empty()) made.list.constant("authorization", authorization);
  made.list.constant("apns-topic", "com.example.topic." + std::to_string(topic));
  if (prng.chance(0.5)) made.list.constant("apns-push-type", "alert", base::Indexing::never);
  made.list.constant("apns-priority", prng.chance(0.5) ? "10" : "5");
  if (prng.chance(0.3)) made.list.constant("x-once", "plain", base::Indexing::literal);
  made.list.slot("apns-id", base::SlotFormat::uuid);
  if (prng.chance(0.5)) made.list.slot("apns-collapse-id", base::SlotFormat::text, "c-");
  return made;
}
void draw_values(Prepared& prepared, base::Prng& prng) {
  prepared.values.clear();
  for (const base::FieldSpec& spec : prepared.list.fields) {
    if (!spec.slot) continue;
    const std::size_t size = spec.format == base::SlotFormat::uuid ? 16 : prng.chance(0.9) ? 32 : prng.below(300);
    std::string value(size, '\0');
    for (char& c : value) c = static_cast<char>(prng.next());
    prepared.values.push_back(std::move(value));
  }
}

TEST(HpackWriter, ConstantsAreIndexedFromTheSecondRequestOn) {
  base::Prng prng(1);
  HpackWriter writer;
  Inflater inflater;
  Prepared list;
  list.list.constant(":method", "POST");
  list.list.constant(":scheme", "https");
  list.list.constant(":authority", "api.push.apple.com");
  list.list.slot(":path", base::SlotFormat::hex, "/3/device/");
  list.list.constant("apns-topic", "com.apple.mgmt.External.1");
  list.list.slot("apns-id", base::SlotFormat::uuid);
  list.number = writer.prepare(list.list);
  draw_values(list, prng);
  std::vector<std::size_t> sizes;
  for (int i = 0; i < 4; ++i) {
    list.values[0].assign(32, static_cast<char>(i));
    const std::string block = write(writer, list);
    sizes.push_back(block.size());
    EXPECT_EQ(inflater.read(block), list.fields());
    EXPECT_EQ(writer.table_bytes(), 60u + 67u) << "neither the path nor the id";
    EXPECT_EQ(inflater.table_bytes(), writer.table_bytes());
  }
  // :method, :scheme, :authority and the topic are a byte each; the path is 2 + 74, the id 9 + 37.
  EXPECT_EQ(sizes[1], 4u + 76u + 46u);
  EXPECT_EQ(sizes[3], sizes[1]);
  EXPECT_EQ(sizes[0], sizes[1] + 19 + 37);
}

TEST(HpackWriter, ATableOfNothing) {
  base::Prng prng(2);
  HpackWriter writer;
  Inflater inflater;
  inflater.set_limit(0);
  writer.set_limit(0);
  Prepared list = push_list(1, "bearer x", prng);
  list.number = writer.prepare(list.list);
  for (int i = 0; i < 3; ++i) {
    draw_values(list, prng);
    const std::string block = write(writer, list);
    EXPECT_EQ(block[0] == '\x20', i == 0) << "the size update, once";
    EXPECT_EQ(inflater.read(block), list.fields());
    EXPECT_EQ(writer.table_bytes(), 0u);
  }
}

TEST(HpackWriter, ASmallerTableInBetweenIsSaid) {
  base::Prng prng(3);
  HpackWriter writer;
  Inflater inflater;
  Prepared list = push_list(1, {}, prng);
  list.number = writer.prepare(list.list);
  draw_values(list, prng);
  EXPECT_EQ(inflater.read(write(writer, list)), list.fields());
  for (const std::uint32_t size : {0u, 4096u}) {
    writer.set_limit(size);
    inflater.set_limit(size);
  }
  const std::string block = write(writer, list);
  EXPECT_EQ(block.substr(0, 4), hpack_table_size(0) + hpack_table_size(4096));
  EXPECT_EQ(inflater.read(block), list.fields());
  writer.set_limit(1u << 20);
  inflater.set_limit(1u << 20);
  EXPECT_NE(write(writer, list)[0] & 0xe0, 0x20) << "a larger one need not be used";
}

// The block, from a writer that may spoil kSlack bytes behind it and none beyond.
std::string write_guarded(HpackWriter& writer, const Prepared& prepared) {
  HpackWriter::Slots slots{};
  // Exactly their bytes, so that a sanitizer sees a look beyond them.
  std::vector<std::vector<char>> exact;
  for (const std::string& value : prepared.values) exact.emplace_back(value.begin(), value.end());
  for (std::size_t i = 0; i < exact.size(); ++i) slots[i] = std::as_bytes(std::span(exact[i]));
  const std::size_t bytes = writer.begin(prepared.number, slots);
  std::vector<char> out(bytes + HpackWriter::kSlack + 100, '\x5a');
  writer.write(slots, out.data());
  EXPECT_EQ(std::string(out.end() - 100, out.end()), std::string(100, '\x5a')) << "beyond the slack";
  return std::string(out.data(), bytes);
}

// One writer and both decoders of what it writes.
struct Talk {
  HpackWriter writer;
  Inflater inflater;
  HpackReader reader;

  void set_limit(std::uint32_t bytes) {
    writer.set_limit(bytes);
    inflater.set_limit(bytes);
    reader.set_limit(bytes);
  }
  std::size_t check(const Prepared& prepared) {
    const std::string block = write_guarded(writer, prepared);
    const Fields expected = prepared.fields();
    EXPECT_EQ(inflater.read(block), expected);
    EXPECT_EQ(read(reader, block), expected);
    EXPECT_EQ(inflater.table_bytes(), writer.table_bytes());
    return block.size();
  }
};

// Values of a list's slots: those of 32 and 16 bytes are the usual ones, `odd` of them has `bytes` instead.
void set_values(Prepared& prepared, std::size_t odd, std::size_t bytes, base::Prng& prng) {
  prepared.values.clear();
  for (const base::FieldSpec& spec : prepared.list.fields) {
    if (!spec.slot) continue;
    const bool uuid = spec.format == base::SlotFormat::uuid || spec.format == base::SlotFormat::uuid_upper;
    std::size_t size = uuid ? 16 : 32;
    if (prepared.values.size() == odd && !uuid) size = bytes;
    std::string value(size, '\0');
    for (char& c : value) c = static_cast<char>(prng.next());
    prepared.values.push_back(std::move(value));
  }
}

// Lists of one to three slots of every kind, their values usual or a byte off, prefixes on both sides of where a length takes
// another byte (127 with the digits), constants between and behind, and a table that changes meanwhile.
TEST(HpackWriter, SlotsOfEverySizeAndPrefix) {
  base::Prng prng(11);
  const base::SlotFormat formats[] = {base::SlotFormat::hex, base::SlotFormat::uuid, base::SlotFormat::text};
  const std::size_t prefixes[] = {0, 1, 10, 62, 63, 64, 90, 91, 92, 130, 300};
  const std::uint32_t limits[] = {0, 4096, 100, 300, 60, 8192};
  std::size_t blocks = 0;
  for (unsigned shape = 0; shape < 3 + 9 + 27; ++shape) {
    const unsigned slots = shape < 3 ? 1 : shape < 12 ? 2 : 3;
    unsigned digits = shape - (slots == 1 ? 0 : slots == 2 ? 3 : 12);
    for (unsigned round = 0; round < 11; ++round) {
      Prepared list;
      list.list.constant(":method", "POST");
      for (unsigned i = 0, left = digits; i < slots; ++i, left /= 3) {
        const std::size_t prefix = prefixes[i == 0 ? round : prng.below(std::size(prefixes))];
        base::SlotFormat format = formats[left % 3];
        if (format == base::SlotFormat::uuid && round % 2 == 1) format = base::SlotFormat::uuid_upper;
        list.list.slot(i == 0 ? ":path" : "x-slot-" + std::to_string(i), format, std::string(prefix, static_cast<char>('p' + i)));
        if (prng.chance(0.5)) {
          list.list.constant("x-between", std::string(prng.below(90), 'b'), prng.chance(0.5) ? base::Indexing::table : base::Indexing::never);
        }
      }
      Talk talk;
      list.number = talk.writer.prepare(list.list);
      for (std::size_t odd = 0; odd <= slots; ++odd) {
        for (const std::size_t bytes : {32u, 31u, 33u, 16u, 0u, 1u, 64u, 200u}) {
          if (prng.chance(0.1)) talk.set_limit(limits[prng.below(std::size(limits))]);
          set_values(list, odd, bytes, prng);
          talk.check(list);
          set_values(list, slots, 0, prng);  // the usual ones right behind it
          talk.check(list);
          blocks += 2;
          ASSERT_FALSE(HasFailure()) << "shape " << shape << ", round " << round << ", slot " << odd << " of " << bytes;
        }
      }
    }
  }
  EXPECT_EQ(blocks, (3u * 2 + 9 * 3 + 27 * 4) * 11 * 8 * 2);
}

// A size update or a new constant in front moves everything behind it; the next block is laid out anew.
TEST(HpackWriter, UsualBlocksAcrossTableChanges) {
  base::Prng prng(12);
  Talk talk;
  base::Prng same(3);
  Prepared one = push_list(1, "bearer x", same), two;
  two.list.slot(":path", base::SlotFormat::hex, "/3/device/");
  two.list.constant("apns-topic", "com.example.topic.2");
  two.list.slot("apns-id", base::SlotFormat::uuid);
  one.number = talk.writer.prepare(one.list);
  two.number = talk.writer.prepare(two.list);
  std::size_t usual = 0;
  for (const std::uint32_t limit : {4096u, 0u, 0u, 4096u, 70u, 4096u, 65'536u}) {
    talk.set_limit(limit);
    for (int i = 0; i < 300; ++i) {  // beyond the blocks after which a constant may find a place
      draw_values(one, prng);
      set_values(two, 2, 0, prng);
      talk.check(one);
      const std::size_t bytes = talk.check(two);
      if (limit == 4096 && i == 299) {
        EXPECT_TRUE(usual == 0 || usual == bytes) << bytes;
        usual = bytes;
      }
      ASSERT_FALSE(HasFailure()) << "limit " << limit << ", block " << i;
    }
  }
  EXPECT_EQ(usual, 76u + 1 + 46) << "the path is 2 + 74, the topic indexed, the id 9 + 37";
}

// Copies go in whole steps: whatever the length of what stands before, between and behind the slots, the last byte is right.
TEST(HpackWriter, EveryLengthOfConstants) {
  base::Prng prng(13);
  Talk talk;
  const auto pattern = [](std::size_t bytes, unsigned from) {
    std::string text(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('!' + (i * 7 + from) % 90);
    return text;
  };
  for (std::size_t bytes = 0; bytes <= 260; ++bytes) {
    for (unsigned place = 0; place < 5; ++place) {
      Prepared list;
      const auto constant = [&](unsigned here) {
        if (here == place || place == 4) list.list.constant("x-c", pattern(bytes, here), base::Indexing::literal);
      };
      constant(0);
      list.list.slot(":path", base::SlotFormat::hex, place == 3 ? pattern(bytes, 3) : "/");
      constant(1);
      list.list.slot("apns-id", base::SlotFormat::uuid, place == 3 ? pattern(bytes, 9) : "");
      constant(2);
      list.number = talk.writer.prepare(list.list);
      for (const std::size_t token : {32u, 31u, 33u}) {
        set_values(list, 0, token, prng);
        const std::size_t size = talk.check(list);
        EXPECT_GT(size, bytes + token * 2 + 36);
      }
      ASSERT_FALSE(HasFailure()) << bytes << " bytes at " << place;
    }
  }
}

// A newer provider token: lists are forgotten and prepared again, and only the token is new to the table.
TEST(HpackWriter, NewerToken) {
  base::Prng prng(4);
  HpackWriter writer;
  Inflater inflater;
  std::uint32_t before = 0;
  for (int token = 0; token < 30; ++token) {
    const std::string authorization = "bearer " + std::string(240, static_cast<char>('a' + token % 26));
    writer.forget_prepared();
    base::Prng same(9);
    Prepared list = push_list(1, authorization, same);
    list.number = writer.prepare(list.list);
    for (int i = 0; i < 400; ++i) {
      draw_values(list, prng);
      const std::string block = write(writer, list);
      ASSERT_EQ(inflater.read(block), list.fields());
      ASSERT_EQ(inflater.table_bytes(), writer.table_bytes());
      if (i == 399) {
        EXPECT_LT(block.size(), 700u) << "everything is indexed in the end, token " << token;
        EXPECT_EQ(block.find("bearer"), std::string::npos);
      }
    }
    if (token == 1) {
      EXPECT_EQ(writer.table_bytes(), before + 13u + 247u + 32u);
    }
    before = writer.table_bytes();
  }
}

// Own requests decode to the lists that they were made from, whatever the peer's table does.
TEST(HpackWriter, AnyListsAndTableSizes) {
  for (int run = 0; run < 60; ++run) {
    base::Prng prng(static_cast<std::uint64_t>(run));
    HpackWriter writer;
    Inflater inflater;
    std::vector<Prepared> lists;
    const std::uint64_t topics = 1 + prng.below(run % 3 == 0 ? 200 : 6);
    const auto prepare_all = [&] {
      writer.forget_prepared();
      lists.clear();
      const std::string authorization = prng.chance(0.5) ? "bearer " + std::to_string(prng.next()) : std::string();
      for (unsigned topic = 0; topic < topics; ++topic) {
        lists.push_back(push_list(topic, authorization, prng));
        lists.back().number = writer.prepare(lists.back().list);
      }
    };
    prepare_all();
    for (int block = 0; block < 600; ++block) {
      if (prng.chance(0.02)) {
        for (std::uint64_t i = 1 + prng.below(3); i-- > 0;) {
          const auto limit = static_cast<std::uint32_t>(prng.chance(0.3) ? prng.below(8192) : prng.below(400));
          writer.set_limit(limit);
          inflater.set_limit(limit);
        }
      }
      if (prng.chance(0.005)) prepare_all();
      Prepared& list = lists[prng.below(lists.size())];
      draw_values(list, prng);
      ASSERT_EQ(inflater.read(write(writer, list)), list.fields()) << "run " << run << ", block " << block;
      ASSERT_EQ(inflater.table_bytes(), writer.table_bytes()) << "run " << run << ", block " << block;
    }
  }
}

// More constants than the table holds: few blocks may change it, or each would pay for the others.
TEST(HpackWriter, TooManyConstantsDoNotChurn) {
  base::Prng prng(6);
  HpackWriter writer;
  Inflater inflater;
  std::vector<Prepared> lists;
  for (unsigned topic = 0; topic < 300; ++topic) {
    lists.push_back(push_list(topic, {}, prng));
    lists.back().number = writer.prepare(lists.back().list);
  }
  int changing = 0;
  for (int block = 0; block < 10'000; ++block) {
    Prepared& list = lists[static_cast<std::size_t>(block) % lists.size()];
    draw_values(list, prng);
    const std::string text = write(writer, list);
    for (const auto& [name, value] : list.fields()) {
      // A literal with incremental indexing whose name is not in the static table.
      if (text.find(std::string(1, '\x40') + hpack_text(name) + hpack_text(value)) == std::string::npos) continue;
      ++changing;
      break;
    }
    ASSERT_EQ(inflater.read(text), list.fields());
  }
  EXPECT_GT(changing, 30);
  EXPECT_LT(changing, 150);
}

TEST(ResponseRules, NamesAndValuesAsNghttp2ChecksThem) {
  for (int c = 0; c < 256; ++c) {
    for (const std::size_t around : {0u, 1u, 20u, 33u}) {
      const std::string padding(around, 'a');
      for (const std::string& text : {padding + static_cast<char>(c) + padding, padding + static_cast<char>(c),
                                      static_cast<char>(c) + padding}) {
        EXPECT_EQ(valid_value(text), nghttp2_check_header_value_rfc9113(raw(text), text.size()) != 0) << c;
        if (text[0] == ':') continue;  // a pseudo-field's mark
        EXPECT_EQ(valid_name(text), nghttp2_check_header_name(raw(text), text.size()) != 0) << c;
      }
    }
  }
  EXPECT_TRUE(valid_value({}));
  EXPECT_FALSE(valid_name({}));
}

}  // namespace
}  // namespace tocsin::h2
