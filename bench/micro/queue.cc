// SPDX-License-Identifier: Apache-2.0
// The hop between two threads as the engine makes it: credits taken by the producer, a ConcurrentQueue with a producer's
// and a consumer's token, credits given back by the consumer.
//
//   queue_hop/ITEM/BULK    ITEM: handle (8 bytes), record (128: an inbox or an outcome); BULK: 1, or 64 an operation
//
// Wall time from the first item asked for to the last one taken: the slower of the two threads. On a machine with
// less than two free CPUs it measures the scheduler.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include <concurrentqueue/concurrentqueue.h>

#include "dispatch/record.h"
#include "engine/credits.h"
#include "micro.h"

// gcc 12 takes the queue's block index, inlined, for one of no size.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

namespace tocsin::bench {
namespace {

constexpr std::uint64_t kRound = 65'536;
constexpr std::uint64_t kPlaces = 16'384;
constexpr std::size_t kTakenMax = 1024;  // as a shard takes from its inbox

void set_number(std::uint64_t& item, std::uint64_t number) { item = number; }
void set_number(dispatch::PushRecord& item, std::uint64_t number) { item.id = number; }
std::uint64_t number_of(std::uint64_t item) { return item; }
std::uint64_t number_of(const dispatch::PushRecord& item) { return item.id; }

template <class Item>
class Hop {
 public:
  explicit Hop(std::size_t bulk) : bulk_(bulk), thread_([this] { produce(); }) {}
  ~Hop() {
    goal_.store(kEnd, std::memory_order_release);
    thread_.join();
  }

  // Takes a round's items; answers the sum of their numbers.
  std::uint64_t round() {
    goal_.store(goal_.load(std::memory_order_relaxed) + kRound, std::memory_order_release);
    std::uint64_t sum = 0;
    for (std::uint64_t left = kRound; left != 0;) {
      const std::size_t got = take(static_cast<std::size_t>(std::min<std::uint64_t>(left, kTakenMax)));
      if (got == 0) {
        std::this_thread::yield();
        continue;
      }
      for (std::size_t i = 0; i < got; ++i) sum += number_of(taken_[i]);
      credits_.give(got);
      left -= got;
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t kEnd = ~std::uint64_t{0};

  std::size_t take(std::size_t most) {
    if (bulk_ == 1) return queue_.try_dequeue(consumer_, taken_[0]) ? 1 : 0;
    return queue_.try_dequeue_bulk(consumer_, taken_.data(), most);
  }

  void produce() {
    moodycamel::ProducerToken producer(queue_);
    std::vector<Item> items(bulk_);
    for (std::uint64_t made = 0;;) {
      const std::uint64_t goal = goal_.load(std::memory_order_acquire);
      if (goal == kEnd) return;
      const std::uint64_t places = made == goal ? 0 : credits_.take(std::min<std::uint64_t>(bulk_, goal - made));
      if (places == 0) {
        std::this_thread::yield();
        continue;
      }
      for (std::uint64_t i = 0; i < places; ++i) set_number(items[i], made++);
      if (bulk_ == 1) {
        queue_.enqueue(producer, items[0]);
      } else {
        queue_.enqueue_bulk(producer, items.data(), places);
      }
    }
  }

  const std::size_t bulk_;
  moodycamel::ConcurrentQueue<Item> queue_{kPlaces};
  moodycamel::ConsumerToken consumer_{queue_};
  std::vector<Item> taken_ = std::vector<Item>(kTakenMax);
  engine::Credits credits_{kPlaces};
  std::atomic<std::uint64_t> goal_{0};
  std::thread thread_;
};

template <class Item>
void hop(benchmark::State& state, std::size_t bulk) {
  Hop<Item> hop(bulk);
  std::uint64_t done = 0;
  for (auto _ : state) {
    const std::uint64_t sum = hop.round();
    // 0 + 1 + ... is what a round's numbers come to, wherever it begins.
    const std::uint64_t want = kRound * done + kRound * (kRound - 1) / 2;
    if (!require(state, sum == want, "items were lost or doubled in the queue")) return;
    done += kRound;
  }
  per_item(state, "per_item", done);
}

}  // namespace

void register_queue() {
  for (const std::size_t bulk : {1u, 64u}) {
    const std::string number = std::to_string(bulk);
    benchmark::RegisterBenchmark(("queue_hop/handle/" + number).c_str(), [bulk](benchmark::State& state) {
      hop<std::uint64_t>(state, bulk);
    })->UseRealTime();
    benchmark::RegisterBenchmark(("queue_hop/record/" + number).c_str(), [bulk](benchmark::State& state) {
      hop<dispatch::PushRecord>(state, bulk);
    })->UseRealTime();
  }
}

}  // namespace tocsin::bench
