// SPDX-License-Identifier: Apache-2.0
#include "dispatch/shard.h"

#include <algorithm>
#include <utility>

#include "base/assertion.h"

namespace tocsin::dispatch {

Shard::Shard(const ShardOptions& options)
    : options_(options),
      prng_(options.seed),
      queue_(options.pushes_max, base::mix64(options.seed)),
      dead_tokens_(options.dead_tokens_max, base::mix64(options.seed + 1)),
      token_holds_(base::mix64(options.seed + 2)),
      connections_(options.connections_max) {
  engine_allowance_.paced = options.paced;
  requests_.reserve(1024);
  request_slots_.reserve(1024);
}

Shard::~Shard() = default;

void Shard::step(base::Now now, std::span<const Event> events, std::span<const PushRecord> pushes, Output& out) {
  out.clear();
  out_ = &out;
  now_ = now;
  private_key_used_ = false;
  ++steps_;

  // Handshakes that waited for their turn come first, oldest first.
  if (!deferred_.empty()) {
    std::vector<base::Handle> waiting;
    waiting.swap(deferred_);
    for (const base::Handle handle : waiting) {
      Connection* connection = connections_.find(handle);
      if (connection == nullptr || !connection->has_deferred) continue;
      connection->has_deferred = false;
      base::ByteBuffer bytes;
      bytes.swap(connection->deferred);
      on_received(handle, *connection, bytes.readable());
    }
  }

  for (const Event& event : events) {
    if (event.kind <= EventKind::stop) {
      apply_control(event);
      continue;
    }
    const base::Handle handle{event.handle};
    Connection* connection = connections_.find(handle);
    if (connection == nullptr) {
      ++counters_.stale_events;
      continue;
    }
    switch (event.kind) {
      case EventKind::resolved: on_resolved(handle, *connection, event.addresses); break;
      case EventKind::dialled: on_dialled(handle, *connection); break;
      case EventKind::dial_failed: on_dial_failed(handle, *connection, event.text); break;
      case EventKind::dial_deferred: on_dial_deferred(handle, *connection, event.result == 1); break;
      case EventKind::received: on_received(handle, *connection, event.bytes); break;
      case EventKind::peer_closed:
        // An alert may lie in what was put off to a later step; it says why.
        if (connection->has_deferred) {
          connection->has_deferred = private_key_used_ = false;
          base::ByteBuffer bytes;
          bytes.swap(connection->deferred);
          on_received(handle, *connection, bytes.readable());
        }
        lose(handle, *connection, tls::Cause::none, std::string(event.text));
        break;
      case EventKind::sent: on_sent(handle, *connection, event); break;
      case EventKind::closed: on_closed(handle, *connection); break;
      default: break;
    }
  }

  take(pushes);
  advance_queue();
  if (now_.mono_ns >= earliest_) run_deadlines();
  schedule();
  while (!dirty_.empty()) {
    const base::Handle handle = dirty_.back();
    dirty_.pop_back();
    if (Connection* connection = connections_.find(handle)) flush(handle, *connection);
  }
  end_superseded();
  report_statuses();
  counters_.waiting = queue_.waiting();
  counters_.delayed = queue_.delayed();
  counters_.dead_tokens = dead_tokens_.size();
  if (at_rest()) earliest_ = base::kNever;  // what is left of earlier deadlines concerns nobody (invariant 2)
  out.deadline_mono_ns = earliest_;
  if (const Tick due = queue_.next_due(); due != kTickMax) {
    out.deadline_mono_ns = std::min(out.deadline_mono_ns, std::max(now_.mono_ns + 1, mono_of(due)));
  }
  if (!deferred_.empty()) out.deadline_mono_ns = now_.mono_ns;
  out.at_rest = stopping_ && at_rest();
  out_ = nullptr;
}

void Shard::apply_control(const Event& event) {
  switch (event.kind) {
    case EventKind::credential_added: add_credential(event); break;
    case EventKind::credential_replaced: replace_credential(event); break;
    case EventKind::credential_removed: remove_credential(event.index); break;
    case EventKind::credential_paused:
      credentials_[event.index].paused = true;
      mark_changed(credentials_[event.index]);
      break;
    case EventKind::credential_resumed: resume_credential(event.index); break;
    case EventKind::credential_rolled: roll_credential(event.index, Mark::credential_rolled); break;
    case EventKind::credential_stopped: stop_credential(event.index, event.reason, std::string(event.text), true); break;
    case EventKind::credential_alarmed: alarm_credential(event.index, std::string(event.text), true); break;
    case EventKind::template_added: {
      TOCSIN_ASSERT(event.index == templates_.size() && event.index < options_.templates_max);
      templates_.push_back(event.template_config);
      const auto number = static_cast<std::uint32_t>(topics_.size());
      template_topics_.push_back(topics_.try_emplace(event.template_config->options.topic, number).first->second);
      break;
    }
    case EventKind::group_added:
      TOCSIN_ASSERT(event.index == groups_.size() && event.index < options_.groups_max);
      queue_.add_group(event.result == 1);
      groups_.emplace_back().paced = event.result == 1;
      break;
    case EventKind::group_paused: queue_.set_group_paused(event.index, true); break;
    case EventKind::group_resumed:
      queue_.set_group_paused(event.index, false);
      for (std::uint32_t i = 0; i < credentials_.size(); ++i) activate(i);
      break;
    case EventKind::group_cancelled:
      slots_.clear();
      queue_.cancel_group(event.index, slots_);
      for (const std::uint32_t slot : slots_) {
        mark(Mark::cancelled_group);
        end(slot, End::cancelled, Reason::cancelled_by_caller, 0, {});
      }
      break;
    case EventKind::pace_changed: {
      Allowance& allowance = event.pace == Pace::engine       ? engine_allowance_
                             : event.pace == Pace::credential ? credentials_[event.index].allowance
                                                              : groups_[event.index];
      allowance = Allowance{};
      allowance.paced = event.result == 1;
      if (event.pace == Pace::group) queue_.set_group_paced(event.index, allowance.paced);
      for (std::uint32_t i = 0; i < credentials_.size(); ++i) activate(i);
      break;
    }
    case EventKind::cancel:
      slots_.clear();
      queue_.cancel_ids(event.ids, slots_);
      for (const std::uint32_t slot : slots_) {
        mark(Mark::cancelled_id);
        end(slot, End::cancelled, Reason::cancelled_by_caller, 0, {});
      }
      break;
    case EventKind::dead_tokens:
      for (const DeadToken& dead : event.dead) {
        const auto number = static_cast<std::uint32_t>(topics_.size());
        const std::uint32_t topic = topics_.try_emplace(std::string(dead.topic), number).first->second;
        dead_tokens_.add(topic, dead.token, dead.unregistered_unix_ms);
      }
      break;
    case EventKind::token_ready:
    case EventKind::token_failed: on_token(event); break;
    case EventKind::granted: {
      Allowance& allowance = event.pace == Pace::engine       ? engine_allowance_
                             : event.pace == Pace::credential ? credentials_[event.index].allowance
                                                              : groups_[event.index];
      allowance.asked = false;
      if (!allowance.paced) break;  // no longer paced: what was asked for before is void
      allowance.ask_again_mono_ns = event.result == 0 ? event.deadline_mono_ns : now_.mono_ns;
      if (event.pace == Pace::group) {
        queue_.grant_group(event.index, static_cast<std::uint32_t>(event.result));
        if (event.result != 0 && allowance.void_mono_ns <= now_.mono_ns) leased_groups_.push_back(event.index);
        if (event.result != 0) allowance.void_mono_ns = now_.mono_ns + kLeaseNs;
      } else {
        allowance.left += static_cast<std::uint32_t>(event.result);
        allowance.void_mono_ns = now_.mono_ns + kLeaseNs;
      }
      if (event.result == 0) note_deadline(event.deadline_mono_ns);
      for (std::uint32_t i = 0; i < credentials_.size(); ++i) activate(i);
      break;
    }
    case EventKind::shed:
      if (shed_idle()) {
        mark(Mark::shed);
      } else if (event.result != 0) {
        give_up_place(event.result == 1 ? kNone : event.index);
      }
      break;
    default:
      // A later stop may only bring the end nearer.
      stop_deadline_mono_ns_ = stopping_ ? std::min(stop_deadline_mono_ns_, event.deadline_mono_ns)
                                         : event.deadline_mono_ns;
      stopping_ = true;
      earliest_ = now_.mono_ns;
      break;
  }
}

void Shard::take(std::span<const PushRecord> pushes) {
  for (const PushRecord& push : pushes) {
    TOCSIN_ASSERT(push.credential < credentials_.size() && push.template_index < templates_.size() &&
                  push.group <= groups_.size());
    const TemplateOptions& options = templates_[push.template_index]->options;
    // One of a cancelled group never goes, and so takes nobody's place.
    const bool cancelled = push.group != 0 && queue_.group_cancelled(push.group - 1);
    if (queue_.waiting(push.credential) == 0) first_waits(credentials_[push.credential]);
    // An MDM wake-up is one wake-up whatever else it carries; others are told apart by their collapse id.
    const std::uint32_t slot = queue_.insert(push, template_topics_[push.template_index],
                                             options.coalesce && !cancelled, options.push_type != PushType::mdm,
                                             superseded_);
    if (cancelled) {
      queue_.hold(slot);
      mark(Mark::cancelled_group);
      end(slot, End::cancelled, Reason::cancelled_by_caller, 0, {});
      if (credentials_[push.credential].removed) mark_changed(credentials_[push.credential]);
      continue;
    }
    activate(push.credential);
  }
  end_superseded();
  counters_.taken += pushes.size();
  if (stopping_ && !pushes.empty()) note_deadline(now_.mono_ns);
}

// Nobody dialled while nothing waited: a failure of long ago says nothing, and this push has its whole time.
void Shard::first_waits(Credential& credential) {
  if (credential.unreachable_since_mono_ns == base::kNever || credential.gave_up) return;
  credential.unreachable_since_mono_ns = now_.mono_ns;
}

void Shard::activate(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (credential.active || !has_task(index)) return;
  credential.active = true;
  active_.push_back(index);
}

Tick Shard::tick_at(std::int64_t mono_ns) const {
  const std::int64_t ticks = (mono_ns - options_.start_mono_ns) / kTickNs;
  return static_cast<Tick>(std::clamp<std::int64_t>(ticks, 0, kTickMax));
}

void Shard::advance_queue() {
  const Tick tick = tick_at(now_.mono_ns);
  if (queue_.next_due() > tick) return;
  slots_.clear();
  const std::uint32_t delayed = queue_.delayed();
  queue_.advance(tick, slots_);
  for (const std::uint32_t slot : slots_) {
    const Queue::Meta& meta = queue_.meta(slot);
    const Credential& credential = credentials_[queue_.record(slot).credential];
    mark(credential.paused || credential.alarmed ? Mark::expired_paused
         : meta.attempts != 0                    ? Mark::expired_delayed
                                                 : Mark::expired_waiting);
    end(slot, End::expired, Reason::deadline_passed, 0, {});
  }
  if (queue_.delayed() == delayed) return;
  for (std::uint32_t i = 0; i < credentials_.size(); ++i) activate(i);
}

void Shard::run_deadlines() {
  if (stopping_) {
    for (std::uint32_t i = 0; i < credentials_.size(); ++i) fail_waiting(i, End::returned, Reason::engine_stopped, {});
  }
  // Closing a connection changes the slab under an iteration, so the handles are gathered first.
  handles_.clear();
  connections_.for_each([this](base::Handle handle, Connection&) { handles_.push_back(handle); });
  for (const base::Handle handle : handles_) {
    if (Connection* connection = connections_.find(handle)) connection_deadline(handle, *connection);
  }
  for (std::uint32_t i = 0; i < credentials_.size(); ++i) activate(i);
  earliest_ = find_earliest();
}

std::int64_t Shard::find_earliest() {
  std::int64_t earliest = base::kNever;
  connections_.for_each([&](base::Handle, Connection& connection) {
    earliest = std::min(earliest, next_deadline(connection));
  });
  const auto consider = [&](std::int64_t at) {
    // One that has passed is schedule()'s, in this step or when something else changes.
    if (at > now_.mono_ns) earliest = std::min(earliest, at);
  };
  for (const std::uint32_t index : active_) {
    const Credential& credential = credentials_[index];
    if (!has_task(index) || credential.removed) continue;
    consider(credential.next_dial_mono_ns);
    consider(reaches_[credential.reach]->may_dial_at());
    consider(credential.allowance.ask_again_mono_ns);
    consider(credential.token_retry_mono_ns);
    const std::int64_t give_up_ns =
        credential.ever_proven ? credential.config->outage_give_up_ns : credential.config->give_up_ns;
    if (credential.unreachable_since_mono_ns != base::kNever && give_up_ns != 0) {
      consider(credential.unreachable_since_mono_ns + give_up_ns);
    }
  }
  if (queue_.waiting() != 0) {
    consider(engine_allowance_.ask_again_mono_ns);
    for (const Allowance& group : groups_) consider(group.ask_again_mono_ns);
  }
  if (stopping_ && stop_deadline_mono_ns_ > now_.mono_ns && connections_.in_use() != 0) {
    earliest = std::min(earliest, stop_deadline_mono_ns_);
  }
  return earliest;
}

void Shard::report_statuses() {
  if (!any_changed_) return;
  any_changed_ = false;
  for (std::uint32_t i = 0; i < credentials_.size(); ++i) {
    Credential& credential = credentials_[i];
    if (!credential.changed) continue;
    credential.changed = false;
    CredentialStatus status;
    status.credential = i;
    for (const base::Handle handle : credential.connections) {
      const Connection* connection = connections_.find(handle);
      if (connection == nullptr) continue;
      if (connection->state == ConnectionState::ready || connection->state == ConnectionState::draining) {
        ++status.open;
      } else if (connection->state != ConnectionState::closing) {
        ++status.dialling;
      }
    }
    status.unreachable_since_wall_ns = credential.unreachable_since_wall_ns;
    status.gave_up = credential.gave_up;
    status.stopped = credential.stopped;
    status.stop_reason = credential.stop_reason;
    status.stopped_here = credential.stopped && credential.stopped_here;
    status.paused = credential.paused;
    status.alarmed = credential.alarmed;
    status.alarmed_here = credential.alarmed && credential.alarmed_here;
    status.removed = credential.removed && credential.connections.empty() && queue_.waiting(i) == 0;
    status.last_error = credential.last_error;
    if (status.removed) forget_credential(i);
    out_->statuses.push_back(std::move(status));
  }
}

void Shard::log(LogLevel level, const char* event, std::string text) {
  out_->logs.push_back({level, event, std::move(text)});
}

}  // namespace tocsin::dispatch
