// SPDX-License-Identifier: Apache-2.0
#include "cli/input_plain.h"

#include <cstddef>
#include <cstring>

#include "base/plain_text.h"
#include "cli/lines.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

static_assert(kLinePadding >= base::kPlainPadding);

constexpr std::size_t kDigitsMax = 18;  // of a number that fits 64 bits without a look

// By length, so that one comparison of a constant size decides; 0: unknown.
std::uint32_t field_of(const char* name, std::size_t bytes) {
  const auto is = [name](const auto& key) { return std::memcmp(name, key, sizeof(key) - 1) == 0; };
  switch (bytes) {
    case 2:
      return is("id") ? kFieldId : 0u;
    case 5:
      return is("token") ? kFieldToken : is("magic") ? kFieldMagic : is("topic") ? kFieldTopic : 0u;
    case 7:
      return is("apns_id") ? kFieldApnsId : 0u;  // a payload is never plain
    case 8:
      return is("priority") ? kFieldPriority : is("deadline") ? kFieldDeadline : 0u;
    case 9:
      return is("push_type") ? kFieldPushType : 0u;
    case 10:
      return is("expiration") ? kFieldExpiration : 0u;
    case 11:
      return is("collapse_id") ? kFieldCollapseId : 0u;
    case 13:
      return is("registered_at") ? kFieldRegisteredAt : 0u;
    case 14:
      return is("priority_class") ? kFieldPriorityClass : 0u;
    default:
      return 0;
  }
}

// `quoted`: the text with its quotes.
bool take_text(std::uint32_t field, std::string_view quoted, Record& record) {
  const std::string_view text = quoted.substr(1, quoted.size() - 2);
  switch (field) {
    case kFieldToken:
      record.token = text;
      return true;
    case kFieldMagic:
      record.magic = text;
      return true;
    case kFieldTopic:
      record.topic = text;
      return true;
    case kFieldId:
      record.id = quoted;
      return quoted.size() <= kIdBytesMax;
    case kFieldPushType:
      record.push_type = text;
      return true;
    case kFieldCollapseId:
      record.collapse_id = text;
      return true;
    case kFieldApnsId:
      record.apns_id = text;
      return true;
    case kFieldPriorityClass:
      record.priority_class = text;
      return true;
    case kFieldRegisteredAt:
      return parse_time_ms(text, record.registered_at_ms);
    default:
      return false;  // a number in quotes
  }
}

bool take_number(std::uint32_t field, std::string_view digits, std::int64_t value, Record& record) {
  switch (field) {
    case kFieldId:
      record.id = digits;
      return true;
    case kFieldPriority:
      record.priority = value;
      return true;
    case kFieldExpiration:
      record.expiration = value;
      return true;
    case kFieldDeadline:
      record.deadline = value;
      return true;
    case kFieldRegisteredAt:
      return parse_time_ms(digits, record.registered_at_ms);
    default:
      return false;
  }
}

}  // namespace

bool read_plain_line(std::string_view line, Record& record) {
  if (line.size() < 2 || line.front() != '{' || line.back() != '}') return false;
  const char* at = line.data() + 1;
  const char* const end = line.data() + line.size();
  // The brace at the end is neither quote, digit nor blank, and no text reaches behind it: nothing below runs past it.
  for (;;) {
    if (*at != '"') return false;
    const char* const name = ++at;
    at = base::plain_end(at, end);
    if (at == end || *at != '"') return false;
    const std::uint32_t field = field_of(name, static_cast<std::size_t>(at - name));
    if (field == 0 || (record.present & field) != 0) return false;
    record.present |= field;
    if (*++at != ':') return false;
    if (*++at == ' ') ++at;
    const char* const value = at;
    if (*at == '"') {
      at = base::plain_end(at + 1, end);
      if (at == end || *at != '"') return false;
      ++at;
      if (!take_text(field, {value, static_cast<std::size_t>(at - value)}, record)) return false;
    } else {
      std::int64_t number = 0;
      for (; *at >= '0' && *at <= '9'; ++at) {
        if (static_cast<std::size_t>(at - value) == kDigitsMax) return false;
        number = number * 10 + (*at - '0');
      }
      const auto digits = static_cast<std::size_t>(at - value);
      if (digits == 0 || (digits > 1 && *value == '0')) return false;
      if (!take_number(field, {value, digits}, number, record)) return false;
    }
    if (*at != ',') return *at == '}' && at + 1 == end;
    if (*++at == ' ') ++at;
  }
}

}  // namespace tocsin::cli
