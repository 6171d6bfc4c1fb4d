// SPDX-License-Identifier: Apache-2.0
// FastSession: the purpose-made client session (RFC 9113), for requests without number that differ in a token and an id.
//
// What it shows is what the nghttp2 session shows; tests and a fuzz target hold the two against each other, so the order of
// things is nghttp2's where it can be seen: an RST_STREAM of ours ends its stream when it is written, which is at the end
// of receive() at the latest; SETTINGS and PING go before other control frames; windows are given back at half.
//
// Parts: fast_session.cc (interface, continued bodies and control frames out), fast_write.cc (requests out), fast_receive.cc
// (frames in), fast_response.cc (header blocks and bodies of responses), hpack_writer, hpack_reader, fast_table, request_image.
// Threads, ownership: client_session.h. Bounds beside those: a torn frame (16 KiB and its head), kContinuationsMax
// CONTINUATION frames a block, kAcksMax acknowledgements owed in one receive(), kSettingsMax entries in one SETTINGS.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "h2/block_heap.h"
#include "h2/client_session.h"
#include "h2/fast_table.h"
#include "h2/frame_head.h"
#include "h2/hpack_reader.h"
#include "h2/hpack_writer.h"
#include "h2/request_body.h"
#include "h2/request_image.h"

namespace tocsin::h2 {

class FastSession final : public ClientSession {
 public:
  FastSession(const ClientOptions& options, std::int32_t first_stream_id);
  ~FastSession() override = default;

  std::uint32_t prepare(const base::FieldList& fields, const base::BodyShape& shape) override {
    prepared_.push_back({RequestBody(shape), {}});
    return writer_.prepare(fields);
  }
  void forget_prepared() override {
    prepared_.clear();
    writer_.forget_prepared();
  }
  std::size_t write(std::span<const Request> requests, base::ByteBuffer& out) override;
  void write_pending(base::ByteBuffer& out) override;
  Result<void> receive(base::ByteView bytes, std::vector<Answer>& answers, std::vector<Event>& events) override;
  std::span<const std::uint64_t> plain_tags() const override { return plain_tags_; }
  void ping(std::uint64_t opaque) override;
  bool cancel(std::uint64_t tag) override;
  void goaway() override;

  std::uint32_t can_start() const override;
  std::uint32_t open_streams() const override { return open_tags_; }
  std::uint32_t peer_streams_max() const override { return settings_seen_ ? peer_streams_max_ : 0; }
  bool settings_seen() const override { return settings_seen_; }
  std::int64_t send_window() const override { return send_window_; }
  std::int32_t next_stream_id() const override {
    return next_id_ > kStreamIdMax ? 0 : static_cast<std::int32_t>(next_id_);
  }
  void open_tags(std::vector<Orphan>& out) const override;

 private:
  static constexpr std::uint32_t kStreamIdMax = 0x7fffffff;
  static constexpr std::int32_t kWindowMax = 0x7fffffff;

  // A control frame that waits to be written.
  struct Control {
    FrameType type = FrameType::settings;
    bool ack = false;
    std::int32_t id = 0;
    std::uint32_t value = 0;        // a code, an increment
    std::uint64_t opaque = 0;
  };

  // What comes next of the bytes.
  enum class Reading : std::uint8_t { head, payload, pad_length, data, skip, nothing };

  // The header block being read. `direct`: its answer is in one frame, so that nothing need be kept for the stream.
  struct Block {
    std::int32_t id = 0;            // 0: none
    bool ignored = false;           // decoded for the table's sake alone
    bool end_stream = false;
    bool direct = false;
    bool status_seen = false;
    bool regular_seen = false;
    std::uint32_t list_bytes = 0;
    std::uint32_t continuations = 0;
    std::uint64_t length = kNoLength;
    std::uint32_t captured_set = 0;                           // bits, by position
    std::array<std::string_view, kCapturesMax> captured{};    // of positions whose bit is set
  };

  struct Prepared {
    RequestBody body;
    RequestImage image;
  };

  // fast_write.cc
  std::size_t write_run(std::span<const Request> requests, base::ByteBuffer& out);
  bool start(const Request& request, base::ByteBuffer& out);
  void start_large(const Request& request, std::size_t block_bytes, FastStream& stream, base::ByteBuffer& out);
  void append_headers(const Request& request, std::size_t block_bytes, bool end_stream, std::int32_t id,
                      base::ByteBuffer& out);

  // fast_session.cc
  void send_body(FastStream& stream, OutBody& body, base::ByteBuffer& out);
  void send_bodies(base::ByteBuffer& out);
  void resume(FastStream& stream);
  void flush(base::ByteBuffer& out);
  void flush_regular(const Control& control, base::ByteBuffer& out);
  void write_control(const Control& control, base::ByteBuffer& out);
  bool finished() const { return (goaway_seen_ || goaway_sent_) && table_.size() == 0; }

  // fast_receive.cc
  void consume(const std::uint8_t* at, const std::uint8_t* end);
  const std::uint8_t* take_plain_answers(const std::uint8_t* at, const std::uint8_t* end);
  void take_head(const std::uint8_t* head);
  void take_payload(const std::uint8_t* payload);
  const std::uint8_t* take_data(const std::uint8_t* at, const std::uint8_t* end);
  void begin_data();
  void take_pad_length(std::uint8_t bytes);
  void on_settings(const std::uint8_t* payload);
  void on_settings_ack();
  void on_initial_window(std::uint32_t bytes);
  void on_ping(const std::uint8_t* payload);
  void on_goaway(const std::uint8_t* payload);
  void on_reset(std::uint32_t code);
  void on_window_update(std::uint32_t increment);
  bool idle(std::int32_t id) const { return (id & 1) == 0 || id > last_sent_id_; }
  bool received_on_connection(std::uint32_t bytes);
  void received_on_stream(FastStream& stream, std::uint32_t bytes);
  void give_back_connection();
  void give_back_stream(const FastStream& stream);
  void owe(const Control& acknowledgement);
  void fail(std::uint32_t code, std::string_view why);

  // fast_response.cc
  void on_headers(const std::uint8_t* payload);
  bool begin_block(std::int32_t id);
  void read_block(const std::uint8_t* at, const std::uint8_t* end, bool whole);
  void on_field(FastStream& stream, std::string_view name, std::string_view value);
  void capture(FastStream& stream, std::size_t position, std::string_view value);
  void on_block_end(FastStream& stream);
  void judge_block(FastStream& stream);
  void on_body(FastStream& stream, const std::uint8_t* data, std::size_t bytes);
  void on_end_stream(FastStream& stream);
  void end_read(FastStream& stream);
  void settle(FastStream& stream, AnswerKind kind, std::uint32_t code);
  void break_stream(FastStream& stream);
  void reset_stream(FastStream& stream, std::uint32_t code);
  void close(FastStream& stream) { table_.erase(stream); }

  const ClientOptions options_;
  const base::StampCode& stamp_code_ = base::stamp_codes().back();
  BlockHeap heap_;
  FastTable table_;
  HpackWriter writer_;
  HpackReader reader_;
  std::vector<Prepared> prepared_;            // by the same numbers as the writer's lists

  // Out.
  std::int64_t next_id_;
  std::int32_t last_sent_id_ = 0;
  std::int64_t send_window_ = 65'535;
  std::int32_t peer_initial_window_ = 65'535;
  std::uint32_t peer_streams_max_ = 0;
  std::uint32_t open_tags_ = 0;
  std::vector<Control> urgent_;
  std::vector<Control> regular_;
  std::uint32_t acks_owed_ = 0;
  std::vector<std::int32_t> sending_;         // streams whose body may go on, in the order they came to wait
  base::ByteBuffer held_;                     // frames that receive() made; they go out first
  std::vector<char> split_;                   // a block larger than one frame
  std::string goaway_text_;

  // In.
  Reading reading_ = Reading::head;
  FrameHead frame_;
  std::uint32_t left_ = 0;                    // bytes of the payload not yet read
  std::uint32_t padding_ = 0;                 // of them, at its end
  std::vector<std::uint8_t> carry_;           // a head or payload that came in pieces
  Block block_;
  std::vector<std::uint8_t> torn_field_;      // of a block in pieces: from its last whole field on
  TextArena arena_;
  std::int32_t local_initial_window_ = 65'535;  // until our SETTINGS are acknowledged
  std::int32_t local_window_;                   // of the connection
  std::int32_t received_ = 0;                   // of it, since we last gave any back
  bool update_queued_ = false;
  std::uint32_t settings_unacked_ = 1;
  std::array<std::uint32_t, 2> peer_flags_{0, UINT32_MAX};  // ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES
  std::vector<std::int32_t> ids_;               // of streams to end, while they are
  std::int32_t goaway_last_ = static_cast<std::int32_t>(kStreamIdMax);

  std::vector<Answer>* answers_ = nullptr;    // inside receive()
  std::vector<Event>* events_ = nullptr;
  std::vector<std::uint64_t> plain_tags_;     // of the last receive()
  std::vector<Answer> late_;                  // settled outside receive(); they come with the next one
  bool settings_seen_ = false;
  bool goaway_seen_ = false;
  bool goaway_asked_ = false;
  bool goaway_sent_ = false;
  bool failed_ = false;
  Error failure_;
};

}  // namespace tocsin::h2
