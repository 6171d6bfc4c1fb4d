// SPDX-License-Identifier: Apache-2.0
// From wolfSSL's error numbers and the peer's alerts to a Cause and a sentence.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "tls/channel.h"
#include "tls/wolf.h"

namespace tocsin::tls {

// What a channel knows when it fails.
struct FailureFacts {
  Role role = Role::client;
  int error = 0;              // wolfSSL's
  int alert = -1;             // the last alert that the peer sent, -1 if none
  bool open = false;          // the handshake was over
  bool name_refused = false;  // our own check of an address found no match
  std::string_view name;      // the server's name that was asked for
  std::string_view own;       // our certificate's name, "" if we have none
  // Of the certificate that verification stopped at; empty if it did not come so far.
  std::string_view subject;
  std::string_view issuer;
  std::string_view names;
  std::int64_t not_before_unix_s = 0;
  std::int64_t not_after_unix_s = 0;
};

Failure classify(const FailureFacts& facts);

// Of bytes that can begin no TLS record.
Failure not_tls_failure(Role role, base::ByteView first);

// A record of ours was not sealed where it was sent from, or not known again (see seal_place.h).
Failure not_sealed_failure(Role role);

// The handshake ended without h2.
Failure no_alpn_failure();

}  // namespace tocsin::tls
