// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include <arpa/inet.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>

#include "tls/certificate.h"
#include "tls/failure.h"
#include "tls/library.h"
#include "tls/seal_place.h"
#include "tls/wolf.h"

namespace tocsin::tls {
namespace {

constexpr std::size_t kRecordPlainBytes = 16'384;
constexpr std::size_t kRecordOverheadBytes = 64;  // header, nonce, inner type, tag, rounded up
constexpr std::size_t kWriteBytesMax = 1u << 30;  // wolfSSL counts in int
constexpr std::size_t kNameBytesMax = 253;

base::ByteView view(const unsigned char* data, int bytes) {
  if (data == nullptr || bytes <= 0) return {};
  return {reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(bytes)};
}

class WolfChannel final : public Channel {
 public:
  WolfChannel(std::shared_ptr<const WolfContext> context, std::string_view name)
      : context_(std::move(context)), name_(name) {}
  ~WolfChannel() override { wolfSSL_free(ssl_); }
  WolfChannel(const WolfChannel&) = delete;
  WolfChannel& operator=(const WolfChannel&) = delete;

  Result<void> set_up();

  State start(base::ByteBuffer& wire_out) override;
  State receive(base::ByteView wire, base::ByteBuffer& plain_out, base::ByteBuffer& wire_out) override;
  State send(base::ByteView plain, base::ByteBuffer& wire_out) override;
  void close(base::ByteBuffer& wire_out) override;
  State state() const override { return state_; }
  const Failure& failure() const override { return failure_; }
  Facts facts() const override;

  // wolfSSL's callbacks.
  static int on_read(WOLFSSL* ssl, char* buffer, int bytes, void* user);
  static int on_write(WOLFSSL* ssl, char* buffer, int bytes, void* user);
  static int on_verify(int accepted, WOLFSSL_X509_STORE_CTX* store);

 private:
  bool client() const { return context_->role == Role::client; }
  bool looks_like_tls(base::ByteView wire);
  void shake_hands();
  void read_records(base::ByteBuffer& plain_out);
  void fail(int result);
  void fail(Failure failure);
  std::string root_of(WOLFSSL* ssl, base::ByteView leaf) const;

  std::shared_ptr<const WolfContext> context_;
  WOLFSSL* ssl_ = nullptr;
  State state_ = State::handshaking;
  Failure failure_;
  std::string name_;
  std::vector<std::byte> address_;  // name_ as bytes, if it is an address literal
  bool close_sent_ = false;
  std::size_t record_bytes_seen_ = 0;  // of the peer's first record header; up to 2

  // Set for the length of one call.
  base::ByteView in_;
  base::ByteBuffer* out_ = nullptr;

  // The certificate that verification stopped at.
  bool name_refused_ = false;
  CertificateFacts refused_;
  std::string refused_names_;
};

Result<void> WolfChannel::set_up() {
  ssl_ = wolfSSL_new(context_->ctx);
  if (ssl_ == nullptr) return Error{Code::out_of_memory, "no memory for a TLS session"};
  wolfSSL_SetIOReadCtx(ssl_, this);
  wolfSSL_SetIOWriteCtx(ssl_, this);
  wolfSSL_SetCertCbCtx(ssl_, this);
  char protocols[] = "h2";
  int result = WOLFSSL_SUCCESS;
  // A client checks the answer itself, once the handshake is over: a missing answer is no mismatch to wolfSSL.
  if (client() || context_->alpn) {
    result = wolfSSL_UseALPN(ssl_, protocols, 2, client() ? WOLFSSL_ALPN_CONTINUE_ON_MISMATCH : WOLFSSL_ALPN_FAILED_ON_MISMATCH);
  }
  if (result == WOLFSSL_SUCCESS && client()) {
    unsigned char address[16];
    if (inet_pton(AF_INET, name_.c_str(), address) == 1) {
      address_.assign(reinterpret_cast<std::byte*>(address), reinterpret_cast<std::byte*>(address) + 4);
    } else if (inet_pton(AF_INET6, name_.c_str(), address) == 1) {
      address_.assign(reinterpret_cast<std::byte*>(address), reinterpret_cast<std::byte*>(address) + 16);
    } else {
      result = wolfSSL_check_domain_name(ssl_, name_.c_str());
      if (result == WOLFSSL_SUCCESS) {
        result = wolfSSL_UseSNI(ssl_, WOLFSSL_SNI_HOST_NAME, name_.data(), static_cast<word16>(name_.size()));
      }
    }
    if (result == WOLFSSL_SUCCESS && context_->tls13) result = wolfSSL_UseKeyShare(ssl_, WOLFSSL_ECC_X25519);
  }
  if (result == WOLFSSL_SUCCESS) return {};
  return Error{Code::internal, "a TLS session could not be set up (wolfSSL error " + std::to_string(result) + ")"};
}

int WolfChannel::on_read(WOLFSSL*, char* buffer, int bytes, void* user) {
  auto* self = static_cast<WolfChannel*>(user);
  const std::size_t count = std::min(self->in_.size(), static_cast<std::size_t>(bytes));
  if (count == 0) return WOLFSSL_CBIO_ERR_WANT_READ;
  std::memcpy(buffer, self->in_.data(), count);
  self->in_ = self->in_.subspan(count);
  return static_cast<int>(count);
}

int WolfChannel::on_write(WOLFSSL*, char* buffer, int bytes, void* user) {
  auto* self = static_cast<WolfChannel*>(user);
  // After a failure wolfSSL's buffer may hold what was never sealed.
  if (self->out_ == nullptr || self->state_ == State::failed || bytes < 0) return WOLFSSL_CBIO_ERR_GENERAL;
  const bool sent = SealPlace::send(*self->out_, reinterpret_cast<std::uint8_t*>(buffer), static_cast<std::size_t>(bytes));
  return sent ? bytes : WOLFSSL_CBIO_ERR_GENERAL;
}

// Called for every certificate of the chain, root first, whether wolfSSL accepts it or not. It never
// accepts what wolfSSL refused; it keeps what to say about it, and checks address literals, which wolfSSL
// compares as text only.
int WolfChannel::on_verify(int accepted, WOLFSSL_X509_STORE_CTX* store) {
  auto* self = static_cast<WolfChannel*>(store->userCtx);
  if (self == nullptr) return accepted;
  if (accepted == 1 && (self->address_.empty() || store->error_depth != 0)) return accepted;
  Certificate certificate;
  bool parsed = false;
  if (store->certs != nullptr && store->error_depth >= 0 && store->error_depth < store->totalCerts) {
    const WOLFSSL_BUFFER_INFO& der = store->certs[store->error_depth];
    parsed = parse_certificate(view(der.buffer, static_cast<int>(der.length)), certificate);
  }
  if (accepted == 1) {
    if (parsed && has_ip_address(certificate, self->address_)) return accepted;
    self->name_refused_ = true;
  }
  if (parsed && self->refused_.subject.empty()) {
    self->refused_ = facts_of(certificate);
    self->refused_names_ = names_for_people(certificate);
  }
  return 0;
}

State WolfChannel::start(base::ByteBuffer& wire_out) {
  if (!client() || state_ != State::handshaking) return state_;
  out_ = &wire_out;
  shake_hands();
  out_ = nullptr;
  return state_;
}

State WolfChannel::receive(base::ByteView wire, base::ByteBuffer& plain_out, base::ByteBuffer& wire_out) {
  if (wire.empty() || state_ == State::closed || state_ == State::failed) return state_;
  if (!looks_like_tls(wire)) {
    fail(not_tls_failure(context_->role, wire));
    return state_;
  }
  in_ = wire;
  out_ = &wire_out;
  if (state_ == State::handshaking) shake_hands();
  if (state_ == State::open) read_records(plain_out);
  in_ = {};
  out_ = nullptr;
  return state_;
}

// A record begins with its type (20 to 23) and major version 3; wolfSSL's own errors would not tell a
// wrong port from a broken peer.
bool WolfChannel::looks_like_tls(base::ByteView wire) {
  for (std::size_t i = 0; i < wire.size() && record_bytes_seen_ < 2; ++i, ++record_bytes_seen_) {
    const auto octet = static_cast<unsigned>(wire[i]);
    if (record_bytes_seen_ == 0 ? octet < 20 || octet > 23 : octet != 3) return false;
  }
  return true;
}

void WolfChannel::shake_hands() {
  free_tables_at_thread_exit();
  const int result = client() ? wolfSSL_connect(ssl_) : wolfSSL_accept(ssl_);
  if (result != WOLFSSL_SUCCESS) {
    const int error = wolfSSL_get_error(ssl_, result);
    if (error != WOLFSSL_ERROR_WANT_READ && error != WANT_READ) fail(result);
    return;
  }
  if (client() && context_->alpn) {
    char* protocol = nullptr;
    word16 bytes = 0;
    wolfSSL_ALPN_GetProtocol(ssl_, &protocol, &bytes);
    if (protocol == nullptr || std::string_view(protocol, bytes) != "h2") {
      wolfSSL_shutdown(ssl_);
      return fail(no_alpn_failure());
    }
  }
  state_ = State::open;
}

void WolfChannel::read_records(base::ByteBuffer& plain_out) {
  while (true) {
    std::byte* space = plain_out.prepare(kRecordPlainBytes);
    const int result = wolfSSL_read(ssl_, space, static_cast<int>(kRecordPlainBytes));
    if (result > 0) {
      plain_out.commit(static_cast<std::size_t>(result));
      continue;
    }
    const int error = wolfSSL_get_error(ssl_, result);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WANT_READ) return;
    if (error == WOLFSSL_ERROR_ZERO_RETURN || error == ZERO_RETURN) {
      state_ = State::closed;
      return;
    }
    return fail(result);
  }
}

State WolfChannel::send(base::ByteView plain, base::ByteBuffer& wire_out) {
  if (state_ != State::open || close_sent_ || plain.empty()) return state_;
  const std::size_t records = (plain.size() + kRecordPlainBytes - 1) / kRecordPlainBytes;
  wire_out.prepare(plain.size() + records * kRecordOverheadBytes);
  out_ = &wire_out;
  SealPlace place(wire_out);
  while (!plain.empty()) {
    const std::size_t bytes = std::min(plain.size(), kWriteBytesMax);
    const int result = wolfSSL_write(ssl_, plain.data(), static_cast<int>(bytes));
    if (place.broken()) {
      fail(not_sealed_failure(context_->role));
      break;
    }
    if (result <= 0) {
      fail(result);
      break;
    }
    plain = plain.subspan(static_cast<std::size_t>(result));
  }
  out_ = nullptr;
  return state_;
}

void WolfChannel::close(base::ByteBuffer& wire_out) {
  if (close_sent_ || state_ == State::failed || state_ == State::handshaking) return;
  close_sent_ = true;
  out_ = &wire_out;
  wolfSSL_shutdown(ssl_);
  out_ = nullptr;
}

void WolfChannel::fail(int result) {
  FailureFacts facts;
  facts.role = context_->role;
  facts.error = wolfSSL_get_error(ssl_, result);
  WOLFSSL_ALERT_HISTORY history{};
  wolfSSL_get_alert_history(ssl_, &history);
  if (history.last_rx.level > alert_none) facts.alert = history.last_rx.code;
  if (facts.error == NO_PEER_CERT && history.last_tx.level <= alert_none && out_ != nullptr) {
    // wolfSSL's TLS 1.2 server is silent here. No key is in use yet: the alert goes in the clear.
    static constexpr std::string_view kHandshakeFailure("\x15\x03\x03\x00\x02\x02\x28", 7);
    out_->append(kHandshakeFailure);
  }
  facts.open = state_ == State::open;
  facts.name_refused = name_refused_;
  facts.name = name_;
  facts.own = context_->identity_name;
  facts.subject = refused_.subject;
  facts.issuer = refused_.issuer;
  facts.names = refused_names_;
  facts.not_before_unix_s = refused_.not_before_unix_s;
  facts.not_after_unix_s = refused_.not_after_unix_s;
  fail(classify(facts));
}

void WolfChannel::fail(Failure failure) {
  state_ = State::failed;
  failure_ = std::move(failure);
}

// Follows the issuers through the chain that the peer sent, until one is a trust anchor.
std::string WolfChannel::root_of(WOLFSSL* ssl, base::ByteView leaf) const {
  Certificate certificate;
  if (!parse_certificate(leaf, certificate)) return {};
  WOLFSSL_X509_CHAIN* chain = wolfSSL_get_peer_chain(ssl);
  const int count = chain != nullptr ? wolfSSL_get_chain_count(chain) : 0;
  for (int step = 0; step <= count; ++step) {
    const std::string_view issuer = base::as_text(certificate.issuer);
    if (std::find(context_->anchors.begin(), context_->anchors.end(), issuer) != context_->anchors.end()) {
      return name_text(certificate.issuer);
    }
    bool found = false;
    for (int i = 0; i < count && !found; ++i) {
      Certificate other;
      found = parse_certificate(view(wolfSSL_get_chain_cert(chain, i), wolfSSL_get_chain_length(chain, i)), other) &&
              base::as_text(other.subject) == issuer;
      if (found) certificate = other;
    }
    if (!found) return {};
  }
  return {};
}

Facts WolfChannel::facts() const {
  Facts facts;
  facts.version = wolfSSL_version(ssl_) == TLS1_3_VERSION ? "TLS 1.3" : "TLS 1.2";
  if (const char* cipher = wolfSSL_get_cipher_name(ssl_)) facts.cipher = cipher;
  char* protocol = nullptr;
  word16 bytes = 0;
  wolfSSL_ALPN_GetProtocol(ssl_, &protocol, &bytes);
  if (protocol != nullptr) facts.alpn.assign(protocol, bytes);
  WOLFSSL_X509* x509 = wolfSSL_get_peer_certificate(ssl_);
  if (x509 == nullptr) return facts;
  int der_bytes = 0;
  const unsigned char* der = wolfSSL_X509_get_der(x509, &der_bytes);
  const base::ByteView leaf = view(der, der_bytes);
  Certificate certificate;
  if (parse_certificate(leaf, certificate)) {
    facts.peer_subject = name_text(certificate.subject);
    facts.peer_uid = name_attribute(certificate.subject, kOidUserId);
    facts.peer_root = root_of(ssl_, leaf);
  }
  wolfSSL_X509_free(x509);
  return facts;
}

}  // namespace

WolfContext::~WolfContext() { wolfSSL_CTX_free(ctx); }

void set_callbacks(WolfContext& context) {
  wolfSSL_CTX_SetIORecv(context.ctx, WolfChannel::on_read);
  wolfSSL_CTX_SetIOSend(context.ctx, WolfChannel::on_write);
}

void set_verify(WolfContext& context, bool ask, bool require) {
  int mode = WOLFSSL_VERIFY_NONE;
  if (ask) mode = require ? WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT : WOLFSSL_VERIFY_PEER;
  wolfSSL_CTX_set_verify(context.ctx, mode, WolfChannel::on_verify);
}

Result<std::unique_ptr<Channel>> make_wolf_channel(std::shared_ptr<const WolfContext> context, std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);  // the root label is no part of SNI or certificates
  if (context->role == Role::client && (name.empty() || name.size() > kNameBytesMax)) {
    return Error{Code::invalid_argument, "the server's name must have 1 to 253 characters"};
  }
  auto channel = std::make_unique<WolfChannel>(std::move(context), name);
  if (Result<void> ready = channel->set_up(); !ready) return std::move(ready).error();
  return std::unique_ptr<Channel>(std::move(channel));
}

}  // namespace tocsin::tls
