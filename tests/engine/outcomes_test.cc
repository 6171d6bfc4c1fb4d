// SPDX-License-Identifier: Apache-2.0
// Outcomes on their way to the reader: accepted ones and others, whatever room a reader has, and the word that wakes it.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "engine/outcomes.h"
#include "rig.h"

namespace tocsin::engine_tests {
namespace {

using dispatch::AcceptedPush;
using engine::Outcomes;

std::vector<AcceptedPush> accepted(std::uint64_t first, std::size_t count) {
  std::vector<AcceptedPush> made(count);
  for (std::size_t i = 0; i < count; ++i) {
    made[i].id = first + i;
    made[i].apns_id.fill(static_cast<std::uint8_t>(first + i));
    made[i].submitted_unix_ns = 1;
    made[i].sent_unix_ns = 2;
    made[i].ended_unix_ns = 3;
    made[i].attempts = 1;
    made[i].flags = 0;
  }
  return made;
}
std::vector<Outcome> others(std::uint64_t first, std::size_t count) {
  std::vector<Outcome> made(count);
  for (std::size_t i = 0; i < count; ++i) {
    made[i].id = first + i;
    made[i].end = End::rejected;
    made[i].status = 410;
    made[i].reason = Reason::unregistered;
  }
  return made;
}
std::size_t count_accepted(std::span<const Outcome> some) {
  return static_cast<std::size_t>(std::count_if(some.begin(), some.end(), [](const Outcome& o) { return o.end == End::accepted; }));
}

// Waits for the eventfd and takes what it says; false: it is not readable.
bool heard(const Outcomes& outcomes, int timeout_ms) {
  pollfd entry{outcomes.fd(), POLLIN, 0};
  if (::poll(&entry, 1, timeout_ms) != 1) return false;
  std::uint64_t count = 0;
  return ::read(outcomes.fd(), &count, sizeof(count)) == sizeof(count);
}

TEST(OutcomesRead, EachOnceAndWholeWhateverTheRoom) {
  for (const std::size_t room : {1u, 2u, 3u, 255u, 5000u}) {
    Outcomes outcomes(1024);
    Outcomes::Source source(outcomes);
    std::vector<Outcome> some(room);
    EXPECT_EQ(outcomes.take(some), 0u);
    EXPECT_EQ(outcomes.take({}), 0u);
    outcomes.put(source, accepted(0, 700), others(700, 300));
    outcomes.put(source, accepted(1000, 3), {});
    outcomes.put(source, {}, others(1003, 2));
    EXPECT_EQ(outcomes.take({}), 0u);
    std::set<std::uint64_t> seen;
    std::size_t good = 0;
    for (std::size_t got = 0; (got = (std::memset(static_cast<void*>(some.data()), 0x5a, room * sizeof(Outcome)), outcomes.take(some))) != 0;) {
      EXPECT_EQ(got, std::min(room, 1005 - seen.size())) << "there was more";
      for (std::size_t i = 0; i < got; ++i) {
        EXPECT_TRUE(seen.insert(some[i].id).second);
        good += some[i].end == End::accepted ? 1 : 0;
        Outcome wanted = some[i].end == End::accepted ? Outcome{} : others(some[i].id, 1)[0];
        if (some[i].end == End::accepted) accepted(some[i].id, 1)[0].write(wanted);
        EXPECT_EQ(std::memcmp(&some[i], &wanted, sizeof(wanted)), 0) << some[i].id;
      }
      for (std::size_t i = got; i < room; ++i) ASSERT_EQ(some[i].status, 0x5a5a) << "written beyond what was taken";
    }
    EXPECT_EQ(seen.size(), 1005u);
    EXPECT_EQ(good, 703u);
  }
}

TEST(OutcomesRead, NeitherKindWaitsForTheOther) {
  Outcomes outcomes(1024);
  Outcomes::Source source(outcomes);
  outcomes.put(source, accepted(0, 2000), others(5000, 2000));
  std::vector<Outcome> some(255);
  std::size_t single = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(outcomes.take(std::span(some).first(1)), 1u);
    single += count_accepted(std::span(some).first(1));
  }
  EXPECT_EQ(single, 50u);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(outcomes.take(std::span(some).first(2)), 2u);
    EXPECT_EQ(count_accepted(std::span(some).first(2)), 1u);
  }
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(outcomes.take(some), 255u);
    EXPECT_NEAR(static_cast<double>(count_accepted(some)), 127.5, 0.5);
  }
  // One that cannot fill its half leaves the room to the other.
  Outcomes few(1024);
  Outcomes::Source few_source(few);
  for (int i = 0; i < 4; ++i) {
    few.put(few_source, accepted(0, 1000), others(5000, 5));
    ASSERT_EQ(few.take(some), 255u);
    EXPECT_EQ(count_accepted(some), 250u);
    while (few.take(some) != 0) {}
    few.put(few_source, accepted(0, 5), others(5000, 1000));
    ASSERT_EQ(few.take(some), 255u);
    EXPECT_EQ(count_accepted(some), 5u);
    while (few.take(some) != 0) {}
  }
}

TEST(OutcomesRead, EitherKindSignalsOnceUntilAReaderFoundNothing) {
  Outcomes outcomes(1024);
  ASSERT_TRUE(outcomes.open());
  Outcomes::Source source(outcomes);
  std::vector<Outcome> some(4);
  for (int round = 0; round < 6; ++round) {
    const bool good = round % 2 == 0;
    const auto put = [&] {
      good ? outcomes.put(source, accepted(0, 3), {}) : outcomes.put(source, {}, others(0, 3));
      outcomes.signal();
    };
    EXPECT_FALSE(heard(outcomes, 0));
    put();
    EXPECT_TRUE(heard(outcomes, 1000));
    put();
    EXPECT_FALSE(heard(outcomes, 0)) << "it was said, and nobody has found nothing since";
    EXPECT_EQ(outcomes.take(some), 4u);
    EXPECT_EQ(outcomes.take(some), 2u);
    put();
    EXPECT_FALSE(heard(outcomes, 0));
    EXPECT_EQ(outcomes.take(some), 3u);
    EXPECT_EQ(outcomes.take(some), 0u);
  }
}

// Readers that sleep whenever they find nothing, producers that put one more only once the last one was read: a word that is
// lost stops it all.
TEST(OutcomesRead, NoWordIsLostBetweenSeveralThreads) {
  Outcomes outcomes(1024);
  ASSERT_TRUE(outcomes.open());
  constexpr std::uint64_t kEach = 3000;
  std::atomic<std::uint64_t> read[2]{};  // of each producer
  std::atomic<bool> done{false}, late{false};
  std::atomic<int> alive{3};
  std::vector<std::thread> threads;
  for (const std::size_t room : {1u, 2u, 255u}) {
    threads.emplace_back([&, room] {
      std::vector<Outcome> some(room);
      while (!done.load()) {
        const std::size_t got = outcomes.take(some);
        for (std::size_t i = 0; i < got; ++i) ++read[some[i].id % 2];
        if (got == 0) (void)heard(outcomes, 50'000);
        else if (got == room) outcomes.wake();
      }
      --alive;
    });
  }
  std::vector<std::thread> producers;
  for (std::uint64_t who = 0; who < 2; ++who) {
    producers.emplace_back([&, who] {
      Outcomes::Source source(outcomes);
      std::uint64_t put = 0;
      for (std::uint64_t i = 0; i < kEach && !late.load(); ++i) {
        // Few at a time, of one kind or of both.
        const std::size_t good = i % 3 == 0 ? 0 : 1 + i % 2, bad = i % 3 == 1 ? 0 : 1;
        std::vector<AcceptedPush> some = accepted(0, good);
        for (AcceptedPush& push : some) push.id = who;
        std::vector<Outcome> rest = others(who, bad);
        outcomes.put(source, some, rest);
        outcomes.signal();
        put += good + bad;
        const auto limit = Clock::now() + std::chrono::seconds(20);
        while (read[who].load() != put && !late.load()) {
          if (Clock::now() > limit) late = true;
          std::this_thread::yield();
        }
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_FALSE(late.load()) << "outcomes lie there, and every reader sleeps";
  done = true;
  for (; alive.load() != 0; std::this_thread::sleep_for(std::chrono::milliseconds(1))) outcomes.wake();
  for (std::thread& thread : threads) thread.join();
}

// More at once than is made at the start.
TEST(OutcomesRead, AsManyAsThereAre) {
  Outcomes outcomes(1024);
  Outcomes::Source source(outcomes);
  const auto good = accepted(0, 50'000);
  const auto bad = others(50'000, 50'000);
  for (std::size_t i = 0; i < good.size(); i += 1000) {
    outcomes.put(source, std::span(good).subspan(i, 1000), std::span(bad).subspan(i, 1000));
  }
  std::vector<Outcome> all(200'000);
  std::size_t got = 0;
  while (const std::size_t some = outcomes.take(std::span(all).subspan(got, 999))) got += some;
  ASSERT_EQ(got, 100'000u);
  EXPECT_EQ(count_accepted(std::span(all).first(got)), 50'000u);
}


// Through the engine, with each reader's room; the answers are bare, plain or not, or none of them is good.
TEST(OutcomesRead, ThroughTheEngine) {
  struct Case {
    unsigned rejected;  // percent
    mock::Profile profile;
  };
  for (const Case& each : {Case{0, mock::Profile::flood}, Case{30, mock::Profile::validate}, Case{100, mock::Profile::validate}}) {
    mockd::Options options = mock_options();
    options.gateway.reject_share = each.rejected / 100.0;
    options.gateway.bare_share = 0.5;
    options.profile = {.profile = each.profile, .validate_first = 200};
    const auto server = serve(std::move(options));
    EngineOptions engine_options;
    engine_options.shards = 2;
    CredentialOptions who = credential_options(port_of(server->address()));
    who.bad_tokens_share = 0;
    who.span = 2;
    const Rig rig(engine_options, who);
    auto submitter = rig.engine->submitter().value();
    std::uint64_t first = 0;
    for (const std::size_t room : {1u, 2u, 255u}) {
      constexpr std::size_t kCount = 3000;
      Batch batch = rig.batch(first, kCount);
      ASSERT_EQ(submitter.submit(batch.pushes).taken, kCount);
      std::set<std::uint64_t> seen;
      std::size_t good = 0;
      std::vector<Outcome> some(room);
      while (seen.size() < kCount) {
        const std::size_t got = rig.engine->wait(some, 20'000);
        ASSERT_NE(got, 0u) << "with room for " << room;
        for (std::size_t i = 0; i < got; ++i) {
          const Outcome& o = some[i];
          ASSERT_TRUE(seen.insert(o.id).second);
          ASSERT_EQ(o.struct_bytes, sizeof(Outcome));
          ASSERT_EQ(o.status == 200, o.end == End::accepted);
          ASSERT_EQ(o.reason == Reason::none, o.end == End::accepted);
          ASSERT_NE(o.apns_id, Uuid{});
          ASSERT_LE(o.submitted_unix_ns, o.sent_unix_ns);
          ASSERT_LE(o.sent_unix_ns, o.ended_unix_ns);
          ASSERT_EQ(o.attempts, 1);
          good += o.end == End::accepted ? 1 : 0;
        }
      }
      EXPECT_EQ(*seen.begin(), first);
      EXPECT_EQ(*seen.rbegin(), first + kCount - 1);
      const double wanted = kCount * (100 - each.rejected) / 100.0;
      EXPECT_NEAR(static_cast<double>(good), wanted, each.rejected == 30 ? 300 : 0);
      first += kCount;
    }
    EXPECT_EQ(rig.engine->poll(std::span<Outcome>{}), 0u);
    EXPECT_EQ(rig.engine->stats().unread, 0u);
    EXPECT_EQ(rig.engine->stats().inside, 0u);
  }
}

}  // namespace
}  // namespace tocsin::engine_tests
