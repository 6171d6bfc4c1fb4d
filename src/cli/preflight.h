// SPDX-License-Identifier: Apache-2.0
// Preflight: all that can be found wrong about a certificate before any connection is made.
//
// Threads: one at a time; reads files. Ownership: the result owns the credential's secrets until they are
// handed to the engine. Messages are one line each, with the way out; none carries a secret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/options.h>
#include <tocsin/result.h>

#include "cli/push_options.h"
#include "tls/identity.h"

namespace tocsin::cli {

inline constexpr std::int64_t kCertificateCareDays = 30;  // Apple reminds 30 days ahead as well

struct Preflight {
  CredentialOptions credential;
  std::string name;                 // where there are several
  std::vector<std::string> topics;  // that lead to it where there are several
  bool has_certificate = false;
  tls::CertificateFacts facts;
  std::int64_t days_left = 0;
  std::string topic;  // of lines that name none; may be empty without a certificate
  std::vector<std::string> warnings;
  bool needs_care = false;  // the certificate ends soon
};

// The files of one credential: from the command line, or an entry of --credentials.
struct CredentialFiles {
  std::string cert, key, key_password_file;
  std::string p12, p12_password_file;
  std::string p8, key_id, team_id;
  const char* dashes = "--";  // before the names of options in messages; "" for fields of an entry
  bool topic_given = false;   // by --topic, or topics of an entry
};

// The one credential of the command line.
Result<Preflight> run_preflight(const PushOptions& options, std::int64_t now_unix_s);

// What all credentials of a command share: endpoint, proxy, limits, trust anchors.
Result<CredentialOptions> shared_options(const PushOptions& options);

// Loads and judges what `files` names into `out`.
Result<void> load_credential(const CredentialFiles& files, std::int64_t now_unix_s, Preflight& out);

// At most 1 MiB; errors name `what` and the path.
Result<std::string> read_file(const std::string& path, const std::string& what);

// Overwrites and empties the key and the passwords.
void wipe_secrets(CredentialOptions& credential);

// "" or why the certificate cannot send to this topic, naming both.
std::string topic_refusal(const tls::CertificateFacts& facts, PushType type, std::string_view topic);

}  // namespace tocsin::cli
