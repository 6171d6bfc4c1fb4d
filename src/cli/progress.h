// SPDX-License-Identifier: Apache-2.0
// Progress: one line that lives on a terminal (5 Hz), or a plain line every 10 s where nobody watches.
// Threads: one at a time. Bounds: no state but the last values.
#pragma once

#include <cstdint>
#include <string>

#include <tocsin/engine.h>

#include "cli/tally.h"

namespace tocsin::cli {

struct ProgressFacts {
  const Tally* tally = nullptr;
  const EngineStats* stats = nullptr;
  double share_read = -1;  // of the input's bytes; negative: unknown
  bool interrupted = false;
  std::int64_t now_unix_ns = 0;
};

// `rate` in pushes per second, `eta_s` negative if unknown.
std::string progress_text(const ProgressFacts& facts, double rate, double eta_s);

class Progress {
 public:
  enum class Mode : std::uint8_t { off, lines, in_place };
  explicit Progress(Mode mode) : mode_(mode) {}
  ~Progress() { finish(); }

  static constexpr std::int64_t kTickNs = 200'000'000;

  void tick(const ProgressFacts& facts, std::int64_t mono_ns);
  void finish();
  bool in_place() const { return mode_ == Mode::in_place; }

 private:
  Mode mode_;
  std::int64_t started_ns_ = 0;
  std::int64_t said_ns_ = 0;
  std::int64_t last_ns_ = 0;
  std::uint64_t last_outcomes_ = 0;
  double rate_ = 0;
};

}  // namespace tocsin::cli
