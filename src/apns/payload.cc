// SPDX-License-Identifier: Apache-2.0
// The checks that need JSON: payloads, parts and templates.
#include <string>

#include <simdjson.h>

#include "apns/request.h"
#include "base/assertion.h"
#include "base/plain_text.h"

namespace tocsin::apns {
namespace {

using simdjson::SUCCESS;
using simdjson::dom::element;
using simdjson::dom::object;

Refusal refuse(Reason reason, std::string text) { return {"payload", reason, std::move(text)}; }

// What fits no push type, or another one. APNs' nearest reason: the push type does not describe the payload.
Refusal mismatch(PushType type, const char* wrong, const char* way_out) {
  return refuse(Reason::invalid_push_type,
                std::string("payload ") + wrong + "; push type " + push_type_name(type) + " needs " + way_out);
}

bool has(const object& in, const char* key) {
  element ignored;
  return in.at_key(key).get(ignored) == SUCCESS;
}

// 1, or true where Apple's documents say so.
bool is_on(const object& in, const char* key) {
  std::int64_t number = 0;
  bool flag = false;
  if (in.at_key(key).get_int64().get(number) == SUCCESS) return number == 1;
  return in.at_key(key).get_bool().get(flag) == SUCCESS && flag;
}

bool is_object(const object& in, const char* key) {
  object ignored;
  return in.at_key(key).get_object().get(ignored) == SUCCESS;
}

bool is_text(const object& in, const char* key) {
  std::string_view ignored;
  return in.at_key(key).get_string().get(ignored) == SUCCESS;
}

Refusal check_mdm(const object& root) {
  std::string_view magic;
  if (root.at_key("mdm").get_string().get(magic) != SUCCESS) {
    return mismatch(PushType::mdm, "has no string \"mdm\"", R"(exactly {"mdm":"PUSH MAGIC"})");
  }
  if (magic.empty()) return mismatch(PushType::mdm, "has an empty \"mdm\"", "the device's PushMagic there");
  if (root.size() != 1) return mismatch(PushType::mdm, "has keys beside \"mdm\"", R"(exactly {"mdm":"PUSH MAGIC"})");
  return {};
}

Refusal check_alert(const object& aps) {
  if (has(aps, "alert") && !is_text(aps, "alert") && !is_object(aps, "alert")) {
    return mismatch(PushType::alert, "has an aps.alert that is neither text nor object", "one of the two");
  }
  std::int64_t badge = 0;
  if (has(aps, "badge") && aps.at_key("badge").get_int64().get(badge) != SUCCESS) {
    return mismatch(PushType::alert, "has an aps.badge that is no whole number", "a number there");
  }
  if (has(aps, "sound") && !is_text(aps, "sound") && !is_object(aps, "sound")) {
    return mismatch(PushType::alert, "has an aps.sound that is neither text nor object", "one of the two");
  }
  if (is_on(aps, "content-available") && !has(aps, "alert") && !has(aps, "badge") && !has(aps, "sound")) {
    return mismatch(PushType::alert, "has aps.content-available and nothing to show",
                    "an alert, badge or sound (or use push type background, priority 5)");
  }
  return {};
}

Refusal check_background(const object& aps) {
  if (!is_on(aps, "content-available")) {
    return mismatch(PushType::background, "has no aps.content-available of 1", "it");
  }
  for (const char* key : {"alert", "badge", "sound"}) {
    if (has(aps, key)) {
      return mismatch(PushType::background, "has an alert, badge or sound in aps", "none of them (or use push type alert)");
    }
  }
  return {};
}

Refusal check_live_activity(const object& aps) {
  double timestamp = 0;
  if (aps.at_key("timestamp").get_double().get(timestamp) != SUCCESS) {
    return mismatch(PushType::liveactivity, "has no number aps.timestamp", "the Unix time in seconds there");
  }
  std::string_view event;
  if (aps.at_key("event").get_string().get(event) != SUCCESS ||
      (event != "start" && event != "update" && event != "end")) {
    return mismatch(PushType::liveactivity, "has no aps.event of start, update or end", "one of them");
  }
  if (event != "end" && !is_object(aps, "content-state")) {
    return mismatch(PushType::liveactivity, "has no object aps.content-state", "it for the events start and update");
  }
  return {};
}

Refusal check_against_type(PushType type, const object& root) {
  if (type == PushType::mdm) return check_mdm(root);
  object aps;
  const bool has_aps = root.at_key("aps").get_object().get(aps) == SUCCESS;
  if (!has_aps && has(root, "aps")) return mismatch(type, "has an \"aps\" that is no object", "an object there");
  switch (type) {
    case PushType::alert:
      return has_aps ? check_alert(aps) : mismatch(type, "has no object \"aps\"", R"({"aps":{...}})");
    case PushType::background:
      return has_aps ? check_background(aps)
                     : mismatch(type, "has no object \"aps\"", R"({"aps":{"content-available":1}})");
    case PushType::liveactivity:
      return has_aps ? check_live_activity(aps) : mismatch(type, "has no object \"aps\"", R"({"aps":{...}})");
    case PushType::widgets:
    case PushType::controls:
      return has_aps && is_on(aps, "content-changed")
                 ? Refusal{}
                 : mismatch(type, "has no aps.content-changed", R"({"aps":{"content-changed":true}})");
    // These hand their whole payload to the app.
    case PushType::voip:
    case PushType::complication:
    case PushType::fileprovider:
    case PushType::location:
    case PushType::pushtotalk:
    case PushType::mdm: break;
  }
  return {};
}

// True only for {"mdm":"TEXT"} with TEXT of visible ASCII that needs no escape: JSON by inspection, and what
// check_mdm asks for. Anything else is left to the parser, right or wrong.
bool is_plain_mdm(std::string_view json) {
  constexpr std::string_view kBefore = R"({"mdm":")";
  constexpr std::string_view kAfter = R"("})";
  if (json.size() <= kBefore.size() + kAfter.size() || !json.starts_with(kBefore) || !json.ends_with(kAfter)) return false;
  return base::is_plain(json.substr(kBefore.size(), json.size() - kBefore.size() - kAfter.size()));
}

}  // namespace

struct PayloadChecker::Impl {
  simdjson::dom::parser parser;

  // Reason::other for what is no JSON object: Apple's list has no reason for it.
  Refusal parse(std::size_t bytes_max, std::string_view json, object& root) {
    if (json.empty()) return refuse(Reason::payload_empty, "payload is empty; give a JSON object");
    if (json.size() > bytes_max) {
      return refuse(Reason::payload_too_large, "payload has " + std::to_string(json.size()) +
                    " bytes; APNs takes at most " + std::to_string(bytes_max) + " for this push type");
    }
    element top;
    if (const auto error = parser.parse(json.data(), json.size()).get(top); error != SUCCESS) {
      return refuse(Reason::other, std::string("payload is not valid JSON (") + simdjson::error_message(error) +
                    "); give one JSON object in UTF-8");
    }
    if (top.get_object().get(root) != SUCCESS) {
      return refuse(Reason::other, "payload is valid JSON but no object; wrap it in { }");
    }
    return {};
  }
};

PayloadChecker::PayloadChecker() : impl_(std::make_unique<Impl>()) {}
PayloadChecker::~PayloadChecker() = default;
PayloadChecker::PayloadChecker(PayloadChecker&&) noexcept = default;
PayloadChecker& PayloadChecker::operator=(PayloadChecker&&) noexcept = default;

Refusal PayloadChecker::check(PushType type, std::string_view json) {
  const std::size_t bytes_max = payload_bytes_max(type);
  if (type == PushType::mdm && json.size() <= bytes_max && is_plain_mdm(json)) return {};
  object root;
  if (Refusal refusal = impl_->parse(bytes_max, json, root)) return refusal;
  return check_against_type(type, root);
}

Refusal PayloadChecker::check_json(std::size_t bytes_max, std::string_view json) {
  object root;
  return impl_->parse(bytes_max, json, root);
}

Refusal check_payload(PushType type, std::string_view json) { return PayloadChecker().check(type, json); }

Refusal check_part(std::string_view part) {
  if (part.empty()) {
    return {"part", Reason::other, "part is empty; give the per-device text (for MDM the PushMagic), 1 to " +
            std::to_string(kPartBytesMax) + " bytes"};
  }
  if (part.size() > kPartBytesMax) {
    return {"part", Reason::other, "part has " + std::to_string(part.size()) + " bytes; at most " +
            std::to_string(kPartBytesMax) + " are allowed"};
  }
  if (!base::is_plain(part) && !simdjson::validate_utf8(part.data(), part.size())) {
    return {"part", Reason::other, "part is not valid UTF-8; give it as plain UTF-8 text"};
  }
  return {};
}

namespace {

Refusal check_expiration(const TemplateOptions& options) {
  const std::int64_t at = options.expiration_unix_s;
  if (!options.has_expiration) {
    if (at == 0) return {};
    return {"expiration", Reason::bad_expiration_date,
            "expiration_unix_s is set but has_expiration is false; set it, or leave the time 0"};
  }
  if (at < 0) {
    return {"expiration", Reason::bad_expiration_date, "expiration is negative; give a Unix time in seconds, or 0 for one attempt"};
  }
  // 1 to 999,999,999 ends in 2001 and is a duration by mistake; from 10^11 on it is milliseconds.
  if (at != 0 && at < 1'000'000'000) {
    return {"expiration", Reason::bad_expiration_date,
            "expiration " + std::to_string(at) + " looks like a duration; give a Unix time in seconds (now plus the duration), "
            "or 0 for one attempt"};
  }
  if (at >= 100'000'000'000) {
    return {"expiration", Reason::bad_expiration_date,
            "expiration " + std::to_string(at) + " looks like milliseconds; give a Unix time in seconds"};
  }
  return {};
}

Refusal check_marked_payload(PushType type, std::string_view payload) {
  const std::size_t at = payload.find(kPartMark);
  if (at == std::string_view::npos) {
    return refuse(Reason::other, R"(payload has no %PART% mark; put it where each push's part goes, as in {"mdm":"%PART%"})");
  }
  if (payload.find(kPartMark, at + 1) != std::string_view::npos) {
    return refuse(Reason::other, "payload has more than one %PART% mark; only one part can be filled in");
  }
  // An x is no JSON outside a string, nor behind a backslash or in a \u escape: if the payload is JSON with
  // it, the mark stands where any escaped text may stand.
  std::string sample(payload.substr(0, at));
  sample.push_back('x');
  sample.append(payload.substr(at + kPartMark.size()));
  Refusal refusal = check_payload(type, sample);
  if (refusal && refusal.reason == Reason::other) {
    refusal.text = "payload with its %PART% mark filled in is no JSON object; put the mark inside a JSON string, as in "
                   R"({"mdm":"%PART%"})";
  }
  return refusal;
}

}  // namespace

Refusal check_template(const TemplateOptions& options) {
  if (static_cast<std::size_t>(options.push_type) >= kPushTypes) {
    return {"push_type", Reason::invalid_push_type, "push_type is outside the enum; use a PushType"};
  }
  if (Refusal refusal = check_topic(options.push_type, options.topic)) return refusal;
  if (Refusal refusal = check_priority(options.push_type, options.priority)) return refusal;
  if (Refusal refusal = check_expiration(options)) return refusal;
  switch (options.form) {
    case PayloadForm::fixed: return check_payload(options.push_type, options.payload);
    case PayloadForm::with_part: return check_marked_payload(options.push_type, options.payload);
    case PayloadForm::own:
      if (options.payload.empty()) return {};
      return refuse(Reason::other, "payload is set although each push brings its own (PayloadForm::own); leave it empty");
  }
  return {"form", Reason::other, "form is outside the enum; use a PayloadForm"};
}

PayloadHalves split_payload(std::string_view payload) {
  const std::size_t at = payload.find(kPartMark);
  TOCSIN_ASSERT(at != std::string_view::npos);
  return {std::string(payload.substr(0, at)), std::string(payload.substr(at + kPartMark.size()))};
}

bool plain_json_text(std::string_view text) { return base::is_plain(text); }

bool append_json_escaped(std::string_view part, std::string& out) {
  constexpr char kDigits[] = "0123456789abcdef";
  bool escaped = false;
  for (const char c : part) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && c != '"' && c != '\\') {
      out.push_back(c);
      continue;
    }
    escaped = true;
    out.push_back('\\');
    switch (c) {
      case '"':
      case '\\': out.push_back(c); break;
      case '\n': out.push_back('n'); break;
      case '\r': out.push_back('r'); break;
      case '\t': out.push_back('t'); break;
      default:
        out.append("u00");
        out.push_back(kDigits[byte >> 4]);
        out.push_back(kDigits[byte & 15]);
    }
  }
  return escaped;
}

}  // namespace tocsin::apns
