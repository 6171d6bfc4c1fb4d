// SPDX-License-Identifier: Apache-2.0
#include "h2/nghttp2_client.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "h2/client_stream.h"
#include "h2/nghttp2_parts.h"
#include "h2/request_body.h"
#include "h2/response_rules.h"

namespace tocsin::h2 {
namespace {

constexpr std::int32_t kStreamIdMax = std::numeric_limits<std::int32_t>::max();

class Nghttp2Client final : public ClientSession {
 public:
  explicit Nghttp2Client(const ClientOptions& options) : options_(options), table_(heap_) {}
  ~Nghttp2Client() override {
    session_.reset();  // before the table and the heap that its memory comes from
    for (void* block : event_blocks_) heap_.free(block);
  }

  Result<void> begin(std::int32_t first_stream_id);

  std::uint32_t prepare(const base::FieldList& fields, const base::BodyShape& shape) override {
    prepared_.push_back(std::make_unique<Prepared>(fields, shape));
    return static_cast<std::uint32_t>(prepared_.size() - 1);
  }
  void forget_prepared() override { prepared_.clear(); }  // write() leaves nothing behind that looks at one
  std::size_t write(std::span<const Request> requests, base::ByteBuffer& out) override;
  void write_pending(base::ByteBuffer& out) override;
  Result<void> receive(base::ByteView bytes, std::vector<Answer>& answers, std::vector<Event>& events) override;
  void ping(std::uint64_t opaque) override;
  bool cancel(std::uint64_t tag) override;
  void goaway() override;

  std::uint32_t can_start() const override;
  std::uint32_t open_streams() const override { return open_tags_; }
  std::uint32_t peer_streams_max() const override {
    return settings_seen_ ? nghttp2_session_get_remote_settings(session_.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
                          : 0;
  }
  bool settings_seen() const override { return settings_seen_; }
  std::int64_t send_window() const override { return nghttp2_session_get_remote_window_size(session_.get()); }
  std::int32_t next_stream_id() const override {
    const std::uint32_t next = nghttp2_session_get_next_stream_id(session_.get());
    return next > static_cast<std::uint32_t>(kStreamIdMax) ? 0 : static_cast<std::int32_t>(next);
  }
  void open_tags(std::vector<Orphan>& out) const override {
    table_.for_each([&](const ClientStream& stream) {
      if (stream.settled) return;
      out.push_back({stream.tag, stream.id, stream.final_seen ? stream.status : std::uint16_t{0}});
    });
  }

 private:
  struct Prepared {
    Prepared(const base::FieldList& list, const base::BodyShape& shape) : fields(list), body(shape) {}
    PreparedFields fields;
    RequestBody body;
  };

  static Nghttp2Client& self(void* user) { return *static_cast<Nghttp2Client*>(user); }
  static CallbacksPtr callbacks();

  void drain(base::ByteBuffer& out);
  bool start(const Request& request, base::ByteBuffer& out);
  void fail(Error error) {
    if (!failed_) failure_ = std::move(error);
    failed_ = true;
  }
  ClientStream* find(std::int32_t id);
  void settle(ClientStream& stream, AnswerKind kind, std::uint32_t error_code);
  void break_stream(ClientStream& stream);
  void close(ClientStream& stream);

  void on_field(ClientStream& stream, std::string_view name, std::string_view value);
  void on_block_end(ClientStream& stream, bool end_stream);
  void on_body(ClientStream& stream, const std::uint8_t* data, std::size_t size);
  void on_end_stream(ClientStream& stream);
  void on_frame(const nghttp2_frame& frame);
  void on_goaway(const nghttp2_goaway& frame);
  void on_goaway_sent(const nghttp2_goaway& frame);
  void on_closed(std::int32_t id, std::uint32_t error_code);

  ClientOptions options_;
  BlockHeap heap_;
  ClientTable table_;
  SessionPtr session_;
  std::vector<std::unique_ptr<Prepared>> prepared_;

  std::uint32_t live_ = 0;       // streams that nghttp2 holds open
  std::uint32_t open_tags_ = 0;  // tags not yet reported
  ClientStream* last_ = nullptr; // of the last look-up: callbacks come in runs for one stream
  ClientStream* starting_ = nullptr;

  base::ByteBuffer held_;              // frames that receive() made; they go out first
  base::ByteBuffer* out_ = nullptr;    // while draining
  std::vector<Answer>* answers_ = nullptr;
  std::vector<Event>* events_ = nullptr;
  std::vector<Answer> late_;           // settled outside receive(); they come with the next one
  std::vector<void*> event_blocks_;

  bool settings_seen_ = false;
  bool goaway_seen_ = false;
  bool goaway_asked_ = false;
  bool push_seen_ = false;
  bool failed_ = false;
  std::int32_t goaway_last_ = kStreamIdMax;
  std::uint32_t own_goaways_ = 0;  // submitted and not yet sent: any other GOAWAY is nghttp2's verdict on the peer
  Error failure_;
};

CallbacksPtr Nghttp2Client::callbacks() {
  nghttp2_session_callbacks* made = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) return {};
  CallbacksPtr callbacks(made);
  nghttp2_session_callbacks_set_on_begin_frame_callback(
      made, [](nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
        if (head->type == NGHTTP2_PUSH_PROMISE) self(user).push_seen_ = true;
        return 0;
      });
  nghttp2_session_callbacks_set_on_header_callback2(
      made, [](nghttp2_session*, const nghttp2_frame* frame, nghttp2_rcbuf* name, nghttp2_rcbuf* value, std::uint8_t,
               void* user) {
        if (ClientStream* stream = self(user).find(frame->hd.stream_id); stream != nullptr && !stream->settled) {
          self(user).on_field(*stream, text_of(name), text_of(value));
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      made, [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* user) {
        if (ClientStream* stream = self(user).find(id); stream != nullptr && !stream->settled) {
          self(user).on_body(*stream, data, size);
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        self(user).on_frame(*frame);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      made, [](nghttp2_session*, std::int32_t id, std::uint32_t error_code, void* user) {
        self(user).on_closed(id, error_code);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_send_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        if (frame->hd.type == NGHTTP2_GOAWAY) self(user).on_goaway_sent(frame->goaway);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_not_send_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
        if (frame->hd.type == NGHTTP2_HEADERS && self(user).starting_ != nullptr) self(user).starting_->not_sent = true;
        return 0;
      });
  nghttp2_session_callbacks_set_send_data_callback(
      made, [](nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t length,
               nghttp2_data_source* source, void* user) {
        append_data_frame(*frame, head, length, static_cast<ClientStream*>(source->ptr)->out, *self(user).out_);
        return 0;
      });
  return callbacks;
}

Result<void> Nghttp2Client::begin(std::int32_t first_stream_id) {
  const CallbacksPtr made_callbacks = callbacks();
  nghttp2_option* made_option = nullptr;
  if (!made_callbacks || nghttp2_option_new(&made_option) != 0) return no_memory("an HTTP/2 client session");
  const OptionPtr option(made_option);
  // on_field() and on_block_end() check what we rely on, at a fraction of the price.
  nghttp2_option_set_no_http_messaging(made_option, 1);
  nghttp2_option_set_max_reserved_remote_streams(made_option, 0);
  nghttp2_option_set_max_continuations(made_option, kContinuationsMax);
  nghttp2_option_set_peer_max_concurrent_streams(made_option, options_.streams_max);

  nghttp2_session* made = nullptr;
  if (nghttp2_session_client_new3(&made, made_callbacks.get(), this, made_option, heap_.mem()) != 0) {
    return no_memory("an HTTP/2 client session");
  }
  session_.reset(made);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, options_.header_table_bytes},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.header_list_max},
      // We send no priorities (RFC 9218 section 2.1); it also spares nghttp2 its dependency tree.
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  if (nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings, std::size(settings)) != 0 ||
      nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0,
                                            static_cast<std::int32_t>(options_.window_bytes)) != 0 ||
      (first_stream_id != 1 && nghttp2_session_set_next_stream_id(made, first_stream_id) != 0)) {
    return Error{Code::invalid_argument,
                 "an HTTP/2 client's window must be 1 to 2147483647 bytes and its first stream id odd"};
  }
  return {};
}

void Nghttp2Client::drain(base::ByteBuffer& out) {
  out_ = &out;
  for (;;) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_.get(), &data);
    if (size <= 0) {
      if (size < 0) fail({Code::internal, std::string("HTTP/2 frames could not be written: ") +
                                              nghttp2_strerror(static_cast<int>(size)) + "; close this connection"});
      break;
    }
    out.append({reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(size)});
  }
  out_ = nullptr;
}

void Nghttp2Client::write_pending(base::ByteBuffer& out) {
  if (!held_.empty()) {
    out.append(held_.readable());
    held_.clear();
  }
  drain(out);
}

std::size_t Nghttp2Client::write(std::span<const Request> requests, base::ByteBuffer& out) {
  write_pending(out);
  const std::uint32_t room = can_start();
  const std::uint32_t stream_window =
      nghttp2_session_get_remote_settings(session_.get(), NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
  std::size_t taken = 0;
  while (taken < requests.size() && taken < room) {
    const Request& request = requests[taken];
    TOCSIN_ASSERT(request.prepared < prepared_.size());
    const bool has_body = prepared_[request.prepared]->body.bytes(request.content.size()) != 0;
    if (has_body && (stream_window == 0 || nghttp2_session_get_remote_window_size(session_.get()) <= 0)) break;
    if (!start(request, out)) break;
    ++taken;
  }
  return taken;
}

// Encodes one request and drains it at once: its memory is still in the cache, nothing queues inside nghttp2, and
// HEADERS and DATA of one push stand together.
bool Nghttp2Client::start(const Request& request, base::ByteBuffer& out) {
  if (failed_) return false;
  Prepared& prepared = *prepared_[request.prepared];
  ClientStream& stream = table_.acquire();
  stream.tag = request.tag;
  RequestBody::UuidText text;  // lives until what is left has been copied
  stream.out.add(base::as_bytes(prepared.body.before()));
  stream.out.add(prepared.body.shown(request.content, text));
  stream.out.add(base::as_bytes(prepared.body.after()));

  const std::span<const nghttp2_nv> fields = prepared.fields.fill(request.slots);
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = [](nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length, std::uint32_t* flags,
                              nghttp2_data_source* source, void*) {
    const std::size_t left = static_cast<ClientStream*>(source->ptr)->out.left;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (left <= length) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(std::min(left, length));
  };
  const std::int32_t id = nghttp2_submit_request(session_.get(), nullptr, fields.data(), fields.size(),
                                                 stream.out.left != 0 ? &provider : nullptr, &stream);
  if (id <= 0) {
    table_.release(stream);
    return false;
  }
  stream.id = id;
  ++live_;
  ++open_tags_;
  starting_ = &stream;
  last_ = &stream;
  drain(out);
  starting_ = nullptr;
  stream.out.keep(heap_);
  if (stream.not_sent && !stream.closed) {
    // nghttp2 found the block unsendable (larger than it may be): nothing of it went out.
    settle(stream, AnswerKind::reset, NGHTTP2_INTERNAL_ERROR);
    close(stream);
  }
  return true;
}

Result<void> Nghttp2Client::receive(base::ByteView bytes, std::vector<Answer>& answers, std::vector<Event>& events) {
  last_ = nullptr;
  table_.release_retired();
  for (void* block : event_blocks_) heap_.free(block);
  event_blocks_.clear();
  answers.insert(answers.end(), late_.begin(), late_.end());
  late_.clear();
  if (failed_) return failure_;

  answers_ = &answers;
  events_ = &events;
  const ssize_t read =
      nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (push_seen_ && !failed_) {
    nghttp2_session_terminate_session(session_.get(), NGHTTP2_PROTOCOL_ERROR);
    drain(held_);
    failed_ = false;
    fail(violation("server", NGHTTP2_PROTOCOL_ERROR, "PUSH_PROMISE although push is off"));
  }
  if (read < 0 && !failed_) {
    const std::uint32_t code = goaway_code(static_cast<int>(read));
    fail(violation("server", code, nghttp2_strerror(static_cast<int>(read))));
    nghttp2_session_terminate_session(session_.get(), code);
  }
  // Here and not only in write_pending(): sending an RST_STREAM closes its stream, and the answer to that
  // belongs to these bytes. It is also where nghttp2's own GOAWAY shows what the peer did wrong.
  drain(held_);
  answers_ = nullptr;
  events_ = nullptr;
  if (failed_) return failure_;
  return {};
}

void Nghttp2Client::ping(std::uint64_t opaque) {
  std::uint8_t bytes[8];
  for (int i = 7; i >= 0; --i, opaque >>= 8) bytes[i] = static_cast<std::uint8_t>(opaque);
  nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, bytes);
}

bool Nghttp2Client::cancel(std::uint64_t tag) {
  ClientStream* found = nullptr;
  table_.for_each([&](ClientStream& stream) {
    if (stream.tag == tag && !stream.settled) found = &stream;
  });
  if (found == nullptr) return false;
  found->settled = true;
  --open_tags_;
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, found->id, NGHTTP2_CANCEL);
  return true;
}

void Nghttp2Client::goaway() {
  if (std::exchange(goaway_asked_, true) || failed_) return;
  if (nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, nullptr, 0) == 0) ++own_goaways_;
}

std::uint32_t Nghttp2Client::can_start() const {
  if (!settings_seen_ || goaway_seen_ || goaway_asked_ || failed_) return 0;
  const std::uint32_t limit = std::min(options_.streams_max, peer_streams_max());
  if (limit <= live_) return 0;
  const std::uint32_t next = nghttp2_session_get_next_stream_id(session_.get());
  if (next > static_cast<std::uint32_t>(kStreamIdMax)) return 0;
  return std::min(limit - live_, (static_cast<std::uint32_t>(kStreamIdMax) - next) / 2 + 1);
}

ClientStream* Nghttp2Client::find(std::int32_t id) {
  if (last_ == nullptr || last_->id != id || last_->closed) {
    last_ = static_cast<ClientStream*>(nghttp2_session_get_stream_user_data(session_.get(), id));
  }
  return last_;
}

// The one place where a tag leaves the table with an answer.
void Nghttp2Client::settle(ClientStream& stream, AnswerKind kind, std::uint32_t error_code) {
  TOCSIN_ASSERT(!stream.settled);
  stream.settled = true;
  --open_tags_;
  Answer answer;
  answer.tag = stream.tag;
  answer.stream_id = stream.id;
  answer.kind = kind;
  answer.error_code = error_code;
  answer.headers_seen = stream.final_seen;
  if (stream.final_seen) answer.status = stream.status;
  if (answers_ == nullptr) {
    late_.push_back(answer);  // without views: they would not live long enough
    return;
  }
  answer.body_cut = stream.body_cut;
  for (std::size_t i = 0; i < options_.captures.size(); ++i) answer.captured[i] = stream.captured_text(i);
  answer.body = stream.body.view();
  answers_->push_back(answer);
}

void Nghttp2Client::break_stream(ClientStream& stream) {
  settle(stream, AnswerKind::broken, NGHTTP2_PROTOCOL_ERROR);
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_PROTOCOL_ERROR);
}

void Nghttp2Client::close(ClientStream& stream) {
  stream.closed = true;
  if (last_ == &stream) last_ = nullptr;
  --live_;
  stream.out.release(heap_);
  table_.retire(stream);
}

void Nghttp2Client::on_field(ClientStream& stream, std::string_view name, std::string_view value) {
  stream.block_bytes += static_cast<std::uint32_t>(name.size() + value.size() + 32);  // RFC 7541 section 4.1
  if (stream.block_bytes > options_.header_list_max) return break_stream(stream);
  if (!name.empty() && name[0] == ':') {
    // A response has one pseudo-field, before all others, and trailers have none.
    const std::uint16_t status = name == ":status" ? status_value(value) : std::uint16_t{0};
    if (status == 0 || stream.final_seen || stream.block_status || stream.block_regular) return break_stream(stream);
    stream.block_status = true;
    stream.status = status;
    return;
  }
  stream.block_regular = true;
  bool wanted = false;
  std::size_t position = 0;
  for (; position < options_.captures.size() && !wanted; ++position) wanted = name == options_.captures[position];
  if ((!wanted && (nghttp2_check_header_name(reinterpret_cast<const std::uint8_t*>(name.data()), name.size()) == 0 ||
                   connection_specific(name))) ||
      nghttp2_check_header_value_rfc9113(reinterpret_cast<const std::uint8_t*>(value.data()), value.size()) == 0) {
    return break_stream(stream);
  }
  if (name.size() == 14 && name == "content-length" && !stream.final_seen) {  // in trailers it means nothing
    const bool twice = stream.length != kNoLength;
    stream.length = length_value(value);
    if (twice || stream.length == kNoLength) return break_stream(stream);
  }
  if (wanted) stream.capture(heap_, position - 1, value);
}

void Nghttp2Client::on_block_end(ClientStream& stream, bool end_stream) {
  const bool has_status = std::exchange(stream.block_status, false);
  stream.block_regular = false;
  stream.block_bytes = 0;
  if (stream.final_seen) {  // trailers
    if (!end_stream) return break_stream(stream);
  } else if (!has_status || stream.status == 101) {  // HTTP/2 has no 101 (RFC 9113 section 8.6)
    return break_stream(stream);
  } else if (stream.status < 200) {
    if (end_stream) return break_stream(stream);
    stream.status = 0;
    stream.length = kNoLength;
    stream.drop_captures(heap_);
  } else {
    stream.final_seen = true;
  }
  if (end_stream) on_end_stream(stream);
}

void Nghttp2Client::on_body(ClientStream& stream, const std::uint8_t* data, std::size_t size) {
  if (!stream.final_seen) return break_stream(stream);
  stream.body_bytes += size;
  const std::size_t room = options_.answer_body_max - stream.body.size;
  if (size > room) stream.body_cut = true;
  stream.body.append(heap_, data, std::min(size, room));
}

void Nghttp2Client::on_end_stream(ClientStream& stream) {
  if (!stream.final_seen) return break_stream(stream);
  // RFC 9113 section 8.1.1; a 304 tells the length of what it leaves out. The status that was read stands.
  if (stream.length != kNoLength && stream.length != stream.body_bytes && stream.status != 304) {
    return break_stream(stream);
  }
  settle(stream, AnswerKind::complete, NGHTTP2_NO_ERROR);
  // Answered before the whole body went out: the rest is of no use to anybody, and the slot is.
  if (stream.out.left != 0) nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL);
}

void Nghttp2Client::on_frame(const nghttp2_frame& frame) {
  const bool ack = (frame.hd.flags & NGHTTP2_FLAG_ACK) != 0;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
      ClientStream* stream = find(frame.hd.stream_id);
      if (stream == nullptr || stream->settled) return;
      const bool end_stream = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
      if (frame.hd.type == NGHTTP2_HEADERS) return on_block_end(*stream, end_stream);
      if (end_stream) on_end_stream(*stream);
      return;
    }
    case NGHTTP2_RST_STREAM:
      if (ClientStream* stream = find(frame.hd.stream_id); stream != nullptr) stream->peer_reset = true;
      return;
    case NGHTTP2_SETTINGS:
      if (!ack) settings_seen_ = true;
      events_->push_back({ack ? EventKind::settings_ack : EventKind::settings, 0, 0, 0, {}});
      return;
    case NGHTTP2_PING: {
      if (!ack) return;
      std::uint64_t opaque = 0;
      for (const std::uint8_t byte : frame.ping.opaque_data) opaque = opaque << 8 | byte;
      events_->push_back({EventKind::ping_ack, 0, 0, opaque, {}});
      return;
    }
    case NGHTTP2_GOAWAY: return on_goaway(frame.goaway);
    default: return;
  }
}

// nghttp2 calls this before it closes the streams above the last id.
void Nghttp2Client::on_goaway(const nghttp2_goaway& frame) {
  goaway_seen_ = true;
  goaway_last_ = frame.last_stream_id;
  Event event{EventKind::goaway, frame.last_stream_id, frame.error_code, 0, {}};
  if (frame.opaque_data_len != 0) {
    GrowBlock debug;
    debug.append(heap_, frame.opaque_data, frame.opaque_data_len);
    event_blocks_.push_back(debug.data);
    event.debug = base::as_text(debug.view());
  }
  events_->push_back(event);
}

void Nghttp2Client::on_goaway_sent(const nghttp2_goaway& frame) {
  if (own_goaways_ != 0) {
    --own_goaways_;
    return;
  }
  fail(violation("server", frame.error_code,
                 {reinterpret_cast<const char*>(frame.opaque_data), frame.opaque_data_len}));
}

void Nghttp2Client::on_closed(std::int32_t id, std::uint32_t error_code) {
  ClientStream* stream = find(id);
  if (stream == nullptr) return;
  if (!stream->settled) {
    // The code alone does not tell: RST_STREAM(NO_ERROR) closes with 0, as success does.
    const bool by_peer = stream->peer_reset || stream->not_sent || (goaway_seen_ && id > goaway_last_);
    settle(*stream, by_peer ? AnswerKind::reset : AnswerKind::broken, error_code);
  }
  close(*stream);
}

}  // namespace

Result<std::unique_ptr<ClientSession>> make_nghttp2_client_at(const ClientOptions& options,
                                                              std::int32_t first_stream_id) {
  if (options.captures.size() > kCapturesMax) {
    return Error{Code::invalid_argument, "an HTTP/2 client captures at most 2 response fields; name fewer"};
  }
  auto client = std::make_unique<Nghttp2Client>(options);
  if (auto begun = client->begin(first_stream_id); !begun) return std::move(begun).error();
  return std::unique_ptr<ClientSession>(std::move(client));
}

Result<std::unique_ptr<ClientSession>> make_nghttp2_client(const ClientOptions& options) {
  return make_nghttp2_client_at(options, 1);
}

}  // namespace tocsin::h2
