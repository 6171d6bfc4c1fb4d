// SPDX-License-Identifier: Apache-2.0
// The head of an HTTP/2 frame (RFC 9113 section 4.1) and the numbers of sections 6, 7 and 11.
// Threads: pure functions, but for the buffers that they append to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"

namespace tocsin::h2 {

enum class FrameType : std::uint8_t {
  data, headers, priority, rst_stream, settings, push_promise, ping, goaway, window_update, continuation
};

inline constexpr std::uint8_t kFlagEndStream = 0x01, kFlagAck = 0x01, kFlagEndHeaders = 0x04, kFlagPadded = 0x08,
                              kFlagPriority = 0x20;

inline constexpr std::uint32_t kCodeNoError = 0, kCodeProtocol = 1, kCodeInternal = 2, kCodeFlowControl = 3,
                               kCodeStreamClosed = 5, kCodeFrameSize = 6, kCodeRefused = 7, kCodeCancel = 8,
                               kCodeCompression = 9, kCodeCalm = 11;

enum class Setting : std::uint16_t {
  header_table_size = 1, enable_push = 2, max_concurrent_streams = 3, initial_window_size = 4, max_frame_size = 5,
  max_header_list_size = 6, enable_connect_protocol = 8, no_rfc7540_priorities = 9
};

inline constexpr std::size_t kFrameHeadBytes = 9;
inline constexpr std::uint32_t kFrameBytesMin = 16'384;  // the least that a peer's MAX_FRAME_SIZE may be, and all we take
inline constexpr std::string_view kConnectionPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct FrameHead {
  std::uint32_t length = 0;
  FrameType type = FrameType::data;
  std::uint8_t flags = 0;
  std::int32_t id = 0;
  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

inline std::uint32_t read_u32(const std::uint8_t* at) {
  return static_cast<std::uint32_t>(at[0]) << 24 | static_cast<std::uint32_t>(at[1]) << 16 |
         static_cast<std::uint32_t>(at[2]) << 8 | at[3];
}
inline void write_u32(std::uint32_t value, std::uint8_t* at) {
  at[0] = static_cast<std::uint8_t>(value >> 24);
  at[1] = static_cast<std::uint8_t>(value >> 16);
  at[2] = static_cast<std::uint8_t>(value >> 8);
  at[3] = static_cast<std::uint8_t>(value);
}

inline FrameHead read_head(const std::uint8_t* at) {
  return {read_u32(at) >> 8, static_cast<FrameType>(at[3]), at[4], static_cast<std::int32_t>(read_u32(at + 5) & 0x7fffffff)};
}
inline void write_head(const FrameHead& head, std::uint8_t* at) {
  write_u32(head.length << 8 | static_cast<std::uint8_t>(head.type), at);
  at[4] = head.flags;
  write_u32(static_cast<std::uint32_t>(head.id), at + 5);
}

inline void append_head(const FrameHead& head, base::ByteBuffer& out) {
  write_head(head, reinterpret_cast<std::uint8_t*>(out.prepare(kFrameHeadBytes)));
  out.commit(kFrameHeadBytes);
}
inline void append_u32(std::uint32_t value, base::ByteBuffer& out) {
  write_u32(value, reinterpret_cast<std::uint8_t*>(out.prepare(4)));
  out.commit(4);
}

}  // namespace tocsin::h2
