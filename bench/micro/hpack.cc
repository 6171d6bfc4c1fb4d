// SPDX-License-Identifier: Apache-2.0
// HPACK alone, nghttp2's: one MDM wake-up's header list and one answer's, with a warm dynamic table.
//
//   hpack_deflate/request               constants indexed, :path and apns-id literal
//   hpack_inflate/LIST/ENCODING         request, or response with apns-id literal or indexed
#include <memory>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "apns/request.h"
#include "base/hex.h"
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

List request_list(const Token& token) {
  TemplateOptions wakeup;
  wakeup.topic = kTopic;
  wakeup.push_type = PushType::mdm;
  wakeup.priority = 10;
  List list;
  for (const base::FieldSpec& field : apns::request_fields(wakeup, "api.push.apple.com", false).fields) {
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

class Deflater {
 public:
  Deflater() {
    nghttp2_hd_deflater* made = nullptr;
    if (nghttp2_hd_deflate_new(&made, 4096) == 0) it_.reset(made);
  }
  // Bytes written, or negative.
  ssize_t write(const List& list, std::vector<std::uint8_t>& out) {
    pairs_.clear();
    for (const Field& field : list) {
      pairs_.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.name.data())),
                        reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.value.data())), field.name.size(),
                        field.value.size(),
                        static_cast<std::uint8_t>(field.literal ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    return nghttp2_hd_deflate_hd(it_.get(), out.data(), out.size(), pairs_.data(), pairs_.size());
  }

 private:
  std::unique_ptr<nghttp2_hd_deflater, DeleteDeflater> it_;
  std::vector<nghttp2_nv> pairs_;
};

class Inflater {
 public:
  Inflater() {
    nghttp2_hd_inflater* made = nullptr;
    if (nghttp2_hd_inflate_new(&made) == 0) it_.reset(made);
  }
  // Bytes of names and values, or 0 if the block is wrong.
  std::size_t read(const std::uint8_t* block, std::size_t bytes) {
    std::size_t sum = 0;
    for (;;) {
      nghttp2_nv field{};
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(it_.get(), &field, &flags, block, bytes, 1);
      if (used < 0) return 0;
      block += used;
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

constexpr std::size_t kBatch = 256;
constexpr std::size_t kBlockMax = 2048;

std::size_t bytes_of(const List& list) {
  std::size_t sum = 0;
  for (const Field& field : list) sum += field.name.size() + field.value.size();
  return sum;
}

struct Block {
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kBlockMax);
  std::size_t size = 0;
  std::size_t plain = 0;
};

template <class MakeList>
void run(benchmark::State& state, MakeList make_list, bool inflate) {
  Deflater deflater;
  Inflater inflater;
  Stopwatch watch;
  std::vector<Block> blocks(kBatch);
  std::vector<List> lists(kBatch);
  std::uint64_t done = 0, number = 0;
  for (auto _ : state) {
    for (List& list : lists) list = make_list(token_of(number++));
    if (!inflate) watch.start();
    for (std::size_t i = 0; i < kBatch; ++i) {
      const ssize_t size = deflater.write(lists[i], blocks[i].bytes);
      blocks[i].size = size > 0 ? static_cast<std::size_t>(size) : 0;
    }
    if (!inflate) watch.stop();
    for (std::size_t i = 0; i < kBatch; ++i) blocks[i].plain = bytes_of(lists[i]);
    bool good = true;
    if (inflate) watch.start();
    for (const Block& block : blocks) good &= inflater.read(block.bytes.data(), block.size) == block.plain;
    if (inflate) watch.stop();
    if (!require(state, good, "what came out of HPACK is not what went in")) return;
    state.SetIterationTime(watch.take_seconds());
    done += kBatch;
  }
  per_item(state, "per_list", done);
}

}  // namespace

void register_hpack() {
  const auto add = [](const char* name, auto make_list, bool inflate) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { run(state, make_list, inflate); })->UseManualTime();
  };
  add("hpack_deflate/request", request_list, false);
  add("hpack_inflate/request", request_list, true);
  add("hpack_inflate/response/literal", [](const Token& token) { return response_list(token, true); }, true);
  add("hpack_inflate/response/indexed", [](const Token& token) { return response_list(token, false); }, true);
}

}  // namespace tocsin::bench
