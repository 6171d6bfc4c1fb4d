// SPDX-License-Identifier: Apache-2.0
// Byte views and the append buffer that rooms pass to one another.
//
// ByteBuffer: bytes are appended at the end and consumed from the front; memory is kept between uses, so
// that a warmed-up buffer does not allocate. Threads: one at a time. Ownership: owns its bytes; views
// from readable() and the pointer from prepare() live until the next non-const call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "base/assertion.h"

namespace tocsin::base {

using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// memcpy for what is mostly short: up to 64 bytes take two copies that may overlap, and no call.
inline void copy_short(void* to, const void* from, std::size_t bytes) {
  auto* const out = static_cast<std::byte*>(to);
  const auto* const in = static_cast<const std::byte*>(from);
  const auto both_ends = [=]<class Word>(Word) {
    Word first, last;
    std::memcpy(&first, in, sizeof(Word));
    std::memcpy(&last, in + bytes - sizeof(Word), sizeof(Word));
    std::memcpy(out, &first, sizeof(Word));
    std::memcpy(out + bytes - sizeof(Word), &last, sizeof(Word));
  };
  struct Half { std::uint64_t words[2]; };
  struct Whole { std::uint64_t words[4]; };
  if (bytes > 64) {
    std::memcpy(out, in, bytes);
  } else if (bytes > 32) {
    both_ends(Whole{});
  } else if (bytes > 16) {
    both_ends(Half{});
  } else if (bytes >= 8) {
    both_ends(std::uint64_t{});
  } else if (bytes >= 4) {
    both_ends(std::uint32_t{});
  } else if (bytes >= 2) {
    both_ends(std::uint16_t{});
  } else if (bytes == 1) {
    *out = *in;
  }
}

class ByteBuffer {
 public:
  ByteBuffer() = default;
  explicit ByteBuffer(std::size_t capacity) { reserve(capacity); }
  ByteBuffer(ByteBuffer&& other) noexcept { swap(other); }
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  std::size_t capacity() const { return capacity_; }

  ByteView readable() const { return {data_.get() + begin_, size()}; }
  std::byte* mutable_begin() { return data_.get() + begin_; }

  // Room for at least `bytes` more at the end; call commit() with how many were filled.
  std::byte* prepare(std::size_t bytes) {
    if (capacity_ - end_ < bytes) grow(bytes);
    return data_.get() + end_;
  }
  void commit(std::size_t bytes) {
    TOCSIN_ASSERT(bytes <= capacity_ - end_);
    end_ += bytes;
  }

  void append(ByteView bytes) {
    if (bytes.empty()) return;
    std::memcpy(prepare(bytes.size()), bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  void append(std::string_view text) { append(as_bytes(text)); }

  void consume(std::size_t bytes) {
    TOCSIN_ASSERT(bytes <= size());
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void clear() { begin_ = end_ = 0; }
  // Moves what is unread to the front, so that the memory in use stays the same small piece.
  void compact() {
    if (begin_ == 0) return;
    std::memmove(data_.get(), data_.get() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
  }
  void reserve(std::size_t bytes) {
    if (capacity_ - begin_ < bytes) grow(bytes - size());
  }
  void swap(ByteBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  void grow(std::size_t bytes);

  std::unique_ptr<std::byte[]> data_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace tocsin::base
