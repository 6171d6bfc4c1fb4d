// SPDX-License-Identifier: Apache-2.0
// Frames in. A frame that lies whole in the input is read where it lies; a torn one is collected first, but for DATA, whose
// bytes are taken as they come.
#include <algorithm>
#include <cstring>

#include "h2/fast_session.h"
#include "h2/nghttp2_parts.h"

namespace tocsin::h2 {
namespace {

constexpr std::uint32_t kAcksMax = 1000;    // owed at once: more in one receive() is a flood of PING or SETTINGS
constexpr std::uint32_t kSettingsMax = 32;  // entries of one frame

constexpr std::uint8_t kStatus200 = 0x80 | 8;  // :status 200, indexed (RFC 7541 section 6.1 and appendix A)

// Half of a window is worth a WINDOW_UPDATE.
bool worth_giving_back(std::int32_t window, std::int32_t received) { return received > 0 && received >= window / 2; }

}  // namespace

void FastSession::fail(std::uint32_t code, std::string_view why) {
  if (failed_) return;
  failed_ = true;
  failure_ = violation("server", code, why);
  goaway_text_ = why;
  reading_ = Reading::nothing;
  urgent_.clear();
  regular_.clear();
  regular_.push_back({FrameType::goaway, false, 0, code, 0});
}

void FastSession::consume(const std::uint8_t* at, const std::uint8_t* end) {
  while (at != end && reading_ != Reading::nothing) {
    auto there = static_cast<std::size_t>(end - at);
    switch (reading_) {
      case Reading::head:
        if (there > kFrameHeadBytes && at[kFrameHeadBytes] == kStatus200 && at[2] == 1) {
          at = take_plain_answers(at, end);
          if (at == end) return;
          there = static_cast<std::size_t>(end - at);
        }
        if (carry_.empty() && there >= kFrameHeadBytes) {
          take_head(at);
          at += kFrameHeadBytes;
        } else {
          const std::size_t bytes = std::min(there, kFrameHeadBytes - carry_.size());
          carry_.insert(carry_.end(), at, at + bytes);
          at += bytes;
          if (carry_.size() < kFrameHeadBytes) return;
          take_head(carry_.data());
          carry_.clear();
        }
        // What has its payload here, or none, need not wait.
        if (reading_ == Reading::payload && left_ <= static_cast<std::size_t>(end - at)) {
          reading_ = Reading::head;
          take_payload(at);
          at += left_;
        } else if (reading_ == Reading::data || reading_ == Reading::skip) {
          at = take_data(at, end);
        }
        break;
      case Reading::payload: {
        const std::size_t bytes = std::min<std::size_t>(there, left_ - carry_.size());
        carry_.insert(carry_.end(), at, at + bytes);
        at += bytes;
        if (carry_.size() < left_) return;
        reading_ = Reading::head;
        take_payload(carry_.data());
        carry_.clear();
        break;
      }
      case Reading::pad_length:
        take_pad_length(*at++);
        if (reading_ == Reading::data) at = take_data(at, end);
        break;
      case Reading::data:
      case Reading::skip: at = take_data(at, end); break;
      case Reading::nothing: return;
    }
  }
}

// A run of the shortest answers that there are, each one HEADERS frame that ends its stream, with nothing in it but :status 200 out
// of the static table. Answers where the run ends; whatever else comes, and whatever is wrong, goes the long way.
const std::uint8_t* FastSession::take_plain_answers(const std::uint8_t* at, const std::uint8_t* end) {
  constexpr std::uint8_t kHead[] = {0, 0, 1, static_cast<std::uint8_t>(FrameType::headers), kFlagEndHeaders | kFlagEndStream};
  constexpr std::uint32_t kListBytes = 7 + 3 + kEntryOverhead;
  if (!carry_.empty() || block_.id != 0 || !settings_seen_ || !reader_.may_end() || options_.header_list_max < kListBytes) return at;
  std::uint32_t settled = 0;
  for (; end - at > static_cast<std::ptrdiff_t>(kFrameHeadBytes); at += kFrameHeadBytes + 1) {
    if (std::memcmp(at, kHead, sizeof(kHead)) != 0 || at[kFrameHeadBytes] != kStatus200) break;
    FastStream* const stream = table_.find(static_cast<std::int32_t>(read_u32(at + 5) & 0x7fffffff));
    if (stream == nullptr || !stream->awaits_all()) break;
    ++settled;
    if (options_.plain_apart) {
      plain_tags_.push_back(stream->tag);
    } else {
      Answer& answer = answers_->emplace_back();
      answer.tag = stream->tag;
      answer.stream_id = stream->id;
      answer.status = 200;
      answer.headers_seen = true;
    }
    close(*stream);
  }
  open_tags_ -= settled;
  return at;
}

// What a frame's head says about it; what follows is read as `reading_` says.
void FastSession::take_head(const std::uint8_t* head) {
  frame_ = read_head(head);
  left_ = frame_.length;
  padding_ = 0;
  const FrameType type = frame_.type;
  if (!settings_seen_ && (type != FrameType::settings || frame_.has(kFlagAck))) {
    return fail(kCodeProtocol, "SETTINGS expected");
  }
  if (block_.id != 0) {
    if (++block_.continuations > kContinuationsMax) return fail(kCodeCalm, "CONTINUATION without end");
    if (type != FrameType::continuation || frame_.id != block_.id) {
      return fail(kCodeProtocol, "CONTINUATION of the same stream expected");
    }
  }
  if (left_ > kFrameBytesMin) return fail(kCodeFrameSize, "frame larger than SETTINGS_MAX_FRAME_SIZE");
  const auto sized = [this](bool good) {
    if (!good) return fail(kCodeFrameSize, "frame of a wrong size");
    reading_ = Reading::payload;
  };
  switch (type) {
    case FrameType::headers:
      if (!frame_.has(kFlagPadded)) return sized(!frame_.has(kFlagPriority) || left_ >= 5);
      if (left_ == 0) return fail(kCodeProtocol, "HEADERS: padding without its length");
      return sized(true);
    case FrameType::data: return begin_data();
    case FrameType::priority:
      sized(left_ == 5);
      if (!failed_) reading_ = Reading::skip;  // we announced NO_RFC7540_PRIORITIES
      return;
    case FrameType::rst_stream:
    case FrameType::window_update: return sized(left_ == 4);
    case FrameType::settings:
      if (left_ % 6 != 0 || (frame_.has(kFlagAck) && left_ != 0)) return sized(false);
      if (!frame_.has(kFlagAck) && acks_owed_ >= kAcksMax) return fail(kCodeCalm, "SETTINGS without end");
      if (left_ / 6 > kSettingsMax) return fail(kCodeCalm, "SETTINGS: too many entries");
      return sized(true);
    case FrameType::push_promise:
      if (!frame_.has(kFlagPadded) && left_ < 4) return sized(false);
      return fail(kCodeProtocol, "PUSH_PROMISE although push is off");
    case FrameType::ping: return sized(left_ == 8);
    case FrameType::goaway: return sized(left_ >= 8);
    case FrameType::continuation:
      if (block_.id == 0) return fail(kCodeProtocol, "CONTINUATION: unexpected");
      return sized(true);
  }
  reading_ = Reading::skip;  // a type that we do not know
}

void FastSession::take_payload(const std::uint8_t* payload) {
  switch (frame_.type) {
    case FrameType::headers: return on_headers(payload);
    case FrameType::continuation: return read_block(payload, payload + left_, frame_.has(kFlagEndHeaders));
    case FrameType::rst_stream: return on_reset(read_u32(payload));
    case FrameType::settings: return frame_.has(kFlagAck) ? on_settings_ack() : on_settings(payload);
    case FrameType::ping: return on_ping(payload);
    case FrameType::goaway: return on_goaway(payload);
    case FrameType::window_update: return on_window_update(read_u32(payload) & 0x7fffffff);
    default: return;
  }
}

void FastSession::begin_data() {
  if (frame_.id == 0) return fail(kCodeProtocol, "DATA: stream 0");
  if (idle(frame_.id)) return fail(kCodeProtocol, "DATA: stream in idle");
  reading_ = Reading::skip;
  FastStream* const stream = table_.find(frame_.id);
  if (stream == nullptr) return;
  if (stream->read_shut) return fail(kCodeStreamClosed, "DATA: stream in half-closed (remote)");
  if (stream->closing) return;
  if (!stream->opened) return fail(kCodeProtocol, "DATA before HEADERS");
  if (!frame_.has(kFlagPadded)) {
    reading_ = Reading::data;
  } else if (left_ == 0) {
    fail(kCodeProtocol, "DATA: padding without its length");
  } else {
    reading_ = Reading::pad_length;
  }
}

void FastSession::take_pad_length(std::uint8_t bytes) {
  --left_;
  if (!received_on_connection(1)) return;
  if (FastStream* const stream = table_.find(frame_.id); stream != nullptr) received_on_stream(*stream, 1);
  if (bytes > left_) return fail(kCodeProtocol, "DATA: padding longer than the frame");
  padding_ = bytes;
  reading_ = Reading::data;
}

// As much of the payload as is here, of a DATA frame or one to be skipped; answers where it ends.
const std::uint8_t* FastSession::take_data(const std::uint8_t* at, const std::uint8_t* end) {
  const auto bytes = static_cast<std::uint32_t>(std::min<std::size_t>(left_, static_cast<std::size_t>(end - at)));
  const std::uint32_t text_bytes = std::min(bytes, left_ - padding_);
  left_ -= bytes;
  FastStream* stream = nullptr;
  if (frame_.type == FrameType::data) {
    if (bytes != 0 && !received_on_connection(bytes)) return end;
    if (reading_ == Reading::data) stream = table_.find(frame_.id);
    if (stream == nullptr) reading_ = Reading::skip;  // it has ended meanwhile
  }
  if (stream != nullptr && bytes != 0) {
    received_on_stream(*stream, bytes);
    if (text_bytes != 0 && !stream->settled) on_body(*stream, at, text_bytes);
  }
  if (left_ == 0) {
    reading_ = Reading::head;
    if (stream != nullptr && frame_.has(kFlagEndStream) && !stream->closing) {
      on_end_stream(*stream);
      end_read(*stream);
    }
  } else {
    padding_ = std::min(padding_, left_);
  }
  return at + bytes;
}

bool FastSession::received_on_connection(std::uint32_t bytes) {
  if (static_cast<std::int64_t>(received_) + bytes > local_window_) {
    fail(kCodeFlowControl, "DATA beyond the connection's window");
    return false;
  }
  received_ += static_cast<std::int32_t>(bytes);
  if (!update_queued_) give_back_connection();
  return true;
}

void FastSession::give_back_connection() {
  if (!worth_giving_back(local_window_, received_)) return;
  regular_.push_back({FrameType::window_update, false, 0, static_cast<std::uint32_t>(received_), 0});
  received_ = 0;
  update_queued_ = true;
}

void FastSession::received_on_stream(FastStream& stream, std::uint32_t bytes) {
  StreamMore& more = *stream.more;
  if (static_cast<std::int64_t>(more.received) + bytes > local_initial_window_) {
    return reset_stream(stream, kCodeFlowControl);
  }
  more.received += static_cast<std::int32_t>(bytes);
  // The end of a body needs no window any more.
  if (!more.update_queued && (left_ != 0 || !frame_.has(kFlagEndStream))) give_back_stream(stream);
}

void FastSession::give_back_stream(const FastStream& stream) {
  StreamMore& more = *stream.more;
  if (!worth_giving_back(local_initial_window_, more.received)) return;
  regular_.push_back({FrameType::window_update, false, stream.id, static_cast<std::uint32_t>(more.received), 0});
  more.received = 0;
  more.update_queued = true;
}

void FastSession::owe(const Control& acknowledgement) {
  if (acks_owed_ >= kAcksMax) return fail(kCodeCalm, "PING without end");
  ++acks_owed_;
  urgent_.push_back(acknowledgement);
}

void FastSession::on_settings(const std::uint8_t* payload) {
  if (frame_.id != 0) return fail(kCodeProtocol, "SETTINGS on a stream");
  if (!settings_seen_) peer_streams_max_ = UINT32_MAX;
  // Of a setting that comes twice the last value counts, but the table knows the smallest as well (RFC 7541 section 4.2).
  std::array<std::pair<Setting, std::uint32_t>, kSettingsMax> entries;
  std::size_t count = 0;
  std::uint32_t table_smallest = UINT32_MAX;
  for (const std::uint8_t* at = payload; at != payload + left_; at += 6) {
    const auto which = static_cast<Setting>(at[0] << 8 | at[1]);
    const std::uint32_t value = read_u32(at + 2);
    if (which == Setting::header_table_size) table_smallest = std::min(table_smallest, value);
    std::size_t i = 0;
    while (i < count && entries[i].first != which) ++i;
    entries[i] = {which, value};
    count = std::max(count, i + 1);
  }
  for (std::size_t i = 0; i < count && !failed_; ++i) {
    const std::uint32_t value = entries[i].second;
    switch (entries[i].first) {
      case Setting::header_table_size:
        writer_.set_limit(table_smallest);
        writer_.set_limit(value);
        break;
      case Setting::enable_push:
        if (value != 0) return fail(kCodeProtocol, "SETTINGS: a server cannot enable push");
        break;
      case Setting::max_concurrent_streams: peer_streams_max_ = value; break;
      case Setting::initial_window_size: on_initial_window(value); break;
      case Setting::max_frame_size:  // we send no larger frames than the smallest that it may say
        if (value < kFrameBytesMin || value >= 1u << 24) return fail(kCodeProtocol, "SETTINGS: invalid MAX_FRAME_SIZE");
        break;
      case Setting::enable_connect_protocol:
        if (value > 1 || (value == 0 && peer_flags_[0] == 1)) {
          return fail(kCodeProtocol, "SETTINGS: invalid ENABLE_CONNECT_PROTOCOL");
        }
        peer_flags_[0] = value;
        break;
      case Setting::no_rfc7540_priorities:
        if (value > 1 || (peer_flags_[1] != UINT32_MAX && peer_flags_[1] != value)) {
          return fail(kCodeProtocol, "SETTINGS: invalid NO_RFC7540_PRIORITIES");
        }
        peer_flags_[1] = value;
        break;
      default: break;
    }
  }
  if (failed_) return;
  if (peer_flags_[1] == UINT32_MAX) peer_flags_[1] = 0;
  owe({FrameType::settings, true, 0, 0, 0});
  settings_seen_ = true;
  events_->push_back({EventKind::settings, 0, 0, 0, {}});
}

// Section 6.9.2: what was sent stays sent, so a window may become negative. A stream whose window would be too large ends.
void FastSession::on_initial_window(std::uint32_t bytes) {
  if (bytes > static_cast<std::uint32_t>(kWindowMax)) {
    return fail(kCodeFlowControl, "SETTINGS: INITIAL_WINDOW_SIZE too large");
  }
  const std::int64_t change = static_cast<std::int64_t>(bytes) - peer_initial_window_;
  peer_initial_window_ = static_cast<std::int32_t>(bytes);
  table_.for_each([&](FastStream& stream) {
    const std::int64_t window = stream.send_window + change;
    if (window > kWindowMax || window < INT32_MIN) return reset_stream(stream, kCodeFlowControl);
    stream.send_window = static_cast<std::int32_t>(window);
    resume(stream);
  });
}

void FastSession::on_settings_ack() {
  if (frame_.id != 0) return fail(kCodeProtocol, "SETTINGS on a stream");
  if (settings_unacked_ == 0) return fail(kCodeProtocol, "SETTINGS: unexpected acknowledgement");
  --settings_unacked_;
  reader_.set_limit(options_.header_table_bytes);
  local_initial_window_ = static_cast<std::int32_t>(options_.window_bytes);
  table_.for_each([this](FastStream& stream) {
    if (stream.more != nullptr && !stream.more->update_queued) give_back_stream(stream);
  });
  events_->push_back({EventKind::settings_ack, 0, 0, 0, {}});
}

void FastSession::on_ping(const std::uint8_t* payload) {
  if (frame_.id != 0) return fail(kCodeProtocol, "PING on a stream");
  const std::uint64_t opaque = static_cast<std::uint64_t>(read_u32(payload)) << 32 | read_u32(payload + 4);
  if (frame_.has(kFlagAck)) {
    events_->push_back({EventKind::ping_ack, 0, 0, opaque, {}});
  } else {
    owe({FrameType::ping, true, 0, 0, opaque});
  }
}

void FastSession::on_goaway(const std::uint8_t* payload) {
  if (frame_.id != 0) return fail(kCodeProtocol, "GOAWAY on a stream");
  const auto last = static_cast<std::int32_t>(read_u32(payload) & 0x7fffffff);
  if ((last != 0 && (last & 1) == 0) || last > goaway_last_) return fail(kCodeProtocol, "GOAWAY: invalid last stream id");
  goaway_seen_ = true;
  goaway_last_ = last;
  const std::string_view debug(reinterpret_cast<const char*>(payload) + 8, left_ - 8);
  events_->push_back({EventKind::goaway, last, read_u32(payload + 4), 0, arena_.keep(debug)});
  ids_.clear();
  table_.for_each([&](const FastStream& stream) {
    if (stream.id > last) ids_.push_back(stream.id);
  });
  std::sort(ids_.begin(), ids_.end());
  for (const std::int32_t id : ids_) {
    FastStream& stream = *table_.find(id);
    if (!stream.settled) settle(stream, AnswerKind::reset, kCodeRefused);
    close(stream);
  }
}

void FastSession::on_reset(std::uint32_t code) {
  if (frame_.id == 0) return fail(kCodeProtocol, "RST_STREAM on stream 0");
  if (idle(frame_.id)) return fail(kCodeProtocol, "RST_STREAM: stream in idle");
  FastStream* const stream = table_.find(frame_.id);
  if (stream == nullptr) return;
  if (!stream->settled) settle(*stream, AnswerKind::reset, code);
  close(*stream);
}

void FastSession::on_window_update(std::uint32_t increment) {
  if (frame_.id == 0) {
    if (increment == 0) return fail(kCodeProtocol, "WINDOW_UPDATE of 0");
    if (send_window_ + increment > kWindowMax) return fail(kCodeFlowControl, "WINDOW_UPDATE beyond 2^31-1");
    send_window_ += increment;
    return;
  }
  if (idle(frame_.id)) return fail(kCodeProtocol, "WINDOW_UPDATE: stream in idle");
  FastStream* const stream = table_.find(frame_.id);
  if (stream == nullptr) return;
  if (increment == 0) return fail(kCodeProtocol, "WINDOW_UPDATE of 0");
  const std::int64_t window = static_cast<std::int64_t>(stream->send_window) + increment;
  if (window > kWindowMax) return reset_stream(*stream, kCodeFlowControl);
  stream->send_window = static_cast<std::int32_t>(window);
  resume(*stream);
}

}  // namespace tocsin::h2
