// SPDX-License-Identifier: Apache-2.0
#include "portal/portal.h"

#include <array>
#include <cstdint>
#include <ctime>

#include "base/hex.h"
#include "portal/ssl.h"

namespace tocsin::portal {
namespace {

constexpr const char* kTopicsOid = "1.2.840.113635.100.6.3.6";

// One DER element: tag, length (below 64 KiB), content.
std::string der(unsigned char tag, std::string_view content) {
  std::string out(1, static_cast<char>(tag));
  const std::size_t n = content.size();
  if (n >= 256) {
    out += '\x82';
    out += static_cast<char>(n >> 8);
  } else if (n >= 128) {
    out += '\x81';
  }
  out += static_cast<char>(n & 0xff);
  return out.append(content);
}

// Apple's topics extension: topic, then a list of what it is for; ".voip" and ".complication" topics are
// marked so, anything else is "app".
std::string topics_der(const std::vector<std::string>& topics) {
  std::string inside;
  for (const std::string& topic : topics) {
    const char* kind = topic.ends_with(".voip") ? "voip" : topic.ends_with(".complication") ? "complication" : "app";
    inside += der(0x0c, topic);
    inside += der(0x30, der(0x0c, kind));
  }
  return der(0x30, inside);
}

Result<std::string> random_uuid() {
  std::array<std::uint8_t, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return ssl_error(Code::internal, "drawing a UUID");
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3f) | 0x80);
  return base::uuid_format(bytes);
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_raw_extension(X509* certificate, const char* oid, const std::string& content) {
  const Object object(OBJ_txt2obj(oid, 1));
  const OctetString data(ASN1_OCTET_STRING_new());
  if (!object || !data) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(content.data());
  if (ASN1_OCTET_STRING_set(data.get(), bytes, static_cast<int>(content.size())) != 1) return false;
  const Extension extension(X509_EXTENSION_create_by_OBJ(nullptr, object.get(), 0, data.get()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_name(X509_NAME* name, int nid, const std::string& value) {
  return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

// Version, random serial, validity, key; the subject is still empty.
Certificate blank_certificate(const Validity& validity, EVP_PKEY* key) {
  Certificate certificate(X509_new());
  const Number serial(BN_new());
  if (!certificate || !serial) return nullptr;
  std::time_t base = validity.now_unix_s;
  const bool done = X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
                    BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                    BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())) != nullptr &&
                    X509_time_adj_ex(X509_getm_notBefore(certificate.get()), validity.from_days, 0, &base) != nullptr &&
                    X509_time_adj_ex(X509_getm_notAfter(certificate.get()), validity.from_days + validity.days, 0,
                                     &base) != nullptr &&
                    X509_set_pubkey(certificate.get(), key) == 1;
  return done ? std::move(certificate) : nullptr;
}

Result<Issued> to_pem(X509* certificate, EVP_PKEY* key) {
  const Bio certificate_bio(BIO_new(BIO_s_mem()));
  const Bio key_bio(BIO_new(BIO_s_secmem()));
  if (!certificate_bio || !key_bio || PEM_write_bio_X509(certificate_bio.get(), certificate) != 1 ||
      PEM_write_bio_PrivateKey(key_bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return ssl_error(Code::internal, "writing PEM");
  }
  return Issued{bio_text(certificate_bio.get()), bio_text(key_bio.get())};
}

std::string alternative_names(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ',';
    text += is_address_literal(name) ? "IP:" : "DNS:";
    text += name;
  }
  return text;
}

// libcrypto's configuration syntax would read these as more than a name.
bool plain_name(const std::string& name) {
  return !name.empty() && name.find_first_of(",;@\" \\\n") == std::string::npos;
}

}  // namespace

struct Authority::Impl {
  Key key;
  Certificate certificate;
  std::string pem;

  Result<Issued> finish(X509* leaf, EVP_PKEY* leaf_key) const {
    const bool done =
        X509_set_issuer_name(leaf, X509_get_subject_name(certificate.get())) == 1 &&
        add_extension(leaf, certificate.get(), NID_subject_key_identifier, "hash") &&
        add_extension(leaf, certificate.get(), NID_authority_key_identifier, "keyid:always") &&
        X509_sign(leaf, key.get(), EVP_sha256()) > 0;
    if (!done) return ssl_error(Code::internal, "signing a certificate");
    return to_pem(leaf, leaf_key);
  }
};

Authority::Authority(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Authority::~Authority() = default;
const std::string& Authority::ca_pem() const { return impl_->pem; }

Result<std::unique_ptr<Authority>> Authority::make(const Validity& validity) {
  auto impl = std::make_unique<Impl>();
  impl->key.reset(EVP_EC_gen("P-256"));
  if (!impl->key) return ssl_error(Code::internal, "making the CA's key");
  impl->certificate = blank_certificate(validity, impl->key.get());
  X509* ca = impl->certificate.get();
  // The name carries part of the serial, so that two throw-away CAs are not taken for one another.
  const Result<std::string> id = random_uuid();
  if (!id.ok()) return id.error();
  const bool done = ca != nullptr && add_name(X509_get_subject_name(ca), NID_organizationName, "tocsin mock") &&
                    add_name(X509_get_subject_name(ca), NID_commonName, "tocsin throw-away CA " + id->substr(0, 8)) &&
                    X509_set_issuer_name(ca, X509_get_subject_name(ca)) == 1 &&
                    add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                    add_extension(ca, ca, NID_subject_key_identifier, "hash") &&
                    X509_sign(ca, impl->key.get(), EVP_sha256()) > 0;
  if (!done) return ssl_error(Code::internal, "making the CA's certificate");
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), ca) != 1) return ssl_error(Code::internal, "writing PEM");
  impl->pem = bio_text(bio.get());
  return std::unique_ptr<Authority>(new Authority(std::move(impl)));
}

Result<Issued> Authority::issue_server(const ServerSpec& spec) {
  if (spec.names.empty()) return Error{Code::invalid_argument, "a server certificate needs at least one name"};
  for (const std::string& name : spec.names) {
    if (!plain_name(name)) return Error{Code::invalid_argument, "'" + name + "' is no DNS name or address"};
  }
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return ssl_error(Code::internal, "making the server's key");
  const Certificate leaf = blank_certificate(spec.validity, key.get());
  X509* issuer = impl_->certificate.get();
  const bool done = leaf != nullptr && add_name(X509_get_subject_name(leaf.get()), NID_commonName, spec.names.front()) &&
                    add_extension(leaf.get(), issuer, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(leaf.get(), issuer, NID_key_usage, "critical,digitalSignature") &&
                    add_extension(leaf.get(), issuer, NID_ext_key_usage, "serverAuth") &&
                    add_extension(leaf.get(), issuer, NID_subject_alt_name, alternative_names(spec.names));
  if (!done) return ssl_error(Code::internal, "making the server's certificate");
  return impl_->finish(leaf.get(), key.get());
}

Result<Issued> Authority::issue_push(const PushSpec& spec) {
  const Key key(EVP_RSA_gen(2048));
  if (!key) return ssl_error(Code::internal, "making the push certificate's key");
  const Certificate leaf = blank_certificate(spec.validity, key.get());
  if (!leaf) return ssl_error(Code::internal, "making the push certificate");
  const bool mdm = spec.uid.starts_with("com.apple.mgmt.");
  std::string common_name = "Apple Push Services: " + spec.uid;
  if (mdm) common_name = "APSP:" + spec.uid.substr(spec.uid.rfind('.') + 1);
  if (spec.uid.empty()) common_name = "tocsin client without UID";
  X509* issuer = impl_->certificate.get();
  X509_NAME* name = X509_get_subject_name(leaf.get());
  const bool done = (spec.uid.empty() || add_name(name, NID_userId, spec.uid)) &&
                    add_name(name, NID_commonName, common_name) && add_name(name, NID_countryName, "US") &&
                    add_extension(leaf.get(), issuer, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(leaf.get(), issuer, NID_key_usage, "critical,digitalSignature") &&
                    add_extension(leaf.get(), issuer, NID_ext_key_usage, "clientAuth") &&
                    (spec.topics.empty() || add_raw_extension(leaf.get(), kTopicsOid, topics_der(spec.topics)));
  if (!done) return ssl_error(Code::internal, "making the push certificate");
  return impl_->finish(leaf.get(), key.get());
}

Result<std::string> Authority::pkcs12(const Issued& issued, std::string_view password) const {
  const Certificate leaf = certificate_from(issued.certificate_pem);
  const Key key = key_from(issued.key_pem);
  const CertificateStack chain(sk_X509_new_null());
  if (!leaf || !key || !chain) return ssl_error(Code::bad_certificate, "reading the certificate for PKCS#12");
  if (X509_up_ref(impl_->certificate.get()) != 1 || sk_X509_push(chain.get(), impl_->certificate.get()) <= 0) {
    return ssl_error(Code::internal, "writing PKCS#12");
  }
  const std::string secret(password);
  const Pkcs12 p12(PKCS12_create(secret.c_str(), "tocsin push certificate", key.get(), leaf.get(), chain.get(),
                                 NID_aes_256_cbc, NID_aes_256_cbc, PKCS12_DEFAULT_ITER, PKCS12_DEFAULT_ITER, 0));
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!p12 || !bio || i2d_PKCS12_bio(bio.get(), p12.get()) != 1) return ssl_error(Code::internal, "writing PKCS#12");
  return bio_text(bio.get());
}

Result<std::string> random_mdm_topic() {
  Result<std::string> uuid = random_uuid();
  if (!uuid.ok()) return uuid;
  return "com.apple.mgmt.External." + *uuid;
}

Result<ProviderKeyFile> make_provider_key() {
  const Key key(EVP_EC_gen("P-256"));
  const Bio bio(BIO_new(BIO_s_secmem()));
  if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return ssl_error(Code::internal, "making a provider key");
  }
  // Ids as Apple draws them: 10 of A-Z and 0-9.
  constexpr std::string_view kCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::array<unsigned char, 20> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return ssl_error(Code::internal, "drawing a key id");
  ProviderKeyFile made;
  made.p8_pem = bio_text(bio.get());
  for (std::size_t i = 0; i < random.size(); ++i) {
    (i < 10 ? made.key_id : made.team_id) += kCharacters[random[i] % kCharacters.size()];
  }
  return made;
}

}  // namespace tocsin::portal
