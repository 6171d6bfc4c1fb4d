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
