// SPDX-License-Identifier: Apache-2.0
#include "tls/identity.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/pkcs12.h>

#include "tls/certificate.h"
#include "tls/library.h"
#include "tls/pem.h"
#include "tls/wipe.h"

namespace tocsin::tls {
namespace {

using Der = std::vector<unsigned char>;

base::ByteView view(const Der& der) { return {reinterpret_cast<const std::byte*>(der.data()), der.size()}; }

// Copies of passwords and decrypted keys, wiped on every way out.
struct Secret {
  explicit Secret(std::string_view given) : text(given) {}
  ~Secret() { wipe(text.data(), text.size()); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  std::string text;
};

struct FreeCtx {
  void operator()(WOLFSSL_CTX* ctx) const { wolfSSL_CTX_free(ctx); }
};

enum class Match { yes, no, bad_certificate, bad_key };

// A throw-away context, because wolfSSL compares a key with a certificate only there.
Match match(const Der& certificate, const Der& key) {
  const std::unique_ptr<WOLFSSL_CTX, FreeCtx> ctx(wolfSSL_CTX_new(wolfTLSv1_2_client_method()));
  if (!ctx) return Match::bad_certificate;
  if (wolfSSL_CTX_use_certificate_buffer(ctx.get(), certificate.data(), static_cast<long>(certificate.size()),
                                         WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS) {
    return Match::bad_certificate;
  }
  if (wolfSSL_CTX_use_PrivateKey_buffer(ctx.get(), key.data(), static_cast<long>(key.size()), WOLFSSL_FILETYPE_ASN1) !=
      WOLFSSL_SUCCESS) {
    return Match::bad_key;
  }
  return wolfSSL_CTX_check_private_key(ctx.get()) == WOLFSSL_SUCCESS ? Match::yes : Match::no;
}

// Leaf first, then each one's issuer, as servers want it; what belongs to no place keeps its order at the end.
void order_chain(std::vector<Der>& chain) {
  for (std::size_t at = 0; at + 1 < chain.size(); ++at) {
    Certificate here;
    if (!parse_certificate(view(chain[at]), here)) return;
    for (std::size_t i = at + 1; i < chain.size(); ++i) {
      Certificate other;
      if (!parse_certificate(view(chain[i]), other)) return;
      if (base::as_text(other.subject) != base::as_text(here.issuer)) continue;
      std::rotate(chain.begin() + static_cast<std::ptrdiff_t>(at + 1), chain.begin() + static_cast<std::ptrdiff_t>(i),
                  chain.begin() + static_cast<std::ptrdiff_t>(i + 1));
      break;
    }
  }
}

// Takes what was read, wherever from, and makes it an identity or says why not. `encrypted`: a key that
// cannot be read was most likely decrypted with a wrong password.
Result<Identity> finish(std::vector<Der> chain, Der key, bool encrypted) {
  Identity identity;
  identity.chain_der = std::move(chain);
  identity.key_der = std::move(key);
  std::size_t leaf = 0;
  Match verdict = Match::no;
  for (; leaf < identity.chain_der.size() && verdict == Match::no; ++leaf) {
    verdict = match(identity.chain_der[leaf], identity.key_der);
  }
  if (verdict == Match::bad_certificate) {
    return Error{Code::bad_certificate, "certificate " + std::to_string(leaf) +
                                            " cannot be used: its contents are damaged or of an unknown kind; export it again"};
  }
  if (verdict == Match::bad_key && encrypted) {
    return Error{Code::bad_password, "the private key could not be decrypted: the password is wrong"};
  }
  if (verdict == Match::bad_key) {
    return Error{Code::bad_key, "the private key cannot be used: it is damaged or of an unknown kind (RSA of at least "
                                "1,024 bits and P-256, P-384 or P-521 keys work)"};
  }
  Certificate certificate;
  if (verdict == Match::no) {
    parse_certificate(view(identity.chain_der.front()), certificate);
    return Error{Code::key_mismatch, "the private key does not belong to the certificate \"" +
                                         name_text(certificate.subject) +
                                         "\"; give the key that the certificate's request was made with"};
  }
  std::rotate(identity.chain_der.begin(), identity.chain_der.begin() + static_cast<std::ptrdiff_t>(leaf - 1),
              identity.chain_der.begin() + static_cast<std::ptrdiff_t>(leaf));
  order_chain(identity.chain_der);
  if (!parse_certificate(view(identity.chain_der.front()), certificate)) {
    return Error{Code::bad_certificate, "the certificate's fields cannot be read; export it again"};
  }
  identity.facts = facts_of(certificate);
  return identity;
}

Error no_certificate(std::string_view text) {
  std::string message = "no certificate found: the text has no -----BEGIN CERTIFICATE----- block";
  if (!text.empty() && text.front() == '\x30') {
    message = "the certificate is not PEM text but binary; convert it with 'openssl x509 -inform der -in FILE -out "
              "push.pem', or give it as PKCS#12 if it is one";
  } else if (text.find("CERTIFICATE REQUEST-----") != std::string_view::npos) {
    message = "this is a certificate request, not a certificate; give the file that the certificate portal returned";
  }
  return Error{Code::bad_certificate, std::move(message)};
}

Result<std::vector<Der>> read_certificates(std::string_view text) {
  std::vector<Der> chain;
  std::size_t bad = 0;
  if (!pem_certificates(text, chain, bad)) {
    return Error{Code::bad_certificate, "certificate " + std::to_string(bad) +
                                            " of the PEM text is damaged (its base64 cannot be decoded); export it again"};
  }
  if (chain.empty()) return no_certificate(text);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    Certificate certificate;
    if (!parse_certificate(view(chain[i]), certificate)) {
      return Error{Code::bad_certificate,
                   "certificate " + std::to_string(i + 1) + " of the PEM text is no X.509 certificate; export it again"};
    }
  }
  return chain;
}

struct Key {
  Der der;
  bool encrypted = false;
};

Result<Key> read_key(std::string_view text, std::string_view password) {
  PemBlock found;
  for (const PemBlock& block : pem_blocks(text)) {
    if (found.text.empty() && block.label.ends_with("PRIVATE KEY")) found = block;
  }
  if (found.text.empty()) {
    return Error{Code::bad_key, "no private key found: the text has no -----BEGIN PRIVATE KEY----- block (or RSA, EC, "
                                "ENCRYPTED PRIVATE KEY); a DER key becomes PEM with 'openssl pkey -inform der -in FILE'"};
  }
  Key key;
  key.encrypted = found.label.starts_with("ENCRYPTED") || found.text.find("Proc-Type: 4,ENCRYPTED") != std::string_view::npos;
  if (key.encrypted && password.empty()) {
    return Error{Code::bad_password, "the private key is encrypted and no password was given; give its password"};
  }
  const Secret secret(password);
  const Secret pem(std::string(found.text) + "\n");
  key.der.resize(found.text.size() + 64);
  const int size = wc_KeyPemToDer(reinterpret_cast<const unsigned char*>(pem.text.data()), static_cast<int>(pem.text.size()),
                                  key.der.data(), static_cast<int>(key.der.size()),
                                  key.encrypted ? secret.text.c_str() : nullptr);
  if (size > 0) {
    key.der.resize(static_cast<std::size_t>(size));
    return key;
  }
  wipe(key.der.data(), key.der.size());
  if (key.encrypted && size != NOT_COMPILED_IN && size != ASN_UNKNOWN_OID_E) {
    return Error{Code::bad_password, "the private key could not be decrypted: the password is wrong, or its encryption is "
                                     "of a rare kind ('openssl pkey -in OLD -aes256 -out NEW' makes it a common one)"};
  }
  return Error{Code::bad_key, key.encrypted
                                  ? "the private key's encryption is of a kind that cannot be read; convert it with 'openssl "
                                    "pkey -in OLD -aes256 -out NEW'"
                                  : "the private key is damaged (its base64 or its contents cannot be decoded)"};
}

struct FreeP12 {
  void operator()(WC_PKCS12* p12) const { wc_PKCS12_free(p12); }
};

// What wc_PKCS12_parse hands out, freed as it wants.
struct P12Parts {
  ~P12Parts() {
    if (key != nullptr) wipe(key, key_bytes);
    XFREE(key, nullptr, DYNAMIC_TYPE_PUBLIC_KEY);
    XFREE(certificate, nullptr, DYNAMIC_TYPE_PKCS);
    while (others != nullptr) {
      WC_DerCertList* next = others->next;
      XFREE(others->buffer, nullptr, DYNAMIC_TYPE_PKCS);
      XFREE(others, nullptr, DYNAMIC_TYPE_PKCS);
      others = next;
    }
  }
  byte* key = nullptr;
  word32 key_bytes = 0;
  byte* certificate = nullptr;
  word32 certificate_bytes = 0;
  WC_DerCertList* others = nullptr;
};

// pbeWithSHAAnd40BitRC2-CBC or the 128-bit kind (1.2.840.113549.1.12.1.6 and .5) anywhere in the file.
bool names_rc2(base::ByteView p12) {
  static constexpr std::string_view kPrefix = "\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01";
  const std::string_view text = base::as_text(p12);
  for (std::size_t at = 0; (at = text.find(kPrefix, at)) != std::string_view::npos; ++at) {
    const std::size_t last = at + kPrefix.size();
    if (last < text.size() && (text[last] == '\x05' || text[last] == '\x06')) return true;
  }
  return false;
}

Error p12_error(int result, base::ByteView p12) {
  if (result == MAC_CMP_FAILED_E) return {Code::bad_password, "the password of the PKCS#12 file is wrong"};
  if (names_rc2(p12)) {
    return {Code::unsupported_p12,
            "the PKCS#12 file is encrypted with RC2, the old form that Keychain and OpenSSL 1 wrote and that cannot be opened "
            "here; convert it with 'openssl pkcs12 -legacy -in old.p12 -nodes -out push.pem' and give push.pem"};
  }
  return {Code::bad_certificate, "the PKCS#12 file cannot be read: it is damaged, no PKCS#12 or of a rare kind (error " +
                                     std::to_string(result) + "); try 'openssl pkcs12 -in FILE -nodes -out push.pem'"};
}

}  // namespace

Identity::~Identity() { wipe(key_der.data(), key_der.size()); }

Identity& Identity::operator=(Identity&& other) noexcept {
  if (this == &other) return *this;
  wipe(key_der.data(), key_der.size());
  chain_der = std::move(other.chain_der);
  key_der = std::move(other.key_der);
  facts = std::move(other.facts);
  return *this;
}

Result<Identity> identity_from_pem(std::string_view certificate_pem, std::string_view key_pem, std::string_view password) {
  if (const auto ready = init_library(); !ready) return ready.error();
  Result<std::vector<Der>> chain = read_certificates(certificate_pem);
  if (!chain) return chain.error();
  // One file often holds both.
  Result<Key> key = read_key(key_pem.empty() ? certificate_pem : key_pem, password);
  if (!key) return key.error();
  return finish(std::move(*chain), std::move(key->der), key->encrypted);
}

Result<Identity> identity_from_pkcs12(base::ByteView p12, std::string_view password) {
  if (const auto ready = init_library(); !ready) return ready.error();
  if (p12.empty()) return Error{Code::bad_certificate, "the PKCS#12 file is empty"};
  const std::unique_ptr<WC_PKCS12, FreeP12> store(wc_PKCS12_new());
  if (!store) return Error{Code::out_of_memory, "no memory for the PKCS#12 file"};
  int result = wc_d2i_PKCS12(reinterpret_cast<const byte*>(p12.data()), static_cast<word32>(p12.size()), store.get());
  if (result != 0) return p12_error(result, p12);
  P12Parts parts;
  const Secret secret(password);
  result = wc_PKCS12_parse(store.get(), secret.text.c_str(), &parts.key, &parts.key_bytes, &parts.certificate,
                           &parts.certificate_bytes, &parts.others);
  if (result != 0) return p12_error(result, p12);
  std::vector<Der> chain;
  if (parts.certificate != nullptr) chain.emplace_back(parts.certificate, parts.certificate + parts.certificate_bytes);
  for (const WC_DerCertList* other = parts.others; other != nullptr; other = other->next) {
    chain.emplace_back(other->buffer, other->buffer + other->bufferSz);
  }
  if (chain.empty()) {
    if (names_rc2(p12)) return p12_error(ASN_INPUT_E, p12);
    return Error{Code::bad_certificate, "the PKCS#12 file holds no certificate; export the certificate together with its key"};
  }
  if (parts.key == nullptr || parts.key_bytes == 0) {
    return Error{Code::bad_key, "the PKCS#12 file holds no private key; export the certificate together with its key"};
  }
  return finish(std::move(chain), Der(parts.key, parts.key + parts.key_bytes), false);
}

Result<CertificateFacts> facts_from_pem(std::string_view certificate_pem) {
  const Result<std::vector<Der>> chain = read_certificates(certificate_pem);
  if (!chain) return chain.error();
  Certificate certificate;
  parse_certificate(view(chain->front()), certificate);
  return facts_of(certificate);
}

Result<void> check_dates(const CertificateFacts& facts, std::int64_t unix_s) {
  const std::string who = "the certificate \"" + facts.subject + "\" ";
  if (unix_s > facts.not_after_unix_s) {
    return Error{Code::expired, who + "expired on " + der::date_text(facts.not_after_unix_s) +
                                    "; renew it (for MDM: with the same Apple ID, so that the topic stays)"};
  }
  if (unix_s < facts.not_before_unix_s) {
    return Error{Code::expired, who + "is not valid before " + der::date_text(facts.not_before_unix_s) +
                                    "; check this machine's clock"};
  }
  return {};
}

}  // namespace tocsin::tls
