// SPDX-License-Identifier: Apache-2.0
#include "mock/ledger.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <limits>
#include <utility>
#include <vector>

#include "base/assertion.h"
#include "mock/token_hash.h"

namespace tocsin::mock {
namespace {

constexpr std::size_t kInlineTokenBytes = 32;

// Reasons as places of a flat array: APNs' numbers, then those of this side. What has no place counts as Other.
constexpr std::size_t kReasonsBelow = 64;
constexpr std::uint16_t kOwnReasons = static_cast<std::uint16_t>(Reason::cannot_connect);

std::size_t place_of(Reason reason) {
  const auto number = static_cast<std::size_t>(reason);
  if (number < kReasonsBelow) return number;
  if (number >= kOwnReasons && number - kOwnReasons < kReasonsBelow) return kReasonsBelow + number - kOwnReasons;
  return static_cast<std::size_t>(Reason::other);
}

Reason reason_at(std::size_t place) {
  return static_cast<Reason>(place < kReasonsBelow ? place : place - kReasonsBelow + kOwnReasons);
}

struct Record {
  LedgerEntry entry;
  std::uint32_t token_bytes = 0;
  // The token itself, or, if it is longer, a pointer to it in Impl::long_tokens.
  std::array<std::byte, kInlineTokenBytes> token_place{};

  base::ByteView token() const {
    if (token_bytes <= kInlineTokenBytes) return {token_place.data(), token_bytes};
    const std::byte* far = nullptr;
    std::memcpy(&far, token_place.data(), sizeof far);
    return {far, token_bytes};
  }
};

// The table holds no records but where they are, with enough of the hash to skip nearly every foreign one and
// to move to a larger table without touching the records.
struct Place {
  std::uint32_t hash = 0;
  std::uint32_t record = 0;  // index + 1; 0: empty
};

bool same(base::ByteView a, base::ByteView b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

struct Ledger::Impl {
  static constexpr std::size_t kChunkRecords = 4096;

  std::vector<Place> table = std::vector<Place>(1024);  // a power of two, at most three quarters full
  std::vector<std::unique_ptr<Record[]>> chunks;        // records never move: find() gives pointers to them
  std::uint32_t records = 0;
  std::vector<std::unique_ptr<std::byte[]>> long_tokens;
  LedgerTotals sums;  // by_reason stays empty here
  std::array<std::uint64_t, 2 * kReasonsBelow> by_reason{};

  // All but each token's first acceptance, chained backwards from LedgerEntry::further (index + 1; 0: the end).
  struct Further {
    Acceptance acceptance;
    std::uint32_t before = 0;
  };
  std::deque<Further> history;

  void keep(LedgerEntry& entry, const Acceptance& acceptance) {
    if (history.size() >= kHistoryMax) {
      ++sums.history_lost;
      return;
    }
    history.push_back({acceptance, entry.further});
    entry.further = static_cast<std::uint32_t>(history.size());
  }

  Record& record(std::uint32_t index) { return chunks[index / kChunkRecords][index % kChunkRecords]; }

  // The place of the token, or the empty place where it belongs.
  Place& place(base::ByteView token, std::uint32_t hash) {
    const std::size_t mask = table.size() - 1;
    for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
      Place& here = table[at];
      if (here.record == 0 || (here.hash == hash && same(record(here.record - 1).token(), token))) return here;
    }
  }

  void grow() {
    std::vector<Place> larger(table.size() * 2);
    const std::size_t mask = larger.size() - 1;
    for (const Place& old : table) {
      if (old.record == 0) continue;
      std::size_t at = old.hash & mask;
      while (larger[at].record != 0) at = (at + 1) & mask;
      larger[at] = old;
    }
    table.swap(larger);
  }

  Record& obtain(base::ByteView token) {
    const auto hash = static_cast<std::uint32_t>(token_hash(token));
    Place* here = &place(token, hash);
    if (here->record != 0) return record(here->record - 1);
    if (static_cast<std::size_t>(records) + 1 > table.size() / 4 * 3) {
      grow();
      here = &place(token, hash);
    }
    TOCSIN_ASSERT(records < std::numeric_limits<std::uint32_t>::max() - 1);
    if (records % kChunkRecords == 0) chunks.push_back(std::make_unique<Record[]>(kChunkRecords));
    *here = Place{hash, ++records};
    Record& made = record(records - 1);
    keep_token(made, token);
    ++sums.tokens;
    return made;
  }

  void keep_token(Record& to, base::ByteView token) {
    to.token_bytes = static_cast<std::uint32_t>(token.size());
    if (token.size() <= kInlineTokenBytes) {
      std::memcpy(to.token_place.data(), token.data(), token.size());
      return;
    }
    long_tokens.push_back(std::make_unique<std::byte[]>(token.size()));
    std::byte* far = long_tokens.back().get();
    std::memcpy(far, token.data(), token.size());
    std::memcpy(to.token_place.data(), &far, sizeof far);
  }
};

Ledger::Ledger() : impl_(std::make_unique<Impl>()) {}
Ledger::~Ledger() = default;
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger& Ledger::operator=(Ledger&&) noexcept = default;

void Ledger::accepted(base::ByteView token, const Uuid& apns_id, std::int64_t unix_ms, std::uint32_t connection,
                      bool answer_lost) {
  TOCSIN_ASSERT(!token.empty());  // what names no token is never accepted
  LedgerTotals& sums = impl_->sums;
  LedgerEntry& entry = impl_->obtain(token).entry;
  ++sums.requests;
  ++sums.accepted;
  if (entry.accepted == 0) {
    ++sums.tokens_accepted;
    entry.first_apns_id = apns_id;
    entry.first_accepted_unix_ms = unix_ms;
    entry.first_connection = connection;
    entry.first_answer_lost = answer_lost;
  } else {
    impl_->keep(entry, {apns_id, unix_ms, connection, answer_lost});
    ++sums.doubled;
    if (entry.last_apns_id == apns_id) ++sums.doubled_same_id;
  }
  ++entry.accepted;
  entry.last_apns_id = apns_id;
  entry.last_unix_ms = unix_ms;
  entry.last_status = 200;
}

void Ledger::rejected(base::ByteView token, std::uint16_t status, Reason reason, std::int64_t unix_ms) {
  ++impl_->sums.requests;
  ++impl_->sums.rejected;
  ++impl_->by_reason[place_of(reason)];
  if (token.empty()) return;
  LedgerEntry& entry = impl_->obtain(token).entry;
  ++entry.rejected;
  entry.last_unix_ms = unix_ms;
  entry.last_status = status;
}

const LedgerEntry* Ledger::find(base::ByteView token) const {
  const Place& here = impl_->place(token, static_cast<std::uint32_t>(token_hash(token)));
  return here.record == 0 ? nullptr : &impl_->record(here.record - 1).entry;
}

std::vector<Acceptance> Ledger::history(const LedgerEntry& entry) const {
  std::vector<Acceptance> whole;
  if (entry.accepted == 0) return whole;
  for (std::uint32_t at = entry.further; at != 0; at = impl_->history[at - 1].before) whole.push_back(impl_->history[at - 1].acceptance);
  whole.push_back({entry.first_apns_id, entry.first_accepted_unix_ms, entry.first_connection, entry.first_answer_lost});
  std::reverse(whole.begin(), whole.end());
  return whole;
}

LedgerTotals Ledger::totals() const {
  LedgerTotals totals = impl_->sums;
  for (std::size_t place = 0; place < impl_->by_reason.size(); ++place) {
    if (const std::uint64_t count = impl_->by_reason[place]) totals.by_reason[reason_name(reason_at(place))] += count;
  }
  return totals;
}

void Ledger::for_each(const std::function<void(base::ByteView token, const LedgerEntry&)>& f) const {
  for (std::uint32_t i = 0; i < impl_->records; ++i) {
    const Record& record = impl_->record(i);
    f(record.token(), record.entry);
  }
}

void Ledger::merge(const Ledger& other) {
  TOCSIN_ASSERT(&other != this);
  LedgerTotals& sums = impl_->sums;
  const LedgerTotals& more = other.impl_->sums;
  sums.requests += more.requests;
  sums.accepted += more.accepted;
  sums.rejected += more.rejected;
  sums.doubled += more.doubled;
  sums.doubled_same_id += more.doubled_same_id;
  sums.history_lost += more.history_lost;
  for (std::size_t i = 0; i < impl_->by_reason.size(); ++i) impl_->by_reason[i] += other.impl_->by_reason[i];

  for (std::uint32_t i = 0; i < other.impl_->records; ++i) {
    const Record& theirs = other.impl_->record(i);
    LedgerEntry& ours = impl_->obtain(theirs.token()).entry;
    // Two histories of one token are put one behind the other, by the time of their last answers.
    LedgerEntry first = ours;
    LedgerEntry second = theirs.entry;
    if (second.last_unix_ms < first.last_unix_ms) std::swap(first, second);
    LedgerEntry whole = second;
    whole.further = 0;
    std::vector<Acceptance> all = history(ours);
    const std::vector<Acceptance> more_of_it = other.history(theirs.entry);
    all.insert(all.end(), more_of_it.begin(), more_of_it.end());
    std::stable_sort(all.begin(), all.end(), [](const Acceptance& a, const Acceptance& b) { return a.unix_ms < b.unix_ms; });
    for (std::size_t k = 0; k < all.size(); ++k) {
      if (k != 0) {
        impl_->keep(whole, all[k]);
        continue;
      }
      whole.first_apns_id = all[k].apns_id;
      whole.first_accepted_unix_ms = all[k].unix_ms;
      whole.first_connection = all[k].connection;
      whole.first_answer_lost = all[k].answer_lost;
    }
    if (ours.accepted == 0 && theirs.entry.accepted != 0) ++sums.tokens_accepted;
    if (first.accepted != 0) {
      if (second.accepted == 0) {
        whole.last_apns_id = first.last_apns_id;
      } else {
        ++sums.doubled;
        if (first.last_apns_id == second.first_apns_id) ++sums.doubled_same_id;
      }
    }
    whole.accepted = first.accepted + second.accepted;
    whole.rejected = first.rejected + second.rejected;
    ours = whole;
  }
}

}  // namespace tocsin::mock
