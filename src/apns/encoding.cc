// SPDX-License-Identifier: Apache-2.0
#include "apns/encoding.h"

namespace tocsin::apns {
namespace {

constexpr std::string_view kUrlAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// -1 for what is in neither alphabet. `c62` and `c63` are the two characters in which they differ.
int digit_of(char c, char c62, char c63) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == c62) return 62;
  return c == c63 ? 63 : -1;
}

// Takes digits and gives bytes; says at the end whether the last digits came out even.
class Digits {
 public:
  template <class Out>
  void take(unsigned digit, Out& out) {
    bits_ = (bits_ << 6 | digit) & 0xfff;
    held_ += 6;
    ++count_;
    if (held_ < 8) return;
    held_ -= 8;
    out.push_back(static_cast<typename Out::value_type>(bits_ >> held_ & 0xff));
  }
  bool even() const { return held_ < 6 && (bits_ & ((1u << held_) - 1)) == 0; }
  std::size_t count() const { return count_; }

 private:
  unsigned bits_ = 0;
  unsigned held_ = 0;
  std::size_t count_ = 0;
};

bool is_space(char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; }

}  // namespace

void append_base64url(std::string_view bytes, std::string& out) {
  unsigned bits = 0;
  unsigned held = 0;
  for (const char c : bytes) {
    bits = (bits << 8 | static_cast<unsigned char>(c)) & 0xffff;
    for (held += 8; held >= 6;) {
      held -= 6;
      out.push_back(kUrlAlphabet[bits >> held & 63]);
    }
  }
  if (held != 0) out.push_back(kUrlAlphabet[bits << (6 - held) & 63]);
}

bool decode_base64url(std::string_view text, std::string& out) {
  out.clear();
  Digits digits;
  for (const char c : text) {
    const int digit = digit_of(c, '-', '_');
    if (digit < 0) return false;
    digits.take(static_cast<unsigned>(digit), out);
  }
  return digits.even();
}

std::vector<PemText> pem_texts(std::string_view text) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  constexpr std::string_view kDashes = "-----";
  std::vector<PemText> blocks;
  while (true) {
    const std::size_t begin = text.find(kBegin);
    if (begin == std::string_view::npos) return blocks;
    text.remove_prefix(begin + kBegin.size());
    const std::size_t label_end = text.find(kDashes);
    if (label_end == std::string_view::npos) return blocks;
    const std::string_view label = text.substr(0, label_end);
    if (label.find('\n') != std::string_view::npos) continue;  // the dashes of another line
    text.remove_prefix(label_end + kDashes.size());
    const std::size_t end = text.find("-----END " + std::string(label) + "-----");
    if (end == std::string_view::npos) continue;
    blocks.push_back({label, text.substr(0, end)});
    text.remove_prefix(end);
  }
}

bool decode_pem_body(std::string_view body, std::vector<std::uint8_t>& out) {
  out.clear();
  out.reserve(body.size() / 4 * 3 + 3);  // one block of memory, so that a secret is wiped as a whole
  Digits digits;
  std::size_t padding = 0;
  for (const char c : body) {
    if (is_space(c)) continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    const int digit = digit_of(c, '+', '/');
    if (digit < 0 || padding != 0) return false;
    digits.take(static_cast<unsigned>(digit), out);
  }
  return digits.even() && padding <= 2 && (digits.count() + padding) % 4 == 0;
}

}  // namespace tocsin::apns
