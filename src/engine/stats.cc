// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/impl.h"

namespace tocsin {

EngineStats Engine::stats() const {
  engine::Shared& shared = impl_->shared;
  EngineStats stats;
  stats.submitted = shared.submitted.load(std::memory_order_relaxed);
  stats.outcomes = shared.ended.load(std::memory_order_relaxed);
  stats.tls_crypto = shared.crypto.name;
  for (const auto& worker : impl_->workers) {
    const engine::PublishedCounters& counters = worker->counters();
    for (std::size_t i = 1; i <= kEnds; ++i) stats.ends[i] += counters.ends[i].get();
    stats.in_flight += counters.in_flight.get();
    stats.attempts += counters.attempts.get();
    stats.possibly_doubled += counters.possibly_doubled.get();
    stats.connections_opened += counters.connections_opened.get();
    stats.connections_lost += counters.connections_lost.get();
    stats.dials_failed += counters.dials_failed.get();
    stats.goaways += counters.goaways.get();
    stats.bytes_sent += counters.bytes_sent.get();
    stats.bytes_received += counters.bytes_received.get();
    stats.records_sent += counters.writes.get();
    stats.inbox_wakes += counters.inbox_wakes.get();
    stats.retries += counters.retries.get();
    stats.pings += counters.pings.get();
    stats.peers_dead += counters.peers_dead.get();
    stats.delayed += counters.delayed.get();
    stats.dead_tokens += counters.dead_tokens.get();
    stats.token_turns += counters.token_turns.get();
    stats.io_enters += counters.io_enters.get();
    for (std::size_t i = 0; i < kStages; ++i) stats.stage_cpu_ns[i] += counters.stage_cpu_ns[i].get();
    stats.queue_bytes += worker->byte_credits().used();
    stats.waiting += worker->credits().used();
  }
  stats.inside = shared.inside.used();
  stats.unread = stats.outcomes - std::min(stats.outcomes, shared.read.load(std::memory_order_relaxed));
  // Inbox and queue: what is inside the shards and not in flight. The two are read apart and may be a batch out of step.
  stats.waiting -= std::min(stats.waiting, stats.in_flight);

  const std::lock_guard lock(shared.status_mutex);
  const std::uint32_t credentials = shared.credentials.size();
  for (std::uint32_t i = 0; i < credentials; ++i) {
    engine::CredentialEntry& entry = *shared.credentials[i];
    CredentialStats credential;
    credential.handle = static_cast<CredentialHandle>(i + 1);
    {
      const std::lock_guard current(entry.mutex);
      credential.name = entry.name;
      credential.topic = entry.topic;
      if (entry.current != nullptr) {
        credential.not_after_unix_s = entry.current->facts.not_after_unix_s;
        if (entry.current->tokens != nullptr) credential.provider_key_id = entry.current->tokens->key_id();
      }
    }
    credential.removed = entry.removed.load(std::memory_order_acquire);
    for (const auto& shard : shared.statuses) {
      if (i >= shard.size()) continue;
      const dispatch::CredentialStatus& status = shard[i];
      credential.connections_open += status.open;
      credential.connections_dialling += status.dialling;
      credential.gave_up |= status.gave_up;
      credential.stopped |= status.stopped;
      credential.paused |= status.paused;
      credential.alarmed |= status.alarmed;
      if (!status.last_error.empty()) credential.last_error = status.last_error;
      if (status.unreachable_since_wall_ns != 0 &&
          (credential.unreachable_since_unix_ns == 0 ||
           status.unreachable_since_wall_ns < credential.unreachable_since_unix_ns)) {
        credential.unreachable_since_unix_ns = status.unreachable_since_wall_ns;
      }
    }
    stats.credentials.push_back(std::move(credential));
  }
  return stats;
}

}  // namespace tocsin
