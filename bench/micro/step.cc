// SPDX-License-Identifier: Apache-2.0
// The shard's step: CPU time of Shard::step alone, from a push handed over to its outcome, codec included, TLS and sockets
// left out. See ../step_loop.h.
//
//   shard_step/CODEC/PEER/CONNECTIONSxSTREAMS    PEER: flat, bare (flat, answers of :status alone), or gateway (the mock's
//                                               model, not measured, answers)
//
// Coalescing on, deadlines set, a filter of 100,000 dead tokens.
#include <memory>

#include "../step_loop.h"
#include "micro.h"

namespace tocsin::bench {
namespace {

struct Shape {
  PeerKind peer;
  std::uint32_t connections;
  std::uint32_t streams;
};
constexpr Shape kShapes[] = {{PeerKind::flat, 4, 1000}, {PeerKind::flat, 4, 100},     {PeerKind::flat, 64, 1000},
                             {PeerKind::bare, 4, 100},  {PeerKind::gateway, 4, 1000}};
constexpr const char* kPeers[] = {"flat/", "bare/", "gateway/"};

void step(benchmark::State& state, Codec codec, const Shape& shape) {
  StepLoopOptions options;
  options.codec = codec;
  options.peer = shape.peer;
  options.connections = shape.connections;
  options.streams = shape.streams;
  options.dead_tokens = 100'000;
  options.timed = true;
  StepLoop loop(options);
  if (!require(state, loop.connect(), "the shard's connections did not come up")) return;
  std::uint64_t pushes = 0, steps = 0;
  for (auto _ : state) {
    const StepLoopRun run = loop.run(std::uint64_t{shape.connections} * shape.streams);
    if (!require(state, run.good, "a push was not accepted, or the peers saw other requests")) return;
    state.SetIterationTime(run.step_seconds);
    pushes += run.pushes;
    steps += run.steps;
  }
  per_item(state, "per_push", pushes);
  if (steps != 0) state.counters["pushes_per_step"] = static_cast<double>(pushes) / static_cast<double>(steps);
}

}  // namespace

void register_step() {
  for (const Codec codec : {Codec::fast, Codec::nghttp2}) {
    for (const Shape& shape : kShapes) {
      const std::string name = std::string("shard_step/") + (codec == Codec::fast ? "fast/" : "nghttp2/") +
                               kPeers[static_cast<std::size_t>(shape.peer)] + std::to_string(shape.connections) + "x" +
                               std::to_string(shape.streams);
      benchmark::RegisterBenchmark(name.c_str(), [codec, &shape](benchmark::State& state) { step(state, codec, shape); })
          ->UseManualTime();
    }
  }
}

}  // namespace tocsin::bench
