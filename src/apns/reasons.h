// SPDX-License-Identifier: Apache-2.0
// The reason table: every status and reason APNs documents, with what the engine does about it and what it means
// for the operator. One table for the client, the mock and the documentation (docs/reasons.md).
//
// Source: Apple, "Handling notification responses from APNs" and "Establishing a token-based connection to APNs".
// Threads: immutable. The public name
// functions (reason_name, end_name, push_type_name) are defined here too.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <tocsin/push.h>

namespace tocsin::apns {

// What to do with the push that got the answer.
enum class Retry : std::uint8_t {
  never,       // the answer is final for this push
  elsewhere,   // at once, on another connection; this one is to be replaced
  later,       // one early retry on another connection, then long back-off within the push's own time
  token,       // after a delay, as every other push to the same token; the rest goes on
  new_token,   // with a newer provider token, on a fresh connection
  keep_token,  // again later; no new provider token for 20 minutes
  rebind,      // once more, on a connection of its own for this provider token; if that says the same, final
};

// What the answer speaks about. Whether a connection is to be replaced is said by Retry (elsewhere, new_token,
// rebind); with Retry::later the connection is only worth avoiding. Only a 410 ends a token for good.
enum class Scope : std::uint8_t {
  push,        // this push alone, or APNs as a whole
  token,       // this device token (with this topic)
  connection,  // this connection: another may answer otherwise
  credential,  // every push of the credential; with Retry::never it must stop
};

const char* retry_name(Retry retry);  // "never", "new_token", ...; static storage
const char* scope_name(Scope scope);

struct ReasonEntry {
  Reason reason;
  std::uint16_t status;   // the :status it comes with
  const char* name;       // Apple's spelling
  Retry retry;
  Scope scope;
  const char* advice;     // one sentence for the operator
};

std::span<const ReasonEntry> reason_table();

// The entry of an APNs reason; nullptr for `other`, `none` and the causes of this side.
const ReasonEntry* find_reason(Reason reason);

// Reason::other for a text that is not in the table, none for an empty one.
Reason reason_from_text(std::string_view text);

struct Rule {
  Retry retry;
  Scope scope;
  const char* advice;  // static storage
};

// Total: a reason of the table decides, whatever status it came with; else the status does. What is unknown never
// stops a credential: a reason that Apple adds tomorrow must not silence a tenant.
Rule rule_for(std::uint16_t status, Reason reason);

// Whether APNs counts the answer as an error of the sender, for which it lowers the stream limit and in the end
// closes the connection: any 4xx except those about a token that is no longer in use (410).
bool slows_down(std::uint16_t status, Reason reason);

}  // namespace tocsin::apns
