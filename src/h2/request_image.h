// SPDX-License-Identifier: Apache-2.0
// RequestImage: a prepared list's usual request as one run of bytes: HEADERS frame, and DATA frame if it has a body, with room for
// the stream's id, the token's digits, UUIDs. Writing a request is a copy of it and a few stamps (base/stamp.h).
//
// Usual: one token, of 32 bytes, UUIDs, no text among the slots; the body is fixed or its content is a UUID. An image is that of one
// version of the header block (hpack_writer.h) and is made anew when that changes.
//
// Threads: one at a time. Ownership: owns its bytes; takes no part in its constants' life. Bounds: kBytesMax; what is longer is
// written piece by piece, which then costs little beside the copying.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "base/stamp.h"
#include "h2/client_session.h"
#include "h2/frame_head.h"
#include "h2/hpack_writer.h"
#include "h2/request_body.h"

namespace tocsin::h2 {

class RequestImage {
 public:
  static constexpr std::size_t kBytesMax = 1024;

  bool made_for(std::uint64_t version) const { return version_ == version; }
  // 0: requests of this list have nothing usual about them.
  std::size_t bytes() const { return stamp_.size; }
  std::size_t body_bytes() const { return body_bytes_; }
  const base::StampImage& stamp() {
    stamp_.bytes = bytes_.data();  // images move
    return stamp_;
  }

  void make(const HpackWriter::Layout& block, const RequestBody& body, std::uint64_t version) {
    version_ = version;
    stamp_ = {};
    body_bytes_ = body.bytes(RequestBody::kUuidBytes);
    const std::size_t data_at = kFrameHeadBytes + block.bytes;
    const std::size_t bytes = data_at + (body_bytes_ == 0 ? 0 : kFrameHeadBytes + body_bytes_);
    if (block.bytes == 0 || bytes > kBytesMax || !(body.fixed() || body.uuid()) || !find_holes(block, body)) return;
    bytes_.clear();
    append_head({block.bytes, FrameType::headers,
                 static_cast<std::uint8_t>(kFlagEndHeaders | (body_bytes_ == 0 ? kFlagEndStream : 0)), 0});
    bytes_.append(block.text, 0, block.bytes);
    id_at_ = {kIdAt, kIdAt};
    if (body_bytes_ != 0) {
      id_at_[1] = static_cast<std::uint32_t>(data_at + kIdAt);
      append_head({static_cast<std::uint32_t>(body_bytes_), FrameType::data, kFlagEndStream, 0});
      bytes_.append(body.before());
      if (body.uuid()) bytes_.append(base::kUuidTextBytes, '\0');
      bytes_.append(body.after());
    }
    bytes_.append((bytes + base::kStampBlock - 1) / base::kStampBlock * base::kStampBlock - bytes, '\0');
    stamp_.size = bytes;
  }

  // How many from the front are usual ones of the list `prepared`, as far as `values` has room: their values.
  std::size_t gather(std::span<const Request> requests, std::uint32_t prepared, std::span<base::StampValues> values) const {
    const bool content = slot_uuids_ != stamp_.uuids_used;
    if (slot_uuids_ != 1) return gather_these(slot_uuids_, content, requests, prepared, values);
    // What APNs is sent: numbers that are known make it a few instructions.
    return content ? gather_these(1, true, requests, prepared, values) : gather_these(1, false, requests, prepared, values);
  }

  void put_id(std::uint32_t id, std::uint8_t* copy) const {
    write_u32(id, copy + id_at_[0]);
    write_u32(id, copy + id_at_[1]);
  }

 private:
  static constexpr std::uint32_t kIdAt = 5;  // in a frame's head

  [[gnu::always_inline]] std::size_t gather_these(std::uint32_t uuids, bool content, std::span<const Request> requests,
                                                  std::uint32_t prepared, std::span<base::StampValues> values) const {
    const std::size_t most = std::min(requests.size(), values.size());
    const std::size_t token_slot = token_slot_;
    const std::array uuid_slots = uuid_slots_;
    for (std::size_t i = 0; i < most; ++i) {
      const Request& request = requests[i];
      base::StampValues& value = values[i];
      if (request.prepared != prepared || request.slots[token_slot].size() != HpackWriter::kTokenBytes) return i;
      value.token = raw(request.slots[token_slot]);
      for (std::uint32_t u = 0; u < uuids; ++u) {
        const base::ByteView slot = request.slots[uuid_slots[u]];
        if (slot.size() != HpackWriter::kUuidBytes) return i;
        value.uuids[u] = raw(slot);
      }
      if (!content) continue;
      if (request.content.size() != RequestBody::kUuidBytes) return i;
      value.uuids[uuids] = raw(request.content);
    }
    return most;
  }

  static const std::uint8_t* raw(base::ByteView bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }
  void append_head(const FrameHead& head) {
    std::uint8_t bytes[kFrameHeadBytes];
    write_head(head, bytes);
    bytes_.append(reinterpret_cast<const char*>(bytes), sizeof(bytes));
  }
  bool find_holes(const HpackWriter::Layout& block, const RequestBody& body) {
    std::uint32_t tokens = 0;
    slot_uuids_ = 0;
    for (std::uint32_t i = 0; i < block.holes_used; ++i) {
      const HpackWriter::Hole& hole = block.holes[i];
      const auto at = static_cast<std::uint32_t>(kFrameHeadBytes + hole.at);
      if (hole.format == base::SlotFormat::hex) {
        ++tokens;
        token_slot_ = i;
        stamp_.token_at = at;
      } else {
        uuid_slots_[slot_uuids_] = i;
        stamp_.uuids[slot_uuids_++] = {at, hole.format == base::SlotFormat::uuid_upper};
      }
    }
    if (tokens != 1) return false;
    stamp_.uuids_used = slot_uuids_;
    if (!body.uuid()) return true;
    const std::size_t at = 2 * kFrameHeadBytes + block.bytes + body.before().size();
    stamp_.uuids[stamp_.uuids_used++] = {static_cast<std::uint32_t>(at), body.upper()};
    return true;
  }
  static_assert(base::kStampUuidsMax >= base::kFieldSlotsMax);  // with a token among the slots there is room for the content

  std::uint64_t version_ = 0;  // of the block; 0: none was made
  std::string bytes_;
  base::StampImage stamp_;
  std::size_t body_bytes_ = 0;
  std::array<std::uint32_t, 2> id_at_{};
  std::uint32_t token_slot_ = 0;
  std::uint32_t slot_uuids_ = 0;
  std::array<std::uint32_t, base::kFieldSlotsMax> uuid_slots_{};
};

}  // namespace tocsin::h2
