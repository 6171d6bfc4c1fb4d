// SPDX-License-Identifier: Apache-2.0
#include "mockd/worker.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

namespace tocsin::mockd {
namespace {

constexpr std::int64_t kSweepNs = 100 * base::kMillisecond;
constexpr std::int64_t kLingerNs = base::kSecond;
constexpr std::int64_t kHalfClosedNs = 60 * base::kSecond;  // by then the client should have seen our FIN
constexpr unsigned kLogLinesPerSecond = 10;
constexpr int kBacklog = 1024;

void pin(const std::vector<int>& cpus, unsigned index) {
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpus[index % cpus.size()]), &set);
  // Server::start has checked that the CPUs exist; a container that forbids pinning only costs speed.
  (void)::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

// Each worker validates its part.
mock::ProfileOptions part_of(mock::ProfileOptions profile, unsigned workers) {
  profile.validate_first = profile.validate_first / workers + (profile.validate_first % workers != 0 ? 1 : 0);
  return profile;
}

}  // namespace

Worker::Worker(Shared& shared, unsigned index)
    : shared_(shared), index_(index),
      service_(shared.gateway, shared.options.script, shared.options.http2, shared.gateway->seed, {index, shared.options.workers},
               part_of(shared.options.profile, shared.options.workers)),
      connections_(shared.options.connections_max + 1) {}

Worker::~Worker() {
  begin_stop(0);
  join();
}

Result<io::Address> Worker::open(const std::optional<io::Address>& listen) {
  io::DriverOptions options;
  options.sockets_max = connections_.capacity();
  Result<std::unique_ptr<io::Driver>> driver = io::Driver::open(options);
  if (!driver.ok()) return driver.error();
  driver_ = *std::move(driver);
  if (!listen.has_value()) return io::Address{};
  listener_ = connections_.acquire();
  return driver_->listen(listener_.value, *listen, kBacklog);
}

Result<io::Address> Worker::start(const std::optional<io::Address>& listen) {
  std::promise<Result<io::Address>> opened;
  std::future<Result<io::Address>> answer = opened.get_future();
  thread_ = std::thread([this, listen, &opened] {
    const std::string name = "mock-" + std::to_string(index_);
    (void)::pthread_setname_np(::pthread_self(), name.c_str());
    pin(shared_.options.cpus, index_);
    Result<io::Address> result = open(listen);
    const bool good = result.ok();
    if (good) {
      const std::lock_guard lock(mail_mutex_);
      living_ = true;
    }
    opened.set_value(std::move(result));  // `opened` dies with start()
    if (good) run();
    driver_.reset();  // on its own thread
  });
  Result<io::Address> result = answer.get();
  if (!result.ok()) join();
  return result;
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::hand_over(int fd) {
  const std::lock_guard lock(mail_mutex_);
  if (!living_) {
    ::close(fd);
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  mail_.push_back(fd);
  driver_->wake();
}

void Worker::begin_stop(int drain_ms) {
  drain_ms_.store(drain_ms, std::memory_order_relaxed);
  stop_.store(true, std::memory_order_release);
  const std::lock_guard lock(mail_mutex_);
  if (living_) driver_->wake();
}

void Worker::with_ledger(const std::function<void(const mock::Ledger&)>& f) const {
  const std::lock_guard lock(ledger_mutex_);
  f(service_.gateway().ledger());
}

mock::ScriptCounts Worker::faults() const {
  const std::lock_guard lock(ledger_mutex_);
  return service_.counts();
}

mock::Traffic::Flood Worker::flood() const {
  const std::lock_guard lock(ledger_mutex_);
  return service_.traffic().flood;
}

obs::Histogram Worker::batches() const {
  const std::lock_guard lock(ledger_mutex_);
  return batches_;
}

void Worker::run() {
  for (;;) {
    driver_->reap(completions_);
    const base::Now now = io::clock_now();
    adopt_mail();
    step(now);
    completions_.clear();
    if (stop_.load(std::memory_order_acquire) && !draining_) start_draining(now);
    flush_dirty(now);
    sweep(now);
    publish();
    if (draining_ && finished(now)) break;
    driver_->wait(next_deadline(now));
  }
  const std::lock_guard lock(mail_mutex_);
  living_ = false;
  for (const int fd : mail_) ::close(fd);
  shared_.connections.fetch_sub(static_cast<unsigned>(mail_.size()), std::memory_order_relaxed);
  mail_.clear();
}

// What changes the ledger happens here, under its lock, which is taken once.
void Worker::step(base::Now now) {
  const bool due = !timers_.empty() && timers_.front().due_mono_ns <= now.mono_ns;
  if (completions_.empty() && !due) return;
  const std::lock_guard lock(ledger_mutex_);
  const std::uint64_t before = service_.traffic().requests;
  for (const io::Completion& completion : completions_) on_completion(completion, now);
  if (due) run_timers(now);
  const mock::Traffic& traffic = service_.traffic();
  if (const std::uint64_t judged = traffic.requests - before; judged != 0) batches_.record(judged);
  counts_.requests.set(traffic.requests);
  counts_.accepted.set(traffic.accepted);
  counts_.rejected.set(traffic.rejected);
  counts_.validated.set(traffic.requests - traffic.flood.end_streams);
  counts_.connections_handed_over.set(traffic.flood.connections);
}

bool Worker::later(const Timer& a, const Timer& b) { return a.due_mono_ns > b.due_mono_ns; }

void Worker::run_timers(base::Now now) {
  while (!timers_.empty() && timers_.front().due_mono_ns <= now.mono_ns) {
    std::pop_heap(timers_.begin(), timers_.end(), later);
    const Timer timer = timers_.back();
    timers_.pop_back();
    Connection* c = connections_.find(timer.handle);
    if (c == nullptr || c->timer_mono_ns != timer.due_mono_ns) continue;
    c->timer_mono_ns = base::kNever;
    if (c->stage == Stage::closing || c->stage == Stage::hanging) continue;
    if (c->stage == Stage::open) {
      c->conversation->run(now);
      schedule(timer.handle, *c);
    }
    mark_dirty(timer.handle, *c);
  }
}

void Worker::schedule(base::Handle handle, Connection& c) {
  wake_at(handle, c, c.conversation->deadline());
}

void Worker::wake_at(base::Handle handle, Connection& c, std::int64_t due) {
  if (due >= c.timer_mono_ns) return;
  c.timer_mono_ns = due;
  timers_.push_back({due, handle});
  std::push_heap(timers_.begin(), timers_.end(), later);
}

void Worker::on_completion(const io::Completion& completion, base::Now now) {
  const base::Handle handle{completion.handle};
  if (completion.kind == io::CompletionKind::accepted) return on_accepted(completion);
  Connection* c = connections_.find(handle);
  if (c == nullptr) return;
  if (completion.kind == io::CompletionKind::closed) {
    if (handle != listener_) shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    if (c->deadline_mono_ns != base::kNever) --timed_;
    connections_.release(handle);
    return;
  }
  if (c->stage == Stage::closing) return;
  switch (completion.kind) {
    case io::CompletionKind::received: return on_received(handle, *c, completion.bytes, now);
    case io::CompletionKind::sent: return on_sent(handle, *c, completion.result, now);
    case io::CompletionKind::peer_closed:
      note_end(*c, EndedBy::client);
      return close(handle, *c);
    default: return;
  }
}

void Worker::on_accepted(const io::Completion& completion) {
  if (completion.result < 0) {
    return log_bounded(io::clock_now(), "accept_failed", std::string("accept: ") + std::strerror(completion.error));
  }
  const int fd = static_cast<int>(completion.result);
  if (draining_ || shared_.connections.load(std::memory_order_relaxed) >= shared_.options.connections_max) {
    ::close(fd);
    counts_.connections_refused.add(1);
    return;
  }
  shared_.connections.fetch_add(1, std::memory_order_relaxed);
  Worker& target = *shared_.workers[next_worker_++ % shared_.workers.size()];
  if (&target == this) arrived_.push_back(fd);
  else target.hand_over(fd);
}

// Sockets from other workers, and our own of the last turn.
void Worker::adopt_mail() {
  {
    const std::lock_guard lock(mail_mutex_);
    arrived_.insert(arrived_.end(), mail_.begin(), mail_.end());
    mail_.clear();
  }
  if (arrived_.empty()) return;
  const base::Now now = io::clock_now();
  const std::lock_guard lock(ledger_mutex_);  // the service's counts
  for (const int fd : arrived_) adopt(fd, now);
  arrived_.clear();
}

void Worker::adopt(int fd, base::Now now) {
  const mock::ConnectFaults faults = service_.on_connect(now);
  if (faults.accept == mock::AcceptFault::refuse) return refuse(fd);
  Result<std::unique_ptr<tls::Channel>> channel = shared_.tls[static_cast<std::size_t>(faults.tls)]->accept();
  const base::Handle handle = channel.ok() && !draining_ ? connections_.acquire() : base::Handle{};
  if (!handle) {
    ::close(fd);
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    counts_.connections_refused.add(1);
    if (!channel.ok()) log_bounded(now, "channel_failed", channel.error().message);
    return;
  }
  counts_.connections_accepted.add(1);
  Connection& c = connections_[handle];
  c.channel = *std::move(channel);
  c.faults = faults;
  c.opened_unix_ms = now.wall_ns / base::kMillisecond;
  if (faults.accept == mock::AcceptFault::hang) {
    hang(c);
    driver_->adopt(handle.value, fd);
    return;
  }
  // A handshake that is made slow on purpose takes the time that it takes.
  if (faults.slow.bytes == 0 && faults.tls != mock::TlsFault::hang) {
    c.deadline_mono_ns = now.mono_ns + shared_.options.handshake_timeout_ms * base::kMillisecond;
    ++timed_;
  }
  c.channel->start(c.filling);
  driver_->adopt(handle.value, fd);
}

void Worker::mark_dirty(base::Handle handle, Connection& c) {
  if (c.dirty) return;
  c.dirty = true;
  dirty_.push_back(handle);
}

void Worker::flush_dirty(base::Now now) {
  if (dirty_.empty()) return;
  // A script counts what it does, and others read the counts.
  std::unique_lock<std::mutex> lock;
  if (shared_.options.script != nullptr) lock = std::unique_lock(ledger_mutex_);
  // A flush may mark again (an end that was waited for): that is the next round's.
  flushing_.swap(dirty_);
  for (const base::Handle handle : flushing_) {
    Connection* c = connections_.find(handle);
    if (c == nullptr) continue;
    c->dirty = false;
    flush(handle, *c, now);
  }
  flushing_.clear();
}

void Worker::sweep(base::Now now) {
  if (now.mono_ns < next_sweep_ns_ || (timed_ == 0 && !draining_)) return;
  next_sweep_ns_ = now.mono_ns + kSweepNs;
  connections_.for_each([&](base::Handle handle, Connection& c) {
    if (handle == listener_ || c.stage == Stage::closing) return;
    if (now.mono_ns < c.deadline_mono_ns && now.mono_ns < drain_deadline_ns_) return;
    if (c.stage == Stage::handshaking && !draining_) {
      counts_.handshake_timeouts.add(1);
      log_bounded(now, "handshake_timeout", "a client did not finish its TLS handshake in time");
    }
    note_end(c, draining_ ? EndedBy::stop : EndedBy::timeout);
    close(handle, c);
  });
}

void Worker::start_draining(base::Now now) {
  draining_ = true;
  drain_deadline_ns_ = now.mono_ns + drain_ms_.load(std::memory_order_relaxed) * base::kMillisecond;
  if (listener_) driver_->close(listener_.value);
  connections_.for_each([&](base::Handle handle, Connection& c) {
    if (handle == listener_) return;
    if (c.stage == Stage::handshaking || c.stage == Stage::hanging) {
      note_end(c, EndedBy::stop);
      return close(handle, c);
    }
    if (c.stage != Stage::open) return;
    c.conversation->drain();
    mark_dirty(handle, c);
  });
}

bool Worker::finished(base::Now now) {
  if (connections_.in_use() == 0 && driver_->sockets_in_use() == 0) return true;
  return now.mono_ns > drain_deadline_ns_ + base::kSecond;
}

std::int64_t Worker::next_deadline(base::Now now) const {
  std::int64_t deadline = timers_.empty() ? base::kNever : timers_.front().due_mono_ns;
  if (timed_ != 0 || draining_) deadline = std::min(deadline, std::max(next_sweep_ns_, now.mono_ns));
  if (draining_) deadline = std::min(deadline, now.mono_ns + kSweepNs);
  if (!dirty_.empty() || !arrived_.empty()) deadline = now.mono_ns;
  return deadline;
}

void Worker::publish() {
  counts_.answers_waiting.set(service_.traffic().answers_waiting);
  counts_.connections_open.set(connections_.in_use() - (listener_ && connections_.find(listener_) != nullptr ? 1 : 0));
  counts_.enters.set(driver_->stats().enters);
  counts_.buffers_exhausted.set(driver_->stats().buffers_exhausted);
}

void Worker::log(LogLevel level, std::string_view event, const std::string& text) {
  if (shared_.options.log) shared_.options.log({level, event, text});
}

// Strangers can cause these lines, so there is a bound to them.
void Worker::log_bounded(base::Now now, std::string_view event, const std::string& text) {
  if (now.mono_ns >= log_window_ns_) {
    log_window_ns_ = now.mono_ns + base::kSecond;
    log_window_lines_ = 0;
  }
  if (++log_window_lines_ <= kLogLinesPerSecond) log(LogLevel::warning, event, text);
}

void Worker::note_end(Connection& c, EndedBy by) {
  if (c.ended) return;
  c.ended = true;
  ConnectionEnd end;
  end.connection = c.faults.connection;
  end.streams_open = c.conversation != nullptr ? c.conversation->open_streams() : 0;
  end.opened_unix_ms = c.opened_unix_ms;
  end.ended_unix_ms = io::clock_now().wall_ns / base::kMillisecond;
  end.by = by;
  ends_.add(end);
}

void Worker::end(base::Handle handle, Connection& c) {
  c.stage = Stage::ending;
  mark_dirty(handle, c);
}

void Worker::close(base::Handle handle, Connection& c, bool reset) {
  c.stage = Stage::closing;
  driver_->close(handle.value, reset);
}

void Worker::on_sent(base::Handle handle, Connection& c, std::int64_t result, base::Now now) {
  c.sending = false;
  if (result < 0) {
    note_end(c, EndedBy::client);
    return close(handle, c);
  }
  counts_.bytes_sent.add(static_cast<std::uint64_t>(result));
  c.flying.consume(static_cast<std::size_t>(result));
  const mock::Pace pace = c.conversation != nullptr ? c.conversation->pace() : c.faults.slow;
  if (pace.bytes != 0) c.pause_mono_ns = now.mono_ns + pace.interval_ns;
  if (!c.flying.empty() && pace.bytes == 0) return send(handle, c);
  if (!c.flying.empty()) return mark_dirty(handle, c);
  if (c.stage == Stage::lingering) driver_->shutdown_write(handle.value);
  else mark_dirty(handle, c);
}

void Worker::send(base::Handle handle, Connection& c) {
  c.sending = true;
  counts_.sends.add(1);
  const mock::Pace pace = c.conversation != nullptr ? c.conversation->pace() : c.faults.slow;
  const base::ByteView bytes = c.flying.readable();
  driver_->send(handle.value, pace.bytes == 0 ? bytes : bytes.first(std::min<std::size_t>(bytes.size(), pace.bytes)));
}

// Full records, or a record for each answer.
void Worker::encrypt(Connection& c) {
  base::ByteView rest = plain_.readable();
  while (!rest.empty()) {
    const std::size_t bytes = c.conversation->separate_records() ? h2::first_answer(rest) : rest.size();
    c.channel->send(rest.first(bytes), c.filling);
    rest = rest.subspan(bytes);
  }
}

// One pull from the session, one TLS write, one send: whatever the turn's requests were.
void Worker::flush(base::Handle handle, Connection& c, base::Now now) {
  if (c.stage == Stage::closing || c.stage == Stage::hanging) return;
  if (c.stage == Stage::lingering && c.flying.empty()) return;
  if (paused(handle, c, now)) return;
  if (c.conversation != nullptr && c.stage != Stage::lingering && c.channel->state() == tls::State::open &&
      c.filling.size() < shared_.options.output_bytes_max) {
    plain_.clear();
    c.conversation->write(plain_, now);
    if (!plain_.empty()) encrypt(c);
    if (c.stage == Stage::open) obey_ending(handle, c);
    if (c.stage == Stage::closing || c.stage == Stage::hanging) return;
  }
  if (c.sending) return;
  if (c.flying.empty()) {
    c.flying.swap(c.filling);
    if (c.flying.empty() && c.stage == Stage::ending) {
      if (!c.half_close) c.channel->close(c.flying);
      c.stage = Stage::lingering;
      if (c.deadline_mono_ns == base::kNever) ++timed_;
      c.deadline_mono_ns = now.mono_ns + (c.half_close ? kHalfClosedNs : kLingerNs);
    }
  }
  if (!c.flying.empty()) send(handle, c);
  else if (c.stage == Stage::lingering) driver_->shutdown_write(handle.value);
}

}  // namespace tocsin::mockd
