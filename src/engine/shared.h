// SPDX-License-Identifier: Apache-2.0
// Shared: what the threads of one engine have in common. Nothing here is touched once per push: credits and
// queues work in batches, budgets per dial, statuses per change.
//
// Threads: each member says how. Ownership: Engine::Impl owns it and outlives every worker and submitter.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <tocsin/options.h>
#include <tocsin/push.h>

#include "base/prng.h"
#include "dispatch/config.h"
#include "dispatch/events.h"
#include "engine/block_pool.h"
#include "engine/credits.h"
#include "engine/dial_budget.h"
#include "engine/outcomes.h"
#include "engine/places.h"
#include "engine/provider_tokens.h"
#include "engine/rate.h"
#include "engine/registry.h"
#include "io/resolver.h"
#include "tls/context.h"
#include "tls/identity.h"

namespace tocsin::engine {

// What a credential shows to APNs; some push types want one or the other.
enum class Shows : std::uint8_t { nothing, certificate, provider_token };

// One version of a credential, immutable: what add_credential or replace_credential made of its options.
struct CredentialVersion {
  std::string name;
  tls::CertificateFacts facts;
  std::shared_ptr<ProviderTokens> tokens;  // null without a provider key
  Shows shows = Shows::nothing;
  double rate = 0;
  // One config per shard; home shards differ in connections_max, the rest share one.
  std::vector<std::shared_ptr<const dispatch::CredentialConfig>> per_shard;
};

// A credential under its handle. Threads: home and span never change, the rest says how.
struct CredentialEntry {
  unsigned home = 0;  // first home shard
  unsigned span = 1;  // home shards: home, home + 1, ... modulo the number of shards
  Rate rate;
  std::uint32_t word = 0;  // guarded by the control mutex: replaced or resumed so often
  std::atomic<bool> removed{false};
  std::atomic<Shows> shows{Shows::nothing};
  std::mutex mutex;                                  // of:
  std::shared_ptr<const CredentialVersion> current;  // null once removed
  std::string name;                                  // of the last version
  std::string topic;

  std::shared_ptr<const CredentialVersion> version() {
    const std::lock_guard lock(mutex);
    return current;
  }
};

struct GroupEntry {
  std::string name;
  Rate rate;
};

// The shard of a device: the same for a push, for what is known of its token, and for ever.
inline std::uint32_t route(const CredentialEntry& credential, base::ByteView token, std::size_t shards) {
  if (credential.span == 1) return static_cast<std::uint32_t>(credential.home % shards);
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < token.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, token.data() + i, std::min<std::size_t>(8, token.size() - i));
    hash = base::mix64(hash ^ word);
  }
  return static_cast<std::uint32_t>((credential.home + hash % credential.span) % shards);
}

// What one shard found out about a credential and the others need not find out for themselves.
struct News {
  dispatch::EventKind kind = dispatch::EventKind::credential_stopped;
  std::uint32_t index = 0;
  std::uint32_t word = 0;  // of the owner: how often it was replaced or resumed before this was found
  Reason reason = Reason::none;
  std::string text;
};

struct Shared {
  explicit Shared(const EngineOptions& o)
      : options(o),
        inside(o.pushes_max),
        connections(o.connections_max),
        dials(o.dials_max),
        templates(o.templates_max),
        credentials(o.credentials_max),
        groups(o.groups_max),
        outcomes(o.pushes_max) {}

  const EngineOptions options;
  tls::CryptoChoice crypto;
  std::uint64_t run_key = 0;
  // Where ticks begin: a little before the first step, so that tick 1 is always past.
  std::int64_t start_mono_ns = 0;

  Credits inside;        // places from submit until the outcome is read
  Places connections;    // sockets, from dial to closed
  DialBudget dials;      // from dial to SETTINGS or failure
  BlockPool blocks;
  Registry<const dispatch::TemplateConfig> templates;
  Registry<CredentialEntry> credentials;
  Registry<GroupEntry> groups;
  Rate rate;             // of the engine
  // A shard found no place for a connection: the others are to close one they do not need. Set once, before the first
  // credential; called by workers. Arguments: the asking shard; whether a busy one is to go where none is idle.
  std::function<void(unsigned, bool)> ask_to_shed;
  // Likewise: passes news on to the other shards; argument: the one that found it.
  std::function<void(unsigned, const News&)> tell_others;
  const std::unique_ptr<ProviderTokenStore> provider_tokens = std::make_unique<ProviderTokenStore>();
  std::unique_ptr<io::Resolver> resolver = std::make_unique<io::Resolver>();

  Outcomes outcomes;
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
