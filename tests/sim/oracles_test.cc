// SPDX-License-Identifier: Apache-2.0
// The oracles can complain, each of them: bad histories, and good ones beside them.
#include <gtest/gtest.h>

#include "draw.h"
#include "fates.h"
#include "oracles.h"

namespace tocsin::sim {
namespace {

bool complains(const Verdicts& verdicts, int oracle) {
  return !verdicts.good() && verdicts.said().front().starts_with("oracle " + std::to_string(oracle) + ":");
}

Outcome outcome_of(std::uint64_t id, End end, std::uint16_t attempts = 1, std::uint8_t flags = 0) {
  Outcome outcome;
  outcome.id = id;
  outcome.end = end;
  outcome.attempts = attempts;
  outcome.flags = flags;
  return outcome;
}

TEST(Oracle, ConservationSeesLostDoubledAndStrangeOutcomes) {
  for (int bad = 0; bad < 4; ++bad) {
    Verdicts verdicts;
    Conservation oracle(verdicts);
    oracle.taken(1);
    oracle.taken(2);
    oracle.ended(1, End::accepted);
    if (bad == 1) oracle.ended(1, End::rejected);
    if (bad == 2) oracle.ended(3, End::accepted);
    if (bad != 3) oracle.ended(2, End::failed);
    oracle.nothing_pending();
    EXPECT_EQ(complains(verdicts, 1), bad != 0) << bad;
    EXPECT_EQ(verdicts.good(), bad == 0) << bad;
  }
}

TEST(Oracle, EffectsSeeDoublesAndFalseReports) {
  struct Row {
    Policy policy;
    unsigned processed;
    Outcome outcome;
    int oracle;  // 0: good
  };
  const Policy least = Policy::at_least_once, most = Policy::at_most_once;
  const Row rows[] = {
      {least, 1, outcome_of(1, End::accepted), 0},
      {least, 2, outcome_of(1, End::accepted, 2, kPossiblyDoubled), 0},
      {least, 2, outcome_of(1, End::accepted, 2), 2},
      {most, 2, outcome_of(1, End::accepted, 2, kPossiblyDoubled), 2},
      {most, 1, outcome_of(1, End::unknown), 0},
      {most, 0, outcome_of(1, End::unknown), 0},
      {least, 0, outcome_of(1, End::accepted), 3},
      {least, 1, outcome_of(1, End::failed), 2},
      {least, 1, outcome_of(1, End::returned), 2},
      {least, 1, outcome_of(1, End::expired), 2},
      {least, 1, outcome_of(1, End::superseded), 2},
      {least, 1, outcome_of(1, End::rejected), 2},
      {least, 1, outcome_of(1, End::rejected, 2, kPossiblyDoubled), 0},
      {least, 2, outcome_of(1, End::unknown, 1, kPossiblyDoubled), 2},
  };
  for (const Row& row : rows) {
    Verdicts verdicts;
    Effects oracle(verdicts);
    oracle.taken(1, row.policy);
    for (unsigned i = 0; i < row.processed; ++i) oracle.processed(1);
    oracle.ended(row.outcome, 1);
    oracle.judge();
    EXPECT_EQ(verdicts.good(), row.oracle == 0) << (&row - rows);
    EXPECT_EQ(row.oracle != 0 && complains(verdicts, row.oracle), row.oracle != 0) << (&row - rows);
  }
}

TEST(Oracle, GoawayAndPeerRules) {
  Verdicts verdicts;
  AfterGoaway oracle(verdicts);
  oracle.started(1, 1, 5);
  oracle.read(1, 10);
  oracle.started(1, 3, 9);
  oracle.started(2, 1, 99);
  EXPECT_TRUE(verdicts.good());
  oracle.started(1, 5, 11);
  EXPECT_TRUE(complains(verdicts, 5));
  Verdicts other;
  PeerRules(other).broken(3, "a stream beyond the limit");
  EXPECT_TRUE(complains(other, 4));
}

TEST(Oracle, DeadTokens) {
  for (const bool bad : {false, true}) {
    Verdicts verdicts;
    DeadTokenRule oracle(verdicts);
    oracle.known({0, "t"}, 1000, 50);
    oracle.requested({0, "t"}, 0, 50);     // was on its way
    oracle.requested({0, "t"}, 1001, 99);  // registered anew
    oracle.requested({1, "t"}, 0, 99);     // another shard does not know
    if (bad) oracle.requested({0, "t"}, 1000, 99);
    EXPECT_EQ(complains(verdicts, 6), bad);
  }
  for (const bool bad : {false, true}) {
    Verdicts verdicts;
    DeadTokenRule oracle(verdicts);
    oracle.withheld(1000, 1000);
    if (bad) oracle.withheld(1001, 1000);
    EXPECT_EQ(complains(verdicts, 6), bad);
  }
}

TEST(Oracle, ProviderTokens) {
  const std::int64_t minute = 60 * kSec;
  const auto judge = [](auto&& feed) {
    Verdicts verdicts;
    ProviderTokenRule oracle(verdicts);
    feed(oracle);
    return complains(verdicts, 7);
  };
  EXPECT_FALSE(judge([&](ProviderTokenRule& o) {
    o.used(1, 0, 1800, 0, 29 * minute);
    o.used(1, 0, 3600, 21 * minute, 20 * minute);
  }));
  EXPECT_TRUE(judge([&](ProviderTokenRule& o) { o.used(1, 0, 1801, 0, 0); }));
  EXPECT_TRUE(judge([&](ProviderTokenRule& o) { o.used(1, 0, 1800, 0, 55 * minute); }));
  EXPECT_TRUE(judge([&](ProviderTokenRule& o) {
    o.used(1, 0, 1800, 0, 29 * minute);
    o.used(1, 0, 3600, 19 * minute, 18 * minute);
  }));
  EXPECT_TRUE(judge([&](ProviderTokenRule& o) {
    o.used(1, 0, 1800, 0, 0);
    o.used(2, 0, 3600, 0, 0);
    o.used(3, 0, 5400, 0, 0);
  }));
}

TEST(Oracle, Stampede) {
  Verdicts twice;
  NoStampede one(twice);
  one.dial(0, 0, 0, 0);
  one.dial(0, 1, 0, 0);
  EXPECT_TRUE(twice.good());
  one.dial(0, 0, 1, 5);
  EXPECT_TRUE(complains(twice, 8));
  Verdicts doubling;
  NoStampede grows(doubling);
  for (int i = 0; i < 3; ++i) grows.dial(0, 0, 3, i);
  EXPECT_TRUE(doubling.good());
  grows.settled(0, 0);
  grows.dial(0, 0, 4, 4);
  EXPECT_TRUE(doubling.good());
  grows.dial(0, 0, 3, 5);
  EXPECT_TRUE(complains(doubling, 8));
  Verdicts often;
  NoStampede many(often);
  for (unsigned i = 0; i <= NoStampede::kPerSecond; ++i) {
    many.dial(0, 0, 0, i);
    many.settled(0, 0);
  }
  EXPECT_TRUE(complains(often, 8));
  Verdicts together;
  NoStampede(together).after_mass_death({7, 7, 7, 7, 7, 8});
  EXPECT_TRUE(complains(together, 8));
  Verdicts spread;
  NoStampede(spread).after_mass_death({1, 2, 3, 4, 5, 5});
  EXPECT_TRUE(spread.good());
}

TEST(Oracle, BoundsBuffersFairnessDrainExpiryRateAndDeadPeers) {
  Verdicts v;
  Bounds(v).within("x", 3, 3);
  Bounds(v).at_rest("x", 0);
  EXPECT_TRUE(v.good());
  Bounds(v).within("x", 4, 3);
  EXPECT_TRUE(complains(v, 9));
  Verdicts rest;
  Bounds(rest).at_rest("x", 1);
  EXPECT_TRUE(complains(rest, 9));

  Verdicts lent;
  LentBuffers buffers(lent);
  std::string bytes(100, 'a');
  buffers.lend(1, base::as_bytes(bytes));
  buffers.give_back(1);
  buffers.lend(1, base::as_bytes(bytes));
  EXPECT_TRUE(lent.good());
  bytes[50] = 'b';
  buffers.give_back(1);
  EXPECT_TRUE(complains(lent, 10));
  Verdicts second;
  LentBuffers again(second);
  again.lend(1, base::as_bytes(bytes));
  again.lend(1, base::as_bytes(bytes));
  EXPECT_TRUE(complains(second, 10));

  Verdicts fair;
  Fairness fairness(fair);
  fairness.waits({0, 1});
  for (unsigned i = 0; i < Fairness::kOthersMost; ++i) fairness.served({0, 2}, false);
  EXPECT_TRUE(fair.good());
  fairness.served({1, 2}, false);  // another credential's
  EXPECT_TRUE(fair.good());
  fairness.served({0, 2}, false);
  EXPECT_TRUE(complains(fair, 11));

  for (const bool bad : {false, true}) {
    Verdicts drain;
    DrainBound(drain).ended(0, kSec, kSec + DrainBound::kFarewellNs + (bad ? 1 : 0), true);
    EXPECT_EQ(complains(drain, 12), bad);
  }
  Verdicts never;
  DrainBound(never).ended(0, kSec, 0, false);
  EXPECT_TRUE(complains(never, 12));

  Verdicts expiry;
  Expiry(expiry).ended(1, 10 * kSec, 10 * kSec, true, true);
  Expiry(expiry).ended(1, 10 * kSec, 11 * kSec, true, true);
  EXPECT_TRUE(expiry.good());
  Expiry(expiry).ended(1, 10 * kSec, 11 * kSec + 1, true, true);
  EXPECT_TRUE(complains(expiry, 13));
  Verdicts early;
  Expiry(early).ended(1, 10 * kSec, 10 * kSec - 1, true, true);
  EXPECT_TRUE(complains(early, 13));
  Verdicts late;
  Expiry(late).requested(1, 0, 99 * kSec);
  Expiry(late).requested(1, 10 * kSec, 11 * kSec);
  EXPECT_TRUE(late.good());
  Expiry(late).requested(1, 10 * kSec, 11 * kSec + 1);
  EXPECT_TRUE(complains(late, 13));

  Verdicts open;
  Expiry(open).still_open(1, 20 * kSec);
  EXPECT_TRUE(complains(open, 13));

  Verdicts rate;
  RateRule rule(rate, 10, 2, 5);
  rule.sent(1);  // another rate's
  for (int i = 0; i < 12; ++i) rule.sent(kSec - i);
  rule.sent(2 * kSec - 11);
  rule.judge("x");
  EXPECT_TRUE(rate.good());
  for (int i = 0; i < 12; ++i) rule.sent(kSec - i);
  rule.sent(2 * kSec - 12);
  rule.judge("x");
  EXPECT_TRUE(complains(rate, 14));

  Verdicts keys;
  Supersession(keys).superseded(1, "a", 2, "a");
  EXPECT_TRUE(keys.good());
  Supersession(keys).superseded(1, "a", 2, "b");
  EXPECT_TRUE(complains(keys, 16));
  Verdicts older;
  Supersession(older).superseded(2, "a", 1, "a");
  EXPECT_TRUE(complains(older, 16));

  Verdicts dead;
  DeadPeer peer(dead);
  peer.died(1, 0);
  const auto yes = [](void*, unsigned) { return true; };
  peer.look(DeadPeer::kFoundWithinNs, yes, nullptr);
  EXPECT_TRUE(dead.good());
  peer.look(DeadPeer::kFoundWithinNs + 1, yes, nullptr);
  EXPECT_TRUE(complains(dead, 15));
}

TEST(Oracle, FirstAnswerAndVersions) {
  for (const int bad : {0, 1, 2}) {
    Verdicts verdicts;
    FirstAnswer oracle(verdicts);
    oracle.started(1, 1);
    oracle.started(2, 1);
    oracle.ended(1, 1);
    oracle.started(1, 3);
    if (bad == 1) oracle.started(1, 5);
    oracle.shown(1);
    oracle.started(1, 7);
    oracle.started(1, 9);
    if (bad == 2) oracle.started(2, 3);
    EXPECT_EQ(complains(verdicts, 17), bad != 0) << bad;
  }
  for (const int bad : {0, 1, 2}) {
    Verdicts verdicts;
    VersionRule oracle(verdicts);
    const VersionRule::Owner owner{0, 0};
    oracle.changed(owner, {1, 2});
    oracle.answered(owner, 3, kSec);
    oracle.started(owner, 1, 2 * kSec);  // one for one: the other has gone
    oracle.answered(owner, 3, 2 * kSec);
    oracle.answered(owner, 4, 3 * kSec);
    oracle.started(owner, 1, 3 * kSec);  // was on its way
    oracle.started({0, 1}, 1, 4 * kSec);
    oracle.started({1, 0}, 1, 4 * kSec);
    oracle.started(owner, 3, 4 * kSec);
    if (bad == 1) oracle.started(owner, 1, 4 * kSec);
    oracle.look(5 * kSec, [](unsigned connection) { return connection == 2; });
    oracle.look(6 * kSec, [&](unsigned connection) { return connection == 2 && bad == 2; });
    oracle.look(5 * kSec + VersionRule::kClosedWithinNs, [](unsigned connection) { return connection == 2; });
    EXPECT_TRUE(verdicts.good() || bad == 1);
    oracle.look(6 * kSec + VersionRule::kClosedWithinNs, [](unsigned connection) { return connection == 2; });
    EXPECT_EQ(complains(verdicts, 18), bad != 0) << bad;
  }
}

TEST(Oracle, FatesSeeFalseNegatives) {
  Attempt lost, answered, refused, accepted;
  for (Attempt* each : {&lost, &answered, &refused, &accepted}) each->push = 1;
  answered.status = 400;
  answered.reason = Reason::bad_device_token;
  accepted.status = 200;
  answered.answered = accepted.answered = refused.refused = kSec;
  answered.whole = accepted.whole = true;
  Attempt cut = answered, late = refused, doubted = answered, unread = answered;
  cut.whole = false;
  late.refused = 3 * kSec;
  doubted.doubtful = true;
  unread.given_up = true;
  const auto rejected = [](std::uint16_t status, Reason reason) {
    Outcome outcome = outcome_of(1, End::rejected);
    outcome.status = status;
    outcome.reason = reason;
    return outcome;
  };
  Outcome good = outcome_of(1, End::accepted);
  good.status = 200;
  struct Row {
    std::vector<Attempt> attempts;
    Outcome outcome;
    bool bad;
  };
  const Row rows[] = {
      {{answered}, rejected(400, Reason::bad_device_token), false},
      {{cut}, rejected(400, Reason::none), false},
      {{answered}, rejected(400, Reason::none), true},
      {{answered}, rejected(400, Reason::bad_topic), true},
      {{answered}, rejected(410, Reason::unregistered), true},
      {{lost}, rejected(400, Reason::bad_device_token), true},
      {{accepted}, good, false},
      {{lost}, good, true},
      {{}, outcome_of(1, End::failed, 0), false},
      {{refused}, outcome_of(1, End::failed), false},
      {{answered, refused}, outcome_of(1, End::expired, 2), false},
      {{late}, outcome_of(1, End::failed), true},
      {{lost}, outcome_of(1, End::failed), true},
      {{lost}, outcome_of(1, End::returned), true},
      {{lost}, outcome_of(1, End::superseded), true},
      {{lost, refused}, outcome_of(1, End::expired, 2), true},
      {{unread}, outcome_of(1, End::cancelled), true},
      {{lost}, outcome_of(1, End::unknown), false},
      {{}, outcome_of(1, End::unknown), false},  // written, and never left
      {{doubted}, outcome_of(1, End::unknown), false},
      {{answered}, outcome_of(1, End::unknown), true},
      {{refused, answered}, outcome_of(1, End::unknown, 2), true},
      {{}, outcome_of(1, End::unknown, 0), true},
  };
  for (const Row& row : rows) {
    Verdicts verdicts;
    Fates oracle(verdicts);
    for (const Attempt& attempt : row.attempts) oracle.wrote(attempt);
    oracle.ended(row.outcome, 2 * kSec);
    oracle.judge();
    EXPECT_EQ(verdicts.good(), !row.bad) << (&row - rows);
    EXPECT_EQ(complains(verdicts, 21), row.bad) << (&row - rows);
  }
}

TEST(Oracle, FatesSeeTriesThatComeTooSoon) {
  struct Row {
    std::uint16_t status;
    Reason reason;
    int tries;               // with the same answer; the next is written `after` the last
    std::int64_t after;
    bool same_connection;
    bool bad;
  };
  const Row rows[] = {
      {400, Reason::bad_device_token, 1, 3600 * kSec, false, true},
      {200, Reason::none, 1, 3600 * kSec, false, true},
      {503, Reason::service_unavailable, 1, 500 * kMs, true, false},
      {503, Reason::service_unavailable, 1, 499 * kMs, true, true},
      {503, Reason::service_unavailable, 2, 7500 * kMs, true, false},
      {503, Reason::service_unavailable, 2, 7499 * kMs, true, true},
      {503, Reason::service_unavailable, 3, 14999 * kMs, true, true},
      {429, Reason::too_many_provider_token_updates, 1, 30 * kSec, true, false},
      {429, Reason::too_many_provider_token_updates, 1, 30 * kSec - 1, true, true},
      {429, Reason::too_many_requests, 1, 500 * kMs, true, false},
      {429, Reason::too_many_requests, 1, 499 * kMs, true, true},
      {503, Reason::shutdown, 1, 2 * kMs, false, false},
      {503, Reason::shutdown, 1, 2 * kMs, true, true},
  };
  for (const Row& row : rows) {
    Verdicts verdicts;
    Fates oracle(verdicts);
    Attempt attempt;
    attempt.push = 1;
    attempt.retry_later_ns = 15 * kSec;
    attempt.status = row.status;
    attempt.reason = row.reason;
    attempt.whole = true;
    for (int i = 1; i <= row.tries; ++i) {
      attempt.encoded_from = attempt.written = i * 100 * kSec;
      attempt.answered = attempt.written + 1;
      oracle.wrote(attempt);
    }
    Attempt next;
    next.push = 1;
    next.connection = row.same_connection ? 0 : 1;
    next.encoded_from = next.written = attempt.answered + row.after;
    oracle.wrote(next);
    oracle.judge();
    EXPECT_EQ(verdicts.good(), !row.bad) << (&row - rows);
    EXPECT_EQ(complains(verdicts, 22), row.bad) << (&row - rows);
  }
  // Another push to a token that is held; not once one was accepted.
  for (const bool freed : {false, true}) {
    Verdicts verdicts;
    Fates oracle(verdicts);
    Attempt held, beside, other;
    held.push = 1, beside.push = 2, other.push = 3;
    held.token = beside.token = other.token = 7;
    held.status = 429;
    held.reason = Reason::too_many_requests;
    held.whole = true;
    held.answered = kSec;
    beside.status = 200;
    beside.answered = kSec + (freed ? kMs : kSec);
    other.encoded_from = other.written = kSec + 100 * kMs;
    for (const Attempt& each : {held, beside, other}) oracle.wrote(each);
    oracle.judge();
    EXPECT_EQ(complains(verdicts, 22), !freed);
  }
}

TEST(Oracle, Spin) {
  for (const int bad : {0, 1, 2, 3}) {
    Verdicts verdicts;
    NoSpin oracle(verdicts);
    for (std::int64_t i = 0; i < 1000; ++i) {
      oracle.stepped(0, i * kMs, true, true);
      oracle.stepped(0, i * kMs, true, false);
      if (i % 2 == 0) oracle.stepped(0, i * kMs, false, true);
      if (i % 4 == 0) oracle.stepped(0, i * kMs, false, false);
      oracle.stepped(1, i * kMs, true, true);
    }
    for (std::size_t i = 0; bad == 1 && i < NoSpin::kFruitlessMost; ++i) oracle.stepped(0, 999 * kMs, false, false);
    for (int i = 0; bad == 2 && i < 100; ++i) oracle.stepped(0, 999 * kMs, false, true);
    for (int i = 0; bad == 3 && i < 1500; ++i) oracle.stepped(0, 999 * kMs, true, true);
    EXPECT_EQ(complains(verdicts, 19), bad != 0) << bad;
  }
}

}  // namespace
}  // namespace tocsin::sim
