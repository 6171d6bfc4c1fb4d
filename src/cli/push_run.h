// SPDX-License-Identifier: Apache-2.0
// PushRun: the loop of `tocsin push`: read, submit, collect, show; one thread does all four in turn.
//
// Bounds: the pushes under way are the slots, or fewer at most once, where a crash gives up what is under way; when
// they, the engine or the rate allow no more, reading stops, so that memory does not depend on the input's size
// (--resume: half a byte a line). Ownership: owns the submitter and the slots; engine, input, preparer, rejects and the run's record must outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <tocsin/engine.h>

#include "cli/input.h"
#include "cli/outputs.h"
#include "cli/pacer.h"
#include "cli/prepare.h"
#include "cli/progress.h"
#include "cli/push_metrics.h"
#include "cli/push_options.h"
#include "cli/rejects.h"
#include "cli/run_record.h"
#include "cli/slots.h"
#include "cli/state_watch.h"
#include "cli/tally.h"

namespace tocsin::cli {

struct RunParts {
  Engine& engine;
  Submitter submitter;
  std::vector<CredentialHandle> credentials;  // by Prepared::route
  Input& input;
  Preparer& preparer;
  RejectLog& rejects;
  LineWriter& out;       // not open: outcomes are counted only
  RunRecord& record;
  PushMetrics* metrics;  // may be null
  Progress& progress;
  std::uint32_t pushes_max;
  std::uint32_t ahead_max;  // pushes under way beside those that wait for their time: pushes_max, or fewer at most once
};

class PushRun {
 public:
  PushRun(RunParts parts, const PushOptions& options);
  ~PushRun();

  // Until every push has its outcome.
  void run();

  const Tally& tally() const { return tally_; }
  const RunEnd& end() const { return end_; }
  const std::vector<EndCounts>& by_credential() const { return by_credential_; }

 private:
  static constexpr std::size_t kBatch = 256;
  static constexpr std::size_t kOutcomes = 1024;
  // A batch's parts, payloads and collapse ids are copied here: a record dies when the next is read.
  static constexpr std::size_t kArenaBytes = 512 * 1024;
  static constexpr std::size_t kRecordBytesMax = kPartBytesMax + kPayloadBytesMax + kCollapseIdBytesMax;

  void fill();
  bool take(const Record& record);
  bool taken();
  bool settle(const Record& record, const Uuid& apns_id);
  bool recognised(const Record& record);
  void submit();
  void collect(std::size_t count);
  void tick();
  void bound_reading(const EngineStats& stats, std::uint64_t submitted, std::int64_t since_ns);
  void rest_journal();
  void keep_outcomes(std::int64_t now);
  void note_synced();
  void close_journal();
  void stop_reading();
  void watch_states(const EngineStats& stats);
  void stop_for_signal();
  void drop_pending();
  void begin_stop();
  void finish();
  void reject(const Reject& reject);
  void not_sent(std::uint64_t line);
  void own_error(const Error& error);
  Bytes keep(std::string_view text);
  bool pending() const { return next_ < batch_.size(); }

  RunParts parts_;
  const PushOptions& options_;
  Slots slots_;
  std::size_t open_most_;  // slots that may be in use at the moment
  Pacer pacer_;
  std::vector<Push> batch_;  // [next_, size) is not submitted yet
  std::size_t next_ = 0;
  std::vector<char> arena_;
  std::size_t arena_used_ = 0;
  std::vector<Outcome> outcomes_;
  TimeText time_;
  InputWatch watch_;
  std::unique_ptr<Syncer> out_sync_;  // null: nothing is synced
  std::uint64_t out_ticket_ = 0;      // of the sync under way, 0: none
  std::uint64_t out_bytes_ = 0;       // what it covers
  std::int64_t kept_ns_ = 0;          // last given to the system
  std::int64_t synced_ns_ = 0;        // last sync begun
  Tally tally_;
  RunEnd end_;
  StateWatch states_;
  std::vector<EndCounts> by_credential_;
  bool reading_ = true;
  bool worked_ = false;
  bool hurried_ = false;            // the second signal was acted on
  std::thread stopper_;             // waits in Engine::stop for the grace
  std::uint64_t taken_ = 0;         // records, for --limit
  std::uint64_t first_unsent_ = 0;  // lowest line that was taken and not sent, 0: none
  std::uint64_t unsent_ = 0;        // how many
  std::uint64_t last_line_ = 0;     // read and judged
  std::uint64_t handed_line_ = 0;   // highest that the engine took
  bool input_done_ = false;         // nothing is left to read (end, or --limit)
  std::int64_t ticked_ns_ = 0;
  std::uint64_t ticked_submitted_ = 0;
};

}  // namespace tocsin::cli
