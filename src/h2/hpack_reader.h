// SPDX-License-Identifier: Apache-2.0
// HpackReader: a complete HPACK decoder (RFC 7541), field by field, over blocks that come in pieces.
//
// One object is the decoding half of one connection: every block of it must pass through, in order, those of streams that
// nobody waits for included, or its dynamic table is no longer the peer's. A piece is read up to its last whole field.
//
// Threads: one at a time. Ownership: a field's views live until the next call. Bounds: the dynamic table, to the size
// that we announced; a name or value, to kStringMax bytes as coded (what nghttp2 takes, so that both codecs agree).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "h2/hpack_static.h"

namespace tocsin::h2 {

class HpackReader {
 public:
  static constexpr std::uint32_t kStringMax = 65'536;

  enum class Read : std::uint8_t {
    field,  // one was read; `at` is behind it
    torn,   // nothing whole is left; `at` is where the rest begins (the end, if nothing is left at all)
    bad,    // COMPRESSION_ERROR; the connection is over
  };
  struct Field {
    std::string_view name;
    std::string_view value;
  };

  // Our SETTINGS_HEADER_TABLE_SIZE, once the peer has acknowledged it. If it is smaller than what stands, the next block
  // must begin with a size update (section 4.2).
  void set_limit(std::uint32_t bytes);

  void begin_block() { start_ = true; }
  Read next(const std::uint8_t*& at, const std::uint8_t* end, Field& field);
  // Whether a block may do without a size update at its start; and may end here, with everything read.
  bool may_end() const { return !update_due_; }

  std::uint32_t table_bytes() const { return used_; }
  std::uint32_t table_entries() const { return count_; }

 private:
  struct Entry {
    std::uint64_t at = 0;  // of its name, counted from the first byte ever stored; the value follows
    std::uint32_t name_bytes = 0;
    std::uint32_t value_bytes = 0;
  };

  bool look_up(std::uint64_t index, Field& field) const;
  Read read_literal(const std::uint8_t*& at, const std::uint8_t* end, unsigned prefix, bool add, Field& field);
  Read read_string(const std::uint8_t*& at, const std::uint8_t* end, std::vector<char>& scratch, std::string_view& out);
  void insert(Field& field);
  void make_room(std::size_t bytes);
  void evict(std::uint32_t limit);
  void drop_oldest();
  char* text(std::uint64_t at) const { return storage_.get() + (at - base_); }
  const Entry& entry(std::uint32_t age) const { return ring_[(newest_ - age) & (ring_.size() - 1)]; }

  bool start_ = true;             // only size updates came in this block
  bool update_due_ = false;
  std::uint32_t limit_ = kDefaultTableBytes;    // what a size update may say
  std::uint32_t update_max_ = UINT32_MAX;       // the smallest limit since the last update
  std::uint32_t capacity_ = kDefaultTableBytes; // as the peer has it
  std::uint32_t used_ = 0;
  std::uint32_t count_ = 0;

  std::vector<Entry> ring_;       // its size is a power of two
  std::uint32_t newest_ = 0;      // position of the newest entry

  // Texts of the entries, oldest first, in one run; when its end is reached the run moves to the front.
  std::unique_ptr<char[]> storage_;
  std::size_t storage_bytes_ = 0;
  std::uint64_t base_ = 0;        // what stands at the front
  std::uint64_t end_ = 0;

  std::vector<char> name_;        // of Huffman-coded strings, and of names whose entry may go
  std::vector<char> value_;
};

}  // namespace tocsin::h2
