// SPDX-License-Identifier: Apache-2.0
// Load: one engine set up as the spec says, and the producer that loads it and reads its outcomes, phase by phase.
//
// The engine is used whole: a filter of dead tokens, coalescing, deadlines, outcomes in bulk. Pushes carry their number as
// id, so that what was intended when needs no memory per push. Tokens come from a counter and never repeat.
//
// Threads: the caller's is the producer; the engine's shards have their own. Ownership: owns the engine; the mock must
// outlive it. Phases: fill() until all connections are open, or for three minutes; warm_up(), main_phase(), cool_down(). Errors: one sentence;
// Code::stopped when a signal came.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tocsin/engine.h>

#include "cli/bench/allocations.h"
#include "cli/bench/run_result.h"

namespace tocsin::cli::bench {

// What a spec makes of an engine; also for the memory probe.
struct EngineSetup {
  std::unique_ptr<Engine> engine;
  CredentialHandle credential = CredentialHandle::none;
  TemplateHandle push_template = TemplateHandle::none;
  std::string topic;
};
Result<EngineSetup> set_up_engine(const RunSpec& spec, const MockChild& mock, const std::string& directory, std::size_t pushes_max);

// Makes pushes by number: 64 hex digits of which no two are alike, the payload's part, a deadline far away.
class PushMaker {
 public:
  static constexpr std::size_t kBatch = 256;
  explicit PushMaker(const EngineSetup& setup);
  // The next `count` (at most kBatch) pushes, numbered from `first`; valid until the next call.
  std::span<const Push> make(std::uint64_t first, std::size_t count, std::int64_t wall_now_ns);

 private:
  std::vector<std::array<std::uint8_t, 32>> bytes_;  // the tokens, and as hex text:
  std::vector<std::array<char, 64>> texts_;
  std::vector<Push> pushes_;
};

class Load {
 public:
  static Result<std::unique_ptr<Load>> start(const RunSpec& spec, MockChild& mock, const std::string& directory,
                                             const AllocationCounter& allocations);

  Result<void> fill();
  unsigned connections_open() const;
  Result<void> settle();      // until nothing is under way
  Result<void> warm_up();
  Result<void> main_phase(RunResult& out);
  Result<void> cool_down(RunResult& out);

 private:
  struct Moment;

  Load(const RunSpec& spec, MockChild& mock, EngineSetup setup, const AllocationCounter& allocations);

  Result<void> run_closed(std::int64_t until_mono_ns, std::uint64_t inside_max);
  Result<void> run_open(std::int64_t until_mono_ns);
  Result<void> look_around(std::int64_t now_mono_ns);  // signals, the mock's health; ten times a second
  bool submit_some(std::uint64_t most, std::int64_t now_mono_ns, Result<void>& failed);
  std::size_t collect(std::size_t got, std::int64_t now_mono_ns);
  void note_failure(const Outcome& outcome);
  void close_interval(std::int64_t now_mono_ns);
  void keep_interval();
  std::int64_t intended_ns(std::uint64_t number) const {
    return open_start_ns_ + static_cast<std::int64_t>(static_cast<double>(number - open_first_) * open_period_ns_);
  }
  Moment moment() const;
  std::uint64_t inside() const { return submitted_ - ended_; }

  RunSpec spec_;
  MockChild& mock_;
  EngineSetup setup_;
  AllocationCounter allocations_;
  PushMaker maker_;
  std::optional<Submitter> submitter_;
  std::vector<Outcome> outcomes_;
  std::span<const Push> batch_;         // made and not yet taken
  std::uint64_t made_ = 0, submitted_ = 0, ended_ = 0;
  std::array<std::uint64_t, kEnds + 1> ends_{};
  std::string first_failure_;
  std::int64_t looked_ns_ = 0;

  // The open loop: number `open_first_` was due at open_start_ns_.
  std::uint64_t open_first_ = 0;
  std::int64_t open_start_ns_ = 0;
  double open_period_ns_ = 0;

  // The main phase.
  bool measuring_ = false;
  bool open_ = false;
  std::uint64_t main_first_ = 0, main_last_ = 0;   // numbers intended in it (open loop)
  std::int64_t main_start_ns_ = 0, interval_ns_ = 0;
  std::uint64_t main_ended_ = 0, interval_ended_ = 0, late_ = 0;
  // All but what the interval under way has: keep_interval() adds that.
  std::unique_ptr<obs::Histogram> latency_, interval_latency_;
  std::vector<SeriesPoint> series_;
};

}  // namespace tocsin::cli::bench
