// SPDX-License-Identifier: Apache-2.0
// Requests out. Most come in runs that differ in a token and ids only, and go out as copies of one image: what all of a run share
// (the header block, the windows, the room for streams) is looked at once, and counted once. What is not usual, or does not fit, goes
// one by one.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "h2/fast_session.h"
#include "h2/nghttp2_parts.h"

namespace tocsin::h2 {
namespace {

// What a header block may be by nghttp2's estimate, which counts priority fields as well.
constexpr std::size_t kPriorityBytes = 5;
constexpr std::size_t kBlockBytesMax = 65'536 - kPriorityBytes;

// Copies made at a time: their bytes are still near when ids are put into them.
constexpr std::size_t kCopies = 32;

}  // namespace

std::size_t FastSession::write(std::span<const Request> requests, base::ByteBuffer& out) {
  write_pending(out);
  const std::size_t room = std::min<std::size_t>(can_start(), requests.size());
  std::size_t taken = 0;
  while (taken < room) {
    const std::size_t run = write_run(requests.subspan(taken, room - taken), out);
    taken += run;
    if (taken == room) break;
    if (run != 0 && requests[taken].prepared != requests[taken - 1].prepared) continue;  // a run of another list
    if (!start(requests[taken], out)) break;
    ++taken;
  }
  return taken;
}

// How many from the front go out as copies of their list's image; there are streams for all of `requests`.
std::size_t FastSession::write_run(std::span<const Request> requests, base::ByteBuffer& out) {
  const std::uint32_t number = requests.front().prepared;
  TOCSIN_ASSERT(number < prepared_.size());
  const std::uint64_t alike = writer_.alike(number);
  if (alike == 0) return 0;
  Prepared& prepared = prepared_[number];
  RequestImage& image = prepared.image;
  if (!image.made_for(writer_.version())) {
    image.make(writer_.layout(number), prepared.body, writer_.version());
  }
  if (image.bytes() == 0 || !writer_.fits(number, requests.front().slots, kBlockBytesMax)) return 0;
  const auto body_bytes = static_cast<std::int64_t>(image.body_bytes());
  auto most = static_cast<std::size_t>(std::min<std::uint64_t>(requests.size(), alike));
  if (body_bytes != 0) {
    if (body_bytes > std::min<std::int64_t>(peer_initial_window_, send_window_)) return 0;
    if (static_cast<std::int64_t>(most) * body_bytes > send_window_) most = static_cast<std::size_t>(send_window_ / body_bytes);
  }

  std::array<base::StampValues, kCopies> values;
  const auto window = static_cast<std::int32_t>(peer_initial_window_ - body_bytes);
  std::size_t written = 0;
  while (written < most) {
    const std::span<const Request> next = requests.subspan(written, std::min(most - written, kCopies));
    const std::size_t count = image.gather(next, number, values);
    if (count == 0) break;
    std::byte* const copies = out.prepare(count * image.bytes() + base::kStampSlack);
    stamp_code_.run(image.stamp(), values.data(), count, reinterpret_cast<char*>(copies));
    auto* at = reinterpret_cast<std::uint8_t*>(copies);
    auto id = static_cast<std::uint32_t>(next_id_);
    table_.reserve(static_cast<std::uint32_t>(count));
    for (std::size_t i = 0; i < count; ++i, id += 2, at += image.bytes()) {
      image.put_id(id, at);
      FastStream& stream = table_.insert_reserved(static_cast<std::int32_t>(id));
      stream.tag = next[i].tag;
      stream.send_window = window;
      stream.write_shut = true;
    }
    out.commit(count * image.bytes());
    next_id_ = id;
    written += count;
    if (count != next.size()) break;
  }
  if (written != 0) {
    last_sent_id_ = static_cast<std::int32_t>(next_id_ - 2);
    open_tags_ += static_cast<std::uint32_t>(written);
    send_window_ -= static_cast<std::int64_t>(written) * body_bytes;
    writer_.count(written);
  }
  return written;
}

// False: its body cannot begin.
bool FastSession::start(const Request& request, base::ByteBuffer& out) {
  TOCSIN_ASSERT(request.prepared < prepared_.size());
  const RequestBody& shape = prepared_[request.prepared].body;
  const std::size_t body_bytes = shape.bytes(request.content.size());
  if (body_bytes != 0 && (peer_initial_window_ == 0 || send_window_ <= 0)) return false;
  const auto id = static_cast<std::int32_t>(next_id_);
  next_id_ += 2;
  if (!writer_.fits(request.prepared, request.slots, kBlockBytesMax)) {
    Answer answer;
    answer.tag = request.tag;
    answer.stream_id = id;
    answer.kind = AnswerKind::reset;
    answer.error_code = kCodeRefused;  // nothing of it went out
    late_.push_back(answer);
    return true;
  }
  FastStream& stream = table_.insert(id);
  stream.tag = request.tag;
  stream.send_window = peer_initial_window_;
  ++open_tags_;
  last_sent_id_ = id;
  const std::size_t block_bytes = writer_.begin(request.prepared, request.slots);
  if (block_bytes > kFrameBytesMin || body_bytes > kFrameBytesMin ||
      static_cast<std::int64_t>(body_bytes) > std::min<std::int64_t>(stream.send_window, send_window_)) {
    start_large(request, block_bytes, stream, out);
    return true;
  }
  auto* const begin = reinterpret_cast<std::uint8_t*>(
      out.prepare(2 * kFrameHeadBytes + block_bytes + body_bytes + HpackWriter::kSlack));
  std::uint8_t* at = begin;
  const auto flags = static_cast<std::uint8_t>(kFlagEndHeaders | (body_bytes == 0 ? kFlagEndStream : 0));
  write_head({static_cast<std::uint32_t>(block_bytes), FrameType::headers, flags, id}, at);
  at += kFrameHeadBytes;
  writer_.write(request.slots, reinterpret_cast<char*>(at));
  at += block_bytes;
  if (body_bytes != 0) {
    write_head({static_cast<std::uint32_t>(body_bytes), FrameType::data, kFlagEndStream, id}, at);
    at += kFrameHeadBytes;
    RequestBody::UuidText text;
    for (const base::ByteView part : {base::as_bytes(shape.before()), shape.shown(request.content, text), base::as_bytes(shape.after())}) {
      base::copy_short(at, part.data(), part.size());
      at += part.size();
    }
    stream.send_window -= static_cast<std::int32_t>(body_bytes);
    send_window_ -= static_cast<std::int64_t>(body_bytes);
  }
  stream.write_shut = true;
  out.commit(static_cast<std::size_t>(at - begin));
  return true;
}

// More than a frame of fields or of body, or more body than the windows let through.
void FastSession::start_large(const Request& request, std::size_t block_bytes, FastStream& stream,
                              base::ByteBuffer& out) {
  const RequestBody& shape = prepared_[request.prepared].body;
  RequestBody::UuidText text;  // lives until what is left has been copied
  OutBody body;
  body.add(base::as_bytes(shape.before()));
  body.add(shape.shown(request.content, text));
  body.add(base::as_bytes(shape.after()));
  append_headers(request, block_bytes, body.left == 0, stream.id, out);
  send_body(stream, body, out);
  if (body.left == 0) {
    stream.write_shut = true;
    return;
  }
  body.keep(heap_);
  table_.more(stream).out = body;
  resume(stream);
}

void FastSession::append_headers(const Request& request, std::size_t block_bytes, bool end_stream, std::int32_t id,
                                 base::ByteBuffer& out) {
  if (split_.size() < block_bytes + HpackWriter::kSlack) split_.resize(block_bytes + HpackWriter::kSlack);
  writer_.write(request.slots, split_.data());
  std::string_view left(split_.data(), block_bytes);
  FrameHead head{0, FrameType::headers, end_stream ? kFlagEndStream : std::uint8_t{0}, id};
  do {
    const std::string_view piece = left.substr(0, kFrameBytesMin);
    left.remove_prefix(piece.size());
    head.length = static_cast<std::uint32_t>(piece.size());
    if (left.empty()) head.flags |= kFlagEndHeaders;
    append_head(head, out);
    out.append(piece);
    head.type = FrameType::continuation;
    head.flags = 0;
  } while (!left.empty());
}

}  // namespace tocsin::h2
