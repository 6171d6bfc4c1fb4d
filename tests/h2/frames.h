// SPDX-License-Identifier: Apache-2.0
// Hand-made HTTP/2 frames and a reader for what a session wrote, for the tests of both sides.
// Threads, ownership, bounds: a test's.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace tocsin::h2::test {

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum Type : std::uint8_t { kData, kHeaders, kPriority, kRst, kSettings, kPush, kPing, kGoaway, kWindow, kContinuation };
inline constexpr std::uint8_t kEndStream = 1;
inline constexpr std::uint8_t kAck = 1;
inline constexpr std::uint8_t kEndHeaders = 4;
inline constexpr std::uint8_t kPadded = 8;

inline std::string u16(std::uint32_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
inline std::string u32(std::uint32_t value) { return u16(value >> 16) + u16(value & 0xffff); }

inline std::string frame(std::uint8_t type, std::uint8_t flags, std::int32_t id, std::string_view payload) {
  std::string out;
  out += static_cast<char>(payload.size() >> 16);
  out += u16(static_cast<std::uint32_t>(payload.size() & 0xffff));
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  out += u32(static_cast<std::uint32_t>(id));
  out += payload;
  return out;
}
inline std::string settings(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& entries) {
  std::string payload;
  for (const auto& [id, value] : entries) payload += u16(id) + u32(value);
  return frame(kSettings, 0, 0, payload);
}
inline std::string settings_ack() { return frame(kSettings, kAck, 0, {}); }
inline std::string rst(std::int32_t id, std::uint32_t code) { return frame(kRst, 0, id, u32(code)); }
inline std::string goaway(std::int32_t last, std::uint32_t code, std::string_view debug = {}) {
  return frame(kGoaway, 0, 0, u32(static_cast<std::uint32_t>(last)) + u32(code) + std::string(debug));
}
inline std::string window(std::int32_t id, std::uint32_t bytes) { return frame(kWindow, 0, id, u32(bytes)); }

// A literal field without indexing and without Huffman; name and value below 127 bytes.
inline std::string literal(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  out += static_cast<char>(name.size());
  out += name;
  out += static_cast<char>(value.size());
  out += value;
  return out;
}
inline std::string headers(std::int32_t id, std::string_view block, bool end_stream) {
  return frame(kHeaders, static_cast<std::uint8_t>(kEndHeaders | (end_stream ? kEndStream : 0)), id, block);
}

struct Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::int32_t id = 0;
  std::string payload;
  std::uint32_t word(std::size_t at) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(payload.at(at + i));
    return value;
  }
};

// All frames in `bytes`, which hold whole frames, behind the preface if that is there.
inline std::vector<Frame> parse(std::string_view bytes) {
  if (bytes.starts_with(kPreface)) bytes.remove_prefix(kPreface.size());
  std::vector<Frame> frames;
  while (bytes.size() >= 9) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i])); };
    const std::size_t length = at(0) << 16 | at(1) << 8 | at(2);
    Frame read;
    read.type = static_cast<std::uint8_t>(at(3));
    read.flags = static_cast<std::uint8_t>(at(4));
    read.id = static_cast<std::int32_t>((at(5) & 0x7f) << 24 | at(6) << 16 | at(7) << 8 | at(8));
    read.payload = bytes.substr(9, length);
    bytes.remove_prefix(9 + read.payload.size());
    frames.push_back(std::move(read));
  }
  return frames;
}

inline std::vector<Frame> of_type(const std::vector<Frame>& frames, std::uint8_t type) {
  std::vector<Frame> found;
  for (const Frame& one : frames) {
    if (one.type == type) found.push_back(one);
  }
  return found;
}

inline std::string take(base::ByteBuffer& buffer) {
  std::string text(base::as_text(buffer.readable()));
  buffer.clear();
  return text;
}

}  // namespace tocsin::h2::test
