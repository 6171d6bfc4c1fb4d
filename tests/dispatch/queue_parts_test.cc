// SPDX-License-Identifier: Apache-2.0
// What queue and shard are made of: the free slots, the wheel of ticks, the tables of tokens, the heap of deadlines, the
// buffers that are lent.
#include <gtest/gtest.h>

#include <malloc.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/prng.h"
#include "dispatch/buffers.h"
#include "dispatch/deadlines.h"
#include "dispatch/free_slots.h"
#include "dispatch/push_queue.h"
#include "dispatch/timer_wheel.h"
#include "dispatch/token_table.h"

namespace tocsin::dispatch {
namespace {

std::string numbered(std::string text, std::uint64_t number) { return text += std::to_string(number); }
base::ByteView view(const std::string& text) { return std::as_bytes(std::span(text)); }

// ---------------------------------------------------------------------------------------------------- free slots

// What upcoming() may know: the words of the lowest free slot and of the next one, if one word stands for both.
std::uint32_t upcoming_of(const std::set<std::uint32_t>& free) {
  if (free.empty()) return FreeSlots::kNone;
  const std::uint32_t first = *free.begin() / 64;
  const auto beyond = free.lower_bound(first * 64 + 64);
  const std::uint32_t next = beyond != free.end() && *beyond / 4096 == first / 64 ? *beyond / 64 : first;
  auto at = free.begin();
  for (unsigned i = 0; i < FreeSlots::kAhead; ++i) {
    if (std::next(at) == free.end() || *std::next(at) / 64 > next) break;
    ++at;
  }
  return *at;
}

TEST(FreeSlots, TakesTheLowestAcrossEachLevel) {
  for (const std::uint32_t count : {1u, 2u, 63u, 64u, 65u, 127u, 128u, 129u, 4095u, 4096u, 4097u, 8192u, 8193u, 262'143u,
                                    262'144u, 262'145u, 16'777'217u}) {
    FreeSlots free(count);
    EXPECT_EQ(free.upcoming(), FreeSlots::kNone);
    for (std::uint32_t slot = 0; slot < count; ++slot) ASSERT_EQ(free.take(), slot) << "of " << count;
    EXPECT_EQ(free.end(), count);
    EXPECT_EQ(free.upcoming(), FreeSlots::kNone);
    // Each alone, then each pair: at either side of what a word of each level covers.
    std::vector<std::uint32_t> edges;
    for (const std::uint32_t span : {1u, 64u, 4096u, 262'144u, 16'777'216u}) {
      for (const std::uint32_t slot : {span - 1, span, span + 1, count - span, count - 1 - span}) {
        if (slot < count) edges.push_back(slot);
      }
    }
    for (const std::uint32_t a : edges) {
      free.give(a);
      ASSERT_EQ(free.upcoming(), a);
      ASSERT_EQ(free.take(), a) << "of " << count;
      for (const std::uint32_t b : edges) {
        if (a == b) continue;
        free.give(a);
        free.give(b);
        ASSERT_EQ(free.upcoming(), upcoming_of({a, b}));
        ASSERT_EQ(free.take(), std::min(a, b)) << "of " << count;
        ASSERT_EQ(free.take(), std::max(a, b)) << "of " << count;
        ASSERT_EQ(free.upcoming(), FreeSlots::kNone);
      }
    }
    // All of them, from the end.
    for (std::uint32_t slot = count; slot-- != 0;) free.give(slot);
    for (std::uint32_t slot = 0; slot < count; ++slot) ASSERT_EQ(free.take(), slot) << "of " << count;
  }
}

TEST(FreeSlots, AgreesWithASet) {
  for (const std::uint32_t count : {5u, 64u, 200u, 4096u, 5000u, 300'000u}) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      base::Prng prng(seed * count);
      FreeSlots free(count);
      std::set<std::uint32_t> model;   // given back
      std::vector<std::uint32_t> used;
      std::uint32_t fresh = 0;
      const auto take = [&] {
        ASSERT_EQ(free.upcoming(), upcoming_of(model));
        const std::uint32_t slot = free.take();
        if (model.empty()) {
          ASSERT_EQ(slot, fresh++);
        } else {
          ASSERT_EQ(slot, *model.begin());
          model.erase(model.begin());
        }
        used.push_back(slot);
        ASSERT_EQ(free.end(), fresh);
      };
      const auto give = [&](std::size_t at) {
        std::swap(used[at], used.back());
        free.give(used.back());
        model.insert(used.back());
        used.pop_back();
      };
      // As full as this seed has it, once: further levels come into play.
      const auto reach = static_cast<std::uint32_t>(seed == 1 ? count : prng.below(count) + 1);
      while (used.size() < reach && !HasFatalFailure()) take();
      for (int step = 0; step < 3000 && !HasFatalFailure(); ++step) {
        // Runs, single ones, and now and then nearly all.
        const std::uint64_t kind = prng.below(100);
        std::size_t many = kind == 0 ? used.size() : kind < 40 ? 1 : prng.below(200);
        if (kind == 0 && count > 10'000 && step % 16 != 0) many = 1;
        const bool in_turn = prng.chance(0.5);
        for (std::size_t i = 0; i < many && !used.empty(); ++i) give(in_turn ? used.size() - 1 : prng.below(used.size()));
        for (std::uint64_t left = prng.below(kind == 0 ? 5000 : 150); left != 0 && used.size() < count; --left) take();
      }
      while (used.size() < count && !HasFatalFailure()) take();
      ASSERT_FALSE(HasFatalFailure()) << count << " slots, seed " << seed;
      EXPECT_EQ(free.end(), count);
    }
  }
}

TEST(FreeSlots, HasNoMoreThanItWasGiven) {
  FreeSlots free(65);
  for (std::uint32_t slot = 0; slot < 65; ++slot) free.take();
  free.give(64);
  free.take();
  EXPECT_DEATH(free.take(), "fresh_ < slots_");
}

// A bitmap of all numbers there are is half a gigabyte, of which only the beginning is used.
TEST(FreeSlots, TouchesOnlyTheMemoryOfWhatWasTaken) {
  const auto resident = [] {
    std::ifstream status("/proc/self/statm");
    std::uint64_t size = 0, pages = 0;
    status >> size >> pages;
    return pages * 4096;
  };
  ::mallopt(M_PERTURB, 0);  // with MALLOC_PERTURB_, as meson sets it, calloc writes the zeros itself
  const std::uint64_t before = resident();
  FreeSlots free(0xffffffff);
  for (std::uint32_t slot = 0; slot < 1'000'000; ++slot) ASSERT_EQ(free.take(), slot);
  for (std::uint32_t slot = 0; slot < 1'000'000; slot += 100'000) free.give(slot);
  for (std::uint32_t slot = 0; slot < 1'000'000; slot += 100'000) ASSERT_EQ(free.take(), slot);
  EXPECT_EQ(free.take(), 1'000'000u);
  EXPECT_LT(resident() - std::min(before, resident()), std::uint64_t{32} << 20);
}

// ---------------------------------------------------------------------------------------------------- wheel

struct Cell {
  WheelLink link;
  Tick due = kTickNone;
};
struct CellLinks {
  Cell* cells;
  WheelLink& link(std::uint32_t slot) const { return cells[slot].link; }
  Tick due(std::uint32_t slot) const { return cells[slot].due; }
  void set_due(std::uint32_t slot, Tick due) const { cells[slot].due = due; }
};

TEST(TimerWheel, FiresAtItsTickAcrossLevels) {
  for (const Tick base : {Tick{0}, Tick{1}, Tick{255}, Tick{256}, Tick{65'535}, Tick{65'536}, Tick{(1u << 24) - 1},
                          Tick{1u << 24}, Tick{0x7fffffff}, Tick{0xfffffe00}}) {
    for (const Tick after : {1u, 2u, 254u, 255u, 256u, 257u, 511u, 65'535u, 65'536u, 65'537u, (1u << 24) - 1, 1u << 24,
                             0xfffffffeu}) {
      if (after > kTickMax - base) continue;
      std::vector<Cell> cells(2);
      TimerWheel<CellLinks> wheel(CellLinks{cells.data()});
      int fired = 0;
      const auto fire = [&](std::uint32_t slot) { fired += slot == 0 ? 1 : 100; };
      wheel.advance(base, fire);
      wheel.link(0, base + after);
      wheel.link(1, base + after);
      wheel.unlink(1);
      EXPECT_LE(wheel.next_due(), base + after);
      wheel.advance(base + after - 1, fire);
      EXPECT_EQ(fired, 0) << base << " + " << after;
      EXPECT_EQ(wheel.next_due(), base + after) << "one tick before, it is known exactly";
      wheel.advance(base + after, fire);
      EXPECT_EQ(fired, 1) << base << " + " << after;
      EXPECT_EQ(wheel.size(), 0u);
      EXPECT_EQ(wheel.next_due(), kTickMax);
    }
  }
}

TEST(TimerWheel, AgreesWithAMap) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    base::Prng prng(seed);
    constexpr std::uint32_t kCells = 200;
    std::vector<Cell> cells(kCells);
    TimerWheel<CellLinks> wheel(CellLinks{cells.data()});
    std::map<std::uint32_t, Tick> model;
    Tick now = seed % 4 == 0 ? 0xff000000u : 0;
    wheel.advance(now, [](std::uint32_t) {});
    for (int step = 0; step < 3000; ++step) {
      const std::uint64_t span = std::uint64_t{1} << prng.below(26);
      const Tick ahead = static_cast<Tick>(std::min<std::uint64_t>(prng.below(span) + 1, kTickMax - now));
      const auto slot = static_cast<std::uint32_t>(prng.below(kCells));
      if (prng.chance(0.6)) {
        wheel.unlink(slot);
        wheel.link(slot, now + ahead);
        model[slot] = std::max(now + ahead, now + 1);
      } else if (prng.chance(0.3)) {
        wheel.unlink(slot);
        model.erase(slot);
      } else if (ahead != 0) {
        // Sometimes exactly to where it says.
        const Tick to = prng.chance(0.4) && wheel.next_due() != kTickMax ? wheel.next_due() : now + ahead;
        std::set<std::uint32_t> fired, due;
        for (const auto& [each, at] : model) {
          if (at <= to) due.insert(each);
        }
        wheel.advance(to, [&](std::uint32_t each) { EXPECT_TRUE(fired.insert(each).second); });
        ASSERT_EQ(fired, due) << "seed " << seed << ", step " << step;
        for (const std::uint32_t each : due) model.erase(each);
        now = to;
      }
      ASSERT_EQ(wheel.size(), model.size());
      Tick earliest = kTickMax;
      for (const auto& [each, at] : model) earliest = std::min(earliest, at);
      ASSERT_LE(wheel.next_due(), earliest);
      if (!model.empty()) {
        ASSERT_GT(wheel.next_due(), now);
      }
      if (now >= kTickMax - 1) break;
    }
  }
}

TEST(TimerWheel, LinksAgainWhileFiring) {
  std::vector<Cell> cells(1);
  TimerWheel<CellLinks> wheel(CellLinks{cells.data()});
  wheel.link(0, 5);
  std::vector<Tick> next{300, 70'000, 20'000'000};
  int fired = 0;
  wheel.advance(100'000'000, [&](std::uint32_t slot) {
    ++fired;
    if (next.empty()) return;
    wheel.link(slot, next.front());
    next.erase(next.begin());
  });
  EXPECT_EQ(fired, 4);
}

// ---------------------------------------------------------------------------------------------------- tokens

TEST(DeadTokens, AgreesWithAMapWhileThereIsRoom) {
  base::Prng prng(3);
  DeadTokens dead(5000, 77);
  EXPECT_TRUE(dead.empty());
  EXPECT_EQ(dead.find(0, view("x")), 0);
  std::unordered_map<std::string, std::int64_t> model;
  for (int step = 0; step < 60'000; ++step) {
    const auto topic = static_cast<std::uint32_t>(prng.below(2));
    const std::string token = numbered("token", prng.below(2400));
    const std::string key = std::to_string(topic) + token;
    if (prng.chance(0.5)) {
      const auto ms = static_cast<std::int64_t>(1 + prng.below(1'000'000));
      dead.add(topic, view(token), ms);
      model[key] = std::max(model[key], ms);
    } else if (prng.chance(0.2)) {
      dead.remove(topic, view(token));
      model.erase(key);
    }
    const auto found = model.find(key);
    ASSERT_EQ(dead.find(topic, view(token)), found == model.end() ? 0 : found->second);
    ASSERT_EQ(dead.size(), model.size());
  }
  EXPECT_GT(dead.size(), 3000u);
}

TEST(DeadTokens, BoundsItsPlacesAndKeepsTheLaterOnes) {
  constexpr std::uint32_t kPlaces = 10'000;
  DeadTokens dead(kPlaces, 5);
  for (std::uint32_t i = 0; i < kPlaces; ++i) dead.add(0, view(numbered("t", i)), 1 + i);
  // Nothing had to go before it was full.
  EXPECT_EQ(dead.size(), kPlaces);
  EXPECT_LE(dead.bytes(), 25 * kPlaces);
  for (std::uint32_t i = 0; i < kPlaces; ++i) ASSERT_EQ(dead.find(0, view(numbered("t", i))), 1 + i);
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < kPlaces; ++i) {
    const std::string token = numbered("u", i);
    dead.add(0, view(token), 1'000'000 + i);
    kept += dead.find(0, view(token)) == 1'000'000 + i ? 1 : 0;
  }
  EXPECT_EQ(dead.size(), kPlaces);
  EXPECT_GT(kept, kPlaces * 9 / 10);
  EXPECT_EQ(dead.find(1, view("u1")), 0) << "another topic";

  DeadTokens one(1, 5);
  one.add(0, view("a"), 5);
  one.add(0, view("b"), 4);
  EXPECT_EQ(one.find(0, view("a")), 5);
  one.add(0, view("c"), 6);
  EXPECT_EQ(one.find(0, view("a")), 0);
  EXPECT_EQ(one.find(0, view("c")), 6);
  DeadTokens none(0, 5);
  none.add(0, view("a"), 5);
  EXPECT_TRUE(none.empty());
}

// What goes leaves its bits in the filter; however much comes and goes, it neither loses one that is there nor comes to let
// everything through.
TEST(DeadTokens, FilterIsRenewedWhileTokensComeAndGo) {
  constexpr std::uint32_t kPlaces = 4000;
  DeadTokens dead(kPlaces, 9);
  std::size_t most = 0;
  unsigned lost = 0;
  for (std::uint32_t i = 0; i < 100 * kPlaces; ++i) {
    dead.add(0, view(numbered("t", i)), 1 + i);
    most = std::max(most, dead.bytes());
    // The newest one makes room for itself, but where a full table has nothing at its two places.
    lost += dead.find(0, view(numbered("t", i))) == 1 + i ? 0 : 1;
  }
  EXPECT_LT(lost, 40u) << "of 400,000";
  EXPECT_EQ(dead.size(), kPlaces);
  EXPECT_LE(most, 28 * kPlaces);
  unsigned passed = 0;
  for (std::uint32_t i = 0; i < 10'000; ++i) passed += dead.may_be(dead.print_of(0, view(numbered("none", i)))) ? 1 : 0;
  EXPECT_LT(passed, 500u) << "of 10,000 that were never dead";
}

// A full filter lets one in a hundred through, and does not stop one that is dead.
TEST(DeadTokens, FilterStopsNearlyAllThatAreNotDeadAndNoOther) {
  constexpr std::uint32_t kPlaces = 200'000;
  DeadTokens dead(kPlaces, 11);
  for (std::uint32_t i = 0; i < kPlaces; ++i) dead.add(i % 3, view(numbered("t", i)), 1 + i);
  unsigned passed = 0;
  std::uint32_t lost = 0;
  for (std::uint32_t i = 0; i < kPlaces; ++i) {
    lost += dead.find(i % 3, view(numbered("t", i))) == 1 + i ? 0 : 1;
    passed += dead.may_be(dead.print_of(i % 3, view(numbered("none", i)))) ? 1 : 0;
    ASSERT_EQ(dead.find((i + 1) % 3, view(numbered("t", i))), 0) << "another topic";
  }
  // The last ones before it is full may find nothing to move out of their two buckets.
  EXPECT_LE(lost, 20u);
  EXPECT_LT(passed, kPlaces / 50);
  EXPECT_GT(passed, kPlaces / 1000) << "a filter far better than its size allows was not asked";
}

TEST(TokenFingerprint, DependsOnEverything) {
  std::set<std::uint64_t> prints;
  std::size_t made = 0;
  const auto note = [&](std::uint64_t seed, std::uint32_t topic, const std::string& token) {
    prints.insert(token_fingerprint(seed, topic, view(token)));
    ++made;
  };
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, ~std::uint64_t{0}, ~std::uint64_t{1}}) {
    for (const std::uint32_t topic : {0u, 1u, 2u, 0x80000000u}) {
      // What is not there is as good as 0 to the multiplications, yet no zero, and no byte at any place, is the same as none.
      for (std::size_t size = 0; size <= 100; ++size) {
        note(seed, topic, std::string(size, '\0'));
        if (size != 0) note(seed, topic, std::string(size, 'a'));
        if (size > 1) note(seed, topic, std::string(size - 1, 'a') + '\0');
        for (std::size_t at = 0; at < size; ++at) {
          std::string token(size, '\0');
          token[at] = 'b';
          note(seed, topic, token);
        }
      }
    }
  }
  EXPECT_EQ(prints.size(), made);
  EXPECT_FALSE(prints.contains(0));
}

// Each bit of token, topic and seed turns over each bit of the fingerprint in half of all cases.
TEST(TokenFingerprint, EachBitMixesIntoAll) {
  constexpr unsigned kRounds = 10'000;
  for (const std::size_t size : {std::size_t{8}, std::size_t{32}, std::size_t{47}}) {
    const auto inputs = static_cast<unsigned>(8 * size + 32 + 64);
    std::vector<std::array<std::uint32_t, 64>> turned(inputs);
    base::Prng prng(size);
    for (unsigned round = 0; round < kRounds; ++round) {
      std::vector<std::byte> token(size);
      for (std::byte& each : token) each = static_cast<std::byte>(prng.below(256));
      std::uint64_t seed = prng.next();
      auto topic = static_cast<std::uint32_t>(prng.below(1000));
      const std::uint64_t print = token_fingerprint(seed, topic, token);
      for (unsigned input = 0; input < inputs; ++input) {
        const auto turn = [&] {
          if (input < 8 * size) {
            token[input / 8] ^= std::byte{1} << input % 8;
          } else if (input < 8 * size + 32) {
            topic ^= 1u << (input - 8 * size);
          } else {
            seed ^= std::uint64_t{1} << (input - 8 * size - 32);
          }
        };
        turn();
        std::uint64_t changed = print ^ token_fingerprint(seed, topic, token);
        turn();
        for (; changed != 0; changed &= changed - 1) ++turned[input][static_cast<unsigned>(std::countr_zero(changed))];
      }
    }
    for (unsigned input = 0; input < inputs; ++input) {
      for (unsigned bit = 0; bit < 64; ++bit) {
        // Five deviations of a fair coin, 50 each.
        ASSERT_NEAR(turned[input][bit], kRounds / 2, 280) << "bit " << input << " of " << size << " bytes into bit " << bit;
      }
    }
  }
}

// Tokens that differ in a counter at some place, or in two bits, or that are made of the same words.
TEST(TokenFingerprint, NearlyEqualTokensDiffer) {
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{0x0123456789abcdef}}) {
    std::vector<std::uint64_t> prints;
    std::array<std::uint64_t, 4> words{};
    const auto note = [&] { prints.push_back(token_fingerprint(seed, 3, std::as_bytes(std::span(words)))); };
    note();
    constexpr std::uint64_t kCount = 150'000;
    for (std::size_t at = 0; at < words.size(); ++at) {
      for (std::uint64_t i = 1; i <= kCount; ++i) {
        words[at] = i;
        note();
        words[at] = i << 40;
        note();
      }
      words[at] = 0;
    }
    for (unsigned a = 0; a < 256; ++a) {
      for (unsigned b = 0; b < a; ++b) {
        words = {0x1111111111111111, 0x1111111111111111, 0x1111111111111111, 0x1111111111111111};
        words[a / 64] ^= std::uint64_t{1} << a % 64;
        words[b / 64] ^= std::uint64_t{1} << b % 64;
        note();
      }
    }
    words = {0x123456789, 0xabcdef012, 0xfeedfacecafe, 0x5555};
    std::sort(words.begin(), words.end());
    do note();
    while (std::next_permutation(words.begin(), words.end()));
    const std::size_t made = prints.size();
    ASSERT_GT(made, 1'200'000u);
    // Its halves, by which tables find their places, are as chance would have them: n * n / 2 / 2^32 pairs are alike.
    const auto alike = [&](unsigned shift) {
      std::vector<std::uint32_t> halves;
      for (const std::uint64_t print : prints) halves.push_back(static_cast<std::uint32_t>(print >> shift));
      std::sort(halves.begin(), halves.end());
      return static_cast<double>(halves.end() - std::unique(halves.begin(), halves.end()));
    };
    const double expected = static_cast<double>(made) * static_cast<double>(made) / 2 / 4294967296.0;
    for (const unsigned shift : {0u, 16u, 32u}) EXPECT_NEAR(alike(shift), expected, 6 * std::sqrt(expected)) << "shift " << shift;
    std::sort(prints.begin(), prints.end());
    EXPECT_EQ(std::unique(prints.begin(), prints.end()), prints.end());
  }
}

TEST(TokenHolds, DoubleUpToFiveMinutesAndAreForgotten) {
  constexpr Tick kSecond = base::kSecond / kTickNs;
  TokenHolds holds(1);
  base::Prng prng(1);
  Tick now = 1000;
  Tick bound = kSecond;
  for (int i = 0; i < 12; ++i) {
    const Tick until = holds.hold(0, view("t"), now, prng);
    EXPECT_GT(until, now + bound / 2);
    EXPECT_LE(until, now + bound);
    EXPECT_EQ(holds.until(0, view("t"), now), until);
    EXPECT_EQ(holds.until(0, view("t"), until - 1), until);
    EXPECT_EQ(holds.until(0, view("t"), until), kTickNone);
    EXPECT_EQ(holds.until(1, view("t"), now), kTickNone);
    EXPECT_EQ(holds.hold(0, view("t"), until - 1, prng), until) << "one hold for all that were in flight";
    now = until;
    bound = std::min<Tick>(2 * bound, 300 * kSecond);
  }
  holds.forget(0, view("t"));
  EXPECT_TRUE(holds.empty());
  EXPECT_LE(holds.hold(0, view("t"), now, prng), now + kSecond);
  now += 2000 * kSecond;
  EXPECT_LE(holds.hold(0, view("t"), now, prng), now + kSecond) << "long ago";
}

TEST(TokenHolds, AreBounded) {
  TokenHolds holds(1);
  base::Prng prng(1);
  for (std::uint32_t i = 0; i < TokenHolds::kMost + 100; ++i) {
    const Tick until = holds.hold(0, view(numbered("t", i)), 1, prng);
    ASSERT_GT(until, 1u);
  }
  EXPECT_EQ(holds.size(), TokenHolds::kMost);
  EXPECT_EQ(holds.until(0, view(numbered("t", TokenHolds::kMost + 5)), 1), kTickNone);
  // All have ended: there is room again.
  holds.hold(0, view("later"), 1000, prng);
  EXPECT_EQ(holds.size(), 1u);
}

// ---------------------------------------------------------------------------------------------------- deadlines

TEST(DeadlineHeap, AgreesWithAModel) {
  base::Prng prng(7);
  Deadlines heap;
  std::map<std::uint32_t, std::int64_t> model;
  std::int64_t now = 0;
  for (int i = 0; i < 50'000; ++i) {
    const auto number = static_cast<std::uint32_t>(prng.below(200));
    switch (prng.below(6)) {
      case 0:
        heap.cancel(number);
        model.erase(number);
        break;
      case 1: {
        now += static_cast<std::int64_t>(prng.below(50));
        std::int64_t before = 0;
        for (std::uint32_t due; (due = heap.take(now)) != Deadlines::kNone;) {
          ASSERT_EQ(model.count(due), 1u);
          ASSERT_LE(model[due], now);
          ASSERT_GE(model[due], before) << "the earliest goes first";
          before = model[due];
          model.erase(due);
        }
        for (const auto& [left, at] : model) ASSERT_GT(at, now);
        break;
      }
      default: {
        const std::int64_t at = prng.chance(0.05) ? base::kNever : now + static_cast<std::int64_t>(prng.below(1000));
        heap.bring(number, at);
        if (at == base::kNever) break;
        const auto [found, fresh] = model.try_emplace(number, at);
        if (!fresh) found->second = std::min(found->second, at);
        break;
      }
    }
    std::int64_t earliest = base::kNever;
    for (const auto& [left, at] : model) earliest = std::min(earliest, at);
    ASSERT_EQ(heap.earliest(), earliest);
    ASSERT_EQ(heap.size(), model.size());
  }
  heap.clear();
  EXPECT_EQ(heap.earliest(), base::kNever);
  heap.bring(3, 10);
  EXPECT_EQ(heap.take(10), 3u);
}

// ------------------------------------------------------------------------------------------------------- buffers

base::ByteBuffer with_memory(std::size_t bytes, const std::byte*& memory) {
  base::ByteBuffer buffer(bytes);
  memory = buffer.readable().data();
  return buffer;
}

TEST(BuffersLent, WhatCameBackLastGoesFirst) {
  Buffers buffers(8);
  base::ByteBuffer none;
  buffers.lend(none);  // there is none: it gets its own
  EXPECT_EQ(none.capacity(), 0u);
  buffers.give_back(none);  // and there is nothing to give
  EXPECT_EQ(buffers.kept(), 0u);
  const std::byte *first, *second;
  base::ByteBuffer a = with_memory(1000, first), b = with_memory(2000, second);
  a.append("read");
  a.consume(4);
  buffers.give_back(a);
  buffers.give_back(b);
  EXPECT_EQ(a.capacity(), 0u);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(buffers.kept(), 2u);
  buffers.lend(a);
  EXPECT_EQ(a.readable().data(), second);
  EXPECT_EQ(a.capacity(), 2000u);
  EXPECT_TRUE(a.empty());
  buffers.lend(b);
  EXPECT_EQ(b.readable().data(), first);
  EXPECT_EQ(buffers.kept(), 0u);
}

// Two borrowers never have the same memory, and what one has written stays where it is.
TEST(BuffersLent, ABorrowerKeepsItsMemory) {
  Buffers buffers(8);
  const std::byte *first, *second;
  base::ByteBuffer a = with_memory(1000, first), b = with_memory(1000, second);
  buffers.give_back(a);
  buffers.give_back(b);
  buffers.lend(a);
  a.append("mine");
  buffers.lend(a);  // it has memory: nothing is lent, and nothing lost
  EXPECT_EQ(buffers.kept(), 1u);
  EXPECT_EQ(base::as_text(a.readable()), "mine");
  buffers.lend(b);
  EXPECT_NE(b.readable().data(), a.readable().data());
  b.append("theirs");
  EXPECT_EQ(base::as_text(a.readable()), "mine");
  a.clear();
  buffers.lend(a);  // empty, with its memory
  EXPECT_EQ(a.readable().data(), second);
}

TEST(BuffersLent, NoMoreAreKeptThanIsSaid) {
  Buffers buffers(3);
  const std::byte* memory[5];
  for (const std::byte*& each : memory) {
    base::ByteBuffer buffer = with_memory(100, each);
    buffers.give_back(buffer);
    EXPECT_EQ(buffer.capacity(), 0u);  // kept or freed
  }
  EXPECT_EQ(buffers.kept(), 3u);
  buffers.trim(3);
  EXPECT_EQ(buffers.kept(), 3u);
  buffers.trim(2);  // the one that lay there longest
  EXPECT_EQ(buffers.kept(), 2u);
  base::ByteBuffer a, b, c;
  buffers.lend(a);
  buffers.lend(b);
  buffers.lend(c);
  EXPECT_EQ(a.readable().data(), memory[2]);
  EXPECT_EQ(b.readable().data(), memory[1]);
  EXPECT_EQ(c.capacity(), 0u);
  buffers.trim(0);
  Buffers nothing(0);
  nothing.give_back(a);
  EXPECT_EQ(nothing.kept(), 0u);
  EXPECT_EQ(a.capacity(), 0u);
}

}  // namespace
}  // namespace tocsin::dispatch
