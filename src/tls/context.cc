// SPDX-License-Identifier: Apache-2.0
#include "tls/context.h"

#include <utility>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "tls/certificate.h"
#include "tls/library.h"
#include "tls/pem.h"
#include "tls/wolf.h"

namespace tocsin::tls {
namespace {

using ContextResult = Result<std::shared_ptr<WolfContext>>;

// Only AEAD suites with forward secrecy, which is what HTTP/2 allows. AES first where it is fast.
std::string cipher_list(bool aes_first, unsigned version_min, unsigned version_max) {
  const std::string aes13 = "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384";
  const std::string chacha13 = "TLS13-CHACHA20-POLY1305-SHA256";
  const std::string aes12 =
      "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
  const std::string chacha12 = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
  const std::string list13 = aes_first ? aes13 + ":" + chacha13 : chacha13 + ":" + aes13;
  const std::string list12 = aes_first ? aes12 + ":" + chacha12 : chacha12 + ":" + aes12;
  if (version_min == 13) return list13;
  return version_max == 12 ? list12 : list13 + ":" + list12;
}

WOLFSSL_METHOD* method_of(Role role, unsigned version_min, unsigned version_max) {
  if (role == Role::client) {
    if (version_min == 13) return wolfTLSv1_3_client_method();
    return version_max == 12 ? wolfTLSv1_2_client_method() : wolfSSLv23_client_method();
  }
  if (version_min == 13) return wolfTLSv1_3_server_method();
  return version_max == 12 ? wolfTLSv1_2_server_method() : wolfSSLv23_server_method();
}

Error refused(const char* what, int result) {
  return {Code::internal, std::string("wolfSSL refused ") + what + " (error " + std::to_string(result) + ")"};
}

Result<void> set_protocol(WolfContext& context, bool aes_first, unsigned version_min, unsigned version_max) {
  WOLFSSL_CTX* ctx = context.ctx;
  if (version_min != version_max) {
    const int result = wolfSSL_CTX_SetMinVersion(ctx, WOLFSSL_TLSV1_2);
    if (result != WOLFSSL_SUCCESS) return refused("the lowest version", result);
  }
  const std::string ciphers = cipher_list(aes_first, version_min, version_max);
  int result = wolfSSL_CTX_set_cipher_list(ctx, ciphers.c_str());
  if (result != WOLFSSL_SUCCESS) return refused("the cipher list", result);
  // X25519 halves the handshake; the others are there for certificates and peers that want them.
  if (version_max == 13) {
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_SECP521R1};
    result = wolfSSL_CTX_set_groups(ctx, groups, 4);
    if (result != WOLFSSL_SUCCESS) return refused("the key exchange groups", result);
    // Resumption would skip the host name check, and connections live long: no tickets.
    wolfSSL_CTX_no_ticket_TLSv13(ctx);
  }
  if (context.role == Role::server && version_min == 12) wolfSSL_CTX_NoTicketTLSv12(ctx);
  wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
  return {};
}

Result<void> set_identity(WolfContext& context, const Identity& identity) {
  std::vector<unsigned char> chain;
  for (const auto& der : identity.chain_der) chain.insert(chain.end(), der.begin(), der.end());
  const bool chain_ok = wolfSSL_CTX_use_certificate_chain_buffer_format(context.ctx, chain.data(), static_cast<long>(chain.size()),
                                                                       WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
  if (!chain_ok) {
    return Error{Code::bad_certificate, "the certificate \"" + identity.facts.subject + "\" cannot be used for TLS"};
  }
  if (wolfSSL_CTX_use_PrivateKey_buffer(context.ctx, identity.key_der.data(), static_cast<long>(identity.key_der.size()),
                                        WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS) {
    return Error{Code::bad_key, "the private key of \"" + identity.facts.subject + "\" cannot be used for TLS"};
  }
  context.identity_name = identity.facts.subject;
  return {};
}

// Each certificate by itself, so that one that wolfSSL cannot take (a system's bundle may hold such) does
// not hide the others.
Result<void> set_anchors(WolfContext& context, const std::string& pem) {
  std::vector<std::vector<unsigned char>> anchors;
  std::size_t bad = 0;
  if (!pem_certificates(pem, anchors, bad)) {
    return Error{Code::bad_certificate, "trust anchor " + std::to_string(bad) + " of the CA file is damaged (its base64 cannot be decoded)"};
  }
  for (const auto& der : anchors) {
    if (wolfSSL_CTX_load_verify_buffer_ex(context.ctx, der.data(), static_cast<long>(der.size()), WOLFSSL_FILETYPE_ASN1, 0,
                                          WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) != WOLFSSL_SUCCESS) {
      continue;
    }
    Certificate certificate;
    if (parse_certificate(base::as_bytes({reinterpret_cast<const char*>(der.data()), der.size()}), certificate)) {
      context.anchors.emplace_back(base::as_text(certificate.subject));
    }
  }
  if (!context.anchors.empty()) return {};
  return Error{Code::bad_certificate,
               "the CA file holds no usable trust anchor (a CA certificate in PEM, -----BEGIN CERTIFICATE-----)"};
}

ContextResult make_context(Role role, const Identity* identity, Crypto crypto, unsigned version_min, unsigned version_max) {
  if (version_min < 12 || version_max > 13 || version_min > version_max) {
    return Error{Code::invalid_argument, "TLS versions must be 12 or 13, the lowest not above the highest"};
  }
  if (Result<void> ready = init_library(); !ready) return std::move(ready).error();
  const Result<CryptoChoice> choice = choose_crypto(crypto);
  if (!choice) return choice.error();
  const bool callback = choice->crypto == Crypto::ipsec_mb;
  if (callback) {
    if (Result<void> registered = register_crypto_callback(); !registered) return std::move(registered).error();
  }
  auto context = std::make_shared<WolfContext>();
  context->role = role;
  context->tls13 = version_max == 13;
  context->ctx = wolfSSL_CTX_new(method_of(role, version_min, version_max));
  if (context->ctx == nullptr) return Error{Code::out_of_memory, "no memory for a TLS context"};
  if (callback) wolfSSL_CTX_SetDevId(context->ctx, kCryptoDeviceId);
  if (Result<void> set = set_protocol(*context, callback, version_min, version_max); !set) return std::move(set).error();
  if (identity != nullptr) {
    if (Result<void> set = set_identity(*context, *identity); !set) return std::move(set).error();
  }
  set_callbacks(*context);
  return context;
}

class ClientContextImpl final : public ClientContext {
 public:
  explicit ClientContextImpl(std::shared_ptr<const WolfContext> context) : context_(std::move(context)) {}
  Result<std::unique_ptr<Channel>> connect(std::string_view name) override { return make_wolf_channel(context_, name); }

 private:
  std::shared_ptr<const WolfContext> context_;
};

class ServerContextImpl final : public ServerContext {
 public:
  explicit ServerContextImpl(std::shared_ptr<const WolfContext> context) : context_(std::move(context)) {}
  Result<std::unique_ptr<Channel>> accept() override { return make_wolf_channel(context_, {}); }

 private:
  std::shared_ptr<const WolfContext> context_;
};

}  // namespace

Result<std::shared_ptr<ClientContext>> make_client_context(const ClientOptions& options) {
  if (options.ca_pem.empty()) {
    return Error{Code::invalid_argument, "no trust anchors were given; give a CA file (Debian's is /etc/ssl/certs/ca-certificates.crt)"};
  }
  ContextResult context = make_context(Role::client, options.identity, options.crypto, options.version_min, options.version_max);
  if (!context) return std::move(context).error();
  if (Result<void> set = set_anchors(**context, options.ca_pem); !set) return std::move(set).error();
  (*context)->alpn = options.require_alpn;
  set_verify(**context, true, true);
  return std::shared_ptr<ClientContext>(std::make_shared<ClientContextImpl>(std::move(*context)));
}

Result<std::shared_ptr<ServerContext>> make_server_context(const ServerOptions& options) {
  if (options.identity == nullptr) {
    return Error{Code::invalid_argument, "a TLS server needs a certificate with its private key"};
  }
  if (options.require_client_certificate && options.client_ca_pem.empty()) {
    return Error{Code::invalid_argument, "client certificates are required, but no CA was given to check them against"};
  }
  ContextResult context = make_context(Role::server, options.identity, options.crypto, options.version_min, options.version_max);
  if (!context) return std::move(context).error();
  if (!options.client_ca_pem.empty()) {
    if (Result<void> set = set_anchors(**context, options.client_ca_pem); !set) return std::move(set).error();
  }
  (*context)->alpn = options.offer_alpn;
  set_verify(**context, !options.client_ca_pem.empty(), options.require_client_certificate);
  return std::shared_ptr<ServerContext>(std::make_shared<ServerContextImpl>(std::move(*context)));
}

}  // namespace tocsin::tls
