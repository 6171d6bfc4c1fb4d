// SPDX-License-Identifier: Apache-2.0
// Files of devices and notifications, NDJSON or CSV (FUZZ_FORMAT says which), plain or gzip, up to the push.
//
// Input: buffer size, first line, the file. Properties: the size of the buffer does not matter; lines come in order and
// each once; reading from a later line gives what reading all gives from there on; a record's views lie in memory that
// lives; NDJSON's short cut gives what the general parser gives; what prepare() takes has a token and a payload, what it refuses a reason for people.
#include <vector>

#include "cli/input.h"
#include "cli/prepare.h"
#include "fuzz.h"

namespace tocsin::fuzz {
namespace {

struct One {
  std::uint64_t line = 0;
  std::string text;
  bool operator==(const One&) const = default;
};
struct All {
  std::vector<One> lines;
  bool failed = false;
};

class Pushes {
 public:
  Pushes() : preparer_(defaults(), [this](const TemplateOptions&) -> Result<TemplateHandle> {
    if (++made_ > 8) return Error{Code::capacity, "no more templates"};
    return static_cast<TemplateHandle>(made_);
  }) {}

  void take(const cli::Record& record) {
    cli::Prepared prepared;
    cli::Reject reject;
    if (!preparer_.prepare(record, prepared, reject)) {
      FUZZ_CHECK(!reject.error.empty() && !reject.field.empty());
      return;
    }
    FUZZ_CHECK(prepared.handle != TemplateHandle::none);
    FUZZ_CHECK(!record.token.empty());
    touch(prepared.part);
    touch(prepared.payload);
  }

 private:
  static cli::Defaults defaults() {
    cli::Defaults made;
    made.topic = "com.apple.mgmt.External.1";
    cli::Route route;
    route.certificate.uid = made.topic;
    route.certificate.topics = {"com.example.app"};
    made.routes.push_back(route);
    return made;
  }
  std::uint32_t made_ = 0;
  cli::Preparer preparer_;
};

All read(const std::string& path, std::size_t buffer_bytes, std::uint64_t from_line) {
  All all;
  auto opened = cli::Input::open(path, {cli::Format::FUZZ_FORMAT, from_line, buffer_bytes});
  FUZZ_CHECK(opened.ok());
  cli::Input& input = **opened;
  Pushes pushes;
  cli::Record record;
  cli::Reject reject;
  std::uint64_t last = 0;
  for (;;) {
    const cli::InputState state = input.next(record, reject);
    input.take_warning();
    if (state == cli::InputState::end) return all;
    if (state == cli::InputState::wait) continue;
    if (state == cli::InputState::failed) {
      FUZZ_CHECK(!input.error().empty());
      all.failed = true;
      return all;
    }
    const bool taken = state == cli::InputState::record;
    const std::uint64_t line = taken ? record.line : reject.line;
    FUZZ_CHECK(line >= from_line && line <= input.line());
    FUZZ_CHECK(line > last);
    last = line;
    std::string text;
    if (taken) {
      for (const std::string_view part : {record.token, record.magic, record.topic, record.id, record.payload,
                                          record.push_type, record.collapse_id, record.apns_id, record.input}) {
        text.append(part) += '\x1f';
      }
      text += std::to_string(record.present) + ' ' + std::to_string(record.priority) + ' ' + std::to_string(record.expiration);
      FUZZ_CHECK(record.id.size() <= cli::kIdBytesMax + 2);
      pushes.take(record);
    } else {
      FUZZ_CHECK(!reject.error.empty() && !reject.field.empty());
      text = reject.field + ": " + reject.error + ": ";
      text += reject.input;
    }
    all.lines.push_back({line, std::move(text)});
  }
}

std::string text_of(cli::LineParser& parser, std::uint64_t number, std::string_view line) {
  cli::Record r;
  cli::Reject reject;
  const cli::LineParser::Took took = parser.take(number, line, r, reject);
  std::string text = std::to_string(static_cast<int>(took)) + '\x1f' + parser.take_unknown();
  if (took == cli::LineParser::Took::reject) {
    text += std::to_string(reject.line) + reject.field + '\x1f' + reject.error + '\x1f';
    return text.append(reject.input);
  }
  if (took != cli::LineParser::Took::record) return text;
  for (const std::string_view part : {r.token, r.magic, r.topic, r.id, r.payload, r.push_type, r.collapse_id, r.apns_id,
                                      r.priority_class, r.input})
    text.append(part) += '\x1f';
  for (const std::int64_t number_of : {r.deadline, r.registered_at_ms, r.priority, r.expiration,
                                       static_cast<std::int64_t>(r.present), static_cast<std::int64_t>(r.line)})
    text += std::to_string(number_of) + '\x1f';
  return text;
}

// Each line by both ways of reading NDJSON.
void compare_short_cut(const std::string& path) {
  auto source = cli::ByteSource::open(path);
  FUZZ_CHECK(source.ok());
  cli::LineReader lines(**source);
  const auto both = cli::make_ndjson_parser();
  const auto general = cli::make_ndjson_parser(false);
  for (std::string_view line;;) {
    const cli::LineState state = lines.next(line);
    if (state == cli::LineState::end || state == cli::LineState::failed) return;
    if (state == cli::LineState::line) FUZZ_CHECK(text_of(*both, lines.number(), line) == text_of(*general, lines.number(), line));
  }
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::size_t small = 1 + choices.byte();
  const std::uint64_t from = 1 + choices.byte() % 8u;
  const MemoryFile file(choices.rest());
  const tocsin::cli::Format format = tocsin::cli::Format::FUZZ_FORMAT;
  if (format == tocsin::cli::Format::ndjson) compare_short_cut(file.path());

  const All whole = read(file.path(), 256 * 1024, 1);
  const All cut = read(file.path(), small, 1);
  FUZZ_CHECK(whole.failed == cut.failed);
  // How much of damaged gzip comes out before the damage is seen depends on the buffer.
  if (!whole.failed) FUZZ_CHECK(whole.lines == cut.lines);

  const All later = read(file.path(), 256 * 1024, from);
  if (whole.failed || later.failed) return 0;
  std::vector<One> expected;
  for (const One& one : whole.lines) {
    if (one.line >= from) expected.push_back(one);
  }
  FUZZ_CHECK(later.lines == expected);
  return 0;
}
