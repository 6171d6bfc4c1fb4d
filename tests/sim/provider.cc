// SPDX-License-Identifier: Apache-2.0
#include "provider.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>

#include "apns/encoding.h"
#include "base/assertion.h"
#include "base/prng.h"

namespace tocsin::sim {
namespace {

std::string number_text(unsigned number, std::size_t digits) {
  std::string text = std::to_string(number);
  return std::string(digits - std::min(digits, text.size()), '0') + text;
}

// PKCS#8 (RFC 5958) around an ECPrivateKey (RFC 5915) on P-256 without its public part: the scalar are the last 32 bytes.
std::string p8_text(unsigned key) {
  static constexpr unsigned char kHead[] = {0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                            0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
                                            0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20};
  std::string der(reinterpret_cast<const char*>(kHead), sizeof(kHead));
  for (std::size_t i = 0; i < 4; ++i) {
    // Below the group's order, whose first word is all ones.
    const std::uint64_t word = base::mix64(key * 4 + i + 1) >> 1;
    der.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  der[sizeof(kHead)] = 1;
  std::string body;
  apns::append_base64url(der, body);
  for (char& c : body) c = c == '-' ? '+' : c == '_' ? '/' : c;
  while (body.size() % 4 != 0) body.push_back('=');
  return "-----BEGIN PRIVATE KEY-----\n" + body + "\n-----END PRIVATE KEY-----\n";
}

const apns::ProviderKey& provider_key(unsigned key) {
  static std::map<unsigned, std::shared_ptr<const apns::ProviderKey>> keys;
  auto& made = keys[key];
  if (made == nullptr) {
    auto read = apns::read_p8(p8_text(key), provider_key_id(key), "TEAM" + number_text(key / kKeysPerCredential, 6));
    TOCSIN_ASSERT(read.ok());
    made = std::move(read).value();
  }
  return *made;
}

struct Origin {
  unsigned key = 0;
  std::int64_t iat_s = 0;
};

std::unordered_map<std::string, Origin>& origins() {
  static std::unordered_map<std::string, Origin> all;
  return all;
}

}  // namespace

std::string provider_key_id(unsigned key) { return "KEY" + number_text(key, 7); }

mock::ProviderTrust provider_trust(unsigned key, const std::vector<std::string>& topics) {
  return {provider_key(key).public_key(), provider_key(key).team_id(), topics};
}

const std::string& provider_token(unsigned key, std::int64_t iat_s) {
  static std::map<std::pair<unsigned, std::int64_t>, std::string> tokens;
  std::string& token = tokens[{key, iat_s}];
  if (token.empty()) {
    token = apns::make_provider_token(provider_key(key), iat_s);
    TOCSIN_ASSERT(!token.empty());
    origins()[token] = {key, iat_s};
  }
  return token;
}

bool provider_token_origin(std::string_view token, unsigned& key, std::int64_t& iat_s) {
  const auto found = origins().find(std::string(token));
  if (found == origins().end()) return false;
  key = found->second.key;
  iat_s = found->second.iat_s;
  return true;
}

}  // namespace tocsin::sim
