// SPDX-License-Identifier: Apache-2.0
// Gateway: APNs as a model. A request comes in (fields, body), a reply goes out (status, reason, apns-id,
// delay), in the order in which APNs validates; what it accepted stands in its ledger. Provider tokens: provider.h.
//
// The same code serves the mock on sockets and the simulator. It has no clock and no I/O. Threads: one at a time (one Gateway per worker; the
// config is shared and immutable). Ownership: Reply::body views static or Reply-owned storage.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <tocsin/push.h>
#include <tocsin/result.h>

#include "base/now.h"
#include "base/prng.h"
#include "h2/server_session.h"
#include "mock/ledger.h"
#include "mock/provider.h"

namespace tocsin::mock {

struct Peer;
struct Reply;

struct GatewayConfig {
  // Tokens (hex, lower case) that are dead, with the time APNs would name (Unix ms).
  std::unordered_map<std::string, std::int64_t> dead;
  // Beside them: this share of all tokens is dead, decided by a hash of the token, so that every worker
  // and every run agree; the 410 time is derived from the token too (within 90 days before `dead_base_unix_ms`).
  double dead_share = 0;
  std::int64_t dead_base_unix_ms = 0;
  // This share of requests is answered with a random reason of those that end one push, 410 apart (for conservation tests).
  double reject_share = 0;
  std::uint64_t seed = 1;
  // Answer latency: delay plus uniform jitter in [0, jitter).
  std::int64_t delay_ns = 0;
  std::int64_t jitter_ns = 0;
  // Without a client certificate a request needs a provider token of one of these keys; with one, `authorization` is
  // ignored.
  ProviderKeys provider_keys;
  // False: a request with neither is judged without a look at its topic's owner.
  bool require_certificate = true;
  // More than this many requests for one device token within a second: 429 TooManyRequests. 0: no such limit.
  std::uint32_t per_token_rate = 0;
  // So many rejections in a row (410 does not count) halve a connection's stream limit, down to 1; as many accepted
  // ones in a row double it again. 0: the limit stays.
  std::uint32_t throttle_errors = 0;
  // Called with every request that was judged and booked, and what it got; for oracles. Empty: nobody is told.
  std::function<void(const Peer& peer, const h2::ServerRequest& request, const Reply& reply)> observer;
  bool sandbox = false;  // adds apns-unique-id to accepted answers
  double bare_share = 0; // this share of accepted answers has :status alone
};

// Whether (and since when) a token is dead under a config; used by `fleet generate` and by tests as well.
bool token_is_dead(const GatewayConfig& config, base::ByteView token, std::int64_t& since_unix_ms);

// What a connection proved about its client.
struct Peer {
  bool has_certificate = false;
  std::string uid;                  // the MDM topic
  std::vector<std::string> topics;  // further topics the certificate names (bundle ids)
  std::uint32_t connection = 0;     // its ordinal, for the ledger
  ProviderBinding provider{};       // kept up by the gateway
};

struct Reply {
  std::uint16_t status = 200;
  Reason reason = Reason::none;
  Uuid apns_id{};                 // echoed, or made by the gateway
  std::int64_t timestamp_unix_ms = 0;  // 410
  std::int64_t delay_ns = 0;      // answer not before now + delay
  bool bare = false;              // without apns-id
  bool unique_id = false;
  Uuid unique_id_value{};
  char body_storage[160] = {};
  std::uint32_t body_bytes = 0;   // {"reason":"..."} with timestamp on 410; 0 for accepted
  std::string_view body() const { return {body_storage, body_bytes}; }
};

class Gateway {
 public:
  Gateway(std::shared_ptr<const GatewayConfig> config, std::uint64_t worker);
  ~Gateway();

  // Judges one request and books it. The order is APNs': method and path, duplicate or missing headers,
  // apns-id, token, certificate and topic, push type, priority, expiration, collapse id, payload size, JSON, payload against push type, dead tokens;
  // last, reject_share. Apple's list has no reason for a payload that is no JSON object: it gets 400
  // "BadRequestPayload" and Reason::other. Without apns-push-type the topic says how the payload is judged.
  // `answer_lost`: the client will not get the whole answer; the ledger says so of what is accepted.
  void handle(Peer& peer, const h2::ServerRequest& request, base::Now now, Reply& out, bool answer_lost = false);

  // Refuses a request without a look at it, and books that. Reason text "": an answer without a body.
  // A time of -1: none.
  void refuse(const Peer& peer, const h2::ServerRequest& request, base::Now now, std::uint16_t status, std::string_view reason,
              std::int64_t timestamp_unix_ms, Reply& out);

  // How much later the next answer, or batch of answers, is to be given.
  std::int64_t draw_delay();

  Ledger& ledger() { return ledger_; }
  const Ledger& ledger() const { return ledger_; }

 private:
  std::shared_ptr<const GatewayConfig> config_;
  base::Prng prng_;
  Ledger ledger_;
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace tocsin::mock
