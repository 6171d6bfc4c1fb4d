// SPDX-License-Identifier: Apache-2.0
// Rig: what the engine's tests have in common: throw-away certificates, mocks, peers that misbehave, pushes.
//
// Threads: each object one at a time, unless it says otherwise. Ownership: everything ends with its object.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <tocsin/engine.h>

#include "mockd/server.h"
#include "portal/portal.h"

namespace tocsin::engine_tests {

using Clock = std::chrono::steady_clock;

// One kit for the whole program (RSA keys are slow to make), and another authority that nobody knows.
const portal::Kit& kit();
const std::string& foreign_ca_pem();
// A provider key as Apple's .p8 files have it.
const std::string& p8_pem();

mockd::Options mock_options();
std::unique_ptr<mockd::Server> serve(mockd::Options options);
std::uint16_t port_of(const std::string& address);

// A port of 127.0.0.1 where nobody listens.
std::uint16_t closed_port();

// Takes connections and does with each what `act` says, on a thread of its own; without `act` it never even
// accepts, so that a client's handshake waits for ever.
class Peer {
 public:
  explicit Peer(std::function<void(int fd)> act = {});
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  std::uint16_t port() const { return port_; }

 private:
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

CredentialOptions credential_options(std::uint16_t port);
TemplateOptions mdm_template();
TemplateOptions own_template();

// Pushes with tokens made from their ids; owns the texts they look at.
class Batch {
 public:
  Batch(std::uint64_t first_id, std::size_t count, TemplateHandle what, CredentialHandle who);
  // Each with its own payload of this many bytes.
  void own_payloads(std::size_t bytes);
  std::vector<Push> pushes;

 private:
  std::vector<std::string> tokens_;
  std::string payload_;
};
std::string token_hex(std::uint64_t id);

// An engine with one credential and the two templates.
struct Rig {
  Rig(const EngineOptions& options, const CredentialOptions& who);
  std::unique_ptr<Engine> engine;
  CredentialHandle credential = CredentialHandle::none;
  TemplateHandle mdm = TemplateHandle::none;
  TemplateHandle own = TemplateHandle::none;

  Batch batch(std::uint64_t first_id, std::size_t count) const { return {first_id, count, mdm, credential}; }
  // Reads outcomes until `count` came or the time is over.
  std::vector<Outcome> collect(std::size_t count, int timeout_ms = 20'000) const;
};

}  // namespace tocsin::engine_tests
