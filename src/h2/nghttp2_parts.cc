// SPDX-License-Identifier: Apache-2.0
#include "h2/nghttp2_parts.h"

#include <algorithm>
#include <cstring>

namespace tocsin::h2 {

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
  constexpr std::size_t kHeadBytes = 9;
  TOCSIN_ASSERT(frame.data.padlen == 0);  // neither session sets a padding callback
  out.append({reinterpret_cast<const std::byte*>(head), kHeadBytes});
  body.send(length, out);
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
