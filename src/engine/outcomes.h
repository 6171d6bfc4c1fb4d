// SPDX-License-Identifier: Apache-2.0
// Outcomes: what has ended and was not read yet, from the shards' threads to whoever reads.
//
// Accepted pushes, nearly all, pass in their compact form and become Outcomes in the reader's memory; all others stand in a
// second queue. Neither has to wait for the other: where there are both, each gets half of a reader's room if it can fill it, and
// the odd place in turn. The eventfd is written with the first outcome after a reader found nothing, and then no more until one
// does.
//
// Threads: put() is its Source's thread's; take() any. Ownership: outcomes are copied in and out. Bounds: none of its own, places
// are reserved at submit; what many unread need beyond what is made at the start, is made then.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <concurrentqueue/concurrentqueue.h>
#include <tocsin/push.h>

#include "dispatch/accepted.h"

namespace tocsin::engine {

class Outcomes {
 public:
  // At most this many are made at the start: the queues write to the memory that they are given.
  static constexpr std::size_t kAcceptedMade = 131'072;
  static constexpr std::size_t kOthersMade = 16'384;

  explicit Outcomes(std::size_t most);
  ~Outcomes();
  Outcomes(const Outcomes&) = delete;
  Outcomes& operator=(const Outcomes&) = delete;

  // Before the first put(). False: errno says why there is no eventfd.
  bool open();
  int fd() const { return fd_; }

  // Of a thread that puts; must not outlive its Outcomes.
  class Source {
   public:
    explicit Source(Outcomes& to) : accepted_(to.accepted_), others_(to.others_) {}

   private:
    friend class Outcomes;
    moodycamel::ProducerToken accepted_;
    moodycamel::ProducerToken others_;
  };
  // Readable when it returns, by those whom signal() wakes as well.
  void put(Source& source, std::span<const dispatch::AcceptedPush> accepted, std::span<const Outcome> others);
  void signal() {
    if (!signalled_.exchange(true, std::memory_order_acq_rel)) wake();
  }
  // Wakes one that waits, whatever was signalled.
  void wake();

  // As many as there are and `out` has room for. 0: there are none, and the next ones signal.
  std::size_t take(std::span<Outcome> out);

 private:
  std::size_t look(std::span<Outcome> out);
  std::size_t take_accepted(std::span<Outcome> out);
  std::size_t take_others(std::span<Outcome> out);

  moodycamel::ConcurrentQueue<dispatch::AcceptedPush> accepted_;
  moodycamel::ConcurrentQueue<Outcome> others_;
  std::atomic<std::uint64_t> others_unread_{0};  // counted before they are queued: 0 says that none is there, and saves a look
  std::atomic<bool> accepted_turn_{false};       // which kind is read first where there are both
  std::atomic<bool> signalled_{false};           // the eventfd was written, and no reader has found nothing since
  int fd_ = -1;
};

}  // namespace tocsin::engine
