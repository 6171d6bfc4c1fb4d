// SPDX-License-Identifier: Apache-2.0
#include "cli/preflight.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include <fmt/format.h>

#include "apns/provider_token.h"
#include "apns/request.h"

namespace tocsin::cli {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;  // a bundle of system anchors has 250 KB

Error invalid(std::string text) { return {Code::invalid_argument, std::move(text)}; }

Result<std::string> read_password(const std::string& path, const std::string& what) {
  auto text = read_file(path, what);
  if (!text.ok()) return text;
  return text->substr(0, text->find_first_of("\r\n"));
}

// Adds which file an error is about.
Error about(const std::string& path, const Error& error) {
  return {error.code, fmt::format("{}: {}", path, error.message)};
}

// "--key-id" on the command line, "key_id" in an entry.
std::string label(const CredentialFiles& files, std::string_view name) {
  std::string text = files.dashes + std::string(name);
  if (*files.dashes == '\0') std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

Result<tls::Identity> load_pem(const CredentialFiles& files, CredentialOptions& credential) {
  auto certificate = read_file(files.cert, label(files, "cert"));
  if (!certificate.ok()) return certificate.error();
  credential.certificate_pem = *certificate;
  if (files.key.empty() && certificate->find("PRIVATE KEY-----") == std::string::npos) {
    return invalid(fmt::format("{} holds no private key; give the key's file by {}", files.cert, label(files, "key")));
  }
  if (files.key.empty()) {
    credential.key_pem = *certificate;
  } else {
    auto key = read_file(files.key, label(files, "key"));
    if (!key.ok()) return key.error();
    credential.key_pem = std::move(*key);
  }
  if (!files.key_password_file.empty()) {
    auto password = read_password(files.key_password_file, label(files, "key-password-file"));
    if (!password.ok()) return password.error();
    credential.key_password = std::move(*password);
  }
  auto identity = tls::identity_from_pem(credential.certificate_pem, credential.key_pem, credential.key_password);
  const bool key_is_wrong =
      !identity.ok() && (identity.error().code == Code::bad_key || identity.error().code == Code::bad_password);
  if (!identity.ok()) return about(key_is_wrong && !files.key.empty() ? files.key : files.cert, identity.error());
  return identity;
}

Result<tls::Identity> load_p12(const CredentialFiles& files, CredentialOptions& credential) {
  auto p12 = read_file(files.p12, label(files, "p12"));
  if (!p12.ok()) return p12.error();
  credential.pkcs12 = std::move(*p12);
  if (!files.p12_password_file.empty()) {
    auto password = read_password(files.p12_password_file, label(files, "p12-password-file"));
    if (!password.ok()) return password.error();
    credential.pkcs12_password = std::move(*password);
  } else if (const char* password = std::getenv("TOCSIN_P12_PASSWORD"); password != nullptr && *files.dashes != '\0') {
    credential.pkcs12_password = password;
  }
  auto identity = tls::identity_from_pkcs12(base::as_bytes(credential.pkcs12), credential.pkcs12_password);
  if (!identity.ok()) {
    Error error = about(files.p12, identity.error());
    if (error.code == Code::bad_password)
      error.message += *files.dashes == '\0' ? " (give it by p12_password_file)"
                                              : " (give it by --p12-password-file or the variable TOCSIN_P12_PASSWORD)";
    return error;
  }
  return identity;
}

Result<void> check_certificate(const CredentialFiles& files, std::int64_t now_unix_s, Preflight& out) {
  auto identity = files.p12.empty() ? load_pem(files, out.credential) : load_p12(files, out.credential);
  if (!identity.ok()) return identity.error();
  const std::string& path = files.p12.empty() ? files.cert : files.p12;
  out.facts = identity->facts;
  out.has_certificate = true;
  if (auto dates = tls::check_dates(out.facts, now_unix_s); !dates.ok()) return about(path, dates.error());
  out.days_left = (out.facts.not_after_unix_s - now_unix_s) / 86'400;
  if (out.days_left < kCertificateCareDays) {
    out.needs_care = true;
    out.warnings.push_back(fmt::format(
        "{}: the certificate ends in {} days, on {}; renew it (not replace it) in time, so that the topic stays", path,
        out.days_left, format_date(out.facts.not_after_unix_s)));
  }
  if (!files.topic_given && out.facts.uid.empty() && out.facts.topics.size() != 1) {
    return invalid(fmt::format("{}: the certificate ({}) has no UID that would be the topic; give {}", path,
                               out.facts.subject, *files.dashes == '\0' ? "topics" : "--topic"));
  }
  return {};
}

}  // namespace

void wipe_secrets(CredentialOptions& credential) {
  for (std::string* secret :
       {&credential.key_pem, &credential.key_password, &credential.pkcs12, &credential.pkcs12_password,
        &credential.provider_key_p8, &credential.proxy}) {
    explicit_bzero(secret->data(), secret->size());
    secret->clear();
  }
}

std::string topic_refusal(const tls::CertificateFacts& facts, PushType type, std::string_view topic) {
  if (facts.uid.empty() && facts.topics.empty()) return {};  // nothing to compare with
  if (topic == facts.uid || std::find(facts.topics.begin(), facts.topics.end(), topic) != facts.topics.end()) return {};
  // An app's certificate may name only the bundle id; its other topics are that with the type's suffix.
  const std::string_view suffix = apns::topic_suffix(type);
  if (facts.topics.empty() && !suffix.empty() && topic == facts.uid + std::string(suffix)) return {};
  const std::string own = facts.uid.empty() ? facts.topics.front() : facts.uid;
  return fmt::format(
      "topic {} is not the certificate's, which is {}; APNs would answer TopicDisallowed. Use the certificate of this "
      "topic, "
      "or leave the topic out",
      topic, own);
}

Result<std::string> read_file(const std::string& path, const std::string& what) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return invalid(fmt::format("{} {}: cannot be opened: {}", what, path, std::strerror(errno)));
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return invalid(fmt::format("{} {}: cannot be read", what, path));
  if (text.empty()) return invalid(fmt::format("{} {}: is empty", what, path));
  if (text.size() > kFileBytesMax)
    return invalid(fmt::format("{} {}: is larger than 1 MiB; is it the right file?", what, path));
  return text;
}

Result<CredentialOptions> shared_options(const PushOptions& options) {
  CredentialOptions c;
  c.host = options.sandbox ? "api.sandbox.push.apple.com" : options.endpoint.host;
  c.port = options.endpoint.port;
  c.tls_name = options.tls_name;
  c.connections_max = options.connections;
  c.connections_min = options.connections_min;
  c.span = options.shards;  // of one credential: every shard is to work
  c.streams_max = options.streams;
  c.connect_timeout_ms = c.handshake_timeout_ms = static_cast<unsigned>(options.connect_timeout_ms);
  c.answer_timeout_ms = static_cast<unsigned>(options.answer_timeout_ms);
  c.connect_give_up_ms = static_cast<unsigned>(options.give_up_ms);
  c.alternate_port = options.alternate_port;
  c.proxy = options.proxy;
  c.bad_tokens_share = options.bad_token_share;
  if (!options.ca.empty()) {
    auto ca = read_file(options.ca, "--ca");
    if (!ca.ok()) return ca.error();
    if (auto facts = tls::facts_from_pem(*ca); !facts.ok()) return about(options.ca, facts.error());
    c.ca_pem = std::move(*ca);
  }
  return c;
}

Result<void> load_credential(const CredentialFiles& files, std::int64_t now_unix_s, Preflight& out) {
  if (files.p8.empty()) return check_certificate(files, now_unix_s, out);
  auto p8 = read_file(files.p8, label(files, "p8"));
  if (!p8.ok()) return p8.error();
  if (auto key = apns::read_p8(*p8, files.key_id, files.team_id); !key.ok()) return about(files.p8, key.error());
  out.credential.provider_key_p8 = std::move(*p8);
  out.credential.provider_key_id = files.key_id;
  out.credential.team_id = files.team_id;
  return {};
}

Result<Preflight> run_preflight(const PushOptions& options, std::int64_t now_unix_s) {
  Preflight out;
  auto shared = shared_options(options);
  if (!shared.ok()) return shared.error();
  out.credential = std::move(*shared);
  if (options.has_credential()) {
    CredentialFiles files{options.cert, options.key,    options.key_password_file, options.p12, options.p12_password_file,
                          options.p8,   options.key_id, options.team_id};
    files.topic_given = !options.topic.empty();
    if (auto checked = load_credential(files, now_unix_s, out); !checked.ok()) return checked.error();
  } else {
    out.warnings.push_back("no certificate was given; APNs would refuse such a connection's pushes");
  }
  out.topic = !options.topic.empty()         ? options.topic
              : !out.facts.uid.empty()       ? out.facts.uid
              : out.facts.topics.size() == 1 ? out.facts.topics.front()
                                             : std::string();
  if (!options.topic.empty() && out.has_certificate) {
    // Of which type the lines are is not known yet: refuse only what fits none.
    std::string refusal;
    for (std::size_t type = 0; type < kPushTypes; ++type) {
      refusal = topic_refusal(out.facts, static_cast<PushType>(type), options.topic);
      if (refusal.empty()) break;
    }
    if (!refusal.empty()) return invalid("--topic: " + refusal);
  }
  return out;
}

}  // namespace tocsin::cli
