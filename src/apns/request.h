// SPDX-License-Identifier: Apache-2.0
// Building and checking requests: topic and push-type rules, payload sizes, the field list of
// POST /3/device/<token>, the body around a per-device part.
//
// The checks are what APNs itself would refuse (Apple, "Sending notification requests to APNs"); they
// serve the engine's door, the command line (rejects with field names) and the mock (reasons).
// Threads: pure functions. Errors name the field and what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <tocsin/options.h>
#include <tocsin/push.h>
#include <tocsin/result.h>

#include "base/fields.h"

namespace tocsin::apns {

// A refused check: which field, why for people, and the reason APNs would have given.
struct Refusal {
  const char* field = "";  // "token", "topic", "payload", ...
  Reason reason = Reason::none;
  std::string text;        // "token has 63 digits; a device token is hex text of even length, 2 to 200 digits"
  explicit operator bool() const { return reason != Reason::none; }
};

// The other direction of push_type_name(); false for an unknown name.
bool push_type_from_name(std::string_view name, PushType& out);

std::size_t payload_bytes_max(PushType type);      // 4,096; voip 5,120
std::string_view topic_suffix(PushType type);      // ".voip", ".push-type.liveactivity", ... or ""

Refusal check_token(std::string_view hex);
Refusal check_topic(PushType type, std::string_view topic);        // present, length, characters, suffix of the type
Refusal check_priority(PushType type, unsigned priority);
Refusal check_collapse_id(std::string_view collapse_id);
Refusal check_part(std::string_view part);                          // 1 to kPartBytesMax bytes of valid UTF-8
// Size, then JSON (an object), then the payload against the push type: mdm needs a string "mdm" and nothing
// beside it, background needs aps.content-available = 1 and no alert/badge/sound, alert needs aps, ...
// Makes a parser for each call; where payloads come in a stream, keep a PayloadChecker.
Refusal check_payload(PushType type, std::string_view json);

// The same check with a parser that is kept: does not allocate after warm-up for payloads that pass. {"mdm":"plain"}, which is
// what a mass wake-up sends, is recognised without the parser. Threads: one at a time.
class PayloadChecker {
 public:
  PayloadChecker();
  ~PayloadChecker();
  PayloadChecker(PayloadChecker&&) noexcept;
  PayloadChecker& operator=(PayloadChecker&&) noexcept;

  Refusal check(PushType type, std::string_view json);
  // Size and JSON only, for a request that names no push type.
  Refusal check_json(std::size_t bytes_max, std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Refusal check_template(const TemplateOptions& options);             // everything above that a template decides

// What the push type asks of the credential: location needs a provider token, mdm a client certificate.
Refusal check_credential(PushType type, bool provider_token);

// The request's fields. Slots, in this order: :path (hex token), apns-id (uuid) and, if `collapse`,
// apns-collapse-id (text). `authority` is the host, with its port unless that is 443. `authorization` is
// "bearer JWT", or empty where a client certificate speaks; it may enter the dynamic table like the other constants
// (Apple, "Establishing a connection to APNs", names it as such a value), so a newer token needs a newer list.
base::FieldList request_fields(const TemplateOptions& options, std::string_view authority, bool collapse,
                               std::string_view authorization = {});

// The payload of a with_part template around its mark. The part goes between, escaped.
struct PayloadHalves {
  std::string before;
  std::string after;
};
// `payload` has passed check_template.
PayloadHalves split_payload(std::string_view payload);

// Appends `part` (valid UTF-8) as the inside of a JSON string. Answers whether any character needed escaping.
bool append_json_escaped(std::string_view part, std::string& out);

// Whether all of it is printable ASCII without quote and backslash, which a JSON string takes as it is.
bool plain_json_text(std::string_view text);

}  // namespace tocsin::apns
