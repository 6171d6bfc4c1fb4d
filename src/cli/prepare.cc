// SPDX-License-Identifier: Apache-2.0
#include "cli/prepare.h"

#include <algorithm>

#include <fmt/format.h>

#include "apns/request.h"
#include "base/hex.h"
#include "cli/preflight.h"
#include "cli/push_options.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

constexpr std::int64_t kAbsoluteFrom = 1'000'000'000;  // Unix seconds since 2001; anything below is "from now on"
constexpr std::int64_t kLastS = 9'000'000'000;         // in the year 2255; nanoseconds still fit
constexpr std::size_t kRefusalsKept = 100'000;         // refused templates are remembered, but not without end

}  // namespace

Preparer::Preparer(Defaults defaults, AddTemplate add_template)
    : defaults_(std::move(defaults)), add_template_(std::move(add_template)) {}

// The rules between fields: "" or what is wrong.
std::string Preparer::check(const Record& record, PushType& type, PayloadForm& form, const char*& field) const {
  const bool shared = !defaults_.payload.empty();
  type = record.has(kFieldMagic) ? PushType::mdm : defaults_.push_type.value_or(PushType::alert);
  if (record.has(kFieldPushType) && !apns::push_type_from_name(record.push_type, type)) {
    field = "push_type";
    return fmt::format(
        "push_type '{}' is unknown; known are alert, background, voip, complication, fileprovider, location, "
        "liveactivity, "
        "pushtotalk, widgets, controls, mdm",
        record.push_type.substr(0, 40));
  }
  if (record.has(kFieldMagic)) {
    field = "magic";
    if (type != PushType::mdm) return "magic belongs to MDM pushes, but push_type is another; leave one of the two out";
    if (record.has(kFieldPayload))
      return "magic and payload are both given; the payload of an MDM push is made from its magic";
    if (shared) return "magic is given, but --alert makes the payload of all lines; leave one of the two out";
    form = PayloadForm::with_part;
    return {};
  }
  field = "payload";
  if (record.has(kFieldPayload)) {
    if (shared) return "payload is given by the line and by --alert; leave one of the two out";
    form = PayloadForm::own;
    return {};
  }
  if (shared) {
    form = PayloadForm::fixed;
    return {};
  }
  const std::string_view topic = record.has(kFieldTopic) ? record.topic : std::string_view(defaults_.topic);
  if (type == PushType::mdm || topic.starts_with("com.apple.mgmt.")) {
    field = "magic";
    return "magic is missing; an MDM push needs the PushMagic that the device sent at its last TokenUpdate";
  }
  return "payload is missing; give it in the line, or one for all by --alert";
}

Preparer::Entry Preparer::make(const Key& key) const {
  TemplateOptions options;
  options.topic = std::get<0>(key);
  options.push_type = std::get<1>(key);
  const unsigned priority = std::get<2>(key);
  const auto& expiration = std::get<3>(key);
  options.form = std::get<4>(key);
  if (options.topic.empty()) {
    return refusal("topic", "topic is missing; name it in the line or by --topic (the certificate names none)");
  }
  if (const auto wrong = apns::check_topic(options.push_type, options.topic)) return refusal(wrong.field, wrong.text);
  const Route* route = route_of(options.push_type, options.topic);
  if (!defaults_.routes.empty() && route == nullptr) {
    return refusal("topic", fmt::format("topic {} belongs to no credential of --credentials; known are {}",
                                        options.topic, topics_known()));
  }
  if (route != nullptr) {
    if (std::string wrong = topic_refusal(route->certificate, options.push_type, options.topic); !wrong.empty())
      return refusal("topic", std::move(wrong));
    if (route->provider_key && options.push_type == PushType::mdm)
      return refusal("push_type", std::string(kNoMdmByToken));
  }
  if (const auto wrong = apns::check_priority(options.push_type, priority)) return refusal(wrong.field, wrong.text);
  options.priority = static_cast<std::uint8_t>(priority);
  if (expiration) {
    options.has_expiration = true;
    options.expiration_unix_s = *expiration;
  }
  if (options.form == PayloadForm::fixed) options.payload = defaults_.payload;
  if (options.form == PayloadForm::with_part) options.payload = fmt::format(R"({{"mdm":"{}"}})", kPartMark);
  options.coalesce = defaults_.coalesce.value_or(options.push_type == PushType::mdm);
  if (const auto wrong = apns::check_template(options)) return refusal(wrong.field, wrong.text);
  auto handle = add_template_(options);
  if (!handle.ok()) return refusal("line", handle.error().message);
  return {*handle, route == nullptr ? 0 : static_cast<std::size_t>(route - defaults_.routes.data()), {}, {}};
}

// The exact topic wins; else the topic without its type's suffix. nullptr: none.
const Route* Preparer::route_of(PushType type, std::string_view topic) const {
  const auto find = [&](std::string_view name) -> const Route* {
    for (const Route& route : defaults_.routes) {
      if (std::find(route.topics.begin(), route.topics.end(), name) != route.topics.end()) return &route;
    }
    return nullptr;
  };
  if (defaults_.routes.size() == 1 && defaults_.routes.front().topics.empty()) return &defaults_.routes.front();
  if (const Route* exact = find(topic)) return exact;
  const std::string_view suffix = apns::topic_suffix(type);
  return !suffix.empty() && topic.ends_with(suffix) ? find(topic.substr(0, topic.size() - suffix.size())) : nullptr;
}

std::string Preparer::topics_known() const {
  constexpr std::size_t kNamed = 8;
  std::string text;
  std::size_t count = 0;
  for (const Route& route : defaults_.routes) {
    for (const std::string& topic : route.topics) {
      if (count++ < kNamed) text.append(text.empty() ? "" : ", ").append(topic);
    }
  }
  return count > kNamed ? fmt::format("{} and {} more", text, count - kNamed) : text;
}

const Preparer::Entry& Preparer::find(const Record& record, std::string_view topic, PushType type, PayloadForm form) {
  unsigned priority = defaults_.priority.value_or(type == PushType::background ? 5 : 10);
  if (record.has(kFieldPriority))
    priority = record.priority < 0 || record.priority > 255 ? 0 : static_cast<unsigned>(record.priority);
  std::optional<std::int64_t> expiration = defaults_.expiration;
  if (record.has(kFieldExpiration)) expiration = round_expiration(record.expiration);
  if (last_ != nullptr) {
    const auto& [t, y, p, e, f] = last_->first;
    if (t == topic && y == type && p == priority && e == expiration && f == form) return last_->second;
  }
  Key key{std::string(topic), type, priority, expiration, form};
  auto found = templates_.find(key);
  if (found == templates_.end()) {
    if (templates_.size() >= kRefusalsKept) {
      std::erase_if(templates_, [](const auto& item) { return item.second.handle == TemplateHandle::none; });
    }
    Entry entry = make(key);
    found = templates_.emplace(std::move(key), std::move(entry)).first;
  }
  last_ = &*found;
  return last_->second;
}

bool Preparer::prepare(const Record& record, Prepared& out, Reject& reject) {
  const auto wrong = [&](std::string_view field, std::string error) {
    reject = {record.line, std::string(field), std::move(error), record.input};
    return false;
  };
  if (!record.has(kFieldToken)) return wrong("token", "token is missing");
  if (const auto refusal = apns::check_token(record.token)) return wrong(refusal.field, refusal.text);
  PushType type{};
  PayloadForm form{};
  const char* field = "line";
  if (std::string error = check(record, type, form, field); !error.empty()) return wrong(field, std::move(error));
  if (record.has(kFieldExpiration) && record.expiration != 0 && record.expiration < kAbsoluteFrom) {
    return wrong(
        "expiration",
        fmt::format("expiration {0} is not a Unix time; it looks like seconds from now on, which APNs does not know. "
                    "Write Unix seconds, or leave it out and use --expiration {0}s",
                    record.expiration));
  }
  if (record.has(kFieldDeadline) && record.deadline < kAbsoluteFrom) {
    return wrong("deadline", fmt::format("deadline {} is not a Unix time in seconds; for a time from now on, leave it out "
                                         "and use --deadline",
                                         record.deadline));
  }
  const Entry& entry =
      find(record, record.has(kFieldTopic) ? record.topic : std::string_view(defaults_.topic), type, form);
  if (entry.handle == TemplateHandle::none) return wrong(entry.field, entry.error);
  out = Prepared{};
  out.handle = entry.handle;
  out.route = entry.route;
  out.priority_class = defaults_.priority_class;
  if (record.has(kFieldPriorityClass) && !priority_class_from_name(record.priority_class, out.priority_class)) {
    return wrong("priority_class", fmt::format("priority_class '{}' is unknown; it is {}",
                                               record.priority_class.substr(0, 40), kPriorityClasses));
  }
  if (record.has(kFieldDeadline)) out.deadline_unix_ns = std::min(record.deadline, kLastS) * 1'000'000'000;
  if (record.has(kFieldRegisteredAt)) out.registered_unix_ms = record.registered_at_ms;
  if (form == PayloadForm::with_part) {
    if (const auto refusal = apns::check_part(record.magic)) return wrong("magic", refusal.text);
    out.part = record.magic;
  }
  if (form == PayloadForm::own) {
    if (const auto refusal = apns::check_payload(type, record.payload)) return wrong(refusal.field, refusal.text);
    out.payload = record.payload;
  }
  if (record.has(kFieldCollapseId)) {
    if (const auto refusal = apns::check_collapse_id(record.collapse_id)) return wrong(refusal.field, refusal.text);
  }
  if (record.has(kFieldApnsId) && (!base::uuid_parse(record.apns_id, out.apns_id) || out.apns_id == Uuid{})) {
    return wrong("apns_id", "apns_id is not a UUID of the form 8-4-4-4-12, or all zero");
  }
  return true;
}

}  // namespace tocsin::cli
