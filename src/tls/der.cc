// SPDX-License-Identifier: Apache-2.0
#include "tls/der.h"

#include <string_view>

namespace tocsin::tls::der {
namespace {

constexpr std::int64_t kDaySeconds = 86'400;

// Days since 1970-01-01 of a date of the Gregorian calendar: years start in March, so that the leap day
// comes last.
std::int64_t days_of(std::int64_t year, std::int64_t month, std::int64_t day) {
  if (month <= 2) year -= 1;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719'468;
}

bool digits(std::string_view text, std::size_t at, std::size_t count, std::int64_t& value) {
  value = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    value = value * 10 + (text[i] - '0');
  }
  return true;
}

}  // namespace

Element Reader::next() {
  Element element;
  const base::ByteView bytes = rest_;
  rest_ = {};
  if (bytes.size() < 2) return element;
  element.tag = static_cast<unsigned>(bytes[0]);
  std::size_t header = 2;
  std::size_t length = static_cast<std::size_t>(bytes[1]);
  if (length >= 0x80) {
    const std::size_t octets = length & 0x7f;
    if (octets == 0 || octets > 4 || bytes.size() < 2 + octets) return element;
    length = 0;
    for (std::size_t i = 0; i < octets; ++i) length = length << 8 | static_cast<std::size_t>(bytes[2 + i]);
    header += octets;
  }
  if ((element.tag & 0x1f) == 0x1f || length > bytes.size() - header) return element;
  element.ok = true;
  element.whole = bytes.first(header + length);
  element.content = bytes.subspan(header, length);
  rest_ = bytes.subspan(header + length);
  return element;
}

std::string oid_text(base::ByteView content) {
  std::string text;
  std::uint64_t arc = 0;
  bool first = true;
  bool inside = false;
  for (const std::byte octet : content) {
    const auto value = static_cast<unsigned>(octet);
    if (arc >> 56 != 0) return {};
    arc = arc << 7 | (value & 0x7f);
    inside = (value & 0x80) != 0;
    if (inside) continue;
    if (first) {
      const std::uint64_t root = arc < 80 ? arc / 40 : 2;
      text = std::to_string(root);
      text.push_back('.');
      text += std::to_string(arc - root * 40);
      first = false;
    } else {
      text.push_back('.');
      text += std::to_string(arc);
    }
    arc = 0;
  }
  return inside ? std::string() : text;
}

bool parse_time(const Element& element, std::int64_t& unix_s) {
  const std::string_view text = base::as_text(element.content);
  const std::size_t year_digits = element.is(kUtcTime) ? 2 : 4;
  if (!element.is(kUtcTime) && !element.is(kGeneralizedTime)) return false;
  if (text.size() != year_digits + 11 || text.back() != 'Z') return false;
  std::int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  const std::size_t at = year_digits;
  if (!digits(text, 0, year_digits, year) || !digits(text, at, 2, month) || !digits(text, at + 2, 2, day) ||
      !digits(text, at + 4, 2, hour) || !digits(text, at + 6, 2, minute) || !digits(text, at + 8, 2, second)) {
    return false;
  }
  if (year_digits == 2) year += year < 50 ? 2000 : 1900;  // RFC 5280, section 4.1.2.5.1
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return false;
  unix_s = days_of(year, month, day) * kDaySeconds + hour * 3600 + minute * 60 + second;
  return true;
}

std::string date_text(std::int64_t unix_s) {
  std::int64_t days = unix_s / kDaySeconds - (unix_s % kDaySeconds < 0 ? 1 : 0) + 719'468;
  const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  days -= era * 146'097;
  const std::int64_t year_of_era = (days - days / 1460 + days / 36'524 - days / 146'096) / 365;
  const std::int64_t day_of_year = days - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t march_month = (5 * day_of_year + 2) / 153;
  const std::int64_t day = day_of_year - (153 * march_month + 2) / 5 + 1;
  const std::int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
  const std::int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  std::string text = std::to_string(year);
  for (const std::int64_t part : {month, day}) {
    text += part < 10 ? "-0" : "-";
    text += std::to_string(part);
  }
  return text;
}

}  // namespace tocsin::tls::der
