// SPDX-License-Identifier: Apache-2.0
// Reading APNs' answer: status, apns-id and the JSON body of an error.
//
// Threads: pure. Bounds: bodies up to 4,096 bytes are read; anything unreadable still gives a verdict (the
// status decides; Reason::other with the raw text, or none). Only :status 200 is accepted.
#pragma once

#include <cstdint>
#include <string_view>

#include <tocsin/push.h>

namespace tocsin::apns {

// The response fields to capture, in this order.
inline constexpr std::string_view kCaptureApnsId = "apns-id";

struct Verdict {
  End end = End::rejected;          // accepted or rejected
  Reason reason = Reason::none;
  std::string_view reason_text;     // for Reason::other: verbatim, a view into `scratch` or `body`; else empty
  std::int64_t unregistered_unix_ms = 0;
  bool has_apns_id = false;
  Uuid apns_id{};
};

// "200: Success", the only status that means so (Apple, "Handling notification responses from APNs").
constexpr bool accepts(unsigned status) { return status == 200; }

// `scratch` (at least 256 bytes) holds an unescaped reason where the body had escapes; views into it and into `body`
// live as long as those do. No allocation on the accepted path.
Verdict read_answer(unsigned status, std::string_view apns_id, std::string_view body, char* scratch,
                    std::size_t scratch_bytes);

}  // namespace tocsin::apns
