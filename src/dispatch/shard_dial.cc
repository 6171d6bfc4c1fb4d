// SPDX-License-Identifier: Apache-2.0
// From nothing to a TCP connection (through a proxy's tunnel, if there is one), and what a failure on the way means.
#include <algorithm>
#include <utility>

#include "base/assertion.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// Causes that another dial will not cure: the same one three times in a row ends the trying at once.
bool definite(tls::Cause cause) {
  switch (cause) {
    case tls::Cause::not_tls:
    case tls::Cause::untrusted:
    case tls::Cause::certificate_expired:
    case tls::Cause::name_mismatch:
    case tls::Cause::no_alpn:
    case tls::Cause::own_certificate_refused:
    case tls::Cause::own_configuration: return true;
    default: return false;
  }
}
constexpr unsigned kDefiniteFailuresMax = 3;

// Connections that lived less than this; so many of them in a row cost no more than the shortest wait; then it doubles.
constexpr std::int64_t kShortLifeNs = 5 * base::kSecond;
constexpr unsigned kShortLivesFree = 4;
constexpr std::int64_t kShortLifeWaitNs = 2 * base::kSecond;

}  // namespace

Action& Shard::act(ActionKind kind, base::Handle handle, std::uint32_t credential) {
  Action& action = out_->actions.emplace_back();
  action.kind = kind;
  action.handle = handle.value;
  action.credential = credential;
  return action;
}

void Shard::start_dial(std::uint32_t credential_index, bool first) {
  Credential& credential = credentials_[credential_index];
  if (first) enter_line(credential_index);
  const base::Handle handle = place_for(credential_index) ? connections_.acquire() : base::Handle{};
  if (!handle) {
    credential.opening = false;  // with the next push again: nobody asks without end for what nobody needs now
    if (needs_room(credential_index)) make_room(credential_index);
    credential.next_dial_mono_ns = now_.mono_ns + 10 * base::kMillisecond;
    wake_at(credential_index, credential.next_dial_mono_ns);
    return;
  }
  if (dials_left_ != kNone) --dials_left_;
  const CredentialConfig& config = *credential.config;
  Connection& connection = connections_[handle];
  connection.credential = credential_index;
  connection.version = credential.version;
  connection.reach = credential.reach;
  move(connection, ConnectionInput::dial);
  connection.dial_open = connection.reach_open = true;
  connection.stage_deadline_mono_ns = now_.mono_ns + config.connect_timeout_ns;
  credential.connections.push_back(handle);
  for (const base::Handle each : credential.connections) watch(each, connections_[each]);  // an idle one is no longer the only one
  mark_changed(credential);
  Reach& reach = *reaches_[connection.reach];
  const std::uint16_t before = reach.port();
  connection.port = reach.dial_started(now_.mono_ns);
  if (connection.port != before) {
    mark(Mark::port_changed);
    log(LogLevel::warning, "port_changed", config.name + ": trying " + config.host + " on port " +
                                               std::to_string(connection.port) + " instead of " + std::to_string(before));
  }
  Action& resolve = act(ActionKind::resolve, handle, credential_index);
  resolve.name = config.proxy_host.empty() ? config.host : config.proxy_host;
  resolve.port = config.proxy_host.empty() ? connection.port : config.proxy_port;
  resolve.waiting_since_mono_ns = credential.placeless_since_mono_ns;
  resolve.needed = needs_room(credential_index);
  connection.config = credential.config;  // `name` lives as long
}

void Shard::on_resolved(base::Handle handle, Connection& connection, std::span<const base::Address> addresses) {
  if (connection.state != ConnectionState::resolving) return;  // it timed out meanwhile
  TOCSIN_ASSERT(!addresses.empty());
  leave_line(connection.credential);
  move(connection, ConnectionInput::resolved);
  Reach& reach = *reaches_[connection.reach];
  const Reach::Choice choice = reach.choose(addresses, now_.mono_ns, prng_);
  connection.address = addresses[choice.index];
  connection.others_fresh = choice.others_fresh;
  connection.address_used = true;
  reach.address_used(connection.address, 1);
  act(ActionKind::dial, handle, connection.credential).address = connection.address;
}

void Shard::on_dialled(base::Handle handle, Connection& connection) {
  if (connection.state != ConnectionState::dialling) return;  // it timed out meanwhile
  const CredentialConfig& config = *connection.config;
  if (config.proxy_host.empty()) return start_tls(handle, connection);
  move(connection, ConnectionInput::proxied);
  connection.tunnel = std::make_unique<TunnelAnswer>();
  connection.wire[1 - connection.sending_index].append(
      base::as_bytes(connect_request(config.host, connection.port, config.proxy_authorization)));
  if (!connection.sending) start_send(handle, connection);
}

void Shard::on_tunnel(base::Handle handle, Connection& connection, base::ByteView bytes) {
  counters_.bytes_received += bytes.size();
  std::size_t used = 0;
  const TunnelAnswer::State state = connection.tunnel->feed(bytes, used);
  if (state == TunnelAnswer::State::more) return;
  if (state == TunnelAnswer::State::refused) {
    mark(Mark::tunnel_refused);
    const bool for_good = connection.tunnel->definite();
    std::string text = connection.tunnel->text();
    connection.tunnel.reset();
    lose(handle, connection, for_good ? tls::Cause::own_configuration : tls::Cause::none, std::move(text));
    return;
  }
  connection.tunnel.reset();
  start_tls(handle, connection);
  if (used < bytes.size() && connections_.find(handle) != nullptr) on_received(handle, connection, bytes.subspan(used));
}

void Shard::on_dial_failed(base::Handle handle, Connection& connection, std::string_view text) {
  if (connection.state == ConnectionState::dialling && connection.others_fresh) {
    // Another address of the same name may do; it is tried at once, after a fresh query.
    Credential& credential = credentials_[connection.credential];
    Reach& reach = *reaches_[connection.reach];
    reach.address_failed(connection.address, now_.mono_ns);
    reach.dial_failed(now_.mono_ns, connection.port, false, prng_);
    touch_reach(connection.reach);
    connection.reach_open = false;
    mark(Mark::dial_next_address);
    log(LogLevel::warning, "address_failed", credential.config->name + ": " + std::string(text) + "; trying another address");
    credential.last_error = std::string(text);
    credential.next_dial_mono_ns = now_.mono_ns;
    begin_close(handle, connection, ConnectionInput::fail);
    return;
  }
  if (connection.state != ConnectionState::dialling && connection.state != ConnectionState::resolving) return;
  leave_line(connection.credential);
  lose(handle, connection, tls::Cause::none, std::string(text));
}

void Shard::on_dial_deferred(base::Handle handle, Connection& connection, bool connections) {
  if (connection.state != ConnectionState::resolving) return;
  // Not a failure: the budget is the process's.
  if (connections) {
    Credential& credential = credentials_[connection.credential];
    credential.opening = false;
    // Of several that were refused together, one makes room.
    if (now_.mono_ns >= credential.next_dial_mono_ns && needs_room(connection.credential)) make_room(connection.credential);
    // A few milliseconds of jitter keep shards from asking in step.
    credential.next_dial_mono_ns =
        now_.mono_ns + 5 * base::kMillisecond +
        static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(20 * base::kMillisecond)));
  } else {
    dial_refused(connection.credential);
  }
  connection.dial_open = false;  // it never got one
  begin_close(handle, connection, ConnectionInput::fail);
}

// A small random wait, so that what happens to every connection at once does not bring them all back at once. A server
// that ends one connection after the other is not dialled at that pace: Apple takes it for an attack.
void Shard::soon(Credential& credential, const Connection& gone) {
  const bool short_life = gone.ready_mono_ns != base::kNever && now_.mono_ns - gone.ready_mono_ns < kShortLifeNs;
  credential.short_lives = short_life ? std::min(credential.short_lives + 1, 30u) : 0;
  const CredentialConfig& config = *credential.config;
  std::int64_t bound = std::max<std::int64_t>(config.backoff_min_ns, 1);
  const std::int64_t most = std::max(bound, std::min(config.backoff_max_ns, kShortLifeWaitNs));
  for (unsigned i = kShortLivesFree; i < credential.short_lives && bound < most; ++i) bound = std::min(2 * bound, most);
  const std::int64_t wait = static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(bound)));
  credential.next_dial_mono_ns = std::max(credential.next_dial_mono_ns, now_.mono_ns + wait);
}

// It was proven, or was there for nothing for so long that its end says nothing of the next one.
bool Shard::served(const Connection& connection) const {
  if (connection.proven) return true;
  return connection.ready_mono_ns != base::kNever && connection.h2 != nullptr && connection.h2->next_stream_id() == 1 &&
         connection.takes_nothing_mono_ns == base::kNever && now_.mono_ns - connection.ready_mono_ns >= kShortLifeNs;
}

void Shard::count_failure(Credential& credential, Connection& connection, tls::Cause cause, std::string text) {
  ++counters_.dials_failed;
  if (connection.reach_open) {
    Reach& reach = *reaches_[connection.reach];
    // Behind the TCP connection it may be this credential's own matter, and is where others are served.
    const bool own = cause == tls::Cause::own_certificate_refused || cause == tls::Cause::own_configuration ||
                     (connection.tls != nullptr && reach.connections() != 0);
    const bool network = !own;
    credential.endpoint_failed = network;
    // One that takes connections and then says nothing is no better than one that does not.
    if (network && connection.address_used) reach.address_failed(connection.address, now_.mono_ns);
    const bool was_down = reach.down();
    reach.dial_failed(now_.mono_ns, connection.port, network, prng_);
    touch_reach(connection.reach);
    connection.reach_open = false;
    if (!was_down && reach.down()) {
      mark(Mark::breaker_opened);
      log(LogLevel::warning, "endpoint_down",
          credential.config->authority + " is taken for unreachable: one dial at a time until it answers again");
    }
  }
  if (connection.version != credential.version && credential.renewing) {
    // Of a version that was replaced meanwhile: says nothing about the new one.
    soon(credential, connection);
    credential.last_error = std::move(text);
    mark_changed(credential);
    return;
  }
  // What was under way together fails together, and is one failure.
  const bool together = credential.failures != 0 && now_.mono_ns < credential.next_dial_mono_ns;
  if (!together) {
    credential.failures = std::min(credential.failures + 1, 30u);
    credential.same_cause = cause == credential.last_cause ? credential.same_cause + 1 : 1;
    credential.last_cause = cause;
  }
  bool other_open = false;
  for (const base::Handle handle : credential.connections) {
    const Connection* other = connections_.find(handle);
    other_open |= other != nullptr && other->state == ConnectionState::ready && other->proven;
  }
  if (!other_open) {
    if (credential.unreachable_since_mono_ns == base::kNever) {
      const bool goes_on = connection.unreachable_before_mono_ns != base::kNever;
      credential.unreachable_since_mono_ns = goes_on ? connection.unreachable_before_mono_ns : now_.mono_ns;
      credential.unreachable_since_wall_ns = goes_on ? connection.unreachable_before_wall_ns : now_.wall_ns;
      if (!goes_on) {
        log(LogLevel::warning, "unreachable", credential.config->name + ": " + credential.config->authority +
                                                  " is unreachable; pushes wait. Cause: " + text);
      }
    }
    if (definite(cause) && credential.same_cause >= kDefiniteFailuresMax) {
      credential.gave_up = true;
      if (cause == tls::Cause::own_certificate_refused && !credential.stopped) {
        stop_credential(connection.credential, Reason::cannot_connect, text);
      }
    }
  }
  // Full jitter: anywhere between 0 and the doubled bound, so that shards and processes spread out.
  const CredentialConfig& config = *credential.config;
  std::int64_t bound = config.backoff_min_ns;
  for (unsigned i = 1; i < credential.failures && bound < config.backoff_max_ns; ++i) bound *= 2;
  bound = std::clamp<std::int64_t>(bound, 1, std::max<std::int64_t>(config.backoff_max_ns, 1));
  if (!together) {
    credential.next_dial_mono_ns = now_.mono_ns + 1 + static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(bound)));
  }
  log(LogLevel::warning, "dial_failed", config.name + ": " + text);
  credential.last_error = std::move(text);
  mark_changed(credential);
}

// Another credential's connection shows that the endpoint is there again: who waits for that need not wait any longer. A
// little jitter, and after an outage Reach lets them through by twos and fours.
void Shard::endpoint_answers(std::uint32_t reach) {
  for (std::uint32_t i = 0; i < credentials_.size(); ++i) {
    Credential& credential = credentials_[i];
    if (!credential.endpoint_failed || credential.reach != reach) continue;
    credential.endpoint_failed = false;
    const std::int64_t bound = std::max<std::int64_t>(credential.config->backoff_min_ns, 1);
    const std::int64_t at = now_.mono_ns + static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(bound)));
    credential.next_dial_mono_ns = std::min(credential.next_dial_mono_ns, at);
    activate(i);
  }
}

void Shard::settle_dial(base::Handle handle, Connection& connection) {
  if (!connection.dial_open) return;
  connection.dial_open = false;
  act(ActionKind::dial_settled, handle, connection.credential);
}

}  // namespace tocsin::dispatch
