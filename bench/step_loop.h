// SPDX-License-Identifier: Apache-2.0
// StepLoop: a shard's loop without sockets, threads and clocks: pushes and events in, actions performed at once, the peers
// answering in memory. What a worker does, but for the ring; TLS is the plain twin.
//
// Peers: flat, which reads frames only and answers every stream with the same block (its cost is a few nanoseconds, so the
// loop's time is the shard's); or gateway, the mock's whole model, which judges each request.
//
// Time is virtual: a turn lasts kTurnNs, and an answer is on its way for as many turns as it takes to fill all stream
// tables with what one turn hands over. Threads: one at a time; loops share nothing. Ownership: everything is the loop's.
// Bounds: two full stream tables of pushes are inside at once. A peer that is sent what it cannot read says so by run()'s answer.
#pragma once

#include <cstdint>
#include <memory>

#include <tocsin/options.h>

namespace tocsin::bench {

enum class PeerKind : unsigned char { flat, bare, gateway };

struct StepLoopOptions {
  PeerKind peer = PeerKind::flat;
  Codec codec = Codec::fast;
  std::uint32_t connections = 4;
  std::uint32_t streams = 1000;
  std::uint32_t dead_tokens = 0;  // in the filter, none of them pushed to
  bool timed = false;             // keep the CPU time of Shard::step
};

struct StepLoopRun {
  bool good = true;            // every push ended as accepted, once, and the peers saw as many requests
  std::uint64_t pushes = 0;
  std::uint64_t steps = 0;
  double step_seconds = 0;     // if timed
};

class StepLoop {
 public:
  static constexpr std::int64_t kTurnNs = 100'000;

  explicit StepLoop(const StepLoopOptions& options);
  ~StepLoop();
  StepLoop(const StepLoop&) = delete;
  StepLoop& operator=(const StepLoop&) = delete;

  // False if the connections do not come up.
  bool connect();
  // Until at least `pushes` more have ended; what is inside stays inside.
  StepLoopRun run(std::uint64_t pushes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tocsin::bench
