// SPDX-License-Identifier: Apache-2.0
// Provider tokens as APNs takes them: the key must be known, the signature right, the age within an hour; a connection is
// bound to the team and key of its first one and may change its token every 20 minutes.
//
// Source: Apple, "Establishing a token-based connection to APNs" and "Handling notification responses from APNs". Pure; threads:
// one at a time. Ownership: a binding belongs to its connection. Bounds: kVerifiedMax verified tokens are remembered, so that a
// signature is checked once and not per push.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <tocsin/push.h>

#include "apns/provider_token.h"
#include "base/now.h"

namespace tocsin::mock {

inline constexpr std::size_t kVerifiedMax = 256;
// What the mock's clock may be behind the provider's.
inline constexpr std::int64_t kTokenFutureMaxS = 300;
// A change is measured here from arrival to arrival, at the provider from sending to sending.
inline constexpr std::int64_t kTokenChangeSlackS = 15;

struct ProviderTrust {
  apns::ProviderPublicKey key;
  std::string team_id;
  std::vector<std::string> topics;  // bundle ids without suffix; empty: all of the team's
};
using ProviderKeys = std::map<std::string, ProviderTrust>;  // by key id

// What a connection has learned from its provider tokens.
struct ProviderBinding {
  std::string authorization;  // the field's value of the token in use
  std::string key_id, team_id;
  std::int64_t iat_unix_s = 0;
  std::int64_t changed_mono_ns = 0;
  bool bound() const { return !key_id.empty(); }
};

class ProviderJudge {
 public:
  // Reason::none: a good token; `trust` is its key's. `authorization` is the field's value.
  Reason judge(const ProviderKeys& keys, std::string_view authorization, ProviderBinding& binding, base::Now now,
               const ProviderTrust*& trust);

 private:
  const apns::ProviderClaims* verified(const ProviderKeys& keys, std::string_view jwt);
  std::unordered_map<std::string, apns::ProviderClaims> verified_;
};

// The topic without its push type's suffix is among the key's.
bool allows_topic(const ProviderTrust& trust, std::string_view topic);

}  // namespace tocsin::mock
