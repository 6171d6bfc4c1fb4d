// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/load.h"

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "cli/bench/usage.h"
#include "cli/signals.h"

namespace tocsin::cli::bench {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kLookNs = 100 * kMs;
constexpr std::int64_t kIntervalNs = 100 * kMs;
constexpr std::int64_t kFillMs = 180'000;
constexpr std::int64_t kCoolDownMs = 60'000;
constexpr int kIdleMs = 5;
// The open loop hands over what is due in steps of this length: its share of the latency, and what keeps the producer's own CPU low.
constexpr std::int64_t kTickNs = 100'000;
// Read at a time: what stays in the nearest cache until it has been looked at.
constexpr std::size_t kOutcomes = 256;
constexpr std::uint64_t kFillInsideMax = 4'000'000;
constexpr std::uint64_t kFillWaiting = 4096;

std::uint64_t fill_inside(const RunSpec& spec) {
  return std::max(inside_of(spec), std::min(kFillInsideMax, std::uint64_t{2} * spec.connections * spec.streams));
}

double us(std::uint64_t ns) { return static_cast<double>(ns) / 1000; }

}  // namespace

// What the clocks and counters say at one time.
struct Load::Moment {
  std::int64_t mono_ns = 0;
  OwnCpu own;
  std::int64_t producer_ns = 0, mock_ns = 0, machine_ns = 0;
  Allocations allocations;
};

Result<std::unique_ptr<Load>> Load::start(const RunSpec& spec, MockChild& mock, const std::string& directory,
                                          const AllocationCounter& allocations) {
  Result<EngineSetup> setup = set_up_engine(spec, mock, directory, fill_inside(spec));
  if (!setup.ok()) return setup.error();
  std::unique_ptr<Load> load(new Load(spec, mock, std::move(setup).value(), allocations));
  Result<Submitter> submitter = load->setup_.engine->submitter();
  if (!submitter.ok()) return submitter.error();
  load->submitter_ = std::move(submitter).value();
  ::prctl(PR_SET_TIMERSLACK, 1000);  // the default of 50 us would be half of the open loop's latency
  return load;
}

Load::Load(const RunSpec& spec, MockChild& mock, EngineSetup setup, const AllocationCounter& allocations)
    : spec_(spec),
      mock_(mock),
      setup_(std::move(setup)),
      allocations_(allocations),
      maker_(setup_),
      outcomes_(kOutcomes),
      open_(spec.rate != 0),
      latency_(std::make_unique<obs::Histogram>()),
      interval_latency_(std::make_unique<obs::Histogram>()) {
  series_.reserve(static_cast<std::size_t>(spec.main_ms / (kIntervalNs / kMs)) + 16);
}

Load::Moment Load::moment() const {
  Moment now;
  now.mono_ns = mono_ns();
  now.own = own_cpu();
  now.producer_ns = thread_cpu_ns();
  now.mock_ns = process_cpu_ns(mock_.pid());
  now.machine_ns = machine_busy_ns();
  if (allocations_.total != nullptr) now.allocations = allocations_.total();
  return now;
}

Result<void> Load::look_around(std::int64_t now_mono_ns) {
  if (interrupted()) return Error{Code::stopped, "interrupted"};
  if (now_mono_ns - looked_ns_ < kLookNs) return {};
  looked_ns_ = now_mono_ns;
  return mock_.check();
}

// Hands over at most `most` pushes. False: none was taken.
bool Load::submit_some(std::uint64_t most, std::int64_t now_mono_ns, Result<void>& failed) {
  if (batch_.empty()) {
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(most, PushMaker::kBatch));
    if (count == 0) return false;
    batch_ = maker_.make(made_, count, wall_ns());
    made_ += count;
  }
  const SubmitResult said = submitter_->submit(batch_);
  if (said.error != Code::ok) {
    failed = Error{said.error, "a push was refused: " + said.message};
    return false;
  }
  if (measuring_ && open_ && said.taken != 0 && now_mono_ns - intended_ns(submitted_) > kLateNs) {
    for (std::uint64_t n = submitted_; n < submitted_ + said.taken && now_mono_ns - intended_ns(n) > kLateNs; ++n) ++late_;
  }
  submitted_ += said.taken;
  batch_ = batch_.subspan(said.taken);
  return said.taken != 0;
}

std::size_t Load::collect(std::size_t got, std::int64_t now_mono_ns) {
  // What was submitted together and ended together took the same time: it is recorded as that many. Likewise for the ends.
  std::int64_t latency_ns = -1;
  std::uint64_t alike = 0;
  std::uint64_t accepted = 0;
  const auto keep = [&] {
    if (latency_ns >= 0) interval_latency_->record(static_cast<std::uint64_t>(latency_ns), alike);
  };
  for (const Outcome& outcome : std::span<const Outcome>(outcomes_).first(got)) {
    if (outcome.end == End::accepted) [[likely]] {
      ++accepted;
    } else {
      note_failure(outcome);
    }
    std::int64_t its_ns = -1;
    if (!open_) {
      if (measuring_) its_ns = outcome.ended_unix_ns - outcome.submitted_unix_ns;
    } else if (outcome.id >= main_first_ && outcome.id < main_last_) {
      its_ns = now_mono_ns - intended_ns(outcome.id);
    }
    if (its_ns != latency_ns) {
      keep();
      latency_ns = its_ns;
      alike = 0;
    }
    ++alike;
  }
  keep();
  ends_[static_cast<std::size_t>(End::accepted)] += accepted;
  ended_ += got;
  if (measuring_) {
    main_ended_ += got;
    interval_ended_ += got;
  }
  return got;
}

void Load::note_failure(const Outcome& outcome) {
  ++ends_[static_cast<std::size_t>(outcome.end)];
  if (!first_failure_.empty()) return;
  first_failure_ = fmt::format("{}: {}{}", end_name(outcome.end), outcome.status == 0 ? "" : fmt::format("{} ", outcome.status),
                               outcome.reason_view());
}

// Every value is recorded once, in the interval's histogram, and reaches the whole one here.
void Load::keep_interval() {
  latency_->merge(*interval_latency_);
  interval_latency_->clear();
}

void Load::close_interval(std::int64_t now_mono_ns) {
  if (!measuring_ || now_mono_ns - interval_ns_ < kIntervalNs) return;
  if (series_.size() < series_.capacity()) {  // no allocation in the main phase
    const double seconds = static_cast<double>(now_mono_ns - interval_ns_) / 1e9;
    const obs::Histogram& h = *interval_latency_;
    series_.push_back({static_cast<double>(now_mono_ns - main_start_ns_) / 1e9, static_cast<double>(interval_ended_) / seconds,
                       us(h.percentile(50)), us(h.percentile(99)), us(h.max())});
  }
  keep_interval();
  interval_ended_ = 0;
  interval_ns_ = now_mono_ns;
}

Result<void> Load::run_closed(std::int64_t until_mono_ns, std::uint64_t inside_max) {
  Result<void> failed;
  for (;;) {
    const std::int64_t now = mono_ns();
    if (now >= until_mono_ns) return {};
    close_interval(now);
    bool worked = false;
    while (inside() + PushMaker::kBatch <= inside_max && submit_some(PushMaker::kBatch, now, failed)) worked = true;
    if (!failed.ok()) return failed;
    worked |= collect(setup_.engine->poll(outcomes_), now) != 0;
    if (Result<void> looked = look_around(now); !looked.ok()) return looked;
    if (!worked) collect(setup_.engine->wait(outcomes_, kIdleMs), mono_ns());
  }
}

Result<void> Load::run_open(std::int64_t until_mono_ns) {
  Result<void> failed;
  const int fd = setup_.engine->outcome_event_fd();
  std::int64_t next_ns = mono_ns();
  for (;;) {
    std::int64_t now = mono_ns();
    const bool over = now >= until_mono_ns;
    if (now >= next_ns || over) {
      const std::int64_t at = std::min(now, until_mono_ns);
      const std::uint64_t due = open_first_ + 1 + static_cast<std::uint64_t>(static_cast<double>(at - open_start_ns_) / open_period_ns_);
      while (submitted_ < due && submit_some(due - submitted_, now, failed)) {
      }
      if (!failed.ok()) return failed;
      next_ns = std::max(now + kTickNs, intended_ns(submitted_));
    }
    if (over) return {};
    close_interval(now);
    std::size_t got = collect(setup_.engine->poll(outcomes_), mono_ns());
    if (Result<void> looked = look_around(now); !looked.ok()) return looked;
    if (got == outcomes_.size()) continue;
    now = mono_ns();
    const std::int64_t left_ns = std::min({next_ns, until_mono_ns, now + kIdleMs * kMs}) - now;
    if (left_ns <= 0) continue;
    const timespec timeout{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
    pollfd wait{fd, POLLIN, 0};
    if (::ppoll(&wait, 1, &timeout, nullptr) > 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t read = ::read(fd, &count, sizeof(count));
      // The descriptor speaks again only after an empty poll.
      do {
        got = collect(setup_.engine->poll(outcomes_), mono_ns());
      } while (got == outcomes_.size());
      if (got != 0) collect(setup_.engine->poll(outcomes_), mono_ns());
    }
  }
}

Result<void> Load::fill() {
  const std::int64_t end = mono_ns() + kFillMs * kMs;
  for (;;) {
    const EngineStats stats = setup_.engine->stats();
    const CredentialStats& credential = stats.credentials.front();
    const unsigned open = credential.connections_open;
    if (open >= spec_.connections && ended_ >= spec_.warmup_pushes) break;
    // Goes on with what has opened: judge() says so.
    if (mono_ns() > end && open != 0 && ended_ != 0) break;
    if (mono_ns() > end) {
      return Error{Code::io, fmt::format("{} of {} connections opened and {} of {} warm-up pushes ended in {} s{}", open, spec_.connections,
                                         ended_, spec_.warmup_pushes, kFillMs / 1000,
                                         credential.last_error.empty() ? "" : "; the last error: " + credential.last_error)};
    }
    if (ends_[static_cast<std::size_t>(End::accepted)] != ended_) {
      return Error{Code::io, "a push of the warm-up was not accepted: " + first_failure_};
    }
    // Each stream taken and some pushes waiting is what makes the engine open another connection; more would only make its turns, and
    // with them the handshakes, longer.
    const std::uint64_t inside_max = std::min(fill_inside(spec_), std::uint64_t{open} * spec_.streams + kFillWaiting);
    if (Result<void> ran = run_closed(mono_ns() + 20 * kMs, inside_max); !ran.ok()) return ran;
  }
  return {};
}

unsigned Load::connections_open() const { return setup_.engine->stats().credentials.front().connections_open; }

Result<void> Load::settle() {
  for (const std::int64_t end = mono_ns() + kCoolDownMs * kMs; inside() != 0;) {
    if (mono_ns() > end) return Error{Code::io, fmt::format("{} pushes of the warm-up had no answer in {} s", inside(), kCoolDownMs / 1000)};
    collect(setup_.engine->wait(outcomes_, kIdleMs), mono_ns());
    if (Result<void> looked = look_around(mono_ns()); !looked.ok()) return looked;
  }
  return {};
}

Result<void> Load::warm_up() {
  const std::int64_t length_ns = spec_.warmup_ms * kMs;
  if (!open_) return run_closed(mono_ns() + length_ns, inside_of(spec_));
  // The open loop begins with nothing under way.
  if (Result<void> settled = settle(); !settled.ok()) return settled;
  batch_ = {};
  made_ = open_first_ = submitted_;
  open_period_ns_ = 1e9 / spec_.rate;
  open_start_ns_ = mono_ns();
  return run_open(open_start_ns_ + length_ns);
}

Result<void> Load::main_phase(RunResult& out) {
  const EngineStats before = setup_.engine->stats();
  Moment first = moment();
  main_start_ns_ = interval_ns_ = first.mono_ns;
  const std::int64_t end_ns = first.mono_ns + spec_.main_ms * kMs;
  const auto due_at = [this](std::int64_t at) {
    return open_first_ + static_cast<std::uint64_t>(std::ceil(static_cast<double>(at - open_start_ns_) / open_period_ns_));
  };
  if (open_) {
    main_first_ = due_at(main_start_ns_);
    main_last_ = due_at(end_ns);
  }
  measuring_ = true;
  if (allocations_.count != nullptr) allocations_.count(true);
  const Result<void> ran = open_ ? run_open(end_ns) : run_closed(end_ns, inside_of(spec_));
  if (allocations_.count != nullptr) allocations_.count(false);
  const Moment last = moment();
  measuring_ = false;
  if (!ran.ok()) return ran;
  const EngineStats after = setup_.engine->stats();
  if (main_ended_ == 0) return Error{Code::io, "no push ended in the main phase; make it longer"};

  const double pushes = static_cast<double>(main_ended_);
  const auto per_push = [pushes](auto now, auto then) { return static_cast<double>(now - then) / pushes; };
  out.pushes = main_ended_;
  out.seconds = static_cast<double>(last.mono_ns - first.mono_ns) / 1e9;
  out.pushes_per_second = pushes / out.seconds;
  out.client_user_ns = per_push(last.own.user_ns, first.own.user_ns);
  out.client_system_ns = per_push(last.own.system_ns, first.own.system_ns);
  out.client_cpu_ns = out.client_user_ns + out.client_system_ns;
  out.producer_cpu_ns = per_push(last.producer_ns, first.producer_ns);
  out.mock_cpu_ns = per_push(last.mock_ns, first.mock_ns);
  out.sum_cpu_ns = out.client_cpu_ns + out.mock_cpu_ns;
  out.machine_cpu_ns = per_push(last.machine_ns, first.machine_ns);
  if (out.machine_cpu_ns > 0) out.unattributed_share = std::max(0.0, 1 - out.sum_cpu_ns / out.machine_cpu_ns);
  out.mock_busy = out.mock_cpu_ns * pushes / (out.seconds * 1e9 * spec_.mock_workers);
  for (std::size_t i = 0; i < kStages; ++i) out.stage_cpu_ns[i] = per_push(after.stage_cpu_ns[i], before.stage_cpu_ns[i]);
  out.enters = per_push(after.io_enters, before.io_enters);
  out.writes = per_push(after.records_sent, before.records_sent);
  out.bytes_sent = per_push(after.bytes_sent, before.bytes_sent);
  out.bytes_received = per_push(after.bytes_received, before.bytes_received);
  if (allocations_.total != nullptr) {
    out.allocations = per_push(last.allocations.calls, first.allocations.calls);
    out.allocated_bytes = per_push(last.allocations.bytes, first.allocations.bytes);
  }
  if (open_) {
    out.intended = main_last_ - main_first_;
    out.not_started = main_last_ - std::clamp(submitted_, main_first_, main_last_);
    out.late = late_;
  }
  out.connections_open = after.credentials.front().connections_open;
  out.crypto = after.tls_crypto;
  out.rss_bytes = rss_bytes();
  return {};
}

Result<void> Load::cool_down(RunResult& out) {
  for (const std::int64_t end = mono_ns() + kCoolDownMs * kMs; inside() != 0 && mono_ns() < end;) {
    collect(setup_.engine->wait(outcomes_, kIdleMs), mono_ns());
    if (Result<void> looked = look_around(mono_ns()); !looked.ok()) return looked;
  }
  out.possibly_doubled = setup_.engine->stats().possibly_doubled;
  submitter_.reset();
  setup_.engine->stop(0);
  out.submitted = submitted_;
  out.ended = ended_;
  out.ends = ends_;
  out.first_failure = first_failure_;
  keep_interval();  // what ended after the last interval was closed
  out.latency = std::move(latency_);
  out.series = std::move(series_);
  return {};
}

}  // namespace tocsin::cli::bench
