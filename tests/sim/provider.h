// SPDX-License-Identifier: Apache-2.0
// Provider keys and tokens of a simulation: real ES256 keys, made from their numbers, and the real tokens that they sign, so that
// the gateway verifies what it would verify in a socket's bytes.
//
// A token is a function of (key, iat), and every world begins at the same wall time: a signature (some 100 us) is made once for
// all worlds of a process. Threads: one. Bounds: kKeysPerCredential keys a credential, a token per key and step of the grid.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mock/provider.h"

namespace tocsin::sim {

inline constexpr unsigned kKeysPerCredential = 8;

// The key's id under which the gateway knows it, and what it trusts: this key, for these topics.
std::string provider_key_id(unsigned key);
mock::ProviderTrust provider_trust(unsigned key, const std::vector<std::string>& topics);

const std::string& provider_token(unsigned key, std::int64_t iat_s);

// Which key made it, and when. False: none of ours.
bool provider_token_origin(std::string_view token, unsigned& key, std::int64_t& iat_s);

}  // namespace tocsin::sim
