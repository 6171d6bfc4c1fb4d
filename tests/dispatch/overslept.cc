// SPDX-License-Identifier: Apache-2.0
// Shard::overslept: a full scan for what a step left undone. A step looks only at those to whom something happened, so
// whoever makes a waiting credential able to go must wake it; a wake-up that was forgotten shows here, after the step that
// lost it, and not as a push that is late by a minute somewhere.
//
// It asks of every credential: at which moment could it do something if nothing happens any more? Not yet past, and not
// before the moment that the shard named for its next step. Compiled into tests only, which ask it after each step.
#include <algorithm>
#include <string>

#include "apns/provider_token.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {

std::string Shard::overslept(std::int64_t deadline_mono_ns) const {
  std::int64_t earliest = base::kNever;
  std::string what;
  const auto can = [&](std::int64_t at, std::string_view name, const char* act) {
    if (at >= earliest) return;
    earliest = at;
    what = std::string(name) + " could " + act;
  };
  const auto left = [this](const Allowance& allowance) {
    return !allowance.paced ? kNone : now_.mono_ns >= allowance.void_mono_ns ? 0 : allowance.left;
  };

  for (std::uint32_t index = 0; index < credentials_.size(); ++index) {
    const Credential& credential = credentials_[index];
    const std::string_view name = credential.config != nullptr ? std::string_view(credential.config->name) : "one that is gone";
    if (!has_task(index)) continue;
    if (credential.active) {
      can(now_.mono_ns + 1, name, "be looked at");
      continue;
    }
    const bool waits = queue_.waiting(index) != 0;
    if (waits && (stopping_ || credential.removed || credential.stopped)) can(now_.mono_ns, name, "end what waits");
    if (credential.letting_go) can(now_.mono_ns, name, "let its connections go");
    if (stopping_ || credential.removed || credential.stopped || credential.letting_go) continue;

    // Each of its connections.
    const bool held = credential.paused || credential.alarmed;
    const bool ready = queue_.has_ready(index);
    unsigned usable = 0, dialling = 0, unsure = 0;
    for (const base::Handle handle : credential.connections) {
      const Connection& connection = connections_[handle];
      const bool current = connection.version == credential.version;
      if (connection.state >= ConnectionState::resolving && connection.state <= ConnectionState::settling) dialling += current ? 1 : 0;
      if (connection.state != ConnectionState::ready) continue;
      usable += current || credential.renewing ? 1 : 0;
      unsure += connection.confirming || connection.probing ? 1 : 0;
      if (held || !ready || now_.mono_ns < connection.blocked_until_mono_ns) continue;
      if (credential.config->provider_tokens && (connection.token_iat_s == 0 || now_.mono_ns >= connection.token_over_mono_ns)) {
        // Waits for a token: it is being made, or the line's turn comes with the next step, or it is looked for every second.
        const bool fresh = credential.token_iat_s != 0 && token_age_ns(credential) < apns::kTokenAgeMaxS * base::kSecond;
        const bool first = connection.token_iat_s == 0 && credential.token_asked_iat_s == 0 && !credential.in_token_line;
        if (current && fresh && first) can(now_.mono_ns, name, "take its provider token");
        can(credential.in_token_line ? now_.mono_ns + 1 : now_.mono_ns + base::kSecond, name, "look for a provider token");
        continue;
      }
      const std::int64_t probe_after = connection.config->probe_after_ns;
      const bool quiet = probe_after != 0 && connection.in_flight == 0 && now_.mono_ns - connection.quiet_since_mono_ns >= probe_after;
      unsure += quiet && !connection.probing ? 1 : 0;
      if (connection.probing || connection.window_shut || room_of(connection, credential) == 0) continue;
      if (connection.unsent_bytes() + connection.plain_out.size() >= options_.wire_high_water_bytes) continue;
      // Of two rates that it waits for, one wakes it.
      if (credential.in_engine_line && left(engine_allowance_) == 0) {
        if (!engine_allowance_.asked) can(engine_allowance_.ask_again_mono_ns, name, "ask for the engine's rate");
      } else if (left(credential.allowance) == 0) {
        if (!credential.allowance.asked) can(credential.allowance.ask_again_mono_ns, name, "ask for its rate");
      } else if (left(engine_allowance_) == 0) {
        can(now_.mono_ns, name, "stand in the line for the engine's rate");
      } else {
        can(now_.mono_ns, name, "write a request");
      }
    }

    // Another connection.
    const bool first = usable == 0;
    // Where the engine's rate is what is short, a second connection is nothing to wake anybody for.
    const bool rates = left(credential.allowance) != 0 && !engine_allowance_.paced;
    const bool work = !held && ready && (first || rates);
    const unsigned has = usable + dialling;
    const bool in_vain = credential.failures != 0 && !waits && now_.mono_ns < credential.next_dial_mono_ns;
    const bool wanted = (work && has < credential.config->connections_max) ||
                        (credential.opening && !held && !in_vain && has < credential.config->connections_min);
    const unsigned at_once = credential.failures != 0 || unsure != 0 ? 1 : std::clamp(usable, 1u, options_.dials_max);
    if ((credential.renewing && dialling + unsure == 0) || (wanted && dialling + unsure < at_once)) {
      const std::int64_t reach_at = reaches_[credential.reach]->may_dial_at();
      if (credential.next_dial_mono_ns > now_.mono_ns) {
        can(credential.next_dial_mono_ns, name, "dial after its back-off");
      } else if (credential.in_dial_line && dials_left_ == 0) {
        can(dial_retry_mono_ns_, name, "try for a dial");
      } else if (reach_at > now_.mono_ns) {
        if (credential.reach_line != credential.reach) can(now_.mono_ns, name, "stand in the line of its endpoint");
        can(reach_at, name, "dial an endpoint that is down");
      } else if (dials_left_ == 0) {
        can(now_.mono_ns, name, "stand in the line for dials");
      } else {
        can(now_.mono_ns, name, "dial");
      }
    }
    if (usable != 0 || !waits || held) continue;
    if (credential.gave_up) can(now_.mono_ns, name, "give up");
    const std::int64_t give_up_ns = credential.ever_proven ? credential.config->outage_give_up_ns : credential.config->give_up_ns;
    if (give_up_ns != 0 && credential.unreachable_since_mono_ns != base::kNever) {
      can(credential.unreachable_since_mono_ns + give_up_ns, name, "give up after its time");
    }
  }
  if (earliest <= now_.mono_ns) return what + " now, and sleeps";

  // Each connection.
  for (std::uint32_t number = 0; number < connections_.capacity(); ++number) {
    const base::Handle handle = connections_.handle_at(number);
    if (!handle) continue;
    can(next_deadline(connections_[handle]), credentials_[connections_[handle].credential].config->name,
        "look after a connection");
  }
  if (earliest >= deadline_mono_ns) return {};
  return what + " in " + std::to_string(earliest - now_.mono_ns) + " ns, and the next step is due " +
         (deadline_mono_ns == base::kNever ? std::string("never")
                                           : "in " + std::to_string(deadline_mono_ns - now_.mono_ns) + " ns");
}

}  // namespace tocsin::dispatch
