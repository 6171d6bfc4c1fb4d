// SPDX-License-Identifier: Apache-2.0
#include "h2/request_echo.h"

#include <cstring>
#include <utility>

#include "base/hex.h"
#include "base/prng.h"

namespace tocsin::h2 {
namespace {

struct Code {
  std::uint32_t bits = 0;
  std::uint32_t length = 0;
};

// RFC 7541 appendix B, of what a UUID is made of.
constexpr Code kDash{0x16, 6};
constexpr Code digit(unsigned value) {
  constexpr Code kDigits[16] = {{0x00, 5}, {0x01, 5}, {0x02, 5}, {0x19, 6}, {0x1a, 6}, {0x1b, 6}, {0x1c, 6}, {0x1d, 6},
                                {0x1e, 6}, {0x1f, 6}, {0x03, 5}, {0x23, 6}, {0x04, 5}, {0x24, 6}, {0x05, 5}, {0x25, 6}};
  return kDigits[value];
}

// Two digits at a time.
struct Table {
  Code bytes[256];
  constexpr Table() : bytes() {
    for (unsigned i = 0; i < 256; ++i) {
      const Code high = digit(i >> 4), low = digit(i & 15);
      bytes[i] = {high.bits << low.length | low.bits, high.length + low.length};
    }
  }
};
constexpr Table kTable;

// Answers the size; at most RequestEcho::kValueMax.
std::size_t write_value(const RequestEcho::Uuid& id, std::uint8_t* out) {
  std::uint64_t bits = 0;
  std::uint32_t held = 0;
  std::uint8_t* at = out;
  const auto add = [&](const Code& code) {
    bits = bits << code.length | code.bits;
    held += code.length;
    if (held < 32) return;
    held -= 32;
    const std::uint32_t word = __builtin_bswap32(static_cast<std::uint32_t>(bits >> held));
    std::memcpy(at, &word, sizeof word);
    at += sizeof word;
  };
  for (unsigned i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) add(kDash);
    add(kTable.bytes[id[i]]);
  }
  // The rest, filled up with ones (section 5.2).
  const std::uint32_t padding = (8 - held % 8) % 8;
  bits = bits << padding | ((1u << padding) - 1);
  for (held += padding; held != 0; held -= 8) *at++ = static_cast<std::uint8_t>(bits >> (held - 8));
  return static_cast<std::size_t>(at - out);
}

}  // namespace

bool RequestEcho::read(base::ByteView part, bool last, Uuid& id) {
  if (!last) {
    block_.append(part);
    return true;
  }
  if (block_.empty()) return read_whole(part, id);
  block_.append(part);
  const bool good = read_whole(block_.readable(), id);
  block_.clear();
  return good;
}

bool RequestEcho::read_whole(base::ByteView block, Uuid& id) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(block.data());
  const std::uint8_t* const end = at + block.size();
  bool found = false;
  HpackReader::Field field;
  reader_.begin_block();
  for (;;) {
    const HpackReader::Read read = reader_.next(at, end, field);
    if (read == HpackReader::Read::bad) return false;
    if (read == HpackReader::Read::torn) break;
    if (!found && field.name == name_) found = base::uuid_parse(field.value, id);
  }
  if (!found) id = make_up();
  return at == end && reader_.may_end();
}

RequestEcho::Uuid RequestEcho::make_up() {
  Uuid id;
  const std::uint64_t halves[2] = {seed_ = base::mix64(seed_), base::mix64(seed_ ^ 1)};
  std::memcpy(id.data(), halves, sizeof halves);
  id[6] = static_cast<std::uint8_t>((id[6] & 0x0f) | 0x40);  // version 4
  id[8] = static_cast<std::uint8_t>((id[8] & 0x3f) | 0x80);  // RFC 9562's variant
  return id;
}

std::size_t RequestEcho::write(const Uuid& id, std::uint8_t* out) {
  std::uint8_t* at = out;
  if (!std::exchange(emptied_, true)) *at++ = 0x20;  // the table's size is 0 from now on (section 4.2)
  *at++ = 0x88;                                      // ":status: 200"
  if (in_table_ && table_) {
    *at++ = 0x40 | 62;  // the newest entry's name (section 6.2.1)
  } else {
    *at++ = table_ ? 0x40 : 0x00;
    *at++ = static_cast<std::uint8_t>(name_.size());
    std::memcpy(at, name_.data(), name_.size());
    at += name_.size();
    in_table_ = table_;
  }
  const std::size_t bytes = write_value(id, at + 1);
  *at++ = static_cast<std::uint8_t>(0x80 | bytes);
  return static_cast<std::size_t>(at - out) + bytes;
}

}  // namespace tocsin::h2
