// SPDX-License-Identifier: Apache-2.0
// CSV: libcsv reads every record that has a quote in it; a line without one is split at its commas here,
// which is several times faster and gives the same fields (a test compares the two).
#include <csv.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <bit>
#include <charconv>
#include <vector>

#include <fmt/format.h>

#include "cli/input.h"
#include "cli/lines.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

// NanoMDM's names beside ours.
constexpr FieldName kAliases[] = {{"token_hex", kFieldToken}, {"push_magic", kFieldMagic}};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Calls on_comma(index) for each comma. False: there is a quote; how many commas were told then is open.
#if defined(__SSE2__)
static_assert(kLinePadding >= 16);  // is read behind the line

template <class OnComma>
bool each_comma(std::string_view line, OnComma&& on_comma) {
  for (std::size_t from = 0; from < line.size(); from += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(line.data() + from));
    const __m128i commas = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(','));
    const __m128i quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    auto found = static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(commas, quotes)));
    if (line.size() - from < 16) found &= (1u << (line.size() - from)) - 1;
    for (; found != 0; found &= found - 1) {
      const std::size_t at = from + static_cast<std::size_t>(std::countr_zero(found));
      if (line[at] == '"') return false;
      on_comma(at);
    }
  }
  return true;
}
#else
template <class OnComma>
bool each_comma(std::string_view line, OnComma&& on_comma) {
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '"') return false;
    if (line[at] == ',') on_comma(at);
  }
  return true;
}
#endif

bool to_integer(std::string_view text, std::int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

class CsvParser final : public LineParser {
 public:
  CsvParser() { csv_init(&csv_, kOptions); }
  ~CsvParser() override { csv_free(&csv_); }
  CsvParser(const CsvParser&) = delete;
  CsvParser& operator=(const CsvParser&) = delete;

  Took take(std::uint64_t number, std::string_view line, Record& record, Reject& reject) override;
  Took finish(Record& record, Reject& reject) override;
  // A quoted field may go on over lines, so no line tells by itself whether a record begins there.
  bool must_see() const override { return true; }

 private:
  static constexpr unsigned char kOptions = CSV_STRICT | CSV_STRICT_FINI;

  static void on_field(void* bytes, std::size_t size, void* self) {
    auto& me = *static_cast<CsvParser*>(self);
    me.text_.append(static_cast<const char*>(bytes), size);
    me.ends_.push_back(me.text_.size());
  }
  static void on_record(int, void* self) { static_cast<CsvParser*>(self)->complete_ = true; }

  bool split(std::string_view line);
  bool feed(std::string_view line);
  void reset();
  Took broken(Reject& reject, std::string error);
  Took whole(Record& record, Reject& reject);
  Took read_header(Reject& reject);

  csv_parser csv_{};
  std::string raw_;   // the record's lines, if libcsv reads it
  std::string text_;  // its fields, one after another
  std::vector<std::size_t> ends_;
  std::vector<std::string_view> fields_;
  std::vector<std::uint32_t> columns_;  // field bit of each column, 0: unknown
  std::string id_;
  std::string_view input_;
  std::uint64_t first_line_ = 0;
  bool open_ = false;  // a quoted field goes on in the next line
  bool complete_ = false;
};

// False: the line has a quote.
bool CsvParser::split(std::string_view line) {
  fields_.clear();
  std::size_t from = 0;
  const bool plain = each_comma(line, [&](std::size_t comma) {
    fields_.push_back(trimmed(line.substr(from, comma - from)));
    from = comma + 1;
  });
  if (plain) fields_.push_back(trimmed(line.substr(from)));
  return plain;
}

bool CsvParser::feed(std::string_view line) {
  return csv_parse(&csv_, line.data(), line.size(), on_field, on_record, this) == line.size() &&
         csv_parse(&csv_, "\n", 1, on_field, on_record, this) == 1;
}

void CsvParser::reset() {
  csv_free(&csv_);
  csv_init(&csv_, kOptions);
  open_ = complete_ = false;
}

LineParser::Took CsvParser::broken(Reject& reject, std::string error) {
  reset();
  reject = {first_line_, "line", std::move(error), std::string_view(raw_).substr(0, kLineShownBytes)};
  return columns_.empty() ? Took::failed : Took::reject;
}

LineParser::Took CsvParser::take(std::uint64_t number, std::string_view line, Record& record, Reject& reject) {
  if (!open_) {
    first_line_ = number;
    if (line.find_first_not_of(" \t") == std::string_view::npos) return Took::nothing;
    if (split(line)) {
      input_ = line;
      return whole(record, reject);
    }
    raw_.clear();
    text_.clear();
    ends_.clear();
  }
  if (raw_.size() + line.size() > kLineBytesMax) {
    return broken(reject,
                  fmt::format("a quote that opens here is not closed within {} bytes; lines {} to {} were skipped",
                              kLineBytesMax, first_line_, number));
  }
  if (open_) raw_ += '\n';
  raw_ += line;
  if (!feed(line))
    return broken(reject,
                  "line has a quote in the middle of a field; quote the whole field and double the quotes inside it");
  open_ = !complete_;
  if (open_) return Took::nothing;
  complete_ = false;
  fields_.clear();
  std::size_t from = 0;
  for (const std::size_t end : ends_) {
    fields_.push_back(std::string_view(text_).substr(from, end - from));
    from = end;
  }
  input_ = raw_;
  return whole(record, reject);
}

LineParser::Took CsvParser::finish(Record&, Reject& reject) {
  if (!open_) return Took::nothing;
  return broken(reject, "a quote that opens here is never closed");
}

LineParser::Took CsvParser::read_header(Reject& reject) {
  std::uint32_t seen = 0;
  for (const std::string_view name : fields_) {
    const FieldName* known = find_field(name);
    for (const FieldName& alias : kAliases) {
      if (alias.name == name) known = &alias;
    }
    const std::uint32_t field = known != nullptr ? known->field : 0u;
    if (field == 0 && unknown_.size() < 512)
      unknown_ += fmt::format("{}\"{}\"", unknown_.empty() ? "" : ", ", name.substr(0, 64));
    if ((seen & field) != 0) {
      reject = {first_line_, "line", fmt::format("column {} stands twice in the header", name), input_};
      return Took::failed;
    }
    seen |= field;
    columns_.push_back(field);
  }
  if ((seen & kFieldToken) == 0) {
    reject = {first_line_, "line",
              "the header row has no column token (or token_hex); the first row must name the columns, for "
              "example id,topic,magic,token or id,topic,push_magic,token_hex",
              input_};
    return Took::failed;
  }
  return Took::nothing;
}

LineParser::Took CsvParser::whole(Record& record, Reject& reject) {
  if (columns_.empty()) return read_header(reject);
  if (fields_.size() != columns_.size()) {
    reject = {first_line_, "line",
              fmt::format("line has {} fields, the header names {}", fields_.size(), columns_.size()), input_};
    return Took::reject;
  }
  record = Record{};
  record.line = first_line_;
  record.input = input_;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const std::string_view value = fields_[i];
    if (value.empty()) continue;
    record.present |= columns_[i];
    switch (columns_[i]) {
      case kFieldToken:
        record.token = value;
        break;
      case kFieldMagic:
        record.magic = value;
        break;
      case kFieldTopic:
        record.topic = value;
        break;
      case kFieldPayload:
        record.payload = value;
        break;
      case kFieldPushType:
        record.push_type = value;
        break;
      case kFieldCollapseId:
        record.collapse_id = value;
        break;
      case kFieldApnsId:
        record.apns_id = value;
        break;
      case kFieldPriorityClass:
        record.priority_class = value;
        break;
      case kFieldRegisteredAt:
        if (!parse_time_ms(value, record.registered_at_ms)) {
          reject = {first_line_, "registered_at", fmt::format("registered_at {}", kNoTime), input_};
          return Took::reject;
        }
        break;
      case kFieldId:
        id_.clear();
        append_json_string(value, id_);
        record.id = id_;
        if (id_.size() > kIdBytesMax) {
          reject = {first_line_, "id", "id is longer than 512 bytes", input_};
          return Took::reject;
        }
        break;
      case kFieldPriority:
      case kFieldDeadline:
      case kFieldExpiration: {
        const std::uint32_t field = columns_[i];
        std::int64_t& target = field == kFieldPriority   ? record.priority
                               : field == kFieldDeadline ? record.deadline
                                                         : record.expiration;
        if (!to_integer(value, target)) {
          const char* name = field == kFieldPriority   ? "priority"
                             : field == kFieldDeadline ? "deadline"
                                                       : "expiration";
          reject = {first_line_, name, fmt::format("{} is not a whole number", name), input_};
          return Took::reject;
        }
        break;
      }
      default:
        break;
    }
  }
  return Took::record;
}

}  // namespace

std::unique_ptr<LineParser> make_csv_parser() { return std::make_unique<CsvParser>(); }

}  // namespace tocsin::cli
