// SPDX-License-Identifier: Apache-2.0
// Engine::Impl: what stands behind the public door.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include <tocsin/engine.h>

#include "engine/shared.h"
#include "engine/worker.h"

namespace tocsin {

struct Engine::Impl {
  explicit Impl(const EngineOptions& options) : shared(options) {}
  ~Impl();

  bool everything_ended() const {
    return shared.submitting.load(std::memory_order_seq_cst) == 0 &&
           shared.ended.load(std::memory_order_acquire) == shared.submitted.load(std::memory_order_acquire);
  }

  engine::Shared shared;
  std::vector<std::unique_ptr<engine::Worker>> workers;
  std::atomic<unsigned> submitters{0};       // alive
  std::atomic<unsigned> submitters_made{0};  // ever: part of the apns-ids they make
  std::mutex stop_mutex;
  bool stopped = false;

  // What changes credentials and groups, one call at a time: every worker gets the same mail in the same order.
  std::mutex control_mutex;
  bool stopping = false;  // guarded by control_mutex: no mail any more
  // Held while a mail goes to several workers, and for nothing else: those that one worker has read are in every box.
  std::mutex post_mutex;
  std::atomic<std::int64_t> shed_asked_mono_ns{0};
  std::atomic<unsigned> shed_turn{0};

  // Under control_mutex. Errors: Code::stopped, Code::unknown_handle.
  Result<void> may_control() const;
  Result<std::shared_ptr<engine::CredentialEntry>> find(CredentialHandle handle) const;
  Result<std::shared_ptr<engine::GroupEntry>> find(GroupHandle handle) const;
  void post_all(const engine::Mail& mail);
  // On a worker's thread: what one shard found, to the others.
  void tell_others(unsigned from, const engine::News& news);
  // On a worker's thread: tells the other shards, at most every 100 ms.
  void ask_to_shed(unsigned asking, bool busy);
  // Which shard is to give up a busy connection: one of the credential that has most, or whose turn is over.
  void ask_for_busy();
  // One event about a credential or group.
  Result<void> tell(dispatch::EventKind kind, CredentialHandle handle);
  Result<void> tell(dispatch::EventKind kind, GroupHandle handle);
  void set_rate(engine::Rate& rate, dispatch::Pace pace, std::uint32_t index, double pushes_per_second);
};

namespace engine {

// Checks the options and makes a version with one config per shard. Reads the system's trust store when no CA was given.
Result<std::shared_ptr<const CredentialVersion>> make_version(const CredentialOptions& options, const Shared& shared,
                                                              unsigned home, unsigned span);

// Field-by-field bounds of the engine's options.
Result<void> check_engine_options(const EngineOptions& options);
Result<void> check_rate(double pushes_per_second);

}  // namespace engine
}  // namespace tocsin
