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

#include "apns/request.h"

namespace tocsin::cli {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;  // a bundle of system anchors has 250 KB

Error invalid(std::string text) { return {Code::invalid_argument, std::move(text)}; }

Result<std::string> read_file(const std::string& path, const char* option) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return invalid(fmt::format("{} {}: cannot be opened: {}", option, path, std::strerror(errno)));
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return invalid(fmt::format("{} {}: cannot be read", option, path));
  if (text.empty()) return invalid(fmt::format("{} {}: is empty", option, path));
  if (text.size() > kFileBytesMax)
    return invalid(fmt::format("{} {}: is larger than 1 MiB; is it the right file?", option, path));
  return text;
}

Result<std::string> read_password(const std::string& path, const char* option) {
  auto text = read_file(path, option);
  if (!text.ok()) return text;
  return text->substr(0, text->find_first_of("\r\n"));
}

// Adds which file an error is about.
Error about(const std::string& path, const Error& error) {
  return {error.code, fmt::format("{}: {}", path, error.message)};
}

Result<tls::Identity> load_pem(const PushOptions& options, CredentialOptions& credential) {
  auto certificate = read_file(options.cert, "--cert");
  if (!certificate.ok()) return certificate.error();
  credential.certificate_pem = *certificate;
  if (options.key.empty() && certificate->find("PRIVATE KEY-----") == std::string::npos) {
    return invalid(fmt::format("{} holds no private key; give the key's file by --key", options.cert));
  }
  if (options.key.empty()) {
    credential.key_pem = *certificate;
  } else {
    auto key = read_file(options.key, "--key");
    if (!key.ok()) return key.error();
    credential.key_pem = std::move(*key);
  }
  if (!options.key_password_file.empty()) {
    auto password = read_password(options.key_password_file, "--key-password-file");
    if (!password.ok()) return password.error();
    credential.key_password = std::move(*password);
  }
  auto identity = tls::identity_from_pem(credential.certificate_pem, credential.key_pem, credential.key_password);
  const bool key_is_wrong =
      !identity.ok() && (identity.error().code == Code::bad_key || identity.error().code == Code::bad_password);
  if (!identity.ok()) return about(key_is_wrong && !options.key.empty() ? options.key : options.cert, identity.error());
  return identity;
}

Result<tls::Identity> load_p12(const PushOptions& options, CredentialOptions& credential) {
  auto p12 = read_file(options.p12, "--p12");
  if (!p12.ok()) return p12.error();
  credential.pkcs12 = std::move(*p12);
  if (!options.p12_password_file.empty()) {
    auto password = read_password(options.p12_password_file, "--p12-password-file");
    if (!password.ok()) return password.error();
    credential.pkcs12_password = std::move(*password);
  } else if (const char* password = std::getenv("TOCSIN_P12_PASSWORD")) {
    credential.pkcs12_password = password;
  }
  auto identity = tls::identity_from_pkcs12(base::as_bytes(credential.pkcs12), credential.pkcs12_password);
  if (!identity.ok()) {
    Error error = about(options.p12, identity.error());
    if (error.code == Code::bad_password)
      error.message += " (give it by --p12-password-file or the variable TOCSIN_P12_PASSWORD)";
    return error;
  }
  return identity;
}

Result<void> check_certificate(const PushOptions& options, std::int64_t now_unix_s, Preflight& out) {
  auto identity = options.p12.empty() ? load_pem(options, out.credential) : load_p12(options, out.credential);
  if (!identity.ok()) return identity.error();
  const std::string& path = options.p12.empty() ? options.cert : options.p12;
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
  if (options.topic.empty() && out.facts.uid.empty() && out.facts.topics.size() != 1) {
    return invalid(fmt::format("{}: the certificate ({}) has no UID that would be the topic; give --topic", path,
                               out.facts.subject));
  }
  return {};
}

}  // namespace

void wipe_secrets(CredentialOptions& credential) {
  for (std::string* secret :
       {&credential.key_pem, &credential.key_password, &credential.pkcs12, &credential.pkcs12_password}) {
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

Result<Preflight> run_preflight(const PushOptions& options, std::int64_t now_unix_s) {
  Preflight out;
  CredentialOptions& c = out.credential;
  c.host = options.sandbox ? "api.sandbox.push.apple.com" : options.endpoint.host;
  c.port = options.endpoint.port;
  c.tls_name = options.tls_name;
  c.connections_max = options.connections;
  c.span = options.shards;  // one credential: every shard is to work
  c.streams_max = options.streams;
  c.connect_timeout_ms = c.handshake_timeout_ms = static_cast<unsigned>(options.connect_timeout_ms);
  c.connect_give_up_ms = static_cast<unsigned>(options.give_up_ms);
  if (!options.ca.empty()) {
    auto ca = read_file(options.ca, "--ca");
    if (!ca.ok()) return ca.error();
    if (auto facts = tls::facts_from_pem(*ca); !facts.ok()) return about(options.ca, facts.error());
    c.ca_pem = std::move(*ca);
  }
  if (!options.cert.empty() || !options.p12.empty()) {
    if (auto checked = check_certificate(options, now_unix_s, out); !checked.ok()) return checked.error();
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
