// SPDX-License-Identifier: Apache-2.0
// The simulation of tests/sim, whose choices come from the input: what is covered steers what happens next.
//
// Input: two bytes that draw the world (its limits and faults), then choices; when they are used up the seed goes on.
// Properties: the simulation's oracles. The world is a small one, a few pushes over a few seconds, so that many hundred
// inputs are tried in the time of one seed of `simulate`, which stays the place for crowds and long runs.
#include <algorithm>

#include "../sim/world.h"
#include "fuzz.h"

namespace {

tocsin::sim::Draw small_world(std::uint64_t seed) {
  using namespace tocsin::sim;
  Draw draw = Draw::from(seed);
  draw.shards = std::min(draw.shards, 2u);
  draw.credentials = std::min(draw.credentials, 2u);
  draw.topics = 1;
  draw.groups = std::min(draw.groups, 1u);
  draw.pushes = 5 + draw.pushes % 8;
  draw.pushes_max = 3 + draw.pushes_max % 4;
  // The script's rules end with phase one; it is written already.
  const auto until = [&draw] { return " between 0s and " + std::to_string(draw.phase_one_ns / kSec) + "s"; };
  const std::string drawn = until();
  draw.phase_one_ns = (1 + draw.phase_one_ns / kSec % 2) * kSec;
  draw.long_run = false;
  draw.peer_window = std::max(draw.peer_window, 256u);  // so that every body passes within the time for an answer
  // A token that was made while the clock ran ahead is refused for longer than this world lasts.
  if (draw.provider_tokens) draw.menu[static_cast<std::size_t>(Kind::clock_steps)] = 0;
  for (std::size_t at = 0; (at = draw.script.find(drawn, at)) != std::string::npos;) draw.script.replace(at, drawn.size(), until());
  return draw;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin;
  const std::uint64_t seed = 1 + (size > 0 ? data[0] : 0u) + (size > 1 ? data[1] * 256u : 0u);
  const std::span<const std::uint8_t> choices(data + (size < 2 ? size : 2), size < 2 ? 0 : size - 2);
  const sim::Draw draw = small_world(seed);
  sim::World world(draw, false, choices);
  const sim::Report report = world.run();
  if (!report.good) {
    std::fprintf(stderr, "seed %llu, %zu choices\n", static_cast<unsigned long long>(seed), choices.size());
    for (const std::string& line : report.said) std::fprintf(stderr, "does not hold: %s\n", line.c_str());
  }
  FUZZ_CHECK(report.good);
  return 0;
}
