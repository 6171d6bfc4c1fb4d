// SPDX-License-Identifier: Apache-2.0
// What the micro-benchmarks share: a stopwatch of CPU time, figures by item, and the judgement that the work was done.
//
// Each benchmark does its work in batches and sets an iteration's time from the stopwatch, so that what only prepares a
// batch (the peer's side, mostly) costs nothing. A batch is long against the two clock readings around it.
// Threads: one at a time; the stopwatch measures the thread that holds it.
#pragma once

#include <time.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <benchmark/benchmark.h>

#include "base/bytes.h"
#include "base/prng.h"

namespace tocsin::bench {

// Ends the benchmark with an error unless `good`; the program then ends with exit code 1. Answers `good`.
bool require(benchmark::State& state, bool good, std::string_view what);
bool all_good();

// CPU time of the calling thread: what other programs on the machine do does not count.
class Stopwatch {
 public:
  void start() { begun_ns_ = read(); }
  void stop() { total_ns_ += read() - begun_ns_; }
  // Seconds since the last call.
  double take_seconds() {
    const double seconds = static_cast<double>(total_ns_) * 1e-9;
    total_ns_ = 0;
    return seconds;
  }

 private:
  static std::int64_t read() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
  std::int64_t begun_ns_ = 0;
  std::int64_t total_ns_ = 0;
};

// Time an item over all iterations, shown in ns (in JSON: seconds). The benchmark is refused if it did nothing.
inline void per_item(benchmark::State& state, const char* name, std::uint64_t items) {
  if (!require(state, items != 0, "no work was done")) return;
  state.counters[name] = benchmark::Counter(static_cast<double>(items), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// Order-dependent hash of bytes, for comparing what came out with what went in.
inline std::uint64_t fold(base::ByteView bytes, std::uint64_t hash = 0x9e3779b97f4a7c15ull) {
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    hash = base::mix64(hash ^ word);
  }
  for (; at < bytes.size(); ++at) hash = base::mix64(hash ^ static_cast<std::uint64_t>(bytes[at]));
  return hash;
}

using Token = std::array<std::byte, 32>;
inline Token token_of(std::uint64_t number) {
  Token token{};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t word = base::mix64(number * 4 + i);
    std::memcpy(token.data() + i * 8, &word, 8);
  }
  return token;
}

inline constexpr std::string_view kTopic = "com.apple.mgmt.External.b0e8a35c-7c0d-4b0c-9f9a-0f6f2f0d3c11";
inline constexpr std::string_view kMagic = "6F1B8E2A-93D4-4C57-A0BE-5D7C21F4E896";

// One for each file: registers its benchmarks. Those over a list of variants (codecs, TLS versions, ciphers) are made at
// run time, so that a new variant is one line.
void register_codec();
void register_hpack();
void register_tls();
void register_queue();
void register_step();
void register_parts();
void register_text();

}  // namespace tocsin::bench
