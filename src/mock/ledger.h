// SPDX-License-Identifier: Apache-2.0
// Ledger: what the mock truly answered with 200, per device token and in total; the witness that a run is
// judged by.
//
// Memory per distinct token is about 80 bytes plus the token (a million MDM tokens: about 125 MiB), in records
// that never move and one open-addressing table that doubles; tokens up to 32 bytes stand in their record. The
// first and the last accepted apns-id of each token are kept. Threads: one at a time (the mock has one ledger
// per worker, behind a lock taken once a batch). Ownership: find() and for_each() lend what the ledger owns.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/push.h>

#include "base/bytes.h"

namespace tocsin::mock {

// Of all tokens together, beyond the first of each.
inline constexpr std::size_t kHistoryMax = 4'000'000;

// One push that was answered with 200.
struct Acceptance {
  Uuid apns_id{};
  std::int64_t unix_ms = 0;
  std::uint32_t connection = 0;  // its ordinal; 0: not known
  bool answer_lost = false;      // the script kept its whole answer from the client, its connection apart
};

struct LedgerEntry {
  std::uint32_t accepted = 0;      // times answered with 200
  std::uint32_t rejected = 0;      // times answered with anything else
  Uuid last_apns_id{};             // of the last accepted one
  Uuid first_apns_id{};            // of the first accepted one: equal to last for a clean run
  std::int64_t last_unix_ms = 0;
  std::int64_t first_accepted_unix_ms = 0;
  std::uint32_t first_connection = 0;
  std::uint32_t further = 0;       // the ledger's own: where the history beyond the first ends
  std::uint16_t last_status = 0;
  bool first_answer_lost = false;
};

struct LedgerTotals {
  std::uint64_t requests = 0;
  std::uint64_t accepted = 0;
  std::uint64_t rejected = 0;
  std::uint64_t tokens = 0;            // distinct tokens seen
  std::uint64_t tokens_accepted = 0;   // distinct tokens accepted at least once
  std::uint64_t doubled = 0;           // accepted beyond the first, over all tokens
  std::uint64_t doubled_same_id = 0;   // of these, with the same apns-id as the one before
  std::uint64_t history_lost = 0;      // acceptances that history() lacks, because kHistoryMax was reached
  std::map<std::string, std::uint64_t> by_reason;  // Apple's spelling
};

class Ledger {
 public:
  Ledger();
  ~Ledger();
  Ledger(Ledger&&) noexcept;
  Ledger& operator=(Ledger&&) noexcept;

  void accepted(base::ByteView token, const Uuid& apns_id, std::int64_t unix_ms, std::uint32_t connection = 0,
                bool answer_lost = false);
  // `token` may be empty (a request that named none).
  void rejected(base::ByteView token, std::uint16_t status, Reason reason, std::int64_t unix_ms);

  // nullptr if this ledger never saw the token.
  const LedgerEntry* find(base::ByteView token) const;
  // Every acceptance of a token of this ledger, oldest first; `entry` is this ledger's.
  std::vector<Acceptance> history(const LedgerEntry& entry) const;
  LedgerTotals totals() const;
  void for_each(const std::function<void(base::ByteView token, const LedgerEntry&)>& f) const;
  // Adds another worker's ledger to this one. A token that both saw: the history with the later last answer is
  // taken to come second.
  void merge(const Ledger& other);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tocsin::mock
