// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "h2/nghttp2_parts.h"
#include "h2/server_session.h"

namespace tocsin::h2 {
namespace {

// One request's stream. Its field texts sit in blocks that never move, so that views can be handed out.
struct ServerStream {
  static constexpr std::size_t kTextBytes = 496;  // a push request's fields are about 400 bytes

  std::int32_t id = 0;
  bool handed = false;     // its views are out until the next receive()
  bool closed = false;
  bool complete = false;   // END_STREAM was read and the request handed out
  bool answered = false;
  bool dropped = false;    // malformed or reset by us: never handed out
  bool body_cut = false;
  bool block_seen = false; // its request's fields are complete; what follows is trailers
  std::uint32_t list_bytes = 0;
  std::uint64_t body_bytes = 0;
  std::uint32_t unconsumed = 0;  // of its window: read, and no WINDOW_UPDATE given

  struct TextBlock {
    TextBlock* older;
    std::size_t pad;
  };
  TextBlock* texts = nullptr;
  std::byte* text_at = nullptr;
  std::size_t text_left = 0;
  GrowBlock fields;  // of FieldView
  GrowBlock body;
  OutBody out;       // of the answer

  std::string_view keep(BlockHeap& heap, std::string_view text) {
    if (text.empty()) return {};
    if (text_left < text.size()) {
      void* memory = heap.allocate(sizeof(TextBlock) + std::max(text.size(), kTextBytes));
      TOCSIN_ASSERT(memory != nullptr);
      texts = new (memory) TextBlock{texts, 0};
      text_at = reinterpret_cast<std::byte*>(texts + 1);
      text_left = BlockHeap::usable(memory) - sizeof(TextBlock);
    }
    std::byte* at = text_at;
    std::memcpy(at, text.data(), text.size());
    text_at += text.size();
    text_left -= text.size();
    return {reinterpret_cast<const char*>(at), text.size()};
  }
  void release_request(BlockHeap& heap) {
    while (texts != nullptr) heap.free(std::exchange(texts, texts->older));
    text_at = nullptr;
    text_left = 0;
    fields.release(heap);
    body.release(heap);
  }
  std::span<const FieldView> field_views() const {
    return {reinterpret_cast<const FieldView*>(fields.data), fields.size / sizeof(FieldView)};
  }
};

std::uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));  // nghttp2_nv is not const-correct; it only reads
}

// Of these HPACK's static table holds name and value (RFC 7541 appendix A).
bool in_static_table(unsigned status) {
  return status == 200 || status == 204 || status == 206 || status == 304 || status == 400 || status == 404 || status == 500;
}

class Nghttp2Server final : public ServerSession {
 public:
  explicit Nghttp2Server(const ServerOptions& options) : options_(options) {}
  ~Nghttp2Server() override;

  Result<void> begin();

  Result<void> receive(base::ByteView bytes, std::vector<ServerRequest>& requests) override;
  bool respond(std::int32_t stream_id, unsigned status, std::span<const FieldView> fields, base::ByteView body) override;
  void reset(std::int32_t stream_id, std::uint32_t error_code) override;
  void goaway(std::int32_t last_stream_id, std::uint32_t error_code, std::string_view debug) override;
  void set_streams_max(std::uint32_t streams_max) override {
    const std::pair<std::uint16_t, std::uint32_t> entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_max};
    set_settings({&entry, 1});
  }
  void inject(base::ByteView frames) override {
    drain();
    held_.append(frames);
  }
  void set_initial_window(std::uint32_t bytes) override {
    const std::pair<std::uint16_t, std::uint32_t> entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, bytes};
    set_settings({&entry, 1});
  }
  void set_auto_window_update(bool on) override;
  void set_auto_ping_ack(bool on) override { ping_ack_ = on; }
  void split_headers(std::size_t bytes) override {
    drain();  // what is pending goes as it was asked for
    split_bytes_ = bytes;
  }
  void set_settings(std::span<const std::pair<std::uint16_t, std::uint32_t>> entries) override;
  std::uint64_t pings_seen() const override { return pings_; }
  void write_pending(base::ByteBuffer& out) override;

  std::uint32_t open_streams() const override { return open_; }
  std::int32_t last_stream_id() const override { return highest_; }
  bool finished() const override { return client_goaway_ && open_ == 0; }
  bool settings_acknowledged() const override { return settings_unacknowledged_ == 0; }
  bool client_goaway() const override { return client_goaway_; }
  std::uint32_t client_table() const override {
    return nghttp2_session_get_remote_settings(session_.get(), NGHTTP2_SETTINGS_HEADER_TABLE_SIZE);
  }
  std::int64_t receive_window() const override { return nghttp2_session_get_local_window_size(session_.get()); }
  std::int64_t send_window() const override { return nghttp2_session_get_remote_window_size(session_.get()); }

 private:
  static Nghttp2Server& self(void* user) { return *static_cast<Nghttp2Server*>(user); }
  static CallbacksPtr callbacks();

  void fail(Error error) {
    if (!failed_) failure_ = std::move(error);
    failed_ = true;
  }
  void drain();
  ServerStream* find(std::int32_t id);
  ServerStream& acquire(std::int32_t id);
  void recycle(ServerStream& stream);
  void drop(ServerStream& stream, std::uint32_t error_code);

  void on_begin(std::int32_t id);
  void on_field(ServerStream& stream, std::string_view name, std::string_view value);
  void on_body(ServerStream& stream, const std::uint8_t* data, std::size_t size);
  void on_frame(const nghttp2_frame& frame);
  void on_closed(std::int32_t id);
  void on_ping(const nghttp2_ping& frame);
  void on_goaway_sent(const nghttp2_goaway& frame);
  void consume_stream(ServerStream& stream);
  void consume_connection();

  ServerOptions options_;
  BlockHeap heap_;
  SessionPtr session_;
  std::vector<std::unique_ptr<ServerStream>> streams_;
  std::vector<ServerStream*> free_;
  std::vector<ServerStream*> handed_;
  std::vector<nghttp2_nv> response_;

  ServerStream* last_ = nullptr;  // of the last look-up: callbacks come in runs for one stream
  std::uint32_t open_ = 0;
  std::int32_t highest_ = 0;
  base::ByteBuffer held_;  // frames not yet collected by write_pending()
  std::vector<ServerRequest>* requests_ = nullptr;
  bool client_goaway_ = false;
  bool failed_ = false;
  bool window_update_ = true;
  bool ping_ack_ = true;
  unsigned settings_unacknowledged_ = 1;  // the first are begin()'s
  std::size_t unconsumed_ = 0;   // of the connection's window
  std::size_t split_bytes_ = 0;  // 0: header blocks go as nghttp2 frames them
  std::uint64_t pings_ = 0;
  std::uint32_t own_goaways_ = 0;  // submitted and not yet sent: any other GOAWAY is nghttp2's verdict on the client
  Error failure_;
};

Nghttp2Server::~Nghttp2Server() {
  session_.reset();
  for (const auto& stream : streams_) {
    stream->release_request(heap_);
    stream->out.release(heap_);
  }
}

CallbacksPtr Nghttp2Server::callbacks() {
  nghttp2_session_callbacks* made = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) return {};
  CallbacksPtr callbacks(made);
  nghttp2_session_callbacks_set_on_begin_headers_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          self(user).on_begin(frame->hd.stream_id);
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_header_callback2(
      made, [](nghttp2_session*, const nghttp2_frame* frame, nghttp2_rcbuf* name, nghttp2_rcbuf* value, std::uint8_t,
               void* user) {
        if (ServerStream* stream = self(user).find(frame->hd.stream_id); stream != nullptr && !stream->dropped) {
          self(user).on_field(*stream, text_of(name), text_of(value));
        }
        return 0;
      });
  // nghttp2 would skip a bad field and let the request through; this answer makes it PROTOCOL_ERROR.
  nghttp2_session_callbacks_set_on_invalid_header_callback2(
      made, [](nghttp2_session*, const nghttp2_frame* frame, nghttp2_rcbuf*, nghttp2_rcbuf*, std::uint8_t, void* user) {
        if (ServerStream* stream = self(user).find(frame->hd.stream_id); stream != nullptr) stream->dropped = true;
        return static_cast<int>(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE);
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      made, [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* user) {
        self(user).unconsumed_ += size;
        if (ServerStream* stream = self(user).find(id); stream != nullptr) {
          stream->unconsumed += static_cast<std::uint32_t>(size);
          if (!stream->dropped) self(user).on_body(*stream, data, size);
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        self(user).on_frame(*frame);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      made, [](nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
        self(user).on_closed(id);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_send_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        if (frame->hd.type == NGHTTP2_GOAWAY) self(user).on_goaway_sent(frame->goaway);
        return 0;
      });
  nghttp2_session_callbacks_set_send_data_callback(
      made, [](nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t length,
               nghttp2_data_source* source, void* user) {
        append_data_frame(*frame, head, length, static_cast<ServerStream*>(source->ptr)->out, self(user).held_);
        return 0;
      });
  return callbacks;
}

Result<void> Nghttp2Server::begin() {
  const CallbacksPtr made_callbacks = callbacks();
  nghttp2_option* made_option = nullptr;
  if (!made_callbacks || nghttp2_option_new(&made_option) != 0) return no_memory("an HTTP/2 server session");
  const OptionPtr option(made_option);
  // Closed streams are kept for a priority tree that nobody here asks.
  nghttp2_option_set_no_closed_streams(made_option, 1);
  // Both are ours, so that the mock can leave them out; one WINDOW_UPDATE for a whole receive() is also cheaper.
  nghttp2_option_set_no_auto_window_update(made_option, 1);
  nghttp2_option_set_no_auto_ping_ack(made_option, 1);
  nghttp2_option_set_max_continuations(made_option, kContinuationsMax);
  // nghttp2 limits RST_STREAM by reading a clock, which a pure room has not; so high, the limit never decides.
  constexpr std::uint64_t kNeverReached = 1ull << 30;
  nghttp2_option_set_stream_reset_rate_limit(made_option, kNeverReached, kNeverReached);

  nghttp2_session* made = nullptr;
  if (nghttp2_session_server_new3(&made, made_callbacks.get(), this, made_option, heap_.mem()) != 0) {
    return no_memory("an HTTP/2 server session");
  }
  session_.reset(made);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, options_.header_table_bytes},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.window_bytes},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, options_.frame_bytes_max},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.header_list_max},
  };
  if (nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings, std::size(settings)) != 0 ||
      nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0,
                                            static_cast<std::int32_t>(options_.connection_window_bytes)) != 0) {
    return Error{Code::invalid_argument,
                 "an HTTP/2 server's windows must be below 2147483648 bytes and its frames 16384 to 16777215"};
  }
  return {};
}

void Nghttp2Server::drain() {
  for (;;) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_.get(), &data);
    if (size <= 0) {
      if (size < 0) fail({Code::internal, std::string("HTTP/2 frames could not be written: ") +
                                              nghttp2_strerror(static_cast<int>(size)) + "; close this connection"});
      return;
    }
    const base::ByteView frames(reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(size));
    if (split_bytes_ == 0) {
      held_.append(frames);
    } else {
      append_split_headers(frames, split_bytes_, held_);
    }
  }
}

void Nghttp2Server::write_pending(base::ByteBuffer& out) {
  drain();
  if (held_.empty()) return;
  if (out.empty()) {
    out.swap(held_);
  } else {
    out.append(held_.readable());
  }
  held_.clear();
}

Result<void> Nghttp2Server::receive(base::ByteView bytes, std::vector<ServerRequest>& requests) {
  last_ = nullptr;
  for (ServerStream* stream : handed_) {
    stream->handed = false;
    stream->release_request(heap_);
    if (stream->closed) recycle(*stream);
  }
  handed_.clear();
  if (failed_) return failure_;
  requests_ = &requests;
  const ssize_t read =
      nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (window_update_) consume_connection();
  if (read == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
    fail(violation("client", NGHTTP2_PROTOCOL_ERROR, "it does not begin with HTTP/2's preface"));
  } else if (read < 0 && !failed_) {
    const std::uint32_t code = goaway_code(static_cast<int>(read));
    fail(violation("client", code, nghttp2_strerror(static_cast<int>(read))));
    nghttp2_session_terminate_session(session_.get(), code);
  }
  drain();  // nghttp2's own GOAWAY shows what the client did wrong
  requests_ = nullptr;
  if (failed_) return failure_;
  return {};
}

// The answer is encoded at once: nothing needs to be copied that the caller owns, save what windows hold back.
bool Nghttp2Server::respond(std::int32_t stream_id, unsigned status, std::span<const FieldView> fields,
                            base::ByteView body) {
  TOCSIN_ASSERT(status >= 100 && status <= 999);
  ServerStream* stream = failed_ ? nullptr : find(stream_id);
  if (stream == nullptr || !stream->complete || stream->answered || stream->dropped) return false;
  stream->answered = true;
  stream->out.add(body);

  const char digits[3] = {static_cast<char>('0' + status / 100), static_cast<char>('0' + status / 10 % 10),
                          static_cast<char>('0' + status % 10)};
  constexpr std::uint8_t kNoCopy = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  response_.clear();
  const bool literal = options_.literal_answers;
  const auto status_flags = static_cast<std::uint8_t>(kNoCopy | (literal && !in_static_table(status) ? NGHTTP2_NV_FLAG_NO_INDEX : 0));
  response_.push_back({bytes_of(":status"), bytes_of({digits, 3}), 7, 3, status_flags});
  for (const FieldView& field : fields) {
    const auto flags = static_cast<std::uint8_t>(kNoCopy | (literal || field.literal ? NGHTTP2_NV_FLAG_NO_INDEX : 0));
    response_.push_back({bytes_of(field.name), bytes_of(field.value), field.name.size(), field.value.size(), flags});
  }
  nghttp2_data_provider provider{};
  provider.source.ptr = stream;
  provider.read_callback = [](nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length, std::uint32_t* flags,
                              nghttp2_data_source* source, void*) {
    const std::size_t left = static_cast<ServerStream*>(source->ptr)->out.left;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (left <= length) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(std::min(left, length));
  };
  if (nghttp2_submit_response(session_.get(), stream_id, response_.data(), response_.size(),
                              stream->out.left != 0 ? &provider : nullptr) != 0) {
    stream->out.release(heap_);
    return false;
  }
  drain();
  if (stream->id == stream_id && !stream->closed) stream->out.keep(heap_);
  return true;
}

void Nghttp2Server::reset(std::int32_t stream_id, std::uint32_t error_code) {
  if (ServerStream* stream = find(stream_id); stream != nullptr && !stream->dropped) drop(*stream, error_code);
}

void Nghttp2Server::goaway(std::int32_t last_stream_id, std::uint32_t error_code, std::string_view debug) {
  if (last_stream_id < 0) last_stream_id = highest_;
  // The graceful first half of a shutdown (RFC 9113 section 6.8): new streams are still served after it, which
  // nghttp2 does only for its own notice.
  constexpr std::int32_t kAll = 0x7fffffff;
  const int submitted = last_stream_id == kAll && error_code == NGHTTP2_NO_ERROR && debug.empty()
                            ? nghttp2_submit_shutdown_notice(session_.get())
                            : nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, last_stream_id, error_code,
                                                    bytes_of(debug), debug.size());
  if (submitted == 0) ++own_goaways_;
}

void Nghttp2Server::set_settings(std::span<const std::pair<std::uint16_t, std::uint32_t>> entries) {
  std::vector<nghttp2_settings_entry> settings;
  for (const auto& [id, value] : entries) {
    settings.push_back({id, value});
    if (id == NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE) options_.header_list_max = value;
  }
  ++settings_unacknowledged_;
  if (nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings.data(), settings.size()) != 0) {
    drain();
    append_settings(entries, held_);
  }
}

void Nghttp2Server::set_auto_window_update(bool on) {
  window_update_ = on;
  if (!on) return;
  for (const auto& stream : streams_) {
    if (stream->id != 0 && !stream->closed) consume_stream(*stream);
  }
  consume_connection();
}

void Nghttp2Server::consume_stream(ServerStream& stream) {
  if (const std::uint32_t bytes = std::exchange(stream.unconsumed, 0); bytes != 0) {
    nghttp2_session_consume_stream(session_.get(), stream.id, bytes);
  }
}

void Nghttp2Server::consume_connection() {
  if (const std::size_t bytes = std::exchange(unconsumed_, 0); bytes != 0) {
    nghttp2_session_consume_connection(session_.get(), bytes);
  }
}

ServerStream* Nghttp2Server::find(std::int32_t id) {
  if (last_ == nullptr || last_->id != id || last_->closed) {
    last_ = static_cast<ServerStream*>(nghttp2_session_get_stream_user_data(session_.get(), id));
  }
  return last_;
}

ServerStream& Nghttp2Server::acquire(std::int32_t id) {
  if (free_.empty()) {
    streams_.push_back(std::make_unique<ServerStream>());
    free_.push_back(streams_.back().get());
    free_.reserve(streams_.capacity());
  }
  ServerStream& stream = *free_.back();
  free_.pop_back();
  stream.id = id;
  return stream;
}

void Nghttp2Server::recycle(ServerStream& stream) {
  stream.release_request(heap_);
  stream.out.release(heap_);
  if (last_ == &stream) last_ = nullptr;
  stream = ServerStream{};
  free_.push_back(&stream);
}

void Nghttp2Server::drop(ServerStream& stream, std::uint32_t error_code) {
  stream.dropped = true;
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id, error_code);
}

void Nghttp2Server::on_begin(std::int32_t id) {
  ServerStream& stream = acquire(id);
  nghttp2_session_set_stream_user_data(session_.get(), id, &stream);
  last_ = &stream;
  stream.fields.reserve(heap_, 16 * sizeof(FieldView));  // a push request has about ten
  highest_ = std::max(highest_, id);
  ++open_;
}

void Nghttp2Server::on_field(ServerStream& stream, std::string_view name, std::string_view value) {
  stream.list_bytes += static_cast<std::uint32_t>(name.size() + value.size() + 32);  // RFC 7541 section 4.1
  if (stream.list_bytes > options_.header_list_max) return drop(stream, NGHTTP2_PROTOCOL_ERROR);
  if (stream.block_seen) return;  // trailers say nothing that anybody here reads
  const FieldView field{stream.keep(heap_, name), stream.keep(heap_, value)};
  stream.fields.append(heap_, &field, sizeof field);
}

void Nghttp2Server::on_body(ServerStream& stream, const std::uint8_t* data, std::size_t size) {
  stream.body_bytes += size;
  const std::size_t room = options_.body_max - stream.body.size;
  if (size > room) stream.body_cut = true;
  stream.body.append(heap_, data, std::min(size, room));
}

void Nghttp2Server::on_frame(const nghttp2_frame& frame) {
  if (frame.hd.type == NGHTTP2_GOAWAY) client_goaway_ = true;
  if (frame.hd.type == NGHTTP2_PING) return on_ping(frame.ping);
  if (frame.hd.type == NGHTTP2_SETTINGS && (frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) --settings_unacknowledged_;
  if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return;
  ServerStream* stream = find(frame.hd.stream_id);
  if (stream == nullptr || stream->dropped || stream->complete) return;
  stream->block_seen = true;
  if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
    // Of a stream that has ended nobody needs a window.
    if (window_update_ && frame.hd.type == NGHTTP2_DATA) consume_stream(*stream);
    return;
  }
  stream->complete = true;
  stream->handed = true;
  handed_.push_back(stream);
  requests_->push_back({stream->id, stream->field_views(), stream->body.view(), stream->body_bytes, stream->body_cut});
}

void Nghttp2Server::on_closed(std::int32_t id) {
  ServerStream* stream = find(id);
  if (stream == nullptr) return;
  if (last_ == stream) last_ = nullptr;
  stream->closed = true;
  stream->out.release(heap_);
  --open_;
  if (!stream->handed) recycle(*stream);
}

void Nghttp2Server::on_ping(const nghttp2_ping& frame) {
  if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) return;
  ++pings_;
  if (ping_ack_ && nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_ACK, frame.opaque_data) != 0) {
    fail(violation("client", NGHTTP2_ENHANCE_YOUR_CALM, "more PINGs at once than there is room to answer"));
    nghttp2_session_terminate_session(session_.get(), NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

void Nghttp2Server::on_goaway_sent(const nghttp2_goaway& frame) {
  if (own_goaways_ != 0) {
    --own_goaways_;
    return;
  }
  fail(violation("client", frame.error_code,
                 {reinterpret_cast<const char*>(frame.opaque_data), frame.opaque_data_len}));
}

}  // namespace

Result<std::unique_ptr<ServerSession>> make_nghttp2_server(const ServerOptions& options) {
  auto server = std::make_unique<Nghttp2Server>(options);
  if (auto begun = server->begin(); !begun) return std::move(begun).error();
  return std::unique_ptr<ServerSession>(std::move(server));
}

}  // namespace tocsin::h2
