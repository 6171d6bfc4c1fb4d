// SPDX-License-Identifier: Apache-2.0
// Profile: what the mock is for in this run. validate: APNs' checks and a ledger, for the truth. flood: after a validated
// beginning only HTTP/2 is checked and everything gets a bare 200, for the client's ceiling. apns: as flood, but answers and
// limits look like Apple's: apns-id is given back Huffman-coded and indexed, each answer is a TLS record of its own.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <string_view>

namespace tocsin::mock {

enum class Profile : std::uint8_t { validate, flood, apns };

constexpr std::string_view profile_name(Profile profile) {
  return profile == Profile::flood ? "flood" : profile == Profile::apns ? "apns" : "validate";
}

struct ProfileOptions {
  Profile profile = Profile::validate;
  // flood and apns: so many requests of one Service are judged before its connections are handed over, and of each connection
  // as many, up to kValidatedEach.
  std::uint64_t validate_first = 100'000;
};
inline constexpr std::uint64_t kValidatedEach = 100;

}  // namespace tocsin::mock
