// SPDX-License-Identifier: Apache-2.0
// HTTP/2 for the fuzz targets: frames in a short form that survives mutation, and a look at what frames say that owes
// nothing to the sessions under test.
//
// Threads: one. Bounds: an input's. nghttp2's inflater reads header blocks; its session is not involved.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include <nghttp2/nghttp2.h>

#include "fuzz.h"

namespace tocsin::fuzz {

// Frames as (type, flags, stream id, length in two bytes, payload), spelled out: five small numbers are easier to come
// upon than HTTP/2's own nine bytes, and a length beyond the end means the end.
inline std::string spell_frames(std::string_view brief) {
  Choices choices(brief);
  std::string out;
  while (!choices.empty()) {
    const std::uint8_t type = choices.byte();
    const std::uint8_t flags = choices.byte();
    const std::uint8_t id = choices.byte();
    const std::size_t length = (choices.byte() & 15u) << 8;
    const std::string_view payload = choices.take(length + choices.byte());
    out += '\0';
    out += static_cast<char>(payload.size() >> 8);
    out += static_cast<char>(payload.size());
    out += static_cast<char>(type);
    out += static_cast<char>(flags);
    out.append(3, '\0');
    out += static_cast<char>(id);
    out += payload;
  }
  return out;
}

// Frames out of bytes that come in pieces; bodies are called with (type, flags, id, payload).
class FrameReader {
 public:
  template <class F>
  void feed(std::string_view bytes, F&& each) {
    held_ += bytes;
    std::string_view rest = held_;
    while (rest.size() >= 9) {
      const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<std::uint8_t>(rest[i])); };
      const std::size_t length = at(0) << 16 | at(1) << 8 | at(2);
      if (rest.size() < 9 + length) break;
      each(at(3), at(4), static_cast<std::int32_t>((at(5) & 0x7f) << 24 | at(6) << 16 | at(7) << 8 | at(8)),
           rest.substr(9, length));
      rest.remove_prefix(9 + length);
    }
    held_.erase(0, held_.size() - rest.size());
  }
  bool whole() const { return held_.empty(); }

 private:
  std::string held_;
};

// Which :status values whole header blocks named on each stream. Reading ends with the first block that is no HPACK.
class StatusWitness {
 public:
  StatusWitness() { FUZZ_CHECK(nghttp2_hd_inflate_new(&inflater_) == 0); }
  ~StatusWitness() { nghttp2_hd_inflate_del(inflater_); }
  StatusWitness(const StatusWitness&) = delete;
  StatusWitness& operator=(const StatusWitness&) = delete;

  void feed(std::string_view bytes) {
    frames_.feed(bytes, [&](std::uint32_t type, std::uint32_t flags, std::int32_t id, std::string_view payload) {
      frame(type, flags, id, payload);
    });
  }
  bool saw(std::int32_t id, unsigned status) const {
    const auto found = seen_.find(id);
    return found != seen_.end() && found->second.contains(std::to_string(status));
  }

 private:
  static constexpr std::uint32_t kHeaders = 1, kContinuation = 9;
  static constexpr std::uint32_t kEndHeaders = 4, kPadded = 8, kPriority = 0x20;

  void frame(std::uint32_t type, std::uint32_t flags, std::int32_t id, std::string_view payload) {
    if (type == kHeaders) {
      if ((flags & kPadded) != 0 && !payload.empty()) {
        const std::size_t pad = static_cast<std::uint8_t>(payload.front());
        payload = payload.substr(1, payload.size() - 1 > pad ? payload.size() - 1 - pad : 0);
      }
      if ((flags & kPriority) != 0) payload.remove_prefix(payload.size() < 5 ? payload.size() : 5);
      block_.assign(payload);
    } else if (type == kContinuation) {
      block_ += payload;
    } else {
      return;
    }
    if ((flags & kEndHeaders) != 0) read(id);
  }

  void read(std::int32_t id) {
    std::set<std::string> statuses;
    auto* at = reinterpret_cast<std::uint8_t*>(block_.data());
    std::size_t left = block_.size();
    for (; !broken_;) {
      nghttp2_nv field{};
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, 1);
      if (used < 0) broken_ = true;
      if (broken_) return;
      at += used;
      left -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 &&
          std::string_view(reinterpret_cast<char*>(field.name), field.namelen) == ":status") {
        statuses.emplace(reinterpret_cast<char*>(field.value), field.valuelen);
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    seen_[id].merge(statuses);
  }

  nghttp2_hd_inflater* inflater_ = nullptr;
  FrameReader frames_;
  std::string block_;
  std::map<std::int32_t, std::set<std::string>> seen_;
  bool broken_ = false;
};

}  // namespace tocsin::fuzz
