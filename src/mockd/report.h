// SPDX-License-Identifier: Apache-2.0
// Reports: the ledger as JSON, as text for people, and as a file of one line per token; connections that ended, one line each.
//
// Threads: pure but for those that write a file. Ownership: texts are the caller's.
#pragma once

#include <string>
#include <vector>

#include <tocsin/result.h>

#include "mock/conversation.h"
#include "mock/faults.h"
#include "mock/ledger.h"
#include "mock/profile.h"
#include "mockd/connection_log.h"

namespace tocsin::mockd {

// What was said to whom: the ledger has what was validated, `flood` the rest.
struct Totals {
  mock::LedgerTotals ledger;
  mock::Profile profile = mock::Profile::validate;
  mock::Traffic::Flood flood;
  std::uint64_t requests() const { return ledger.requests + flood.end_streams; }
  std::uint64_t accepted() const { return ledger.accepted + flood.end_streams; }
};

// {"profile":..,"requests":..,"accepted":..,"rejected":..,"tokens":..,...,"by_reason":{..}}, one line, no newline; with a
// profile that does not validate everything also "validated" and "flood":{"connections":..,..}; with faults (of a script)
// "faults":{"goaway":..,..}.
std::string totals_json(const Totals& totals, const mock::ScriptCounts* faults = nullptr);
std::string totals_text(const Totals& totals, const mock::ScriptCounts* faults = nullptr);
// `history`: each acceptance, oldest first.
std::string entry_json(base::ByteView token, const mock::LedgerEntry& entry, const std::vector<mock::Acceptance>& history);

// NDJSON, {"token","accepted","rejected","apns_id"} a line ("" for a token never accepted); tokens accepted more than once
// have "history":[{"apns_id","unix_ms","connection"},..] as well, with "answer_lost" where the script kept the answer back, oldest first. Written under another name first, so that
// the file is whole or absent.
Result<void> write_ledger(const mock::Ledger& ledger, const std::string& path);

// NDJSON, {"connection","by","opened_unix_ms","ended_unix_ms","streams_open"} a line, by the time of their ends; written as
// the ledger is.
Result<void> write_connections(const std::vector<ConnectionEnd>& ends, const std::string& path);

}  // namespace tocsin::mockd
