// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/prng.h"
#include "mock/script.h"

namespace tocsin::mock {
namespace {

char lower(char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool begins_with(std::string_view hex, std::string_view prefix) {
  if (hex.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (lower(hex[i]) != prefix[i]) return false;
  }
  return true;
}

std::string lowered(std::string_view hex) {
  std::string key(hex);
  std::transform(key.begin(), key.end(), key.begin(), lower);
  return key;
}

TlsFault tls_fault(Fault fault) {
  switch (fault) {
    case Fault::tls_refuse_certificate: return TlsFault::refuse_certificate;
    case Fault::tls_expired: return TlsFault::expired;
    case Fault::tls_wrong_name: return TlsFault::wrong_name;
    case Fault::tls_alert: return TlsFault::alert;
    case Fault::tls_no_alpn: return TlsFault::no_alpn;
    case Fault::tls_hang: return TlsFault::hang;
    default: return TlsFault::none;
  }
}

}  // namespace

bool Window::holds(std::int64_t at_ns) const {
  if (at_ns < start_ns) return false;
  const std::int64_t within = period_ns == 0 ? at_ns - start_ns : (at_ns - start_ns) % period_ns;
  return within < length_ns;
}

std::int64_t Window::begun(std::int64_t at_ns) const {
  if (at_ns < start_ns) return -1;
  return period_ns == 0 ? 0 : (at_ns - start_ns) / period_ns;
}

std::int64_t Window::next_edge(std::int64_t at_ns) const {
  if (at_ns < start_ns) return start_ns;
  const std::int64_t number = begun(at_ns);
  const std::int64_t opened = start_ns + number * period_ns;
  if (at_ns - opened < length_ns && length_ns != base::kNever) return opened + length_ns;
  return period_ns == 0 ? base::kNever : opened + period_ns;
}

void apply(const Action& action, Manner& manner) {
  switch (action.fault) {
    case Fault::streams: manner.streams = action.number; break;
    case Fault::window: manner.window = action.number; break;
    case Fault::split_headers: manner.split_headers = action.number; break;
    case Fault::no_window_updates: manner.window_updates = false; break;
    case Fault::ping_silence: manner.ping_answers = false; break;
    case Fault::slow: manner.pace = {action.number, action.duration_ns}; break;
    default: break;
  }
}

ScriptState::ScriptState(std::shared_ptr<const Script> script, std::uint64_t seed)
    : script_(std::move(script)), seed_(seed), seen_(script_->rules().size()), fired_(script_->rules().size()) {}

void ScriptState::begin(base::Now now) {
  if (!begun_) zero_mono_ns_ = now.mono_ns;
  begun_ = true;
}

// Chance is a function of (seed, rule, ordinal): the order in which rules are asked changes nothing.
bool ScriptState::passes(const Rule& rule, std::size_t index, std::uint64_t ordinal) const {
  if (rule.ratio >= 1) return true;
  const std::uint64_t chance = base::mix64(base::mix64(seed_ ^ (index + 1) * 0x9e3779b97f4a7c15ull) ^ ordinal);
  return static_cast<double>(chance >> 11) * 0x1.0p-53 < rule.ratio;
}

bool ScriptState::spend(const Rule& rule, std::size_t index) {
  if (rule.times != 0 && fired_[index] >= rule.times) return false;
  ++fired_[index];
  return true;
}

bool ScriptState::fits_connection(const Rule& rule, std::uint32_t connection) {
  if (rule.connection != 0 && rule.connection != connection) return false;
  return rule.connection_every == 0 || connection % rule.connection_every == 0;
}

void ScriptState::on_connect(std::uint32_t connection, base::Now now, ConnectFaults& out) {
  begin(now);
  const std::int64_t at = now.mono_ns - zero_mono_ns_;
  for (std::size_t i = 0; i < script_->rules().size(); ++i) {
    const Rule& rule = script_->rules()[i];
    if (rule.event != Event::connect || !fits_connection(rule, connection)) continue;
    if (rule.timed && !rule.window.holds(at)) continue;
    if (!passes(rule, i, connection) || !spend(rule, i)) continue;
    for (const Action& action : rule.actions) {
      if (action.fault == Fault::refuse) {
        if (out.accept == AcceptFault::none) out.accept = AcceptFault::refuse;
      } else if (action.fault == Fault::accept_and_hang) {
        if (out.accept == AcceptFault::none) out.accept = AcceptFault::hang;
      } else if (const TlsFault tls = tls_fault(action.fault); tls != TlsFault::none) {
        if (out.tls == TlsFault::none) out.tls = tls;
      } else if (action.fault == Fault::slow) {
        out.slow = {action.number, action.duration_ns};
      } else {
        out.on_open.push_back(&action);
      }
    }
  }
}

void ScriptState::on_request(const RequestFacts& request, base::Now now, std::vector<const Action*>& out) {
  begin(now);
  ++requests_;
  const std::int64_t at = now.mono_ns - zero_mono_ns_;
  if (!held_.empty()) {
    const auto held = held_.find(lowered(request.token_hex));
    if (held != held_.end() && now.mono_ns < held->second.until_mono_ns) out.push_back(held->second.action);
    else if (held != held_.end()) held_.erase(held);
  }
  for (std::size_t i = 0; i < script_->rules().size(); ++i) {
    const Rule& rule = script_->rules()[i];
    if (rule.event != Event::request) continue;
    if (rule.request_first != 0 && (requests_ < rule.request_first || requests_ > rule.request_last)) continue;
    if (rule.timed && !rule.window.holds(at)) continue;
    if (!fits_connection(rule, request.connection)) continue;
    if (!rule.topic.empty() && rule.topic != request.topic) continue;
    if (!rule.token.empty() && !begins_with(request.token_hex, rule.token)) continue;
    ++seen_[i];
    if (rule.every != 0 && seen_[i] % rule.every != 0) continue;
    if (!passes(rule, i, seen_[i]) || !spend(rule, i)) continue;
    for (const Action& action : rule.actions) out.push_back(&action);
  }
}

void ScriptState::hold(std::string_view token_hex, const Action& action, base::Now now) {
  if (held_.size() >= kHeldMax) std::erase_if(held_, [&](const auto& at) { return at.second.until_mono_ns <= now.mono_ns; });
  if (held_.size() >= kHeldMax) return;
  held_.try_emplace(lowered(token_hex), Held{&action, now.mono_ns + action.duration_ns});
}

// A window's number stands for the ordinal of the draw, so that all connections of one window share `times`, but not luck.
void ScriptState::on_time(std::uint32_t connection, std::int64_t from_mono_ns, std::int64_t to_mono_ns,
                          std::vector<const Action*>& out) {
  if (!begun_) return;
  for (std::size_t i = 0; i < script_->rules().size(); ++i) {
    const Rule& rule = script_->rules()[i];
    if (rule.event != Event::time || !fits_connection(rule, connection)) continue;
    const std::int64_t number = rule.window.begun(to_mono_ns - zero_mono_ns_);
    if (number < 0 || number == rule.window.begun(from_mono_ns - zero_mono_ns_)) continue;
    if (rule.times != 0 && static_cast<std::uint64_t>(number) >= rule.times) continue;
    if (!passes(rule, i, static_cast<std::uint64_t>(number) << 32 | connection)) continue;
    for (const Action& action : rule.actions) {
      if (!lasts(action.fault)) out.push_back(&action);
    }
  }
}

void ScriptState::overlay(std::uint32_t connection, base::Now now, Manner& manner) const {
  if (!begun_) return;
  const std::int64_t at = now.mono_ns - zero_mono_ns_;
  for (std::size_t i = 0; i < script_->rules().size(); ++i) {
    const Rule& rule = script_->rules()[i];
    if (rule.event != Event::time || !fits_connection(rule, connection) || !rule.window.holds(at)) continue;
    const auto number = static_cast<std::uint64_t>(rule.window.begun(at));
    if (rule.times != 0 && number >= rule.times) continue;
    if (!passes(rule, i, number << 32 | connection)) continue;
    for (const Action& action : rule.actions) apply(action, manner);
  }
}

std::int64_t ScriptState::next_edge(base::Now now) const {
  std::int64_t next = base::kNever;
  if (!begun_) return next;
  for (const Rule& rule : script_->rules()) {
    if (rule.event != Event::time) continue;
    const std::int64_t edge = rule.window.next_edge(now.mono_ns - zero_mono_ns_);
    if (edge != base::kNever) next = std::min(next, zero_mono_ns_ + edge);
  }
  return next;
}

std::int64_t ScriptState::stalled_until(base::Now now) const {
  std::int64_t until = 0;
  if (!begun_) return until;
  const std::int64_t at = now.mono_ns - zero_mono_ns_;
  for (const Rule& rule : script_->rules()) {
    if (rule.event != Event::time || !rule.window.holds(at)) continue;
    const std::int64_t number = rule.window.begun(at);
    if (rule.times != 0 && static_cast<std::uint64_t>(number) >= rule.times) continue;
    for (const Action& action : rule.actions) {
      if (action.fault != Fault::stall) continue;
      // Without a length of its own a stall lasts as long as its window.
      const std::int64_t length = action.duration_ns != 0 ? action.duration_ns : rule.window.length_ns;
      if (length == base::kNever) return base::kNever;
      until = std::max(until, zero_mono_ns_ + rule.window.start_ns + number * rule.window.period_ns + length);
    }
  }
  return until > now.mono_ns ? until : 0;
}

}  // namespace tocsin::mock
