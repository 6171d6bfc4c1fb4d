// SPDX-License-Identifier: Apache-2.0
// Identities: a certificate chain with its private key, from PEM or PKCS#12, checked before any use; and
// the facts of a certificate that operators ask for.
//
// Threads: pure functions. Ownership: an Identity owns DER copies and wipes the key when it dies. Secrets
// never reach a message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/result.h>

#include "base/bytes.h"

namespace tocsin::tls {

struct CertificateFacts {
  std::string subject;       // one line, "CN=..., UID=..."
  std::string common_name;
  std::string uid;           // 0.9.2342.19200300.100.1.1: the topic of an MDM push certificate; "" if none
  std::string issuer;
  std::string serial_hex;
  std::int64_t not_before_unix_s = 0;
  std::int64_t not_after_unix_s = 0;
  std::string key;           // "RSA 2048", "P-256"
  std::vector<std::string> topics;  // Apple's extension 1.2.840.113635.100.6.3.6, where present
};

struct Identity {
  std::vector<std::vector<unsigned char>> chain_der;  // leaf first
  std::vector<unsigned char> key_der;
  CertificateFacts facts;                             // of the leaf

  Identity() = default;
  Identity(Identity&&) noexcept = default;
  Identity& operator=(Identity&& other) noexcept;  // wipes the key it replaces
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;
  ~Identity();
};

// `password` may be empty. Errors: bad_certificate, bad_key, bad_password, key_mismatch, each with the way out.
Result<Identity> identity_from_pem(std::string_view certificate_pem, std::string_view key_pem, std::string_view password);

// Errors: bad_password, unsupported_p12 (RC2-40: the message gives the openssl command that converts it),
// bad_certificate, key_mismatch.
Result<Identity> identity_from_pkcs12(base::ByteView p12, std::string_view password);

// Facts of the first certificate in a PEM text.
Result<CertificateFacts> facts_from_pem(std::string_view certificate_pem);

// Error with Code::expired, naming subject and date, unless valid at `unix_s`.
Result<void> check_dates(const CertificateFacts& facts, std::int64_t unix_s);

}  // namespace tocsin::tls
