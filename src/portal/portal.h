// SPDX-License-Identifier: Apache-2.0
// Portal: a model of the push certificate portal: a throw-away CA, a server certificate and push
// certificates like Apple's, for the mock and for tests. Nothing made here is trusted by anybody else.
//
// Threads: any; an Authority one at a time. Ownership: everything returned is text and bytes of the
// caller's; private keys among them are the caller's to guard. Bounds: none that matter; one RSA-2048 key
// per push certificate takes some 100 ms. libcrypto stands behind it, in issue.cc and kit.cc alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/result.h>

namespace tocsin::portal {

// From `from_days` to `from_days + days`, counted from `now`; {-400, 365} has expired, {1, 365} is not yet valid.
struct Validity {
  std::int64_t now_unix_s = 0;
  int from_days = 0;
  int days = 365;
};

struct Issued {
  std::string certificate_pem;
  std::string key_pem;  // PKCS#8, not encrypted
};

struct ServerSpec {
  // DNS names and address literals for the subjectAltName. The default is what the mock is reached by.
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1", "api.push.apple.com"};
  Validity validity;
};

struct PushSpec {
  // The subject's UID: "com.apple.mgmt.External.<uuid>" for MDM, the bundle id for an app; "" for no UID.
  std::string uid;
  // Written into Apple's topics extension (1.2.840.113635.100.6.3.6), as app certificates carry it.
  std::vector<std::string> topics;
  Validity validity;
};

class Authority {
 public:
  static Result<std::unique_ptr<Authority>> make(const Validity& validity);
  ~Authority();

  const std::string& ca_pem() const;
  Result<Issued> issue_server(const ServerSpec& spec);  // P-256, serverAuth
  Result<Issued> issue_push(const PushSpec& spec);      // RSA-2048, clientAuth

  // Certificate, key and CA as PKCS#12: AES-256 (PBES2), HMAC-SHA-256.
  Result<std::string> pkcs12(const Issued& issued, std::string_view password) const;

 private:
  struct Impl;
  explicit Authority(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A random "com.apple.mgmt.External.<uuid>".
Result<std::string> random_mdm_topic();

// The key of a made-up team, as Apple hands it out: PKCS#8 PEM ("AuthKey_KEYID.p8"), and its ids.
struct ProviderKeyFile {
  std::string p8_pem;
  std::string key_id;
  std::string team_id;
};
Result<ProviderKeyFile> make_provider_key();

// The files of a directory.
struct Kit {
  std::string ca_pem;
  Issued server;
  Issued push;
  std::string push_p12;
  // For faults: server certificates of the same CA that have expired, and that carry another name. Empty
  // in a directory that was made without them.
  Issued expired_server;
  Issued wrong_name_server;
  std::string provider_p8;
  std::string provider_keys;  // "KEYID TEAMID provider.p8", a line; what `tocsin mock --provider-keys` reads
  std::string topic;    // UID of the push certificate
  bool made = false;    // false: read from the directory
};

struct KitOptions {
  std::vector<std::string> names;            // beside ServerSpec's own
  std::string topic;                         // default: random_mdm_topic()
  std::string p12_password = "tocsin";
  std::int64_t now_unix_s = 0;
};

Result<Kit> make_kit(const KitOptions& options);

// Reads ca.pem, server.pem, server.key, push.pem, push.key and push.p12 from `directory`, if all are there,
// belong together, are valid now and fit the options; makes and writes them (each file atomically, 0600 for
// keys and p12) if none is there. Beside them server-expired.*, server-wrong-name.* (read if they are there), provider.p8 and
// provider-keys.txt (made if they are not). The error says which file is wrong and what to do; nothing is overwritten.
Result<Kit> open_kit(const std::string& directory, const KitOptions& options);

}  // namespace tocsin::portal
