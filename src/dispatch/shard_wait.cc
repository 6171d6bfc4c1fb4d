// SPDX-License-Identifier: Apache-2.0
// Who is looked at in a step, so that a step costs what has something to do and not what exists.
//
// A credential with waiting pushes is looked at when something that it may wait for has happened: a push came or became
// ready, bytes or a transition of one of its connections, a control event, its own deadline. What credentials share (dials
// to an endpoint and of the process, the engine's rate, the making of provider tokens) has a line each, first come, first
// served: whoever comes while others stand there stands behind them. Whoever makes a waiting credential able to go wakes
// it: activate(), touch_reach(), or a deadline by wake_at() or watch(). Tests scan for one that was forgotten
// (tests/dispatch/overslept.cc).
#include <algorithm>
#include <utility>

#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// The budget tells when a place in it may be free (EventKind::dial_freed); this is for a word that never comes.
constexpr std::int64_t kBudgetRetryNs = base::kSecond;

}  // namespace

void Shard::activate(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (credential.active || !has_task(index)) return;
  credential.active = true;
  active_.push_back(index);
}

void Shard::activate_woken() {
  woken_.clear();
  queue_.take_woken(woken_);
  for (const std::uint32_t index : woken_) activate(index);
}

void Shard::serve_active() {
  for (std::size_t i = 0; i < active_.size(); ++i) {  // grows meanwhile
    const std::uint32_t index = active_[i];
    credentials_[index].active = false;
    schedule_credential(index, credentials_[index]);
  }
  active_.clear();
}

void Shard::serve_turn(std::uint32_t index, Line line) {
  if (!has_task(index)) return;
  serving_ = line;
  schedule_credential(index, credentials_[index]);
  serving_ = Line::none;
}

void Shard::serve_lines() {
  while (!dial_line_.empty() && dials_left_ != 0) {
    const std::uint32_t index = dial_line_.front();
    dial_line_.pop_front();
    credentials_[index].in_dial_line = false;
    serve_turn(index, Line::dial);
  }
  if (dial_line_.empty()) {
    dials_left_ = kNone;
    dial_retry_mono_ns_ = base::kNever;
  } else if (dials_left_ == 0 && dial_retry_mono_ns_ == base::kNever) {
    dial_retry_mono_ns_ = now_.mono_ns + kBudgetRetryNs;
  }
  for (std::size_t i = 0; i < touched_reaches_.size(); ++i) {
    const std::uint32_t number = touched_reaches_[i];
    ReachLine& line = reach_lines_[number];
    line.touched = false;
    const Reach& reach = *reaches_[number];
    while (!line.waiting.empty() && reach.may_dial_at() <= now_.mono_ns) {
      const std::uint32_t index = line.waiting.front();
      line.waiting.pop_front();
      Credential& credential = credentials_[index];
      if (credential.reach_line != number) continue;  // went to another endpoint
      credential.reach_line = kNone;
      serve_turn(index, Line::reach);
    }
    if (!line.waiting.empty()) reach_due_.bring(number, reach.may_dial_at());
  }
  touched_reaches_.clear();
  while (!token_line_.empty() && !token_asked_) {
    const std::uint32_t index = token_line_.front();
    token_line_.pop_front();
    credentials_[index].in_token_line = false;
    serve_turn(index, Line::token);
  }
  while (!engine_line_.empty() && (!engine_allowance_.paced || lease_left(engine_allowance_) != 0)) {
    const std::uint32_t index = engine_line_.front();
    engine_line_.pop_front();
    Credential& credential = credentials_[index];
    credential.in_engine_line = false;
    // What its own rate had granted was kept for it while it stood here.
    credential.allowance.void_mono_ns = std::max(credential.allowance.void_mono_ns, now_.mono_ns + 1);
    serve_turn(index, Line::engine);
  }
}

void Shard::touch_reach(std::uint32_t number) {
  ReachLine& line = reach_lines_[number];
  if (line.touched || line.waiting.empty()) return;
  line.touched = true;
  touched_reaches_.push_back(number);
}

void Shard::await_reach(std::uint32_t index, Credential& credential) {
  if (credential.reach_line != credential.reach) {
    credential.reach_line = credential.reach;
    reach_lines_[credential.reach].waiting.push_back(index);
  }
  // Also where it stood there already: what it waited for then may have ended, and the line's deadline with it.
  touch_reach(credential.reach);
}

void Shard::await_dial(std::uint32_t index, Credential& credential) {
  if (credential.in_dial_line) return;
  credential.in_dial_line = true;
  dial_line_.push_back(index);
}

void Shard::await_token(std::uint32_t index, Credential& credential) {
  if (credential.in_token_line) return;
  credential.in_token_line = true;
  token_line_.push_back(index);
}

void Shard::await_engine(std::uint32_t index, Credential& credential) {
  mark(Mark::paced_out);
  if (credential.in_engine_line) return;
  credential.in_engine_line = true;
  engine_line_.push_back(index);
}

// The process's budget of dials is used up; whose dial that was is the first to try again.
void Shard::dial_refused(std::uint32_t index) {
  dials_left_ = 0;
  dial_retry_mono_ns_ = now_.mono_ns + kBudgetRetryNs + static_cast<std::int64_t>(prng_.below(kBudgetRetryNs / 4));
  Credential& credential = credentials_[index];
  if (credential.in_dial_line) return;
  credential.in_dial_line = true;
  dial_line_.insert(dial_line_.begin() + static_cast<std::ptrdiff_t>(std::min(dials_refused_++, dial_line_.size())), index);
}

void Shard::run_deadlines() {
  for (std::uint32_t index; (index = credential_due_.take(now_.mono_ns)) != Deadlines::kNone;) activate(index);
  for (std::uint32_t number; (number = reach_due_.take(now_.mono_ns)) != Deadlines::kNone;) touch_reach(number);
  if (now_.mono_ns >= dial_retry_mono_ns_) {
    dial_retry_mono_ns_ = base::kNever;
    if (dials_left_ == 0) dials_left_ = 1;
  }
  // What is due is gathered first: looking at one connection may bring another's deadline near.
  handles_.clear();
  for (std::uint32_t number; (number = connection_due_.take(now_.mono_ns)) != Deadlines::kNone;) {
    handles_.push_back(connections_.handle_at(number));
  }
  for (const base::Handle handle : handles_) {
    Connection* connection = connections_.find(handle);
    if (connection == nullptr) continue;
    connection_deadline(handle, *connection);
    watch(handle, *connection);
    activate(connection->credential);
  }
}

std::int64_t Shard::next_wake() const {
  std::int64_t at = std::min({connection_due_.earliest(), credential_due_.earliest(), reach_due_.earliest(), rate_deadline_});
  if (!dial_line_.empty()) at = std::min(at, dial_retry_mono_ns_);
  if (!token_line_.empty() || !active_.empty()) at = std::min(at, now_.mono_ns + 1);
  return at;
}

void Shard::forget_waits() {
  for (const std::uint32_t index : token_line_) credentials_[index].in_token_line = false;
  token_line_.clear();
  credential_due_.clear();
  reach_due_.clear();
  connection_due_.clear();
  for (const std::uint32_t index : dial_line_) credentials_[index].in_dial_line = false;
  dial_line_.clear();
  dials_left_ = kNone;
  rate_deadline_ = dial_retry_mono_ns_ = base::kNever;
}

}  // namespace tocsin::dispatch
