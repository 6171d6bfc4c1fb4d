// SPDX-License-Identifier: Apache-2.0
// PushMetrics: `tocsin push --metrics`: the run's numbers for Prometheus.
// Threads: publish() from the main thread, the page is made on the HTTP server's (a lock between them).
// Ownership: the engine must outlive it.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include <tocsin/engine.h>

#include "cli/tally.h"
#include "http/server.h"

namespace tocsin::cli {

class PushMetrics {
 public:
  static Result<std::unique_ptr<PushMetrics>> start(const std::string& address, const Engine& engine);
  void publish(const Tally& tally);
  const std::string& address() const { return server_->address(); }

  static std::string page(const EngineStats& stats, const Tally& tally);

 private:
  explicit PushMetrics(const Engine& engine) : engine_(engine) {}

  const Engine& engine_;
  std::mutex lock_;
  Tally tally_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace tocsin::cli
