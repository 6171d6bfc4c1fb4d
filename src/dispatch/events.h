// SPDX-License-Identifier: Apache-2.0
// What goes into a shard's step and what comes out: fixed-size values, batch in, batch out.
//
// Handles name connections (slot index + generation, base::Handle::value); a late event for a stale handle is counted and ignored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/options.h>
#include <tocsin/push.h>

#include "base/bytes.h"
#include "base/now.h"
#include "dispatch/config.h"

namespace tocsin::dispatch {

enum class EventKind : std::uint8_t {
  credential_added,  // index, credential: indices come in order, 0, 1, 2, ...
  template_added,    // index, template_config: likewise
  dialled,           // the connection's TCP side is up
  dial_failed,       // text says why ("connection refused"); the socket, if any, is still to be closed
  dial_deferred,     // the process-wide budget of dials or connections is used up just now
  received,          // bytes, valid during the step
  peer_closed,       // end of stream or error (text)
  sent,              // result: bytes taken, or negative with text
  closed,            // the kernel holds nothing of this connection any more
  stop,              // return what waits; give what is in flight until deadline_mono_ns
};

struct Event {
  EventKind kind = EventKind::received;
  std::uint64_t handle = 0;
  std::int64_t result = 0;
  std::int64_t deadline_mono_ns = 0;
  std::uint32_t index = 0;
  base::ByteView bytes;
  std::string_view text;
  std::shared_ptr<const CredentialConfig> credential;
  std::shared_ptr<const TemplateConfig> template_config;
};

enum class ActionKind : std::uint8_t {
  dial,          // to credential's host and port; answered by dialled, dial_failed or dial_deferred
  dial_settled,  // the dial is over, well or ill: its place in the budget of dials is free
  send,          // bytes are the kernel's until `sent`
  close,         // answered by closed
};

struct Action {
  ActionKind kind = ActionKind::send;
  std::uint64_t handle = 0;
  std::uint32_t credential = 0;
  base::ByteView bytes;
};

// A credential's connections in this shard, told whenever it changed.
struct CredentialStatus {
  std::uint32_t credential = 0;
  unsigned open = 0;
  unsigned dialling = 0;
  std::int64_t unreachable_since_wall_ns = 0;
  bool gave_up = false;
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
  std::vector<Outcome> outcomes;
  std::vector<Released> released;
  std::vector<CredentialStatus> statuses;
  std::vector<LogEvent> logs;
  std::int64_t deadline_mono_ns = base::kNever;  // step again no later than this
  bool at_rest = false;                          // after stop: nothing is left in this shard

  void clear() {
    actions.clear();
    outcomes.clear();
    released.clear();
    statuses.clear();
    logs.clear();
    deadline_mono_ns = base::kNever;
    at_rest = false;
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
};

}  // namespace tocsin::dispatch
