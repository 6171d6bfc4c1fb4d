// SPDX-License-Identifier: Apache-2.0
// Worker: one shard's thread. Its loop is four verbs: reap, step, submit, wait.
//
// Threads: the constructor and join() on the owner's thread; wake(), post_stop() and inbox() from any; the
// rest is the worker's own. Ownership: owns its driver and shard; `shared` must outlive it. Bounds: the inbox holds what the credits allow.
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
#include "io/driver.h"
#include "obs/metrics.h"

namespace tocsin::engine {

// Copies of the shard's counters that other threads may read.
struct PublishedCounters {
  obs::Counter ends[kEnds + 1];
  obs::Counter waiting, in_flight, attempts, possibly_doubled, connections_opened, connections_lost, dials_failed,
      goaways, bytes_sent, bytes_received, writes, inbox_wakes;
};

class Worker {
 public:
  using Inbox = moodycamel::ConcurrentQueue<dispatch::PushRecord>;

  Worker(Shared& shared, unsigned number);
  ~Worker();

  // Starts the thread; answers once its ring is up, or says why it is not.
  Result<void> start();
  // Ends the thread and its ring. Nobody may call wake() or post_stop() any more: no submitter is at work, and the
  // resolver, whose callbacks wake workers, has ended.
  void join();

  Inbox& inbox() { return inbox_; }
  Credits& credits() { return credits_; }
  Credits& byte_credits() { return byte_credits_; }
  const PublishedCounters& counters() const { return published_; }

  void wake() { driver_->wake(); }
  // Ends the shard: see EventKind::stop. May be called again with an earlier deadline.
  void post_stop(std::int64_t deadline_mono_ns);
  bool at_rest() const { return at_rest_.load(std::memory_order_acquire); }

 private:
  enum class SlotState : std::uint8_t { idle, resolving, driver };  // resolving: or resolved, and not dialled yet
  struct Slot {
    SlotState state = SlotState::idle;
    std::uint64_t handle = 0;
    std::uint32_t credential = 0;
  };
  struct Resolved {
    std::uint64_t handle = 0;
    std::string error;
    std::vector<io::Address> addresses;
  };

  void run(std::promise<Result<void>>& started);
  void loop();
  void collect_control();
  void collect_registry();
  void collect_inbox();
  void translate(const io::Completion& completion);
  void perform(const dispatch::Action& action);
  void perform_resolve(const dispatch::Action& action);
  void deliver();
  void publish();
  std::string_view keep(std::string text);
  dispatch::Event& add_event(dispatch::EventKind kind, std::uint64_t handle);

  Shared& shared_;
  const unsigned number_;
  Inbox inbox_;
  Credits credits_;
  Credits byte_credits_;
  PublishedCounters published_;
  std::atomic<bool> at_rest_{false};
  std::atomic<bool> quit_{false};
  std::atomic<bool> may_end_{false};

  std::mutex control_mutex_;
  std::vector<std::int64_t> stops_;      // deadlines posted
  std::vector<Resolved> resolved_;
  std::atomic<bool> control_pending_{false};

  // The thread's own.
  std::unique_ptr<io::Driver> driver_;
  std::unique_ptr<dispatch::Shard> shard_;
  dispatch::Output output_;
  std::vector<io::Completion> completions_;
  std::vector<dispatch::Event> events_;
  std::vector<dispatch::Event> later_;   // raised while actions were performed; next step's events
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<std::unique_ptr<std::string>> later_texts_;
  std::vector<std::unique_ptr<std::vector<base::Address>>> addresses_;
  std::vector<dispatch::PushRecord> pushes_;
  std::vector<Slot> slots_;
  std::unique_ptr<moodycamel::ConsumerToken> inbox_token_;
  std::unique_ptr<moodycamel::ProducerToken> outcome_token_;
  std::uint32_t templates_known_ = 0;
  std::uint32_t credentials_known_ = 0;
  std::thread thread_;
};

}  // namespace tocsin::engine
