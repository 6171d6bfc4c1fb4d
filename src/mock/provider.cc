// SPDX-License-Identifier: Apache-2.0
#include "mock/provider.h"

#include <algorithm>

#include "apns/request.h"

namespace tocsin::mock {
namespace {

Reason check_age(std::int64_t iat_unix_s, base::Now now) {
  const std::int64_t now_s = now.wall_ns / base::kSecond;
  if (iat_unix_s > now_s + kTokenFutureMaxS) return Reason::invalid_provider_token;
  if (iat_unix_s < now_s - apns::kTokenExpiresS) return Reason::expired_provider_token;
  return Reason::none;
}

bool is_bearer(std::string_view authorization) {
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() <= kBearer.size()) return false;
  for (std::size_t i = 0; i < kBearer.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c) != kBearer[i]) return false;
  }
  return true;
}

}  // namespace

const apns::ProviderClaims* ProviderJudge::verified(const ProviderKeys& keys, std::string_view jwt) {
  if (jwt.size() > apns::kProviderTokenBytesMax) return nullptr;
  std::string key(jwt);
  if (const auto known = verified_.find(key); known != verified_.end()) return &known->second;
  Result<apns::ProviderClaims> claims = apns::parse_provider_token(jwt);
  if (!claims.ok()) return nullptr;
  const auto trust = keys.find(claims->key_id);
  if (trust == keys.end() || trust->second.team_id != claims->team_id) return nullptr;
  if (!apns::verify_provider_token(jwt, trust->second.key)) return nullptr;
  if (verified_.size() >= kVerifiedMax) verified_.clear();
  return &verified_.emplace(std::move(key), *std::move(claims)).first->second;
}

Reason ProviderJudge::judge(const ProviderKeys& keys, std::string_view authorization, ProviderBinding& binding,
                            base::Now now, const ProviderTrust*& trust) {
  // The token in use, as nearly always: only its age can have changed.
  if (binding.bound() && authorization == binding.authorization) {
    trust = &keys.at(binding.key_id);
    return check_age(binding.iat_unix_s, now);
  }
  if (authorization.empty()) return Reason::missing_provider_token;
  if (!is_bearer(authorization)) return Reason::invalid_provider_token;
  const apns::ProviderClaims* claims = verified(keys, authorization.substr(7));
  if (claims == nullptr) return Reason::invalid_provider_token;
  if (const Reason age = check_age(claims->iat_unix_s, now); age != Reason::none) return age;
  if (binding.bound()) {
    if (claims->key_id != binding.key_id || claims->team_id != binding.team_id) return Reason::unrelated_key_id_in_token;
    const std::int64_t since_ns = now.mono_ns - binding.changed_mono_ns;
    if (since_ns < (apns::kTokenChangeMinS - kTokenChangeSlackS) * base::kSecond) {
      return Reason::too_many_provider_token_updates;
    }
  }
  binding.authorization = authorization;
  binding.key_id = claims->key_id;
  binding.team_id = claims->team_id;
  binding.iat_unix_s = claims->iat_unix_s;
  binding.changed_mono_ns = now.mono_ns;
  trust = &keys.at(binding.key_id);
  return Reason::none;
}

bool allows_topic(const ProviderTrust& trust, std::string_view topic) {
  if (trust.topics.empty()) return true;
  return std::any_of(trust.topics.begin(), trust.topics.end(), [topic](std::string_view own) {
    if (!topic.starts_with(own)) return false;
    if (topic.size() == own.size()) return true;
    for (std::size_t i = 0; i < kPushTypes; ++i) {
      const std::string_view suffix = apns::topic_suffix(static_cast<PushType>(i));
      if (!suffix.empty() && topic.substr(own.size()) == suffix) return true;
    }
    return false;
  });
}

}  // namespace tocsin::mock
