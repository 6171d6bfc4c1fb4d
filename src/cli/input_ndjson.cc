// SPDX-License-Identifier: Apache-2.0
// NDJSON: one object a line, read by simdjson's on-demand parser, which is kept, so that no line allocates; lines of the
// plainest kind, which are nearly all, are read before it is asked (input_plain.h).
#include <charconv>
#include <set>

#include <fmt/format.h>
#include <simdjson.h>

#include "cli/input.h"
#include "cli/input_plain.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr std::size_t kUnknownNamed = 16;  // beyond these, unknown keys are ignored silently

bool is_json_number(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t from = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - from;
  };
  if (at < text.size() && text[at] == '-') ++at;
  const std::size_t first = at;
  const std::size_t whole = digits();
  if (whole == 0 || (whole > 1 && text[first] == '0')) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (digits() == 0) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

class NdjsonParser final : public LineParser {
 public:
  explicit NdjsonParser(bool short_cuts) : short_cuts_(short_cuts) {}
  Took take(std::uint64_t number, std::string_view line, Record& record, Reject& reject) override;

 private:
  // "" or what is wrong with the value.
  const char* read_value(Field field, ondemand::value& value, Record& record);
  static const char* read_text(ondemand::value& value, std::string_view& out);
  static const char* read_integer(ondemand::value& value, std::int64_t& out);
  static const char* read_time(ondemand::value& value, std::int64_t& out_ms);
  static const char* read_id(ondemand::value& value, std::string_view& out);
  static const char* read_payload(ondemand::value& value, std::string_view& out);
  void note_unknown(std::string_view key);

  const bool short_cuts_;
  ondemand::parser parser_;
  std::set<std::string, std::less<>> named_;
};

const char* NdjsonParser::read_text(ondemand::value& value, std::string_view& out) {
  return value.get_string().get(out) == simdjson::SUCCESS ? "" : "is not a string";
}

const char* NdjsonParser::read_integer(ondemand::value& value, std::int64_t& out) {
  if (value.get_int64().get(out) == simdjson::SUCCESS) return "";
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS && !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc{} && end == text.data() + text.size()) return "";
  }
  return "is not a whole number";
}

const char* NdjsonParser::read_time(ondemand::value& value, std::int64_t& out_ms) {
  std::string_view text = trimmed(value.raw_json_token());
  if (text.starts_with('"') && value.get_string().get(text) != simdjson::SUCCESS) return "is not a string";
  return parse_time_ms(text, out_ms) ? "" : kNoTime;
}

const char* NdjsonParser::read_id(ondemand::value& value, std::string_view& out) {
  out = trimmed(value.raw_json_token());
  if (out.size() > kIdBytesMax) return "is longer than 512 bytes";
  if (!out.starts_with('"')) return is_json_number(out) ? "" : "is neither a string nor a number";
  std::string_view decoded;  // only to see that its escapes are right; the text itself is passed on
  return value.get_string().get(decoded) == simdjson::SUCCESS ? "" : "is not a string";
}

const char* NdjsonParser::read_payload(ondemand::value& value, std::string_view& out) {
  ondemand::object object;
  if (value.get_object().get(object) == simdjson::SUCCESS) {
    if (object.raw_json().get(out) != simdjson::SUCCESS) return "is not a JSON object";
    out = trimmed(out);
    return "";
  }
  return value.get_string().get(out) == simdjson::SUCCESS ? "" : "is neither an object nor a string that holds one";
}

const char* NdjsonParser::read_value(Field field, ondemand::value& value, Record& record) {
  switch (field) {
    case kFieldToken:
      return read_text(value, record.token);
    case kFieldMagic:
      return read_text(value, record.magic);
    case kFieldTopic:
      return read_text(value, record.topic);
    case kFieldPushType:
      return read_text(value, record.push_type);
    case kFieldCollapseId:
      return read_text(value, record.collapse_id);
    case kFieldApnsId:
      return read_text(value, record.apns_id);
    case kFieldPriority:
      return read_integer(value, record.priority);
    case kFieldExpiration:
      return read_integer(value, record.expiration);
    case kFieldDeadline:
      return read_integer(value, record.deadline);
    case kFieldPriorityClass:
      return read_text(value, record.priority_class);
    case kFieldRegisteredAt:
      return read_time(value, record.registered_at_ms);
    case kFieldId:
      return read_id(value, record.id);
    case kFieldPayload:
      return read_payload(value, record.payload);
  }
  return "";
}

void NdjsonParser::note_unknown(std::string_view key) {
  if (named_.size() >= kUnknownNamed || named_.contains(key)) return;
  named_.emplace(key);
  unknown_ += fmt::format("{}\"{}\"", unknown_.empty() ? "" : ", ", key.substr(0, 64));
}

LineParser::Took NdjsonParser::take(std::uint64_t number, std::string_view line, Record& record, Reject& reject) {
  record = Record{};
  if (short_cuts_ && read_plain_line(line, record)) {
    record.line = number;
    record.input = line;
    return Took::record;
  }
  if (line.find_first_not_of(" \t") == std::string_view::npos) return Took::nothing;
  record = Record{};
  record.line = number;
  record.input = line;
  const auto wrong = [&](std::string_view field, std::string error) {
    reject = {number, std::string(field), std::move(error), line};
    return Took::reject;
  };
  const auto not_json = [&](simdjson::error_code error) {
    if (line[line.find_first_not_of(" \t")] != '{')
      return wrong("line", "line is not a JSON object: it does not begin with {");
    return wrong("line", fmt::format("line is not a JSON object: {}", simdjson::error_message(error)));
  };
  ondemand::document document;
  ondemand::object object;
  if (const auto error = parser_.iterate(line.data(), line.size(), line.size() + kLinePadding).get(document))
    return not_json(error);
  if (const auto error = document.get_object().get(object)) return not_json(error);
  for (auto item : object) {
    ondemand::field field;
    std::string_view name;
    if (const auto error = std::move(item).get(field)) return not_json(error);
    if (const auto error = field.unescaped_key().get(name)) return not_json(error);
    const FieldName* key = find_field(name);
    if (key == nullptr) {
      note_unknown(name);
      continue;
    }
    if (record.has(key->field)) return wrong(key->name, fmt::format("{} stands twice in the line", key->name));
    ondemand::value& value = field.value();
    bool null = false;
    if (value.is_null().get(null) != simdjson::SUCCESS) return wrong(key->name, fmt::format("{} is no JSON value", key->name));
    if (null) continue;
    if (const char* error = read_value(key->field, value, record); *error != '\0') {
      return wrong(key->name, fmt::format("{} {}", key->name, error));
    }
    record.present |= key->field;
  }
  // OUT_OF_BOUNDS is how simdjson says that the text is used up.
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
    return wrong("line", "line has something behind its JSON object; write one object a line");
  }
  return Took::record;
}

}  // namespace

std::unique_ptr<LineParser> make_ndjson_parser(bool short_cuts) { return std::make_unique<NdjsonParser>(short_cuts); }

}  // namespace tocsin::cli
