// SPDX-License-Identifier: Apache-2.0
// The micro-benchmarks' program: Google Benchmark's own options; exit code 1 if a benchmark did not do its work.
#include <atomic>
#include <cstdio>

#include "micro.h"

namespace tocsin::bench {
namespace {

std::atomic<bool> g_good{true};

}  // namespace

bool require(benchmark::State& state, bool good, std::string_view what) {
  if (good) return true;
  if (g_good.exchange(false)) std::fprintf(stderr, "micro: %.*s\n", static_cast<int>(what.size()), what.data());
  state.SkipWithError(std::string(what).c_str());
  return false;
}

bool all_good() { return g_good.load(); }

}  // namespace tocsin::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  tocsin::bench::register_codec();
  tocsin::bench::register_hpack();
  tocsin::bench::register_tls();
  tocsin::bench::register_queue();
  tocsin::bench::register_step();
  tocsin::bench::register_parts();
  tocsin::bench::register_text();
  const std::size_t ran = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (ran == 0) std::fprintf(stderr, "micro: no benchmark matches\n");
  return ran != 0 && tocsin::bench::all_good() ? 0 : 1;
}
