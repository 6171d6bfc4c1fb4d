// SPDX-License-Identifier: Apache-2.0
// What a shard is told about credentials and templates. Immutable once handed over; shared by all shards.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <tocsin/options.h>

#include "apns/request.h"
#include "base/now.h"
#include "tls/context.h"

namespace tocsin::dispatch {

// A rate as the shard sees it: it may send what it was granted (EventKind::granted) and asks for more
// (Output::wants); whoever owns the process-wide bucket grants. Without a rate nothing is asked.
enum class Pace : std::uint8_t { engine, credential, group };

// Places for connections, where there are too few: a credential without any has waited so long before a busy connection of
// another goes for it; and where nobody has two, the one that goes has been there for so long.
inline constexpr std::int64_t kPlaceWaitNs = base::kSecond;
inline constexpr std::int64_t kPlaceTurnNs = 10 * base::kSecond;

// One version of a credential: a later version (another certificate, another provider key) replaces it under the same index.
struct CredentialConfig {
  std::string name;
  std::string host;
  std::uint16_t port = 443;
  std::uint16_t alternate_port = 0;             // tried when `port` cannot be reached, and left again; 0: none
  std::string tls_name;
  std::string authority;                        // :authority
  std::shared_ptr<tls::ClientContext> context;  // null: the plain twin (simulation and tests)
  bool provider_tokens = false;                 // requests carry `authorization`, from EventKind::token_ready
  // HTTP CONNECT: dial this instead of host:port and ask for a tunnel to it. Empty host: no proxy.
  std::string proxy_host;
  std::uint16_t proxy_port = 0;
  std::string proxy_authorization;              // "Basic ...", a secret; empty: none
  unsigned connections_max = 1;                 // in this shard
  unsigned connections_min = 1;                 // opened as soon as something waits, streams full or not
  unsigned streams_max = 1000;
  bool paced = false;                           // Pace::credential
  std::int64_t connect_timeout_ns = 10 * base::kSecond;    // resolve and connect (with a proxy: and its answer)
  std::int64_t handshake_timeout_ns = 10 * base::kSecond;  // TLS, SETTINGS
  std::int64_t answer_timeout_ns = 60 * base::kSecond;
  // Liveness. With pushes in flight and nothing received for ping_after_ns, or idle for ping_idle_ns: a PING,
  // which must be answered within ping_timeout_ns. Silent for longer than probe_after_ns: a PING is awaited before
  // the next push goes out. 0 turns each off.
  std::int64_t ping_after_ns = 4 * base::kSecond;
  std::int64_t ping_timeout_ns = 5 * base::kSecond;
  std::int64_t ping_idle_ns = 60 * base::kSecond;
  std::int64_t probe_after_ns = 30 * base::kSecond;
  std::int64_t idle_close_ns = 600 * base::kSecond;  // a connection beside others is closed after this; 0: never
  std::int64_t backoff_min_ns = 100 * base::kMillisecond;
  std::int64_t backoff_max_ns = 30 * base::kSecond;
  std::int64_t give_up_ns = 60 * base::kSecond;         // without a connection since the start; 0: never
  std::int64_t outage_give_up_ns = 3600 * base::kSecond;  // after one had worked; 0: never
  // Pauses the credential when this share of the last `bad_tokens_least` or more answers was BadDeviceToken (another
  // environment's tokens, most likely); 0: never.
  double bad_tokens_share = 0.5;
  unsigned bad_tokens_least = 200;
};

struct TemplateConfig {
  TemplateOptions options;
  apns::PayloadHalves halves;  // of a with_part payload; `before` is the whole of a fixed one
};

struct ShardOptions {
  std::uint32_t pushes_max = 65'536;      // waiting and in flight
  std::uint32_t connections_max = 1024;
  unsigned dials_max = 8;                 // that one credential starts at once; the budget of all is the process's. At least 1
  std::uint32_t credentials_max = 4096;
  std::uint32_t templates_max = 65'536;
  std::uint32_t groups_max = 4096;
  std::uint32_t dead_tokens_max = 1'000'000;  // places in the filter of tokens that APNs called unregistered; 0: no filter
  unsigned attempts_max = 5;
  Codec codec = Codec::fast;
  bool paced = false;                     // Pace::engine
  double retry_budget = 100;              // retries that a credential may have before it has earned any
  std::int64_t retry_later_ns = 15 * base::kSecond;  // the second and longer waits after a 5xx double from here
  std::uint64_t seed = 1;                 // jitter
  std::int64_t start_mono_ns = 0;         // where ticks begin
  // Bytes of TLS records that may wait for a socket before no further request is written to it. Two batches of
  // full stream tables (1,000 MDM requests are about 180 KB) keep a fast peer busy; more would only hide a slow one.
  std::size_t wire_high_water_bytes = 512 * 1024;
};

}  // namespace tocsin::dispatch
