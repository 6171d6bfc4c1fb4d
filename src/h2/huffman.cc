// SPDX-License-Identifier: Apache-2.0
// The code is canonical: codes of one length follow each other in the order of their symbols, and the next length
// goes on behind them. So the lengths of appendix B are all that has to be written down; the tables below follow.
#include "h2/huffman.h"

#include <array>
#include <bit>
#include <cstring>

namespace tocsin::h2 {
namespace {

constexpr unsigned kEos = 256;
constexpr unsigned kLongest = 30;
constexpr unsigned kShort = 8;  // codes up to here are one look-up
constexpr unsigned kPair = 12;  // two of six bits, as the digits of an apns-id are at most; four look-ups fit 48 bits

// Bits of the code of each byte, then of EOS.
constexpr std::array<std::uint8_t, 257> kLengths = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30};

struct Tables {
  std::array<std::uint16_t, 257> symbols{};               // in the order of their codes
  std::array<std::uint32_t, kLongest + 1> first{};        // the first code of a length
  std::array<std::uint16_t, kLongest + 1> count{};
  std::array<std::uint16_t, kLongest + 1> at{};           // where a length begins in `symbols`
  struct Short {
    std::uint8_t symbol = 0;
    std::uint8_t bits = 0;  // 0: the code is longer
  };
  std::array<Short, 1u << kShort> shorts{};
};

constexpr Tables make_tables() {
  Tables made;
  std::uint16_t next = 0;
  std::uint32_t code = 0;
  for (unsigned bits = 1; bits <= kLongest; ++bits) {
    code <<= 1;
    made.first[bits] = code;
    made.at[bits] = next;
    for (unsigned symbol = 0; symbol < kLengths.size(); ++symbol) {
      if (kLengths[symbol] != bits) continue;
      if (bits <= kShort) {
        const unsigned spare = kShort - bits;
        for (unsigned i = 0; i < 1u << spare; ++i) {
          made.shorts[(code << spare) + i] = {static_cast<std::uint8_t>(symbol), static_cast<std::uint8_t>(bits)};
        }
      }
      made.symbols[next++] = static_cast<std::uint16_t>(symbol);
      ++made.count[bits];
      ++code;
    }
  }
  return made;
}

constexpr Tables kTables = make_tables();

// What the next kPair bits begin with: one short code or two. What follows one of them depends on the look-up before, so that fewer
// of them are less time.
struct Pair {
  char symbols[2] = {};
  std::uint8_t bits = 0;  // of all of them
  std::uint8_t count = 0;  // 0: a longer code comes first
};

constexpr std::array<Pair, 1u << kPair> make_pairs() {
  std::array<Pair, 1u << kPair> made{};
  for (unsigned window = 0; window < made.size(); ++window) {
    Pair& pair = made[window];
    while (pair.count < 2) {
      const unsigned rest = (window << pair.bits) & ((1u << kPair) - 1);
      const Tables::Short next = kTables.shorts[rest >> (kPair - kShort)];
      if (next.bits == 0 || pair.bits + next.bits > kPair) break;
      pair.symbols[pair.count++] = static_cast<char>(next.symbol);
      pair.bits = static_cast<std::uint8_t>(pair.bits + next.bits);
    }
  }
  return made;
}

constexpr std::array<Pair, 1u << kPair> kPairs = make_pairs();
static_assert(kTables.symbols[256] == kEos && kTables.first[kLongest] + kTables.count[kLongest] == 1u << kLongest);

}  // namespace

std::ptrdiff_t huffman_decode(std::span<const std::uint8_t> coded, char* out) {
  const std::uint8_t* in = coded.data();
  const std::uint8_t* const end = in + coded.size();
  char* const begin = out;
  std::uint64_t window = 0;  // the next bits, from the top; zeros behind them
  unsigned bits = 0;
  // While eight bytes are left: all of them at once, then as many short codes as there certainly are. The window may hold
  // more bits than are counted; they are those of the byte at `in`, which is read again.
  while (end - in >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, in, 8);
    if constexpr (std::endian::native == std::endian::little) word = __builtin_bswap64(word);
    window |= word >> bits;
    in += (63 - bits) >> 3;
    bits |= 56;
    bool all = true;
    for (int i = 0; i < 4; ++i) {
      const Pair next = kPairs[window >> (64 - kPair)];
      if (next.count == 0) {
        all = false;
        break;
      }
      // Both are written, whatever counts: eight bits at least are left, and with them room for another symbol.
      out[0] = next.symbols[0];
      out[1] = next.symbols[1];
      out += next.count;
      window <<= next.bits;
      bits -= next.bits;
    }
    if (!all) break;
  }
  for (;;) {
    while (bits <= 56 && in != end) {
      window |= static_cast<std::uint64_t>(*in++) << (56 - bits);
      bits += 8;
    }
    const Tables::Short next = kTables.shorts[window >> (64 - kShort)];
    if (next.bits != 0) {
      if (next.bits > bits) break;
      *out++ = static_cast<char>(next.symbol);
      window <<= next.bits;
      bits -= next.bits;
      continue;
    }
    unsigned length = kShort + 1;
    for (; length <= kLongest; ++length) {
      if ((window >> (64 - length)) - kTables.first[length] < kTables.count[length]) break;
    }
    if (length > bits) break;
    const unsigned symbol =
        kTables.symbols[kTables.at[length] + static_cast<std::uint32_t>(window >> (64 - length)) - kTables.first[length]];
    if (symbol == kEos) return -1;
    *out++ = static_cast<char>(symbol);
    window <<= length;
    bits -= length;
  }
  // What is left is padding: fewer than 8 bits, the beginning of EOS.
  if (bits > 7 || (bits != 0 && window >> (64 - bits) != (1u << bits) - 1)) return -1;
  return out - begin;
}

}  // namespace tocsin::h2
