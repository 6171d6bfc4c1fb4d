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
};

namespace engine {

// Checks the options and makes the immutable credential with one config per shard. Reads the system's trust
// store when no CA was given.
Result<std::shared_ptr<const CredentialEntry>> make_credential(const CredentialOptions& options, const Shared& shared,
                                                               std::uint32_t index);

// Field-by-field bounds of the engine's options.
Result<void> check_engine_options(const EngineOptions& options);

}  // namespace engine
}  // namespace tocsin
