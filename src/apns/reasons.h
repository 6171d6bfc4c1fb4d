// SPDX-License-Identifier: Apache-2.0
// The reason table: every status and reason APNs documents, with what it means for the operator. One
// table for the client, the mock and the documentation.
//
// Source: Apple, "Handling notification responses from APNs". Threads: immutable. The public name
// functions (reason_name, end_name, push_type_name) are defined here too.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <tocsin/push.h>

namespace tocsin::apns {

struct ReasonEntry {
  Reason reason;
  std::uint16_t status;   // the :status it comes with
  const char* name;       // Apple's spelling
  const char* advice;     // one sentence for the operator
};

std::span<const ReasonEntry> reason_table();

// The entry of an APNs reason; nullptr for `other`, `none` and the causes of this side.
const ReasonEntry* find_reason(Reason reason);

// Reason::other for a text that is not in the table, none for an empty one.
Reason reason_from_text(std::string_view text);

}  // namespace tocsin::apns
