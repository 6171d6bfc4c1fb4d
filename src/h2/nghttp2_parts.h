// SPDX-License-Identifier: Apache-2.0
// What both nghttp2 sessions share: owners of its handles, the outgoing half of a body, error sentences.
//
// Threads: as the session that uses it. Ownership: the owners delete their handle. Bounds: none of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nghttp2/nghttp2.h>

#include <tocsin/result.h>

#include "base/bytes.h"
#include "h2/block_heap.h"

namespace tocsin::h2 {

struct SessionDelete {
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
};
struct OptionDelete {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};
struct CallbacksDelete {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};
using SessionPtr = std::unique_ptr<nghttp2_session, SessionDelete>;
using OptionPtr = std::unique_ptr<nghttp2_option, OptionDelete>;
using CallbacksPtr = std::unique_ptr<nghttp2_session_callbacks, CallbacksDelete>;

// A body on its way out: parts that belong to the caller while it is inside its call, and whatever the windows
// did not let through copied behind it (the continued state).
struct OutBody {
  static constexpr std::uint32_t kParts = 3;
  base::ByteView parts[kParts];
  std::uint32_t part = 0;   // where sending stands
  std::uint32_t parts_used = 0;
  std::size_t left = 0;     // bytes not yet sent
  std::byte* kept = nullptr;

  void add(base::ByteView bytes) {
    if (bytes.empty()) return;
    parts[parts_used++] = bytes;
    left += bytes.size();
  }
  // Appends `count` bytes to `out` and steps on.
  void send(std::size_t count, base::ByteBuffer& out);
  // Takes over what is left, so that the caller's memory may go.
  void keep(BlockHeap& heap);
  void release(BlockHeap& heap) {
    heap.free(kept);
    *this = {};
  }
};

// One DATA frame from nghttp2's hands into `out`; for nghttp2_send_data_callback.
void append_data_frame(const nghttp2_frame& frame, const std::uint8_t* head, std::size_t length, OutBody& body,
                       base::ByteBuffer& out);

// Appends `frames` (whole ones) to `out`, header blocks cut into HEADERS and CONTINUATION of at most `bytes` each. The
// frames are this session's own: neither padded nor with a priority.
void append_split_headers(base::ByteView frames, std::size_t bytes, base::ByteBuffer& out);

// One whole SETTINGS frame, whatever its entries say.
void append_settings(std::span<const std::pair<std::uint16_t, std::uint32_t>> entries, base::ByteBuffer& out);

// Of one header block. nghttp2 counts every piece in which a CONTINUATION's head arrives, not every frame: this is ten
// frames byte by byte, while its own bound of 8 would fail a block whose segments are short.
inline constexpr std::size_t kContinuationsMax = 100;

// The code for the GOAWAY behind an error that nghttp2 returned instead of sending one.
std::uint32_t goaway_code(int nghttp2_error);

// "the server broke HTTP/2 (PROTOCOL_ERROR: DATA: stream_id == 0); ..." `who` is "server" or "client".
Error violation(const char* who, std::uint32_t error_code, std::string_view detail);
Error no_memory(const char* what);

inline std::string_view text_of(nghttp2_rcbuf* buffer) {
  const nghttp2_vec vec = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(vec.base), vec.len};
}

}  // namespace tocsin::h2
