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
    {Reason::bad_collapse_id, 400, "BadCollapseId",
     "The collapse id is longer than 64 bytes; shorten it."},
    {Reason::bad_device_token, 400, "BadDeviceToken",
     "The token is malformed or belongs to the other environment (sandbox or production); check the endpoint before "
     "you delete tokens, above all when many are refused at once."},
    {Reason::bad_expiration_date, 400, "BadExpirationDate",
     "apns-expiration is not a Unix time in seconds; give an absolute time or 0."},
    {Reason::bad_message_id, 400, "BadMessageId",
     "The apns-id is not a UUID in its canonical form; leave it out and one is made."},
    {Reason::bad_priority, 400, "BadPriority",
     "The priority is not 10, 5 or 1, or not 5 for a background push."},
    {Reason::bad_topic, 400, "BadTopic",
     "The topic is malformed; it is the app's bundle id with the suffix of its push type, or the UID of the MDM "
     "push certificate."},
    {Reason::device_token_not_for_topic, 400, "DeviceTokenNotForTopic",
     "The token was issued for another app or push type; check the topic, its suffix and the certificate."},
    {Reason::duplicate_headers, 400, "DuplicateHeaders",
     "A request header was sent twice; this is a fault of the sender's program."},
    {Reason::idle_timeout, 400, "IdleTimeout",
     "The connection was idle for too long; send again on a new one."},
    {Reason::invalid_push_type, 400, "InvalidPushType",
     "The push type is unknown or does not fit the payload; correct the push type."},
    {Reason::missing_device_token, 400, "MissingDeviceToken",
     "The request named no device token; check the input's token column."},
    {Reason::missing_topic, 400, "MissingTopic",
     "The certificate stands for several topics, or a provider token is used, and the push named none; give the topic."},
    {Reason::payload_empty, 400, "PayloadEmpty",
     "The push had no payload; give one."},
    {Reason::topic_disallowed, 400, "TopicDisallowed",
     "The credential may not send to this topic; use the certificate that carries it."},
    {Reason::bad_certificate, 403, "BadCertificate",
     "APNs does not accept the client certificate; stop sending with it and renew or replace it."},
    {Reason::bad_certificate_environment, 403, "BadCertificateEnvironment",
     "The certificate is for the other environment; change the endpoint or the certificate."},
    {Reason::expired_provider_token, 403, "ExpiredProviderToken",
     "The provider token is older than one hour; make a new one and check this machine's clock."},
    {Reason::forbidden, 403, "Forbidden",
     "APNs refuses this sender; stop and check the account and the credential."},
    {Reason::invalid_provider_token, 403, "InvalidProviderToken",
     "The provider token is wrong or its signature does not verify; check key, key id and team id."},
    {Reason::missing_provider_token, 403, "MissingProviderToken",
     "The connection has no client certificate and the request no provider token; configure a credential."},
    {Reason::unrelated_key_id_in_token, 403, "UnrelatedKeyIdInToken",
     "The connection is bound to another key; send this provider token on a connection of its own."},
    {Reason::bad_environment_key_id_in_token, 403, "BadEnvironmentKeyIdInToken",
     "The key is for the other environment; change the endpoint or the key."},
    {Reason::bad_path, 404, "BadPath",
     "The request path is not /3/device/TOKEN; this is a fault of the sender's program."},
    {Reason::method_not_allowed, 405, "MethodNotAllowed",
     "The request method is not POST; this is a fault of the sender's program."},
    {Reason::expired_token, 410, "ExpiredToken",
     "The device token has expired; stop using it unless the device registered it again after the time given."},
    {Reason::unregistered, 410, "Unregistered",
     "The device no longer takes pushes for this topic; stop using the token unless it was registered again after "
     "the time given."},
    {Reason::payload_too_large, 413, "PayloadTooLarge",
     "The payload is larger than 4,096 bytes (voip: 5,120); shorten it."},
    {Reason::too_many_provider_token_updates, 429, "TooManyProviderTokenUpdates",
     "The provider token changes more often than every 20 minutes; keep one token for all connections."},
    {Reason::too_many_requests, 429, "TooManyRequests",
     "Too many pushes went to this one device; wait before you send to it again, the others may go on."},
    {Reason::internal_server_error, 500, "InternalServerError",
     "APNs had an internal error; send again later, on another connection."},
    {Reason::service_unavailable, 503, "ServiceUnavailable",
     "APNs is not available at the moment; send again later."},
    {Reason::shutdown, 503, "Shutdown",
     "This APNs server is shutting down; send again on another connection."},
};

constexpr bool in_enum_order() {
  for (std::size_t i = 0; i < std::size(kTable); ++i) {
    if (static_cast<std::size_t>(kTable[i].reason) != i + kFirst) return false;
  }
  return true;
}
static_assert(in_enum_order() && kTable[std::size(kTable) - 1].reason == Reason::shutdown);

}  // namespace

std::span<const ReasonEntry> reason_table() { return kTable; }

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
