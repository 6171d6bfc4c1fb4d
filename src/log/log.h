// SPDX-License-Identifier: Apache-2.0
// Log: records of programs to standard error, as text or as JSON lines. Libraries do not log; they hand
// records to a callback, which a program may point here.
//
// Threads: write() from any thread; init() before the others start. Ownership: process-wide, as standard
// error is. Bounds: a record's text is cut at 4,096 bytes. No secret may be put in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tocsin/options.h>
#include <tocsin/result.h>

namespace tocsin::log {

enum class Format : std::uint8_t { text, json };

struct Options {
  Format format = Format::text;
  LogLevel level = LogLevel::info;
};

// Without it: text, from `info` up.
void init(const Options& options);

// `event` is a stable name in snake_case, `text` a sentence.
void write(LogLevel level, std::string_view event, std::string_view text);
void flush();

// "text", "json"; "debug", "info", "warning", "error". The error names the value and the choices.
Result<Format> format_from_text(std::string_view text);
Result<LogLevel> level_from_text(std::string_view text);

// What stands behind Format::json, for tests and for other writers of one-line records.
std::string json_line(std::string_view time, LogLevel level, std::string_view event, std::string_view text);

}  // namespace tocsin::log
