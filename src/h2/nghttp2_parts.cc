// SPDX-License-Identifier: Apache-2.0
#include "h2/nghttp2_parts.h"

#include <algorithm>
#include <cstring>

namespace tocsin::h2 {
namespace {

constexpr std::size_t kHeadBytes = 9;  // of every frame, RFC 9113 section 4.1

void append_number(std::uint32_t value, int bytes, base::ByteBuffer& out) {
  std::byte text[4];
  for (int i = 0; i < bytes; ++i) text[i] = static_cast<std::byte>(value >> 8 * (bytes - 1 - i));
  out.append({text, static_cast<std::size_t>(bytes)});
}

void append_head(std::size_t length, std::uint8_t type, std::uint8_t flags, std::uint32_t id, base::ByteBuffer& out) {
  append_number(static_cast<std::uint32_t>(length), 3, out);
  append_number(type, 1, out);
  append_number(flags, 1, out);
  append_number(id, 4, out);
}

}  // namespace

void OutBody::send(std::size_t count, base::ByteBuffer& out) {
  TOCSIN_ASSERT(count <= left);
  left -= count;
  while (count != 0) {
    base::ByteView& bytes = parts[part];
    const std::size_t now = std::min(count, bytes.size());
    out.append(bytes.first(now));
    bytes = bytes.subspan(now);
    count -= now;
    if (bytes.empty()) ++part;
  }
}

void OutBody::keep(BlockHeap& heap) {
  if (left == 0 || kept != nullptr) return;
  auto* copy = static_cast<std::byte*>(heap.allocate(left));
  TOCSIN_ASSERT(copy != nullptr);
  std::size_t at = 0;
  for (; part < parts_used; ++part) {
    if (parts[part].empty()) continue;
    std::memcpy(copy + at, parts[part].data(), parts[part].size());
    at += parts[part].size();
  }
  TOCSIN_ASSERT(at == left);
  kept = copy;
  parts[0] = {copy, left};
  part = 0;
  parts_used = 1;
}

void append_data_frame(const nghttp2_frame& frame, const std::uint8_t* head, std::size_t length, OutBody& body,
                       base::ByteBuffer& out) {
  TOCSIN_ASSERT(frame.data.padlen == 0);  // neither session sets a padding callback
  out.append({reinterpret_cast<const std::byte*>(head), kHeadBytes});
  body.send(length, out);
}

void append_split_headers(base::ByteView frames, std::size_t bytes, base::ByteBuffer& out) {
  TOCSIN_ASSERT(bytes != 0);
  const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(frames[i]); };
  while (!frames.empty()) {
    TOCSIN_ASSERT(frames.size() >= kHeadBytes);
    const std::size_t length = at(0) << 16 | at(1) << 8 | at(2);
    TOCSIN_ASSERT(frames.size() >= kHeadBytes + length);
    auto type = static_cast<std::uint8_t>(at(3));
    auto flags = static_cast<std::uint8_t>(at(4));
    const std::uint32_t id = at(5) << 24 | at(6) << 16 | at(7) << 8 | at(8);
    base::ByteView payload = frames.subspan(kHeadBytes, length);
    frames = frames.subspan(kHeadBytes + length);
    const bool block = type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION;
    const std::size_t most = block ? bytes : length;
    const auto end_headers = static_cast<std::uint8_t>(flags & NGHTTP2_FLAG_END_HEADERS);
    while (payload.size() > most) {
      append_head(most, type, static_cast<std::uint8_t>(flags & ~end_headers), id, out);
      out.append(payload.first(most));
      payload = payload.subspan(most);
      type = NGHTTP2_CONTINUATION;
      flags = end_headers;
    }
    append_head(payload.size(), type, flags, id, out);
    out.append(payload);
  }
}

void append_settings(std::span<const std::pair<std::uint16_t, std::uint32_t>> entries, base::ByteBuffer& out) {
  append_head(entries.size() * 6, NGHTTP2_SETTINGS, 0, 0, out);
  for (const auto& [id, value] : entries) {
    append_number(id, 2, out);
    append_number(value, 4, out);
  }
}

std::uint32_t goaway_code(int nghttp2_error) {
  return nghttp2_error == NGHTTP2_ERR_FLOODED || nghttp2_error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS
             ? NGHTTP2_ENHANCE_YOUR_CALM
             : NGHTTP2_INTERNAL_ERROR;
}

Error violation(const char* who, std::uint32_t error_code, std::string_view detail) {
  std::string text = "the ";
  text += who;
  text += " broke HTTP/2 (";
  text += nghttp2_http2_strerror(error_code);
  if (!detail.empty()) {
    text += ": ";
    text += detail;
  }
  text += "); this connection must be closed and its open streams taken as lost";
  return {Code::io, std::move(text)};
}

Error no_memory(const char* what) {
  return {Code::out_of_memory, std::string("no memory for ") + what + "; open fewer connections"};
}

}  // namespace tocsin::h2
