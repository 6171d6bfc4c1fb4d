// SPDX-License-Identifier: Apache-2.0
// Units: durations, rates, counts, endpoints and expirations as people type them, and numbers as people
// read them. Threads: pure functions. Errors quote what was given and show what would be right.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tocsin/result.h>

namespace tocsin::cli {

// "250ms", "10s", "5m", "2h", "1d"; "0" is nothing. Whole milliseconds; at most 366 days.
Result<std::int64_t> parse_duration_ms(std::string_view text);

// "1000", "10k", "1.5M", "1_000_000".
Result<std::uint64_t> parse_count(std::string_view text);

// "20000/s", "20k/s", "600/m"; a bare number is per second. Pushes per second, more than 0.
Result<double> parse_rate(std::string_view text);

// "0,2,4-7": CPU numbers.
Result<std::string> check_cpu_list(std::string_view text);

struct Endpoint {
  std::string host;  // without brackets
  std::uint16_t port = 443;
};
// "host", "host:2197", "127.0.0.1:2197", "[::1]:2197".
Result<Endpoint> parse_endpoint(std::string_view text);

// apns-expiration as Unix seconds: "0" (one attempt, never stored), Unix seconds (1e9 and up), or from now
// on: "+1d", "3600s". A time from now is rounded up to whole minutes (kExpirationGridS), so that pushes of
// one run share the header.
inline constexpr std::int64_t kExpirationGridS = 60;
Result<std::int64_t> parse_expiration(std::string_view text, std::int64_t now_unix_s);
std::int64_t round_expiration(std::int64_t unix_s);

// A moment of the past or future: Unix seconds from 1e9 on, or RFC 3339 ("2026-11-24T06:08:09Z", "...09.5+01:00").
// False: neither; kNoTime says what would be right.
inline constexpr const char* kNoTime = "is not a time; write Unix seconds or RFC 3339, as 2026-11-24T06:08:09Z";
bool parse_time_ms(std::string_view text, std::int64_t& out_ms);

// 1234567 -> "1,234,567".
std::string format_count(std::uint64_t value);
// Microseconds as "850 us", "12.3 ms", "4.56 s".
std::string format_us(double microseconds);
// Whole seconds as "12 s", "3 min 20 s", "2 h 5 min".
std::string format_seconds(double seconds);

// Appends "2026-11-24T06:08:09.123Z" for Unix nanoseconds; UTC. Keeps the second's text between calls.
class TimeText {
 public:
  void append(std::int64_t unix_ns, std::string& out);

 private:
  std::int64_t second_ = -1;
  char text_[20] = {};  // "2026-11-24T06:08:09."
};
std::string format_date(std::int64_t unix_s);  // "2026-11-24"
std::string format_local_time(std::int64_t unix_ns);  // "12:34:56", in the machine's time zone

// Appends `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string_view text, std::string& out);

}  // namespace tocsin::cli
