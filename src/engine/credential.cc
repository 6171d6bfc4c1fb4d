// SPDX-License-Identifier: Apache-2.0
// Options become a credential: certificate loaded and checked before any connection, one config per shard.
#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/prng.h"
#include "engine/impl.h"
#include "engine/proxy.h"
#include "tls/wipe.h"

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

std::string decimal(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

constexpr double kRateMin = 0.001;
constexpr double kRateMax = 1e9;

// Zero (off) or within bounds.
Result<void> check_off_or(std::span<const Bound> bounds) {
  for (const Bound& bound : bounds) {
    if (bound.value == 0 || (bound.value >= bound.low && bound.value <= bound.high)) continue;
    return invalid(std::string(bound.name) + " is " + std::to_string(bound.value) + "; it must be 0 (off) or " +
                   std::to_string(bound.low) + " to " + std::to_string(bound.high));
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

Result<std::shared_ptr<const apns::ProviderKey>> load_provider_key(const CredentialOptions& o) {
  if (o.provider_key_p8.empty()) return invalid("provider_key_id or team_id is given without provider_key_p8");
  if (!o.certificate_pem.empty() || !o.key_pem.empty() || !o.pkcs12.empty()) {
    return invalid("both a client certificate and provider_key_p8 are given; APNs takes one or the other");
  }
  return apns::read_p8(o.provider_key_p8, o.provider_key_id, o.team_id);
}

// A config of its own, whose secret is wiped with it.
std::shared_ptr<const dispatch::CredentialConfig> keep(const dispatch::CredentialConfig& config) {
  return {new dispatch::CredentialConfig(config), [](dispatch::CredentialConfig* kept) {
            tls::wipe(kept->proxy_authorization.data(), kept->proxy_authorization.size());
            delete kept;
          }};
}

// Apple serves both of its hosts on both ports; 2197 exists so that a firewall can let APNs through and nothing else.
std::uint16_t alternate_port(const CredentialOptions& o) {
  if (o.alternate_port != kAlternatePortAutomatic) return static_cast<std::uint16_t>(o.alternate_port);
  if (o.host != "api.push.apple.com" && o.host != "api.sandbox.push.apple.com") return 0;
  return o.port == 443 ? 2197 : o.port == 2197 ? 443 : 0;
}

Result<void> check_credential_options(const CredentialOptions& o, const EngineOptions& engine) {
  const Bound bounds[] = {
      {"port", o.port, 1, 65'535},
      {"connections_max", o.connections_max, 1, engine.connections_max},
      {"connections_min", o.connections_min, 1, o.connections_max},
      {"span", o.span, 0, std::min(engine.shards, o.connections_max)},
      {"streams_max", o.streams_max, 1, 100'000},
      {"connect_timeout_ms", o.connect_timeout_ms, 10, 3'600'000},
      {"handshake_timeout_ms", o.handshake_timeout_ms, 10, 3'600'000},
      {"answer_timeout_ms", o.answer_timeout_ms, 10, 3'600'000},
      {"backoff_min_ms", o.backoff_min_ms, 1, 3'600'000},
      {"backoff_max_ms", o.backoff_max_ms, o.backoff_min_ms, 3'600'000},
      {"tls_min", o.tls_min, 12, 13},
      {"tls_max", o.tls_max, o.tls_min, 13},
      {"ping_timeout_ms", o.ping_timeout_ms, 10, 3'600'000},
      {"outage_give_up_ms", o.outage_give_up_ms, 0, 604'800'000},
      {"bad_tokens_least", o.bad_tokens_least, 10, 1'000'000},
  };
  if (Result<void> result = check_bounds(bounds); !result) return result;
  const Bound may_be_off[] = {
      {"ping_after_ms", o.ping_after_ms, 10, 3'600'000},
      {"ping_idle_ms", o.ping_idle_ms, 10, 3'600'000},
      {"probe_after_ms", o.probe_after_ms, 10, 3'600'000},
      {"idle_close_ms", o.idle_close_ms, 1000, 86'400'000},
  };
  if (Result<void> result = check_off_or(may_be_off); !result) return result;
  if (o.host.empty() || o.host.size() > 253) return invalid("host must be a name or address of 1 to 253 bytes");
  // It goes into headers and into a proxy's CONNECT.
  for (const char c : o.host) {
    if (c <= 0x20 || c >= 0x7f || c == '/' || c == '@' || c == '[' || c == ']') {
      return invalid("host must be a name or address without scheme, path, brackets and blanks");
    }
  }
  if (o.alternate_port < kAlternatePortAutomatic || o.alternate_port > 65'535) {
    return invalid("alternate_port is " + std::to_string(o.alternate_port) +
                   "; it must be a port of 1 to 65535, 0 (none) or -1 (automatic)");
  }
  if (o.alternate_port == o.port) {
    return invalid("alternate_port is the port itself, " + std::to_string(o.port) + "; give another, 0 (none) or -1 (automatic)");
  }
  if (!(o.bad_tokens_share >= 0 && o.bad_tokens_share <= 1)) {
    return invalid("bad_tokens_share is " + decimal(o.bad_tokens_share) + "; it must be 0 (never) to 1");
  }
  return check_rate(o.rate);
}

}  // namespace

Result<void> check_rate(double pushes_per_second) {
  if (pushes_per_second == 0 || (pushes_per_second >= kRateMin && pushes_per_second <= kRateMax)) return {};
  return invalid("rate is " + decimal(pushes_per_second) + " pushes per second; it must be 0 (no limit) or 0.001 to 1e9");
}

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
      {"groups_max", o.groups_max, 1, million},
      {"dead_tokens_max", o.dead_tokens_max, 0, 64 * million},
      {"retry_later_ms", o.retry_later_ms, 10, 3'600'000},
  };
  if (Result<void> result = check_bounds(bounds); !result) return result;
  return check_rate(o.rate);
}

Result<std::shared_ptr<const CredentialVersion>> make_version(const CredentialOptions& o, const Shared& shared,
                                                              unsigned home, unsigned span) {
  if (Result<void> result = check_credential_options(o, shared.options); !result) return result.error();
  auto version = std::make_shared<CredentialVersion>();
  Proxy proxy;
  if (!o.proxy.empty()) {
    auto parsed = parse_proxy(o.proxy);
    if (!parsed) return parsed.error();
    proxy = std::move(parsed).value();
  }
  if (!o.provider_key_p8.empty() || !o.provider_key_id.empty() || !o.team_id.empty()) {
    auto key = load_provider_key(o);
    if (!key) return key.error();
    version->tokens = shared.provider_tokens->of(std::move(key).value());
    version->shows = Shows::provider_token;
  }
  tls::ClientOptions tls_options;
  tls::Identity identity;
  if (!o.certificate_pem.empty() || !o.key_pem.empty() || !o.pkcs12.empty()) {
    auto loaded = load_identity(o);
    if (!loaded) return loaded.error();
    identity = std::move(loaded).value();
    const std::int64_t now_s = io::clock_now().wall_ns / base::kSecond;
    if (Result<void> dates = tls::check_dates(identity.facts, now_s); !dates) return dates.error();
    tls_options.identity = &identity;
    version->facts = identity.facts;
    version->shows = Shows::certificate;
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

  version->name = !o.name.empty()                    ? o.name
                  : !version->facts.uid.empty()      ? version->facts.uid
                  : !version->facts.subject.empty()  ? version->facts.subject
                  : version->tokens != nullptr       ? o.team_id + "." + o.provider_key_id
                                                     : o.host;
  version->rate = o.rate;

  dispatch::CredentialConfig config;
  config.name = version->name;
  config.host = o.host;
  config.port = o.port;
  config.alternate_port = alternate_port(o);
  config.tls_name = o.tls_name.empty() ? o.host : o.tls_name;
  const std::string host = o.host.find(':') != std::string::npos ? "[" + o.host + "]" : o.host;
  config.authority = o.port == 443 ? host : host + ":" + std::to_string(o.port);
  config.context = std::move(context).value();
  config.proxy_host = std::move(proxy.host);
  config.proxy_port = proxy.port;
  config.proxy_authorization = std::move(proxy.authorization);
  config.streams_max = o.streams_max;
  config.provider_tokens = version->tokens != nullptr;
  config.paced = o.rate != 0;
  config.connect_timeout_ns = o.connect_timeout_ms * base::kMillisecond;
  config.handshake_timeout_ns = o.handshake_timeout_ms * base::kMillisecond;
  config.answer_timeout_ns = o.answer_timeout_ms * base::kMillisecond;
  config.ping_after_ns = o.ping_after_ms * base::kMillisecond;
  config.ping_timeout_ns = o.ping_timeout_ms * base::kMillisecond;
  config.ping_idle_ns = o.ping_idle_ms * base::kMillisecond;
  config.probe_after_ns = o.probe_after_ms * base::kMillisecond;
  config.idle_close_ns = o.idle_close_ms * base::kMillisecond;
  config.backoff_min_ns = o.backoff_min_ms * base::kMillisecond;
  config.backoff_max_ns = o.backoff_max_ms * base::kMillisecond;
  config.give_up_ns = o.connect_give_up_ms * base::kMillisecond;
  config.outage_give_up_ns = o.outage_give_up_ms * base::kMillisecond;
  config.bad_tokens_share = o.bad_tokens_share;
  config.bad_tokens_least = o.bad_tokens_least;

  // The first home shards get what does not divide; shards that are no home share a config, which they hardly use.
  const unsigned shards = shared.options.shards;
  std::shared_ptr<const dispatch::CredentialConfig> elsewhere;
  for (unsigned shard = 0; shard < shards; ++shard) {
    const unsigned place = (shard + shards - home) % shards;  // 0 for the first home shard
    if (place < span) {
      const auto share = [span, place](unsigned count) { return std::max(1u, count / span + (place < count % span ? 1u : 0u)); };
      config.connections_max = share(o.connections_max);
      config.connections_min = share(o.connections_min);
      version->per_shard.push_back(keep(config));
      continue;
    }
    if (elsewhere == nullptr) {
      config.connections_max = config.connections_min = 1;
      elsewhere = keep(config);
    }
    version->per_shard.push_back(elsewhere);
  }
  tls::wipe(config.proxy_authorization.data(), config.proxy_authorization.size());
  return std::shared_ptr<const CredentialVersion>(std::move(version));
}

}  // namespace tocsin::engine
