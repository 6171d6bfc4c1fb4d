// SPDX-License-Identifier: Apache-2.0
// Options become a credential: certificate loaded and checked before any connection, one config per shard.
#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include "base/prng.h"
#include "engine/impl.h"

namespace tocsin::engine {
namespace {

Error invalid(std::string text) { return Error{Code::invalid_argument, std::move(text)}; }

Result<void> check_range(const char* name, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  if (value >= low && value <= high) return {};
  return invalid(std::string(name) + " is " + std::to_string(value) + "; it must be " + std::to_string(low) + " to " +
                 std::to_string(high));
}

struct Bound {
  const char* name;
  std::uint64_t value, low, high;
};

Result<void> check_bounds(std::span<const Bound> bounds) {
  for (const Bound& bound : bounds) {
    if (Result<void> result = check_range(bound.name, bound.value, bound.low, bound.high); !result) return result;
  }
  return {};
}

// Where distributions keep the trust store; the first that exists is read.
constexpr std::array kTrustStores = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                     "/etc/ssl/cert.pem"};

Result<std::string> system_trust_store() {
  for (const char* path : kTrustStores) {
    std::ifstream file(path, std::ios::binary);
    if (!file) continue;
    std::ostringstream text;
    text << file.rdbuf();
    if (!text.str().empty()) return text.str();
  }
  return Error{Code::io,
               "no system trust store was found (looked for /etc/ssl/certs/ca-certificates.crt and its like): install "
               "the package ca-certificates, or give the trust anchors yourself (ca_pem)"};
}

Result<tls::Identity> load_identity(const CredentialOptions& options) {
  const bool pem = !options.certificate_pem.empty() || !options.key_pem.empty();
  if (pem && !options.pkcs12.empty()) {
    return invalid("both certificate_pem and pkcs12 are given; give one form of the client certificate");
  }
  if (!options.pkcs12.empty()) {
    return tls::identity_from_pkcs12(base::as_bytes(options.pkcs12), options.pkcs12_password);
  }
  if (options.certificate_pem.empty()) return invalid("key_pem is given without certificate_pem");
  if (options.key_pem.empty()) return invalid("certificate_pem is given without key_pem");
  return tls::identity_from_pem(options.certificate_pem, options.key_pem, options.key_password);
}

}  // namespace

Result<void> check_engine_options(const EngineOptions& o) {
  const std::uint64_t million = 1'000'000;
  const Bound bounds[] = {
      {"shards", o.shards, 1, 256},
      {"pushes_max", o.pushes_max, 1024, 64 * million},
      {"shard_queue_pushes_max", o.shard_queue_pushes_max, 256, 64 * million},
      {"shard_queue_bytes_max", o.shard_queue_bytes_max, 64u << 10, std::uint64_t{64} << 30},
      {"connections_max", o.connections_max, 1, 65'536},
      {"dials_max", o.dials_max, 1, 1024},
      {"templates_max", o.templates_max, 1, million},
      {"credentials_max", o.credentials_max, 1, million},
      {"attempts_max", o.attempts_max, 1, 100},
  };
  return check_bounds(bounds);
}

Result<std::shared_ptr<const CredentialEntry>> make_credential(const CredentialOptions& o, const Shared& shared,
                                                               std::uint32_t index) {
  const Bound bounds[] = {
      {"port", o.port, 1, 65'535},
      {"connections_max", o.connections_max, 1, shared.options.connections_max},
      {"span", o.span, 0, std::min(shared.options.shards, o.connections_max)},
      {"streams_max", o.streams_max, 1, 100'000},
      {"connect_timeout_ms", o.connect_timeout_ms, 10, 3'600'000},
      {"handshake_timeout_ms", o.handshake_timeout_ms, 10, 3'600'000},
      {"answer_timeout_ms", o.answer_timeout_ms, 10, 3'600'000},
      {"backoff_min_ms", o.backoff_min_ms, 1, 3'600'000},
      {"backoff_max_ms", o.backoff_max_ms, o.backoff_min_ms, 3'600'000},
      {"tls_min", o.tls_min, 12, 13},
      {"tls_max", o.tls_max, o.tls_min, 13},
  };
  if (Result<void> result = check_bounds(bounds); !result) return result.error();
  if (o.host.empty() || o.host.size() > 253) return invalid("host must be a name or address of 1 to 253 bytes");

  auto entry = std::make_shared<CredentialEntry>();
  tls::ClientOptions tls_options;
  tls::Identity identity;
  if (!o.certificate_pem.empty() || !o.key_pem.empty() || !o.pkcs12.empty()) {
    auto loaded = load_identity(o);
    if (!loaded) return loaded.error();
    identity = std::move(loaded).value();
    const std::int64_t now_s = io::clock_now().wall_ns / base::kSecond;
    if (Result<void> dates = tls::check_dates(identity.facts, now_s); !dates) return dates.error();
    tls_options.identity = &identity;
    entry->facts = identity.facts;
  }
  if (o.ca_pem.empty()) {
    auto store = system_trust_store();
    if (!store) return store.error();
    tls_options.ca_pem = std::move(store).value();
  } else {
    tls_options.ca_pem = o.ca_pem;
  }
  tls_options.crypto = shared.crypto.crypto;
  tls_options.version_min = o.tls_min;
  tls_options.version_max = o.tls_max;
  auto context = tls::make_client_context(tls_options);
  if (!context) return context.error();

  entry->name = !o.name.empty()              ? o.name
                : !entry->facts.uid.empty()  ? entry->facts.uid
                : !entry->facts.subject.empty() ? entry->facts.subject
                                                : o.host;
  const unsigned shards = shared.options.shards;
  entry->span = std::max(1u, o.span);
  entry->home = static_cast<unsigned>(base::mix64(index) % shards);

  dispatch::CredentialConfig config;
  config.name = entry->name;
  config.host = o.host;
  config.port = o.port;
  config.tls_name = o.tls_name.empty() ? o.host : o.tls_name;
  const std::string host = o.host.find(':') != std::string::npos ? "[" + o.host + "]" : o.host;
  config.authority = o.port == 443 ? host : host + ":" + std::to_string(o.port);
  config.context = std::move(context).value();
  config.streams_max = o.streams_max;
  config.connect_timeout_ns = o.connect_timeout_ms * base::kMillisecond;
  config.handshake_timeout_ns = o.handshake_timeout_ms * base::kMillisecond;
  config.answer_timeout_ns = o.answer_timeout_ms * base::kMillisecond;
  config.backoff_min_ns = o.backoff_min_ms * base::kMillisecond;
  config.backoff_max_ns = o.backoff_max_ms * base::kMillisecond;
  config.give_up_ns = o.connect_give_up_ms * base::kMillisecond;
  for (unsigned shard = 0; shard < shards; ++shard) {
    const unsigned place = (shard + shards - entry->home) % shards;  // 0 for the first home shard
    config.connections_max = place < entry->span
                                 ? std::max(1u, o.connections_max / entry->span +
                                                    (place < o.connections_max % entry->span ? 1u : 0u))
                                 : 1;
    entry->per_shard.push_back(std::make_shared<const dispatch::CredentialConfig>(config));
  }
  return std::shared_ptr<const CredentialEntry>(std::move(entry));
}

}  // namespace tocsin::engine
