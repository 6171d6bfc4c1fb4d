// SPDX-License-Identifier: Apache-2.0
// RunHistory: what an earlier part of a run has left of each line: done, certainly not sent, or in doubt.
//
// A run is a series of sessions: the first, and one for each --resume. Each session reads the input from its
// beginning, admits the lines that are not done, and marks how far it has admitted. From the marks and the
// outcomes of all sessions, in order, follows what is known of a line:
//
//   fresh     beyond every mark, or ended as certainly never sent and not admitted again since
//   doubtful  admitted by a session that left no outcome of it
//   done      has a final outcome
//
// Threads: one at a time. Bounds: half a byte for each line up to the highest one, in pages of 32,768 lines
// (100 million lines: 48 MiB).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include <tocsin/push.h>

namespace tocsin::cli {

// Four bits for each line number, 0 at first.
class LineMap {
 public:
  std::uint8_t get(std::uint64_t line) const;
  void set(std::uint64_t line, std::uint8_t value);
  // Replaces each value of the lines up to `last` by what `table` has for it; 0 must stay 0.
  void remap(std::uint64_t last, const std::array<std::uint8_t, 16>& table);

 private:
  static constexpr std::uint64_t kPageLines = 32'768;
  using Page = std::array<std::uint8_t, kPageLines / 2>;
  Page* find(std::uint64_t number) const;

  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;
  mutable std::uint64_t last_number_ = ~0ull;  // lines come nearly in order
  mutable Page* last_page_ = nullptr;
};

enum class Fate : std::uint8_t { fresh, doubtful, done };

class RunHistory {
 public:
  explicit RunHistory(Policy policy) : policy_(policy) {}

  // A session that admitted lines up to `mark`; with `retry_failed` also those that had ended as failed, and
  // under at least once as unknown.
  void begin_session(std::uint64_t mark, bool retry_failed);
  // An outcome that this session wrote; `unsent`: is_unsent() of outputs.h.
  void outcome(std::uint64_t line, End end, bool unsent);

  // Only after the last session's outcomes: what a further session would find.
  void finish();
  Fate fate(std::uint64_t line, bool retry_failed) const;

  // The highest mark up to now: no outcome may name a line beyond it.
  std::uint64_t mark() const { return mark_; }

 private:
  enum State : std::uint8_t {
    kNone,             // no outcome: fresh beyond the mark, else in doubt
    kFinal,
    kFailed,           // certainly never processed by any session
    kFailedDoubtful,   // this attempt was not processed, an earlier one may have been
    kUnknown,
    kUnsent,           // certainly never sent by any session
    kOpen,             // was fresh, then admitted by the session at hand
    kDoubtful,
  };
  void close_session();

  Policy policy_;
  std::uint64_t mark_ = 0;
  std::uint64_t mark_before_ = 0;  // of all sessions before the one at hand
  LineMap states_;
};

}  // namespace tocsin::cli
