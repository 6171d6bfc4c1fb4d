// SPDX-License-Identifier: Apache-2.0
#include "engine/worker.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assertion.h"

namespace tocsin::engine {
namespace {

// Pushes come out of the inbox in pieces that stay in the first-level cache until the shard has them. So many pieces a step are
// enough to fill every free stream of a few connections, and keep socket events waiting for some tenths of a millisecond.
constexpr std::size_t kPiece = 128;
constexpr std::size_t kPiecesMax = 32;

std::string errno_text(int error) {
  char buffer[128];
  return std::string(strerror_r(error, buffer, sizeof(buffer))) + " (errno " + std::to_string(error) + ")";
}

}  // namespace

Worker::Worker(Shared& shared, unsigned number)
    : shared_(shared),
      number_(number),
      inbox_(std::min<std::size_t>(shared.options.shard_queue_pushes_max, 4096)),
      credits_(shared.options.shard_queue_pushes_max),
      byte_credits_(shared.options.shard_queue_bytes_max) {}

Worker::~Worker() { join(); }

Result<void> Worker::start() {
  std::promise<Result<void>> started;
  auto answer = started.get_future();
  thread_ = std::thread([this, &started] { run(started); });
  Result<void> result = answer.get();
  if (!result) thread_.join();
  return result;
}

void Worker::join() {
  if (!thread_.joinable()) return;
  quit_.store(true, std::memory_order_release);
  wake();
  // The thread ends its driver itself (a ring belongs to its thread), and not while wake() still uses it.
  may_end_.store(true, std::memory_order_release);
  thread_.join();
}

void Worker::post(Mail mail) {
  bulk_waiting_.fetch_add(mail.bulk(), std::memory_order_acq_rel);
  {
    const std::lock_guard lock(control_mutex_);
    mail_.push_back(std::move(mail));
    control_pending_.store(true, std::memory_order_release);
  }
  wake();
}

void Worker::run(std::promise<Result<void>>& started) {
  const EngineOptions& options = shared_.options;
  pthread_setname_np(pthread_self(), ("tocsin-" + std::to_string(number_)).c_str());
  if (!options.cpus.empty()) {
    const int cpu = options.cpus[number_ % options.cpus.size()];
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (const int error = pthread_setaffinity_np(pthread_self(), sizeof(set), &set); error != 0) {
      started.set_value(Error{Code::invalid_argument,
                              "cpus: cannot pin a shard to CPU " + std::to_string(cpu) + ": " + errno_text(error)});
      return;
    }
  }
  io::DriverOptions driver_options;
  driver_options.sockets_max = options.connections_max;
  auto driver = io::Driver::open(driver_options);
  if (!driver) {
    started.set_value(driver.error());
    return;
  }
  driver_ = std::move(driver).value();

  dispatch::ShardOptions shard_options;
  shard_options.pushes_max = static_cast<std::uint32_t>(options.shard_queue_pushes_max);
  shard_options.connections_max = options.connections_max;
  shard_options.dials_max = options.dials_max;
  shard_options.credentials_max = options.credentials_max;
  shard_options.templates_max = options.templates_max;
  shard_options.groups_max = options.groups_max;
  shard_options.dead_tokens_max = options.dead_tokens_max;
  shard_options.paced = options.rate != 0;
  shard_options.start_mono_ns = shared_.start_mono_ns;
  shard_options.codec = options.codec;
  shard_options.attempts_max = options.attempts_max;
  shard_options.retry_later_ns = std::int64_t{options.retry_later_ms} * 1'000'000;
  shard_options.seed = base::mix64(shared_.run_key + number_);
  shard_ = std::make_unique<dispatch::Shard>(shard_options);
  prng_ = base::Prng(~shard_options.seed);
  slots_.resize(options.connections_max);
  pushes_.resize(kPiece);
  inbox_token_ = std::make_unique<moodycamel::ConsumerToken>(inbox_);
  outcomes_ = std::make_unique<Outcomes::Source>(shared_.outcomes);
  started.set_value(Result<void>{});
  loop();
  while (!may_end_.load(std::memory_order_acquire)) std::this_thread::yield();
  driver_.reset();
  shard_.reset();
}

void Worker::loop() {
  bool more = true;
  stages_ = StageClock(shared_.options.stage_clocks);
  while (!quit_.load(std::memory_order_acquire)) {
    if (more) {
      driver_->submit();
    } else {
      driver_->wait(output_.deadline_mono_ns);
    }
    stages_.lap(Stage::wait);
    events_.clear();
    kept_.clear();
    events_.swap(later_);
    kept_.swap(later_kept_);
    completions_.clear();
    driver_->reap(completions_);
    for (const io::Completion& completion : completions_) translate(completion);
    stages_.lap(Stage::reap);
    const bool stop_taken_before = stop_taken_;
    collect_inbox();
    collect_mail();
    collect_resolved();
    const bool told = collect_dial_word();
    stages_.lap(Stage::inbox);
    base::Now now = io::clock_now();
    shard_->begin(now, output_);
    shard_->handle(now, events_);
    std::size_t taken = push_count_;
    shard_->take(std::span(pushes_).first(push_count_));
    stages_.lap(Stage::step);
    for (std::size_t pieces = 1; push_count_ == kPiece && pieces < kPiecesMax; ++pieces) {
      events_.clear();
      collect_inbox();
      collect_mail();
      stages_.lap(Stage::inbox);
      now = io::clock_now();  // behind what was submitted until now
      shard_->handle(now, events_);
      shard_->take(std::span(pushes_).first(push_count_));
      stages_.lap(Stage::step);
      taken += push_count_;
    }
    shard_->finish();
    stages_.lap(Stage::step);
    for (const dispatch::Action& action : output_.actions) perform(action);
    for (const dispatch::Want& want : output_.wants) grant(want, now.mono_ns);
    if (told) shared_.dials.pass_on(number_);
    if (output_.dials_wait) await_dials();
    stages_.lap(Stage::perform);
    publish();
    deliver();
    stages_.lap(Stage::deliver);
    // The shard is at rest; this worker is once its inbox, looked at after the stop was taken, held nothing more either.
    if (output_.at_rest && stop_taken_before && taken == 0) at_rest_.store(true, std::memory_order_release);
    // Sleep only if nothing is known to wait: a full piece of the inbox, raised events, mail that waits for a look at the inbox, a
    // deadline that has come.
    more = push_count_ == kPiece || !later_.empty() || !cancels_.empty() || output_.deadline_mono_ns <= now.mono_ns ||
           (output_.at_rest && !at_rest());
  }
}

void Worker::collect_inbox() {
  push_count_ = inbox_.try_dequeue_bulk(*inbox_token_, pushes_.data(), kPiece);
}

// After the inbox: whatever a push names or was told before it was submitted has been posted by now.
void Worker::collect_mail() {
  if (!cancels_.empty() && push_count_ < kPiece) {
    // What was submitted before them is in the shard after this step.
    for (const Mail& mail : cancels_) {
      add_later(mail.kind).ids = *mail.ids;
      later_kept_.push_back(mail.ids);
      bulk_waiting_.fetch_sub(mail.bulk(), std::memory_order_acq_rel);
    }
    cancels_.clear();
  }
  taken_mail_.clear();
  if (control_pending_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(control_mutex_);
    taken_mail_.swap(mail_);
    control_pending_.store(!resolved_.empty(), std::memory_order_relaxed);
  }
  // Before the mail, which may speak of them.
  for (const std::uint32_t size = shared_.templates.size(); templates_known_ < size; ++templates_known_) {
    dispatch::Event& event = add_event(dispatch::EventKind::template_added);
    event.index = templates_known_;
    event.template_config = shared_.templates[templates_known_];
  }
  for (const std::uint32_t size = shared_.groups.size(); groups_known_ < size; ++groups_known_) {
    dispatch::Event& event = add_event(dispatch::EventKind::group_added);
    event.index = groups_known_;
    event.result = shared_.groups[groups_known_]->rate.paced() ? 1 : 0;
  }
  for (Mail& mail : taken_mail_) {
    if (mail.kind == dispatch::EventKind::cancel) {
      cancels_.push_back(std::move(mail));
    } else {
      hand_over(mail);
    }
  }
}

void Worker::hand_over(const Mail& mail) {
  if (mail.version != nullptr && known_.size() <= mail.index) known_.resize(mail.index + 1);
  const bool news = mail.kind == dispatch::EventKind::credential_stopped || mail.kind == dispatch::EventKind::credential_alarmed;
  // Found before the owner's last word on it: says nothing about what is there now.
  if (news && mail.word != known_[mail.index].word) return;
  dispatch::Event& event = add_event(mail.kind);
  event.pace = mail.pace;
  event.index = mail.index;
  event.result = mail.result;
  event.deadline_mono_ns = mail.deadline_mono_ns;
  event.reason = mail.reason;
  if (news) event.text = keep(mail.text);
  if (mail.word != 0) known_[mail.index].word = mail.word;
  if (mail.version != nullptr) {
    known_[mail.index].version = mail.version;
    event.credential = mail.version->per_shard[number_];
  }
  if (mail.dead != nullptr) {
    event.dead = mail.dead->tokens;
    kept_.push_back(mail.dead);
    bulk_waiting_.fetch_sub(mail.bulk(), std::memory_order_acq_rel);
  }
  if (mail.kind == dispatch::EventKind::credential_removed) known_[mail.index].version.reset();
  if (mail.kind == dispatch::EventKind::stop) stop_taken_ = true;
}

void Worker::collect_resolved() {
  std::vector<Resolved> resolved;
  if (!control_pending_.load(std::memory_order_acquire)) return;
  {
    const std::lock_guard lock(control_mutex_);
    resolved.swap(resolved_);
    control_pending_.store(!mail_.empty(), std::memory_order_relaxed);
  }
  for (Resolved& answer : resolved) {
    const Slot& slot = slots_[base::Handle{answer.handle}.index()];
    if (slot.state != SlotState::resolving || slot.handle != answer.handle) continue;  // given up meanwhile
    if (answer.addresses.empty()) {
      const std::string& text = keep(std::move(answer.error));
      add_event(dispatch::EventKind::dial_failed, answer.handle).text = text;
      continue;
    }
    const auto& addresses = keep(std::vector<base::Address>(answer.addresses.begin(), answer.addresses.end()));
    add_event(dispatch::EventKind::resolved, answer.handle).addresses = addresses;
  }
}

dispatch::Event& Worker::add_event(dispatch::EventKind kind, std::uint64_t handle) {
  dispatch::Event& event = events_.emplace_back();
  event.kind = kind;
  event.handle = handle;
  return event;
}

dispatch::Event& Worker::add_later(dispatch::EventKind kind, std::uint64_t handle) {
  dispatch::Event& event = later_.emplace_back();
  event.kind = kind;
  event.handle = handle;
  return event;
}

void Worker::translate(const io::Completion& completion) {
  using Kind = io::CompletionKind;
  Slot& slot = slots_[base::Handle{completion.handle}.index()];
  if (slot.handle != completion.handle) return;
  const std::string& target = slot.target;
  switch (completion.kind) {
    case Kind::dialled:
      if (completion.error == 0) {
        add_event(dispatch::EventKind::dialled, completion.handle);
      } else {
        const std::string address = slot.address.text();
        const std::string_view text = keep("cannot connect to " + target + (address == target ? "" : " (" + address + ")") +
                                           ": " + errno_text(completion.error));
        add_event(dispatch::EventKind::dial_failed, completion.handle).text = text;
      }
      break;
    case Kind::received:
      add_event(dispatch::EventKind::received, completion.handle).bytes = completion.bytes;
      break;
    case Kind::peer_closed: {
      const std::string_view text =
          keep(completion.error == 0 ? "the connection to " + target + " was closed by the peer"
                                     : "the connection to " + target + " broke: " + errno_text(completion.error));
      add_event(dispatch::EventKind::peer_closed, completion.handle).text = text;
      break;
    }
    case Kind::sent: {
      const std::string_view text =
          completion.result < 0 ? keep("sending to " + target + " failed: " +
                                       errno_text(static_cast<int>(-completion.result)))
                                : std::string_view{};
      dispatch::Event& event = add_event(dispatch::EventKind::sent, completion.handle);
      event.result = completion.result;
      event.text = text;
      break;
    }
    case Kind::closed:
      slot = Slot{};
      shared_.connections.give(1);
      add_event(dispatch::EventKind::closed, completion.handle);
      break;
    case Kind::accepted: break;  // shards do not listen
  }
}

void Worker::perform(const dispatch::Action& action) {
  switch (action.kind) {
    case dispatch::ActionKind::resolve: perform_resolve(action); break;
    case dispatch::ActionKind::dial: perform_dial(action); break;
    case dispatch::ActionKind::dial_settled: shared_.dials.give(); break;
    case dispatch::ActionKind::send: driver_->send(action.handle, action.bytes); break;
    case dispatch::ActionKind::close: perform_close(action); break;
    case dispatch::ActionKind::need_token: make_token(action); break;
  }
}

void Worker::perform_resolve(const dispatch::Action& action) {
  const bool may_dial = shared_.dials.take(number_);
  const std::int64_t now = io::clock_now().mono_ns;
  const std::int64_t since = action.waiting_since_mono_ns;
  const std::uint64_t who = std::uint64_t{number_} << 32 | action.credential;
  const bool may_connect = may_dial && shared_.connections.take(who, since, now);
  if (!may_connect) {
    if (may_dial) shared_.dials.give();
    add_later(dispatch::EventKind::dial_deferred, action.handle).result = may_dial ? 1 : 0;
    if (may_dial && action.needed) shared_.ask_to_shed(number_, since != base::kNever && now - since >= dispatch::kPlaceWaitNs);
    return;
  }
  Slot& slot = slots_[base::Handle{action.handle}.index()];
  slot = Slot{};
  slot.state = SlotState::resolving;
  slot.handle = action.handle;
  const bool colons = action.name.find(':') != std::string_view::npos;
  slot.target.append(colons ? "[" : "").append(action.name).append(colons ? "]:" : ":").append(std::to_string(action.port));
  // `this` outlives the resolver's callbacks: Engine::Impl ends the resolver before the workers.
  shared_.resolver->resolve(std::string(action.name), action.port,
                           [this, handle = action.handle](Result<std::vector<io::Address>> answer) {
                             Resolved resolved;
                             resolved.handle = handle;
                             if (answer) {
                               resolved.addresses = std::move(answer).value();
                             } else {
                               resolved.error = answer.error().message;
                             }
                             {
                               const std::lock_guard lock(control_mutex_);
                               resolved_.push_back(std::move(resolved));
                               control_pending_.store(true, std::memory_order_release);
                             }
                             wake();
                           });
}

void Worker::perform_dial(const dispatch::Action& action) {
  Slot& slot = slots_[base::Handle{action.handle}.index()];
  TOCSIN_ASSERT(slot.handle == action.handle && slot.state == SlotState::resolving);
  slot.state = SlotState::driver;
  slot.address = io::Address(action.address);
  driver_->dial(action.handle, slot.address);
}

void Worker::perform_close(const dispatch::Action& action) {
  Slot& slot = slots_[base::Handle{action.handle}.index()];
  if (slot.handle == action.handle && slot.state == SlotState::driver) {
    driver_->close(action.handle);
    return;
  }
  // Never reached the kernel: still resolving, or the budget was used up.
  if (slot.handle == action.handle && slot.state == SlotState::resolving) {
    slot = Slot{};
    shared_.connections.give(1);
  }
  add_later(dispatch::EventKind::closed, action.handle);
}

void Worker::make_token(const dispatch::Action& action) {
  const auto& version = known_[action.credential].version;
  std::string token = version != nullptr && version->tokens != nullptr ? version->tokens->token(action.token_iat_s) : "";
  const bool made = !token.empty();
  dispatch::Event& event = add_later(made ? dispatch::EventKind::token_ready : dispatch::EventKind::token_failed);
  event.index = action.credential;
  event.token_iat_s = action.token_iat_s;
  // Without a version the credential was replaced or removed in the meantime.
  event.text = made                                               ? std::string_view(keep(std::move(token), true))
               : version == nullptr || version->tokens == nullptr ? "this credential has no provider key"
                                                                  : "no provider token could be signed: the system's random source failed";
}

void Worker::grant(const dispatch::Want& want, std::int64_t now_mono_ns) {
  Rate& rate = want.pace == dispatch::Pace::engine       ? shared_.rate
               : want.pace == dispatch::Pace::credential ? shared_.credentials[want.index]->rate
                                                         : shared_.groups[want.index]->rate;
  const Lease lease = rate.take(want.count, now_mono_ns, prng_.unit());
  dispatch::Event& event = add_later(dispatch::EventKind::granted);
  event.pace = want.pace;
  event.index = want.index;
  event.result = lease.count;
  event.deadline_mono_ns = lease.again_mono_ns;
}

// Each shard finding it for itself would cost APNs, and our standing there, as many more refusals.
void Worker::pass_on(const dispatch::CredentialStatus& status) {
  Known& known = known_[status.credential];
  if (status.stopped_here && known.told_word != known.word) {
    known.told_word = known.word;
    shared_.tell_others(number_, {dispatch::EventKind::credential_stopped, status.credential, known.word,
                                  status.stop_reason, status.last_error});
  } else if (status.alarmed_here && known.alarm_word != known.word) {
    known.alarm_word = known.word;
    shared_.tell_others(number_, {dispatch::EventKind::credential_alarmed, status.credential, known.word, Reason::none,
                                  status.last_error});
  }
}

bool Worker::collect_dial_word() {
  if (!dial_word_.load(std::memory_order_relaxed) || !dial_word_.exchange(false, std::memory_order_acquire)) return false;
  in_dial_line_ = false;
  add_event(dispatch::EventKind::dial_freed).result = static_cast<std::int64_t>(shared_.dials.free(number_));
  return true;
}

void Worker::await_dials() {
  if (in_dial_line_) return;
  in_dial_line_ = shared_.dials.await(number_);
  if (!in_dial_line_) add_later(dispatch::EventKind::dial_freed).result = static_cast<std::int64_t>(shared_.dials.free(number_));
}

void Worker::deliver() {
  for (const dispatch::CredentialStatus& status : output_.statuses) pass_on(status);
  // Outcomes last: who has read one finds its cause and its places in stats().
  if (!output_.statuses.empty()) {
    const std::lock_guard lock(shared_.status_mutex);
    auto& mine = shared_.statuses[number_];
    for (dispatch::CredentialStatus& status : output_.statuses) {
      if (mine.size() <= status.credential) mine.resize(status.credential + 1);
      mine[status.credential] = std::move(status);
    }
  }
  if (const std::size_t count = output_.ended(); count != 0) {
    std::uint64_t bytes = 0;
    for (const dispatch::Released& released : output_.released) {
      shared_.blocks.release(released.block, released.block_class);
      bytes += released.bytes;
    }
    byte_credits_.give(bytes);
    credits_.give(count);
    shared_.outcomes.put(*outcomes_, output_.accepted, output_.outcomes);
    shared_.ended.fetch_add(count, std::memory_order_release);
    shared_.outcomes.signal();
  }
  for (const dispatch::LogEvent& record : output_.logs) shared_.log(record.level, record.event, record.text);
}

void Worker::publish() {
  const dispatch::Counters& counters = shard_->counters();
  for (std::size_t i = 0; i <= kEnds; ++i) published_.ends[i].set(counters.ends[i]);
  published_.waiting.set(counters.waiting);
  published_.in_flight.set(counters.in_flight);
  published_.attempts.set(counters.attempts);
  published_.possibly_doubled.set(counters.possibly_doubled);
  published_.connections_opened.set(counters.connections_opened);
  published_.connections_lost.set(counters.connections_lost);
  published_.dials_failed.set(counters.dials_failed);
  published_.goaways.set(counters.goaways);
  published_.bytes_sent.set(counters.bytes_sent);
  published_.bytes_received.set(counters.bytes_received);
  published_.writes.set(counters.writes);
  published_.retries.set(counters.retries);
  published_.pings.set(counters.pings);
  published_.peers_dead.set(counters.peers_dead);
  published_.delayed.set(counters.delayed);
  published_.dead_tokens.set(counters.dead_tokens);
  published_.token_turns.set(counters.token_turns);
  published_.inbox_wakes.set(driver_->stats().wakes);
  published_.io_enters.set(driver_->stats().enters);
  for (std::size_t i = 0; i < kStages; ++i) published_.stage_cpu_ns[i].set(stages_.used_ns()[i]);
}

}  // namespace tocsin::engine
