// SPDX-License-Identifier: Apache-2.0
#include "tls/failure.h"

#include <algorithm>
#include <initializer_list>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/hex.h"
#include "tls/der.h"

namespace tocsin::tls {
namespace {

struct AlertName {
  int code;
  const char* name;
};

constexpr AlertName kAlertNames[] = {
    {close_notify, "close_notify"},
    {unexpected_message, "unexpected_message"},
    {bad_record_mac, "bad_record_mac"},
    {record_overflow, "record_overflow"},
    {handshake_failure, "handshake_failure"},
    {bad_certificate, "bad_certificate"},
    {unsupported_certificate, "unsupported_certificate"},
    {certificate_revoked, "certificate_revoked"},
    {certificate_expired, "certificate_expired"},
    {certificate_unknown, "certificate_unknown"},
    {illegal_parameter, "illegal_parameter"},
    {unknown_ca, "unknown_ca"},
    {access_denied, "access_denied"},
    {decode_error, "decode_error"},
    {decrypt_error, "decrypt_error"},
    {protocol_version, "protocol_version"},
    {insufficient_security, "insufficient_security"},
    {internal_error, "internal_error"},
    {inappropriate_fallback, "inappropriate_fallback"},
    {user_canceled, "user_canceled"},
    {missing_extension, "missing_extension"},
    {unsupported_extension, "unsupported_extension"},
    {unrecognized_name, "unrecognized_name"},
    {certificate_required, "certificate_required"},
    {no_application_protocol, "no_application_protocol"},
};

// operator+ with temporaries on the right makes GCC 12 warn of an overlap that is none.
std::string join(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

std::string alert_name(int code) {
  for (const AlertName& alert : kAlertNames) {
    if (alert.code == code) return alert.name;
  }
  return join({"alert ", std::to_string(code)});
}

std::string_view peer(Role role) { return role == Role::client ? "the server" : "the client"; }

std::string quoted(std::string_view text) { return join({"\"", text, "\""}); }

std::string reason(int error) {
  const char* text = wolfSSL_ERR_reason_error_string(static_cast<unsigned long>(error));
  return join({text != nullptr ? text : "unknown", " (error ", std::to_string(error), ")"});
}

// What the peer holds against our certificate; nullptr if the alert is about something else.
const char* certificate_complaint(int alert) {
  switch (alert) {
    case bad_certificate: return "says it is bad";
    case unsupported_certificate: return "does not support its kind";
    case certificate_revoked: return "says it is revoked";
    case certificate_expired: return "says it is expired";
    case certificate_unknown: return "does not accept it";
    case unknown_ca: return "does not know its issuer";
    case access_denied: return "denies it access";
    case certificate_required: return "requires one";
    default: return nullptr;
  }
}

Failure own_certificate_failure(const FailureFacts& facts, const char* complaint) {
  const std::string_view who = peer(facts.role);
  const std::string alert = alert_name(facts.alert);
  if (facts.own.empty()) {
    return {Cause::own_certificate_refused,
            join({who, " wants a client certificate and none was given; give one (certificate and key, or PKCS#12) (alert ",
                  alert, ")"})};
  }
  const std::string_view advice = facts.role == Role::client
      ? "; check that it is current, not revoked, and meant for this endpoint (production or sandbox)" : "";
  return {Cause::own_certificate_refused, join({who, " refused our certificate ", quoted(facts.own), ": it ", complaint,
                                                advice, " (alert ", alert, ")"})};
}

Failure alert_failure(const FailureFacts& facts) {
  if (const char* complaint = certificate_complaint(facts.alert)) return own_certificate_failure(facts, complaint);
  const std::string_view who = peer(facts.role);
  const std::string tail = join({" (alert ", alert_name(facts.alert), ")"});
  switch (facts.alert) {
    case no_application_protocol:
      return {Cause::no_alpn, join({who, " does not speak HTTP/2: it refused ALPN h2", tail})};
    case protocol_version:
      return {Cause::protocol, join({who, " speaks no TLS version that is allowed here", tail})};
    case handshake_failure:
      if (facts.role == Role::client && facts.own.empty()) {
        return {Cause::alert, join({"the server ended the handshake: no common version or cipher, or it wants a client "
                                    "certificate and none was given", tail})};
      }
      break;
    default:
      break;
  }
  return {Cause::alert, join({who, facts.open ? " ended the connection" : " ended the handshake", tail})};
}

Failure untrusted(const FailureFacts& facts) {
  const std::string_view advice = "; give the right CA file if this endpoint has its own";
  if (facts.subject.empty()) {
    return {Cause::untrusted, join({peer(facts.role), "'s certificate is not trusted: its chain ends in none of the given "
                                                      "trust anchors", advice})};
  }
  return {Cause::untrusted, join({peer(facts.role), "'s certificate is not trusted: the issuer ", quoted(facts.issuer), " of ",
                                  quoted(facts.subject), " is none of the given trust anchors", advice})};
}

Failure outdated(const FailureFacts& facts) {
  const bool early = facts.error == ASN_BEFORE_DATE_E;
  std::string which;
  std::string when;
  if (!facts.subject.empty()) {
    which = join({" ", quoted(facts.subject)});
    when = join({early ? " (from " : " (on ", der::date_text(early ? facts.not_before_unix_s : facts.not_after_unix_s), ")"});
  }
  return {Cause::certificate_expired, join({peer(facts.role), "'s certificate", which, early ? " is not valid yet" : " has expired",
                                            when, "; check this machine's clock, then the certificate"})};
}

Failure wrong_name(const FailureFacts& facts) {
  const std::string_view names = facts.names.empty() ? std::string_view("another name") : facts.names;
  return {Cause::name_mismatch, join({"the server's certificate is for ", names, ", not for ", facts.name})};
}

}  // namespace

Failure classify(const FailureFacts& facts) {
  if (facts.name_refused) return wrong_name(facts);
  const std::string_view who = peer(facts.role);
  switch (facts.error) {
    case FATAL_ERROR:
      if (facts.alert >= 0) return alert_failure(facts);
      break;
    case DOMAIN_NAME_MISMATCH:
    case IPADDR_MISMATCH:
      return wrong_name(facts);
    case ASN_BEFORE_DATE_E:
    case ASN_AFTER_DATE_E:
      return outdated(facts);
    case ASN_NO_SIGNER_E:
    case ASN_SELF_SIGNED_E:
      return untrusted(facts);
    case ASN_SIG_CONFIRM_E:
    case VERIFY_CERT_ERROR:
    case MAX_CHAIN_ERROR:
    case NOT_CA_ERROR:
    case ASN_PATHLEN_INV_E:
    case ASN_NAME_INVALID_E:
    case KEYUSE_SIGNATURE_E:
    case EXTKEYUSE_AUTH_E:
      return {Cause::untrusted, join({who, "'s certificate chain does not hold: ", reason(facts.error)})};
    case NO_PEER_CERT:
      return {Cause::untrusted, join({who, " gave no certificate, and one is required"})};
    case UNKNOWN_ALPN_PROTOCOL_NAME_E:
      return {Cause::no_alpn, join({who, " offers only other protocols than HTTP/2 (ALPN h2)"})};
    case VERSION_ERROR:
    case UNSUPPORTED_PROTO_VERSION:
      return {Cause::protocol, join({who, " speaks no TLS version that is allowed here"})};
    case MATCH_SUITE_ERROR:
    case UNSUPPORTED_SUITE:
      return {Cause::protocol, join({"there is no common version or cipher with ", who})};
    case VERIFY_MAC_ERROR:
    case DECRYPT_ERROR:
    case AES_GCM_AUTH_E:
      return {Cause::protocol, join({"a record of ", who, " failed its integrity check: it was damaged or tampered with"})};
    default:
      break;
  }
  return {Cause::protocol, join({facts.open ? "the connection with " : "the handshake with ", who, " failed: ", reason(facts.error)})};
}

Failure not_tls_failure(Role role, base::ByteView first) {
  constexpr std::size_t kShown = 16;
  const std::string_view text = base::as_text(first.first(std::min(first.size(), kShown)));
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  const bool printable = !line.empty() && std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  std::string shown = printable ? quoted(line) : base::hex_encode({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return {Cause::not_tls, join({peer(role), " does not speak TLS: it sent ", printable ? "" : "the bytes ", shown,
                                "; check host and port"})};
}

Failure not_sealed_failure(Role role) {
  return {Cause::protocol, join({"the connection with ", peer(role), " was ended: a record was not sealed as it should be; "
                                 "nothing of it was sent"})};
}

Failure no_alpn_failure() {
  return {Cause::no_alpn, "the server did not choose HTTP/2 (ALPN h2); is it the push endpoint, or a proxy in between?"};
}

}  // namespace tocsin::tls
