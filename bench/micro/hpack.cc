// SPDX-License-Identifier: Apache-2.0
// HPACK alone, ours (fast) and nghttp2's: one MDM wake-up's header list and one answer's, with a warm dynamic table. What one
// writes, nghttp2 reads and the other way round.
//
//   hpack_write/CODEC/request               constants indexed, :path and apns-id literal
//   hpack_read/CODEC/LIST/ENCODING          request, or response with apns-id literal or indexed
#include <memory>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "apns/request.h"
#include "base/hex.h"
#include "h2/hpack_reader.h"
#include "h2/hpack_writer.h"
#include "micro.h"

namespace tocsin::bench {
namespace {

struct Field {
  std::string name;
  std::string value;
  bool literal = false;
};
using List = std::vector<Field>;

std::string hex(base::ByteView bytes) {
  return base::hex_encode({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

std::string uuid(const Token& token) {
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), token.data(), bytes.size());
  return base::uuid_format(bytes);
}

constexpr std::string_view kAuthority = "api.push.apple.com";

TemplateOptions wakeup() {
  TemplateOptions options;
  options.topic = kTopic;
  options.push_type = PushType::mdm;
  options.priority = 10;
  return options;
}

List request_list(const Token& token) {
  List list;
  for (const base::FieldSpec& field : apns::request_fields(wakeup(), kAuthority, false).fields) {
    std::string value = field.value;
    if (field.slot) value += field.format == base::SlotFormat::hex ? hex(token) : uuid(token);
    list.push_back({field.name, value, field.indexing != base::Indexing::table});
  }
  return list;
}

List response_list(const Token& token, bool literal) { return {{":status", "200"}, {"apns-id", uuid(token), literal}}; }

struct DeleteDeflater {
  void operator()(nghttp2_hd_deflater* it) const { nghttp2_hd_deflate_del(it); }
};
struct DeleteInflater {
  void operator()(nghttp2_hd_inflater* it) const { nghttp2_hd_inflate_del(it); }
};

constexpr std::size_t kBlockMax = 2048;

struct Block {
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kBlockMax);
  std::size_t size = 0;   // 0: it could not be written
  std::size_t plain = 0;  // bytes of the names and values in it
};

class Nghttp2Writer {
 public:
  Nghttp2Writer() {
    nghttp2_hd_deflater* made = nullptr;
    if (nghttp2_hd_deflate_new(&made, 4096) == 0) it_.reset(made);
  }
  void write(const List& list, const Token&, Block& out) {
    pairs_.clear();
    for (const Field& field : list) {
      pairs_.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.name.data())),
                        reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.value.data())), field.name.size(),
                        field.value.size(),
                        static_cast<std::uint8_t>(field.literal ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    const ssize_t size = nghttp2_hd_deflate_hd(it_.get(), out.bytes.data(), out.bytes.size(), pairs_.data(), pairs_.size());
    out.size = size > 0 ? static_cast<std::size_t>(size) : 0;
  }

 private:
  std::unique_ptr<nghttp2_hd_deflater, DeleteDeflater> it_;
  std::vector<nghttp2_nv> pairs_;
};

// Knows requests only, by their prepared list.
class FastWriter {
 public:
  FastWriter() { list_ = it_.prepare(apns::request_fields(wakeup(), kAuthority, false)); }
  void write(const List&, const Token& token, Block& out) {
    h2::HpackWriter::Slots slots{};
    slots[0] = token;
    slots[1] = base::ByteView(token).first(16);
    out.size = it_.begin(list_, slots);
    if (out.size + h2::HpackWriter::kSlack > out.bytes.size()) {
      out.size = 0;
      return;
    }
    it_.write(slots, reinterpret_cast<char*>(out.bytes.data()));
  }

 private:
  h2::HpackWriter it_;
  std::uint32_t list_ = 0;
};

class Nghttp2Reader {
 public:
  Nghttp2Reader() {
    nghttp2_hd_inflater* made = nullptr;
    if (nghttp2_hd_inflate_new(&made) == 0) it_.reset(made);
  }
  // Bytes of names and values, or 0 if the block is wrong.
  std::size_t read(const Block& block) {
    const std::uint8_t* at = block.bytes.data();
    std::size_t bytes = block.size, sum = 0;
    for (;;) {
      nghttp2_nv field{};
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(it_.get(), &field, &flags, at, bytes, 1);
      if (used < 0) return 0;
      at += used;
      bytes -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) sum += field.namelen + field.valuelen;
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
        nghttp2_hd_inflate_end_headers(it_.get());
        return sum;
      }
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && bytes == 0) return 0;
    }
  }

 private:
  std::unique_ptr<nghttp2_hd_inflater, DeleteInflater> it_;
};

class FastReader {
 public:
  std::size_t read(const Block& block) {
    const std::uint8_t* at = block.bytes.data();
    const std::uint8_t* const end = at + block.size;
    std::size_t sum = 0;
    h2::HpackReader::Field field;
    it_.begin_block();
    h2::HpackReader::Read got = h2::HpackReader::Read::field;
    while ((got = it_.next(at, end, field)) == h2::HpackReader::Read::field) sum += field.name.size() + field.value.size();
    return got == h2::HpackReader::Read::torn && at == end && it_.may_end() ? sum : 0;
  }

 private:
  h2::HpackReader it_;
};

constexpr std::size_t kBatch = 256;
std::size_t bytes_of(const List& list) {
  std::size_t sum = 0;
  for (const Field& field : list) sum += field.name.size() + field.value.size();
  return sum;
}

template <class Writer, class Reader, class MakeList>
void run(benchmark::State& state, MakeList make_list, bool read) {
  Writer writer;
  Reader reader;
  Stopwatch watch;
  std::vector<Block> blocks(kBatch);
  std::vector<List> lists(kBatch);
  std::vector<Token> tokens(kBatch);
  std::uint64_t done = 0, number = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      tokens[i] = token_of(number++);
      lists[i] = make_list(tokens[i]);
      blocks[i].plain = bytes_of(lists[i]);
    }
    if (!read) watch.start();
    for (std::size_t i = 0; i < kBatch; ++i) writer.write(lists[i], tokens[i], blocks[i]);
    if (!read) watch.stop();
    bool good = true;
    if (read) watch.start();
    for (const Block& block : blocks) good &= reader.read(block) == block.plain;
    if (read) watch.stop();
    if (!require(state, good, "what came out of HPACK is not what went in")) return;
    state.SetIterationTime(watch.take_seconds());
    done += kBatch;
  }
  per_item(state, "per_list", done);
}

template <class Writer, class Reader, class MakeList>
void add(const char* name, MakeList make_list, bool read) {
  benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { run<Writer, Reader>(state, make_list, read); })
      ->UseManualTime();
}

}  // namespace

void register_hpack() {
  const auto literal = [](const Token& token) { return response_list(token, true); };
  const auto indexed = [](const Token& token) { return response_list(token, false); };
  add<FastWriter, Nghttp2Reader>("hpack_write/fast/request", request_list, false);
  add<Nghttp2Writer, FastReader>("hpack_write/nghttp2/request", request_list, false);
  add<Nghttp2Writer, FastReader>("hpack_read/fast/request", request_list, true);
  add<Nghttp2Writer, FastReader>("hpack_read/fast/response/literal", literal, true);
  add<Nghttp2Writer, FastReader>("hpack_read/fast/response/indexed", indexed, true);
  add<FastWriter, Nghttp2Reader>("hpack_read/nghttp2/request", request_list, true);
  add<Nghttp2Writer, Nghttp2Reader>("hpack_read/nghttp2/response/literal", literal, true);
  add<Nghttp2Writer, Nghttp2Reader>("hpack_read/nghttp2/response/indexed", indexed, true);
}

}  // namespace tocsin::bench
