// SPDX-License-Identifier: Apache-2.0
#include "cli/push_run.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "base/assertion.h"
#include "cli/signals.h"
#include "cli/terminal.h"

namespace tocsin::cli {
namespace {

// How far reading is ahead of what is in flight where a crash gives up what is under way: this many pushes, or what is sent
// in this time.
constexpr std::uint64_t kReserve = 1024;
constexpr std::int64_t kReserveNs = 50'000'000;
// An outcome that the end of this process could take with it leaves its line in doubt.
constexpr std::int64_t kFlushNs = 50'000'000;

std::int64_t mono_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

std::int64_t wall_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

PushRun::PushRun(RunParts parts, const PushOptions& options)
    : parts_(std::move(parts)),
      options_(options),
      slots_(parts_.pushes_max),
      open_most_(parts_.ahead_max == parts_.pushes_max ? parts_.pushes_max : kReserve),
      pacer_(options.rate),
      arena_(kArenaBytes),
      outcomes_(kOutcomes),
      watch_(parts_.record.checks),
      states_(parts_.progress.in_place()),
      by_credential_(parts_.credentials.size()) {
  batch_.reserve(kBatch);
  end_.resumed = parts_.record.resumed;
  end_.kept = parts_.record.journal != nullptr;
  if (end_.kept && options.sync_ms != 0)
    out_sync_ = std::make_unique<Syncer>(parts_.out.descriptor(), parts_.out.path());
}

PushRun::~PushRun() {
  if (stopper_.joinable()) stopper_.join();  // finish() may have met a full disk after it had joined
}

void PushRun::run() {
  while (reading_ || pending() || slots_.in_use() != 0) {
    worked_ = false;
    if (reading_) fill();
    if (pending()) submit();
    collect(parts_.engine.poll(outcomes_));
    tick();
    if (interrupted() && !end_.interrupted) stop_for_signal();
    if (interrupted_twice() && end_.interrupted && !std::exchange(hurried_, true)) parts_.engine.stop(0);
    if (worked_) continue;
    const int wait_ms = pacer_.on() ? pacer_.wait_ms() : 5;
    collect(parts_.engine.wait(outcomes_, wait_ms));
  }
  finish();
}

// Records into the batch, as many as slots, arena and rate allow.
void PushRun::fill() {
  if (pending()) return;  // the engine is full: reading waits
  batch_.clear();
  next_ = arena_used_ = 0;
  std::uint64_t room = kBatch;
  if (pacer_.on()) room = std::min<std::uint64_t>(room, pacer_.allowed(mono_ns()));
  Record record;
  Reject reject;
  // A stretch of rejected lines must not keep the loop from its other duties.
  for (std::size_t read = 0;
       read < kBatch * 4 && batch_.size() < room && slots_.in_use() < open_most_ && arena_used_ + kRecordBytesMax <= kArenaBytes;
       ++read) {
    const InputState state = parts_.input.next(record, reject);
    switch (state) {
      case InputState::record:
        worked_ = true;
        last_line_ = record.line;
        if (!take(record)) return;
        break;
      case InputState::reject:
        worked_ = true;
        last_line_ = reject.line;
        this->reject(reject);
        break;
      case InputState::wait:
        return;
      case InputState::failed:
        end_.input_error = parts_.input.error();
        stop_reading();
        return;
      case InputState::end:
        if (!watch_.ended()) {
          end_.input_error =
              fmt::format("{}: ends before line {}, which the run had read before; --resume needs the same input",
                          parts_.input.name(), watch_.line());
        }
        input_done_ = true;
        stop_reading();
        return;
    }
    if (!reading_) return;
  }
}

// False: reading has ended.
bool PushRun::take(const Record& record) {
  RunRecord& run = parts_.record;
  if (run.resumed && !recognised(record)) return false;
  const Fate fate = run.fate(record.line);
  if (fate == Fate::done) {
    ++end_.done_before;
    return taken();
  }
  Prepared prepared;
  Reject wrong;
  if (!parts_.preparer.prepare(record, prepared, wrong)) {
    reject(wrong);
    return reading_;
  }
  if (run.resumed && run.rejected.get(record.line) != 0) return reading_;  // the engine had refused it
  if (prepared.apns_id == Uuid{}) prepared.apns_id = apns_id_of(run.key, record.line);
  const bool again = fate == Fate::doubtful;
  if (again && options_.policy == Policy::at_most_once) return settle(record, prepared.apns_id);
  if (run.journal) {
    if (auto admitted = run.journal->admit(record.line, record.input); !admitted.ok()) {
      not_sent(record.line);
      own_error(admitted.error());
      return false;
    }
  }
  if (again) ++end_.sent_again;
  const std::uint32_t slot = slots_.take(record.line, record.token, record.id, again,
                                         static_cast<std::uint32_t>(prepared.route));
  TOCSIN_ASSERT(slot != Slots::kNone);
  Push push;
  push.id = slot;
  push.token = Bytes(slots_.token(slot));
  push.part = keep(prepared.part);
  push.payload = keep(prepared.payload);
  push.collapse_id = keep(record.collapse_id);
  push.template_handle = prepared.handle;
  push.credential = parts_.credentials[prepared.route];
  push.priority_class = prepared.priority_class;
  push.token_registered_unix_ms = prepared.registered_unix_ms;
  push.deadline_unix_ns = prepared.deadline_unix_ns;
  if (push.deadline_unix_ns == 0 && options_.deadline_ms != 0)
    push.deadline_unix_ns = wall_ns() + options_.deadline_ms * 1'000'000;
  push.policy = options_.policy;
  push.apns_id = prepared.apns_id;
  batch_.push_back(push);
  return taken();
}

// One more for --limit.
bool PushRun::taken() {
  if (options_.limit != 0 && ++taken_ >= options_.limit) {
    input_done_ = true;
    stop_reading();
    return false;
  }
  return true;
}

// At most once: what may have been sent is not sent again, and its outcome says so.
bool PushRun::settle(const Record& record, const Uuid& apns_id) {
  static constexpr std::string_view kReason = "RunInterrupted";
  static_assert(kReason.size() <= kReasonTextBytes);
  Outcome outcome;
  outcome.end = End::unknown;
  outcome.reason = Reason::other;
  outcome.reason_text_bytes = kReason.size();
  std::memcpy(outcome.reason_text, kReason.data(), kReason.size());
  outcome.apns_id = apns_id;
  outcome.ended_unix_ns = wall_ns();
  ++end_.settled_unknown;
  tally_.add(outcome);
  append_outcome(outcome, {record.line, record.token, record.id, true}, time_, parts_.out.buffer());
  if (auto flushed = parts_.out.flush_if_full(); !flushed.ok()) {
    own_error(flushed.error());
    return false;
  }
  return taken();
}

// Whether the input is still the one that the run began with.
bool PushRun::recognised(const Record& record) {
  if (watch_.seen(record.line, record.input)) return true;
  end_.input_error = fmt::format(
      "{}:{}: is not the line that the run had here before; --resume needs the same input in the same order",
      parts_.input.name(), record.line);
  stop_reading();
  return false;
}

Bytes PushRun::keep(std::string_view text) {
  if (text.empty()) return {};
  TOCSIN_ASSERT(arena_used_ + text.size() <= kArenaBytes);
  char* at = arena_.data() + arena_used_;
  std::memcpy(at, text.data(), text.size());
  arena_used_ += text.size();
  return {at, text.size()};
}

void PushRun::submit() {
  const SubmitResult done = parts_.submitter.submit(std::span(batch_).subspan(next_));
  next_ += done.taken;
  if (done.taken != 0) handed_line_ = slots_.line(static_cast<std::uint32_t>(batch_[next_ - 1].id));
  end_.submitted += done.taken;
  if (pacer_.on()) pacer_.used(done.taken);
  worked_ = worked_ || done.taken != 0;
  if (done.error == Code::ok) return;
  const auto slot = static_cast<std::uint32_t>(batch_[next_].id);
  if (done.error == Code::stopped) {
    own_error({done.error, "the engine has stopped: " + done.message});
    return;
  }
  reject({slots_.line(slot), "line", done.message, slots_.token(slot)});
  slots_.give_back(slot);
  ++next_;
  worked_ = true;
}

void PushRun::collect(std::size_t count) {
  if (count == 0) return;
  worked_ = true;
  std::string& out = parts_.out.buffer();
  for (std::size_t i = 0; i < count; ++i) {
    Outcome& outcome = outcomes_[i];
    const auto slot = static_cast<std::uint32_t>(outcome.id);
    const bool resumed = slots_.resumed(slot);
    if (resumed) outcome.flags |= kPossiblyDoubled;
    tally_.add(outcome);
    ++by_credential_[slots_.credential(slot)][static_cast<std::size_t>(outcome.end)];
    if (parts_.out.is_open()) {
      OutcomeOf of{slots_.line(slot), slots_.token(slot), slots_.id(slot), resumed};
      if (outcome.end == End::superseded)
        of.superseded_by_line = slots_.line_of_same_token(outcome.superseded_by, of.token);
      append_outcome(outcome, of, time_, out);
    }
    if (is_unsent(outcome.end, outcome.reason)) not_sent(slots_.line(slot));
    slots_.give_back(slot);
  }
  if (auto flushed = parts_.out.flush_if_full(); !flushed.ok()) own_error(flushed.error());
}

void PushRun::not_sent(std::uint64_t line) {
  ++unsent_;
  if (first_unsent_ == 0 || line < first_unsent_) first_unsent_ = line;
}

void PushRun::reject(const Reject& reject) {
  if (parts_.record.resumed && parts_.record.rejected.get(reject.line) != 0) return;  // said before
  ++end_.input_rejects;
  if (auto added = parts_.rejects.add(reject); !added.ok()) own_error(added.error());
}

// Five times a second: the progress line, the metrics, and whether the endpoint was given up.
void PushRun::tick() {
  const std::int64_t now = mono_ns();
  keep_outcomes(now);
  if (now - ticked_ns_ < Progress::kTickNs) return;
  const std::int64_t since_ns = now - std::exchange(ticked_ns_, now);
  if (const std::string warning = parts_.input.take_warning(); !warning.empty()) say("warning: " + warning);
  const EngineStats stats = parts_.engine.stats();
  ProgressFacts facts{&tally_, &stats, -1, end_.interrupted, wall_ns()};
  if (const ByteSource& source = parts_.input.source(); source.bytes_total() != 0) {
    facts.share_read = static_cast<double>(source.bytes_read()) / static_cast<double>(source.bytes_total());
  }
  parts_.progress.tick(facts, now);
  if (parts_.metrics != nullptr) parts_.metrics->publish(tally_);
  const std::uint64_t submitted = end_.submitted - std::exchange(ticked_submitted_, end_.submitted);
  bound_reading(stats, submitted, since_ns);
  if (submitted == 0) rest_journal();
  watch_states(stats);
}

// At most once: as far ahead as keeps the streams busy. What waits for its time must not keep others from being read.
void PushRun::bound_reading(const EngineStats& stats, std::uint64_t submitted, std::int64_t since_ns) {
  if (parts_.ahead_max == parts_.pushes_max) return;
  const auto soon = static_cast<std::uint64_t>(static_cast<double>(submitted) * static_cast<double>(kReserveNs) /
                                               static_cast<double>(std::max(since_ns, kReserveNs)));
  const std::uint64_t ahead = std::min<std::uint64_t>(parts_.ahead_max, stats.in_flight + std::max(kReserve, soon));
  open_most_ = static_cast<std::size_t>(std::min<std::uint64_t>(parts_.pushes_max, ahead + stats.delayed));
}

// A run that hands nothing over (an outage, a slow input) has no line in doubt that was not handed over.
void PushRun::rest_journal() {
  if (!parts_.record.journal) return;
  if (auto rested = parts_.record.journal->rest(); !rested.ok()) own_error(rested.error());
}

// What would be read where no credential works would only fail: the rest stays unread, and the run can be continued.
void PushRun::watch_states(const EngineStats& stats) {
  const StateFindings found = states_.look(stats, wall_ns());
  for (const std::string& line : found.lines) say(line);
  if (reading_ && found.given_up) {
    end_.gave_up = true;
    stop_reading();
  }
  if (!found.refused.empty() && end_.refused.empty()) {
    end_.refused = found.refused;
    stop_reading();
  }
  if (!found.alarmed.empty() && end_.brake.empty()) {
    end_.brake = found.alarmed;
    stop_reading();
    drop_pending();
    begin_stop();
  }
}

// Read, but not handed over yet: it stays unsent.
void PushRun::drop_pending() {
  for (; pending(); ++next_) {
    const auto slot = static_cast<std::uint32_t>(batch_[next_].id);
    not_sent(slots_.line(slot));
    slots_.give_back(slot);
  }
}

// Every 50 ms to the system, where the end of this process cannot touch them; every --sync to the disk.
void PushRun::keep_outcomes(std::int64_t now) {
  const std::int64_t sync_ns = options_.sync_ms * 1'000'000;
  if (now - kept_ns_ < (out_sync_ ? std::min(kFlushNs, sync_ns) : kFlushNs)) return;
  note_synced();
  if (auto flushed = parts_.out.flush(); !flushed.ok()) return own_error(flushed.error());
  if (auto flushed = parts_.rejects.flush(); !flushed.ok()) return own_error(flushed.error());
  kept_ns_ = now;
  if (!out_sync_ || out_ticket_ != 0 || now - synced_ns_ < sync_ns || parts_.out.written() == out_bytes_) return;
  out_ticket_ = out_sync_->start();
  out_bytes_ = parts_.out.written();
  synced_ns_ = now;
}

void PushRun::note_synced() {
  if (out_ticket_ == 0) return;
  if (auto failed = out_sync_->error(); !failed.ok()) {
    out_ticket_ = 0;
    return own_error(failed.error());
  }
  if (out_sync_->finished() < out_ticket_) return;
  out_ticket_ = 0;
  if (auto noted = parts_.record.journal->outcomes_synced(out_bytes_); !noted.ok()) own_error(noted.error());
}

// All outcomes are written: how the run ended, and whether anything is left.
void PushRun::close_journal() {
  if (!parts_.record.journal) return;
  RunJournal& journal = *parts_.record.journal;
  SessionEnd end{false, options_.limit, handed_line_, parts_.out.written()};
  if (!end_.own_error.empty()) {
    static_cast<void>(journal.end(end));  // if it cannot be written either, more lines are in doubt, that is all
    return;
  }
  if (out_sync_) {
    if (auto synced = out_sync_->wait(out_sync_->start()); !synced.ok()) return own_error(synced.error());
    if (auto noted = journal.outcomes_synced(end.outcomes); !noted.ok()) return own_error(noted.error());
  }
  end.done = end_.resume_line == 0 && end_.input_error.empty();
  if (auto ended = journal.end(end); !ended.ok()) own_error(ended.error());
}

void PushRun::stop_reading() { reading_ = false; }

void PushRun::stop_for_signal() {
  end_.interrupted = true;
  stop_reading();
  drop_pending();
  say(fmt::format("stopping: waiting up to {} for answers to what is in flight; press Ctrl-C again not to wait",
                  format_seconds(static_cast<double>(options_.grace_ms) / 1000)));
  begin_stop();
}

// On a thread of its own, so that outcomes are read and written while answers are awaited.
void PushRun::begin_stop() {
  if (stopper_.joinable()) return;
  stopper_ = std::thread([this] { parts_.engine.stop(static_cast<int>(options_.grace_ms)); });
}

// A cause of this side (disk full): what is in flight is awaited, the rest is not sent.
void PushRun::own_error(const Error& error) {
  if (!end_.own_error.empty()) return;
  end_.own_error = error.message;
  stop_reading();
  drop_pending();
  if (error.code != Code::stopped) begin_stop();
}

void PushRun::finish() {
  if (stopper_.joinable()) stopper_.join();
  parts_.progress.finish();
  watch_states(parts_.engine.stats());  // what came after the last tick
  if (const std::string warning = parts_.input.take_warning(); !warning.empty()) say("warning: " + warning);
  if (auto flushed = parts_.out.flush(); !flushed.ok()) own_error(flushed.error());
  if (auto flushed = parts_.rejects.finish(); !flushed.ok()) own_error(flushed.error());
  if (tally_.outcomes != end_.submitted + end_.settled_unknown && end_.own_error.empty()) {
    end_.own_error =
        fmt::format("{} pushes were taken but {} outcomes came; please report this", end_.submitted, tally_.outcomes);
  }
  if (tally_.cannot_connect != 0) end_.gave_up = true;
  const std::uint64_t unread = input_done_ ? 0 : last_line_ + 1;
  end_.resume_line = first_unsent_ != 0 ? first_unsent_ : unread;
  if (first_unsent_ != 0) end_.sent_behind_resume = last_line_ + 1 - first_unsent_ - unsent_;
  close_journal();
  if (parts_.metrics != nullptr) parts_.metrics->publish(tally_);
  if (stopper_.joinable()) stopper_.join();  // a last write may have failed and begun it
}

}  // namespace tocsin::cli
