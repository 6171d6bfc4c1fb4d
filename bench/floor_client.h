// SPDX-License-Identifier: Apache-2.0
// FloorClient: pushes through the engine's own HTTP/2 session, TLS channel and io_uring driver, and nothing else: no engine,
// shard, queue, filter, deadline or outcome. Each stream that is free is given a request (an MDM wake-up to a fresh token) in
// the step in which it came free; each answer must be a 200.
//
// Threads: one, also for the mock's child. Ownership: the mock must outlive the client. Bounds: a batch of requests and unsent
// bytes as the shard has them. Errors: one sentence; Code::stopped when a signal came.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tocsin/result.h>

#include "apns/request.h"
#include "base/bytes.h"
#include "cli/bench/mock_child.h"
#include "h2/client_session.h"
#include "io/driver.h"
#include "tls/context.h"

namespace tocsin::bench {

struct FloorOptions {
  unsigned connections = 4;
  unsigned streams = 1000;
  std::uint64_t warmup = 1'000'000;  // pushes before the main phase, at least
  double seconds = 2;                // of the main phase
};

// Of a main phase; all but the first by the push. CPU of the client: user and system.
struct Figures {
  double pushes_per_second = 0;
  double user_ns = 0;
  double system_ns = 0;
  double mock_ns = 0;
  double bytes_sent = 0;
  double enters = 0;  // of io_uring
  double client_ns() const { return user_ns + system_ns; }
};

Result<std::string> read_file(const std::string& path);

class FloorClient {
 public:
  FloorClient(const FloorOptions& options, cli::bench::MockChild& mock);

  // `certificates`: the directory in which the mock has put them.
  Result<void> dial(const std::string& certificates);
  // Warm-up, main phase, the answers still due, the ends of the connections.
  Result<Figures> measure();
  std::uint64_t answered() const { return answered_; }

 private:
  struct Connection {
    std::uint64_t handle = 0;
    std::unique_ptr<tls::Channel> tls;
    std::unique_ptr<h2::ClientSession> h2;
    base::ByteBuffer plain_in, plain_out;
    base::ByteBuffer wire[2];  // [sending_index] is the kernel's while `sending`
    unsigned sending_index = 0;
    bool sending = false;
    bool prepared = false;
    std::uint32_t list = 0;

    base::ByteBuffer& fill() { return wire[1 - sending_index]; }
    std::size_t unsent_bytes() const { return wire[0].size() + wire[1].size() + plain_out.size(); }
  };
  struct Moment;

  template <class Until>
  Result<void> run(Until until);
  Moment moment() const;
  Error broken(const char* what, int error);
  Result<void> take(Connection& connection, const io::Completion& completion);
  Result<void> receive(Connection& connection, base::ByteView bytes);
  void write(Connection& connection);
  void make_request(std::size_t i, std::uint32_t list);
  void send(Connection& connection);

  const FloorOptions options_;
  cli::bench::MockChild& mock_;
  TemplateOptions template_;
  apns::PayloadHalves halves_;
  std::shared_ptr<tls::ClientContext> context_;
  std::vector<Connection> connections_;
  std::vector<std::array<std::uint64_t, 4>> tokens_;
  std::vector<std::array<std::uint64_t, 2>> ids_;
  std::vector<h2::Request> requests_;  // their views stay, the bytes behind them change
  std::vector<io::Completion> completions_;
  std::vector<h2::Answer> answers_;
  std::vector<h2::Event> events_;
  std::uint64_t made_ = 0, sent_ = 0, answered_ = 0, bytes_sent_ = 0;
  bool draining_ = false;
  std::unique_ptr<io::Driver> driver_;  // last: ends first, and with it the kernel's use of the buffers
};

}  // namespace tocsin::bench
