// SPDX-License-Identifier: Apache-2.0
// PushRecord: a push as the engine keeps it, from submit to its outcome.
//
// 112 bytes, in the inbox and in the shard's pool. Token (binary), collapse id and content (the escaped part, or the
// payload: a template asks for one of them or for none) stand one behind the other, inside the record while they fit
// kInlineBytes, else in an external block whose address then stands in their place. A part that is a UUID, as every
// PushMagic is, is kept as its 16 bytes: so an MDM wake-up fits (32 bytes of token and 16 of PushMagic), and ten million
// that wait are 200 MB less. Threads: plain data, owned by whoever holds it; the external block travels with it and is
// handed back through Output::released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include <tocsin/push.h>

#include "base/bytes.h"
#include "base/hex.h"
#include "base/now.h"

namespace tocsin::dispatch {

inline constexpr std::size_t kInlineBytes = 48;

// Deadlines and delays are kept in ticks of 10 ms since the engine's start (monotonic): 32 bits last 497 days.
// 0 is "none"; a time that has passed already is tick 1.
using Tick = std::uint32_t;
inline constexpr std::int64_t kTickNs = 10 * base::kMillisecond;
inline constexpr Tick kTickNone = 0;
inline constexpr Tick kTickMax = 0xfffffffe;

// Where a push is in its shard. held: taken out of its line, and its end is being written.
enum class PushState : std::uint8_t { free, queued, delayed, in_flight, held };

struct PushRecord {
  // Of flags. The content is the text of a UUID, kept as its bytes, its digits in upper or in lower case.
  static constexpr std::uint8_t kExternal = 1;
  static constexpr std::uint8_t kUuidUpper = 2;
  static constexpr std::uint8_t kUuidLower = 4;

  std::uint64_t id = 0;
  Uuid apns_id{};
  std::int64_t submitted_wall_ns = 0;
  std::uint32_t template_index = 0;  // handle - 1
  std::uint32_t credential = 0;      // handle - 1
  std::uint32_t group = 0;           // handle; 0: none
  Tick deadline = kTickNone;         // the nearer of local deadline and apns-expiration
  std::uint16_t registered_ms_high = 0;  // token_registered_unix_ms, 48 bits; 0: not known
  std::uint16_t content_bytes = 0;       // of the escaped part or the payload, as it is kept
  std::uint32_t registered_ms_low = 0;
  std::uint8_t token_bytes = 0;
  std::uint8_t collapse_bytes = 0;
  std::uint8_t flags = 0;
  Policy policy : 4 = Policy::at_least_once;
  PriorityClass priority_class : 4 = PriorityClass::normal;
  std::byte inline_bytes[kInlineBytes];
  // The queue's own, from insert() on.
  PushState state = PushState::free;
  bool keyed : 1 = false;        // in the coalesce index
  bool by_collapse : 1 = false;  // its key has the collapse id
  bool tried : 1 = false;        // its Meta holds something

  bool external() const { return (flags & kExternal) != 0; }
  std::byte* block() const {
    std::byte* at = nullptr;
    std::memcpy(&at, inline_bytes, sizeof(at));
    return at;
  }
  std::uint32_t block_class() const {
    std::uint32_t value = 0;
    std::memcpy(&value, inline_bytes + sizeof(std::byte*), sizeof(value));
    return value;
  }
  void set_block(std::byte* at, std::uint32_t block_class) {
    std::memcpy(inline_bytes, &at, sizeof(at));
    std::memcpy(inline_bytes + sizeof(at), &block_class, sizeof(block_class));
    flags |= kExternal;
  }

  std::int64_t registered_unix_ms() const {
    return static_cast<std::int64_t>(registered_ms_high) << 32 | static_cast<std::int64_t>(registered_ms_low);
  }
  void set_registered_unix_ms(std::int64_t ms) {
    registered_ms_high = static_cast<std::uint16_t>(ms >> 32);
    registered_ms_low = static_cast<std::uint32_t>(ms);
  }

  std::size_t data_bytes() const { return std::size_t{token_bytes} + collapse_bytes + content_bytes; }
  const std::byte* data() const { return external() ? block() : inline_bytes; }
  base::ByteView token() const { return {data(), token_bytes}; }
  base::ByteView collapse_id() const { return {data() + token_bytes, collapse_bytes}; }
  bool uuid_content() const { return (flags & (kUuidUpper | kUuidLower)) != 0; }
  // As it is kept; the text of a uuid_content() is made where the request is written.
  base::ByteView content() const { return {data() + token_bytes + collapse_bytes, content_bytes}; }
};
static_assert(sizeof(PushRecord) == 112);
static_assert(std::is_trivially_copyable_v<PushRecord>);

// The flag under which `text` may be kept as the 16 bytes of `out`; 0: it is no UUID, or its letters are of both cases.
inline std::uint8_t pack_uuid_content(std::string_view text, Uuid& out) {
  if (text.size() != base::kUuidTextBytes) return 0;
  switch (base::uuid_parse_case(text, out)) {
    case base::LetterCase::upper: return PushRecord::kUuidUpper;
    case base::LetterCase::lower: return PushRecord::kUuidLower;
    case base::LetterCase::mixed: break;
  }
  return 0;
}

}  // namespace tocsin::dispatch
