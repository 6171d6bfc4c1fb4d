// SPDX-License-Identifier: Apache-2.0
// From queues to streams: who may write, how many, and when another connection is worth its dial.
#include <algorithm>

#include "base/assertion.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// Requests handed to a session at once: few enough that their array stays in the first-level cache. What is
// written piles up in one buffer until the flush, so TLS records fill whatever this number is.
constexpr std::uint32_t kBatchMax = 64;

// Stream ids are odd and end at 2^31 - 1; a connection this near the end is replaced.
constexpr std::int32_t kStreamIdRotate = 0x7fffff00;

}  // namespace

void Shard::schedule() {
  // A step that serves credentials in another order each time keeps the first from always winning the socket buffers.
  if (active_.size() > 1) std::rotate(active_.begin(), active_.begin() + 1, active_.end());
  for (std::size_t i = 0; i < active_.size();) {
    const std::uint32_t index = active_[i];
    Credential& credential = credentials_[index];
    schedule_credential(index, credential);
    if (credential.waiting == 0) {
      credential.active = false;
      active_[i] = active_.back();
      active_.pop_back();
    } else {
      ++i;
    }
  }
}

void Shard::schedule_credential(std::uint32_t index, Credential& credential) {
  if (stopping_) {
    fail_waiting(credential, End::returned, Reason::engine_stopped, {});
    return;
  }
  unsigned usable = 0;
  unsigned starting = 0;
  for (std::size_t i = 0; i < credential.connections.size(); ++i) {
    const base::Handle handle = credential.connections[i];
    Connection& connection = connections_[handle];
    switch (connection.state) {
      case ConnectionState::resolving:
      case ConnectionState::dialling:
      case ConnectionState::tunnelling:
      case ConnectionState::handshaking:
      case ConnectionState::settling: ++starting; break;
      case ConnectionState::ready:
        if (connection.h2->next_stream_id() >= kStreamIdRotate) {
          move(connection, ConnectionInput::retire);
          mark_changed(credential);
          if (connection.in_flight == 0) begin_close(handle, connection, ConnectionInput::drained);
          break;
        }
        ++usable;
        while (credential.waiting != 0 && connection.unsent_bytes() + connection.plain_out.size() <
                                              options_.wire_high_water_bytes) {
          const std::uint32_t written = write_batch(handle, connection, credential);
          if (written == 0) break;
        }
        break;
      default: break;
    }
  }
  if (credential.waiting == 0) return;

  // Work waits and every stream is taken: one more connection, one dial at a time.
  if (starting == 0 && usable < credential.config->connections_max) {
    if (now_.mono_ns >= credential.next_dial_mono_ns) {
      start_dial(index);
    } else {
      note_deadline(credential.next_dial_mono_ns);
    }
  }
  if (usable != 0) return;
  if (credential.config->give_up_ns != 0 && credential.unreachable_since_mono_ns != base::kNever) {
    const std::int64_t give_up_at = credential.unreachable_since_mono_ns + credential.config->give_up_ns;
    if (now_.mono_ns >= give_up_at) {
      credential.gave_up = true;
    } else {
      note_deadline(give_up_at);
    }
  }
  if (credential.gave_up) {
    mark_changed(credential);
    log(LogLevel::error, "gave_up",
        credential.config->name + ": no connection could be made; " + std::to_string(credential.waiting) +
            " waiting pushes end as failed. Last cause: " + credential.last_error);
    fail_waiting(credential, End::failed, Reason::cannot_connect, credential.last_error);
  }
}

std::uint32_t Shard::prepared_list(Connection& connection, const Credential& credential, const PushRecord& record) {
  const bool collapse = record.collapse_bytes != 0;
  const std::size_t key = std::size_t{record.template_index} * 2 + (collapse ? 1 : 0);
  if (key >= connection.prepared.size()) connection.prepared.resize(std::max(key + 1, templates_.size() * 2), 0);
  std::uint32_t& number = connection.prepared[key];
  if (number == 0) {
    number = 1 + connection.h2->prepare(apns::request_fields(templates_[record.template_index]->options,
                                                             credential.config->authority, collapse));
  }
  return number - 1;
}

std::uint32_t Shard::write_batch(base::Handle handle, Connection& connection, Credential& credential) {
  const std::uint32_t room = std::min({connection.h2->can_start(), credential.waiting, kBatchMax});
  if (room == 0) return 0;
  requests_.clear();
  request_slots_.clear();
  for (std::uint32_t slot = credential.head; requests_.size() < room; slot = metas_[slot].next) {
    const PushRecord& record = records_[slot];
    // Records of a long queue are cold, and the next one's place is known already.
    if (const std::uint32_t next = metas_[slot].next; next != kNone) {
      __builtin_prefetch(&records_[next]);
      __builtin_prefetch(reinterpret_cast<const std::byte*>(&records_[next]) + 64);
    }
    const TemplateConfig& config = *templates_[record.template_index];
    h2::Request request;
    request.tag = slot;
    request.prepared = prepared_list(connection, credential, record);
    request.slots[0] = record.token();
    request.slots[1] = std::as_bytes(std::span(record.apns_id));
    request.slots[2] = record.collapse_id();
    switch (config.options.form) {
      case PayloadForm::fixed:
        request.body[0] = base::as_bytes(config.halves.before);
        request.body_parts = 1;
        break;
      case PayloadForm::with_part:
        request.body[0] = base::as_bytes(config.halves.before);
        request.body[1] = record.content();
        request.body[2] = base::as_bytes(config.halves.after);
        request.body_parts = 3;
        break;
      case PayloadForm::own:
        request.body[0] = record.content();
        request.body_parts = 1;
        break;
    }
    requests_.push_back(request);
    request_slots_.push_back(slot);
  }
  const std::size_t written = connection.h2->write(requests_, connection.plain_out);
  for (std::size_t i = 0; i < written; ++i) {
    const std::uint32_t slot = pop_front(credential);
    TOCSIN_ASSERT(slot == request_slots_[i]);
    Meta& meta = metas_[slot];
    meta.state = PushState::in_flight;
    meta.sent_mono_ns = now_.mono_ns;
    ++meta.attempts;
    if (meta.maybe_processed) {
      meta.doubled = true;
      ++counters_.possibly_doubled;
    }
  }
  if (written != 0) {
    if (connection.in_flight == 0) {
      connection.last_answer_mono_ns = now_.mono_ns;
      connection.answer_deadline_mono_ns = now_.mono_ns + credential.config->answer_timeout_ns;
      note_deadline(connection.answer_deadline_mono_ns);
    }
    connection.in_flight += static_cast<std::uint32_t>(written);
    counters_.in_flight += written;
    counters_.attempts += written;
    mark_dirty(handle, connection);
  }
  return static_cast<std::uint32_t>(written);
}

void Shard::fail_waiting(Credential& credential, End end_as, Reason reason, std::string_view text) {
  while (credential.head != kNone) end(pop_front(credential), end_as, reason, 0, text);
}

}  // namespace tocsin::dispatch
