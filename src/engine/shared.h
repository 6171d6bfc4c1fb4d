// SPDX-License-Identifier: Apache-2.0
// Shared: what the threads of one engine have in common. Nothing here is touched once per push: credits and
// queues work in batches, budgets per dial, statuses per change.
//
// Threads: each member says how. Ownership: Engine::Impl owns it and outlives every worker and submitter.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <concurrentqueue/concurrentqueue.h>
#include <tocsin/options.h>
#include <tocsin/push.h>

#include "dispatch/config.h"
#include "dispatch/events.h"
#include "engine/block_pool.h"
#include "engine/credits.h"
#include "engine/registry.h"
#include "io/resolver.h"
#include "tls/context.h"
#include "tls/identity.h"

namespace tocsin::engine {

// A credential as the engine keeps it: one config per home shard (they differ in connections_max).
struct CredentialEntry {
  std::string name;
  tls::CertificateFacts facts;
  unsigned home = 0;  // first home shard
  unsigned span = 1;  // home shards: home, home + 1, ... modulo the number of shards
  std::vector<std::shared_ptr<const dispatch::CredentialConfig>> per_shard;  // by shard number
};

struct Shared {
  explicit Shared(const EngineOptions& o)
      : options(o),
        inside(o.pushes_max),
        connections(o.connections_max),
        dials(o.dials_max),
        templates(o.templates_max),
        credentials(o.credentials_max),
        outcomes(o.pushes_max) {}

  const EngineOptions options;
  tls::CryptoChoice crypto;
  std::uint64_t run_key = 0;

  Credits inside;        // places from submit until the outcome is read
  Credits connections;   // sockets, from dial to closed
  Credits dials;         // from dial to SETTINGS or failure
  BlockPool blocks;
  Registry<dispatch::TemplateConfig> templates;
  Registry<CredentialEntry> credentials;
  std::unique_ptr<io::Resolver> resolver = std::make_unique<io::Resolver>();

  moodycamel::ConcurrentQueue<Outcome> outcomes;
  std::atomic<bool> outcomes_signalled{false};  // the eventfd has been written and not yet been answered by an empty poll
  int outcome_fd = -1;
  std::atomic<std::uint64_t> submitted{0};      // taken by submit
  std::atomic<std::uint64_t> ended{0};          // outcomes queued
  std::atomic<std::uint64_t> read{0};           // outcomes polled
  std::atomic<bool> closed_to_pushes{false};    // draining or stopped
  std::atomic<int> submitting{0};               // submit() calls under way

  // Per credential and shard, told by shards when it changes; the lock is held briefly and rarely.
  std::mutex status_mutex;
  std::vector<std::vector<dispatch::CredentialStatus>> statuses;  // [shard][credential]

  std::mutex log_mutex;  // one record at a time reaches the host's callback
  void log(LogLevel level, std::string_view event, std::string_view text) {
    if (!options.log) return;
    const std::lock_guard lock(log_mutex);
    options.log(LogRecord{level, event, text});
  }
};

}  // namespace tocsin::engine
