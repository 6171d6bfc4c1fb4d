// SPDX-License-Identifier: Apache-2.0
// Profile: what the mock is for in this run. validate: APNs' checks and a ledger, for the truth. flood: after a validated
// beginning only HTTP/2 is checked and everything gets a bare 200, for the client's ceiling.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <string_view>

namespace tocsin::mock {

enum class Profile : std::uint8_t { validate, flood };

constexpr std::string_view profile_name(Profile profile) {
  return profile == Profile::flood ? "flood" : "validate";
}

struct ProfileOptions {
  Profile profile = Profile::validate;
  // flood: so many requests of one Service are judged before its connections are handed over, and of each connection
  // as many, up to kValidatedEach.
  std::uint64_t validate_first = 100'000;
};
inline constexpr std::uint64_t kValidatedEach = 100;

}  // namespace tocsin::mock
