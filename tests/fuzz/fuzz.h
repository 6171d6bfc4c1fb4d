// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share: a check that ends the process, and readers that turn an input's first bytes into choices.
//
// A target is one LLVMFuzzerTestOneInput() in one file. tools/fuzz links it with libFuzzer; the tests link it with
// replay_main.cc, which plays a folder of inputs. Threads: one. Ownership: all views are into the fuzzer's bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <tocsin/export.h>

#include "base/bytes.h"

// Visible: libFuzzer looks for it, and the build hides everything else.
extern "C" TOCSIN_API int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace tocsin::fuzz {

// A property that must hold for every input. Always on; the fuzzer keeps the input that broke it.
#define FUZZ_CHECK(expression)                                                                  \
  do {                                                                                          \
    if (!(expression)) {                                                                        \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #expression);      \
      std::abort();                                                                             \
    }                                                                                           \
  } while (false)

// Choices from the front of an input; once it is used up all further choices are 0.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  explicit Choices(std::string_view bytes) : rest_(bytes) {}

  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  std::uint32_t word() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | byte();
    return value;
  }
  std::string_view take(std::size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() { return take(rest_.size()); }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// How the rest of an input is cut into pieces: a byte that says how many choices follow, then one byte a piece. What
// is behind the last choice comes in one piece. The text itself stays whole, so that dictionaries and splices work.
class Cuts {
 public:
  explicit Cuts(Choices& choices) : plan_(choices.take(choices.byte() % 64)) {}

  // The next piece of `bytes`, which gets shorter; `deed` is what else to do before it, 0 to 7, 0 without a choice.
  std::string_view next(std::string_view& bytes, unsigned& deed) {
    std::size_t size = bytes.size();
    deed = 0;
    if (!plan_.empty()) {
      const std::uint8_t choice = plan_.byte();
      deed = choice >> 5;
      const std::size_t step = choice & 31u;
      size = step < 16 ? step : (step - 15) * (step - 15) * 4;
    }
    const std::string_view piece = bytes.substr(0, size);
    bytes.remove_prefix(piece.size());
    return piece;
  }
  bool more() const { return !plan_.empty(); }

 private:
  Choices plan_;
};

// A copy on the heap of exactly these bytes, so that the address sanitizer sees any look beyond them.
class Exact {
 public:
  explicit Exact(std::string_view bytes)
      : bytes_(static_cast<char*>(std::malloc(bytes.empty() ? 1 : bytes.size()))), size_(bytes.size()) {
    FUZZ_CHECK(bytes_ != nullptr);
    bytes.copy(bytes_, size_);
  }
  ~Exact() { std::free(bytes_); }
  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;
  std::string_view text() const { return {bytes_, size_}; }
  base::ByteView bytes() const { return base::as_bytes(text()); }

 private:
  char* bytes_;
  std::size_t size_;
};

// Reads every byte of a view, so that a dead one is noticed.
inline void touch(std::string_view text) {
  unsigned sum = 0;
  for (const char c : text) sum = sum * 31 + static_cast<unsigned char>(c);
  asm volatile("" : : "r"(sum));
}
inline void touch(base::ByteView bytes) { touch(base::as_text(bytes)); }

// No control characters: fit for a terminal and a log.
inline bool printable(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

// A file in memory that has a path, for readers that open one.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

}  // namespace tocsin::fuzz
