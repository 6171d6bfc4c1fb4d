// SPDX-License-Identifier: Apache-2.0
// Certificates as bytes: what identities and channels read from an X.509 certificate's DER.
//
// Threads: pure functions. Ownership: Certificate holds views into the caller's DER. Bounds: der.h. Text
// from a certificate is a stranger's: control characters become '?' before it can reach a message or log.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "tls/der.h"
#include "tls/identity.h"

namespace tocsin::tls {

struct Certificate {
  base::ByteView serial;
  base::ByteView issuer;   // the Name, whole element: compare bytes
  base::ByteView subject;  // likewise
  base::ByteView public_key_info;
  base::ByteView extensions;  // content of the SEQUENCE of Extension; may be empty
  std::int64_t not_before_unix_s = 0;
  std::int64_t not_after_unix_s = 0;
};

// False if `der` is no certificate.
bool parse_certificate(base::ByteView der, Certificate& certificate);

CertificateFacts facts_of(const Certificate& certificate);

// "CN=..., UID=...", in the certificate's order.
std::string name_text(base::ByteView name);

// The names the certificate is for, for people: DNS names and addresses, or the common name.
std::string names_for_people(const Certificate& certificate);

// Whether a subjectAltName of the kind iPAddress holds exactly these 4 or 16 bytes.
bool has_ip_address(const Certificate& certificate, base::ByteView address);

// Value of the subject's first attribute of this OID (dotted), "" if none.
std::string name_attribute(base::ByteView name, std::string_view oid);

inline constexpr std::string_view kOidCommonName = "2.5.4.3";
inline constexpr std::string_view kOidUserId = "0.9.2342.19200300.100.1.1";

}  // namespace tocsin::tls
