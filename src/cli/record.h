// SPDX-License-Identifier: Apache-2.0
// Record: one push as a line of the input says it; Reject: one line that cannot be used.
//
// Threads: plain data. Ownership: all views die at the next call of the reader that filled them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tocsin::cli {

// The fields that a line may have, as bits of Record::present.
enum Field : std::uint32_t {
  kFieldToken = 1u << 0,
  kFieldMagic = 1u << 1,
  kFieldTopic = 1u << 2,
  kFieldId = 1u << 3,
  kFieldPayload = 1u << 4,
  kFieldPushType = 1u << 5,
  kFieldPriority = 1u << 6,
  kFieldExpiration = 1u << 7,
  kFieldCollapseId = 1u << 8,
  kFieldApnsId = 1u << 9,
  kFieldDeadline = 1u << 10,
  kFieldRegisteredAt = 1u << 11,
  kFieldPriorityClass = 1u << 12,
};

// Their names in NDJSON and in a CSV's header.
struct FieldName {
  std::string_view name;
  Field field;
};
inline constexpr FieldName kFieldNames[] = {
    {"token", kFieldToken},           {"magic", kFieldMagic},
    {"topic", kFieldTopic},           {"id", kFieldId},
    {"payload", kFieldPayload},       {"push_type", kFieldPushType},
    {"priority", kFieldPriority},     {"expiration", kFieldExpiration},
    {"collapse_id", kFieldCollapseId}, {"apns_id", kFieldApnsId},
    {"deadline", kFieldDeadline},     {"registered_at", kFieldRegisteredAt},
    {"priority_class", kFieldPriorityClass},
};
constexpr const FieldName* find_field(std::string_view name) {
  for (const FieldName& each : kFieldNames) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

struct Record {
  std::uint64_t line = 0;
  std::uint32_t present = 0;
  std::string_view token;
  std::string_view magic;
  std::string_view topic;
  std::string_view id;  // as JSON text, quotes included
  std::string_view payload;
  std::string_view push_type;
  std::string_view collapse_id;
  std::string_view apns_id;
  std::string_view priority_class;
  std::int64_t deadline = 0;          // Unix seconds
  std::int64_t registered_at_ms = 0;  // Unix milliseconds
  std::int64_t priority = 0;
  std::int64_t expiration = 0;
  std::string_view input;  // the line itself

  bool has(Field field) const { return (present & field) != 0; }
};

struct Reject {
  std::uint64_t line = 0;
  std::string field;  // "token", "line", ...
  std::string error;
  std::string_view input;
};

// An id must come back in the outcome, so it is kept while its push is under way.
inline constexpr std::size_t kIdBytesMax = 512;

}  // namespace tocsin::cli
