// SPDX-License-Identifier: Apache-2.0
// Responses: header blocks, bodies, and what makes them answers.
#include <algorithm>

#include "h2/fast_session.h"
#include "h2/nghttp2_parts.h"
#include "h2/response_rules.h"

namespace tocsin::h2 {

void FastSession::on_headers(const std::uint8_t* payload) {
  const std::uint8_t* at = payload;
  const std::uint8_t* end = payload + left_;
  const std::ptrdiff_t priority_bytes = frame_.has(kFlagPriority) ? 5 : 0;
  if (frame_.has(kFlagPadded)) {
    const std::ptrdiff_t padding = *at++;
    if (padding + priority_bytes > end - at) return fail(kCodeProtocol, "HEADERS: padding longer than the frame");
    end -= padding;
  }
  at += priority_bytes;
  if (!begin_block(frame_.id)) return;
  read_block(at, end, frame_.has(kFlagEndHeaders));
}

// False: there must be no such block.
bool FastSession::begin_block(std::int32_t id) {
  FastStream* const stream = table_.find(id);
  if (stream == nullptr && (id == 0 || idle(id))) {
    fail(kCodeProtocol, id == 0 ? "HEADERS on stream 0" : "HEADERS: stream in idle");
    return false;
  }
  if (stream != nullptr && stream->read_shut) {
    fail(kCodeStreamClosed, "HEADERS: stream in half-closed (remote)");
    return false;
  }
  block_.id = id;  // field by field: wiping all of it with every answer costs more than reading one
  block_.ignored = stream == nullptr || stream->closing;
  block_.direct = block_.status_seen = block_.regular_seen = false;
  block_.list_bytes = block_.continuations = block_.captured_set = 0;
  block_.length = kNoLength;
  block_.end_stream = frame_.has(kFlagEndStream);
  if (!block_.ignored) {
    stream->opened = true;
    block_.direct = stream->more == nullptr && block_.end_stream && frame_.has(kFlagEndHeaders);
    if (!block_.direct) table_.more(*stream);
  }
  reader_.begin_block();
  return true;
}

void FastSession::read_block(const std::uint8_t* at, const std::uint8_t* end, bool whole) {
  const bool torn = !torn_field_.empty();
  if (torn) {
    torn_field_.insert(torn_field_.end(), at, end);
    at = torn_field_.data();
    end = at + torn_field_.size();
  }
  FastStream* const stream = block_.ignored ? nullptr : table_.find(block_.id);
  HpackReader::Field field;
  HpackReader::Read read;
  while ((read = reader_.next(at, end, field)) == HpackReader::Read::field) {
    if (stream != nullptr && !stream->settled) on_field(*stream, field.name, field.value);
  }
  if (read == HpackReader::Read::bad || (whole && (at != end || !reader_.may_end()))) {
    return fail(kCodeCompression, "header block does not decode");
  }
  if (!whole) {
    if (torn) {
      torn_field_.erase(torn_field_.begin(), torn_field_.begin() + (at - torn_field_.data()));
    } else {
      torn_field_.assign(at, end);
    }
    return;
  }
  torn_field_.clear();
  if (stream != nullptr && !stream->closing) on_block_end(*stream);
  block_.id = 0;
}

void FastSession::on_field(FastStream& stream, std::string_view name, std::string_view value) {
  block_.list_bytes += static_cast<std::uint32_t>(name.size() + value.size()) + kEntryOverhead;
  if (block_.list_bytes > options_.header_list_max) return break_stream(stream);
  if (!name.empty() && name[0] == ':') {
    // A response has one pseudo-field, before all others, and trailers have none.
    const std::uint16_t status = name == ":status" ? status_value(value) : std::uint16_t{0};
    if (status == 0 || stream.final_seen || block_.status_seen || block_.regular_seen) return break_stream(stream);
    block_.status_seen = true;
    stream.status = status;
    return;
  }
  block_.regular_seen = true;
  std::size_t position = 0;
  const std::size_t captures = options_.captures.size();
  while (position < captures && name != options_.captures[position]) ++position;
  const bool wanted = position < captures;
  if ((!wanted && (!valid_name(name) || connection_specific(name))) || !valid_value(value)) return break_stream(stream);
  if (name.size() == 14 && name == "content-length" && !stream.final_seen) {  // in trailers it means nothing
    std::uint64_t& length = block_.direct ? block_.length : stream.more->length;
    const bool twice = length != kNoLength;
    length = length_value(value);
    if (twice || length == kNoLength) return break_stream(stream);
  }
  if (wanted) capture(stream, position, value);
}

void FastSession::capture(FastStream& stream, std::size_t position, std::string_view value) {
  if (!block_.direct) return stream.more->capture(heap_, position, value);
  if ((block_.captured_set >> position & 1) != 0) return;  // a repeated field: the first counts
  block_.captured_set |= 1u << position;
  block_.captured[position] = arena_.keep(value);
}

void FastSession::on_block_end(FastStream& stream) {
  judge_block(stream);
  if (block_.end_stream) end_read(stream);
}

void FastSession::judge_block(FastStream& stream) {
  if (stream.final_seen) {  // trailers
    if (!block_.end_stream) return break_stream(stream);
  } else if (!block_.status_seen || stream.status == 101) {  // HTTP/2 has no 101 (RFC 9113 section 8.6)
    return break_stream(stream);
  } else if (stream.status < 200) {
    if (block_.end_stream) return break_stream(stream);
    stream.status = 0;
    stream.more->length = kNoLength;
    stream.more->drop_captures(heap_);
  } else {
    stream.final_seen = true;
  }
  if (block_.end_stream) on_end_stream(stream);
}

void FastSession::on_body(FastStream& stream, const std::uint8_t* data, std::size_t bytes) {
  if (!stream.final_seen) return break_stream(stream);
  StreamMore& more = *stream.more;
  more.body_bytes += bytes;
  const std::size_t room = options_.answer_body_max - more.body.size;
  if (bytes > room) more.body_cut = true;
  more.body.append(heap_, data, std::min(bytes, room));
}

void FastSession::on_end_stream(FastStream& stream) {
  if (!stream.final_seen) return break_stream(stream);
  // RFC 9113 section 8.1.1; a 304 tells the length of what it leaves out. The status that was read stands.
  const bool direct = block_.id == stream.id && block_.direct;
  const std::uint64_t length = direct ? block_.length : stream.more->length;
  const std::uint64_t read = direct ? 0 : stream.more->body_bytes;
  if (length != kNoLength && length != read && stream.status != 304) return break_stream(stream);
  settle(stream, AnswerKind::complete, kCodeNoError);
  // Answered before the whole body went out: the rest is of no use to anybody, and the slot is.
  if (!stream.write_shut) reset_stream(stream, kCodeCancel);
}

// The peer has ended its side; the stream is gone if we had ended ours.
void FastSession::end_read(FastStream& stream) {
  stream.read_shut = true;
  if (stream.write_shut) close(stream);
}

// The one place where a tag leaves the table with an answer.
void FastSession::settle(FastStream& stream, AnswerKind kind, std::uint32_t code) {
  stream.settled = true;
  --open_tags_;
  Answer& answer = answers_->emplace_back();
  answer.tag = stream.tag;
  answer.stream_id = stream.id;
  answer.kind = kind;
  answer.error_code = code;
  answer.headers_seen = stream.final_seen;
  answer.plain_before = static_cast<std::uint32_t>(plain_tags_.size());
  if (stream.final_seen) answer.status = stream.status;
  if (block_.id == stream.id && block_.direct) {
    for (std::size_t i = 0; i < options_.captures.size(); ++i) {
      if ((block_.captured_set >> i & 1) != 0) answer.captured[i] = block_.captured[i];
    }
  } else if (const StreamMore* const more = stream.more; more != nullptr) {
    answer.body_cut = more->body_cut;
    for (std::size_t i = 0; i < options_.captures.size(); ++i) answer.captured[i] = more->captured_text(i);
    answer.body = more->body.view();
  }
}

void FastSession::break_stream(FastStream& stream) {
  settle(stream, AnswerKind::broken, kCodeProtocol);
  reset_stream(stream, kCodeProtocol);
}

void FastSession::reset_stream(FastStream& stream, std::uint32_t code) {
  if (stream.closing || failed_) return;
  stream.closing = true;
  regular_.push_back({FrameType::rst_stream, false, stream.id, code, 0});
}

}  // namespace tocsin::h2
