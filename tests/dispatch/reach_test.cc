// SPDX-License-Identifier: Apache-2.0
// An endpoint's breaker, ports and addresses: rules one by one, and seeded properties against models written anew here.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "dispatch/reach.h"

namespace tocsin::dispatch::test {
namespace {

using base::kMillisecond;
using base::kNever;
using base::kSecond;

constexpr std::uint16_t kPort = 443;
constexpr std::uint16_t kAlternate = 2197;

base::Address address(std::uint32_t number) {
  base::Address out;
  std::memcpy(out.storage, &number, sizeof number);
  out.size = 16;
  return out;
}

std::vector<base::Address> addresses(std::uint32_t count) {
  std::vector<base::Address> out;
  for (std::uint32_t i = 0; i < count; ++i) out.push_back(address(i));
  return out;
}

ReachOptions two_ports() {
  ReachOptions options;
  options.alternate_port = kAlternate;
  return options;
}

// The longest wait after this many failures in a row, by repeated addition instead of doubling in place.
std::int64_t longest_wait(const ReachOptions& options, unsigned failures) {
  std::int64_t bound = options.backoff_min_ns;
  for (unsigned i = options.breaker_failures; i < failures; ++i) bound = std::min(bound + bound, options.backoff_max_ns);
  return bound;
}

void fail(Reach& reach, std::int64_t now, base::Prng& chance) {
  const std::uint16_t port = reach.dial_started(now);
  reach.dial_failed(now, port, true, chance);
}

TEST(Breaker, OpensAfterExactlySoManyNetworkFailuresInARow) {
  for (const unsigned least : {1u, 2u, 3u, 7u, 100u}) {
    SCOPED_TRACE(least);
    ReachOptions options;
    options.breaker_failures = least;
    base::Prng chance(1);
    Reach reach(options);
    for (unsigned round = 0; round < 2; ++round) {
      for (unsigned i = 1; i < least; ++i) {
        fail(reach, 0, chance);
        ASSERT_FALSE(reach.down());
        ASSERT_EQ(reach.may_dial_at(), 0);
      }
      // What is ours alone neither counts nor interrupts the row; one that is reached begins it again.
      reach.dial_failed(0, reach.dial_started(0), false, chance);
      EXPECT_FALSE(reach.down());
      if (round == 0) reach.dial_reached(reach.dial_started(0), address(1));
    }
    fail(reach, 0, chance);
    EXPECT_TRUE(reach.down());
  }
}

TEST(Breaker, NoneIsTakenForOne) {
  ReachOptions options;
  options.breaker_failures = 0;
  base::Prng chance(1);
  Reach reach(options);
  fail(reach, 0, chance);
  EXPECT_TRUE(reach.down());
  EXPECT_LE(reach.may_dial_at(), options.backoff_min_ns);
}

TEST(Breaker, OneDialAtATimeWhileDownAndTheBoundDoublesUpToItsMost) {
  const ReachOptions options;
  base::Prng chance(2);
  Reach reach(options);
  std::int64_t now = 5 * kSecond;
  for (unsigned failures = 1; failures <= 200; ++failures) {
    const std::uint16_t port = reach.dial_started(now);
    if (failures > options.breaker_failures) {
      EXPECT_EQ(reach.may_dial_at(), kNever);
    }
    now += kSecond;
    reach.dial_failed(now, port, true, chance);
    if (failures < options.breaker_failures) continue;
    ASSERT_GT(reach.may_dial_at(), now);
    ASSERT_LE(reach.may_dial_at(), now + longest_wait(options, failures)) << failures;
    now = reach.may_dial_at();
  }
}

TEST(Breaker, TheLongestBackOffThatWasAskedForCounts) {
  Reach reach({.backoff_min_ns = 10, .backoff_max_ns = 100, .breaker_failures = 1});
  reach.widen(5, 50);
  base::Prng chance(1);
  const auto longest = [&] {
    std::int64_t most = 0;
    for (int i = 0; i < 300; ++i) {
      static_cast<void>(reach.dial_started(1000));
      reach.dial_failed(1000, 443, true, chance);
      most = std::max(most, reach.may_dial_at() - 1000);
    }
    return most;
  };
  const std::int64_t before = longest();
  EXPECT_LE(before, 100);
  EXPECT_GT(before, 90);
  reach.widen(20, 1000);
  const std::int64_t after = longest();
  EXPECT_LE(after, 1000);
  EXPECT_GT(after, 900);
}

TEST(Breaker, WaitsSpreadOverTheirWholeRange) {
  const ReachOptions options;
  base::Prng chance(3);
  for (const unsigned failures : {3u, 4u, 8u, 11u, 12u, 40u, 200u}) {
    constexpr unsigned kDraws = 10'000;
    std::array<unsigned, 10> buckets{};
    const std::int64_t bound = longest_wait(options, failures);
    for (unsigned i = 0; i < kDraws; ++i) {
      Reach reach(options);
      for (unsigned k = 0; k < failures; ++k) fail(reach, 0, chance);
      const std::int64_t wait = reach.may_dial_at();
      ASSERT_GE(wait, 1);
      ASSERT_LE(wait, bound);
      ++buckets[static_cast<std::size_t>((wait - 1) * 10 / bound)];
    }
    // A thousand each, and about 30 as their deviation.
    for (const unsigned bucket : buckets) EXPECT_NEAR(bucket, kDraws / 10, 150) << failures;
  }
}

TEST(Breaker, HugeAndNegativeBackoffsAreHeld) {
  base::Prng chance(4);
  for (const auto& [least, most] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {kNever / 3, kNever / 2}, {1, kNever / 2}, {0, 0}, {-5, -9}, {10 * kSecond, kSecond}}) {
    ReachOptions options;
    options.backoff_min_ns = least;
    options.backoff_max_ns = most;
    Reach reach(options);
    for (unsigned i = 0; i < 100; ++i) fail(reach, 7, chance);
    EXPECT_GT(reach.may_dial_at(), 7);
    EXPECT_LE(reach.may_dial_at() - 7, std::max<std::int64_t>(most, 1));
  }
}

TEST(Breaker, DialsUnderWayWhenItOpensAreOneOutageAndAreAwaited) {
  const ReachOptions options;
  base::Prng chance(5);
  Reach reach(options);
  for (unsigned i = 0; i < 40; ++i) ASSERT_EQ(reach.dial_started(0), kPort);
  for (unsigned i = 0; i < 39; ++i) {
    reach.dial_failed(kSecond, kPort, true, chance);
    EXPECT_EQ(reach.down(), i + 1 >= options.breaker_failures);
    if (reach.down()) {
      ASSERT_EQ(reach.may_dial_at(), kNever);
    }
  }
  // The last one as well: the wait is still a first one, from now on.
  reach.dial_failed(9 * kSecond, kPort, true, chance);
  EXPECT_GT(reach.may_dial_at(), 9 * kSecond);
  EXPECT_LE(reach.may_dial_at(), 9 * kSecond + options.backoff_min_ns);
  // From here each counts.
  std::int64_t longest = 0;
  for (unsigned i = 0; i < 30; ++i) {
    const std::int64_t now = 100 * kSecond * (i + 1);
    fail(reach, now, chance);
    longest = std::max(longest, reach.may_dial_at() - now);
  }
  EXPECT_GT(longest, 10 * kSecond);
}

TEST(Breaker, OneOfThoseUnderWayThatIsReachedClosesItAndTheRestCountAnew) {
  const ReachOptions options;
  base::Prng chance(21);
  Reach reach(options);
  for (unsigned i = 0; i < 10; ++i) reach.dial_started(0);
  for (unsigned i = 0; i < options.breaker_failures; ++i) reach.dial_failed(0, kPort, true, chance);
  ASSERT_TRUE(reach.down());
  reach.dial_reached(kPort, address(1));
  ASSERT_FALSE(reach.down());
  for (unsigned i = 1; i <= options.breaker_failures; ++i) {
    reach.dial_failed(0, kPort, true, chance);
    EXPECT_EQ(reach.down(), i == options.breaker_failures);
  }
}

TEST(Breaker, ClosesWhenOneIsReachedAndDialsAtOnceDouble) {
  const ReachOptions options;
  base::Prng chance(6);
  Reach reach(options);
  for (unsigned i = 0; i < 5; ++i) fail(reach, 0, chance);
  ASSERT_TRUE(reach.down());
  reach.dial_reached(reach.dial_started(reach.may_dial_at()), address(1));
  EXPECT_FALSE(reach.down());
  for (unsigned at_once = 2; at_once < 256; at_once *= 2) {
    SCOPED_TRACE(at_once);
    for (unsigned i = 0; i < at_once; ++i) {
      ASSERT_EQ(reach.may_dial_at(), 0) << i;
      reach.dial_started(0);
    }
    ASSERT_EQ(reach.may_dial_at(), kNever);
    // One that ends otherwise makes room for one, not for more.
    for (unsigned i = 1; i < at_once; ++i) reach.dial_failed(0, kPort, false, chance);
    reach.dial_reached(kPort, address(1));
  }
  for (unsigned i = 0; i < 10'000; ++i) {
    ASSERT_EQ(reach.may_dial_at(), 0);
    reach.dial_started(0);
  }
  EXPECT_EQ(reach.under_way(), 10'000u);
}

// Counts the dials that `askers` credentials make to an endpoint that is dead for ten minutes; each fails after a second.
struct Outage {
  unsigned first_wave = 0;
  std::vector<std::int64_t> later;
};
Outage dead_for_ten_minutes(unsigned askers, std::uint64_t seed) {
  const ReachOptions options = two_ports();
  base::Prng chance(seed);
  Reach reach(options);
  Outage outage;
  std::multimap<std::int64_t, std::uint16_t> ends;
  std::vector<std::int64_t> asks(askers, 0);  // each credential has one dial under way, and asks again when it failed
  for (std::int64_t now = 0; now < 600 * kSecond; now += 10 * kMillisecond) {
    while (!ends.empty() && ends.begin()->first <= now) {
      reach.dial_failed(now, ends.begin()->second, true, chance);
      ends.erase(ends.begin());
    }
    for (unsigned i = 0; i < askers; ++i) {
      if (asks[i] > now || reach.may_dial_at() > now) continue;
      if (reach.down()) {
        EXPECT_EQ(reach.under_way(), 0u);
        outage.later.push_back(now);
      } else {
        ++outage.first_wave;
      }
      ends.emplace(now + kSecond, reach.dial_started(now));
      asks[i] = now + kSecond;
    }
  }
  return outage;
}

TEST(Breaker, FiveHundredCredentialsAreOneDiallingLoop) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    const Outage one = dead_for_ten_minutes(1, seed);
    const Outage many = dead_for_ten_minutes(500, seed);
    EXPECT_EQ(one.first_wave, 3u);
    EXPECT_EQ(many.first_wave, 500u);  // before anything was known
    // A second for the dial and 15 on average before the next, after some shorter ones: about 45.
    EXPECT_GT(many.later.size(), 25u);
    EXPECT_LT(many.later.size(), 80u);
    EXPECT_LT(one.later.size(), 80u);
    for (std::size_t i = 1; i < many.later.size(); ++i) ASSERT_GT(many.later[i] - many.later[i - 1], kSecond);
  }
}

// Dials that begin, fail and succeed in any order, asked for by a caller that keeps to may_dial_at().
TEST(Breaker, HoldsItsRulesInAnyOrder) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    base::Prng world(seed);
    base::Prng chance(seed + 1000);
    ReachOptions options = two_ports();
    options.breaker_failures = 1 + static_cast<unsigned>(world.below(4));
    options.return_to_port_ns = 5 * kSecond;
    Reach reach(options);
    std::vector<std::uint16_t> under_way;
    std::int64_t now = 0;
    std::int64_t not_before = 0;  // while down
    unsigned at_once = 0;
    double dead = 0.5;
    for (unsigned step = 0; step < 1000; ++step) {
      if (step % 100 == 0) dead = world.unit();
      now += static_cast<std::int64_t>(world.below(static_cast<std::uint64_t>(200 * kMillisecond)));
      if (reach.may_dial_at() <= now && under_way.size() < 20) {
        if (reach.down()) {
          ASSERT_TRUE(under_way.empty());
          ASSERT_GE(now, not_before);
        } else if (at_once != 0) {
          ASSERT_LT(under_way.size(), at_once);
        }
        under_way.push_back(reach.dial_started(now));
        ASSERT_TRUE(under_way.back() == kPort || under_way.back() == kAlternate);
      }
      if (under_way.empty() || world.chance(0.4)) continue;
      const std::size_t which = world.below(under_way.size());
      const std::uint16_t port = under_way[which];
      under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(which));
      if (world.chance(0.1)) {
        const bool was_down = reach.down();
        reach.dial_failed(now, port, false, chance);
        ASSERT_EQ(reach.down(), was_down);
      } else if (world.chance(dead)) {
        reach.dial_failed(now, port, true, chance);
        if (reach.down()) not_before = now + 1;
      } else {
        if (reach.down()) at_once = 1;
        reach.dial_reached(port, address(0));
        at_once = at_once * 2 >= 256 ? 0 : at_once * 2;
        ASSERT_FALSE(reach.down());
      }
      ASSERT_EQ(reach.under_way(), under_way.size());
      if (reach.down() && !under_way.empty()) {
        ASSERT_EQ(reach.may_dial_at(), kNever);
      } else if (reach.down()) {
        ASSERT_LE(reach.may_dial_at(), now + options.backoff_max_ns);
      }
    }
  }
}

TEST(Ports, TwoFailuresChangeAndBothDeadKeepAlternating) {
  base::Prng chance(7);
  Reach reach(two_ports());
  std::vector<std::uint16_t> tried;
  for (unsigned i = 0; i < 12; ++i) {
    tried.push_back(reach.dial_started(0));
    reach.dial_failed(0, tried.back(), true, chance);
  }
  EXPECT_EQ(tried, (std::vector<std::uint16_t>{443, 443, 2197, 2197, 443, 443, 2197, 2197, 443, 443, 2197, 2197}));
}

TEST(Ports, WithoutAnotherNothingChanges) {
  for (const std::uint16_t alternate : {std::uint16_t{0}, kPort}) {
    ReachOptions options;
    options.alternate_port = alternate;
    base::Prng chance(8);
    Reach reach(options);
    for (unsigned i = 0; i < 9; ++i) {
      EXPECT_EQ(reach.dial_started(i * 1000 * kSecond), kPort);
      reach.dial_failed(i * 1000 * kSecond, kPort, true, chance);
      EXPECT_EQ(reach.down(), i + 1 >= options.breaker_failures);
    }
  }
}

TEST(Ports, OnlyFailuresOfTheNetworkInARowChange) {
  base::Prng chance(9);
  Reach reach(two_ports());
  for (unsigned i = 0; i < 5; ++i) {
    fail(reach, 0, chance);
    reach.dial_reached(reach.dial_started(0), address(1));
    reach.dial_failed(0, reach.dial_started(0), false, chance);
    EXPECT_EQ(reach.port(), kPort);
  }
}

TEST(Ports, DialsToAPortThatWasLeftSayNothingAboutTheOther) {
  base::Prng chance(10);
  ReachOptions options = two_ports();
  options.breaker_failures = 100;
  Reach reach(options);
  for (unsigned i = 0; i < 6; ++i) ASSERT_EQ(reach.dial_started(0), kPort);
  for (unsigned i = 0; i < 6; ++i) {
    reach.dial_failed(0, kPort, true, chance);
    EXPECT_EQ(reach.port(), i == 0 ? kPort : kAlternate);
  }
  // A late success at the alternate does not clear the first port either, once that is in use again.
  ASSERT_EQ(reach.dial_started(0), kAlternate);
  fail(reach, 0, chance);
  fail(reach, 0, chance);
  ASSERT_EQ(reach.port(), kPort);
  fail(reach, 0, chance);
  reach.dial_reached(kAlternate, address(1));
  fail(reach, 0, chance);
  EXPECT_EQ(reach.port(), kAlternate);
}

struct OnAlternate : testing::Test {
  OnAlternate() {
    fail(reach, 0, chance);
    fail(reach, 0, chance);
    reach.dial_reached(reach.dial_started(0), address(1));
  }
  const std::int64_t after = ReachOptions().return_to_port_ns;
  base::Prng chance{11};
  Reach reach{two_ports()};
};

TEST_F(OnAlternate, OneDialAsksForTheFirstPortAndTheOthersStay) {
  EXPECT_EQ(reach.dial_started(after - 1), kAlternate);
  EXPECT_EQ(reach.dial_started(after), kPort);
  for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(reach.dial_started(after + i), kAlternate);
  reach.dial_failed(after + kSecond, kPort, true, chance);
  EXPECT_EQ(reach.port(), kAlternate);
  EXPECT_EQ(reach.dial_started(2 * after - 1), kAlternate);
  EXPECT_EQ(reach.dial_started(2 * after), kPort);
  // One only, however long it takes.
  EXPECT_EQ(reach.dial_started(4 * after), kAlternate);
  reach.dial_reached(kPort, address(1));
  EXPECT_EQ(reach.port(), kPort);
  // And so the next time.
  for (unsigned i = 0; i < 2; ++i) {
    ASSERT_EQ(reach.dial_started(4 * after), kPort);
    reach.dial_failed(4 * after, kPort, true, chance);
  }
  EXPECT_EQ(reach.dial_started(5 * after - 1), kAlternate);
  EXPECT_EQ(reach.dial_started(5 * after), kPort);
}

TEST_F(OnAlternate, AQuestionThatWasNotAskedIsAskedAgain) {
  for (unsigned i = 0; i < 3; ++i) {
    ASSERT_EQ(reach.dial_started(after + i), kPort);
    reach.dial_failed(after + i, kPort, false, chance);  // closed, deferred, or another address of the name is tried
  }
  ASSERT_EQ(reach.dial_started(after + 3), kPort);
  reach.dial_failed(after + 3, kPort, true, chance);
  EXPECT_EQ(reach.dial_started(after + 3), kAlternate);
}

TEST_F(OnAlternate, AFirstPortThatStaysDeadOpensNoBreaker) {
  for (unsigned i = 1; i <= 10; ++i) {
    const std::int64_t now = i * after;
    ASSERT_EQ(reach.dial_started(now), kPort);
    reach.dial_failed(now, kPort, true, chance);
    ASSERT_FALSE(reach.down());
    ASSERT_EQ(reach.port(), kAlternate);
  }
}

TEST(Addresses, AreSpreadOver) {
  base::Prng chance(13);
  Reach reach(ReachOptions{});
  const auto all = addresses(8);
  std::array<unsigned, 8> chosen{};
  for (unsigned i = 0; i < 8000; ++i) {
    const Reach::Choice choice = reach.choose(all, 0, chance);
    ++chosen[choice.index];
    ASSERT_TRUE(choice.others_fresh);
  }
  for (const unsigned count : chosen) EXPECT_NEAR(count, 1000, 150);
  // And while connections stay, each gets its share exactly.
  chosen = {};
  for (unsigned i = 0; i < 800; ++i) {
    const Reach::Choice choice = reach.choose(all, 0, chance);
    ++chosen[choice.index];
    reach.address_used(all[choice.index], 1);
  }
  for (const unsigned count : chosen) EXPECT_EQ(count, 100u);
  EXPECT_EQ(reach.addresses_known(), 8u);
  for (const base::Address& each : all) {
    for (unsigned i = 0; i < 100; ++i) reach.address_used(each, -1);
  }
  EXPECT_EQ(reach.addresses_known(), 0u);
}

TEST(Addresses, OneThatFailedIsAvoidedForTwiceAsLongEachTime) {
  base::Prng chance(14);
  Reach reach(ReachOptions{});
  const auto all = addresses(2);
  const auto avoided = [&](std::int64_t now) {
    bool chosen = false;
    for (unsigned i = 0; i < 64; ++i) chosen |= reach.choose(all, now, chance).index == 0;
    return !chosen;
  };
  std::int64_t now = 0;
  for (const std::int64_t seconds : {10, 20, 40, 80, 160, 320, 320, 320}) {
    SCOPED_TRACE(seconds);
    for (unsigned i = 0; i < 5; ++i) reach.address_failed(all[0], now);  // under way together: one failure
    EXPECT_TRUE(avoided(now));
    EXPECT_TRUE(avoided(now + seconds * kSecond - 1));
    EXPECT_FALSE(avoided(now + seconds * kSecond));
    now += seconds * kSecond;
  }
  // Reached: as if nothing had been.
  reach.address_failed(all[0], now);
  reach.dial_started(now);
  reach.dial_reached(kPort, all[0]);
  EXPECT_FALSE(avoided(now));
  reach.address_failed(all[0], now);
  EXPECT_FALSE(avoided(now + 10 * kSecond));
}

TEST(Addresses, OfFailedOnesTheOneThatFailedLongestAgoIsTried) {
  base::Prng chance(15);
  Reach reach(ReachOptions{});
  const auto all = addresses(4);
  for (const std::uint32_t i : {2u, 0u, 3u, 1u}) reach.address_failed(all[i], i == 2 ? 0 : 1000 + i);
  // 2 at 0, 0 at 1000, 1 at 1001, 3 at 1003.
  for (const std::size_t expected : {2u, 0u, 1u, 3u, 2u}) {
    const Reach::Choice choice = reach.choose(all, 5000, chance);
    EXPECT_EQ(choice.index, expected);
    EXPECT_FALSE(choice.others_fresh);
    reach.address_failed(all[choice.index], 5000 + static_cast<std::int64_t>(expected == 2 ? 0 : expected + 1));
  }
}

TEST(Addresses, SaysExactlyWhetherAnotherMayDo) {
  struct Case {
    std::vector<std::uint32_t> offered;
    std::set<std::uint32_t> failed;
    bool others_fresh;
  };
  for (const Case& each : std::vector<Case>{{{1}, {}, false},
                                            {{1}, {1}, false},
                                            {{1, 2}, {}, true},
                                            {{1, 2}, {1}, false},
                                            {{1, 2}, {1, 2}, false},
                                            {{1, 2, 3}, {1}, true},
                                            {{1, 2, 3}, {1, 3}, false},
                                            {{1, 1}, {}, false},
                                            {{1, 1, 2}, {2}, false},
                                            {{1, 2, 1}, {}, true},
                                            {{2, 1, 1, 3}, {2, 3}, false}}) {
    base::Prng chance(16);
    Reach reach(ReachOptions{});
    std::vector<base::Address> offered;
    for (const std::uint32_t number : each.offered) offered.push_back(address(number));
    for (const std::uint32_t number : each.failed) reach.address_failed(address(number), 0);
    for (unsigned i = 0; i < 50; ++i) {
      const Reach::Choice choice = reach.choose(offered, kSecond, chance);
      EXPECT_EQ(choice.others_fresh, each.others_fresh) << testing::PrintToString(each.offered);
      if (each.failed.size() < std::set<std::uint32_t>(each.offered.begin(), each.offered.end()).size()) {
        EXPECT_FALSE(each.failed.count(each.offered[choice.index]));
      }
    }
  }
}

TEST(Addresses, MemoryIsBoundedAndHoldsTheLatestFailures) {
  base::Prng chance(17);
  Reach reach(ReachOptions{});
  constexpr std::uint32_t kMany = 1000;
  constexpr std::uint32_t kMost = Reach::kAddressesMax;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    reach.address_failed(address(i), i);
    ASSERT_EQ(reach.addresses_known(), std::min(i + 1, kMost));
  }
  const auto avoided = [&](std::uint32_t number) {
    const std::array<base::Address, 2> two = {address(number), address(kMany)};
    return !reach.choose(two, kMany, chance).others_fresh;
  };
  for (std::uint32_t i = 0; i < kMany; ++i) ASSERT_EQ(avoided(i), i >= kMany - kMost) << i;
  // Those in use are never forgotten, but no more than those is kept.
  for (std::uint32_t i = 0; i < 200; ++i) reach.address_used(address(i), 1);
  EXPECT_EQ(reach.addresses_known(), 200u);
  for (std::uint32_t i = 0; i < 200; ++i) reach.address_failed(address(i), kMany + i);
  for (std::uint32_t i = 0; i < 200; ++i) reach.address_used(address(i), -1);
  EXPECT_EQ(reach.addresses_known(), kMost);
  // Addresses that were reached leave nothing behind.
  for (std::uint32_t i = 0; i < kMany; ++i) {
    reach.dial_started(0);
    reach.dial_reached(kPort, address(i));
  }
  EXPECT_EQ(reach.addresses_known(), 0u);
}

TEST(Addresses, ChoicesAgreeWithAModelInAnyOrder) {
  struct Modelled {
    unsigned failures = 0;
    std::int64_t failed_at = 0;
    unsigned used = 0;
  };
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    base::Prng world(seed);
    base::Prng chance(seed + 1000);
    Reach reach(ReachOptions{});
    std::map<std::uint32_t, Modelled> model;
    std::int64_t now = 0;
    const auto avoided = [&](const Modelled& each) {
      static constexpr std::array<std::int64_t, 7> kSeconds = {0, 10, 20, 40, 80, 160, 320};
      return now - each.failed_at < kSeconds[std::min<std::size_t>(each.failures, 6)] * kSecond;
    };
    for (unsigned step = 0; step < 500; ++step) {
      now += static_cast<std::int64_t>(world.below(static_cast<std::uint64_t>(8 * kSecond)));
      std::vector<std::uint32_t> numbers(1 + world.below(6));
      for (std::uint32_t& number : numbers) number = static_cast<std::uint32_t>(world.below(8));
      std::vector<base::Address> offered;
      std::set<std::uint32_t> fresh;
      for (const std::uint32_t number : numbers) {
        offered.push_back(address(number));
        if (!avoided(model[number])) fresh.insert(number);
      }
      const Reach::Choice choice = reach.choose(offered, now, chance);
      ASSERT_LT(choice.index, offered.size());
      const std::uint32_t chosen = numbers[choice.index];
      ASSERT_EQ(choice.others_fresh, fresh.size() > 1);
      for (const std::uint32_t number : numbers) {
        if (fresh.empty()) {
          ASSERT_LE(model[chosen].failed_at, model[number].failed_at);
        } else {
          ASSERT_TRUE(fresh.count(chosen));
          ASSERT_TRUE(!fresh.count(number) || model[chosen].used <= model[number].used);
        }
      }
      Modelled& each = model[chosen];
      switch (world.below(4)) {
        case 0:
          reach.address_used(address(chosen), 1);
          ++each.used;
          break;
        case 1:
          if (each.used == 0) break;
          reach.address_used(address(chosen), -1);
          --each.used;
          break;
        case 2:
          reach.address_failed(address(chosen), now);
          if (!avoided(each)) ++each.failures;
          each.failed_at = now;
          break;
        default:
          reach.dial_started(now);
          reach.dial_reached(kPort, address(chosen));
          each.failures = 0;
      }
    }
  }
}

}  // namespace
}  // namespace tocsin::dispatch::test
