// SPDX-License-Identifier: Apache-2.0
// Server: the APNs mock on real sockets, as `tocsin mock` runs it and as tests use it in-process.
//
// Threads: start(), stop() and the destructor from one thread; the readers from any. Ownership: owns its
// workers and its admin servers. Bounds: options.h.
//
// One listener on worker 0 hands accepted sockets to the workers in turn; each worker keeps its own part of
// the ledger, and whoever asks gets the parts merged.
//
// Admin address: GET /health, /ledger (totals), /ledger/TOKEN (one token; 404 if never seen), /metrics.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tocsin/result.h>

#include "http/server.h"
#include "mock/ledger.h"
#include "mockd/options.h"
#include "mockd/report.h"
#include "mockd/worker.h"

namespace tocsin::mockd {

class Server {
 public:
  // Listens when it answers. Errors name the option or the address.
  static Result<std::unique_ptr<Server>> start(Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::string& address() const { return address_; }
  const std::string& admin_address() const { return admin_address_; }      // "" without one
  const std::string& metrics_address() const { return metrics_address_; }  // "" without one of its own
  const tls::CryptoChoice& crypto() const { return crypto_; }

  // GOAWAY to all clients, answers under way are given, then the end; at most drain_ms and about a second.
  // The ledger stays readable. Idempotent.
  void stop(int drain_ms = 2000);

  // All workers' parts as one. `f` runs under the worker's lock where there is only one: no copy, be quick
  // while pushes come.
  void with_ledger(const std::function<void(const mock::Ledger&)>& f) const;
  mock::LedgerTotals totals() const;
  // Beside the ledger's: what a profile did not judge.
  mock::Traffic::Flood flood() const;
  Totals report() const;
  std::optional<mock::LedgerEntry> find(base::ByteView token) const;
  // Every acceptance of a token, oldest first.
  std::vector<mock::Acceptance> history(base::ByteView token) const;

  // Connections that ended, by time; how many more there were than are kept.
  std::uint64_t ends(std::vector<ConnectionEnd>& out) const;

  // How often each fault of the script was done, by all workers.
  mock::ScriptCounts faults() const;
  std::string metrics_text() const;
  std::uint64_t requests() const;  // cheap

 private:
  Server() = default;
  Result<void> open_workers();
  Result<void> open_admin();
  http::Response handle_admin(const http::Request& request) const;
  http::Response handle_metrics(const http::Request& request) const;

  Shared shared_;
  std::string address_, admin_address_, metrics_address_;
  tls::CryptoChoice crypto_;
  std::unique_ptr<http::Server> admin_, metrics_;
  bool stopped_ = false;
};

}  // namespace tocsin::mockd
