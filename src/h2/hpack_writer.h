// SPDX-License-Identifier: Apache-2.0
// HpackWriter: header blocks of requests out of prepared lists (base/fields.h), at the cost of a copy.
//
// Constants go into the peer's dynamic table with their first use and are indexed from then on; slots are literals that
// never enter it, without Huffman. What stands in the peer's table is modelled exactly: eviction, size changes, the
// size updates that these ask for (RFC 7541 section 4). A list is compiled to a template of bytes and slots, which holds
// until the table changes; so the usual block is a few copies and the slots' digits.
//
// Where the table is too small for everybody's constants, the lists must not push out each other's with every request:
// on the whole one block in kEvictEvery may evict entries, and what finds no place goes as a literal meanwhile.
//
// Threads: one at a time. Ownership: owns the lists and their templates; entries live on when lists are forgotten. Bounds:
// the modelled table, to kTableMax whatever the peer would allow.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/fields.h"
#include "h2/hpack_static.h"

namespace tocsin::h2 {

class HpackWriter {
 public:
  static constexpr std::uint32_t kTableMax = kDefaultTableBytes;
  static constexpr std::uint64_t kEvictEvery = 256;
  static constexpr std::uint32_t kEvictBurst = 4;
  static constexpr std::size_t kSlack = 64;  // bytes behind a block that write() may spoil

  using Slots = std::array<base::ByteView, base::kFieldSlotsMax>;

  std::uint32_t prepare(const base::FieldList& list);
  void forget_prepared() { lists_.clear(); }
  std::uint32_t prepared() const { return static_cast<std::uint32_t>(lists_.size()); }

  // The peer's SETTINGS_HEADER_TABLE_SIZE.
  void set_limit(std::uint32_t bytes);

  // Begins the next block, which must then be written: how many bytes it has.
  std::size_t begin(std::uint32_t prepared, const Slots& slots);
  // Writes it; `out` has room for begin()'s bytes and kSlack.
  void write(const Slots& slots, char* out) const;

  // Whether any block of this list with these slots is sure to have at most `bytes_max`, by nghttp2's estimate.
  bool fits(std::uint32_t prepared, const Slots& slots, std::size_t bytes_max) const;

  std::uint32_t table_bytes() const { return used_; }

 private:
  struct Slot {
    std::uint32_t at = 0;            // in the text: where the constants before it end; its prefix follows there
    std::uint32_t prefix_bytes = 0;
    base::SlotFormat format = base::SlotFormat::text;
  };
  struct Template {
    std::string text;                // constants and prefixes in order, and kSlack bytes
    std::uint32_t text_bytes = 0;
    std::uint32_t slots_used = 0;
    std::array<Slot, base::kFieldSlotsMax> slots{};
  };
  struct List {
    base::FieldList fields;
    std::size_t bytes_max = 0;       // of a block, without its slots' values
    Template compiled;
    std::uint64_t version = 0;       // of the table that it was compiled for; 0: of none
    std::uint64_t again_at = 0;      // the block from which on it may find more places
  };
  struct Entry {
    std::string name;
    std::string value;
    std::uint32_t bytes() const { return static_cast<std::uint32_t>(name.size() + value.size()) + kEntryOverhead; }
  };

  void recompile(List& list);
  bool compile(const List& list, Template& made, bool& left_out);
  std::uint32_t find(std::string_view name, std::string_view value);
  bool insert(std::string_view name, std::string_view value);
  bool may_evict();
  void evict(std::uint32_t limit);
  Entry& entry(std::uint32_t age) { return entries_[(newest_ - age) & (entries_.size() - 1)]; }

  std::vector<List> lists_;
  const Template* block_ = nullptr;  // of the block that was begun
  Template once_;                    // for a block that changes the table

  std::uint64_t blocks_ = 0;
  std::uint64_t version_ = 1;
  std::uint64_t compilations_ = 0;
  std::uint64_t evicted_in_ = 0;     // the compilation that evicted last
  std::uint64_t evictions_counted_ = 0;  // up to this block
  std::uint32_t evictions_left_ = kEvictBurst;

  std::array<Entry, kTableMax / kEntryOverhead> entries_{};
  std::uint32_t newest_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t used_ = 0;
  std::uint32_t limit_ = kDefaultTableBytes;
  std::uint32_t said_ = kDefaultTableBytes;     // the size that the peer's decoder knows
  std::uint32_t smallest_ = kDefaultTableBytes; // since the last update
};

}  // namespace tocsin::h2
