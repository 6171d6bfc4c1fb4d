// SPDX-License-Identifier: Apache-2.0
#include "apns/request.h"

#include "base/hex.h"

namespace tocsin::apns {
namespace {

constexpr std::size_t kTopicBytesMax = 256;
constexpr std::string_view kMdmTopicPrefix = "com.apple.mgmt.";

std::string number(std::size_t value) { return std::to_string(value); }

// "0x0a": names a character without letting it into a terminal.
std::string character_code(char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  return "0x" + base::hex_encode({&byte, 1});
}

}  // namespace

bool push_type_from_name(std::string_view name, PushType& out) {
  for (std::size_t i = 0; i < kPushTypes; ++i) {
    const auto type = static_cast<PushType>(i);
    if (name == push_type_name(type)) {
      out = type;
      return true;
    }
  }
  return false;
}

std::size_t payload_bytes_max(PushType type) { return type == PushType::voip ? kPayloadBytesMax : 4096; }

std::string_view topic_suffix(PushType type) {
  switch (type) {
    case PushType::voip: return ".voip";
    case PushType::complication: return ".complication";
    case PushType::fileprovider: return ".pushkit.fileprovider";
    case PushType::location: return ".location-query";
    case PushType::liveactivity: return ".push-type.liveactivity";
    case PushType::pushtotalk: return ".voip-ptt";
    case PushType::widgets: return ".push-type.widgets";
    case PushType::controls: return ".push-type.controls";
    case PushType::alert:
    case PushType::background:
    case PushType::mdm: break;
  }
  return "";
}

Refusal check_token(std::string_view hex) {
  if (hex.empty()) {
    return {"token", Reason::missing_device_token, "token is empty; give the device token as hex text of even length, 2 to " +
            number(kTokenHexDigitsMax) + " digits"};
  }
  // Length before content: a token that is far too long is not searched.
  if (hex.size() > kTokenHexDigitsMax || hex.size() % 2 != 0) {
    return {"token", Reason::bad_device_token, "token has " + number(hex.size()) +
            " digits; a device token is hex text of even length, 2 to " + number(kTokenHexDigitsMax) + " digits"};
  }
  if (const std::size_t bad = base::hex_first_bad(hex); bad != std::string_view::npos) {
    return {"token", Reason::bad_device_token, "token has the character " + character_code(hex[bad]) + " at position " +
            number(bad + 1) + "; a device token is hex text (0-9, a-f) without spaces or brackets (if it is base64, "
            "convert it to hex)"};
  }
  return {};
}

Refusal check_topic(PushType type, std::string_view topic) {
  if (topic.empty()) {
    return {"topic", Reason::missing_topic, type == PushType::mdm
            ? "topic is empty; give the UID of the MDM push certificate (com.apple.mgmt...)"
            : "topic is empty; give the app's bundle id" +
              (topic_suffix(type).empty() ? std::string() : " with " + std::string(topic_suffix(type)) + " behind it")};
  }
  if (topic.size() > kTopicBytesMax) {
    return {"topic", Reason::bad_topic, "topic has " + number(topic.size()) + " bytes; at most " +
            number(kTopicBytesMax) + " are allowed"};
  }
  for (const char c : topic) {
    // Visible ASCII: a topic is a header value, and a bundle id or UID holds letters, digits, '.' and '-'.
    if (c <= 0x20 || c >= 0x7f) {
      return {"topic", Reason::bad_topic, "topic holds the character " + character_code(c) +
              "; a topic is a bundle id or certificate UID without spaces"};
    }
  }
  if (type == PushType::mdm) {
    if (!topic.starts_with(kMdmTopicPrefix) || topic.size() == kMdmTopicPrefix.size()) {
      return {"topic", Reason::device_token_not_for_topic, "topic does not begin with com.apple.mgmt.; push type mdm "
              "needs the UID of the MDM push certificate, not a bundle id"};
    }
    return {};
  }
  const std::string_view suffix = topic_suffix(type);
  if (!suffix.empty() && (!topic.ends_with(suffix) || topic.size() == suffix.size())) {
    return {"topic", Reason::device_token_not_for_topic, std::string("topic does not end in ") + std::string(suffix) +
            "; push type " + push_type_name(type) + " needs the bundle id with this suffix"};
  }
  return {};
}

Refusal check_priority(PushType type, unsigned priority) {
  if (priority != 10 && priority != 5 && priority != 1) {
    return {"priority", Reason::bad_priority, "priority is " + number(priority) +
            "; APNs knows 10 (at once), 5 (by the device's power) and 1 (never wakes the device)"};
  }
  if (type == PushType::background && priority != 5) {
    return {"priority", Reason::bad_priority, "priority is " + number(priority) + "; a background push must have priority 5"};
  }
  return {};
}

Refusal check_collapse_id(std::string_view collapse_id) {
  if (collapse_id.empty()) {
    return {"collapse_id", Reason::bad_collapse_id, "collapse_id is empty; leave the field out or give 1 to " +
            number(kCollapseIdBytesMax) + " bytes"};
  }
  if (collapse_id.size() > kCollapseIdBytesMax) {
    return {"collapse_id", Reason::bad_collapse_id, "collapse_id has " + number(collapse_id.size()) +
            " bytes; at most " + number(kCollapseIdBytesMax) + " are allowed"};
  }
  for (const char c : collapse_id) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      return {"collapse_id", Reason::bad_collapse_id, "collapse_id holds the control character " + character_code(c) +
              "; it is sent as a header value and must be printable text"};
    }
  }
  // A field value's outer blanks are not part of it (RFC 9110, 5.5), so they would silently change the id.
  if (collapse_id.front() == ' ' || collapse_id.back() == ' ') {
    return {"collapse_id", Reason::bad_collapse_id, "collapse_id begins or ends with a space; remove it"};
  }
  return {};
}

Refusal check_credential(PushType type, bool provider_token) {
  if (type == PushType::location && !provider_token) {
    return {"credential", Reason::topic_disallowed, "credential is a client certificate; push type location works with a provider "
            "token only, give a .p8 key"};
  }
  if (type == PushType::mdm && provider_token) {
    return {"credential", Reason::topic_disallowed, "credential is a provider token; push type mdm works with the MDM push "
            "certificate only, give that"};
  }
  return {};
}

base::FieldList request_fields(const TemplateOptions& options, std::string_view authority, bool collapse,
                               std::string_view authorization) {
  base::FieldList list;
  list.constant(":method", "POST");
  list.constant(":scheme", "https");
  list.constant(":authority", authority);
  list.slot(":path", base::SlotFormat::hex, "/3/device/");
  if (!authorization.empty()) list.constant("authorization", authorization);
  list.constant("apns-topic", options.topic);
  list.constant("apns-push-type", push_type_name(options.push_type));
  list.constant("apns-priority", number(options.priority));
  if (options.has_expiration) list.constant("apns-expiration", std::to_string(options.expiration_unix_s));
  list.slot("apns-id", base::SlotFormat::uuid);
  if (collapse) list.slot("apns-collapse-id", base::SlotFormat::text);
  return list;
}

}  // namespace tocsin::apns
