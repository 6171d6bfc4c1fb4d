// SPDX-License-Identifier: Apache-2.0
// Connection: one connection's life as a table, and what a shard keeps for it.
//
//   free --dial--> resolving --resolved--> dialling --connected--> handshaking --tls_open--> settling --settings--> ready
//                      |                   |      \                 ^   |                       |   \ goaway            |
//                      |                   |       \ proxied        | tunnelled               |    `-----> draining <-| goaway, retire
//                      | fail              | fail   `-> tunnelling -'   | fail                  | fail         |  ^----'
//                      v                   v                |           v                       v              |
//                    closing <------------------------------+------------------------------------------------- +  fail, drained
//                      | closed
//                      v
//                     free
//
// Every way out leads through closing: the kernel must give the socket and its buffers back (invariant 5).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/now.h"
#include "base/address.h"
#include "dispatch/config.h"
#include "dispatch/retry.h"
#include "dispatch/tunnel.h"
#include "h2/client_session.h"
#include "tls/channel.h"

namespace tocsin::dispatch {

enum class ConnectionState : std::uint8_t {
  free, resolving, dialling, tunnelling, handshaking, settling, ready, draining, closing
};
inline constexpr std::size_t kConnectionStates = 9;

enum class ConnectionInput : std::uint8_t {
  dial,
  resolved,
  proxied,    // the TCP side to a proxy is up: the tunnel is asked for
  tunnelled,
  connected,
  tls_open,
  settings,
  goaway,     // the peer's
  retire,     // ours: replaced, idle, or its stream ids used up
  drained,
  fail,
  closed
};
inline constexpr std::size_t kConnectionInputs = 12;

inline constexpr std::uint8_t kNoTransition = 0xff;

using TransitionTable = std::array<std::array<std::uint8_t, kConnectionInputs>, kConnectionStates>;

// Row: state; column: input; an absent entry is a broken invariant, never an event to be tolerated.
constexpr TransitionTable make_transitions() {
  TransitionTable table{};
  for (auto& row : table) row.fill(kNoTransition);
  const auto set = [&table](ConnectionState from, ConnectionInput input, ConnectionState to) {
    table[static_cast<std::size_t>(from)][static_cast<std::size_t>(input)] = static_cast<std::uint8_t>(to);
  };
  using S = ConnectionState;
  using I = ConnectionInput;
  set(S::free, I::dial, S::resolving);
  set(S::resolving, I::resolved, S::dialling);
  set(S::dialling, I::proxied, S::tunnelling);
  set(S::tunnelling, I::tunnelled, S::handshaking);
  set(S::dialling, I::connected, S::handshaking);
  set(S::handshaking, I::tls_open, S::settling);
  set(S::settling, I::settings, S::ready);
  set(S::ready, I::goaway, S::draining);
  set(S::ready, I::retire, S::draining);
  set(S::draining, I::goaway, S::draining);
  set(S::ready, I::drained, S::closing);  // our own stop
  set(S::draining, I::drained, S::closing);
  for (const S s : {S::resolving, S::dialling, S::tunnelling, S::handshaking, S::settling, S::ready, S::draining}) set(s, I::fail, S::closing);
  set(S::closing, I::closed, S::free);
  return table;
}
inline constexpr TransitionTable kTransitions = make_transitions();

const char* state_name(ConnectionState state);

struct Connection {
  ConnectionState state = ConnectionState::free;
  std::uint32_t credential = 0;
  std::unique_ptr<tls::Channel> tls;
  std::unique_ptr<h2::ClientSession> h2;

  // Their memory is the shard's while they are empty (buffers.h).
  base::ByteBuffer plain_out;           // encoded, not yet encrypted (empty between steps)
  base::ByteBuffer wire[2];             // [sending_index] is the kernel's while `sending`, and then never given back
  base::ByteBuffer deferred;            // handshake bytes kept for a later step
  unsigned sending_index = 0;
  bool sending = false;
  bool dirty = false;                   // in the shard's list of connections to flush
  bool proven = false;                  // an answer was read: the endpoint works
  bool goaway_counted = false;          // as a failed dial, once
  bool has_deferred = false;
  bool close_after_send = false;        // closing, but a last GOAWAY and close_notify are still going out
  bool dial_open = false;               // holds a place in the process-wide budget of dials

  std::int64_t stage_deadline_mono_ns = base::kNever;   // of dialling, TLS and SETTINGS
  std::int64_t answer_deadline_mono_ns = base::kNever;  // when an open stream is due
  std::int64_t last_answer_mono_ns = 0;
  std::uint32_t in_flight = 0;
  std::uint32_t version = 0;            // of its credential when it was dialled
  std::int32_t goaway_last = 0x7fffffff;
  std::uint32_t limit_seen = 0;         // the peer's stream limit as last looked at
  std::uint32_t limit_high = 0;         // the highest that counted
  bool rejected = false;                // 4xx answers came, for which Apple lowers the limit, and it has not risen since
  bool slowed = false;                  // and it did: others of its credential go first

  // Liveness: since when nothing came (or, with nothing in flight before, since when something is awaited), and the
  // PING that is out.
  std::int64_t quiet_since_mono_ns = 0;
  std::int64_t ready_mono_ns = base::kNever;
  std::int64_t used_mono_ns = 0;        // last request or answer
  std::int64_t ping_deadline_mono_ns = base::kNever;
  std::uint64_t ping_opaque = 0;
  std::int64_t takes_nothing_mono_ns = base::kNever;  // since when it grants no stream or window, with nothing in flight
  bool confirming = false;              // of a new version: once it has answered anything, an older one goes
  bool probing = false;                 // nothing may be sent before the PING is answered
  bool window_shut = false;             // the last write took less than it was given; until bytes come

  // Reaching the peer.
  std::shared_ptr<const CredentialConfig> config;  // as it was when it was dialled
  std::uint32_t reach = 0;              // the endpoint it was dialled through
  std::uint16_t port = 0;
  base::Address address{};
  bool address_used = false;            // counted in its Reach
  bool reach_open = false;              // its dial is under way for its Reach
  bool others_fresh = false;            // the name has another address that has not failed lately
  std::unique_ptr<TunnelAnswer> tunnel;
  std::int64_t blocked_until_mono_ns = 0;  // nothing new before (TooManyProviderTokenUpdates)

  // Provider token in use.
  std::int64_t token_iat_s = 0;
  std::string authorization;            // the field's value: whatever it prepares goes out with this one
  std::int64_t token_over_mono_ns = 0;  // too old from then on
  bool token_used = false;              // some request went out with it
  std::int64_t token_turn_mono_ns = 0;  // from when on a newer one may be taken

  Ramp ramp;                            // after an outage

  // Since when its credential was unreachable as the SETTINGS came: SETTINGS alone prove nothing, and if this
  // connection goes before its first answer, that time goes on.
  std::int64_t unreachable_before_mono_ns = base::kNever;
  std::int64_t unreachable_before_wall_ns = 0;

  // Prepared lists + 1, of each template that went out here: by the collapse id's presence (+1) and how the content is kept
  // (raw, +2 a UUID in upper case, +4 in lower); 0: not prepared on this connection yet.
  std::vector<std::array<std::uint32_t, 6>> lists;
  std::vector<std::uint32_t> lists_at;  // template index -> place in them + 1; 0: none yet

  std::size_t unsent_bytes() const { return wire[0].size() + wire[1].size(); }
  // Applies the table; asserts that the transition exists.
  void apply(ConnectionInput input);
};

}  // namespace tocsin::dispatch
