// SPDX-License-Identifier: Apache-2.0
// Faults: what the mock can do wrong on purpose, as data: one word of the fault script each, its values, and how
// often each was done. docs/faults.md explains every word.
//
// Threads: plain values; the word table is immutable. Ownership: an Action owns its texts; ConnectFaults points into the
// script, which must outlive it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tocsin::mock {

enum class Fault : std::uint8_t {
  // of a request
  answer,
  delay,
  no_answer,
  lost_answer,  // "no-answer-but-accept"
  reset,
  oversized_body,
  broken_body,
  // of a connection
  goaway,
  streams,
  window,
  no_window_updates,
  settings,
  unknown_frame,
  split_headers,
  ping_silence,
  garbage,
  vanish,
  close,
  tcp_reset,
  half_close,
  slow,
  probe,
  throttle,
  tls_alert,
  // of the whole server
  stall,
  // of a connection that is only being made
  tls_refuse_certificate,
  tls_expired,
  tls_wrong_name,
  tls_no_alpn,
  tls_hang,
  refuse,
  accept_and_hang,
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::accept_and_hang) + 1;

// As the script spells it: "no-answer-but-accept", "tls expired".
std::string_view fault_word(Fault fault);

enum class GoawayLast : std::uint8_t { seen, all, none, exact, back };

// A fault with its values; which of them count is the fault's business.
struct Action {
  Fault fault = Fault::answer;
  std::uint16_t status = 0;
  std::uint32_t code = 0;              // an HTTP/2 error code, or a setting's id
  std::uint32_t number = 0;            // streams, window, bytes, a setting's value, errors of throttle
  GoawayLast last = GoawayLast::seen;
  std::int32_t last_value = 0;         // exact: a stream id; back: streams below the highest seen
  bool twice = false;                  // goaway
  bool after_headers = false;          // reset
  bool accepted = false;               // reset: the push was taken
  std::int64_t duration_ns = 0;        // delay, stall, hold of answer, interval of slow
  std::int64_t timestamp_unix_ms = -1; // of answer; -1: see the next
  std::int64_t timestamp_ago_ns = -1;  // of answer: so long before now; -1: none but for a 410, which gets now
  std::string text;                    // reason of answer; debug data of goaway
};

struct ScriptCounts {
  std::array<std::uint64_t, kFaults> done{};
  std::uint64_t of(Fault fault) const { return done[static_cast<std::size_t>(fault)]; }
  void add(Fault fault) { ++done[static_cast<std::size_t>(fault)]; }
  void merge(const ScriptCounts& other) {
    for (std::size_t i = 0; i < kFaults; ++i) done[i] += other.done[i];
  }
  std::uint64_t sum() const {
    std::uint64_t all = 0;
    for (const std::uint64_t count : done) all += count;
    return all;
  }
};

// At most `bytes` leave in each interval; 0: as fast as they can.
struct Pace {
  std::uint32_t bytes = 0;
  std::int64_t interval_ns = 0;
  bool operator==(const Pace&) const = default;
};

enum class AcceptFault : std::uint8_t { none, refuse, hang };
enum class TlsFault : std::uint8_t { none, refuse_certificate, expired, wrong_name, alert, no_alpn, hang };

// The part of a connection's behaviour that lasts, as opposed to what happens once.
struct Manner {
  std::uint32_t streams = 0;
  std::uint32_t window = 0;
  std::uint32_t split_headers = 0;
  bool window_updates = true;
  bool ping_answers = true;
  Pace pace;
  bool operator==(const Manner&) const = default;
};

// Faults that change a Manner; under a time window they hold while it lasts.
constexpr bool lasts(Fault fault) {
  return fault == Fault::streams || fault == Fault::window || fault == Fault::no_window_updates ||
         fault == Fault::split_headers || fault == Fault::ping_silence || fault == Fault::slow;
}
void apply(const Action& action, Manner& manner);

// What happens to one connection from its accept on.
struct ConnectFaults {
  std::uint32_t connection = 0;  // its ordinal, from 1
  AcceptFault accept = AcceptFault::none;
  TlsFault tls = TlsFault::none;
  Pace slow;                             // of the raw bytes, TLS handshake included
  std::vector<const Action*> on_open;    // for Service::converse
};

}  // namespace tocsin::mock
