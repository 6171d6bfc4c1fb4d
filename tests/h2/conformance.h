// SPDX-License-Identifier: Apache-2.0
// What the two conformance tables share: the shape of a row, verdicts, HPACK pieces, and the check that every section
// named has rows. A row is one sentence of RFC 9113 (or 7541, "hpack"), the bytes a peer sends, and what we must do.
// A stream error may be treated as a connection error (RFC 9113 section 5.4.1); rows pin the one that happens.
// Threads, ownership, bounds: a test's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "frames.h"

namespace tocsin::h2::test {

// RFC 9113 section 7.
inline constexpr std::uint32_t kNoError = 0, kProtocolError = 1, kFlowControlError = 3, kStreamClosed = 5,
                               kFrameSizeError = 6, kRefusedStream = 7, kCancel = 8, kCompressionError = 9,
                               kEnhanceYourCalm = 11;

enum class Kind : std::uint8_t {
  accepted,          // the message arrives whole, nothing is complained about
  ignored,           // no message, nothing written, and stream 1 is as it was
  taken,             // read and acted on; the row's `also` says how it shows
  stream_error,      // RST_STREAM with the code on stream 1, and no message; the connection goes on
  connection_error,  // GOAWAY with the code, and nothing of these bytes becomes a message
};

struct Verdict {
  Kind kind = Kind::accepted;
  std::uint32_t code = 0;
};
inline constexpr Verdict kAccepted{Kind::accepted, 0}, kIgnored{Kind::ignored, 0}, kTaken{Kind::taken, 0};
constexpr Verdict stream_error(std::uint32_t code) { return {Kind::stream_error, code}; }
constexpr Verdict connection_error(std::uint32_t code) { return {Kind::connection_error, code}; }
inline constexpr Verdict kBadProtocol = connection_error(kProtocolError), kBadSize = connection_error(kFrameSizeError),
                         kBadBlock = connection_error(kCompressionError),
                         kBadFlow = connection_error(kFlowControlError),
                         kMalformed = stream_error(kProtocolError);

template <class Peer>
struct Row {
  const char* section;
  const char* requirement;
  std::string bytes;
  Verdict verdict;
  std::function<void(Peer&)> before{};     // after the usual start; what it makes the session write is thrown away
  std::function<void(Peer&)> also{};       // after the verdict was checked
  const char* whole_only = nullptr;        // why the bytes one by one would be another case
  const char* deviation = nullptr;         // where we do otherwise than the sentence says: why that is harmless
};

template <class Peer>
bool in_section(const Row<Peer>& row, std::string_view group) {
  const std::string_view section = row.section;
  return section == group || (section.starts_with(group) && section.size() > group.size() && section[group.size()] == '.');
}

// Every section has a row, every row belongs to a section, and the number is printed.
template <class Peer>
void expect_covered(const std::vector<Row<Peer>>& rows, const std::vector<std::string>& sections, std::size_t least) {
  std::map<std::string, std::size_t> counts;
  std::size_t deviations = 0;
  for (const Row<Peer>& row : rows) {
    ++counts[row.section];
    deviations += row.deviation != nullptr ? 1 : 0;
    if (row.deviation != nullptr) {
      EXPECT_GT(std::string_view(row.deviation).size(), 20u) << row.requirement;
    }
  }
  for (const std::string& section : sections) EXPECT_GT(counts[section], 0u) << "no row for section " << section;
  EXPECT_EQ(counts.size(), sections.size()) << "a row's section is not in the list";
  EXPECT_GE(rows.size(), least);
  std::printf("%zu rows in %zu sections, %zu deviations\n", rows.size(), counts.size(), deviations);
}

inline std::string bytes(std::initializer_list<unsigned> values) {
  std::string out;
  for (const unsigned value : values) out += static_cast<char>(value);
  return out;
}

// `padding` zero bytes behind the payload and the length in front (RFC 9113 section 6.1).
inline std::string padded(std::string_view payload, std::uint8_t padding) {
  return std::string(1, static_cast<char>(padding)) + std::string(payload) + std::string(padding, '\0');
}
// Dependency and weight in front of a block (section 6.2).
inline std::string priority_fields(std::uint32_t dependency, std::uint8_t weight) {
  return u32(dependency) + std::string(1, static_cast<char>(weight));
}
inline constexpr std::uint8_t kPriorityFlag = 0x20;

// RFC 7541 section 5.1.
inline std::string hpack_integer(std::uint8_t first_bits, int prefix, std::uint64_t value) {
  const std::uint64_t most = (1u << prefix) - 1;
  if (value < most) return std::string(1, static_cast<char>(first_bits | value));
  std::string out(1, static_cast<char>(first_bits | most));
  for (value -= most; value >= 128; value >>= 7) out += static_cast<char>((value & 127) | 128);
  out += static_cast<char>(value);
  return out;
}
inline std::string hpack_indexed(std::uint64_t index) { return hpack_integer(0x80, 7, index); }
inline std::string hpack_table_size(std::uint64_t bytes) { return hpack_integer(0x20, 5, bytes); }
inline std::string hpack_text(std::string_view text) { return hpack_integer(0, 7, text.size()) + std::string(text); }
// Literal with incremental indexing: becomes index 62.
inline std::string hpack_added(std::string_view name, std::string_view value) {
  return std::string(1, '\x40').append(hpack_text(name)).append(hpack_text(value));
}
inline std::string hpack_never(std::string_view name, std::string_view value) {
  return std::string(1, '\x10').append(hpack_text(name)).append(hpack_text(value));
}
// A literal whose value is these Huffman bytes.
inline std::string hpack_huffman(std::string_view name, std::string_view coded) {
  return std::string(1, '\0').append(hpack_text(name)).append(hpack_integer(0x80, 7, coded.size())).append(coded);
}

// The block's frames, cut at the given places.
inline std::string split_block(std::int32_t id, std::string_view block, std::vector<std::size_t> cuts,
    bool end_stream) {
  std::string out;
  std::size_t from = 0;
  cuts.push_back(block.size());
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    const bool last = i + 1 == cuts.size();
    const auto flags = static_cast<std::uint8_t>((last ? kEndHeaders : 0) | (i == 0 && end_stream ? kEndStream : 0));
    out += frame(i == 0 ? kHeaders : kContinuation, flags, id, block.substr(from, cuts[i] - from));
    from = cuts[i];
  }
  return out;
}

}  // namespace tocsin::h2::test
