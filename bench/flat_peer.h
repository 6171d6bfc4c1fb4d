// SPDX-License-Identifier: Apache-2.0
// FlatPeer: the server's end of a connection at next to no cost: it reads frame heads only and answers every stream that ends
// with the same block (bare: :status alone), which leaves the client's table alone. For measuring clients in memory; it judges nothing.
//
// Threads: one at a time. Bounds: requests must come in whole frames; none are kept.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "base/bytes.h"

namespace tocsin::bench {

class FlatPeer {
 public:
  explicit FlatPeer(std::uint32_t streams, bool bare = false) : streams_(streams), bare_(bare) {}

  // False: what came cannot be read.
  bool take(base::ByteView bytes, base::ByteBuffer& answer) {
    if (!greeted_) {
      if (bytes.size() < kPrefaceBytes) return false;
      bytes = bytes.subspan(kPrefaceBytes);
      greet(answer);
    }
    while (!bytes.empty()) {
      if (bytes.size() < 9) return false;
      const std::size_t length = number(bytes, 0, 3);
      if (bytes.size() < 9 + length) return false;
      const auto type = static_cast<std::uint8_t>(bytes[3]);
      const auto flags = static_cast<std::uint8_t>(bytes[4]);
      const std::uint32_t stream = static_cast<std::uint32_t>(number(bytes, 5, 4));
      const base::ByteView payload = bytes.subspan(9, length);
      if (type == kData) owed_ += length;
      if ((type == kData || type == kHeaders) && (flags & kEndStream) != 0) {
        respond(stream, answer);
      } else if (type == kSettings && (flags & kAck) == 0) {
        frame(0, kSettings, kAck, 0, answer);
      } else if (type == kPing && (flags & kAck) == 0) {
        frame(8, kPing, kAck, 0, answer);
        answer.append(payload);
      } else if (type == kGoaway || type == kReset) {
        return false;
      }
      bytes = bytes.subspan(9 + length);
    }
    if (owed_ > kWindow / 2) window(static_cast<std::uint32_t>(std::exchange(owed_, 0)), answer);
    return true;
  }
  std::uint64_t requests() const { return requests_; }

 private:
  static constexpr std::size_t kPrefaceBytes = 24;
  static constexpr std::uint8_t kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kGoaway = 7, kWindowUpdate = 8;
  static constexpr std::uint8_t kEndStream = 1, kAck = 1, kEndHeaders = 4;
  static constexpr std::uint64_t kWindow = 1u << 24;

  static std::uint64_t number(base::ByteView bytes, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value = value << 8 | static_cast<std::uint64_t>(bytes[at + i]);
    return value;
  }
  static void put(std::byte* to, std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) to[i] = static_cast<std::byte>(value >> (8 * (size - 1 - i)));
  }
  static void frame(std::size_t length, std::uint8_t type, std::uint8_t flags, std::uint32_t stream, base::ByteBuffer& out) {
    std::byte* to = out.prepare(9);
    put(to, length, 3);
    to[3] = static_cast<std::byte>(type);
    to[4] = static_cast<std::byte>(flags);
    put(to + 5, stream, 4);
    out.commit(9);
  }
  static void window(std::uint32_t bytes, base::ByteBuffer& out) {
    frame(4, kWindowUpdate, 0, 0, out);
    put(out.prepare(4), bytes, 4);
    out.commit(4);
  }
  void greet(base::ByteBuffer& out) {
    greeted_ = true;
    frame(6, kSettings, 0, 0, out);
    std::byte* to = out.prepare(6);
    put(to, 3, 2);  // MAX_CONCURRENT_STREAMS
    put(to + 2, streams_, 4);
    out.commit(6);
    window(kWindow, out);
  }
  // :status 200 from the static table and an apns-id that leaves the dynamic one alone.
  void respond(std::uint32_t stream, base::ByteBuffer& out) {
    static constexpr std::string_view kBlock{"\x88\x00\x07" "apns-id" "\x24" "f47ac10b-58cc-4372-a567-0e02b2c3d479", 47};
    const std::string_view block = kBlock.substr(0, bare_ ? 1 : kBlock.size());
    frame(block.size(), kHeaders, kEndHeaders | kEndStream, stream, out);
    out.append(block);
    ++requests_;
  }

  const std::uint32_t streams_;
  const bool bare_;
  bool greeted_ = false;
  std::uint64_t owed_ = 0;
  std::uint64_t requests_ = 0;
};

}  // namespace tocsin::bench
