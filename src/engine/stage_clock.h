// SPDX-License-Identifier: Apache-2.0
// StageClock: where a shard's thread spends its CPU, by the verbs of its loop. Off unless EngineOptions::stage_clocks asks
// for it: a reading of the thread's CPU clock is a system call, and each turn of the loop takes one per stage.
//
// Threads: the one whose CPU it counts. Ownership: a plain value.
#pragma once

#include <ctime>

#include <array>
#include <cstdint>

#include <tocsin/engine.h>

namespace tocsin::engine {

class StageClock {
 public:
  explicit StageClock(bool on) : on_(on), last_ns_(on ? now_ns() : 0) {}

  // What was used since the last call goes to this stage.
  void lap(Stage stage) {
    if (!on_) return;
    const std::uint64_t now = now_ns();
    used_ns_[static_cast<std::size_t>(stage)] += now - last_ns_;
    last_ns_ = now;
  }

  const std::array<std::uint64_t, kStages>& used_ns() const { return used_ns_; }

 private:
  static std::uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  }

  bool on_;
  std::uint64_t last_ns_;
  std::array<std::uint64_t, kStages> used_ns_{};
};

}  // namespace tocsin::engine
