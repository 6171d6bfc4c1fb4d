// SPDX-License-Identifier: Apache-2.0
#include "apns/reasons.h"

#include <iterator>

#include <tocsin/options.h>

namespace tocsin {
namespace apns {
namespace {

// In the order of the enum, from its number 2 on, so that a reason finds its row by subtraction.
constexpr std::uint16_t kFirst = static_cast<std::uint16_t>(Reason::bad_collapse_id);
constexpr ReasonEntry kTable[] = {
    {Reason::bad_collapse_id, 400, "BadCollapseId", Retry::never, Scope::push,
     "The collapse id is longer than 64 bytes; shorten it."},
    {Reason::bad_device_token, 400, "BadDeviceToken", Retry::never, Scope::token,
     "The token is malformed or belongs to the other environment (sandbox or production); check the endpoint before "
     "you delete tokens, above all when many are refused at once."},
    {Reason::bad_expiration_date, 400, "BadExpirationDate", Retry::never, Scope::push,
     "apns-expiration is not a Unix time in seconds; give an absolute time or 0."},
    {Reason::bad_message_id, 400, "BadMessageId", Retry::never, Scope::push,
     "The apns-id is not a UUID in its canonical form; leave it out and one is made."},
    {Reason::bad_priority, 400, "BadPriority", Retry::never, Scope::push,
     "The priority is not 10, 5 or 1, or not 5 for a background push."},
    {Reason::bad_topic, 400, "BadTopic", Retry::never, Scope::push,
     "The topic is malformed; it is the app's bundle id with the suffix of its push type, or the UID of the MDM "
     "push certificate."},
    {Reason::device_token_not_for_topic, 400, "DeviceTokenNotForTopic", Retry::never, Scope::token,
     "The token was issued for another app or push type; check the topic, its suffix and the certificate."},
    {Reason::duplicate_headers, 400, "DuplicateHeaders", Retry::never, Scope::push,
     "A request header was sent twice; this is a fault of the sender's program."},
    {Reason::idle_timeout, 400, "IdleTimeout", Retry::elsewhere, Scope::connection,
     "The connection was idle for too long; send again on a new one."},
    {Reason::invalid_push_type, 400, "InvalidPushType", Retry::never, Scope::push,
     "The push type is unknown or does not fit the payload; correct the push type."},
    {Reason::missing_device_token, 400, "MissingDeviceToken", Retry::never, Scope::push,
     "The request named no device token; check the input's token column."},
    {Reason::missing_topic, 400, "MissingTopic", Retry::never, Scope::push,
     "The certificate stands for several topics, or a provider token is used, and the push named none; give the topic."},
    {Reason::payload_empty, 400, "PayloadEmpty", Retry::never, Scope::push,
     "The push had no payload; give one."},
    {Reason::topic_disallowed, 400, "TopicDisallowed", Retry::never, Scope::push,
     "The credential may not send to this topic; use the certificate that carries it."},
    {Reason::bad_certificate, 403, "BadCertificate", Retry::never, Scope::credential,
     "APNs does not accept the client certificate; stop sending with it and renew or replace it."},
    {Reason::bad_certificate_environment, 403, "BadCertificateEnvironment", Retry::never, Scope::credential,
     "The certificate is for the other environment; change the endpoint or the certificate."},
    {Reason::expired_provider_token, 403, "ExpiredProviderToken", Retry::new_token, Scope::connection,
     "The provider token is older than one hour; make a new one and check this machine's clock."},
    {Reason::forbidden, 403, "Forbidden", Retry::never, Scope::credential,
     "APNs refuses this sender; stop and check the account and the credential."},
    {Reason::invalid_provider_token, 403, "InvalidProviderToken", Retry::never, Scope::credential,
     "The provider token is wrong or its signature does not verify; check key, key id and team id."},
    {Reason::missing_provider_token, 403, "MissingProviderToken", Retry::never, Scope::credential,
     "The connection has no client certificate and the request no provider token; configure a credential."},
    {Reason::unrelated_key_id_in_token, 403, "UnrelatedKeyIdInToken", Retry::rebind, Scope::connection,
     "The connection is bound to another key; send this provider token on a connection of its own."},
    {Reason::bad_environment_key_id_in_token, 403, "BadEnvironmentKeyIdInToken", Retry::never, Scope::credential,
     "The key is for the other environment; change the endpoint or the key."},
    {Reason::bad_path, 404, "BadPath", Retry::never, Scope::push,
     "The request path is not /3/device/TOKEN; this is a fault of the sender's program."},
    {Reason::method_not_allowed, 405, "MethodNotAllowed", Retry::never, Scope::push,
     "The request method is not POST; this is a fault of the sender's program."},
    {Reason::expired_token, 410, "ExpiredToken", Retry::never, Scope::token,
     "The device token has expired; stop using it unless the device registered it again after the time given."},
    {Reason::unregistered, 410, "Unregistered", Retry::never, Scope::token,
     "The device no longer takes pushes for this topic; stop using the token unless it was registered again after "
     "the time given."},
    {Reason::payload_too_large, 413, "PayloadTooLarge", Retry::never, Scope::push,
     "The payload is larger than 4,096 bytes (voip: 5,120); shorten it."},
    {Reason::too_many_provider_token_updates, 429, "TooManyProviderTokenUpdates", Retry::keep_token, Scope::credential,
     "The provider token changes more often than every 20 minutes; keep one token for all connections."},
    {Reason::too_many_requests, 429, "TooManyRequests", Retry::token, Scope::token,
     "Too many pushes went to this one device; wait before you send to it again, the others may go on."},
    {Reason::internal_server_error, 500, "InternalServerError", Retry::later, Scope::connection,
     "APNs had an internal error; send again later, on another connection."},
    {Reason::service_unavailable, 503, "ServiceUnavailable", Retry::later, Scope::push,
     "APNs is not available at the moment; send again later."},
    {Reason::shutdown, 503, "Shutdown", Retry::elsewhere, Scope::connection,
     "This APNs server is shutting down; send again on another connection."},
};

constexpr bool in_enum_order() {
  for (std::size_t i = 0; i < std::size(kTable); ++i) {
    if (static_cast<std::size_t>(kTable[i].reason) != i + kFirst) return false;
  }
  return true;
}
static_assert(in_enum_order() && kTable[std::size(kTable) - 1].reason == Reason::shutdown);

constexpr Rule kAccepted = {Retry::never, Scope::push, "APNs took the push; the device has not seen it yet."};
constexpr Rule kNoAnswer = {Retry::never, Scope::push,
    "This is not an answer that APNs documents; look for a proxy or a wrong host between you and APNs."};
constexpr Rule kUnknownRefusal = {Retry::never, Scope::push,
    "APNs refused the push for a reason that this version does not know; look it up in Apple's documentation."};
// An unknown 403 may well concern the whole credential, but stopping a tenant on a guess costs more than a few
// refused pushes.
constexpr Rule kUnknownForbidden = {Retry::never, Scope::push,
    "APNs refused the sender for a reason that this version does not know; look at the credential and the account."};
constexpr Rule kUnknownGone = {Retry::never, Scope::token,
    "The device token is no longer in use; stop using it unless it was registered again after the time given."};
constexpr Rule kUnknownTooMany = {Retry::token, Scope::token,
    "APNs asks for fewer pushes; wait before you send to this device again."};
constexpr Rule kUnknownServerError = {Retry::later, Scope::push, "APNs has a fault of its own; send again later."};

}  // namespace

std::span<const ReasonEntry> reason_table() { return kTable; }

const char* retry_name(Retry retry) {
  switch (retry) {
    case Retry::never: return "never";
    case Retry::elsewhere: return "elsewhere";
    case Retry::later: return "later";
    case Retry::token: return "token";
    case Retry::new_token: return "new_token";
    case Retry::keep_token: return "keep_token";
    case Retry::rebind: return "rebind";
  }
  return "?";
}

const char* scope_name(Scope scope) {
  switch (scope) {
    case Scope::push: return "push";
    case Scope::token: return "token";
    case Scope::connection: return "connection";
    case Scope::credential: return "credential";
  }
  return "?";
}

Rule rule_for(std::uint16_t status, Reason reason) {
  if (const ReasonEntry* entry = find_reason(reason)) return {entry->retry, entry->scope, entry->advice};
  switch (status) {
    case 200: return kAccepted;
    case 403: return kUnknownForbidden;
    case 410: return kUnknownGone;
    case 429: return kUnknownTooMany;
    default: break;
  }
  if (status >= 400 && status <= 499) return kUnknownRefusal;
  if (status >= 500 && status <= 599) return kUnknownServerError;
  return kNoAnswer;
}

bool slows_down(std::uint16_t status, Reason reason) {
  return status >= 400 && status <= 499 && status != 410 && reason != Reason::unregistered &&
         reason != Reason::expired_token;
}

const ReasonEntry* find_reason(Reason reason) {
  const auto number = static_cast<std::size_t>(reason);
  return number >= kFirst && number - kFirst < std::size(kTable) ? &kTable[number - kFirst] : nullptr;
}

Reason reason_from_text(std::string_view text) {
  if (text.empty()) return Reason::none;
  for (const ReasonEntry& entry : kTable) {
    if (text == entry.name) return entry.reason;
  }
  return Reason::other;
}

}  // namespace apns

const char* reason_name(Reason reason) noexcept {
  if (const auto* entry = apns::find_reason(reason)) return entry->name;
  switch (reason) {
    case Reason::none: return "";
    case Reason::other: return "Other";
    case Reason::cannot_connect: return "CannotConnect";
    case Reason::connection_lost: return "ConnectionLost";
    case Reason::refused_by_peer: return "RefusedByPeer";
    case Reason::stream_reset: return "StreamReset";
    case Reason::engine_stopped: return "EngineStopped";
    case Reason::bad_answer: return "BadAnswer";
    case Reason::deadline_passed: return "DeadlinePassed";
    case Reason::token_known_dead: return "TokenKnownDead";
    case Reason::cancelled_by_caller: return "CancelledByCaller";
    case Reason::newer_push: return "NewerPush";
    case Reason::credential_stopped: return "CredentialStopped";
    case Reason::credential_removed: return "CredentialRemoved";
    default: return "?";
  }
}

const char* end_name(End end) noexcept {
  switch (end) {
    case End::accepted: return "accepted";
    case End::rejected: return "rejected";
    case End::expired: return "expired";
    case End::cancelled: return "cancelled";
    case End::superseded: return "superseded";
    case End::failed: return "failed";
    case End::unknown: return "unknown";
    case End::returned: return "returned";
  }
  return "?";
}

const char* push_type_name(PushType type) noexcept {
  switch (type) {
    case PushType::alert: return "alert";
    case PushType::background: return "background";
    case PushType::voip: return "voip";
    case PushType::complication: return "complication";
    case PushType::fileprovider: return "fileprovider";
    case PushType::location: return "location";
    case PushType::liveactivity: return "liveactivity";
    case PushType::pushtotalk: return "pushtotalk";
    case PushType::widgets: return "widgets";
    case PushType::controls: return "controls";
    case PushType::mdm: return "mdm";
  }
  return "?";
}

}  // namespace tocsin
