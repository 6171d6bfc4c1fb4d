// SPDX-License-Identifier: Apache-2.0
// A push as the engine keeps it, from submit to its outcome: PushRecord on its way to the shard, QueuedPush inside it.
//
// Token (binary), collapse id and content (the escaped part, or the payload: a template asks for one of them or for none)
// stand one behind the other, inside the record while they fit kInlineBytes, else in an external block whose address then
// stands in their place. A part that is a UUID, as every PushMagic is, is kept as its 16 bytes: so an MDM wake-up fits (32
// bytes of token and 16 of PushMagic), and ten million that wait are 200 MB less. Threads: plain data, owned by whoever holds
// it; the external block travels with it and is handed back through Output::released.
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

struct WheelLink {
  static constexpr std::uint32_t kNone = 0xffffffff;
  std::uint32_t next;
  std::uint32_t prev;
};

// What both have of a push's data.
template <class Self>
struct PushData {
  // Of flags. The content is the text of a UUID, kept as its bytes, its digits in upper or in lower case.
  static constexpr std::uint8_t kExternal = 1;
  static constexpr std::uint8_t kUuidUpper = 2;
  static constexpr std::uint8_t kUuidLower = 4;

  bool external() const { return (self().flags & kExternal) != 0; }
  std::byte* block() const {
    std::byte* at = nullptr;
    std::memcpy(&at, self().inline_bytes, sizeof(at));
    return at;
  }
  std::uint32_t block_class() const {
    std::uint32_t value = 0;
    std::memcpy(&value, self().inline_bytes + sizeof(std::byte*), sizeof(value));
    return value;
  }
  std::int64_t registered_unix_ms() const {
    return static_cast<std::int64_t>(self().registered_ms_high) << 32 | static_cast<std::int64_t>(self().registered_ms_low);
  }
  std::size_t data_bytes() const { return std::size_t{self().token_bytes} + self().collapse_bytes + self().content_bytes; }
  const std::byte* data() const { return external() ? block() : self().inline_bytes; }
  base::ByteView token() const { return {data(), self().token_bytes}; }
  base::ByteView collapse_id() const { return {data() + self().token_bytes, self().collapse_bytes}; }
  bool uuid_content() const { return (self().flags & (kUuidUpper | kUuidLower)) != 0; }
  // As it is kept; the text of a uuid_content() is made where the request is written.
  base::ByteView content() const { return {data() + self().token_bytes + self().collapse_bytes, self().content_bytes}; }

 private:
  const Self& self() const { return static_cast<const Self&>(*this); }
};

// 112 bytes, as it is submitted.
struct PushRecord : PushData<PushRecord> {
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

  void set_block(std::byte* at, std::uint32_t block_class) {
    std::memcpy(inline_bytes, &at, sizeof(at));
    std::memcpy(inline_bytes + sizeof(at), &block_class, sizeof(block_class));
    flags |= kExternal;
  }
  void set_registered_unix_ms(std::int64_t ms) {
    registered_ms_high = static_cast<std::uint16_t>(ms >> 32);
    registered_ms_low = static_cast<std::uint32_t>(ms);
  }
  // Of one template, credential, group and class: what is looked up for one of them holds for the other.
  bool alike(const PushRecord& other) const {
    return ((template_index ^ other.template_index) | (credential ^ other.credential) | (group ^ other.group)) == 0 &&
           priority_class == other.priority_class;
  }
};
static_assert(sizeof(PushRecord) == 112);
static_assert(std::is_trivially_copyable_v<PushRecord>);

// Two cache lines, and all that a push costs while it waits, beside its key's place in the index. Credential, group and class
// are its flow's.
struct alignas(64) QueuedPush : PushData<QueuedPush> {
  // Of flags, beside PushData's.
  static constexpr std::uint8_t kSuspect = 8;    // its token may be among the dead ones: found when it was taken in
  static constexpr std::uint8_t kSentOnce = 16;  // it was written, for the first time, and `sent` says when

  struct Line {
    std::uint32_t next;  // in its flow, or among the delayed
    std::uint32_t prev;
    WheelLink wheel;
  };
  struct Sent {
    std::int64_t mono_ns;
  };
  // While it waits; and from its first attempt on, until it waits again or Meta has it.
  union {
    Line line;
    Sent sent;
  };
  std::uint32_t older;  // of the same key
  std::uint32_t newer;
  std::uint32_t flow;   // its line, waiting or not
  std::uint32_t template_index;
  // From here on as in PushRecord, but for the last byte before the data.
  std::uint64_t id;
  Uuid apns_id;
  std::int64_t submitted_wall_ns;

  Tick deadline;
  std::uint16_t registered_ms_high;
  std::uint16_t content_bytes;
  std::uint32_t registered_ms_low;
  std::uint8_t token_bytes;
  std::uint8_t collapse_bytes;
  std::uint8_t flags;
  PushState state : 3;
  bool keyed : 1;         // in the coalesce index
  bool by_collapse : 1;   // its key has the collapse id
  bool tried : 1;         // its Meta holds something
  bool in_wheel : 1;
  bool at_most_once : 1;
  std::byte inline_bytes[kInlineBytes];

  Policy policy() const { return at_most_once ? Policy::at_most_once : Policy::at_least_once; }
  // All but flow, links and chain.
  void take(const PushRecord& from, bool has_key, bool key_has_collapse, std::uint8_t more_flags) {
    template_index = from.template_index;
    std::memcpy(&id, &from.id, offsetof(PushRecord, template_index));
    std::memcpy(&deadline, &from.deadline, offsetof(PushRecord, inline_bytes) + kInlineBytes - offsetof(PushRecord, deadline));
    flags = static_cast<std::uint8_t>(from.flags | more_flags);
    state = PushState::queued;
    keyed = has_key;
    by_collapse = key_has_collapse;
    tried = in_wheel = false;
    at_most_once = from.policy == Policy::at_most_once;
  }
};
static_assert(sizeof(QueuedPush) == 128 && offsetof(QueuedPush, deadline) == 64);
static_assert(offsetof(QueuedPush, deadline) - offsetof(QueuedPush, id) == offsetof(PushRecord, template_index));
static_assert(offsetof(QueuedPush, inline_bytes) - offsetof(QueuedPush, deadline) ==
              offsetof(PushRecord, inline_bytes) - offsetof(PushRecord, deadline));
static_assert(offsetof(QueuedPush, flags) - offsetof(QueuedPush, deadline) == offsetof(PushRecord, flags) - offsetof(PushRecord, deadline));
static_assert(std::is_trivially_copyable_v<QueuedPush>);

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
