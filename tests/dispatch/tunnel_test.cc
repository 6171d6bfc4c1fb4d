// SPDX-License-Identifier: Apache-2.0
// The way through a proxy: CONNECT and every cut of its answer. And retries: how long, how many, how fast after an outage.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dispatch/retry.h"
#include "dispatch/tunnel.h"

namespace tocsin::dispatch::test {
namespace {

using State = TunnelAnswer::State;
using base::kSecond;

TEST(Connect, AsksForHostAndPort) {
  EXPECT_EQ(connect_request("api.push.apple.com", 443, ""),
            "CONNECT api.push.apple.com:443 HTTP/1.1\r\nHost: api.push.apple.com:443\r\n\r\n");
  EXPECT_EQ(connect_request("192.0.2.1", 2197, "Basic dTpw"),
            "CONNECT 192.0.2.1:2197 HTTP/1.1\r\nHost: 192.0.2.1:2197\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
  EXPECT_EQ(connect_request("2001:db8::1", 65535, ""),
            "CONNECT [2001:db8::1]:65535 HTTP/1.1\r\nHost: [2001:db8::1]:65535\r\n\r\n");
  EXPECT_EQ(connect_request("[::1]", 1, ""), "CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\n\r\n");
}

struct Outcome {
  State state = State::more;
  std::size_t used = 0;
  unsigned status = 0;
  bool definite = false;
  std::string text;
  bool operator==(const Outcome&) const = default;
};

// Feeds `bytes` in pieces that end at `cuts` and at the end. Each piece is memory of its own, so that a sanitizer sees a
// read behind it.
Outcome feed(std::string_view bytes, const std::vector<std::size_t>& cuts) {
  TunnelAnswer answer;
  Outcome outcome;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= cuts.size() && outcome.state == State::more; ++i) {
    const std::size_t size = (i < cuts.size() ? cuts[i] : bytes.size()) - from;
    const auto piece = std::make_unique<std::byte[]>(size);
    std::copy_n(base::as_bytes(bytes).data() + from, size, piece.get());
    std::size_t used = size + 1;
    outcome.state = answer.feed({piece.get(), size}, used);
    EXPECT_LE(used, size);
    if (outcome.state == State::more) {
      EXPECT_EQ(used, size);
    }
    outcome.used += used;
    from += size;
  }
  outcome.status = answer.status();
  outcome.definite = answer.definite();
  outcome.text = answer.text();
  EXPECT_EQ(outcome.text.empty(), outcome.state != State::refused);
  return outcome;
}

std::vector<std::size_t> each_byte(std::size_t size) {
  std::vector<std::size_t> cuts;
  for (std::size_t i = 1; i < size; ++i) cuts.push_back(i);
  return cuts;
}

struct Answer {
  std::string head;  // all that is the proxy's own
  State state;
  unsigned status;
  bool definite = false;
  std::string behind = {};
};

const std::vector<Answer>& answers() {
  using namespace std::string_literals;
  static const std::vector<Answer> all = {
      {"HTTP/1.1 200 Connection established\r\n\r\n", State::open, 200},
      {"HTTP/1.1 200 OK\r\nVia: 1.1 proxy\r\nX-Empty:\r\n\r\n", State::open, 200, false, "\x16\x03\x03\r\n\r\n"},
      {"HTTP/1.0 200 Connection established\r\n\r\n", State::open, 200, false, "HTTP/1.1 502 no\r\n\r\n"},
      {"HTTP/1.1 200\r\n\r\n", State::open, 200},
      {"HTTP/1.1 200 \r\n\r\n", State::open, 200},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", State::open, 204, false, "hello"},
      {"HTTP/1.1 200 OK\nServer: old\n\n", State::open, 200, false, "\n"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", State::open, 200, false, "x"},
      {"HTTP/1.1 102 P\r\nA: b\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 407 A\r\n\r\n", State::refused, 407, true},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", State::refused, 101},
      {"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", State::refused, 302},
      {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", State::refused, 407, true, "<html>"},
      {"HTTP/1.1 403 Forbidden\r\n\r\n", State::refused, 403, true},
      {"HTTP/1.1 405 Method Not Allowed\r\n\r\n", State::refused, 405, true},
      {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\n", State::refused, 502, false, "bad"},
      {"HTTP/1.1 503 Service Unavailable\r\n\r\n", State::refused, 503},
      {"HTTP/1.1 999 ?\r\n\r\n", State::refused, 999},
      // No HTTP/1: refused where that is seen, and not waited for until a line ends.
      {"\x15", State::refused, 0, true, "\x03\x01\x00\x02\x02\x46"s},
      {"S", State::refused, 0, true, "SH-2.0-OpenSSH_9.2\r\n"},
      {"HTTP/2", State::refused, 0, true, " 200\r\n\r\n"},
      {"HTTP/1.x 200 OK\r\n", State::refused, 0, true},
      {"HTTP/1.1 2x0 OK\r\n", State::refused, 0, true, "\r\n"},
      {"HTTP/1.1 099 OK\r\n", State::refused, 0, true, "\r\n"},
      {"HTTP/1.1 2000 OK\r\n", State::refused, 0, true, "\r\n"},
      {"HTTP/1.1  200 OK\r\n", State::refused, 0, true, "\r\n"},
      {"HTTP/1.1\r\n", State::refused, 0, true, "\r\n"},
      {"\r", State::refused, 0, true, "\n"},
      {"\n", State::refused, 0, true, "\n"},
      {"HTTP/1.1 100 Continue\r\n\r\n<", State::refused, 100, true, "html>"},
      {"\0"s, State::refused, 0, true, "\0\0"s},
      {"", State::more, 0},
      {"HTTP/1.1 200 OK", State::more, 0},
      {"HTTP/1.1 200 OK\r\n", State::more, 200},
      {"HTTP/1.1 200 OK\r\n\r", State::more, 200},
      {"HTTP/1.1 200 OK\r\n\r\r\n", State::more, 200},  // a line that holds a carriage return does not end the head
      {"HTTP/1.1 100 Continue\r\n\r\n", State::more, 100},
  };
  return all;
}

TEST(Tunnel, EveryAnswerInEveryCut) {
  for (const Answer& each : answers()) {
    SCOPED_TRACE(each.head);
    const std::string bytes = each.head + each.behind;
    const Outcome whole = feed(bytes, {});
    EXPECT_EQ(whole.state, each.state);
    EXPECT_EQ(whole.used, each.head.size());
    EXPECT_EQ(whole.status, each.status);
    EXPECT_EQ(whole.definite, each.definite);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) ASSERT_EQ(feed(bytes, {cut}), whole) << cut;
    ASSERT_EQ(feed(bytes, each_byte(bytes.size())), whole);
  }
}

TEST(Tunnel, SaysWhatToLookAt) {
  const auto text = [](std::string_view bytes) { return feed(bytes, {}).text; };
  EXPECT_NE(text("HTTP/1.1 407 A\r\n\r\n").find("password"), std::string::npos);
  EXPECT_NE(text("HTTP/1.1 403 A\r\n\r\n").find("does not allow CONNECT"), std::string::npos);
  EXPECT_NE(text("HTTP/1.1 502 A\r\n\r\n").find("502"), std::string::npos);
  EXPECT_NE(text("SSH-2.0\r\n").find("HTTP proxy"), std::string::npos);
  // A proxy may say what it was given; that is not repeated.
  for (const std::string status : {"407", "403", "502", "20x"}) {
    const std::string told = text("HTTP/1.1 " + status + " Basic c2VjcmV0\r\nX: Basic c2VjcmV0\r\n\r\n");
    EXPECT_FALSE(told.empty());
    EXPECT_EQ(told.find("c2VjcmV0"), std::string::npos);
  }
}

TEST(Tunnel, AHeadHasAMostAndOneByteMoreIsRefused) {
  const std::string begin = "HTTP/1.1 200 OK\r\nX: ";
  const std::string end = "\r\n\r\n";
  const std::string fits = begin + std::string(TunnelAnswer::kHeadBytesMax - begin.size() - end.size(), 'x') + end;
  EXPECT_EQ(feed(fits + "more", {}).state, State::open);
  EXPECT_EQ(feed(fits, each_byte(fits.size())).state, State::open);
  const std::string more = begin + 'x' + fits.substr(begin.size());
  std::string interim;  // without an end of another kind
  while (interim.size() <= TunnelAnswer::kHeadBytesMax) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  for (const std::string& bytes : {more, interim, begin + std::string(20'000, 'y'), "HTTP/1.1 " + std::string(20'000, '2')}) {
    const Outcome whole = feed(bytes, {});
    EXPECT_EQ(whole.state, State::refused);
    EXPECT_TRUE(whole.definite);
    EXPECT_EQ(whole.used, TunnelAnswer::kHeadBytesMax + 1);
    EXPECT_EQ(feed(bytes, each_byte(bytes.size())), whole);
  }
}

TEST(Tunnel, WhateverComesTheCutsDoNotMatter) {
  base::Prng chance(18);
  unsigned ended = 0;
  for (unsigned round = 0; round < 20'000; ++round) {
    const Answer& from = answers()[chance.below(answers().size())];
    std::string bytes = from.head + from.behind;
    for (std::uint64_t edits = chance.below(4); edits != 0; --edits) {
      const std::size_t at = chance.below(bytes.size() + 1);
      switch (chance.below(3)) {
        case 0: bytes.insert(at, 1, static_cast<char>(chance.below(256))); break;
        case 1: bytes.insert(at, chance.chance(0.5) ? "\r\n" : "\n"); break;
        default: bytes.erase(at, 1 + chance.below(3));
      }
    }
    std::vector<std::size_t> cuts(chance.below(6));
    for (std::size_t& cut : cuts) cut = chance.below(bytes.size() + 1);
    std::sort(cuts.begin(), cuts.end());
    const Outcome whole = feed(bytes, {});
    ASSERT_EQ(feed(bytes, cuts), whole) << testing::PrintToString(bytes);
    ASSERT_LE(whole.used, bytes.size());
    if (whole.state == State::open) {
      ASSERT_EQ(whole.status / 100, 2u);
      ASSERT_EQ(bytes[whole.used - 1], '\n');
    }
    ended += whole.state != State::more ? 1 : 0;
  }
  EXPECT_GT(ended, 5000u);
}

struct Delay {
  apns::Retry how;
  unsigned how_often;
  std::int64_t later_s;
  std::int64_t bound_s;  // the wait is between a half and the whole of it; 0: none
};

TEST(RetryDelay, LiesBetweenAHalfAndTheWholeOfADoubledBound) {
  using apns::Retry;
  constexpr unsigned kOften = std::numeric_limits<unsigned>::max();
  base::Prng chance(19);
  for (const Delay& each : std::vector<Delay>{
           {Retry::later, 0, 30, 1},       {Retry::later, 1, 30, 30},       {Retry::later, 2, 30, 60},
           {Retry::later, 3, 30, 120},     {Retry::later, 5, 30, 480},      {Retry::later, 6, 30, 900},
           {Retry::later, kOften, 30, 900}, {Retry::later, 1, 5000, 900},   {Retry::later, 0, 5000, 1},
           {Retry::token, 0, 30, 1},       {Retry::token, 1, 30, 2},        {Retry::token, 8, 30, 256},
           {Retry::token, 9, 30, 300},     {Retry::token, kOften, 30, 300}, {Retry::keep_token, 0, 30, 60},
           {Retry::keep_token, 1, 30, 120}, {Retry::keep_token, 4, 30, 960}, {Retry::keep_token, 5, 30, 1200},
           {Retry::keep_token, kOften, 30, 1200}, {Retry::never, 3, 30, 0}, {Retry::elsewhere, 3, 30, 0},
           {Retry::new_token, 3, 30, 0},   {Retry::rebind, 3, 30, 0}}) {
    SCOPED_TRACE(testing::Message() << static_cast<int>(each.how) << ' ' << each.how_often << ' ' << each.later_s);
    const std::int64_t bound = each.bound_s * kSecond;
    std::int64_t least = base::kNever;
    std::int64_t most = 0;
    for (unsigned i = 0; i < 1000; ++i) {
      const std::int64_t wait = retry_delay_ns(each.how, each.how_often, each.later_s * kSecond, chance);
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    EXPECT_GE(least, bound / 2);
    EXPECT_LE(most, bound);
    // Spread over all of that.
    EXPECT_LE(least, bound / 2 + bound / 50);
    EXPECT_GE(most, bound - bound / 50);
  }
}

TEST(RetryDelay, AShortLaterIsKeptAndNoneOrLessIsHeld) {
  base::Prng chance(20);
  const std::int64_t first = retry_delay_ns(apns::Retry::later, 0, kSecond / 100, chance);
  EXPECT_GE(first, kSecond / 200);
  EXPECT_LE(first, kSecond / 100);
  for (const std::int64_t later : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    for (const unsigned how_often : {0u, 1u, 2u, 100u, std::numeric_limits<unsigned>::max()}) {
      EXPECT_GT(retry_delay_ns(apns::Retry::later, how_often, later, chance), 0);
    }
  }
}

unsigned spend_all(RetryBudget& budget, std::int64_t now) {
  unsigned spent = 0;
  while (budget.spend(now)) ++spent;
  return spent;
}

TEST(Budget, BeginsWithAHundredWhateverTheClockSays) {
  for (const std::int64_t origin : {std::int64_t{0}, kSecond, 1'000'000 * kSecond, -1'000'000 * kSecond}) {
    RetryBudget budget;
    EXPECT_EQ(spend_all(budget, origin), 100u);
    EXPECT_FALSE(budget.spend(origin));
    EXPECT_FALSE(budget.spend(origin - kSecond));
    // Ten a second.
    EXPECT_EQ(spend_all(budget, origin + 99 * base::kMillisecond), 0u);
    EXPECT_EQ(spend_all(budget, origin + 101 * base::kMillisecond), 1u);
    EXPECT_EQ(spend_all(budget, origin + 1111 * base::kMillisecond), 10u);
    // And never more than a thousand at once.
    EXPECT_EQ(spend_all(budget, origin + 1'000'000 * kSecond), 1000u);
  }
}

TEST(Budget, GrowsWithFirstAttemptsAndAcceptedPushes) {
  RetryBudget budget;
  spend_all(budget, 0);
  for (unsigned i = 0; i < 1005; ++i) budget.first_attempts(1);
  EXPECT_EQ(spend_all(budget, 0), 100u);
  // A retry that is accepted allows two: what piled up in an outage goes out faster and faster.
  unsigned in_flight = 1;
  for (unsigned round_trip = 0; round_trip < 9; ++round_trip) {
    budget.accepted(in_flight);
    const unsigned spent = spend_all(budget, 0);
    EXPECT_GE(spent, 2 * in_flight);
    EXPECT_LE(spent, 2 * in_flight + 1);
    in_flight = spent;
  }
  EXPECT_GT(in_flight, 500u);
}

TEST(Budget, NeverGivesMoreThanWasPutIn) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    base::Prng chance(seed);
    RetryBudget budget;
    std::int64_t now = static_cast<std::int64_t>(chance.below(1000)) * kSecond;
    double put_in = 100;
    double spent = 0;
    for (unsigned step = 0; step < 5000; ++step) {
      const std::uint64_t what = chance.below(100);
      if (what < 10) {
        const auto count = static_cast<std::uint32_t>(chance.below(3));
        budget.accepted(count);
        put_in += 2 * count;
      } else if (what < 30) {
        budget.first_attempts(1);
        put_in += 0.1;
      } else if (what < 40 && step != 0) {
        const std::int64_t wait = static_cast<std::int64_t>(chance.below(static_cast<std::uint64_t>(kSecond)));
        now += wait;
        put_in += 10.0 * static_cast<double>(wait) / static_cast<double>(kSecond);
      } else {
        spent += budget.spend(now) ? 1 : 0;
      }
      ASSERT_LE(spent, put_in + 1e-6) << seed;
    }
    EXPECT_GT(spent, 1000);
  }
}

TEST(RampTest, DoublesWithEachRoundTripUntilItNoLongerLimits) {
  for (const std::uint32_t run : {1u, 7u, 32u, 5000u}) {
    Ramp ramp;
    EXPECT_FALSE(ramp.active());
    EXPECT_FALSE(ramp.good_answers(run));
    EXPECT_FALSE(ramp.active());
    for (unsigned round = 0; round < 2; ++round) {
      ramp.start();
      unsigned ends = 0;
      for (std::uint32_t limit = 32; limit < 4096; limit *= 2) {
        ASSERT_TRUE(ramp.active());
        ASSERT_EQ(ramp.limit(), limit);
        for (std::uint32_t i = 0; i < limit;) {
          const std::uint32_t some = std::min(run, limit - i);
          ends += ramp.good_answers(some) ? 1 : 0;
          i += some;
        }
      }
      EXPECT_EQ(ends, 1u);
      EXPECT_FALSE(ramp.active());
    }
    ramp.start();
    EXPECT_TRUE(ramp.good_answers(10'000)) << "more than it takes";
    EXPECT_FALSE(ramp.active());
  }
}

}  // namespace
}  // namespace tocsin::dispatch::test
