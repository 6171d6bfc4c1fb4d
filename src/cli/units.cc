// SPDX-License-Identifier: Apache-2.0
#include "cli/units.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

#include "base/plain_text.h"

namespace tocsin::cli {
namespace {

constexpr double kDurationMsMax = 366.0 * 86'400'000;

Error invalid(std::string text) { return {Code::invalid_argument, std::move(text)}; }

// The number at the front of `text` ("1.5", "1_000"), which is cut off. NaN if there is none.
double take_number(std::string_view& text) {
  std::string digits;
  std::size_t used = 0;
  for (; used < text.size(); ++used) {
    const char c = text[used];
    if ((c >= '0' && c <= '9') || c == '.')
      digits += c;
    else if (c != '_' || used == 0)
      break;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nan("");
  text.remove_prefix(used);
  return value;
}

double scale_of_count(std::string_view suffix) {
  if (suffix.empty()) return 1;
  if (suffix == "k" || suffix == "K") return 1e3;
  if (suffix == "M" || suffix == "m") return 1e6;
  return 0;
}

}  // namespace

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  std::string_view rest = text;
  const double number = take_number(rest);
  double unit = 0;
  if (rest == "ms") unit = 1;
  if (rest == "s") unit = 1000;
  if (rest == "m" || rest == "min") unit = 60'000;
  if (rest == "h") unit = 3'600'000;
  if (rest == "d") unit = 86'400'000;
  if (rest.empty() && number == 0) unit = 1;
  if (std::isnan(number) || unit == 0) {
    return invalid(fmt::format("'{}' is not a duration; write a number and its unit: 250ms, 10s, 5m, 2h, 1d", text));
  }
  if (number * unit > kDurationMsMax) return invalid(fmt::format("'{}' is longer than 366 days", text));
  return static_cast<std::int64_t>(std::llround(number * unit));
}

Result<std::uint64_t> parse_count(std::string_view text) {
  std::string_view rest = text;
  const double number = take_number(rest);
  const double value = number * scale_of_count(rest);
  if (std::isnan(number) || scale_of_count(rest) == 0 || value != std::floor(value) || value > 1e15) {
    return invalid(fmt::format("'{}' is not a count; write a whole number such as 1000, 10k, 1.5M or 1_000_000", text));
  }
  return static_cast<std::uint64_t>(value);
}

Result<double> parse_rate(std::string_view text) {
  std::string_view rest = text;
  const double number = take_number(rest);
  double per_second = 1;
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    const std::string_view per = rest.substr(slash + 1);
    per_second = per == "s" ? 1 : per == "m" || per == "min" ? 1.0 / 60 : per == "h" ? 1.0 / 3600 : 0;
    rest = rest.substr(0, slash);
  }
  const double rate = number * scale_of_count(rest) * per_second;
  if (std::isnan(rate) || rate <= 0 || rate > 1e9) {
    return invalid(fmt::format("'{}' is not a rate; write pushes per time: 20000/s, 20k/s, 600/m", text));
  }
  return rate;
}

Result<std::string> check_cpu_list(std::string_view text) {
  std::string out;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    unsigned first = 0, last = 0;
    const char* end = item.data() + item.size();
    auto at = std::from_chars(item.data(), end, first);
    last = first;
    if (at.ec == std::errc{} && at.ptr != end && *at.ptr == '-') at = std::from_chars(at.ptr + 1, end, last);
    if (at.ec != std::errc{} || at.ptr != end || last < first || last > 4095) {
      return invalid(fmt::format("'{}' is not a list of CPUs; write numbers and ranges: 0,2,4-7", text));
    }
    for (unsigned cpu = first; cpu <= last; ++cpu)
      fmt::format_to(std::back_inserter(out), "{}{}", out.empty() ? "" : ",", cpu);
  }
  return out;
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  Endpoint endpoint;
  std::string_view port;
  const auto wrong = [&] {
    return invalid(
        fmt::format("'{}' is not an endpoint; write host:port, for example api.push.apple.com:443, "
                    "127.0.0.1:2197 or [::1]:2197",
                    text));
  };
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return wrong();
    endpoint.host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    if (!port.empty() && port.front() != ':') return wrong();
  } else {
    const std::size_t colon = text.find(':');
    if (colon != text.rfind(':')) return wrong();  // a bare IPv6 address needs its brackets
    endpoint.host = text.substr(0, colon);
    if (colon != std::string_view::npos) port = text.substr(colon);
  }
  if (endpoint.host.empty() || endpoint.host.find_first_of(" /@?#") != std::string::npos) return wrong();
  if (port.empty()) return endpoint;
  port.remove_prefix(1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc{} || end != port.data() + port.size() || endpoint.port == 0) return wrong();
  return endpoint;
}

std::int64_t round_expiration(std::int64_t unix_s) {
  return (unix_s + kExpirationGridS - 1) / kExpirationGridS * kExpirationGridS;
}

Result<std::int64_t> parse_expiration(std::string_view text, std::int64_t now_unix_s) {
  if (text == "0") return std::int64_t{0};
  std::int64_t absolute = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), absolute);
  if (error == std::errc{} && end == text.data() + text.size() && !text.starts_with('+')) {
    if (absolute >= 1'000'000'000) return absolute;
    return invalid(
        fmt::format("expiration '{0}' is neither 0 nor a Unix time; for {0} seconds from now write {0}s", text));
  }
  const Result<std::int64_t> duration = parse_duration_ms(text.starts_with('+') ? text.substr(1) : text);
  if (!duration.ok() || duration.value() <= 0) {
    return invalid(
        fmt::format("'{}' is not an expiration; write 0 (one attempt, never stored), Unix seconds, or a time "
                    "from now on: +1d, 3600s",
                    text));
  }
  return round_expiration(now_unix_s + (duration.value() + 999) / 1000);
}

std::string format_count(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string format_us(double us) {
  if (us < 1000) return fmt::format("{:.0f} us", us);
  if (us < 1e6) return fmt::format("{:.3g} ms", us / 1e3);
  return fmt::format("{:.2f} s", us / 1e6);
}

std::string format_seconds(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

void TimeText::append(std::int64_t unix_ns, std::string& out) {
  std::int64_t second = unix_ns / 1'000'000'000;
  if (unix_ns < 0) second = unix_ns = 0;
  if (second != second_) {
    second_ = second;
    const std::time_t time = second;
    std::tm parts{};
    gmtime_r(&time, &parts);
    fmt::format_to_n(text_, sizeof(text_), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.", (parts.tm_year + 1900) % 10000,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
  }
  const auto ms = static_cast<unsigned>(unix_ns / 1'000'000 % 1000);
  const char tail[4] = {static_cast<char>('0' + ms / 100), static_cast<char>('0' + ms / 10 % 10),
                        static_cast<char>('0' + ms % 10), 'Z'};
  out.append(text_, sizeof(text_)).append(tail, sizeof(tail));
}

// By itself: a certificate may end in the year 9999, which nanoseconds in 64 bits do not reach.
std::string format_date(std::int64_t unix_s) {
  constexpr std::int64_t kLast = 253'402'300'799;  // 9999-12-31
  const std::time_t time = std::clamp<std::int64_t>(unix_s, 0, kLast);
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

namespace {

// The length of the UTF-8 character at the front of `text`, 0 if it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xc2 ? 0
                             : first < 0xe0 ? 2
                             : first < 0xf0 ? 3
                             : first < 0xf5 ? 4
                                            : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) >= 0xa0) return 0;  // surrogates
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) >= 0x90) return 0;
  return length;
}

}  // namespace

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  while (!text.empty()) {
    const std::size_t plain = base::plain_bytes(text);
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const char c = text[0];
    std::size_t used = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
    } else if (used = utf8_length(text); used != 0) {
      out.append(text.substr(0, used));
    } else {
      used = 1;
      out += "\\ufffd";
    }
    text.remove_prefix(used);
  }
  out += '"';
}

namespace {

// `count` digits at the front of `text`, which are cut off; -1 if they are not there.
int take_digits(std::string_view& text, std::size_t count) {
  int value = 0;
  if (text.size() < count) return -1;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return value;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// "Z" or "+01:00", to the end of the text.
bool take_offset(std::string_view& text, int& seconds) {
  seconds = 0;
  if (take_char(text, "Zz")) return text.empty();
  const bool west = text.starts_with('-');
  if (!take_char(text, "+-")) return false;
  const int hours = take_digits(text, 2);
  if (!take_char(text, ":")) return false;
  const int minutes = take_digits(text, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || !text.empty()) return false;
  seconds = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
  return true;
}

}  // namespace

bool parse_time_ms(std::string_view text, std::int64_t& out_ms) {
  // Up to the year 9999: what is beyond are most likely milliseconds.
  constexpr std::int64_t kFrom = 1'000'000'000, kTo = 253'402'300'799;
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc{} && end == text.data() + text.size()) {
    if (seconds < kFrom || seconds > kTo) return false;
    out_ms = seconds * 1000;
    return true;
  }
  const int year = take_digits(text, 4);
  if (!take_char(text, "-")) return false;
  const int month = take_digits(text, 2);
  if (!take_char(text, "-")) return false;
  const int day = take_digits(text, 2);
  if (!take_char(text, "Tt ")) return false;
  const int hour = take_digits(text, 2);
  if (!take_char(text, ":")) return false;
  const int minute = take_digits(text, 2);
  if (!take_char(text, ":")) return false;
  const int second = take_digits(text, 2);
  int ms = 0;
  if (take_char(text, ".")) {
    int place = 100;
    const std::size_t before = text.size();
    for (int digit = 0; (digit = take_digits(text, 1)) >= 0; place /= 10) ms += digit * place;
    if (text.size() == before) return false;
  }
  int offset = 0;
  if (!take_offset(text, offset)) return false;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (year < 0 || month < 0 || day < 0 || !date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60)
    return false;
  seconds = std::chrono::sys_days(date).time_since_epoch().count() * 86'400LL + hour * 3600 + minute * 60 + second - offset;
  out_ms = seconds * 1000 + ms;
  return seconds >= kFrom;
}

std::string format_local_time(std::int64_t unix_ns) {
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm parts{};
  localtime_r(&seconds, &parts);
  return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace tocsin::cli
