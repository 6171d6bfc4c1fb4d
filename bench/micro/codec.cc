// SPDX-License-Identifier: Apache-2.0
// Request writing and response reading, by codec: MDM wake-ups as the engine sends them, a whole stream table at a time,
// against a server session in memory whose side is not measured.
//
//   request_write/CODEC/STREAMS              ClientSession::write
//   response_read/CODEC/STREAMS/ENCODING     ClientSession::receive
//
// ENCODING is how the server writes `apns-id`: plain (a literal without Huffman), literal (with Huffman; both leave the
// table alone) or indexed (each response changes it). literal and indexed come from nghttp2's server, which also judges the
// requests; plain from FlatPeer, which reads their frames only.
#include <memory>
#include <vector>

#include "apns/request.h"
#include "base/hex.h"
#include "../flat_peer.h"
#include "h2/client_session.h"
#include "h2/server_session.h"
#include "micro.h"

namespace tocsin::bench {
namespace {

struct Codec {
  const char* name;
  Result<std::unique_ptr<h2::ClientSession>> (*make)(const h2::ClientOptions& options);
};
constexpr Codec kCodecs[] = {
    {"fast", h2::make_fast_client},
    {"nghttp2", h2::make_nghttp2_client},
};

enum class Encoding { plain, literal, indexed };
struct EncodingName {
  Encoding encoding;
  const char* name;
};
constexpr EncodingName kEncodings[] = {{Encoding::plain, "plain"}, {Encoding::literal, "literal"}, {Encoding::indexed, "indexed"}};

class Exchange {
 public:
  Exchange(const Codec& codec, std::uint32_t streams, Encoding encoding)
      : streams_(streams), encoding_(encoding), flat_(streams) {
    h2::ClientOptions client;
    client.streams_max = streams;
    client.captures = {"apns-id"};
    client_ = codec.make(client).value();
    h2::ServerOptions server;
    server.streams_max = streams;
    server.connection_window_bytes = 1u << 24;
    server_ = h2::make_nghttp2_server(server).value();
    TemplateOptions wakeup;
    wakeup.topic = kTopic;
    wakeup.push_type = PushType::mdm;
    wakeup.priority = 10;
    wakeup.form = PayloadForm::with_part;
    wakeup.payload = R"({"mdm":"%PART%"})";
    halves_ = apns::split_payload(wakeup.payload);
    (void)base::uuid_parse(kMagic, magic_);
    list_ = client_->prepare(apns::request_fields(wakeup, "api.push.apple.com", false),
                             {halves_.before, halves_.after, true, base::SlotFormat::uuid_upper});
    tokens_.resize(streams);
    requests_.resize(streams);
    for (std::uint32_t i = 0; i < 2; ++i) settle();
  }

  bool ready() const { return client_->can_start() == streams_; }

  void prepare() {
    for (std::uint32_t i = 0; i < streams_; ++i) {
      tokens_[i] = token_of(made_);
      h2::Request& request = requests_[i];
      request.tag = made_++;
      request.prepared = list_;
      request.slots[0] = tokens_[i];
      request.slots[1] = base::ByteView(tokens_[i]).first(16);
      request.content = std::as_bytes(std::span(magic_));
    }
  }
  std::size_t write() { return client_->write(requests_, up_); }

  // The server reads and answers everything. False unless it read what was meant.
  bool serve() {
    bytes_up_ += up_.size();
    if (encoding_ == Encoding::plain) {
      const std::uint64_t before = flat_.requests();
      const bool taken = flat_.take(up_.readable(), down_);
      up_.clear();
      return taken && flat_.requests() - before == streams_;
    }
    seen_.clear();
    const bool read = server_->receive(up_.readable(), seen_).ok();
    up_.clear();
    if (!read || seen_.size() != streams_) return false;
    std::string path = "/3/device/";
    path += base::hex_encode({reinterpret_cast<const std::uint8_t*>(tokens_.back().data()), tokens_.back().size()});
    for (const h2::FieldView& field : seen_.back().fields) {
      if (field.name == ":path" && field.value != path) return false;
    }
    char id[base::kUuidTextBytes];
    for (const h2::ServerRequest& request : seen_) {
      std::array<std::uint8_t, 16> uuid{};
      std::memcpy(uuid.data(), tokens_[static_cast<std::size_t>(&request - seen_.data())].data(), 16);
      base::uuid_format(uuid, id);
      const h2::FieldView fields[] = {{"apns-id", {id, sizeof(id)}, encoding_ == Encoding::literal}};
      if (request.body_bytes != halves_.before.size() + kMagic.size() + halves_.after.size()) return false;
      if (!server_->respond(request.stream_id, 200, fields, {})) return false;
    }
    server_->write_pending(down_);
    return true;
  }

  // Answers whether the connection is still good.
  bool read() {
    answers_.clear();
    events_.clear();
    return client_->receive(down_.readable(), answers_, events_).ok();
  }
  bool answered() {
    down_.clear();
    std::uint64_t sum = 0, want = 0;
    for (const h2::Answer& answer : answers_) {
      if (answer.status != 200 || answer.captured[0].size() != base::kUuidTextBytes) return false;
      sum += base::mix64(answer.tag);
    }
    for (const h2::Request& request : requests_) want += base::mix64(request.tag);
    settle();
    return answers_.size() == streams_ && sum == want;
  }
  std::uint64_t bytes_up() const { return bytes_up_; }

 private:
  // Control frames in both directions.
  void settle() {
    client_->write_pending(up_);
    if (encoding_ == Encoding::plain) {
      if (!up_.empty()) (void)flat_.take(up_.readable(), down_);
    } else {
      std::vector<h2::ServerRequest> none;
      (void)server_->receive(up_.readable(), none);
      server_->write_pending(down_);
    }
    up_.clear();
    std::vector<h2::Answer> no_answers;
    std::vector<h2::Event> no_events;
    (void)client_->receive(down_.readable(), no_answers, no_events);
    down_.clear();
  }

  const std::uint32_t streams_;
  const Encoding encoding_;
  FlatPeer flat_;  // for plain
  std::unique_ptr<h2::ClientSession> client_;
  std::unique_ptr<h2::ServerSession> server_;
  apns::PayloadHalves halves_;
  std::array<std::uint8_t, 16> magic_{};
  std::uint32_t list_ = 0;
  std::uint64_t made_ = 0;
  std::uint64_t bytes_up_ = 0;
  std::vector<Token> tokens_;
  std::vector<h2::Request> requests_;
  base::ByteBuffer up_, down_;
  std::vector<h2::ServerRequest> seen_;
  std::vector<h2::Answer> answers_;
  std::vector<h2::Event> events_;
};

enum class Side { write, read };

void exchange(benchmark::State& state, const Codec& codec, std::uint32_t streams, Encoding encoding, Side side) {
  Exchange both(codec, streams, encoding);
  Stopwatch watch;
  std::uint64_t pushes = 0;
  for (auto _ : state) {
    if (!require(state, both.ready(), "the codec cannot start a full stream table")) return;
    both.prepare();
    if (side == Side::write) watch.start();
    const std::size_t written = both.write();
    if (side == Side::write) watch.stop();
    if (!require(state, written == streams, "not every request was written")) return;
    if (!require(state, both.serve(), "the server read something else than was written")) return;
    if (side == Side::read) watch.start();
    const bool good = both.read();
    if (side == Side::read) watch.stop();
    if (!require(state, good && both.answered(), "not every request was answered")) return;
    state.SetIterationTime(watch.take_seconds());
    pushes += streams;
  }
  per_item(state, "per_push", pushes);
  if (pushes != 0) {
    state.counters["bytes_per_push"] = static_cast<double>(both.bytes_up()) / static_cast<double>(pushes);
  }
}

}  // namespace

void register_codec() {
  for (const Codec& codec : kCodecs) {
    for (const std::uint32_t streams : {100u, 1000u}) {
      const std::string name = std::string(codec.name) + "/" + std::to_string(streams);
      benchmark::RegisterBenchmark(("request_write/" + name).c_str(), [&codec, streams](benchmark::State& state) {
        exchange(state, codec, streams, Encoding::literal, Side::write);
      })->UseManualTime();
      for (const EncodingName& each : kEncodings) {
        benchmark::RegisterBenchmark(("response_read/" + name + "/" + each.name).c_str(),
                                     [&codec, streams, &each](benchmark::State& state) {
                                       exchange(state, codec, streams, each.encoding, Side::read);
                                     })
            ->UseManualTime();
      }
    }
  }
}

}  // namespace tocsin::bench
