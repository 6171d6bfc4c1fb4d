// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "apns/reasons.h"
#include "base/prng.h"
#include "mock/ledger.h"

namespace tocsin::mock {
namespace {

Uuid id_of(std::uint64_t number) {
  Uuid uuid{};
  std::memcpy(uuid.data(), &number, sizeof number);
  return uuid;
}

// The ledger said once more, slowly: every answer of a token in order.
struct Model {
  struct Answer {
    std::uint16_t status;
    Uuid id;
    std::int64_t unix_ms;
  };
  std::map<std::string, std::vector<Answer>> tokens;
  std::map<std::string, std::uint64_t> by_reason;
  std::uint64_t nameless = 0;

  LedgerEntry entry(const std::string& token) const {
    LedgerEntry entry;
    for (const Answer& answer : tokens.at(token)) {
      if (answer.status == 200) {
        if (entry.accepted++ == 0) entry.first_apns_id = answer.id;
        entry.last_apns_id = answer.id;
      } else {
        ++entry.rejected;
      }
      entry.last_unix_ms = answer.unix_ms;
      entry.last_status = answer.status;
    }
    return entry;
  }

  LedgerTotals totals() const {
    LedgerTotals totals;
    totals.by_reason = by_reason;
    totals.rejected = nameless;
    totals.tokens = tokens.size();
    for (const auto& [token, answers] : tokens) {
      const Uuid* last = nullptr;
      for (const Answer& answer : answers) {
        if (answer.status != 200) {
          ++totals.rejected;
          continue;
        }
        ++totals.accepted;
        if (last == nullptr) ++totals.tokens_accepted;
        else ++totals.doubled;
        if (last != nullptr && *last == answer.id) ++totals.doubled_same_id;
        last = &answer.id;
      }
    }
    totals.requests = totals.accepted + totals.rejected;
    return totals;
  }
};

void expect_same(const Ledger& ledger, const Model& model) {
  const LedgerTotals have = ledger.totals();
  const LedgerTotals want = model.totals();
  EXPECT_EQ(have.requests, want.requests);
  EXPECT_EQ(have.accepted, want.accepted);
  EXPECT_EQ(have.rejected, want.rejected);
  EXPECT_EQ(have.tokens, want.tokens);
  EXPECT_EQ(have.tokens_accepted, want.tokens_accepted);
  EXPECT_EQ(have.doubled, want.doubled);
  EXPECT_EQ(have.doubled_same_id, want.doubled_same_id);
  EXPECT_EQ(have.by_reason, want.by_reason);
  std::size_t visited = 0;
  ledger.for_each([&](base::ByteView token, const LedgerEntry& entry) {
    ++visited;
    const std::string name(base::as_text(token));
    ASSERT_TRUE(model.tokens.contains(name));
    const LedgerEntry expected = model.entry(name);
    EXPECT_EQ(entry.accepted, expected.accepted);
    EXPECT_EQ(entry.rejected, expected.rejected);
    EXPECT_EQ(entry.first_apns_id, expected.first_apns_id);
    EXPECT_EQ(entry.last_apns_id, expected.last_apns_id);
    EXPECT_EQ(entry.last_unix_ms, expected.last_unix_ms);
    EXPECT_EQ(entry.last_status, expected.last_status);
    EXPECT_EQ(ledger.find(token), &entry);
  });
  EXPECT_EQ(visited, model.tokens.size());
}

// Lengths on both sides of what a record holds inline, and tokens that begin alike.
std::string some_token(base::Prng& prng, std::uint64_t distinct) {
  const std::uint64_t number = prng.below(distinct);
  base::Prng bytes(number / 2);
  std::string token(1 + bytes.below(100), '\0');
  for (char& c : token) c = static_cast<char>(bytes.next());
  if (number % 2 != 0) token.back() = static_cast<char>(token.back() ^ 1);
  return token;
}

void random_answers(base::Prng& prng, int count, std::uint64_t distinct, std::int64_t& clock, Ledger& ledger, Model& model) {
  const auto reasons = apns::reason_table();
  for (int i = 0; i < count; ++i) {
    ++clock;
    const std::string token = some_token(prng, distinct);
    if (prng.chance(0.6)) {
      const Uuid id = id_of(prng.below(4));
      ledger.accepted(base::as_bytes(token), id, clock);
      model.tokens[token].push_back({200, id, clock});
      continue;
    }
    const apns::ReasonEntry& entry = reasons[prng.below(reasons.size())];
    const bool nameless = prng.chance(0.1);
    ledger.rejected(nameless ? base::ByteView{} : base::as_bytes(token), entry.status, entry.reason, clock);
    ++model.by_reason[entry.name];
    if (nameless) ++model.nameless;
    else model.tokens[token].push_back({entry.status, {}, clock});
  }
}

TEST(Ledger, EmptyOneKnowsNothing) {
  const Ledger ledger;
  EXPECT_EQ(ledger.find(base::as_bytes("x")), nullptr);
  EXPECT_EQ(ledger.find({}), nullptr);
  expect_same(ledger, Model{});
}

TEST(Ledger, AgreesWithTheModelUnderRandomAnswers) {
  for (const std::uint64_t distinct : {3u, 40u, 20'000u}) {
    base::Prng prng(distinct);
    Ledger ledger;
    Model model;
    std::int64_t clock = 1'700'000'000'000;
    random_answers(prng, 15'000, distinct, clock, ledger, model);
    expect_same(ledger, model);
    EXPECT_EQ(ledger.find(base::as_bytes("never seen")), nullptr);
  }
}

TEST(Ledger, MergesWorkersIntoOneHistory) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    base::Prng prng(seed);
    Model model;
    std::int64_t clock = 0;
    // Workers answered one after the other; merged in any order, the whole is one history.
    std::vector<Ledger> workers(3);
    for (Ledger& worker : workers) random_answers(prng, 400, 200, clock, worker, model);
    const std::size_t orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}};
    for (const auto& order : orders) {
      Ledger whole;
      for (const std::size_t i : order) whole.merge(workers[i]);
      expect_same(whole, model);
    }
  }
}

TEST(Ledger, PointersStayWhileItGrowsAndMoves) {
  Ledger ledger;
  ledger.accepted(base::as_bytes("first"), id_of(9), 1);
  const LedgerEntry* first = ledger.find(base::as_bytes("first"));
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    ledger.rejected({reinterpret_cast<const std::byte*>(&i), sizeof i}, 410, Reason::unregistered, 2);
  }
  const Ledger moved = std::move(ledger);
  EXPECT_EQ(moved.find(base::as_bytes("first")), first);
  EXPECT_EQ(first->accepted, 1u);
  EXPECT_EQ(moved.totals().tokens, 10'001u);
}

TEST(Ledger, ReasonsWithoutAPlaceCountAsOther) {
  Ledger ledger;
  ledger.rejected({}, 400, Reason::other, 1);
  ledger.rejected({}, 400, static_cast<Reason>(777), 1);
  ledger.rejected({}, 503, Reason::cannot_connect, 1);
  const std::map<std::string, std::uint64_t> expected = {{"Other", 2}, {"CannotConnect", 1}};
  EXPECT_EQ(ledger.totals().by_reason, expected);
}

TEST(Ledger, KeepsEachAcceptanceOfADoubledToken) {
  const auto token = [](std::uint8_t n) { return std::vector<std::byte>{std::byte{1}, std::byte{n}}; };
  const auto describe = [](const std::vector<Acceptance>& history) {
    std::string text;
    for (const Acceptance& one : history) {
      text += std::to_string(one.apns_id[0]) + "@" + std::to_string(one.unix_ms) + "#" + std::to_string(one.connection) + (one.answer_lost ? "! " : " ");
    }
    return text;
  };
  Ledger one;
  one.accepted(token(1), Uuid{1}, 100, 1, true);
  one.accepted(token(2), Uuid{2}, 110, 1);
  one.rejected(token(1), 429, Reason::too_many_requests, 120);
  one.accepted(token(1), Uuid{1}, 130, 3);
  one.accepted(token(1), Uuid{9}, 140, 4, true);
  one.rejected(token(3), 410, Reason::unregistered, 150);
  EXPECT_EQ(describe(one.history(*one.find(token(1)))), "1@100#1! 1@130#3 9@140#4! ");
  EXPECT_EQ(describe(one.history(*one.find(token(2)))), "2@110#1 ");
  EXPECT_EQ(describe(one.history(*one.find(token(3)))), "");
  Ledger two;
  two.accepted(token(1), Uuid{1}, 90, 2);
  two.accepted(token(1), Uuid{1}, 135, 2);
  two.accepted(token(3), Uuid{3}, 160, 2);
  Ledger whole;
  whole.merge(one);
  whole.merge(two);
  EXPECT_EQ(describe(whole.history(*whole.find(token(1)))), "1@90#2 1@100#1! 1@130#3 1@135#2 9@140#4! ");
  EXPECT_EQ(describe(whole.history(*whole.find(token(2)))), "2@110#1 ");
  EXPECT_EQ(describe(whole.history(*whole.find(token(3)))), "3@160#2 ");
  EXPECT_EQ(whole.find(token(1))->accepted, 5u);
  EXPECT_EQ(whole.totals().history_lost, 0u);
}

}  // namespace
}  // namespace tocsin::mock
