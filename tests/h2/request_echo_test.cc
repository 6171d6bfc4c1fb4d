// SPDX-License-Identifier: Apache-2.0
// Ids that are read out of requests and given back: HPACK in both directions against nghttp2's, and the flood server that
// does so.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include "base/hex.h"
#include "base/prng.h"
#include "conformance.h"
#include "h2/flood_server.h"
#include "h2/request_echo.h"
#include "inflater.h"

namespace tocsin::h2 {
namespace {

using namespace test;
using Uuid = RequestEcho::Uuid;

constexpr std::string_view kName = "apns-id";

Uuid random_uuid(base::Prng& prng) {
  Uuid id;
  for (std::uint8_t& byte : id) byte = static_cast<std::uint8_t>(prng.next());
  return id;
}

// A client's encoder, which indexes and Huffman-codes as it likes.
class Deflater {
 public:
  Deflater() { EXPECT_EQ(nghttp2_hd_deflate_new(&deflater_, 4096), 0); }
  ~Deflater() { nghttp2_hd_deflate_del(deflater_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  std::string request(const std::string& id) {
    Fields fields = {{":method", "POST"}, {":scheme", "https"}, {":path", "/3/device/" + std::to_string(number_++)},
                     {":authority", "mock"}, {"apns-topic", "com.example.app"}};
    if (!id.empty()) fields.emplace_back(kName, id);
    return block(fields);
  }
  std::string block(Fields fields) {
    std::vector<nghttp2_nv> list;
    for (auto& [name, value] : fields) {
      list.push_back({reinterpret_cast<std::uint8_t*>(name.data()), reinterpret_cast<std::uint8_t*>(value.data()), name.size(),
                      value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    std::string out(nghttp2_hd_deflate_bound(deflater_, list.data(), list.size()), '\0');
    const ssize_t bytes =
        nghttp2_hd_deflate_hd(deflater_, reinterpret_cast<std::uint8_t*>(out.data()), out.size(), list.data(), list.size());
    EXPECT_GT(bytes, 0);
    out.resize(static_cast<std::size_t>(bytes));
    return out;
  }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
  int number_ = 0;
};

std::string answer_block(RequestEcho& echo, const Uuid& id) {
  std::uint8_t out[RequestEcho::kBlockMax];
  const std::size_t bytes = echo.write(id, out);
  EXPECT_LE(bytes, sizeof out);
  return {reinterpret_cast<char*>(out), bytes};
}

TEST(RequestEcho, AnswersAreHuffmanCodedAndEnterTheClientsTable) {
  RequestEcho echo(kName, 1);
  Inflater client;
  base::Prng prng(1);
  std::vector<Uuid> ids(300);
  for (Uuid& id : ids) id = random_uuid(prng);
  ids.push_back(Uuid{});
  ids.push_back(Uuid{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
  for (unsigned byte = 0; byte < 256; ++byte) ids.push_back(Uuid{static_cast<std::uint8_t>(byte)});
  std::size_t number = 0;
  for (const Uuid& id : ids) {
    const std::string block = answer_block(echo, id);
    const Fields expected = {{":status", "200"}, {std::string(kName), base::uuid_format(id)}};
    ASSERT_EQ(client.read(block), expected) << number;
    // 32 of overhead, 7 and 36: as many as there is room for.
    EXPECT_EQ(client.table_bytes(), std::min<std::size_t>(++number, 4096 / 75) * 75);
    EXPECT_LE(block.size(), number == 1 ? 38u : 30u);
  }
}

TEST(RequestEcho, ASmallTableIsEmptiedOnceAndLeftAlone) {
  for (const int before : {0, 3}) {
    RequestEcho echo(kName, 1);
    Inflater client;
    base::Prng prng(2);
    for (int i = 0; i < before; ++i) EXPECT_TRUE(client.read(answer_block(echo, random_uuid(prng))));
    echo.forget_table();
    client.set_limit(100);
    for (int i = 0; i < 5; ++i) {
      const Uuid id = random_uuid(prng);
      const std::string block = answer_block(echo, id);
      EXPECT_EQ(block[0] == '\x20', i == 0);
      const Fields expected = {{":status", "200"}, {std::string(kName), base::uuid_format(id)}};
      ASSERT_EQ(client.read(block), expected);
      EXPECT_EQ(client.table_bytes(), 0u);
    }
  }
}

TEST(RequestEcho, ReadsWhatAnEncoderMakesOfIt) {
  for (const std::size_t piece : {1u, 3u, 20u, 1000u}) {
    RequestEcho echo(kName, 1);
    Deflater client;
    base::Prng prng(3);
    for (int i = 0; i < 200; ++i) {
      const Uuid sent = random_uuid(prng);
      const std::string block = client.request(base::uuid_format(sent));
      Uuid id{};
      for (std::size_t at = 0; at < block.size(); at += piece) {
        const std::string_view part = std::string_view(block).substr(at, piece);
        ASSERT_TRUE(echo.read(base::as_bytes(part), at + piece >= block.size(), id));
      }
      ASSERT_EQ(id, sent) << i;
    }
  }
}

TEST(RequestEcho, MakesUpWhatIsMissingOrNoUuid) {
  RequestEcho echo(kName, 7), other(kName, 8);
  Deflater client, second;
  std::set<Uuid> seen;
  for (const std::string text : {"", "x", "", "0", "00000000-1111-2222-3333-44444444444z"}) {
    Uuid id{};
    ASSERT_TRUE(echo.read(base::as_bytes(client.request(text)), true, id));
    EXPECT_EQ(id[6] >> 4, 4);
    EXPECT_TRUE(seen.insert(id).second);
  }
  Uuid id{};
  ASSERT_TRUE(other.read(base::as_bytes(second.request("")), true, id));
  EXPECT_FALSE(seen.contains(id));
  // The first one counts.
  const Uuid one{1}, two{2};
  ASSERT_TRUE(echo.read(base::as_bytes(client.block({{std::string(kName), base::uuid_format(one)},
                                                     {std::string(kName), base::uuid_format(two)}})), true, id));
  EXPECT_EQ(id, one);
}

TEST(RequestEcho, RefusesWhatIsNoHpack) {
  for (const std::string& block : {bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), literal("a", "b").substr(0, 4),
                                   hpack_indexed(62), hpack_table_size(4097), "\x83" + hpack_table_size(0)}) {
    RequestEcho echo(kName, 1);
    Uuid id{};
    EXPECT_FALSE(echo.read(base::as_bytes(block), true, id));
  }
}

TEST(FirstAnswer, IsAFrameOrAllUpToTheEndOfItsStream) {
  const std::string bare = headers(1, "\x88", true), refused = headers(3, "\x8c", false);
  const std::string body = frame(kData, 0, 3, "{") + frame(kData, kEndStream, 3, "}");
  const std::string update = window(0, 5);
  std::string all = bare + refused + body + update + headers(5, "\x8c", false) + update;
  std::vector<std::size_t> sizes;
  while (!all.empty()) {
    sizes.push_back(first_answer(base::as_bytes(all)));
    all.erase(0, sizes.back());
  }
  const std::vector<std::size_t> expected = {bare.size(), refused.size() + body.size(), update.size(), bare.size(), update.size()};
  EXPECT_EQ(sizes, expected);
}

// A server with ids, from its first byte or taken over behind `before` requests.
struct EchoPeer {
  explicit EchoPeer(int before, ServerOptions wanted = {}) : options(wanted) {
    options.literal_answers = true;
    auto echo = std::make_unique<RequestEcho>(kName, 1);
    const std::string hello = std::string(kPreface) + settings({}) + settings_ack();
    if (before < 0) {
      server = std::make_unique<FloodServer>(options, std::move(echo));
      EXPECT_TRUE(feed(hello));
      return;
    }
    older = std::move(make_nghttp2_server(options)).value();
    FrameCursor cursor;
    cursor.read_blocks(echo.get());
    std::string text = hello;
    for (int i = 0; i < before; ++i) {
      const std::string block = client.request(base::uuid_format(Uuid{9, static_cast<std::uint8_t>(i)}));
      const std::string head = frame(kHeaders, 0x28, next(), padded(priority_fields(0, 3) + block.substr(0, 11), 7));
      text += i % 2 == 0 ? split_block(next(), block, {2, 7}, true)
                         : head + frame(kContinuation, kEndHeaders, next(), block.substr(11));
      ids += 2;
    }
    for (std::size_t at = 0; at < text.size(); at += 5) {
      const std::string_view piece = std::string_view(text).substr(at, 5);
      EXPECT_EQ(cursor.advance(base::as_bytes(piece), false), piece.size());
      std::vector<ServerRequest> requests;
      EXPECT_TRUE(older->receive(base::as_bytes(piece), requests).ok());
    }
    EXPECT_TRUE(cursor.between_frames());
    server = std::make_unique<FloodServer>(options, *older, std::move(echo));
    base::ByteBuffer out;
    server->write_pending(out);
  }
  std::int32_t next() const { return ids; }
  bool feed(std::string_view bytes) {
    while (!bytes.empty()) {
      std::vector<ServerRequest> requests;
      const auto read = server->receive(base::as_bytes(bytes), requests);
      if (!read.ok()) {
        error = read.error().message;
        return false;
      }
      bytes.remove_prefix(*read);
    }
    return true;
  }
  std::map<std::int32_t, std::string> answers() {
    server->answer(server->waiting());
    base::ByteBuffer out;
    server->write_pending(out);
    std::map<std::int32_t, std::string> found;
    for (const Frame& one : of_type(parse(take(out)), kHeaders)) {
      EXPECT_EQ(one.flags, kEndHeaders | kEndStream);
      const Fields fields = inflater.read(one.payload).value_or(Fields{});
      EXPECT_EQ(fields.size(), 2u);
      if (fields.size() == 2) found[one.id] = fields[1].second;
    }
    return found;
  }

  ServerOptions options;
  Deflater client;
  Inflater inflater;
  std::int32_t ids = 1;
  std::unique_ptr<ServerSession> older;
  std::unique_ptr<FloodServer> server;
  std::string error;
};

TEST(FloodWithIds, EachRequestGetsItsOwn) {
  for (const int before : {-1, 0, 4}) {
    SCOPED_TRACE(before);
    EchoPeer peer(before);
    base::Prng prng(5);
    std::map<std::int32_t, std::string> sent;
    for (int round = 0; round < 5; ++round) {
      std::string text, bodies;
      for (int i = 0; i < 40; ++i, peer.ids += 2) {
        const std::string id = base::uuid_format(random_uuid(prng));
        const std::string block = peer.client.request(id);
        sent[peer.ids] = id;
        // Whole, in pieces, padded; with bodies at once, later, in reverse, or without.
        if (i % 4 == 0) text += headers(peer.ids, block, true);
        if (i % 4 == 1) text += split_block(peer.ids, block, {3, 5}, true);
        if (i % 4 == 2) text += headers(peer.ids, block, false) + frame(kData, kEndStream, peer.ids, "x");
        if (i % 4 == 3) {
          text += frame(kHeaders, kEndHeaders | 0x28, peer.ids, padded(priority_fields(0, 3) + block, 9));
          bodies.insert(0, frame(kData, kEndStream, peer.ids, "y"));
        }
      }
      for (std::size_t at = 0; at < text.size(); at += 777) ASSERT_TRUE(peer.feed(std::string_view(text).substr(at, 777))) << peer.error;
      ASSERT_TRUE(peer.feed(bodies)) << peer.error;
      EXPECT_EQ(peer.answers(), sent);
      sent.clear();
    }
  }
}

TEST(FloodWithIds, BlocksThatGiveNoRequestAreReadAllTheSame) {
  EchoPeer peer(-1);
  // Trailers, a stream that is reset, one behind our GOAWAY: each of them changes the table.
  ASSERT_TRUE(peer.feed(headers(1, peer.client.request(base::uuid_format(Uuid{1})), false)));
  ASSERT_TRUE(peer.feed(headers(1, peer.client.block({{"x-trailer", "one"}}), true)));
  ASSERT_TRUE(peer.feed(headers(3, peer.client.request(base::uuid_format(Uuid{3})), false) + rst(3, 8)));
  ASSERT_TRUE(peer.feed(headers(5, peer.client.block({{"x-trailer", "one"}, {std::string(kName), base::uuid_format(Uuid{5})}}), true)))
      << peer.error;
  std::map<std::int32_t, std::string> expected = {{1, base::uuid_format(Uuid{1})}, {5, base::uuid_format(Uuid{5})}};
  EXPECT_EQ(peer.answers(), expected);
  peer.server->goaway(-1, 0, {});
  ASSERT_TRUE(peer.feed(headers(7, peer.client.request(base::uuid_format(Uuid{7})), true)));
  EXPECT_TRUE(peer.answers().empty());
  EXPECT_FALSE(peer.feed(headers(9, hpack_indexed(120), true)));
  EXPECT_NE(peer.error.find("COMPRESSION_ERROR"), std::string::npos) << peer.error;
}

TEST(FloodWithIds, AClientWithASmallTable) {
  for (const int before : {-1, 0}) {
    EchoPeer peer(before);
    ASSERT_TRUE(peer.feed(settings({{1, 50}})));
    peer.inflater.set_limit(50);
    for (std::int32_t id = 1; id < 9; id += 2) {
      ASSERT_TRUE(peer.feed(headers(id, peer.client.request(base::uuid_format(Uuid{7})), true)));
      EXPECT_EQ(peer.answers()[id], base::uuid_format(Uuid{7}));
    }
  }
}

}  // namespace
}  // namespace tocsin::h2
