// SPDX-License-Identifier: Apache-2.0
// Options: what an Engine, a credential and a template are made from.
//
// Each field says what it does, its default, unit and bounds; Engine::start, add_credential and
// add_template check them and answer with the field's name. Threads: plain data, copied at the call.
// Secrets (keys, passwords) are wiped from the engine's copies after use and never printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/push.h>

namespace tocsin {

enum class LogLevel : std::uint8_t { debug = 0, info = 1, warning = 2, error = 3 };

// A record of something an operator may want to read. `event` is a stable name ("connection_lost");
// `text` is a sentence. Both live only during the call.
struct LogRecord {
  LogLevel level = LogLevel::info;
  std::string_view event;
  std::string_view text;
};

// Called from the engine's own threads (and from start()), never on the path of a single push. It must
// not call back into the engine and should return quickly. Empty: nothing is logged; the library never prints.
using LogCallback = std::function<void(const LogRecord&)>;

enum class TlsCrypto : std::uint8_t {
  automatic = 0,  // libipsec-mb where built in and the CPU has AES, else wolfSSL's own, with one warning
  ipsec_mb = 1,   // libipsec-mb, or start() fails
  wolfssl = 2,    // wolfSSL's own code
};

struct EngineOptions {
  // Shards: one thread and one io_uring ring each. Default 1; 1 to 256.
  unsigned shards = 1;

  // CPUs to pin the shard threads to, shard i to cpus[i % size]. Default empty: not pinned.
  std::vector<int> cpus;

  // Pushes inside the engine, from submit until their outcome is read; this many outcome places are
  // reserved, so that outcomes never block a shard. Default 131,072; 1,024 to 64 million.
  std::size_t pushes_max = 131'072;

  // Pushes inside one shard: waiting in its inbox and queue, and in flight. Default 65,536; 256 to 64 million.
  std::size_t shard_queue_pushes_max = 65'536;

  // Bytes of pushes that do not fit their 128-byte record (own payloads, long tokens) inside one shard. Default 64 MiB; 64 KiB to 64 GiB.
  std::size_t shard_queue_bytes_max = 64u << 20;

  // Connections of all credentials in this process's engine, and how many may be dialled at once.
  // Defaults 1,024 (1 to 65,536) and 8 (1 to 1,024).
  unsigned connections_max = 1024;
  unsigned dials_max = 8;

  // Templates and credentials that may be added. Defaults 65,536 and 4,096; 1 to 1 million each.
  unsigned templates_max = 65'536;
  unsigned credentials_max = 4096;

  // Times one push may be written to a connection before it ends as failed or unknown. Default 5; 1 to 100.
  unsigned attempts_max = 5;

  // Seed of the engine's jitter and of the apns-ids it makes. Default 0: drawn from the operating system.
  std::uint64_t seed = 0;

  TlsCrypto tls_crypto = TlsCrypto::automatic;
  LogCallback log;
};

struct CredentialOptions {
  // A name for logs and metrics, not a secret. Default: the certificate's UID or subject.
  std::string name;

  // Where APNs is. Default api.push.apple.com:443 (production).
  std::string host = "api.push.apple.com";
  std::uint16_t port = 443;

  // The name the server's certificate must carry, if it is not `host` (tests, tunnels). Default empty: host.
  std::string tls_name;

  // Trust anchors as PEM text. Default empty: the system's store.
  std::string ca_pem;

  // The client certificate: PEM chain and key, or PKCS#12 bytes. One form only; neither: no client certificate.
  std::string certificate_pem;
  std::string key_pem;
  std::string key_password;
  std::string pkcs12;
  std::string pkcs12_password;

  // Connections of this credential: starts with one, grows while pushes wait and streams are full.
  // Default 4; 1 to connections_max.
  unsigned connections_max = 4;

  // Home shards: how many shards this credential's pushes are spread over, so that small tenants cost few
  // connections. Default 0: one. At most EngineOptions::shards, and at most connections_max (each home shard needs one).
  unsigned span = 0;

  // Streams we are willing to open on one connection, whatever the peer allows. Default 1,000; 1 to 100,000.
  unsigned streams_max = 1000;

  // Deadlines, in milliseconds: name and TCP connect, TLS and SETTINGS, an answer. Defaults 10,000,
  // 10,000, 60,000; 10 to 3,600,000.
  unsigned connect_timeout_ms = 10'000;
  unsigned handshake_timeout_ms = 10'000;
  unsigned answer_timeout_ms = 60'000;

  // Reconnect back-off: doubles from min to max with full jitter. Defaults 100 and 30,000; 1 to 3,600,000.
  unsigned backoff_min_ms = 100;
  unsigned backoff_max_ms = 30'000;

  // When no connection could be made for this long, waiting pushes end as failed (Reason::cannot_connect)
  // and later ones fail at once until a dial succeeds. 0: never give up. Default 60,000.
  unsigned connect_give_up_ms = 60'000;

  // The lowest and highest TLS version: 12 or 13. Defaults 12 and 13.
  unsigned tls_min = 12;
  unsigned tls_max = 13;
};

enum class PushType : std::uint8_t {
  alert = 0, background, voip, complication, fileprovider, location, liveactivity, pushtotalk, widgets,
  controls, mdm
};
inline constexpr std::size_t kPushTypes = 11;

// "alert", "background", ...: the value of apns-push-type. Static storage.
TOCSIN_API const char* push_type_name(PushType type) noexcept;

enum class PayloadForm : std::uint8_t {
  fixed = 0,      // `payload` as it is, the same for every push
  with_part = 1,  // `payload` holds kPartMark once, inside a JSON string; each push brings Push::part
  own = 2,        // each push brings Push::payload
};

// Where Push::part goes: {"mdm":"%PART%"}.
inline constexpr std::string_view kPartMark = "%PART%";

struct TemplateOptions {
  std::string topic;                  // apns-topic; required; 1 to 256 bytes
  PushType push_type = PushType::alert;
  std::uint8_t priority = 10;         // apns-priority: 10, 5 or 1 (background: 5 only)
  bool has_expiration = false;        // false: no apns-expiration header, APNs' own policy
  std::int64_t expiration_unix_s = 0; // 0: one attempt by APNs, never stored
  PayloadForm form = PayloadForm::fixed;
  std::string payload;                // JSON; empty for PayloadForm::own
  bool coalesce = false;              // reserved: a newer push supersedes a queued one; refused unless false
};

}  // namespace tocsin
