// SPDX-License-Identifier: Apache-2.0
#include "cli/input.h"

#include <fmt/format.h>

namespace tocsin::cli {

Format format_from_name(std::string_view path) {
  if (path.ends_with(".gz")) path.remove_suffix(3);
  if (path.ends_with(".csv")) return Format::csv;
  if (path.ends_with(".ndjson") || path.ends_with(".jsonl") || path.ends_with(".json")) return Format::ndjson;
  return Format::automatic;
}

Result<std::unique_ptr<Input>> Input::open(const std::string& path, const InputOptions& options) {
  auto source = ByteSource::open(path, options.buffer_bytes);
  if (!source.ok()) return source.error();
  InputOptions chosen = options;
  if (chosen.format == Format::automatic) chosen.format = format_from_name(path);
  return std::unique_ptr<Input>(new Input(std::move(source).value(), chosen));
}

Input::Input(std::unique_ptr<ByteSource> source, const InputOptions& options)
    : source_(std::move(source)), options_(options), lines_(*source_, options.buffer_bytes) {
  if (options_.format == Format::ndjson) parser_ = make_ndjson_parser();
  if (options_.format == Format::csv) parser_ = make_csv_parser();
}

Input::~Input() = default;

InputState Input::judged(LineParser::Took took, const Record& record, const Reject& reject) {
  switch (took) {
    case LineParser::Took::record:
      return record.line < options_.from_line ? InputState::wait : InputState::record;
    case LineParser::Took::reject:
      return reject.line < options_.from_line ? InputState::wait : InputState::reject;
    case LineParser::Took::failed:
      error_ = fmt::format("{}:{}: {}", name(), reject.line, reject.error);
      finished_ = true;
      return InputState::failed;
    case LineParser::Took::nothing:
      break;
  }
  return InputState::wait;
}

InputState Input::next(Record& record, Reject& reject) {
  while (!finished_) {
    std::string_view line;
    InputState state = InputState::wait;
    switch (lines_.next(line)) {
      case LineState::wait:
        return InputState::wait;
      case LineState::failed:
        error_ = lines_.error();
        finished_ = true;
        return InputState::failed;
      case LineState::end:
        finished_ = true;
        if (!parser_) return InputState::end;
        state = judged(parser_->finish(record, reject), record, reject);
        return state == InputState::wait ? InputState::end : state;
      case LineState::too_long:
        if (lines_.number() < options_.from_line) continue;
        reject = {lines_.number(), "line", fmt::format("line is longer than {} bytes", kLineBytesMax), line};
        return InputState::reject;
      case LineState::line:
        break;
    }
    if (!parser_) {
      if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
      const bool object = line[line.find_first_not_of(" \t")] == '{';
      parser_ = object ? make_ndjson_parser() : make_csv_parser();
    }
    if (lines_.number() < options_.from_line && !parser_->must_see()) continue;
    state = judged(parser_->take(lines_.number(), line, record, reject), record, reject);
    if (state != InputState::wait) return state;
  }
  return InputState::end;
}

std::string Input::take_warning() {
  const std::string unknown = parser_ ? parser_->take_unknown() : std::string();
  if (unknown.empty()) return {};
  std::string known;
  for (const FieldName& each : kFieldNames) known.append(known.empty() ? "" : ", ").append(each.name);
  return fmt::format("{}:{}: ignored what tocsin does not know: {}; known are {}", name(), line(), unknown, known);
}

}  // namespace tocsin::cli
