// SPDX-License-Identifier: Apache-2.0
#include "apns/answer.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <simdjson.h>

#include "apns/reasons.h"
#include "base/assertion.h"
#include "base/hex.h"

namespace tocsin::apns {
namespace {

constexpr std::size_t kBodyBytesMax = 4096;
constexpr std::string_view kReasonKey = R"({"reason":")";
constexpr std::string_view kTimestampKey = R"(","timestamp":)";

// The two spellings APNs itself uses, read without a parser: {"reason":"X"} and {"reason":"X","timestamp":N}.
// Everything else (spaces, other order, more fields, escapes) goes to the parser.
bool read_usual(std::string_view body, std::string_view& reason, std::int64_t& timestamp) {
  if (!body.starts_with(kReasonKey)) return false;
  body.remove_prefix(kReasonKey.size());
  std::size_t end = 0;
  while (end < body.size() && ((body[end] | 0x20) >= 'a' && (body[end] | 0x20) <= 'z')) ++end;
  const std::string_view word = body.substr(0, end);
  body.remove_prefix(end);
  std::int64_t number = 0;
  if (body != R"("})") {
    if (!body.starts_with(kTimestampKey)) return false;
    body.remove_prefix(kTimestampKey.size());
    if (body.empty() || body.front() < '1' || body.front() > '9') return false;
    const auto [at, error] = std::from_chars(body.data(), body.data() + body.size(), number);
    if (error != std::errc{} || at + 1 != body.data() + body.size() || *at != '}') return false;
  }
  reason = word;
  timestamp = number;
  return true;
}

// Cuts at `bytes_max` without leaving half a UTF-8 character.
std::string_view cut_text(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  while (bytes_max != 0 && (static_cast<unsigned char>(text[bytes_max]) & 0xc0) == 0x80) --bytes_max;
  return text.substr(0, bytes_max);
}

std::string_view keep(std::string_view text, char* scratch, std::size_t scratch_bytes) {
  text = cut_text(text, scratch_bytes);
  if (!text.empty()) std::memcpy(scratch, text.data(), text.size());
  return {scratch, text.size()};
}

// A body that says nothing we can read is shown as it came, with '?' for what a terminal or a JSON line
// should not get.
std::string_view keep_raw(std::string_view body, char* scratch, std::size_t scratch_bytes) {
  const std::size_t bytes = std::min(body.size(), scratch_bytes);
  std::transform(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(bytes), scratch,
                 [](char c) { return c >= 0x20 && c < 0x7f ? c : '?'; });
  return {scratch, bytes};
}

bool read_json(std::string_view body, char* scratch, std::size_t scratch_bytes, std::string_view& reason,
               std::int64_t& timestamp) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(body.data(), body.size()).get_object().get(object) != simdjson::SUCCESS) return false;
  std::string_view text;
  if (object.at_key("reason").get_string().get(text) != simdjson::SUCCESS) return false;
  reason = keep(text, scratch, scratch_bytes);
  double as_double = 0;
  if (object.at_key("timestamp").get_int64().get(timestamp) != simdjson::SUCCESS) {
    timestamp = 0;
    // 2^53: beyond it a double would not name a millisecond any more.
    if (object.at_key("timestamp").get_double().get(as_double) == simdjson::SUCCESS && as_double > 0 &&
        as_double < 9007199254740992.0) {
      timestamp = static_cast<std::int64_t>(as_double);
    }
  }
  return true;
}

}  // namespace

Verdict read_answer(unsigned status, std::string_view apns_id, std::string_view body, char* scratch,
                    std::size_t scratch_bytes) {
  Verdict verdict;
  verdict.has_apns_id = base::uuid_parse(apns_id, verdict.apns_id);
  if (accepts(status)) {
    verdict.end = End::accepted;
    return verdict;
  }
  TOCSIN_ASSERT(scratch != nullptr && scratch_bytes >= 256);
  if (body.empty()) return verdict;
  body = body.substr(0, kBodyBytesMax);
  std::string_view text;
  std::int64_t timestamp = 0;
  if (!read_usual(body, text, timestamp) && !read_json(body, scratch, scratch_bytes, text, timestamp)) {
    verdict.reason = Reason::other;
    verdict.reason_text = keep_raw(body, scratch, scratch_bytes);
    return verdict;
  }
  verdict.reason = reason_from_text(text);
  if (verdict.reason == Reason::other) verdict.reason_text = text;
  if (status == 410 && timestamp > 0) verdict.unregistered_unix_ms = timestamp;
  return verdict;
}

}  // namespace tocsin::apns
