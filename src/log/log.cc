// SPDX-License-Identifier: Apache-2.0
#include "log/log.h"

#include <atomic>
#include <chrono>
#include <memory>

#include <spdlog/fmt/chrono.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace tocsin::log {
namespace {

constexpr std::size_t kTextBytesMax = 4096;

std::atomic<Format> g_format{Format::text};

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
  }
  return "info";
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("tocsin", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

// Bytes from outside (a peer's text) may be in a record: control characters would forge lines, and
// anything beyond ASCII is taken as it is only inside valid UTF-8, which a plain check decides.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = length > 1 ? byte(at + 1) : 0x80;
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
      (lead == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return length;
}

void append_escaped(std::string_view text, bool json, std::string& out) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const auto c = static_cast<unsigned char>(text[i]);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      ++i;
      continue;
    }
    if (c < 0x20 || c == 0x7f) {
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : fmt::format("\\u{:04x}", c);
    } else if (json && (c == '"' || c == '\\')) {
      out += '\\';
      out += static_cast<char>(c);
    } else {
      out.append(text.substr(i, length));
    }
    i += length;
  }
}

}  // namespace

void init(const Options& options) {
  g_format.store(options.format, std::memory_order_relaxed);
  logger().set_level(level_of(options.level));
}

void write(LogLevel level, std::string_view event, std::string_view text) {
  spdlog::logger& to = logger();
  if (!to.should_log(level_of(level))) return;
  text = text.substr(0, kTextBytesMax);
  std::string line;
  if (g_format.load(std::memory_order_relaxed) == Format::json) {
    line = json_line(time_text(), level, event, text);
  } else {
    line = fmt::format("{} {:<7} {}: ", time_text(), level_name(level), event);
    append_escaped(text, false, line);
  }
  to.log(level_of(level), line);
}

void flush() { logger().flush(); }

std::string json_line(std::string_view time, LogLevel level, std::string_view event, std::string_view text) {
  std::string line = R"({"time":")";
  append_escaped(time, true, line);
  line.append(R"(","level":")").append(level_name(level)).append(R"(","event":")");
  append_escaped(event, true, line);
  line += R"(","text":")";
  append_escaped(text, true, line);
  return line += "\"}";
}

Result<Format> format_from_text(std::string_view text) {
  if (text == "text") return Format::text;
  if (text == "json") return Format::json;
  return Error{Code::invalid_argument, fmt::format("log format \"{}\" is unknown; choose text or json", text)};
}

Result<LogLevel> level_from_text(std::string_view text) {
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error}) {
    if (text == level_name(level)) return level;
  }
  return Error{Code::invalid_argument,
               fmt::format("log level \"{}\" is unknown; choose debug, info, warning or error", text)};
}

}  // namespace tocsin::log
