// SPDX-License-Identifier: Apache-2.0
#include "dispatch/shard.h"

#include <algorithm>
#include <utility>

#include "base/assertion.h"

namespace tocsin::dispatch {

Shard::Shard(const ShardOptions& options)
    : options_(options),
      prng_(options.seed),
      records_(new PushRecord[options.pushes_max]),
      metas_(new Meta[options.pushes_max]),
      connections_(options.connections_max) {
  requests_.reserve(1024);
  request_slots_.reserve(1024);
}

Shard::~Shard() = default;

void Shard::step(base::Now now, std::span<const Event> events, std::span<const PushRecord> pushes, Output& out) {
  out.clear();
  out_ = &out;
  now_ = now;
  private_key_used_ = false;

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
    if (event.kind == EventKind::credential_added || event.kind == EventKind::template_added ||
        event.kind == EventKind::stop) {
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
      case EventKind::dial_deferred: on_dial_deferred(handle, *connection); break;
      case EventKind::received: on_received(handle, *connection, event.bytes); break;
      case EventKind::peer_closed:
        lose(handle, *connection, tls::Cause::none, std::string(event.text));
        break;
      case EventKind::sent: on_sent(handle, *connection, event); break;
      case EventKind::closed: on_closed(handle, *connection); break;
      default: break;
    }
  }

  take(pushes);
  if (now_.mono_ns >= earliest_) run_deadlines();
  schedule();
  while (!dirty_.empty()) {
    const base::Handle handle = dirty_.back();
    dirty_.pop_back();
    if (Connection* connection = connections_.find(handle)) flush(handle, *connection);
  }
  report_statuses();
  if (at_rest()) earliest_ = base::kNever;  // what is left of earlier deadlines concerns nobody (invariant 2)
  out.deadline_mono_ns = !deferred_.empty() ? now_.mono_ns : earliest_;
  out.at_rest = stopping_ && at_rest();
  out_ = nullptr;
}

void Shard::apply_control(const Event& event) {
  switch (event.kind) {
    case EventKind::credential_added: {
      TOCSIN_ASSERT(event.index == credentials_.size() && event.index < options_.credentials_max);
      Credential credential;
      credential.config = event.credential;
      credentials_.push_back(std::move(credential));
      break;
    }
    case EventKind::template_added:
      TOCSIN_ASSERT(event.index == templates_.size() && event.index < options_.templates_max);
      templates_.push_back(event.template_config);
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
    TOCSIN_ASSERT(push.credential < credentials_.size() && push.template_index < templates_.size());
    const std::uint32_t slot = pool_acquire();
    records_[slot] = push;
    metas_[slot] = Meta{};
    metas_[slot].state = PushState::waiting;
    push_back(credentials_[push.credential], slot);
    activate(push.credential);
  }
  counters_.taken += pushes.size();
  if (stopping_ && !pushes.empty()) note_deadline(now_.mono_ns);
}

std::uint32_t Shard::pool_acquire() {
  std::uint32_t slot = pool_free_;
  if (slot != kNone) {
    pool_free_ = metas_[slot].next;
  } else {
    TOCSIN_ASSERT(pool_fresh_ < options_.pushes_max);
    slot = pool_fresh_++;
  }
  ++pool_in_use_;
  return slot;
}

void Shard::release(std::uint32_t slot) {
  const PushRecord& record = records_[slot];
  if (record.external()) {
    out_->released.push_back({record.block(), record.block_class(), static_cast<std::uint32_t>(record.data_bytes())});
  }
  metas_[slot].state = PushState::free;
  metas_[slot].next = pool_free_;
  pool_free_ = slot;
  --pool_in_use_;
}

void Shard::push_back(Credential& credential, std::uint32_t slot) {
  metas_[slot].next = kNone;
  if (credential.tail == kNone) {
    credential.head = slot;
  } else {
    metas_[credential.tail].next = slot;
  }
  credential.tail = slot;
  ++credential.waiting;
  ++counters_.waiting;
}

void Shard::push_front(Credential& credential, std::uint32_t slot) {
  metas_[slot].next = credential.head;
  credential.head = slot;
  if (credential.tail == kNone) credential.tail = slot;
  ++credential.waiting;
  ++counters_.waiting;
}

std::uint32_t Shard::pop_front(Credential& credential) {
  const std::uint32_t slot = credential.head;
  TOCSIN_ASSERT(slot != kNone);
  credential.head = metas_[slot].next;
  if (credential.head == kNone) credential.tail = kNone;
  --credential.waiting;
  --counters_.waiting;
  return slot;
}

void Shard::activate(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (credential.active) return;
  credential.active = true;
  active_.push_back(index);
}

void Shard::run_deadlines() {
  if (stopping_) {
    for (Credential& credential : credentials_) {
      fail_waiting(credential, End::returned, Reason::engine_stopped, {});
    }
  }
  // Closing a connection changes the slab under an iteration, so the handles are gathered first.
  handles_.clear();
  connections_.for_each([this](base::Handle handle, Connection&) { handles_.push_back(handle); });
  for (const base::Handle handle : handles_) {
    if (Connection* connection = connections_.find(handle)) connection_deadline(handle, *connection);
  }
  for (std::uint32_t i = 0; i < credentials_.size(); ++i) {
    if (credentials_[i].waiting != 0) activate(i);
  }
  earliest_ = find_earliest();
}

void Shard::connection_deadline(base::Handle handle, Connection& connection) {
  if (connection.state == ConnectionState::closing) {
    if (connection.close_after_send && now_.mono_ns >= connection.stage_deadline_mono_ns) emit_close(handle, connection);
    return;
  }
  const CredentialConfig& config = *credentials_[connection.credential].config;
  if (stopping_) {
    const bool over = now_.mono_ns >= stop_deadline_mono_ns_;
    if (connection.h2 == nullptr || !connection.tls || connection.state == ConnectionState::settling) {
      begin_close(handle, connection, ConnectionInput::fail);
      return;
    }
    if (connection.in_flight == 0 || over) {
      sweep(connection, Reason::engine_stopped, {});
      begin_close(handle, connection, ConnectionInput::drained);
      return;
    }
  }
  if (now_.mono_ns >= connection.stage_deadline_mono_ns) {
    const char* stage = connection.state == ConnectionState::resolving  ? "resolving the name"
                        : connection.state == ConnectionState::dialling ? "connect"
                        : connection.state == ConnectionState::handshaking ? "TLS handshake"
                                                                           : "HTTP/2 SETTINGS";
    lose(handle, connection, tls::Cause::none,
         std::string(stage) + " with " + config.authority + " timed out");
    return;
  }
  if (connection.in_flight == 0 || now_.mono_ns < connection.answer_deadline_mono_ns) return;
  // Some stream is overdue. If nothing at all was answered for the whole time, the peer is dead; else only
  // the overdue streams are given up.
  if (now_.mono_ns - connection.last_answer_mono_ns >= config.answer_timeout_ns) {
    lose(handle, connection, tls::Cause::none, "no answer from " + config.authority + " in time");
    return;
  }
  orphans_.clear();
  connection.h2->open_tags(orphans_);
  std::int64_t oldest = base::kNever;
  for (const h2::Orphan& orphan : orphans_) {
    const auto slot = static_cast<std::uint32_t>(orphan.tag);
    const std::int64_t due = metas_[slot].sent_mono_ns + config.answer_timeout_ns;
    if (due > now_.mono_ns) {
      oldest = std::min(oldest, due);
      continue;
    }
    connection.h2->cancel(orphan.tag);
    --connection.in_flight;
    --counters_.in_flight;
    stream_lost(slot, true, Reason::connection_lost, "no answer in time");
  }
  connection.answer_deadline_mono_ns = oldest;
  mark_dirty(handle, connection);
  // The last stream went without an answer, so that no later answer will be there to end this connection.
  if (connection.in_flight == 0 && (stopping_ || connection.state == ConnectionState::draining)) {
    begin_close(handle, connection, ConnectionInput::drained);
  }
}

std::int64_t Shard::find_earliest() {
  std::int64_t earliest = base::kNever;
  connections_.for_each([&](base::Handle, Connection& connection) {
    if (connection.state == ConnectionState::closing && !connection.close_after_send) return;
    earliest = std::min(earliest, connection.stage_deadline_mono_ns);
    if (connection.in_flight != 0) earliest = std::min(earliest, connection.answer_deadline_mono_ns);
  });
  for (const std::uint32_t index : active_) {
    const Credential& credential = credentials_[index];
    if (credential.waiting == 0) continue;
    if (credential.next_dial_mono_ns > now_.mono_ns) {
      earliest = std::min(earliest, credential.next_dial_mono_ns);
    }
    // One that has passed is schedule()'s, in this step or when the last usable connection goes.
    if (credential.unreachable_since_mono_ns != base::kNever && credential.config->give_up_ns != 0) {
      const std::int64_t give_up_at = credential.unreachable_since_mono_ns + credential.config->give_up_ns;
      if (give_up_at > now_.mono_ns) earliest = std::min(earliest, give_up_at);
    }
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
    status.last_error = credential.last_error;
    out_->statuses.push_back(std::move(status));
  }
}

void Shard::log(LogLevel level, const char* event, std::string text) {
  out_->logs.push_back({level, event, std::move(text)});
}

}  // namespace tocsin::dispatch
