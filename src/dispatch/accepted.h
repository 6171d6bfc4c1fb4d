// SPDX-License-Identifier: Apache-2.0
// AcceptedPush: the end of nearly every push, on its way from the shard to the caller: what the Outcome of an accepted push says
// and no other's does the same way. It is less than half as large, and becomes an Outcome where the caller wants it.
//
// Threads: plain data.
#pragma once

#include <cstdint>
#include <type_traits>

#include <tocsin/push.h>

namespace tocsin::dispatch {

struct AcceptedPush {
  std::uint64_t id;
  Uuid apns_id;
  std::int64_t submitted_unix_ns;
  std::int64_t sent_unix_ns;
  std::int64_t ended_unix_ns;
  std::uint16_t attempts;
  std::uint8_t flags;  // OutcomeFlag

  AcceptedPush() noexcept {}  // not cleared: who makes one writes every field

  // All of the Outcome is written, whatever was there.
  void write(Outcome& out) const noexcept {
    out.struct_bytes = sizeof(Outcome);
    out.version = kOutcomeVersion;
    out.id = id;
    out.apns_id = apns_id;
    out.unregistered_unix_ms = 0;
    out.superseded_by = 0;
    out.submitted_unix_ns = submitted_unix_ns;
    out.sent_unix_ns = sent_unix_ns;
    out.ended_unix_ns = ended_unix_ns;
    out.status = 200;
    out.reason = Reason::none;
    out.end = End::accepted;
    out.flags = flags;
    out.attempts = attempts;
    out.reason_text_bytes = 0;
    for (char& c : out.reason_text) c = 0;
  }
};
static_assert(sizeof(AcceptedPush) == 56);
static_assert(std::is_trivially_copyable_v<AcceptedPush>);
static_assert(sizeof(Outcome) == 128 && kOutcomeVersion == 1, "what is new in an Outcome is written above as well");

}  // namespace tocsin::dispatch
