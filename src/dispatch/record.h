// SPDX-License-Identifier: Apache-2.0
// PushRecord: a push as the engine keeps it, from submit to its outcome.
//
// 128 bytes: two cache lines in the inbox and in the shard's pool. Token (binary), escaped part, collapse id and
// payload stand one behind the other, inside the record while they fit kInlineBytes (an MDM wake-up does:
// 32 bytes of token and 36 of PushMagic), else in an external block. Threads: plain data, owned by whoever
// holds it; the external block travels with it and is handed back through Output::released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <tocsin/push.h>

#include "base/bytes.h"

namespace tocsin::dispatch {

inline constexpr std::size_t kInlineBytes = 68;

struct PushRecord {
  std::uint64_t id = 0;
  Uuid apns_id{};
  std::int64_t submitted_wall_ns = 0;
  std::byte* block = nullptr;        // external bytes, or nullptr
  std::uint32_t template_index = 0;  // handle - 1
  std::uint32_t credential = 0;      // handle - 1
  std::uint32_t block_class = 0;     // of the pool that `block` came from
  std::uint16_t part_bytes = 0;      // escaped
  std::uint16_t payload_bytes = 0;
  std::uint8_t token_bytes = 0;
  std::uint8_t collapse_bytes = 0;
  Policy policy = Policy::at_least_once;
  std::uint8_t reserved = 0;
  std::byte inline_bytes[kInlineBytes];

  std::size_t data_bytes() const {
    return std::size_t{token_bytes} + part_bytes + collapse_bytes + payload_bytes;
  }
  const std::byte* data() const { return block != nullptr ? block : inline_bytes; }
  base::ByteView token() const { return {data(), token_bytes}; }
  base::ByteView part() const { return {data() + token_bytes, part_bytes}; }
  base::ByteView collapse_id() const { return {data() + token_bytes + part_bytes, collapse_bytes}; }
  base::ByteView payload() const {
    return {data() + token_bytes + part_bytes + collapse_bytes, payload_bytes};
  }
};
static_assert(sizeof(PushRecord) == 128);
static_assert(std::is_trivially_copyable_v<PushRecord>);

}  // namespace tocsin::dispatch
