// SPDX-License-Identifier: Apache-2.0
// Small parts: the timer wheel, the histogram, hex.
//
//   timer_link_fire, timer_link_unlink   a timer's life, due within a minute; 65,536 at once
//   histogram_record, histogram_quantile
//   hex_encode, hex_decode               a device token, 32 bytes: by what hex.h chooses, and by each code that this CPU has
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "base/hex.h"
#include "base/hex_code.h"
#include "dispatch/timer_wheel.h"
#include "micro.h"
#include "obs/histogram.h"

namespace tocsin::bench {
namespace {

struct Timer {
  dispatch::WheelLink link;
  dispatch::Tick due = dispatch::kTickNone;
};

struct Links {
  std::vector<Timer>* timers;
  dispatch::WheelLink& link(std::uint32_t slot) const { return (*timers)[slot].link; }
  dispatch::Tick due(std::uint32_t slot) const { return (*timers)[slot].due; }
  void set_due(std::uint32_t slot, dispatch::Tick due) const { (*timers)[slot].due = due; }
};

constexpr std::uint32_t kTimers = 65'536;
constexpr dispatch::Tick kSpan = 6000;  // ticks of 10 ms

void timers(benchmark::State& state, bool fire) {
  std::vector<Timer> all(kTimers);
  dispatch::TimerWheel<Links> wheel(Links{&all});
  base::Prng prng(1);
  std::vector<dispatch::Tick> after(kTimers);
  for (dispatch::Tick& each : after) each = 1 + static_cast<dispatch::Tick>(prng.below(kSpan));
  dispatch::Tick now = 0;
  Stopwatch watch;
  std::uint64_t done = 0;
  for (auto _ : state) {
    std::uint32_t fired = 0;
    bool early = false;
    watch.start();
    for (std::uint32_t slot = 0; slot < kTimers; ++slot) wheel.link(slot, now + after[slot]);
    if (fire) {
      const dispatch::Tick from = now;
      for (const dispatch::Tick end = now + kSpan; now < end;) {
        now += 10;
        wheel.advance(now, [&](std::uint32_t slot) {
          ++fired;
          early |= from + after[slot] > now;
        });
      }
    } else {
      for (std::uint32_t slot = 0; slot < kTimers; ++slot) wheel.unlink(slot);
    }
    watch.stop();
    if (!require(state, !early && wheel.size() == 0 && fired == (fire ? kTimers : 0), "timers were lost, or fired early")) return;
    if (now > dispatch::kTickMax / 2) return state.SkipWithError("time has run out");
    state.SetIterationTime(watch.take_seconds());
    done += kTimers;
  }
  per_item(state, "per_timer", done);
}

// Latencies between 100 us and some seconds, evenly over the octaves.
std::vector<std::uint64_t> latencies() {
  base::Prng prng(2);
  std::vector<std::uint64_t> values(4096);
  for (std::uint64_t& value : values) value = (std::uint64_t{100'000} << prng.below(15)) + prng.below(100'000);
  return values;
}

void histogram_record(benchmark::State& state) {
  const std::vector<std::uint64_t> values = latencies();
  obs::Histogram histogram;
  std::uint64_t done = 0;
  for (auto _ : state) {
    for (const std::uint64_t value : values) histogram.record(value);
    done += values.size();
  }
  if (!require(state, histogram.count() == done && histogram.max() == *std::max_element(values.begin(), values.end()),
               "the histogram lost values")) {
    return;
  }
  per_item(state, "per_value", done);
}

void histogram_quantile(benchmark::State& state) {
  obs::Histogram histogram;
  std::vector<std::uint64_t> values = latencies();
  for (const std::uint64_t value : values) histogram.record(value);
  std::sort(values.begin(), values.end());
  std::uint64_t sum = 0, done = 0;
  for (auto _ : state) {
    for (const double percent : {50.0, 90.0, 99.0, 99.9}) sum += histogram.percentile(percent);
    done += 4;
  }
  if (!require(state, sum / done >= values[values.size() / 2] && histogram.percentile(100) == values.back(), "wrong percentiles")) {
    return;
  }
  per_item(state, "per_quantile", done);
}

constexpr std::size_t kTokens = 1024;

// `Hex` has encode(bytes, count, out) and decode(digits, count, out): hex.h itself, or one of its codes.
struct ChosenHex {
  void encode(const std::uint8_t* bytes, std::size_t count, char* out) const { base::hex_encode({bytes, count}, out); }
  bool decode(const char* digits, std::size_t count, std::uint8_t* out) const { return base::hex_decode({digits, count}, out); }
};

template <class Hex>
void hex(benchmark::State& state, bool decode, const Hex& code) {
  std::vector<Token> tokens(kTokens);
  for (std::size_t i = 0; i < kTokens; ++i) tokens[i] = token_of(i);
  std::vector<std::array<char, 64>> texts(kTokens);
  const auto encode_all = [&] {
    for (std::size_t i = 0; i < kTokens; ++i) code.encode(reinterpret_cast<const std::uint8_t*>(tokens[i].data()), 32, texts[i].data());
  };
  encode_all();
  std::vector<std::array<std::uint8_t, 32>> back(kTokens);
  bool good = true;
  std::uint64_t done = 0;
  for (auto _ : state) {
    if (decode) {
      for (std::size_t i = 0; i < kTokens; ++i) good &= code.decode(texts[i].data(), 64, back[i].data());
    } else {
      encode_all();
    }
    benchmark::ClobberMemory();
    done += kTokens;
  }
  for (std::size_t i = 0; i < kTokens; ++i) {
    if (!decode) good &= code.decode(texts[i].data(), 64, back[i].data());
    good &= std::memcmp(back[i].data(), tokens[i].data(), 32) == 0;
  }
  if (!require(state, good, "hex does not come back")) return;
  per_item(state, "per_token", done);
}

}  // namespace

void register_parts() {
  benchmark::RegisterBenchmark("timer_link_fire", [](benchmark::State& state) { timers(state, true); })->UseManualTime();
  benchmark::RegisterBenchmark("timer_link_unlink", [](benchmark::State& state) { timers(state, false); })->UseManualTime();
  benchmark::RegisterBenchmark("histogram_record", histogram_record);
  benchmark::RegisterBenchmark("histogram_quantile", histogram_quantile);
  for (const bool decode : {false, true}) {
    const std::string name = decode ? "hex_decode" : "hex_encode";
    benchmark::RegisterBenchmark(name.c_str(), [decode](benchmark::State& state) { hex(state, decode, ChosenHex()); });
    for (const base::HexCode& code : base::hex_codes()) {
      benchmark::RegisterBenchmark((name + "/" + code.name).c_str(),
                                   [decode, code](benchmark::State& state) { hex(state, decode, code); });
    }
  }
}

}  // namespace tocsin::bench
