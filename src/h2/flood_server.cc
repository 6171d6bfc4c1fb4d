// SPDX-License-Identifier: Apache-2.0
#include "h2/flood_server.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "h2/nghttp2_parts.h"

namespace tocsin::h2 {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kHeadBytes = 9;
constexpr std::uint32_t kIdMask = 0x7fffffff;
constexpr std::int64_t kWindowMax = 0x7fffffff;
constexpr std::uint32_t kBlockBytesMax = 64 * 1024;
constexpr std::size_t kDroppedMax = 4096;  // streams that were refused and not ended by the client

std::uint32_t word_at(const std::uint8_t* at) {
  std::uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap32(value);
}
void put_word(std::uint8_t* at, std::uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(at, &value, sizeof value);
}
std::uint32_t length_at(const std::uint8_t* head) { return word_at(head) >> 8; }
const std::uint8_t* octets(base::ByteView bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }

bool opens_block(std::uint8_t type) { return type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION; }

}  // namespace

std::size_t FrameCursor::advance(base::ByteView bytes, bool stop) {
  const std::uint8_t* data = octets(bytes);
  std::size_t at = 0;
  for (;;) {
    if (stop && between_frames()) return at;
    if (at == bytes.size()) return at;
    if (left_ != 0) {
      const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - at));
      if (echo_ != nullptr && opens_block(head_[3])) block_.append(bytes.subspan(at, step));
      left_ -= step;
      at += step;
      if (left_ == 0) end_frame();
      continue;
    }
    const std::size_t step = std::min<std::size_t>(kHeadBytes - head_bytes_, bytes.size() - at);
    std::memcpy(head_ + head_bytes_, data + at, step);
    head_bytes_ += static_cast<unsigned>(step);
    at += step;
    if (head_bytes_ < kHeadBytes) return at;
    head_bytes_ = 0;
    left_ = length_at(head_);
    if (opens_block(head_[3])) in_block_ = (head_[4] & NGHTTP2_FLAG_END_HEADERS) == 0;
    if (left_ == 0) end_frame();
  }
}

// What is no HPACK is for the session behind the cursor to refuse.
void FrameCursor::end_frame() {
  if (echo_ == nullptr || !opens_block(head_[3])) return;
  base::ByteView part = block_.readable();
  RequestEcho::Uuid unused;
  if (head_[3] == NGHTTP2_HEADERS && (head_[4] & NGHTTP2_FLAG_PADDED) != 0 && !part.empty()) {
    const std::size_t pad = std::to_integer<std::size_t>(part.front());
    part = part.subspan(1, part.size() - 1 > pad ? part.size() - 1 - pad : 0);
  }
  if (head_[3] == NGHTTP2_HEADERS && (head_[4] & NGHTTP2_FLAG_PRIORITY) != 0) part = part.subspan(std::min<std::size_t>(5, part.size()));
  (void)echo_->read(part, !in_block_, unused);
  block_.clear();
}

std::size_t first_answer(base::ByteView frames) {
  const std::uint8_t* data = octets(frames);
  std::size_t at = kHeadBytes + length_at(data);
  TOCSIN_ASSERT(at <= frames.size());
  if (data[3] != NGHTTP2_HEADERS || (data[4] & NGHTTP2_FLAG_END_STREAM) != 0) return at;
  const std::uint32_t id = word_at(data + 5);
  while (frames.size() - at >= kHeadBytes && word_at(data + at + 5) == id) {
    const bool last = (data[at + 4] & NGHTTP2_FLAG_END_STREAM) != 0;
    at += kHeadBytes + length_at(data + at);
    if (last) break;
  }
  return at;
}

FloodServer::FloodServer(const ServerOptions& options, std::unique_ptr<RequestEcho> echo)
    : options_(options), echo_(std::move(echo)), refused_above_(kIdMask), streams_(64) {
  const std::pair<std::uint16_t, std::uint32_t> entries[] = {
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, options_.header_table_bytes},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.window_bytes},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, options_.frame_bytes_max},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.header_list_max},
  };
  append_settings(entries, control_);
  settings_unacknowledged_ = 1;
  window_size_ = std::max<std::int64_t>(options_.connection_window_bytes, window_left_);
  if (window_size_ != window_left_) give_back();
}

FloodServer::FloodServer(const ServerOptions& options, ServerSession& older, std::unique_ptr<RequestEcho> echo)
    : options_(options), echo_(std::move(echo)), older_(&older), older_last_(static_cast<std::uint32_t>(older.last_stream_id())),
      preface_bytes_(kPreface.size()), settings_seen_(true), last_(older_last_), refused_above_(kIdMask), streams_(64),
      stream_window_(options.window_bytes) {
  older.write_pending(control_);
  window_size_ = std::max<std::int64_t>(options_.connection_window_bytes, window_size_);
  window_left_ = older.receive_window();
  send_window_ = older.send_window();
  client_goaway_ = older.client_goaway();
  if (older.client_table() < 4096) shrink_table();  // maybe no block of the older session has said so
}

Result<std::size_t> FloodServer::receive(base::ByteView bytes, std::vector<ServerRequest>& requests) {
  if (failed_) return failure_;
  requests_ = &requests;
  const std::uint8_t* const begin = octets(bytes);
  const std::uint8_t* const end = begin + bytes.size();
  const std::uint8_t* at = begin;
  while (preface_bytes_ < kPreface.size() && at != end) {
    if (*at++ == static_cast<std::uint8_t>(kPreface[preface_bytes_++])) continue;
    failed_ = true;  // nobody there would understand a GOAWAY
    control_.clear();
    failure_ = violation("client", NGHTTP2_PROTOCOL_ERROR, "it does not begin with HTTP/2's preface");
    return failure_;
  }
  const std::size_t before = requests.size();
  do {
    take_usual(at, end);
  } while (step(at, end) && !failed_ && requests.size() == before);
  requests_ = nullptr;
  if (failed_) return failure_;
  if (window_left_ <= window_size_ / 2) give_back();
  return static_cast<std::size_t>(at - begin);
}

// Requests as nearly all of them come: HEADERS of a new stream, whole, and its DATA, which ends it, one behind the other, with
// nothing to look at twice. Stops at anything else.
void FloodServer::take_usual(const std::uint8_t*& at, const std::uint8_t* end) {
  if (!held_.empty() || echo_ != nullptr || block_id_ != 0 || youngest_.id != 0 || !settings_seen_) return;
  const std::uint32_t others = older_ != nullptr ? older_->open_streams() : 0;
  const std::uint8_t* from = at;
  while (static_cast<std::size_t>(end - from) >= 2 * kHeadBytes) {
    const std::uint32_t block = length_at(from);
    const std::uint32_t id = word_at(from + 5) & kIdMask;
    if (from[3] != NGHTTP2_HEADERS || from[4] != NGHTTP2_FLAG_END_HEADERS || block == 0 || block > options_.frame_bytes_max ||
        (id & 1) == 0 || id <= last_ || id > refused_above_ || open_ + others >= options_.streams_max ||
        static_cast<std::size_t>(end - from) < 2 * kHeadBytes + block) {
      break;
    }
    const std::uint8_t* const data = from + kHeadBytes + block;
    const std::uint32_t bytes = length_at(data);
    if (data[3] != NGHTTP2_DATA || data[4] != NGHTTP2_FLAG_END_STREAM || (word_at(data + 5) & kIdMask) != id ||
        bytes > options_.frame_bytes_max || bytes > window_left_ || bytes > stream_window_ ||
        static_cast<std::size_t>(end - data) < kHeadBytes + bytes) {
      break;
    }
    from = data + kHeadBytes + bytes;
    last_ = id;
    ++open_;
    ++counts_.streams;
    ++counts_.end_streams;
    counts_.body_bytes += bytes;
    window_left_ -= bytes;
    waiting_.push_back(id);
  }
  at = from;
}

// One whole frame, from what is held and what has come. False: there is none; what there is of it is held.
bool FloodServer::step(const std::uint8_t*& at, const std::uint8_t* end) {
  const auto hold = [&](std::size_t whole) {
    const std::size_t more = std::min<std::size_t>(whole - held_.size(), static_cast<std::size_t>(end - at));
    held_.append(base::ByteView(reinterpret_cast<const std::byte*>(at), more));
    at += more;
    return held_.size() == whole;
  };
  const std::uint8_t* head_text = at;
  if (!held_.empty() || static_cast<std::size_t>(end - at) < kHeadBytes) {
    if (held_.size() < kHeadBytes && !hold(kHeadBytes)) return false;
    head_text = octets(held_.readable());
  }
  const Head head{length_at(head_text), head_text[3], head_text[4], word_at(head_text + 5) & kIdMask};
  if (head.length > options_.frame_bytes_max) {
    fail(NGHTTP2_FRAME_SIZE_ERROR, "a frame larger than MAX_FRAME_SIZE");
    return false;
  }
  const std::size_t whole = kHeadBytes + head.length;
  if (held_.empty() && static_cast<std::size_t>(end - at) >= whole) {
    take(head, at + kHeadBytes);
    at += whole;
    return true;
  }
  if (!hold(whole)) return false;
  take(head, octets(held_.readable()) + kHeadBytes);
  held_.clear();
  return true;
}

void FloodServer::take(const Head& head, const std::uint8_t* payload) {
  if (block_id_ != 0 && (head.type != NGHTTP2_CONTINUATION || head.id != block_id_)) {
    return fail(NGHTTP2_PROTOCOL_ERROR, "a frame inside a field block");
  }
  if (head.type == NGHTTP2_DATA) return on_data(head, payload);
  if (head.type == NGHTTP2_HEADERS && settings_seen_) return on_headers(head, payload);
  if (!settings_seen_ && (head.type != NGHTTP2_SETTINGS || (head.flags & NGHTTP2_FLAG_ACK) != 0)) {
    return fail(NGHTTP2_PROTOCOL_ERROR, "the first frame is not SETTINGS");
  }
  if (head.type == NGHTTP2_CONTINUATION) return on_continuation(head, payload);
  on_control(head, payload);
}

// How much of the payload is content. False: the connection has failed.
bool FloodServer::unpad(const Head& head, const std::uint8_t* payload, std::uint32_t& content) {
  content = head.length;
  if ((head.flags & NGHTTP2_FLAG_PADDED) != 0) {
    if (head.length == 0) return fail(NGHTTP2_FRAME_SIZE_ERROR, "no room for the pad length"), false;
    if (payload[0] >= head.length) return fail(NGHTTP2_PROTOCOL_ERROR, "padding longer than the payload"), false;
    content -= 1u + payload[0];
  }
  if (head.type == NGHTTP2_HEADERS && (head.flags & NGHTTP2_FLAG_PRIORITY) != 0) {
    if (content < 5) return fail(NGHTTP2_FRAME_SIZE_ERROR, "no room for priority fields"), false;
    content -= 5;
  }
  return true;
}

void FloodServer::on_headers(const Head& head, const std::uint8_t* payload) {
  std::uint32_t content = head.length;
  if ((head.flags & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)) != 0 && !unpad(head, payload, content)) return;
  const bool ended = (head.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (head.id == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "HEADERS on stream 0");
  block_opens_ = head.id > last_;
  if (block_opens_) {
    if ((head.id & 1) == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "an even stream id");
    if (youngest_.id != 0) insert(std::exchange(youngest_, {}));
    last_ = head.id;
    if (head.id > refused_above_) {
      refuse(head.id, NGHTTP2_REFUSED_STREAM, ended);
    } else if (open_streams() >= options_.streams_max) {
      if (settings_unacknowledged_ == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "more streams than MAX_CONCURRENT_STREAMS");
      refuse(head.id, NGHTTP2_REFUSED_STREAM, ended);
    } else {
      ++counts_.streams;
      ++open_;
      youngest_ = {head.id, false, stream_window_};
    }
  } else if (older_ == nullptr || head.id > older_last_) {
    if (find(head.id) == nullptr) {
      return fail(NGHTTP2_PROTOCOL_ERROR, "a stream that was begun before");
    }
    if (!ended) return fail(NGHTTP2_PROTOCOL_ERROR, "trailers that do not end their stream");
  }
  const bool whole = (head.flags & NGHTTP2_FLAG_END_HEADERS) != 0;
  if (echo_ != nullptr && !failed_) {
    payload += ((head.flags & NGHTTP2_FLAG_PADDED) != 0 ? 1 : 0) + ((head.flags & NGHTTP2_FLAG_PRIORITY) != 0 ? 5 : 0);
    if (!read_block(payload, content, whole)) return;
  }
  if (whole) {
    if (content == 0 && block_opens_) return fail(NGHTTP2_PROTOCOL_ERROR, "a request without fields");
    if (ended) on_block_end(head.id, ended);
    return;
  }
  block_id_ = head.id;
  block_bytes_ = content;
  block_frames_ = 0;
  block_ends_stream_ = ended;
}

// The id of a request that is taken goes to its stream, which is the youngest until its block is whole.
bool FloodServer::read_block(const std::uint8_t* part, std::size_t bytes, bool last) {
  RequestEcho::Uuid uuid;
  if (!echo_->read({reinterpret_cast<const std::byte*>(part), bytes}, last, uuid)) {
    fail(NGHTTP2_COMPRESSION_ERROR, "a field block that is no HPACK");
    return false;
  }
  if (last && block_opens_ && youngest_.id == last_) youngest_.uuid = uuid;
  return true;
}

void FloodServer::on_continuation(const Head& head, const std::uint8_t* payload) {
  if (block_id_ == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "CONTINUATION without a field block");
  block_bytes_ += head.length;
  if (++block_frames_ > kContinuationsMax || block_bytes_ > kBlockBytesMax) {
    return fail(NGHTTP2_ENHANCE_YOUR_CALM, "a field block without end");
  }
  if (echo_ != nullptr && !read_block(payload, head.length, (head.flags & NGHTTP2_FLAG_END_HEADERS) != 0)) return;
  if ((head.flags & NGHTTP2_FLAG_END_HEADERS) == 0) return;
  block_id_ = 0;
  if (block_bytes_ == 0 && block_opens_) return fail(NGHTTP2_PROTOCOL_ERROR, "a request without fields");
  if (block_ends_stream_) on_block_end(head.id, true);
}

// Of a block that ends its stream: a request without a body, or trailers.
void FloodServer::on_block_end(std::uint32_t id, bool end_stream) {
  if (older_ != nullptr && id <= older_last_) {
    // The older session has not seen the blocks since, so that it could not decode this one. It would not look at trailers
    // either: for it the stream ends with an empty DATA frame.
    to_older({0, NGHTTP2_DATA, static_cast<std::uint8_t>(end_stream ? NGHTTP2_FLAG_END_STREAM : 0), id}, nullptr);
    return;
  }
  Stream* stream = find(id);
  if (stream == nullptr) return;  // refused
  if (!stream->dropped) complete(id, stream->uuid);
  erase(stream);
}

void FloodServer::on_data(const Head& head, const std::uint8_t* payload) {
  std::uint32_t content = head.length;
  if ((head.flags & NGHTTP2_FLAG_PADDED) != 0 && !unpad(head, payload, content)) return;
  window_left_ -= head.length;
  if (window_left_ < 0) return fail(NGHTTP2_FLOW_CONTROL_ERROR, "DATA beyond the connection's window");
  if (head.id > last_ || head.id == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "DATA on an idle stream");
  if (head.id <= older_last_ && older_ != nullptr) {
    to_older(head, payload);
    return;
  }
  Stream* stream = youngest_.id == head.id ? &youngest_ : find(head.id);
  if (stream == nullptr) return fail(NGHTTP2_STREAM_CLOSED, "DATA on a stream that has ended");
  stream->left -= head.length;
  if (stream->left < 0 && head.length != 0) return fail(NGHTTP2_FLOW_CONTROL_ERROR, "DATA beyond the stream's window");
  if (!stream->dropped) counts_.body_bytes += content;
  if ((head.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
    if (!stream->dropped) complete(head.id, stream->uuid);
    erase(stream);
  } else {
    give_back(*stream);
  }
}

// A stream's window, when half of it is used up.
void FloodServer::give_back(Stream& stream) {
  if (stream.dropped || stream.left > stream_window_ / 2) return;
  std::uint8_t increment[4];
  put_word(increment, static_cast<std::uint32_t>(stream_window_ - stream.left));
  stream.left = stream_window_;
  frame(NGHTTP2_WINDOW_UPDATE, 0, stream.id, std::as_bytes(std::span(increment)));
}

void FloodServer::complete(std::uint32_t id, const RequestEcho::Uuid& uuid) {
  ++counts_.end_streams;
  waiting_.push_back(id);
  if (echo_ != nullptr) uuids_.push_back(uuid);
}

// Never taken; RST_STREAM says so. What else comes on it is only counted.
void FloodServer::refuse(std::uint32_t id, std::uint32_t code, bool ended) {
  ++counts_.refused;
  std::uint8_t text[4];
  put_word(text, code);
  frame(NGHTTP2_RST_STREAM, 0, id, std::as_bytes(std::span(text)));
  if (ended) return;
  if (streams_used_ >= options_.streams_max + kDroppedMax) {
    return fail(NGHTTP2_ENHANCE_YOUR_CALM, "refused streams that are left open");
  }
  insert({id, true, stream_window_});
}

void FloodServer::on_control(const Head& head, const std::uint8_t* payload) {
  switch (head.type) {
    case NGHTTP2_SETTINGS: return on_settings(head, payload);
    case NGHTTP2_RST_STREAM: return on_reset(head, payload);
    case NGHTTP2_WINDOW_UPDATE: return on_window_update(head, payload);
    case NGHTTP2_PUSH_PROMISE: return fail(NGHTTP2_PROTOCOL_ERROR, "PUSH_PROMISE of a client");
    case NGHTTP2_PRIORITY:
      if (head.id == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "PRIORITY on stream 0");
      if (head.length != 5) return fail(NGHTTP2_FRAME_SIZE_ERROR, "PRIORITY that is not of 5 bytes");
      return;
    case NGHTTP2_PING:
      if (head.id != 0) return fail(NGHTTP2_PROTOCOL_ERROR, "PING on a stream");
      if (head.length != 8) return fail(NGHTTP2_FRAME_SIZE_ERROR, "PING that is not of 8 bytes");
      if ((head.flags & NGHTTP2_FLAG_ACK) != 0) return;
      ++counts_.pings;
      return frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, {reinterpret_cast<const std::byte*>(payload), 8});
    case NGHTTP2_GOAWAY:
      if (head.id != 0) return fail(NGHTTP2_PROTOCOL_ERROR, "GOAWAY on a stream");
      if (head.length < 8) return fail(NGHTTP2_FRAME_SIZE_ERROR, "GOAWAY of less than 8 bytes");
      client_goaway_ = true;
      return;
    default: return;  // unknown types mean nothing (section 5.5)
  }
}

void FloodServer::on_settings(const Head& head, const std::uint8_t* payload) {
  if (head.id != 0) return fail(NGHTTP2_PROTOCOL_ERROR, "SETTINGS on a stream");
  if ((head.flags & NGHTTP2_FLAG_ACK) != 0) {
    if (head.length != 0) return fail(NGHTTP2_FRAME_SIZE_ERROR, "an acknowledgement with a payload");
    if (settings_unacknowledged_ == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "an acknowledgement nobody waits for");
    --settings_unacknowledged_;
    // From now on the client goes by our window, on streams that are open, too (section 6.9.2).
    const std::int64_t more = static_cast<std::int64_t>(options_.window_bytes) - stream_window_;
    stream_window_ += more;
    const auto adjust = [&](Stream& stream) {
      if (stream.id == 0) return;
      stream.left += more;
      give_back(stream);  // what was used up may be more than the whole window
    };
    for (Stream& stream : streams_) adjust(stream);
    return adjust(youngest_);
  }
  if (head.length % 6 != 0) return fail(NGHTTP2_FRAME_SIZE_ERROR, "SETTINGS whose length is no multiple of 6");
  settings_seen_ = true;
  for (std::uint32_t at = 0; at < head.length; at += 6) {
    const std::uint32_t id = static_cast<std::uint32_t>(payload[at]) << 8 | payload[at + 1];
    const std::uint32_t value = word_at(payload + at + 2);
    if (id == NGHTTP2_SETTINGS_ENABLE_PUSH && value > 1) return fail(NGHTTP2_PROTOCOL_ERROR, "ENABLE_PUSH above 1");
    if (id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE && value > kWindowMax) {
      return fail(NGHTTP2_FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2147483647");
    }
    if (id == NGHTTP2_SETTINGS_MAX_FRAME_SIZE && (value < 16'384 || value > 16'777'215)) {
      return fail(NGHTTP2_PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range");
    }
    if (id == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE && value < 4096) shrink_table();
  }
  if (older_ != nullptr) {
    to_older(head, payload);  // which acknowledges it
    return;
  }
  frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, {});
}

void FloodServer::on_reset(const Head& head, const std::uint8_t* payload) {
  if (head.id == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "RST_STREAM on stream 0");
  if (head.length != 4) return fail(NGHTTP2_FRAME_SIZE_ERROR, "RST_STREAM that is not of 4 bytes");
  if (head.id > last_) return fail(NGHTTP2_PROTOCOL_ERROR, "RST_STREAM on an idle stream");
  if (head.id <= older_last_ && older_ != nullptr) {
    to_older(head, payload);
    return;
  }
  if (Stream* stream = find(head.id); stream != nullptr) {
    const bool dropped = stream->dropped;
    erase(stream);
    if (dropped) return;
  } else {
    const auto found = std::find(waiting_.begin(), waiting_.end(), head.id);
    if (found == waiting_.end()) return;
    *found = 0;
  }
  ++counts_.resets;
  --open_;
}

void FloodServer::on_window_update(const Head& head, const std::uint8_t* payload) {
  if (head.length != 4) return fail(NGHTTP2_FRAME_SIZE_ERROR, "WINDOW_UPDATE that is not of 4 bytes");
  const std::uint32_t increment = word_at(payload) & kIdMask;
  if (increment == 0) return fail(NGHTTP2_PROTOCOL_ERROR, "WINDOW_UPDATE by 0");
  if (head.id > last_) return fail(NGHTTP2_PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
  if (head.id == 0) {
    send_window_ += increment;  // what the older session sends since is not taken off
    if (older_ == nullptr && send_window_ > kWindowMax) {
      return fail(NGHTTP2_FLOW_CONTROL_ERROR, "a connection window above 2147483647");
    }
  }
  if (older_ != nullptr && head.id <= older_last_) to_older(head, payload);
}

void FloodServer::shrink_table() {
  if (echo_ != nullptr) echo_->forget_table();
  else table_shrunk_ = true;
}

// One whole frame for the older session.
void FloodServer::to_older(const Head& head, const std::uint8_t* payload) {
  std::uint8_t text[kHeadBytes];
  put_word(text, head.length << 8 | head.type);
  text[4] = head.flags;
  put_word(text + 5, head.id);
  Result<void> read = older_->receive(std::as_bytes(std::span(text)), *requests_);
  if (read.ok() && head.length != 0) {
    read = older_->receive({reinterpret_cast<const std::byte*>(payload), head.length}, *requests_);
  }
  collect_older();
  if (read.ok() || failed_) return;
  failed_ = true;  // its GOAWAY is among what was collected
  failure_ = read.error();
}

// What the older session writes, but for the connection's window, which is kept here.
void FloodServer::collect_older() {
  if (older_ == nullptr) return;
  older_->write_pending(from_older_);
  while (!from_older_.empty()) {
    const std::uint8_t* head = octets(from_older_.readable());
    const std::size_t whole = kHeadBytes + length_at(head);
    TOCSIN_ASSERT(from_older_.size() >= whole);
    if (head[3] == NGHTTP2_GOAWAY) {
      // Its last stream is not the connection's.
      std::uint8_t last[4];
      put_word(last, last_);
      control_.append(from_older_.readable().first(kHeadBytes));
      control_.append(std::as_bytes(std::span(last)));
      control_.append(from_older_.readable().first(whole).subspan(kHeadBytes + sizeof last));
    } else if (head[3] != NGHTTP2_WINDOW_UPDATE || (word_at(head + 5) & kIdMask) != 0) {
      control_.append(from_older_.readable().first(whole));
    }
    from_older_.consume(whole);
  }
}

void FloodServer::answer(std::size_t count) { answered_ = std::min(answered_ + count, waiting_.size()); }

void FloodServer::goaway(std::int32_t last_stream_id, std::uint32_t error_code, std::string_view debug) {
  const std::uint32_t last = last_stream_id < 0 ? last_ : static_cast<std::uint32_t>(last_stream_id);
  std::string payload(8, '\0');
  put_word(reinterpret_cast<std::uint8_t*>(payload.data()), last);
  put_word(reinterpret_cast<std::uint8_t*>(payload.data()) + 4, error_code);
  payload.append(debug);
  refused_above_ = std::min(refused_above_, last);
  frame(NGHTTP2_GOAWAY, 0, 0, base::as_bytes(payload));
}

void FloodServer::write_pending(base::ByteBuffer& out) {
  collect_older();
  if (older_ != nullptr && older_->open_streams() == 0) {
    send_window_ = older_->send_window();
    older_ = nullptr;
  }
  out.append(control_.readable());
  control_.clear();
  if (answered_ == 0) return;
  if (failed_) return;
  const std::size_t answer_bytes = kHeadBytes + (echo_ != nullptr ? RequestEcho::kBlockMax : 2);
  std::byte* const begin = out.prepare(answered_ * answer_bytes);
  auto* at = reinterpret_cast<std::uint8_t*>(begin);
  for (std::size_t i = 0; i < answered_; ++i) {
    if (waiting_[i] == 0) continue;
    at = write_answer(waiting_[i], echo_ != nullptr ? &uuids_[i] : nullptr, at);
    --open_;
  }
  out.commit(static_cast<std::size_t>(at - reinterpret_cast<std::uint8_t*>(begin)));
  const auto answered = static_cast<std::ptrdiff_t>(answered_);
  waiting_.erase(waiting_.begin(), waiting_.begin() + answered);
  if (echo_ != nullptr) uuids_.erase(uuids_.begin(), uuids_.begin() + answered);
  answered_ = 0;
}

std::uint8_t* FloodServer::write_answer(std::uint32_t id, const RequestEcho::Uuid* uuid, std::uint8_t* at) {
  std::uint8_t* const block = at + kHeadBytes;
  std::size_t length = 0;
  if (uuid != nullptr) {
    length = echo_->write(*uuid, block);
  } else {
    if (std::exchange(table_shrunk_, false)) block[length++] = 0x20;  // the table is empty, and may be of any size
    block[length++] = 0x88;                                           // ":status: 200"
  }
  put_word(at, static_cast<std::uint32_t>(length) << 8 | NGHTTP2_HEADERS);
  at[4] = NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS;
  put_word(at + 5, id);
  return block + length;
}

// Fills the connection's window up.
void FloodServer::give_back() {
  std::uint8_t increment[4];
  put_word(increment, static_cast<std::uint32_t>(window_size_ - window_left_));
  window_left_ = window_size_;
  frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::as_bytes(std::span(increment)));
}

namespace {

std::size_t place_of(std::uint32_t id, std::size_t places) { return (id >> 1) * 0x9e3779b1u & (places - 1); }

}  // namespace

FloodServer::Stream* FloodServer::find(std::uint32_t id) {
  if (id == 0) return nullptr;
  if (youngest_.id == id) return &youngest_;
  for (std::size_t at = place_of(id, streams_.size());; at = (at + 1) & (streams_.size() - 1)) {
    if (streams_[at].id == id) return &streams_[at];
    if (streams_[at].id == 0) return nullptr;
  }
}

void FloodServer::insert(const Stream& stream) {
  if (streams_used_ * 2 >= streams_.size()) {
    std::vector<Stream> larger(streams_.size() * 2);
    streams_.swap(larger);
    streams_used_ = 0;
    for (const Stream& old : larger) {
      if (old.id != 0) insert(old);
    }
  }
  std::size_t at = place_of(stream.id, streams_.size());
  while (streams_[at].id != 0) at = (at + 1) & (streams_.size() - 1);
  streams_[at] = stream;
  ++streams_used_;
}

// Those that were put further than their own place move up, so that no search ends too early.
void FloodServer::erase(Stream* stream) {
  if (stream == &youngest_) {
    youngest_ = {};
    return;
  }
  --streams_used_;
  const std::size_t mask = streams_.size() - 1;
  auto hole = static_cast<std::size_t>(stream - streams_.data());
  for (std::size_t at = (hole + 1) & mask; streams_[at].id != 0; at = (at + 1) & mask) {
    const std::size_t own = place_of(streams_[at].id, streams_.size());
    if (((at - own) & mask) < ((at - hole) & mask)) continue;
    streams_[hole] = streams_[at];
    hole = at;
  }
  streams_[hole] = {};
}

void FloodServer::frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id, base::ByteView payload) {
  std::uint8_t head[kHeadBytes];
  put_word(head, static_cast<std::uint32_t>(payload.size()) << 8 | type);
  head[4] = flags;
  put_word(head + 5, id);
  control_.append(std::as_bytes(std::span(head)));
  control_.append(payload);
  if (control_.size() > kControlMax && type != NGHTTP2_GOAWAY) {
    fail(NGHTTP2_ENHANCE_YOUR_CALM, "more to be acknowledged than the client reads");
  }
}

void FloodServer::fail(std::uint32_t code, std::string_view what) {
  if (failed_) return;
  failed_ = true;
  failure_ = violation("client", code, what);
  goaway(static_cast<std::int32_t>(last_), code, what);
}

}  // namespace tocsin::h2
