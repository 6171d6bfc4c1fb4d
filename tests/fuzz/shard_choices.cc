// SPDX-License-Identifier: Apache-2.0
// The simulation of tests/sim, whose choices come from the input: what is covered steers what happens next.
//
// Input: two bytes that draw the world (its size, limits and faults), then choices; when they are used up the seed goes
// on. Properties: the simulation's oracles.
#include "../sim/world.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin;
  const std::uint64_t seed = 1 + (size > 0 ? data[0] : 0u) + (size > 1 ? data[1] * 256u : 0u);
  const std::span<const std::uint8_t> choices(data + (size < 2 ? size : 2), size < 2 ? 0 : size - 2);
  const sim::Draw draw = sim::Draw::from(seed);
  sim::World world(draw, false, choices);
  const sim::Report report = world.run();
  if (!report.good) {
    std::fprintf(stderr, "seed %llu, %zu choices\n", static_cast<unsigned long long>(seed), choices.size());
    for (const std::string& line : report.said) std::fprintf(stderr, "does not hold: %s\n", line.c_str());
  }
  FUZZ_CHECK(report.good);
  return 0;
}
