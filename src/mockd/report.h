// SPDX-License-Identifier: Apache-2.0
// Reports: the ledger as JSON, as text for people, and as a file of one line per token; connections that ended, one line each.
//
// Threads: pure but for those that write a file. Ownership: texts are the caller's.
#pragma once

#include <string>
#include <vector>

#include <tocsin/result.h>

#include "mock/faults.h"
#include "mock/ledger.h"
#include "mockd/connection_log.h"

namespace tocsin::mockd {

// {"requests":..,"accepted":..,"rejected":..,"tokens":..,...,"by_reason":{..}}, one line, no newline; with faults
// (of a script) also "faults":{"goaway":..,..}.
std::string totals_json(const mock::LedgerTotals& totals, const mock::ScriptCounts* faults = nullptr);
std::string totals_text(const mock::LedgerTotals& totals, const mock::ScriptCounts* faults = nullptr);
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
