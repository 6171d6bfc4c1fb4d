// SPDX-License-Identifier: Apache-2.0
#include <tocsin/engine.h>

#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "apns/request.h"
#include "engine/impl.h"

namespace tocsin {
namespace {

constexpr std::size_t kDispatchBatch = 1024;

Error from_refusal(const apns::Refusal& refusal) {
  return Error{Code::invalid_argument, std::string(refusal.field) + ": " + refusal.text};
}

tls::Crypto wanted_crypto(TlsCrypto crypto) {
  switch (crypto) {
    case TlsCrypto::ipsec_mb: return tls::Crypto::ipsec_mb;
    case TlsCrypto::wolfssl: return tls::Crypto::wolfssl;
    default: return tls::Crypto::automatic;
  }
}

// Ends of polling loops below: short enough to feel immediate, long enough to cost nothing.
constexpr auto kPollPause = std::chrono::milliseconds(1);

bool passed(std::int64_t deadline_mono_ns) { return io::clock_now().mono_ns >= deadline_mono_ns; }

std::int64_t deadline_in(int timeout_ms) {
  return io::clock_now().mono_ns + std::max(timeout_ms, 0) * base::kMillisecond;
}

}  // namespace

const char* version() noexcept { return TOCSIN_VERSION; }

Engine::Impl::~Impl() {
  shared.resolver.reset();  // its callbacks wake workers, so it goes before them
  shared.dials.close();
  for (auto& worker : workers) worker->join();
  workers.clear();
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  if (impl_ != nullptr) stop();
}

Result<std::unique_ptr<Engine>> Engine::start(EngineOptions options) {
  if (Result<void> checked = engine::check_engine_options(options); !checked) return checked.error();
  auto impl = std::make_unique<Impl>(options);
  engine::Shared& shared = impl->shared;

  auto crypto = tls::choose_crypto(wanted_crypto(options.tls_crypto));
  if (!crypto) return crypto.error();
  shared.crypto = std::move(crypto).value();
  if (options.tls_crypto == TlsCrypto::automatic && !shared.crypto.why.empty()) {
    shared.log(LogLevel::warning, "tls_crypto_fallback",
               "TLS runs on wolfSSL's own code, several times the CPU per push: " + shared.crypto.why);
  }
  shared.run_key = options.seed;
  while (shared.run_key == 0) {
    if (::getrandom(&shared.run_key, sizeof(shared.run_key), 0) != static_cast<ssize_t>(sizeof(shared.run_key))) {
      return Error{Code::io, "no random seed from the operating system; give EngineOptions::seed"};
    }
  }
  if (!shared.outcomes.open()) {
    return Error{Code::io, std::string("eventfd: ") + std::strerror(errno) + "; raise the limit of open files"};
  }
  shared.start_mono_ns = io::clock_now().mono_ns - base::kSecond;
  shared.rate.set(options.rate, io::clock_now().mono_ns);
  shared.statuses.resize(options.shards);
  shared.dials.set_tell([engine = impl.get()](unsigned shard) { engine->workers[shard]->tell_dials(); });
  shared.ask_to_shed = [engine = impl.get()](unsigned asking, bool busy) { engine->ask_to_shed(asking, busy); };
  shared.tell_others = [engine = impl.get()](unsigned from, const engine::News& news) { engine->tell_others(from, news); };
  for (unsigned i = 0; i < options.shards; ++i) {
    auto worker = std::make_unique<engine::Worker>(shared, i);
    if (Result<void> started = worker->start(); !started) return started.error();
    impl->workers.push_back(std::move(worker));
  }
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<TemplateHandle> Engine::add_template(const TemplateOptions& options) {
  if (const apns::Refusal refusal = apns::check_template(options)) return from_refusal(refusal);
  auto config = std::make_shared<dispatch::TemplateConfig>();
  config->options = options;
  if (options.form == PayloadForm::with_part) {
    config->halves = apns::split_payload(options.payload);
  } else {
    config->halves.before = options.payload;
  }
  const auto index = impl_->shared.templates.add(std::move(config));
  if (!index) {
    return Error{Code::capacity, "all " + std::to_string(impl_->shared.options.templates_max) +
                                     " places for templates are taken; raise templates_max"};
  }
  return static_cast<TemplateHandle>(*index + 1);
}

std::size_t Engine::poll(std::span<Outcome> out) {
  engine::Shared& shared = impl_->shared;
  const std::size_t taken = shared.outcomes.take(out);
  shared.inside.give(taken);
  shared.read.fetch_add(taken, std::memory_order_relaxed);
  return taken;
}

std::size_t Engine::wait(std::span<Outcome> out, int timeout_ms) {
  const std::int64_t deadline = deadline_in(timeout_ms);
  for (bool slept = false;; slept = true) {
    if (const std::size_t taken = poll(out); taken != 0 || out.empty()) {
      // Our read took the signal, and there may be more than we do: another thread that waits must not sleep on.
      if (slept && taken == out.size()) impl_->shared.outcomes.wake();
      return taken;
    }
    const std::int64_t left_ns = deadline - io::clock_now().mono_ns;
    if (left_ns <= 0) return 0;
    pollfd entry{impl_->shared.outcomes.fd(), POLLIN, 0};
    ::poll(&entry, 1, static_cast<int>((left_ns + base::kMillisecond - 1) / base::kMillisecond));
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(impl_->shared.outcomes.fd(), &count, sizeof(count));
  }
}

std::size_t Engine::dispatch(const std::function<void(std::span<const Outcome>)>& fn, std::size_t outcomes_max) {
  std::vector<Outcome> batch(std::min(outcomes_max, kDispatchBatch));
  std::size_t total = 0;
  while (total < outcomes_max) {
    const std::size_t taken = poll(std::span(batch).first(std::min(batch.size(), outcomes_max - total)));
    if (taken == 0) break;
    fn(std::span<const Outcome>(batch).first(taken));
    total += taken;
  }
  return total;
}

int Engine::outcome_event_fd() const { return impl_->shared.outcomes.fd(); }

bool Engine::drain(int timeout_ms) {
  impl_->shared.closed_to_pushes.store(true, std::memory_order_seq_cst);
  const std::int64_t deadline = deadline_in(timeout_ms);
  while (!impl_->everything_ended()) {
    if (passed(deadline)) return impl_->everything_ended();
    std::this_thread::sleep_for(kPollPause);
  }
  return true;
}

void Engine::stop(int grace_ms) {
  engine::Shared& shared = impl_->shared;
  const std::int64_t deadline = deadline_in(grace_ms);
  shared.closed_to_pushes.store(true, std::memory_order_seq_cst);
  // A submit() that began before the door closed finishes its enqueue; then nothing new can reach a shard.
  while (shared.submitting.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
  {
    // Not held while waiting: a second call with less grace must be able to bring the end nearer.
    const std::lock_guard lock(impl_->stop_mutex);
    if (impl_->stopped) return;
    const std::lock_guard control(impl_->control_mutex);
    impl_->stopping = true;
    engine::Mail mail;
    mail.kind = dispatch::EventKind::stop;
    mail.deadline_mono_ns = deadline;
    impl_->post_all(mail);
  }
  for (auto& worker : impl_->workers) {
    while (!worker->at_rest()) std::this_thread::sleep_for(kPollPause);
  }
  const std::lock_guard lock(impl_->stop_mutex);
  if (impl_->stopped) return;
  impl_->stopped = true;
  shared.resolver.reset();
  shared.dials.close();
  for (auto& worker : impl_->workers) worker->join();
}

}  // namespace tocsin
