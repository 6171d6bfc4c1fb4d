// SPDX-License-Identifier: Apache-2.0
// FieldList and BodyShape: a request's header fields as constants and slots, and its body as constants around a content; the
// words that `apns` (which writes lists), `dispatch` and `h2` (which encodes them) share without knowing each other.
//
// A list is prepared once per connection; each request then brings only its slot values. A slot's value
// is raw bytes and is written as the slot's format says, behind the slot's constant prefix: a device
// token stays 32 bytes until it is written as hex into the output. Threads: immutable after building.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tocsin::base {

enum class SlotFormat : std::uint8_t {
  text,        // as it is
  hex,         // two lower-case digits a byte
  uuid,        // 16 bytes as 8-4-4-4-12, lower case
  uuid_upper,  // the same in upper case
};

enum class Indexing : std::uint8_t {
  table,    // worth a place in the peer's dynamic table (constants)
  literal,  // literal without indexing: never enters the table
  never,    // literal never indexed (RFC 7541 section 6.2.3)
};

struct FieldSpec {
  std::string name;    // lower case; pseudo-fields first
  std::string value;   // the whole value of a constant, the prefix of a slot
  bool slot = false;
  SlotFormat format = SlotFormat::text;
  Indexing indexing = Indexing::table;
};

inline constexpr std::size_t kFieldSlotsMax = 3;

struct FieldList {
  std::vector<FieldSpec> fields;  // in the order they are sent; at most kFieldSlotsMax slots

  void constant(std::string_view name, std::string_view value, Indexing indexing = Indexing::table) {
    fields.push_back({std::string(name), std::string(value), false, SlotFormat::text, indexing});
  }
  void slot(std::string_view name, SlotFormat format, std::string_view prefix = {}) {
    fields.push_back({std::string(name), std::string(prefix), true, format, Indexing::literal});
  }
};

// What a request's body is made of: constants, and between them the content that each request brings. The views need live no
// longer than the call that takes a shape.
struct BodyShape {
  std::string_view before;
  std::string_view after;
  bool content = false;                    // false: the body is the constants alone, or none if they are empty
  SlotFormat format = SlotFormat::text;    // of the content: text, uuid or uuid_upper

  static BodyShape fixed(std::string_view bytes) { return {bytes, {}, false, SlotFormat::text}; }
  static BodyShape whole() { return {{}, {}, true, SlotFormat::text}; }  // the content is the whole body; it may be empty
};

}  // namespace tocsin::base
