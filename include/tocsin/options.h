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

enum class Codec : std::uint8_t {
  fast = 0,     // our own HTTP/2 client session, made for many requests that differ in a token and an id
  nghttp2 = 1,  // nghttp2's session: slower, and the measure of the other's correctness
};

struct EngineOptions {
  // Shards: one thread and one io_uring ring each. Default 1; 1 to 256.
  unsigned shards = 1;

  // CPUs to pin the shard threads to, shard i to cpus[i % size]. Default empty: not pinned.
  std::vector<int> cpus;

  // Pushes inside the engine, from submit until their outcome is read; as many outcomes have their places, so that they never block
  // a shard (memory for up to 131,072 at the start, for more when more are unread). Default 131,072; 1,024 to 64 million.
  std::size_t pushes_max = 131'072;

  // Pushes inside one shard: waiting in its inbox and queue, and in flight. Default 65,536; 256 to 64 million.
  std::size_t shard_queue_pushes_max = 65'536;

  // Bytes of pushes that do not fit their record (own payloads, long tokens or parts) inside one shard. Default 64 MiB; 64 KiB to 64 GiB.
  std::size_t shard_queue_bytes_max = 64u << 20;

  // Connections of all credentials in this process's engine, and how many may be dialled at once.
  // Defaults 1,024 (1 to 65,536) and 8 (1 to 1,024).
  unsigned connections_max = 1024;
  unsigned dials_max = 8;

  // Templates and credentials that may be added, removed ones included. Defaults 65,536 and 4,096; 1 to 1 million each.
  unsigned templates_max = 65'536;
  unsigned credentials_max = 4096;

  // Times one push may be written to a connection before it ends as failed or unknown. Default 5; 1 to 100. Tries that
  // come after a wait which APNs asked for (500, 503, 429, streams refused again) are not counted but bounded by 10,
  // which take about an hour, and by the push's deadline; with 1 no push is ever written twice.
  unsigned attempts_max = 5;

  // Seed of the engine's jitter and of the apns-ids it makes. Default 0: drawn from the operating system.
  std::uint64_t seed = 0;

  TlsCrypto tls_crypto = TlsCrypto::automatic;

  // What speaks HTTP/2 on the connections; both do the same. Default fast.
  Codec codec = Codec::fast;
  LogCallback log;

  // Groups that may be added. Default 4,096; 1 to 1 million.
  unsigned groups_max = 4096;

  // Places per shard in the filter of tokens that APNs called unregistered (26 bytes each at most, taken as they fill). When all are
  // taken, an old one makes room. Default 1 million; 0 (no filter) to 64 million.
  std::uint32_t dead_tokens_max = 1'000'000;

  // Pushes per second, of all credentials together: written requests, resends included. Default 0: no limit; else 0.001 to 1e9.
  // Over any time no more than this rate allows, and 50 ms worth more (at least one push); each shard may besides hold a lease of
  // up to 20 ms worth (at least one push) for up to 50 ms, or while another rate is waited for.
  double rate = 0;

  // After a 5xx answer a push is tried once more soon, then after about this long, in milliseconds, doubling up to a bound, never
  // past the push's own time. Default 15,000; 10 to 3,600,000.
  unsigned retry_later_ms = 15'000;

  // For measurements: count each shard's CPU by the stages of its loop (EngineStats::stage_cpu_ns). Costs six readings of the
  // thread's CPU clock a turn. Default false.
  bool stage_clocks = false;
};

// Values of CredentialOptions::alternate_port that are no port.
inline constexpr int kAlternatePortAutomatic = -1;
inline constexpr int kAlternatePortNone = 0;

struct CredentialOptions {
  // A name for logs and metrics, not a secret. Default: the certificate's UID or subject, or TEAM.KEYID of a provider key.
  std::string name;

  // Where APNs is. Default api.push.apple.com:443 (production).
  std::string host = "api.push.apple.com";
  std::uint16_t port = 443;

  // The name the server's certificate must carry, if it is not `host` (tests, tunnels). Default empty: host.
  std::string tls_name;

  // Trust anchors as PEM text. Default empty: the system's store.
  std::string ca_pem;

  // The client certificate: PEM chain and key, or PKCS#12 bytes. One form only, or a provider key (below) instead;
  // none of them: requests without credentials, which only a test server takes.
  std::string certificate_pem;
  std::string key_pem;
  std::string key_password;
  std::string pkcs12;
  std::string pkcs12_password;

  // Connections of this credential: starts with one, grows while pushes wait and streams are full, to twice as many with
  // each round of dials.
  // Default 4; 1 to connections_max.
  unsigned connections_max = 4;

  // Connections that are opened as soon as a push waits, without waiting for full streams, and stay open when idle: for
  // loads that come all at once. Default 1; 1 to connections_max.
  unsigned connections_min = 1;

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

  // When no connection could be made for this long since the start, waiting pushes end as failed (Reason::cannot_connect)
  // and later ones fail at once until a dial succeeds. 0: never give up. Default 60,000. Once a connection has
  // worked, outage_give_up_ms counts instead.
  unsigned connect_give_up_ms = 60'000;

  // The lowest and highest TLS version: 12 or 13. Defaults 12 and 13.
  unsigned tls_min = 12;
  unsigned tls_max = 13;

  // Provider token instead of a client certificate: the text of the .p8 file from Apple (PKCS#8 PEM, P-256), its key id
  // and the team id (10 characters of A-Z and 0-9 each). All three or none.
  std::string provider_key_p8;
  std::string provider_key_id;
  std::string team_id;

  // A second port of the same host, used while `port` cannot be reached. kAlternatePortAutomatic (default): 2197 for 443 and
  // 443 for 2197 if the host is Apple's (api.push.apple.com, api.sandbox.push.apple.com), else none. kAlternatePortNone: none.
  // Else 1 to 65,535.
  int alternate_port = kAlternatePortAutomatic;

  // HTTP proxy to ask for a tunnel (CONNECT): "http://host:port" or "http://user:password@host:port", an IPv6 host in
  // brackets, bytes of user and password beyond letters, digits and -._~ as %XX. TLS stays end to end. Default empty: none.
  std::string proxy;

  // Liveness, in milliseconds, each 0 (off) or 10 to 3,600,000. A connection that has pushes in flight and heard nothing for
  // ping_after_ms, or is idle for ping_idle_ms, is sent a PING; without its answer in ping_timeout_ms (not 0) it is
  // dead and replaced. After probe_after_ms of silence a PING is awaited before the next push.
  unsigned ping_after_ms = 4000;
  unsigned ping_timeout_ms = 5000;
  unsigned ping_idle_ms = 60'000;
  unsigned probe_after_ms = 30'000;

  // An idle connection beside others is closed after this, in milliseconds: 0 (never) or 1,000 to 86,400,000. Default 10 minutes.
  unsigned idle_close_ms = 600'000;

  // As connect_give_up_ms, after a connection had worked: how long pushes wait for the end of an outage. 0: for ever (their
  // own deadlines still hold). Default one hour; at most 7 days.
  unsigned outage_give_up_ms = 3'600'000;

  // Alarm: when this share of the last bad_tokens_least or more answers was BadDeviceToken, the tokens are most likely of another
  // environment, and the credential is paused until Engine::resume. Defaults 0.5 and 200; 0 (never) to 1, and 10 to 1,000,000.
  double bad_tokens_share = 0.5;
  unsigned bad_tokens_least = 200;

  // Pushes per second of this credential, as EngineOptions::rate. Default 0: no limit.
  double rate = 0;
};

// Pushes that are cancelled, paused and paced together, across credentials: a campaign, a tenant's job. A push names at most one.
struct GroupOptions {
  std::string name;    // for people; at most 256 bytes
  double rate = 0;     // pushes per second, as EngineOptions::rate; 0: no limit
  bool paused = false; // begins paused
};

// What is known of a token from an earlier run: Engine::add_dead_tokens.
struct DeadToken {
  Bytes token;                             // hex, as Push::token
  Bytes topic;                             // as TemplateOptions::topic
  std::int64_t unregistered_unix_ms = 0;   // Outcome::unregistered_unix_ms; above 0
};
inline constexpr std::size_t kDeadTokensPerCall = 65'536;

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
  // A newer push with the same topic, token and (where it has one) collapse id supersedes one that still waits, never one that is
  // in flight, nor one that may go sooner (the newer one's group is paused, its class lower) or has a later deadline. For MDM
  // wake-ups and whatever only the last of counts.
  bool coalesce = false;
};

}  // namespace tocsin
