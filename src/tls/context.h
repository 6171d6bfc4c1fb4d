// SPDX-License-Identifier: Apache-2.0
// Contexts: what TLS clients and servers are made from. wolfSSL stands behind them; AES-GCM goes through
// its crypto callback to libipsec-mb where that exists.
//
// Threads: make contexts on any thread; connect()/accept() may be called from several. Ownership: shared.
// Process-wide state: the first context initialises wolfSSL (reference counted) and registers one crypto
// callback under kCryptoDeviceId; docs/embedding.md says so to hosts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <tocsin/result.h>

#include "tls/channel.h"
#include "tls/identity.h"

namespace tocsin::tls {

// wolfSSL's device ids are the host's name space too; this one is ours ("toc1").
inline constexpr int kCryptoDeviceId = 0x746f6331;

enum class Crypto : unsigned char { automatic, ipsec_mb, wolfssl };

// What `automatic` means on this machine: "ipsec-mb (avx512)", "ipsec-mb (avx2)", "ipsec-mb (sse)", or "wolfssl"; with
// the reason why ipsec-mb is not used in `why` ("" when it is).
struct CryptoChoice {
  Crypto crypto = Crypto::wolfssl;
  std::string name;
  std::string why;
};
Result<CryptoChoice> choose_crypto(Crypto wanted);

// AES-GCM operations (one a record and direction) that went through the crypto callback in this process.
std::uint64_t crypto_callback_calls();

struct ClientOptions {
  const Identity* identity = nullptr;  // may be null; copied
  std::string ca_pem;                  // trust anchors; must not be empty
  Crypto crypto = Crypto::wolfssl;     // as chosen by choose_crypto
  unsigned version_min = 12;           // 12 or 13
  unsigned version_max = 13;
  bool require_alpn = true;            // h2 or fail with Cause::no_alpn
};

class ClientContext {
 public:
  virtual ~ClientContext() = default;
  // A channel that accepts only a certificate for `name` (DNS name or address literal), sent as SNI.
  virtual Result<std::unique_ptr<Channel>> connect(std::string_view name) = 0;
};
Result<std::shared_ptr<ClientContext>> make_client_context(const ClientOptions& options);

struct ServerOptions {
  const Identity* identity = nullptr;  // required; copied
  std::string client_ca_pem;           // empty: clients are not asked for a certificate
  bool require_client_certificate = false;
  Crypto crypto = Crypto::wolfssl;
  unsigned version_min = 12;
  unsigned version_max = 13;
  bool offer_alpn = true;              // choose h2; without it, no ALPN answer (for tests)
};

class ServerContext {
 public:
  virtual ~ServerContext() = default;
  virtual Result<std::unique_ptr<Channel>> accept() = 0;
};
Result<std::shared_ptr<ServerContext>> make_server_context(const ServerOptions& options);

}  // namespace tocsin::tls
