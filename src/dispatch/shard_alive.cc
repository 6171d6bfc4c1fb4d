// SPDX-License-Identifier: Apache-2.0
// Is the peer there? Deadlines of the stages of a connection, PINGs when it is silent or idle, answers that are overdue.
#include <algorithm>

#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// One whose time is over and that stays, because pushes wait or no other is ready, is asked again after this.
constexpr std::int64_t kIdleLookNs = 60 * base::kSecond;

}  // namespace

// The earliest moment at which this connection wants to be looked at. Receiving only ever moves it further away, so a
// deadline noted before may come too early, which costs a look, and never too late.
std::int64_t Shard::next_deadline(const Connection& connection) const {
  if (connection.state == ConnectionState::closing) {
    return connection.close_after_send ? connection.stage_deadline_mono_ns : base::kNever;
  }
  std::int64_t at = std::min(connection.stage_deadline_mono_ns, connection.ping_deadline_mono_ns);
  if (stopping_ && stop_deadline_mono_ns_ > now_.mono_ns) at = std::min(at, stop_deadline_mono_ns_);
  if (connection.in_flight != 0) at = std::min(at, connection.answer_deadline_mono_ns);
  const bool open = connection.state == ConnectionState::ready || connection.state == ConnectionState::draining;
  if (!open) return at;
  const CredentialConfig& config = *connection.config;
  if (connection.ping_deadline_mono_ns == base::kNever) {
    const std::int64_t after = connection.in_flight != 0 ? config.ping_after_ns : config.ping_idle_ns;
    if (after != 0) at = std::min(at, connection.quiet_since_mono_ns + after);
  }
  if (connection.in_flight == 0 && config.idle_close_ns != 0 && credentials_[connection.credential].connections.size() > config.connections_min) {
    const std::int64_t close_at = connection.used_mono_ns + config.idle_close_ns;
    at = std::min(at, close_at > now_.mono_ns ? close_at : now_.mono_ns + kIdleLookNs);
  }
  if (connection.takes_nothing_mono_ns != base::kNever) {
    const std::int64_t give_up_at = connection.takes_nothing_mono_ns + config.answer_timeout_ns;
    if (give_up_at > now_.mono_ns) at = std::min(at, give_up_at);
  }
  if (connection.blocked_until_mono_ns > now_.mono_ns) at = std::min(at, connection.blocked_until_mono_ns);
  return at;
}

void Shard::connection_deadline(base::Handle handle, Connection& connection) {
  if (connection.state == ConnectionState::closing) {
    if (connection.close_after_send && now_.mono_ns >= connection.stage_deadline_mono_ns) emit_close(handle, connection);
    return;
  }
  const CredentialConfig& config = *connection.config;
  if (stopping_) {
    const bool over = now_.mono_ns >= stop_deadline_mono_ns_;
    if (connection.h2 == nullptr || !connection.tls || connection.state == ConnectionState::settling) {
      begin_close(handle, connection, ConnectionInput::fail);
      return;
    }
    if (connection.in_flight == 0 || over) {
      if (connection.in_flight != 0) mark(Mark::stopped_in_flight);
      sweep(connection, Reason::engine_stopped, {});
      if (connection.state != ConnectionState::closing) begin_close(handle, connection, ConnectionInput::drained);
      return;
    }
  }
  if (now_.mono_ns >= connection.stage_deadline_mono_ns) {
    const char* stage = connection.state == ConnectionState::resolving     ? "resolving the name of "
                        : connection.state == ConnectionState::dialling    ? "connecting to "
                        : connection.state == ConnectionState::tunnelling  ? "the proxy's answer for "
                        : connection.state == ConnectionState::handshaking ? "the TLS handshake with "
                                                                           : "HTTP/2 SETTINGS from ";
    mark(Mark::stage_timeout);
    lose(handle, connection, tls::Cause::none, stage + config.authority + " timed out");
    return;
  }
  if (!check_liveness(handle, connection)) return;
  if (connection.in_flight != 0 && now_.mono_ns >= connection.answer_deadline_mono_ns) overdue(handle, connection);
}

bool Shard::check_liveness(base::Handle handle, Connection& connection) {
  if (connection.state != ConnectionState::ready && connection.state != ConnectionState::draining) return true;
  const CredentialConfig& config = *connection.config;
  if (now_.mono_ns >= connection.ping_deadline_mono_ns) {
    mark(Mark::peer_silent);
    ++counters_.peers_dead;
    lose(handle, connection, tls::Cause::none, config.authority + " did not answer a PING: the connection is dead");
    return false;
  }
  if (connection.in_flight == 0 && connection.state == ConnectionState::ready && config.idle_close_ns != 0 &&
      now_.mono_ns - connection.used_mono_ns >= config.idle_close_ns && queue_.waiting(connection.credential) == 0) {
    // The last ones stay, warm, until somebody else needs their places.
    unsigned ready = 0;
    for (const base::Handle each : credentials_[connection.credential].connections) {
      ready += connections_[each].state == ConnectionState::ready ? 1 : 0;
    }
    if (ready > config.connections_min) {
      mark(Mark::retired_idle);
      retire(handle, connection);
      return false;
    }
  }
  const std::int64_t after = connection.in_flight != 0 ? config.ping_after_ns : config.ping_idle_ns;
  if (after == 0 || connection.ping_deadline_mono_ns != base::kNever ||
      now_.mono_ns - connection.quiet_since_mono_ns < after) {
    return true;
  }
  if (connection.in_flight == 0) mark(Mark::ping_idle);
  send_ping(handle, connection);
  return true;
}

void Shard::send_ping(base::Handle handle, Connection& connection) {
  connection.ping_opaque = ++ping_count_;
  connection.h2->ping(connection.ping_opaque);
  ++counters_.pings;
  connection.ping_deadline_mono_ns = now_.mono_ns + std::max<std::int64_t>(connection.config->ping_timeout_ns, 1);
  watch(handle, connection);
  mark_dirty(handle, connection);
}

// A flow that was silent for long may be gone without a word (a firewall forgot it): ask before pushes depend on it.
bool Shard::probe(base::Handle handle, Connection& connection) {
  if (connection.probing) return true;
  const std::int64_t after = connection.config->probe_after_ns;
  if (after == 0 || connection.in_flight != 0 || now_.mono_ns - connection.quiet_since_mono_ns < after) return false;
  mark(Mark::probed);
  connection.probing = true;
  if (connection.ping_deadline_mono_ns == base::kNever) send_ping(handle, connection);
  return true;
}

// Some stream is overdue. If nothing at all was answered for the whole time, the peer is dead; else only the overdue
// streams are given up.
void Shard::overdue(base::Handle handle, Connection& connection) {
  const CredentialConfig& config = *connection.config;
  mark(Mark::answer_overdue);
  if (now_.mono_ns - connection.last_answer_mono_ns >= config.answer_timeout_ns) {
    ++counters_.peers_dead;
    lose(handle, connection, tls::Cause::none, "no answer from " + config.authority + " in time");
    return;
  }
  orphans_.clear();
  connection.h2->open_tags(orphans_);
  std::int64_t oldest = base::kNever;
  const std::vector<h2::Orphan> open = orphans_;
  for (const h2::Orphan& orphan : open) {
    const auto slot = static_cast<std::uint32_t>(orphan.tag);
    const std::int64_t due = queue_.known(slot).sent_mono_ns + config.answer_timeout_ns;
    if (due > now_.mono_ns) {
      oldest = std::min(oldest, due);
      continue;
    }
    connection.h2->cancel(orphan.tag);
    orphaned(connection, orphan, Reason::connection_lost, "no answer in time");
  }
  write_pending(connection);  // a stream's place is free once its RST_STREAM is written
  connection.answer_deadline_mono_ns = oldest;
  mark_dirty(handle, connection);
  // A peer that answers late, or none at all: other answers would tell, but there may be none to come.
  if (connection.ping_deadline_mono_ns == base::kNever && config.ping_after_ns != 0) send_ping(handle, connection);
  // The last stream went without an answer, so that no later answer will be there to end this connection.
  if (connection.in_flight == 0 && (stopping_ || connection.state == ConnectionState::draining)) {
    begin_close(handle, connection, ConnectionInput::drained);
  }
}

}  // namespace tocsin::dispatch
