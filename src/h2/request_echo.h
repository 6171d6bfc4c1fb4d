// SPDX-License-Identifier: Apache-2.0
// RequestEcho: the decoding and encoding halves of a server that gives every request one of its fields back: a UUID, by
// name. Request blocks are decoded whole, so that the client may use its table as it likes; an answer's block is
// ":status: 200" and the field, whose value is Huffman-coded and enters the client's table, as Apple's answers do.
//
// Threads: one at a time. Ownership: owns both tables' state. Bounds: HpackReader's; a block, to what its caller appends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "h2/hpack_reader.h"

namespace tocsin::h2 {

class RequestEcho {
 public:
  using Uuid = std::array<std::uint8_t, 16>;
  static constexpr std::size_t kNameMax = 64;
  // Of a value: 32 digits and 4 dashes of at most 6 bits.
  static constexpr std::size_t kValueMax = 27;
  static constexpr std::size_t kBlockMax = 2 + 2 + kNameMax + 1 + kValueMax;

  // `seed`: of the ids for requests that have none.
  RequestEcho(std::string_view name, std::uint64_t seed) : name_(name), seed_(seed) {}

  // A part of a field block. `last`: the block is whole, and `id` is its field's, or made up. False: COMPRESSION_ERROR.
  bool read(base::ByteView part, bool last, Uuid& id);

  // An answer's block; `out` has room for kBlockMax. How long it is.
  std::size_t write(const Uuid& id, std::uint8_t* out);
  // The client's table became smaller than RFC 7541's 4096 bytes: it is emptied, and no longer used.
  void forget_table() { emptied_ = table_ = false; }

 private:
  bool read_whole(base::ByteView block, Uuid& id);
  Uuid make_up();

  std::string name_;
  std::uint64_t seed_;
  HpackReader reader_;
  base::ByteBuffer block_;  // parts of one that is not whole
  bool table_ = true;       // the client's may be used
  bool emptied_ = true;     // false: the next block must say that it is
  bool in_table_ = false;   // the newest entry has our name
};

}  // namespace tocsin::h2
