// SPDX-License-Identifier: Apache-2.0
#include "h2/fast_session.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "h2/fast_client.h"
#include "h2/nghttp2_parts.h"

namespace tocsin::h2 {

FastSession::FastSession(const ClientOptions& options, std::int32_t first_stream_id)
    : options_(options),
      table_(heap_),
      next_id_(first_stream_id),
      local_window_(static_cast<std::int32_t>(options.window_bytes)) {
  held_.append(kConnectionPreface);
  const std::pair<std::uint16_t, std::uint32_t> settings[] = {
      {static_cast<std::uint16_t>(Setting::header_table_size), options.header_table_bytes},
      {static_cast<std::uint16_t>(Setting::enable_push), 0},
      {static_cast<std::uint16_t>(Setting::initial_window_size), options.window_bytes},
      {static_cast<std::uint16_t>(Setting::max_header_list_size), options.header_list_max},
      // We send no priorities (RFC 9218 section 2.1).
      {static_cast<std::uint16_t>(Setting::no_rfc7540_priorities), 1},
  };
  append_settings(settings, held_);
  // The connection's window begins with 65,535 for the peer: more is granted, less shows as bytes not yet read.
  constexpr std::int32_t kFirstWindow = 65'535;
  if (local_window_ > kFirstWindow) {
    append_head({4, FrameType::window_update, 0, 0}, held_);
    append_u32(static_cast<std::uint32_t>(local_window_ - kFirstWindow), held_);
  } else {
    received_ = local_window_ - kFirstWindow;
  }
}

std::uint32_t FastSession::can_start() const {
  if (!settings_seen_ || goaway_seen_ || goaway_asked_ || failed_ || next_id_ > kStreamIdMax) return 0;
  const std::uint32_t limit = std::min(options_.streams_max, peer_streams_max_);
  if (limit <= table_.size()) return 0;
  return std::min(limit - table_.size(), (kStreamIdMax - static_cast<std::uint32_t>(next_id_)) / 2 + 1);
}

void FastSession::send_body(FastStream& stream, OutBody& body, base::ByteBuffer& out) {
  while (body.left != 0) {
    const std::int64_t window = std::min<std::int64_t>(stream.send_window, send_window_);
    if (window <= 0) return;
    const std::size_t bytes = std::min<std::size_t>({body.left, kFrameBytesMin, static_cast<std::size_t>(window)});
    append_head({static_cast<std::uint32_t>(bytes), FrameType::data,
                 bytes == body.left ? kFlagEndStream : std::uint8_t{0}, stream.id}, out);
    body.send(bytes, out);
    stream.send_window -= static_cast<std::int32_t>(bytes);
    send_window_ -= static_cast<std::int64_t>(bytes);
  }
}

// Puts a stream whose window is open into the line of those whose bodies go on.
void FastSession::resume(FastStream& stream) {
  if (stream.more == nullptr || stream.more->out.left == 0 || stream.more->sending || stream.closing) return;
  if (stream.send_window <= 0) return;
  stream.more->sending = true;
  sending_.push_back(stream.id);
}

void FastSession::send_bodies(base::ByteBuffer& out) {
  std::size_t done = 0;
  for (; done < sending_.size() && send_window_ > 0; ++done) {
    FastStream* const stream = table_.find(sending_[done]);
    if (stream == nullptr || stream->closing) continue;
    StreamMore& more = *stream->more;
    send_body(*stream, more.out, out);
    if (more.out.left != 0 && stream->send_window > 0) break;  // the connection's window is used up: it stays first
    more.sending = false;
    if (more.out.left != 0) continue;
    more.out.release(heap_);
    stream->write_shut = true;
  }
  sending_.erase(sending_.begin(), sending_.begin() + static_cast<std::ptrdiff_t>(done));
}

void FastSession::write_pending(base::ByteBuffer& out) {
  if (!held_.empty()) {
    out.append(held_.readable());
    held_.clear();
  }
  flush(out);
}

void FastSession::flush(base::ByteBuffer& out) {
  for (const Control& control : urgent_) write_control(control, out);
  urgent_.clear();
  acks_owed_ = 0;
  for (std::size_t i = 0; i < regular_.size(); ++i) flush_regular(Control(regular_[i]), out);  // it may grow
  regular_.clear();
  if (!sending_.empty() && !failed_) send_bodies(out);
}

void FastSession::flush_regular(const Control& control, base::ByteBuffer& out) {
  FastStream* const stream = table_.find(control.id);
  switch (control.type) {
    case FrameType::rst_stream:
      write_control(control, out);
      if (stream == nullptr) return;
      if (!stream->settled) settle(*stream, AnswerKind::broken, control.value);
      close(*stream);
      return;
    case FrameType::window_update:
      if (control.id == 0) {
        write_control(control, out);
        update_queued_ = false;
        give_back_connection();
        return;
      }
      if (stream == nullptr || stream->closing) return;
      write_control(control, out);
      stream->more->update_queued = false;
      if (!stream->read_shut) give_back_stream(*stream);
      return;
    case FrameType::goaway:
      write_control(control, out);
      goaway_sent_ = true;
      return;
    default: write_control(control, out);
  }
}

void FastSession::write_control(const Control& control, base::ByteBuffer& out) {
  const std::uint8_t flags = control.ack ? kFlagAck : std::uint8_t{0};
  switch (control.type) {
    case FrameType::settings: append_head({0, FrameType::settings, flags, 0}, out); return;
    case FrameType::ping:
      append_head({8, FrameType::ping, flags, 0}, out);
      append_u32(static_cast<std::uint32_t>(control.opaque >> 32), out);
      append_u32(static_cast<std::uint32_t>(control.opaque), out);
      return;
    case FrameType::goaway:
      append_head({static_cast<std::uint32_t>(8 + goaway_text_.size()), FrameType::goaway, 0, 0}, out);
      append_u32(0, out);  // no stream of the server's was processed
      append_u32(control.value, out);
      out.append(goaway_text_);
      return;
    default:
      append_head({4, control.type, 0, control.id}, out);
      append_u32(control.value, out);
  }
}

Result<void> FastSession::receive(base::ByteView bytes, std::vector<Answer>& answers, std::vector<Event>& events) {
  arena_.clear();
  plain_tags_.clear();
  table_.release_retired();
  if (!late_.empty()) {
    answers.insert(answers.end(), late_.begin(), late_.end());
    late_.clear();
  }
  if (failed_) return failure_;
  answers_ = &answers;
  events_ = &events;
  // After a GOAWAY of either side and without a stream there is nothing that the peer could still say.
  if (!finished()) {
    const auto* const begin = reinterpret_cast<const std::uint8_t*>(bytes.data());
    consume(begin, begin + bytes.size());
  }
  flush(held_);
  answers_ = nullptr;
  events_ = nullptr;
  if (failed_) return failure_;
  return {};
}

void FastSession::ping(std::uint64_t opaque) {
  if (!failed_) urgent_.push_back({FrameType::ping, false, 0, 0, opaque});
}

bool FastSession::cancel(std::uint64_t tag) {
  FastStream* found = nullptr;
  table_.for_each([&](FastStream& stream) {
    if (stream.tag == tag && !stream.settled) found = &stream;
  });
  if (found == nullptr) return false;
  found->settled = true;
  --open_tags_;
  reset_stream(*found, kCodeCancel);
  return true;
}

void FastSession::goaway() {
  if (std::exchange(goaway_asked_, true) || failed_) return;
  regular_.push_back({FrameType::goaway, false, 0, kCodeNoError, 0});
}

void FastSession::open_tags(std::vector<Orphan>& out) const {
  table_.for_each([&](const FastStream& stream) {
    if (stream.settled) return;
    out.push_back({stream.tag, stream.id, stream.final_seen ? stream.status : std::uint16_t{0}});
  });
}

Result<std::unique_ptr<ClientSession>> make_fast_client_at(const ClientOptions& options, std::int32_t first_stream_id) {
  if (options.captures.size() > kCapturesMax) {
    return Error{Code::invalid_argument, "an HTTP/2 client captures at most 2 response fields; name fewer"};
  }
  if (options.window_bytes > 0x7fffffff || first_stream_id <= 0 || (first_stream_id & 1) == 0) {
    return Error{Code::invalid_argument,
                 "an HTTP/2 client's window must be 1 to 2147483647 bytes and its first stream id odd"};
  }
  return std::unique_ptr<ClientSession>(std::make_unique<FastSession>(options, first_stream_id));
}

Result<std::unique_ptr<ClientSession>> make_fast_client(const ClientOptions& options) {
  return make_fast_client_at(options, 1);
}

}  // namespace tocsin::h2
