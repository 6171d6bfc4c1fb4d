// SPDX-License-Identifier: Apache-2.0
// A credential's life: added, replaced, rolled, paused, stopped, removed; its provider token; the alarm.
#include <algorithm>
#include <utility>

#include "apns/provider_token.h"
#include "base/assertion.h"
#include "dispatch/shard.h"
#include "tls/wipe.h"

namespace tocsin::dispatch {
namespace {

constexpr std::int64_t kTokenChangeMinNs = apns::kTokenChangeMinS * base::kSecond;
// APNs counts from the request that showed it the token, which may have been long on its way, and by its own clock.
constexpr std::int64_t kTokenChangeSlackNs = 60 * base::kSecond;
constexpr std::int64_t kTokenAgeMaxNs = apns::kTokenAgeMaxS * base::kSecond;

}  // namespace

std::uint32_t Shard::find_reach(const CredentialConfig& config) {
  std::string key = config.host + ' ' + std::to_string(config.port) + ' ' + std::to_string(config.alternate_port) + ' ' +
                    config.proxy_host + ' ' + std::to_string(config.proxy_port);
  const auto [found, fresh] = reach_index_.try_emplace(std::move(key), static_cast<std::uint32_t>(reaches_.size()));
  if (fresh) {
    ReachOptions options;
    options.port = config.port;
    options.alternate_port = config.alternate_port;
    options.backoff_min_ns = config.backoff_min_ns;
    options.backoff_max_ns = config.backoff_max_ns;
    reaches_.push_back(std::make_unique<Reach>(options));
    reach_lines_.emplace_back();
  } else {
    reaches_[found->second]->widen(config.backoff_min_ns, config.backoff_max_ns);
  }
  return found->second;
}

void Shard::add_credential(const Event& event) {
  TOCSIN_ASSERT(event.index == credentials_.size() && event.index < options_.credentials_max);
  Credential& credential = credentials_.emplace_back();
  credential.config = event.credential;
  credential.budget = RetryBudget(options_.retry_budget);
  credential.reach = find_reach(*event.credential);
  credential.allowance.paced = event.credential->paced;
  queue_.add_credential();
}

void Shard::replace_credential(const Event& event) {
  Credential& credential = credentials_[event.index];
  if (credential.removed) return;
  // Connections keep the Reach they were dialled through until they are gone; see Connection::reach.
  credential.config = event.credential;
  credential.reach = find_reach(*event.credential);
  forget_token(credential);
  credential.tokens_expired = 0;
  roll_credential(event.index, Mark::credential_replaced);
  const bool paused = credential.paused;  // its owner's word stays; what was held against the old version does not
  resume_credential(event.index);
  credential.paused = paused;
  log(LogLevel::info, "credential_replaced", credential.config->name + ": new connections use the new version");
}

void Shard::roll_credential(std::uint32_t index, Mark why) {
  Credential& credential = credentials_[index];
  if (credential.removed) return;
  ++credential.version;
  mark(why);
  bool any = false;
  const std::vector<base::Handle> handles = credential.connections;
  for (const base::Handle handle : handles) {
    Connection& connection = connections_[handle];
    if (connection.state == ConnectionState::closing || connection.state == ConnectionState::draining) continue;
    any = true;
    // One that is only on its way would arrive outdated.
    if (connection.state != ConnectionState::ready) begin_close(handle, connection, ConnectionInput::fail);
  }
  credential.renewing = any;
  activate(index);
}

void Shard::confirm(Connection& connection) {
  if (!std::exchange(connection.confirming, false)) return;
  retire_older(connection.credential);
  activate(connection.credential);
}

// One for one, so that what is in flight and what is granted never falls much while versions change.
void Shard::retire_older(std::uint32_t index) {
  Credential& credential = credentials_[index];
  base::Handle least{};
  unsigned older = 0;
  for (const base::Handle handle : credential.connections) {
    const Connection& connection = connections_[handle];
    if (connection.state != ConnectionState::ready || connection.version == credential.version) continue;
    ++older;
    if (!least || connection.in_flight < connections_[least].in_flight) least = handle;
  }
  credential.renewing = older > 1;
  if (least) retire(least, connections_[least]);
}

void Shard::resume_credential(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (credential.stopped) {
    // What APNs refused is not shown to it again: neither a provider token (a wrong clock may have made it) nor a
    // connection that holds one.
    forget_token(credential);
    const std::vector<base::Handle> handles = credential.connections;
    for (const base::Handle handle : handles) {
      if (connections_[handle].state == ConnectionState::ready) retire(handle, connections_[handle]);
    }
  }
  credential.paused = credential.alarmed = credential.stopped = credential.gave_up = credential.letting_go = false;
  credential.stop_reason = Reason::none;
  credential.answers = credential.bad_tokens = 0;
  credential.failures = credential.same_cause = 0;
  credential.tokens_expired = 0;
  credential.last_cause = tls::Cause::none;
  credential.next_dial_mono_ns = 0;
  if (credential.unreachable_since_mono_ns != base::kNever) credential.unreachable_since_mono_ns = now_.mono_ns;
  mark_changed(credential);
  activate(index);
}

void Shard::remove_credential(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (std::exchange(credential.removed, true)) return;
  mark(Mark::credential_removed);
  mark_changed(credential);
  credential.renewing = credential.letting_go = false;
  fail_waiting(index, End::returned, Reason::credential_removed, {});
  const std::vector<base::Handle> handles = credential.connections;
  for (const base::Handle handle : handles) retire(handle, connections_[handle]);
}

// Removed, and the last of its pushes and connections is gone: so is what it held. A push that was on its way to us
// meanwhile is handed back without any of it.
void Shard::forget_credential(std::uint32_t index) {
  Credential& credential = credentials_[index];
  TOCSIN_ASSERT(credential.removed && !credential.active && credential.connections.empty());
  tls::wipe(credential.authorization.data(), credential.authorization.size());
  Credential nothing;
  credential = std::move(nothing);
  credential.removed = true;
  queue_.forget_credential(index);
}

// Refused for good as far as we can know: dialling on or sending on would only be held against us.
// `told`: by another shard, which has said so in the log.
void Shard::stop_credential(std::uint32_t index, Reason reason, std::string text, bool told) {
  Credential& credential = credentials_[index];
  if (credential.stopped || credential.removed) return;
  credential.stopped = credential.letting_go = true;
  credential.stopped_here = !told;
  credential.stop_reason = reason;
  credential.last_error = std::move(text);
  credential.renewing = false;
  mark(Mark::credential_stopped);
  mark_changed(credential);
  if (!told) {
    log(LogLevel::error, "credential_stopped",
        credential.config->name + " is stopped: " + credential.last_error + " Replace the credential or resume it.");
  }
  activate(index);
}

// Its connections serve nothing any more: what is in flight is awaited, what is only on its way is given up.
void Shard::let_go(Credential& credential) {
  credential.renewing = false;
  const std::vector<base::Handle> handles = credential.connections;
  for (const base::Handle handle : handles) retire(handle, connections_[handle]);
}

// A wrong environment shows as BadDeviceToken for nearly every token. Burning the fleet's tokens against it, and the
// connection's standing with APNs, is what the alarm is for. `told`: by another shard, which has said so in the log.
void Shard::alarm_credential(std::uint32_t index, std::string text, bool told) {
  Credential& credential = credentials_[index];
  if (credential.alarmed || credential.removed) return;
  credential.alarmed = credential.letting_go = true;
  credential.alarmed_here = !told;
  credential.last_error = std::move(text);
  mark(Mark::credential_alarmed);
  mark_changed(credential);
  if (!told) {
    log(LogLevel::error, "credential_alarmed",
        credential.config->name + " is paused: " + credential.last_error +
            " Check the endpoint (production or sandbox), then resume.");
  }
  activate(index);
}

void Shard::count_good_answers(std::uint32_t index, std::uint32_t count) {
  const Credential& credential = credentials_[index];
  if (credential.config->bad_tokens_share <= 0) return;
  // Share by share, each judged when it is full.
  while (count != 0) {
    const unsigned least = credential.config->bad_tokens_least;
    const std::uint32_t most = credential.answers < least ? least - credential.answers : 1;
    const std::uint32_t some = std::min(count, most);
    count_answers(index, some, 0);
    count -= some;
  }
}

void Shard::count_answers(std::uint32_t index, std::uint32_t count, std::uint32_t bad_tokens) {
  Credential& credential = credentials_[index];
  const CredentialConfig& config = *credential.config;
  if (config.bad_tokens_share <= 0) return;
  credential.answers += count;
  credential.bad_tokens += bad_tokens;
  if (credential.answers < config.bad_tokens_least) return;
  const double share = static_cast<double>(credential.bad_tokens) / static_cast<double>(credential.answers);
  const unsigned answers = std::exchange(credential.answers, 0);
  const unsigned bad = std::exchange(credential.bad_tokens, 0);
  if (share < config.bad_tokens_share) return;
  alarm_credential(index, std::to_string(bad) + " of the last " + std::to_string(answers) +
                              " answers were BadDeviceToken: the tokens are most likely of the other environment.", false);
}

bool Shard::ready_token(std::uint32_t index, base::Handle handle, Connection& connection) {
  Credential& credential = credentials_[index];
  if (!credential.config->provider_tokens) return true;
  bool put_off = false;
  // A connection of an older version goes on with what it has, as long as that lives.
  if (connection.version == credential.version) {
    // The clock's grid says which token is due; a clock that stepped back brings no older one while ours is young.
    const std::int64_t due_iat_s = apns::grid_iat(now_.wall_ns);
    const bool have = credential.token_iat_s != 0;
    const bool stale = !have || due_iat_s > credential.token_iat_s || token_age_ns(credential) >= kTokenAgeMaxNs;
    // Made when a connection is about to take it, and one in a step: at a turn of the grid every credential wants its own.
    const bool taker = connection.token_iat_s == 0 || now_.mono_ns >= connection.token_turn_mono_ns;
    if (taker && stale && due_iat_s != credential.token_iat_s && credential.token_asked_iat_s != due_iat_s &&
        now_.mono_ns >= credential.token_retry_mono_ns) {
      put_off = token_asked_ || (serving_ != Line::token && !token_line_.empty());
      if (put_off) {
        await_token(index, credential);
      } else {
        token_asked_ = true;
        credential.token_asked_iat_s = due_iat_s;
        act(ActionKind::need_token, {}, index).token_iat_s = due_iat_s;
      }
    }
    if (stale && have && due_iat_s == credential.token_iat_s) {
      // The clock was set back so far that no newer token can be made. Its word on the age of this one is all there is to
      // go by, and APNs' answer says whether it is true.
      credential.token_age_at_ns = now_.wall_ns - credential.token_iat_s * base::kSecond;
      credential.token_had_mono_ns = now_.mono_ns;
    }
    if (have && connection.token_iat_s == credential.token_iat_s) {
      connection.token_over_mono_ns = now_.mono_ns + kTokenAgeMaxNs - token_age_ns(credential);
    }
    // A new connection waits for the token that is being made: with an old one it would soon have none it may send.
    const bool first = connection.token_iat_s == 0 && credential.token_asked_iat_s == 0 && !put_off;
    const bool turn = first || (connection.token_iat_s != 0 && credential.token_iat_s != connection.token_iat_s &&
                              (!connection.token_used || now_.mono_ns >= connection.token_turn_mono_ns));
    if (turn && have && token_age_ns(credential) < kTokenAgeMaxNs) take_token(credential, connection);
  }
  if (connection.token_iat_s == 0) {
    mark(Mark::token_awaited);
  } else if (now_.mono_ns < connection.token_over_mono_ns) {
    return true;
  }
  // A token on its way wakes us; a clock that goes strange ways may leave none to ask for just now.
  wake_at(index, now_.mono_ns + base::kSecond);
  // Too old, and not yet allowed to change: another connection may begin with the token that is due.
  if (connection.token_used && now_.mono_ns < connection.token_turn_mono_ns) {
    mark(Mark::token_stuck);
    retire(handle, connection);
  }
  return false;
}

void Shard::take_token(const Credential& credential, Connection& connection) {
  if (connection.token_iat_s != 0) mark(Mark::token_turned);
  connection.token_iat_s = credential.token_iat_s;
  connection.token_over_mono_ns = now_.mono_ns + kTokenAgeMaxNs - token_age_ns(credential);
  connection.token_used = false;  // until then nobody sees a change
  connection.authorization = credential.authorization;
  connection.lists.clear();
  connection.lists_at.clear();
  connection.h2->forget_prepared();  // or each turn would leave a list for each template behind
  ++counters_.token_turns;
}

// The time between changes begins with the first request that shows the token. Connections turn at different moments within
// what Apple allows: a token that was 30 minutes old then is 52 when it turns.
void Shard::use_token(Connection& connection) {
  if (std::exchange(connection.token_used, true)) return;
  connection.token_turn_mono_ns =
      now_.mono_ns + kTokenChangeMinNs + kTokenChangeSlackNs +
      static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(60 * base::kSecond)));
}

bool Shard::forget_future_token(const Connection& connection) {
  if (connection.token_iat_s * base::kSecond <= now_.wall_ns) return false;
  Credential& credential = credentials_[connection.credential];
  if (credential.token_iat_s == connection.token_iat_s) forget_token(credential);
  return true;
}

void Shard::on_token(const Event& event) {
  Credential& credential = credentials_[event.index];
  if (credential.removed || event.token_iat_s != credential.token_asked_iat_s) return;  // or of a version that was replaced
  credential.token_asked_iat_s = 0;
  if (event.kind == EventKind::token_failed) {
    credential.token_retry_mono_ns = now_.mono_ns + 5 * base::kSecond;
    wake_at(event.index, credential.token_retry_mono_ns);
    credential.last_error = std::string(event.text);
    mark_changed(credential);
    log(LogLevel::error, "provider_token_failed", credential.config->name + ": " + credential.last_error);
    activate(event.index);  // an older one may do meanwhile
    return;
  }
  credential.token_iat_s = event.token_iat_s;
  credential.token_age_at_ns = now_.wall_ns - event.token_iat_s * base::kSecond;
  credential.token_had_mono_ns = now_.mono_ns;
  credential.authorization.assign("bearer ").append(event.text);
  activate(event.index);
}

}  // namespace tocsin::dispatch
