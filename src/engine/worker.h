// SPDX-License-Identifier: Apache-2.0
// Worker: one shard's thread. Its loop is four verbs: reap, step, submit, wait.
//
// Threads: the constructor and join() on the owner's thread; wake(), post() and inbox() from any; the rest is the
// worker's own. Ownership: owns its driver and shard; `shared` must outlive it. Bounds: the inbox holds what the credits
// allow; mail with lists is bounded by kBulkMax (ask bulk_room() first), other mail by what its few senders call.
//
// Order: mail posted before a push was submitted reaches the shard before that push does, and mail keeps its order. Mail that
// speaks of pushes inside (EventKind::cancel) reaches it after all that were submitted before.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <concurrentqueue/concurrentqueue.h>
#include <tocsin/result.h>

#include "dispatch/record.h"
#include "dispatch/shard.h"
#include "engine/credits.h"
#include "engine/shared.h"
#include "engine/stage_clock.h"
#include "io/driver.h"
#include "obs/metrics.h"

namespace tocsin::engine {

// Copies of the shard's counters that other threads may read.
struct PublishedCounters {
  obs::Counter ends[kEnds + 1];
  obs::Counter waiting, in_flight, attempts, possibly_doubled, connections_opened, connections_lost, dials_failed,
      goaways, bytes_sent, bytes_received, writes, inbox_wakes, retries, pings, peers_dead, delayed, dead_tokens, token_turns,
      io_enters;
  obs::Counter stage_cpu_ns[kStages];
};

// Tokens known to be dead, with the bytes that `tokens` looks at.
struct DeadBatch {
  std::string bytes;
  std::vector<dispatch::DeadToken> tokens;
};

// A control event on its way to a shard; the fields as dispatch::Event's.
struct Mail {
  dispatch::EventKind kind = dispatch::EventKind::stop;
  dispatch::Pace pace = dispatch::Pace::engine;
  std::uint32_t index = 0;
  std::int64_t result = 0;
  std::int64_t deadline_mono_ns = 0;
  std::uint32_t word = 0;  // of credential_replaced and _resumed: how many such there were with it; of news: see News
  Reason reason = Reason::none;
  std::string text;
  std::shared_ptr<const CredentialVersion> version;
  std::shared_ptr<const std::vector<std::uint64_t>> ids;
  std::shared_ptr<const DeadBatch> dead;

  std::size_t bulk() const { return (ids ? ids->size() : 0) + (dead ? dead->tokens.size() : 0); }
};

class Worker {
 public:
  static constexpr std::size_t kBulkMax = 131'072;
  using Inbox = moodycamel::ConcurrentQueue<dispatch::PushRecord>;

  Worker(Shared& shared, unsigned number);
  ~Worker();

  // Starts the thread; answers once its ring is up, or says why it is not.
  Result<void> start();
  // Ends the thread and its ring. Nobody may call wake() or post() any more: no submitter is at work, and the
  // resolver, whose callbacks wake workers, has ended.
  void join();

  Inbox& inbox() { return inbox_; }
  Credits& credits() { return credits_; }
  Credits& byte_credits() { return byte_credits_; }
  const PublishedCounters& counters() const { return published_; }

  void wake() { driver_->wake(); }
  // The budget has something again, and it is this shard's turn.
  void tell_dials() {
    dial_word_.store(true, std::memory_order_release);
    wake();
  }
  void post(Mail mail);
  // Whether mail with lists of this many entries fits.
  bool bulk_room(std::size_t entries) const {
    return bulk_waiting_.load(std::memory_order_acquire) + entries <= kBulkMax;
  }
  bool at_rest() const { return at_rest_.load(std::memory_order_acquire); }

 private:
  enum class SlotState : std::uint8_t { idle, resolving, driver };  // resolving: or resolved, and not dialled yet
  struct Slot {
    SlotState state = SlotState::idle;
    std::uint64_t handle = 0;
    io::Address address; // as dialled
    std::string target;  // "api.push.apple.com:443", for people
  };
  struct Resolved {
    std::uint64_t handle = 0;
    std::string error;
    std::vector<io::Address> addresses;
  };

  void run(std::promise<Result<void>>& started);
  void loop();
  void collect_mail();
  void hand_over(const Mail& mail);
  void collect_resolved();
  void collect_registry();
  void collect_inbox();
  void translate(const io::Completion& completion);
  void perform(const dispatch::Action& action);
  void perform_resolve(const dispatch::Action& action);
  void perform_dial(const dispatch::Action& action);
  void perform_close(const dispatch::Action& action);
  void make_token(const dispatch::Action& action);
  bool collect_dial_word();
  void await_dials();
  void grant(const dispatch::Want& want, std::int64_t now_mono_ns);
  void deliver();
  void pass_on(const dispatch::CredentialStatus& status);
  void publish();
  // Something that an event of this step (or, for `later`, of the next one) looks at.
  template <class T>
  const T& keep(T value, bool later = false) {
    auto kept = std::make_shared<const T>(std::move(value));
    const T& at = *kept;
    (later ? later_kept_ : kept_).push_back(std::move(kept));
    return at;
  }
  dispatch::Event& add_event(dispatch::EventKind kind, std::uint64_t handle = 0);
  dispatch::Event& add_later(dispatch::EventKind kind, std::uint64_t handle = 0);

  Shared& shared_;
  const unsigned number_;
  Inbox inbox_;
  Credits credits_;
  Credits byte_credits_;
  PublishedCounters published_;
  std::atomic<bool> at_rest_{false};
  std::atomic<bool> quit_{false};
  std::atomic<bool> may_end_{false};
  std::atomic<bool> dial_word_{false};

  std::mutex control_mutex_;
  std::vector<Mail> mail_;
  std::vector<Resolved> resolved_;
  std::atomic<bool> control_pending_{false};
  std::atomic<std::size_t> bulk_waiting_{0};  // entries of lists posted and not yet handed over

  // The thread's own.
  std::unique_ptr<io::Driver> driver_;
  std::unique_ptr<dispatch::Shard> shard_;
  dispatch::Output output_;
  std::vector<io::Completion> completions_;
  std::vector<dispatch::Event> events_;
  std::vector<dispatch::Event> later_;   // raised while actions were performed; next step's events
  std::vector<std::shared_ptr<const void>> kept_;
  std::vector<std::shared_ptr<const void>> later_kept_;
  std::vector<Mail> taken_mail_;
  std::vector<Mail> cancels_;            // until the inbox was seen empty once
  // A credential as the shard knows it.
  struct Known {
    std::shared_ptr<const CredentialVersion> version;
    std::uint32_t word = 0;        // its owner's last
    std::uint32_t told_word = ~0u; // the others were told of a stop since that one,
    std::uint32_t alarm_word = ~0u;  // and of an alarm
  };
  std::vector<Known> known_;             // by credential
  base::Prng prng_{0};                   // jitter of leases
  bool in_dial_line_ = false;            // of the budget, which will tell
  bool stop_taken_ = false;              // a stop reached the shard in an earlier step
  std::vector<dispatch::PushRecord> pushes_;  // of one batch
  std::size_t push_count_ = 0;
  std::vector<Slot> slots_;
  std::unique_ptr<moodycamel::ConsumerToken> inbox_token_;
  std::unique_ptr<Outcomes::Source> outcomes_;
  std::uint32_t templates_known_ = 0;
  std::uint32_t groups_known_ = 0;
  StageClock stages_{false};
  std::thread thread_;
};

}  // namespace tocsin::engine
