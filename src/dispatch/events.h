// SPDX-License-Identifier: Apache-2.0
// What goes into a shard's step and what comes out: fixed-size values, batch in, batch out.
//
// Handles name connections (slot index + generation, base::Handle::value); a late event for a stale handle is counted and ignored.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tocsin/options.h>
#include <tocsin/push.h>

#include "base/address.h"
#include "base/bytes.h"
#include "base/now.h"
#include "dispatch/accepted.h"
#include "dispatch/config.h"
#include "dispatch/connection.h"
#include "dispatch/marks.h"

namespace tocsin::dispatch {

enum class EventKind : std::uint8_t {
  // Control. Indices of credentials, templates and groups come in order, 0, 1, 2, ...
  credential_added,     // index, credential
  credential_replaced,  // index, credential: new connections are made with it first, then the old ones are drained
  credential_removed,   // index: what waits is handed back, what is in flight awaited
  credential_paused,    // index: what waits stays, what is in flight is awaited
  credential_resumed,   // index; also ends what an alarm paused, and tries anew where dialling had been given up
  credential_rolled,    // index: every connection is replaced, one by one
  credential_stopped,   // index, reason, text: another shard found that this version of it is refused
  credential_alarmed,   // index, text: another shard saw too many BadDeviceToken; it is paused here as well
  template_added,       // index, template_config
  group_added,          // index, result: 1 if paced
  group_paused,         // index
  group_resumed,        // index
  group_cancelled,      // index: for good; what waits and what comes later ends as cancelled
  pace_changed,         // pace, index, result: 1 paced, 0 not; what was granted and not used is void
  cancel,               // ids: pushes with these ids that wait end as cancelled
  dead_tokens,          // dead: tokens known to be unregistered
  token_ready,          // index, token_iat_s, text: the provider token with this `iat`
  token_failed,         // index, text
  granted,              // pace, index, result: pushes that may be sent; 0: ask again at deadline_mono_ns
  // Another shard needs a connection: close the one that is idle longest. Where none is, result 1: a busy one whose turn is
  // over; 2: a busy one of the credential `index`, which has more than others.
  shed,
  dial_freed,           // result: so many places of the process's budget of dials may be free; told where Output::dials_wait
  stop,                 // return what waits; give what is in flight until deadline_mono_ns
  // A connection's.
  resolved,             // addresses, of the proxy or the host
  dialled,              // the connection's TCP side is up
  dial_failed,          // text says why ("connection refused"); answers `resolve` and `dial`
  dial_deferred,        // the process-wide budget is used up just now; result: 0 of dials, 1 of connections
  received,             // bytes, valid during the step
  peer_closed,          // end of stream or error (text)
  sent,                 // result: bytes taken, or negative with text
  closed,               // the kernel holds nothing of this connection any more
};

struct DeadToken {
  std::uint32_t credential = 0;
  std::string_view topic;
  base::ByteView token;
  std::int64_t unregistered_unix_ms = 0;
};

struct Event {
  EventKind kind = EventKind::received;
  Pace pace = Pace::engine;
  Reason reason = Reason::none;
  std::uint64_t handle = 0;
  std::int64_t result = 0;
  std::int64_t deadline_mono_ns = 0;
  std::int64_t token_iat_s = 0;
  std::uint32_t index = 0;
  base::ByteView bytes;
  std::string_view text;
  std::span<const base::Address> addresses;
  std::span<const std::uint64_t> ids;
  std::span<const DeadToken> dead;
  std::shared_ptr<const CredentialConfig> credential;
  std::shared_ptr<const TemplateConfig> template_config;
};

enum class ActionKind : std::uint8_t {
  resolve,       // name (of the proxy or the host) and port: answered by resolved, dial_failed or dial_deferred
  dial,          // address: answered by dialled or dial_failed
  dial_settled,  // the dial is over, well or ill: its place in the budget of dials is free
  send,          // bytes are the kernel's until `sent`
  close,         // answered by closed
  need_token,    // credential, token_iat_s: answered by token_ready or token_failed
};

struct Action {
  ActionKind kind = ActionKind::send;
  std::uint16_t port = 0;
  std::uint32_t credential = 0;
  std::uint64_t handle = 0;
  std::int64_t token_iat_s = 0;
  base::ByteView bytes;
  std::string_view name;  // lives as long as the credential's config
  // resolve: since when its credential, without any connection, wants one; kNever: it has one. Places go to the first kind
  // before the second, and to those that wait longest.
  std::int64_t waiting_since_mono_ns = base::kNever;
  bool needed = true;  // resolve: for pushes, so that others are asked for an idle place if there is none
  base::Address address;
};

// A rate's bucket is asked for `count` pushes; answered by one `granted`.
struct Want {
  Pace pace = Pace::engine;
  std::uint32_t index = 0;
  std::uint32_t count = 0;
};

// A credential's connections in this shard, told whenever it changed.
struct CredentialStatus {
  std::uint32_t credential = 0;
  unsigned open = 0;
  unsigned dialling = 0;
  std::int64_t unreachable_since_wall_ns = 0;
  bool gave_up = false;
  bool stopped = false;    // APNs refuses this credential; last_error says how
  Reason stop_reason = Reason::none;
  bool stopped_here = false;  // this shard found it; the others are to be told (credential_stopped)
  bool paused = false;     // by its owner, or
  bool alarmed = false;    // because of too many BadDeviceToken
  bool alarmed_here = false;  // seen by this shard; the others are to be told (credential_alarmed)
  bool removed = false;    // and nothing is left of it here
  std::string last_error;
};

struct LogEvent {
  LogLevel level = LogLevel::info;
  const char* event = "";
  std::string text;
};

struct Released {
  std::byte* block = nullptr;
  std::uint32_t block_class = 0;
  std::uint32_t bytes = 0;
};

// Everything a step wants done, valid until the next step; the caller clears it by passing it in again.
struct Output {
  std::vector<Action> actions;
  std::vector<AcceptedPush> accepted;
  std::vector<Outcome> outcomes;                 // of all others
  std::vector<Released> released;
  std::vector<CredentialStatus> statuses;
  std::vector<Want> wants;
  std::vector<LogEvent> logs;
  std::int64_t deadline_mono_ns = base::kNever;  // step again no later than this
  bool at_rest = false;                          // after stop: nothing is left in this shard
  bool dials_wait = false;                       // for the process-wide budgets: dial_freed is awaited

  void clear() {
    actions.clear();
    accepted.clear();
    outcomes.clear();
    released.clear();
    statuses.clear();
    wants.clear();
    logs.clear();
    deadline_mono_ns = base::kNever;
    at_rest = dials_wait = false;
  }

  std::size_t ended() const { return accepted.size() + outcomes.size(); }
  template <class F>
  void for_each_outcome(F&& f) const {
    Outcome outcome;
    for (const AcceptedPush& push : accepted) {
      push.write(outcome);
      f(std::as_const(outcome));
    }
    for (const Outcome& other : outcomes) f(other);
  }
};

// Monotonic counters and gauges of one shard, plain integers; the engine publishes copies.
struct Counters {
  std::uint64_t taken = 0;
  std::uint64_t ends[kEnds + 1] = {};
  std::uint64_t waiting = 0;    // gauge
  std::uint64_t in_flight = 0;  // gauge
  std::uint64_t attempts = 0;
  std::uint64_t possibly_doubled = 0;
  std::uint64_t connections_opened = 0;
  std::uint64_t connections_lost = 0;
  std::uint64_t dials_failed = 0;
  std::uint64_t goaways = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t writes = 0;
  std::uint64_t stale_events = 0;
  std::uint64_t retries = 0;           // attempts after an answer that asked for one
  std::uint64_t pings = 0;
  std::uint64_t peers_dead = 0;        // connections lost because a PING or an answer never came
  std::uint64_t delayed = 0;           // gauge: of the waiting, those that wait for their time
  std::uint64_t dead_tokens = 0;       // gauge: tokens in the filter
  std::uint64_t token_turns = 0;       // provider tokens taken into use by connections
  std::uint64_t edges[kConnectionStates][kConnectionInputs] = {};  // transitions taken
  std::uint64_t marks[kMarks] = {};
};

}  // namespace tocsin::dispatch
