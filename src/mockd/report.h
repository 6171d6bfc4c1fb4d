// SPDX-License-Identifier: Apache-2.0
// Reports: the ledger as JSON, as text for people, and as a file of one line per token.
//
// Threads: pure but for write_ledger, which writes a file. Ownership: texts are the caller's.
#pragma once

#include <string>

#include <tocsin/result.h>

#include "mock/ledger.h"

namespace tocsin::mockd {

// {"requests":..,"accepted":..,"rejected":..,"tokens":..,...,"by_reason":{..}}, one line, no newline.
std::string totals_json(const mock::LedgerTotals& totals);
std::string totals_text(const mock::LedgerTotals& totals);
std::string entry_json(base::ByteView token, const mock::LedgerEntry& entry);

// NDJSON, {"token","accepted","rejected","apns_id"} a line ("" for a token never accepted), written under
// another name first, so that the file is whole or absent.
Result<void> write_ledger(const mock::Ledger& ledger, const std::string& path);

}  // namespace tocsin::mockd
