// SPDX-License-Identifier: Apache-2.0
// The string code of HPACK (RFC 7541 section 5.2 and appendix B), reading only: we write no Huffman, which costs more
// time than its bytes are worth on a connection that is bound by CPU.
//
// Threads: pure functions. Bounds: a text is at most 8/5 of its code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tocsin::h2 {

constexpr std::size_t huffman_text_max(std::size_t coded) { return coded * 8 / 5; }

// Writes the text to `out`, which has room for huffman_text_max(). Answers its size, or -1 if the code holds EOS or ends
// in anything but fewer than 8 bits of ones.
std::ptrdiff_t huffman_decode(std::span<const std::uint8_t> coded, char* out);

}  // namespace tocsin::h2
