// SPDX-License-Identifier: Apache-2.0
// Push and Outcome: the two records that cross the public door.
//
// Both are trivially copyable, size-prefixed and versioned: a later library reads an older caller's
// records by `struct_bytes`, and a later C door passes the same bytes. Fields are only ever appended.
//
// Threads: plain data. Ownership: a Push only *looks at* the caller's memory (token, part, payload,
// collapse_id); everything is copied before Submitter::submit returns. An Outcome owns all it says.
// Bounds: the constants below; what goes past them is refused with Code::invalid_argument.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <tocsin/export.h>

namespace tocsin {

// Sizes. Token length is not fixed by Apple (32 bytes are common, Live Activity tokens are longer), so
// the bound is ours. Payload bounds are Apple's: 4,096 bytes, 5,120 for voip.
inline constexpr std::size_t kTokenHexDigitsMax = 200;
inline constexpr std::size_t kPartBytesMax = 256;
inline constexpr std::size_t kPayloadBytesMax = 5120;
inline constexpr std::size_t kCollapseIdBytesMax = 64;  // APNs' own bound for apns-collapse-id
inline constexpr std::size_t kReasonTextBytes = 47;

// Handles are small integers that an Engine gave out; 0 is "none". They are never reused while the
// engine lives, and they mean nothing to another engine.
enum class TemplateHandle : std::uint32_t { none = 0 };
enum class CredentialHandle : std::uint32_t { none = 0 };  // stable across certificate versions
enum class GroupHandle : std::uint32_t { none = 0 };

using Uuid = std::array<std::uint8_t, 16>;  // all zero means "none"

struct Bytes {
  const char* data = nullptr;
  std::size_t size = 0;

  constexpr Bytes() = default;
  constexpr Bytes(const char* d, std::size_t n) : data(d), size(n) {}
  constexpr Bytes(std::string_view s) : data(s.data()), size(s.size()) {}
  constexpr std::string_view view() const { return {data, size}; }
};

// What happens to a push whose fate is unknown because its connection was lost after it was written.
enum class Policy : std::uint8_t {
  at_least_once = 0,  // sent again with the same apns-id, and counted as possibly doubled
  at_most_once = 1,   // reported as unknown, never sent again
};

// Order in the engine's own queue: while all three wait, urgent pushes go out about four times as often as normal ones, and
// these about four times as often as bulk ones. Nothing to do with apns-priority.
enum class PriorityClass : std::uint8_t { normal = 0, urgent = 1, bulk = 2 };

inline constexpr std::uint32_t kPushVersion = 1;

struct Push {
  std::uint32_t struct_bytes = sizeof(Push);
  std::uint32_t version = kPushVersion;
  std::uint64_t id = 0;  // the caller's; comes back in the Outcome, is not interpreted
  Bytes token;           // device token as hex text, even length, 2 to kTokenHexDigitsMax digits
  Bytes part;            // per-device part of the payload (the MDM PushMagic) as plain text, for a template with
                         // PayloadForm::with_part; the engine escapes it for JSON
  Bytes payload;         // the whole JSON payload, for a template with PayloadForm::own
  Bytes collapse_id;     // sent as apns-collapse-id when not empty
  TemplateHandle template_handle = TemplateHandle::none;
  CredentialHandle credential = CredentialHandle::none;
  GroupHandle group = GroupHandle::none;            // what may be cancelled, paused and paced together (Engine::add_group)
  PriorityClass priority_class = PriorityClass::normal;
  Policy policy = Policy::at_least_once;
  std::uint16_t reserved = 0;                       // must be 0
  // Local deadline, apart from apns-expiration; 0: none. A push that still waits then ends as expired, as it does when
  // its template's expiration passes. Turned into monotonic time at submit: later steps of the wall clock do not move it.
  // One that has passed already is taken, and ends as expired.
  std::int64_t deadline_unix_ns = 0;
  // When the device registered this token, 0: not known, at most 2^48 - 1. A token that APNs called unregistered at T is
  // sent to again only if it was registered after T (Reason::token_known_dead).
  std::int64_t token_registered_unix_ms = 0;
  Uuid apns_id{};                                   // sent as apns-id; all zero: the engine makes one
};
static_assert(std::is_trivially_copyable_v<Push>);

// The eight ends (invariant 1 of docs/architecture.md). Stable numbers.
enum class End : std::uint8_t {
  accepted = 1,    // a :status 200 was read; not yet seen by the device
  rejected = 2,    // APNs answered with another status; see status and reason
  expired = 3,     // its time ran out before it was sent
  cancelled = 4,   // the caller withdrew it
  superseded = 5,  // a newer push, named by superseded_by, took its place
  failed = 6,      // certainly never processed by APNs (could not connect, refused by the peer, ...)
  unknown = 7,     // may have been processed, and no answer will tell
  returned = 8,    // certainly not processed; handed back at stop, or when its credential was removed
};
inline constexpr std::size_t kEnds = 8;

// "accepted", "rejected", ... Static storage; "?" for a number outside the enum.
TOCSIN_API const char* end_name(End end) noexcept;

// Why, in one number. 1 to 999: APNs' own reasons (Apple, "Handling notification responses from APNs");
// 1000 and up: causes on this side. Stable numbers; append only.
enum class Reason : std::uint16_t {
  none = 0,
  other = 1,  // a reason this version has no number for: reason_text has it verbatim
  bad_collapse_id = 2,
  bad_device_token = 3,
  bad_expiration_date = 4,
  bad_message_id = 5,
  bad_priority = 6,
  bad_topic = 7,
  device_token_not_for_topic = 8,
  duplicate_headers = 9,
  idle_timeout = 10,
  invalid_push_type = 11,
  missing_device_token = 12,
  missing_topic = 13,
  payload_empty = 14,
  topic_disallowed = 15,
  bad_certificate = 16,
  bad_certificate_environment = 17,
  expired_provider_token = 18,
  forbidden = 19,
  invalid_provider_token = 20,
  missing_provider_token = 21,
  unrelated_key_id_in_token = 22,
  bad_environment_key_id_in_token = 23,
  bad_path = 24,
  method_not_allowed = 25,
  expired_token = 26,
  unregistered = 27,
  payload_too_large = 28,
  too_many_provider_token_updates = 29,
  too_many_requests = 30,
  internal_server_error = 31,
  service_unavailable = 32,
  shutdown = 33,

  cannot_connect = 1000,        // the credential gave up dialling; reason_text has the last cause
  connection_lost = 1001,       // lost after the push was written
  refused_by_peer = 1002,       // REFUSED_STREAM or GOAWAY, too often (attempts_max)
  stream_reset = 1003,          // RST_STREAM with another code; reason_text names the code
  engine_stopped = 1004,        // stop() before it was written or answered
  bad_answer = 1005,            // an answer without a usable :status
  deadline_passed = 1006,       // the local deadline or apns-expiration ran out before it was sent
  token_known_dead = 1007,      // APNs called this token unregistered before, and it was not registered since
  cancelled_by_caller = 1008,   // the caller withdrew it
  newer_push = 1009,            // superseded; superseded_by names the newer push
  credential_stopped = 1010,    // APNs refuses this credential; reason_text has the cause
  credential_removed = 1011,    // the credential was removed before it was sent
};

// Apple's spelling for 2 to 999 ("BadDeviceToken"), ours for 1000 and up ("CannotConnect"), "" for none,
// "Other" for other. Static storage.
TOCSIN_API const char* reason_name(Reason reason) noexcept;

enum OutcomeFlag : std::uint8_t {
  kPossiblyDoubled = 1,  // sent again after an attempt whose fate is unknown
  kReasonCut = 2,        // reason_text was longer than kReasonTextBytes and is cut
};

inline constexpr std::uint32_t kOutcomeVersion = 1;

// 128 bytes, two cache lines. Times are Unix nanoseconds of the wall clock, one reading per batch, 0 where
// the event never happened.
struct Outcome {
  std::uint32_t struct_bytes = sizeof(Outcome);
  std::uint32_t version = kOutcomeVersion;
  std::uint64_t id = 0;                     // Push::id
  Uuid apns_id{};                           // what was sent as apns-id (or APNs' own, if it answered with another)
  std::int64_t unregistered_unix_ms = 0;    // 410: APNs' timestamp in milliseconds, else 0
  std::uint64_t superseded_by = 0;          // End::superseded: the id of the newer push
  std::int64_t submitted_unix_ns = 0;
  std::int64_t sent_unix_ns = 0;            // last attempt handed to the connection
  std::int64_t ended_unix_ns = 0;
  std::uint16_t status = 0;                 // APNs' :status, 0 if it never answered
  Reason reason = Reason::none;
  End end = End::failed;
  std::uint8_t flags = 0;                   // OutcomeFlag
  std::uint16_t attempts = 0;               // times written to a connection
  std::uint8_t reason_text_bytes = 0;
  char reason_text[kReasonTextBytes] = {};  // verbatim, for Reason::other and the causes on this side

  std::string_view reason_view() const {
    return reason_text_bytes != 0 ? std::string_view(reason_text, reason_text_bytes)
                                  : std::string_view(reason_name(reason));
  }
};
static_assert(std::is_trivially_copyable_v<Outcome>);
static_assert(sizeof(Outcome) == 128);

}  // namespace tocsin
