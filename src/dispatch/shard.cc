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
      dead_tokens_(options.dead_tokens_max, base::mix64(options.seed)),  // the queue's fingerprints serve both
      token_holds_(base::mix64(options.seed + 2)),
      connections_(options.connections_max) {
  engine_allowance_.paced = options.paced;
  requests_.resize(kBatchMax);
  request_slots_.reserve(kBatchMax);
  popped_.reserve(kBatchMax);
}

Shard::~Shard() = default;

void Shard::step(base::Now now, std::span<const Event> events, std::span<const PushRecord> pushes, Output& out) {
  begin(now, out);
  handle(now, events);
  take(pushes);
  finish();
}

void Shard::begin(base::Now now, Output& out) {
  out.clear();
  out_ = &out;
  now_ = now;
  private_key_used_ = token_asked_ = false;
  dials_refused_ = 0;
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
}

void Shard::handle(base::Now now, std::span<const Event> events) {
  now_ = now;
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
}

void Shard::finish() {
  Output& out = *out_;
  advance_queue();
  run_deadlines();
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
  if (at_rest()) forget_waits();  // what is left of earlier deadlines concerns nobody (invariant 2)
  out.deadline_mono_ns = next_wake();
  out.dials_wait = dials_left_ == 0 && !dial_line_.empty();
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
      leave_line(event.index);
      mark_changed(credentials_[event.index]);
      break;
    case EventKind::credential_resumed: resume_credential(event.index); break;
    case EventKind::credential_rolled: roll_credential(event.index, Mark::credential_rolled); break;
    case EventKind::credential_stopped: stop_credential(event.index, event.reason, std::string(event.text), true); break;
    case EventKind::credential_alarmed: alarm_credential(event.index, std::string(event.text), true); break;
    case EventKind::template_added: {
      TOCSIN_ASSERT(event.index == templates_.size() && event.index < options_.templates_max);
      templates_.push_back(event.template_config);
      const TemplateConfig& config = *templates_.back();
      const auto number = static_cast<std::uint32_t>(topics_.size());
      const std::uint32_t topic = topics_.try_emplace(config.options.topic, number).first->second;
      template_facts_.push_back({topic, config.options.coalesce, config.options.push_type != PushType::mdm, config.options.form,
                                 base::as_bytes(config.halves.before), base::as_bytes(config.halves.after)});
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
      if (event.pace == Pace::credential) activate(event.index);
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
        add_dead(topic, dead.token, dead.unregistered_unix_ms);
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
      if (event.pace == Pace::credential) activate(event.index);
      break;
    }
    case EventKind::shed:
      if (shed_idle()) {
        mark(Mark::shed);
      } else if (event.result != 0) {
        give_up_place(event.result == 1 ? kNone : event.index);
      }
      break;
    case EventKind::dial_freed:
      if (dials_left_ != kNone) dials_left_ = static_cast<std::uint32_t>(event.result);
      break;
    default:
      // A later stop may only bring the end nearer.
      stop_deadline_mono_ns_ = stopping_ ? std::min(stop_deadline_mono_ns_, event.deadline_mono_ns)
                                         : event.deadline_mono_ns;
      stopping_ = true;
      for (std::uint32_t i = 0; i < credentials_.size(); ++i) activate(i);
      connections_.for_each([this](base::Handle handle, Connection&) { connection_due_.bring(handle.index(), now_.mono_ns); });
      break;
  }
}

void Shard::take(std::span<const PushRecord> pushes) {
  if (queue_.waiting() == 0) recheck_ = false;
  std::uint32_t looked_at = kNone;  // pushes come in runs of one credential
  const Tick tick = tick_at(now_.mono_ns);
  const auto late = [tick](const PushRecord& push) { return push.deadline != kTickNone && push.deadline <= tick; };
  for (std::size_t from = 0; from < pushes.size();) {
    const PushRecord& push = pushes[from];
    const bool too_late = late(push);
    std::size_t to = from + 1;
    while (to < pushes.size() && push.alike(pushes[to]) && late(pushes[to]) == too_late) ++to;
    const auto run = pushes.subspan(from, to - from);
    from = to;
    TOCSIN_ASSERT(push.credential < credentials_.size() && push.template_index < templates_.size() && push.group <= groups_.size());
    const TemplateFacts& facts = template_facts_[push.template_index];
    if (queue_.waiting(push.credential) == 0) first_waits(credentials_[push.credential]);
    if (push.group != 0 && queue_.group_cancelled(push.group - 1)) {
      take_to_end(run, facts, End::cancelled, Reason::cancelled_by_caller, Mark::cancelled_group);
      continue;
    }
    // The wheel may have passed this tick already, and none of them is to go before it moves on.
    if (too_late) {
      const Credential& credential = credentials_[push.credential];
      const bool paused = credential.paused || credential.alarmed;
      take_to_end(run, facts, End::expired, Reason::deadline_passed, paused ? Mark::expired_paused : Mark::expired_waiting);
      continue;
    }
    queue_.insert(run, {facts.topic, facts.coalesce, facts.by_collapse_id}, dead_tokens_.empty() ? nullptr : &dead_tokens_, superseded_);
    if (push.credential == looked_at) continue;
    looked_at = push.credential;
    Credential& credential = credentials_[looked_at];
    if (!credential.removed && credential.config->connections_min > 1) credential.opening = true;  // want_connection() judges
    activate(looked_at);
  }
  end_superseded();
  counters_.taken += pushes.size();
}

// Those of a cancelled group, or whose deadline has passed, never go, and so take nobody's place.
void Shard::take_to_end(std::span<const PushRecord> run, const TemplateFacts& facts, End how, Reason why, Mark mark_as) {
  for (const PushRecord& push : run) {
    const std::uint32_t slot = queue_.insert(push, {facts.topic, false, false}, nullptr, superseded_);
    queue_.hold(slot);
    mark(mark_as);
    end(slot, how, why, 0, {});
  }
  if (credentials_[run.front().credential].removed) mark_changed(credentials_[run.front().credential]);
}

void Shard::add_dead(std::uint32_t topic, base::ByteView token, std::int64_t unregistered_unix_ms) {
  dead_tokens_.add(topic, token, unregistered_unix_ms);
  recheck_ = recheck_ || queue_.waiting() != 0;
}

// Nobody dialled while nothing waited: a failure of long ago says nothing, and this push has its whole time.
void Shard::first_waits(Credential& credential) {
  if (credential.unreachable_since_mono_ns == base::kNever || credential.gave_up) return;
  credential.unreachable_since_mono_ns = now_.mono_ns;
}

Tick Shard::tick_at(std::int64_t mono_ns) const {
  const std::int64_t ticks = (mono_ns - options_.start_mono_ns) / kTickNs;
  return static_cast<Tick>(std::clamp<std::int64_t>(ticks, 0, kTickMax));
}

void Shard::advance_queue() {
  const Tick tick = tick_at(now_.mono_ns);
  if (queue_.next_due() > tick) return;
  slots_.clear();
  queue_.advance(tick, slots_);
  for (const std::uint32_t slot : slots_) {
    const Credential& credential = credentials_[queue_.credential_of(slot)];
    mark(credential.paused || credential.alarmed ? Mark::expired_paused
         : queue_.known(slot).attempts != 0      ? Mark::expired_delayed
                                                 : Mark::expired_waiting);
    end(slot, End::expired, Reason::deadline_passed, 0, {});
  }
}

void Shard::report_statuses() {
  for (const std::uint32_t i : changed_) {
    Credential& credential = credentials_[i];
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
  changed_.clear();
}

void Shard::log(LogLevel level, const char* event, std::string text) {
  out_->logs.push_back({level, event, std::move(text)});
}

}  // namespace tocsin::dispatch
