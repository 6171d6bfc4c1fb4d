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

struct CredentialConfig {
  std::string name;
  std::string host;
  std::uint16_t port = 443;
  std::string tls_name;
  std::string authority;                        // :authority
  std::shared_ptr<tls::ClientContext> context;  // null: the plain twin (simulation and tests)
  unsigned connections_max = 1;                 // in this shard
  unsigned streams_max = 1000;
  std::int64_t connect_timeout_ns = 10 * base::kSecond;
  std::int64_t handshake_timeout_ns = 10 * base::kSecond;
  std::int64_t answer_timeout_ns = 60 * base::kSecond;
  std::int64_t backoff_min_ns = 100 * base::kMillisecond;
  std::int64_t backoff_max_ns = 30 * base::kSecond;
  std::int64_t give_up_ns = 60 * base::kSecond;  // 0: never
};

struct TemplateConfig {
  TemplateOptions options;
  apns::PayloadHalves halves;  // of a with_part payload; `before` is the whole of a fixed one
};

struct ShardOptions {
  std::uint32_t pushes_max = 65'536;      // waiting and in flight
  std::uint32_t connections_max = 1024;
  std::uint32_t credentials_max = 4096;
  std::uint32_t templates_max = 65'536;
  unsigned attempts_max = 5;
  std::uint64_t seed = 1;                 // jitter
  // Bytes of TLS records that may wait for a socket before no further request is written to it. Two batches of
  // full stream tables (1,000 MDM requests are about 180 KB) keep a fast peer busy; more would only hide a slow one.
  std::size_t wire_high_water_bytes = 512 * 1024;
};

}  // namespace tocsin::dispatch
