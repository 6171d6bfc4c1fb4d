// SPDX-License-Identifier: Apache-2.0
// ProviderTokens: the tokens of one provider key, made once for all shards; ProviderTokenStore: one ProviderTokens for
// all credentials that show the same key.
//
// A token is a function of (key, iat); signing costs some 100 us, so the last two are kept: connections change over in their own
// time, and both tokens are in use meanwhile. Threads: any; a shard that asks while another signs waits for it. Tokens
// are wiped when they are dropped.
#pragma once

#include <array>
#include <cstdint>
#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "apns/provider_token.h"
#include "tls/library.h"
#include "tls/wipe.h"

namespace tocsin::engine {

class ProviderTokens {
 public:
  explicit ProviderTokens(std::shared_ptr<const apns::ProviderKey> key) : key_(std::move(key)) {}
  ~ProviderTokens() {
    for (Made& made : made_) tls::wipe(made.token.data(), made.token.size());
  }
  ProviderTokens(const ProviderTokens&) = delete;
  ProviderTokens& operator=(const ProviderTokens&) = delete;

  const std::string& key_id() const { return key_->key_id(); }

  // The token, or "" where the system's random source fails.
  std::string token(std::int64_t iat_s) {
    const std::lock_guard lock(mutex_);
    for (const Made& made : made_) {
      if (!made.token.empty() && made.iat_s == iat_s) return made.token;
    }
    Made& made = made_[next_];
    next_ = 1 - next_;
    tls::wipe(made.token.data(), made.token.size());
    tls::free_tables_at_thread_exit();  // signing fills them
    made.token = apns::make_provider_token(*key_, iat_s);
    made.iat_s = iat_s;
    ++signatures_;
    return made.token;
  }
  std::uint64_t signatures() {
    const std::lock_guard lock(mutex_);
    return signatures_;
  }

 private:
  struct Made {
    std::int64_t iat_s = 0;
    std::string token;
  };
  const std::shared_ptr<const apns::ProviderKey> key_;
  std::mutex mutex_;
  std::array<Made, 2> made_;  // guarded by mutex_, as are the rest
  std::size_t next_ = 0;      // the older one
  std::uint64_t signatures_ = 0;
};

// Threads: any. Ownership: credentials own their tokens; the store only knows those that live.
class ProviderTokenStore {
 public:
  std::shared_ptr<ProviderTokens> of(std::shared_ptr<const apns::ProviderKey> key) {
    std::string name = key->team_id() + '.' + key->key_id() + '.';
    name.append(key->public_key().point.begin(), key->public_key().point.end());
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(name); found != known_.end()) {
      if (std::shared_ptr<ProviderTokens> tokens = found->second.lock()) return tokens;
    }
    if (known_.size() >= look_at_) {
      std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
      look_at_ = std::max<std::size_t>(16, 2 * known_.size());
    }
    auto tokens = std::make_shared<ProviderTokens>(std::move(key));
    known_[std::move(name)] = tokens;
    return tokens;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::weak_ptr<ProviderTokens>> known_;
  std::size_t look_at_ = 16;
};

}  // namespace tocsin::engine
