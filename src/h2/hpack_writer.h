// SPDX-License-Identifier: Apache-2.0
// HpackWriter: header blocks of requests out of prepared lists (base/fields.h), at the cost of a copy.
//
// Constants go into the peer's dynamic table with their first use and are indexed from then on; slots are literals that
// never enter it, without Huffman. What stands in the peer's table is modelled exactly: eviction, size changes, the
// size updates that these ask for (RFC 7541 section 4). A list is compiled to a template of bytes and slots, which holds
// until the table changes; so the usual block is a few copies and the slots' digits, or an image elsewhere (request_image.h).
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
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/fields.h"
#include "base/hex.h"
#include "h2/hpack_static.h"

namespace tocsin::h2 {

class HpackWriter {
 public:
  static constexpr std::uint32_t kTableMax = kDefaultTableBytes;
  static constexpr std::uint64_t kEvictEvery = 256;
  static constexpr std::uint32_t kEvictBurst = 4;
  static constexpr std::size_t kSlack = 64;  // bytes behind a block that write() may spoil

  using Slots = std::array<base::ByteView, base::kFieldSlotsMax>;

  static constexpr std::size_t kTokenBytes = 32;
  static constexpr std::size_t kUuidBytes = 16;

  // A whole block as it is with tokens of 32 bytes and UUIDs, with room where their digits go: a hole for each slot, in order.
  struct Hole {
    std::uint32_t at = 0;
    std::uint32_t end = 0;
    std::size_t raw_bytes = 0;
    base::SlotFormat format = base::SlotFormat::hex;
  };
  struct Layout {
    std::string text;                // and kSlack bytes
    std::uint32_t bytes = 0;         // 0: it has a slot whose size is never usual
    std::uint32_t holes_used = 0;
    std::array<Hole, base::kFieldSlotsMax> holes{};
  };

  std::uint32_t prepare(const base::FieldList& list);
  void forget_prepared() {
    lists_.clear();
    prepared_ = 0;
  }
  std::uint32_t prepared() const { return prepared_; }

  // The peer's SETTINGS_HEADER_TABLE_SIZE.
  void set_limit(std::uint32_t bytes);

  // Begins the next block, which must then be written: how many bytes it has.
  std::size_t begin(std::uint32_t prepared, const Slots& slots) {
    List& list = lists_[prepared];
    ++blocks_;
    if (list.version == version_ && blocks_ < list.again_at) {
      block_ = &list.compiled;
    } else {
      recompile(list);
    }
    block_usual_ = is_usual(*block_, slots);
    return block_usual_ ? block_->usual.bytes : block_bytes(slots);
  }
  // Writes it; `out` has room for begin()'s bytes and kSlack.
  void write(const Slots& slots, char* out) const {
    if (!block_usual_) return write_unusual(slots, out);
    const Layout& made = block_->usual;
    const char* const text = made.text.data();
    std::uint32_t from = 0;
    for (std::uint32_t i = 0; i < made.holes_used; ++i) {
      const Hole& hole = made.holes[i];
      const auto* const raw = reinterpret_cast<const std::uint8_t*>(slots[i].data());
      copy_steps(out + from, text + from, hole.at - from);
      if (hole.format == base::SlotFormat::hex) {
        base::hex_encode_32(raw, out + hole.at);
      } else {
        base::uuid_format(raw, out + hole.at, hole.format == base::SlotFormat::uuid_upper);
      }
      from = hole.end;
    }
    copy_steps(out + from, text + from, made.bytes - from);
  }

  // For blocks that are written without begin() and write(). The next alike() blocks may be as layout() has them, whoever's they
  // are: they change no table, and each must be counted. 0: the list is to be compiled, which begin() does.
  std::uint64_t alike(std::uint32_t prepared) const {
    const List& list = lists_[prepared];
    return list.version == version_ && blocks_ + 1 < list.again_at ? list.again_at - 1 - blocks_ : 0;
  }
  // Of a list with alike() blocks. Equal versions mean equal layouts, as long as the list is not forgotten; 0 is none.
  const Layout& layout(std::uint32_t prepared) const { return lists_[prepared].compiled.usual; }
  std::uint64_t version() const { return version_; }
  void count(std::uint64_t blocks) { blocks_ += blocks; }

  // Whether any block of this list with these slots is sure to have at most `bytes_max`, by nghttp2's estimate.
  bool fits(std::uint32_t prepared, const Slots& slots, std::size_t bytes_max) const {
    const List& list = lists_[prepared];
    std::size_t bytes = list.bytes_max;
    for (const base::ByteView slot : slots) bytes += slot.size() * 2 + base::kUuidTextBytes;
    return bytes <= bytes_max || fits_exactly(list, slots, bytes_max);
  }

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
    Layout usual;
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
  static void lay_out_usual(Template& made);
  static bool is_usual(const Template& made, const Slots& slots) {
    bool usual = made.usual.bytes != 0;
    for (std::uint32_t i = 0; i < made.usual.holes_used; ++i) usual &= slots[i].size() == made.usual.holes[i].raw_bytes;
    return usual;
  }
  // `in` and `out` have slack behind them: whole steps, without a call for a few bytes.
  static char* copy_steps(char* out, const char* in, std::size_t bytes) {
    constexpr std::size_t kStep = 32;
    static_assert(kStep <= kSlack);
    for (std::size_t i = 0; i < bytes; i += kStep) std::memcpy(out + i, in + i, kStep);
    return out + bytes;
  }
  static bool fits_exactly(const List& list, const Slots& slots, std::size_t bytes_max);
  std::size_t block_bytes(const Slots& slots) const;
  void write_unusual(const Slots& slots, char* out) const;
  bool compile(const List& list, Template& made, bool& left_out);
  std::uint32_t find(std::string_view name, std::string_view value);
  bool insert(std::string_view name, std::string_view value);
  bool may_evict();
  void evict(std::uint32_t limit);
  Entry& entry(std::uint32_t age) { return entries_[(newest_ - age) & (entries_.size() - 1)]; }

  std::vector<List> lists_;
  std::uint32_t prepared_ = 0;       // of them; asked for with every request
  const Template* block_ = nullptr;  // of the block that was begun
  bool block_usual_ = false;
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
