// SPDX-License-Identifier: Apache-2.0
// Provider tokens: the ES256 JWT that stands in a request's `authorization` field instead of a client certificate.
//
// A token is a function of (key, iat) and nothing else: the signature is deterministic (RFC 6979) and iat lies on a
// grid of 30 minutes, so every process and machine with the same key sends the same bytes without talking to the others. That
// matters because APNs answers 429 where one connection's token changes more often than every 20 minutes.
// Source: Apple, "Establishing a token-based connection to APNs"; RFC 7515 (JWS), RFC 7518 section 3.4 (ES256), RFC 6979.
//
// Threads: pure functions; a ProviderKey is immutable and may be used from everywhere at once. Ownership: a ProviderKey
// owns its scalar and wipes it at its end. Bounds: key texts up to 16 KiB, tokens up to kProviderTokenBytesMax.
// Errors name what is wrong with the text and what to do; they never hold key or token bytes.
// Cost: some 100 us for a signature, as much again to verify one; make a token once per grid step, not per connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <tocsin/result.h>

namespace tocsin::apns {

inline constexpr std::int64_t kTokenGridS = 1800;       // iat is a multiple of this
inline constexpr std::int64_t kTokenChangeMinS = 1200;  // between two changes on one connection (Apple: 20 minutes)
inline constexpr std::int64_t kTokenAgeMaxS = 3300;     // by then a connection has changed, 5 minutes before it must
inline constexpr std::int64_t kTokenExpiresS = 3600;    // APNs refuses an older one (Apple: one hour)
inline constexpr std::size_t kProviderTokenBytesMax = 1024;  // ours are about 190 bytes

// A point of P-256 in its uncompressed form (SEC 1 section 2.3.3): 4, x, y.
struct ProviderPublicKey {
  std::array<std::uint8_t, 65> point{};
  bool operator==(const ProviderPublicKey&) const = default;
};

// The signing key of one team, as Apple's .p8 file has it.
class ProviderKey {
 public:
  ProviderKey() = default;
  ~ProviderKey();
  ProviderKey(const ProviderKey&) = delete;
  ProviderKey& operator=(const ProviderKey&) = delete;

  const std::string& key_id() const { return key_id_; }
  const std::string& team_id() const { return team_id_; }
  const ProviderPublicKey& public_key() const { return public_; }

 private:
  friend Result<std::shared_ptr<const ProviderKey>> read_p8(std::string_view pem, std::string_view key_id,
                                                            std::string_view team_id);
  friend bool sign_es256(const ProviderKey& key, std::string_view message, std::array<std::uint8_t, 64>& signature);

  std::array<std::uint8_t, 32> scalar_{};
  ProviderPublicKey public_;
  std::string key_id_;
  std::string team_id_;
};

// `pem` is PKCS#8 without a password, an EC key on P-256; text around the block and CRLF are allowed. Ids are 10
// characters of A-Z and 0-9. Code::bad_key or, for the ids, Code::invalid_argument.
Result<std::shared_ptr<const ProviderKey>> read_p8(std::string_view pem, std::string_view key_id,
                                                   std::string_view team_id);

// A public key as PEM ("PUBLIC KEY"): what a verifier knows of a team. Code::bad_key.
Result<ProviderPublicKey> read_public_key(std::string_view pem);

// The signature of SHA-256(message): r and s, 32 bytes each, big-endian. The same inputs give the same bytes. False only
// if the system's random source fails, which wolfCrypt asks for its blinding.
bool sign_es256(const ProviderKey& key, std::string_view message, std::array<std::uint8_t, 64>& signature);

// The compact JWT: {"alg":"ES256","kid":...}.{"iss":...,"iat":N}.signature, base64url without padding. Empty where
// sign_es256 fails.
std::string make_provider_token(const ProviderKey& key, std::int64_t iat_unix_s);

struct ProviderClaims {
  std::string key_id;
  std::string team_id;
  std::int64_t iat_unix_s = 0;
};

// The shape alone: three parts, ES256, ids, a whole iat, a signature of 64 bytes. Believe nothing of it before
// verify_provider_token said yes. Code::invalid_argument.
Result<ProviderClaims> parse_provider_token(std::string_view jwt);

// True if the shape is right and the signature is the key's.
bool verify_provider_token(std::string_view jwt, const ProviderPublicKey& key);

// The iat that every process uses at this wall time: rounded down to the grid.
constexpr std::int64_t grid_iat(std::int64_t wall_ns) {
  constexpr std::int64_t kGridNs = kTokenGridS * 1'000'000'000;
  const std::int64_t behind = wall_ns % kGridNs;
  return (wall_ns - (behind < 0 ? behind + kGridNs : behind)) / 1'000'000'000;
}

}  // namespace tocsin::apns
