// SPDX-License-Identifier: Apache-2.0
// RequestBody: a body's shape (base/fields.h) as a session keeps it, and how long a body of it is and which bytes it has.
// Threads: one at a time. Ownership: owns the constants. Bounds: none of its own.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "base/assertion.h"
#include "base/bytes.h"
#include "base/fields.h"
#include "base/hex.h"

namespace tocsin::h2 {

class RequestBody {
 public:
  static constexpr std::size_t kUuidBytes = 16;
  using UuidText = std::array<char, base::kUuidTextBytes>;

  explicit RequestBody(const base::BodyShape& shape)
      : before_(shape.before), after_(shape.after), content_(shape.content), format_(shape.format) {
    TOCSIN_ASSERT(!content_ || format_ == base::SlotFormat::text || uuid());
  }

  std::string_view before() const { return before_; }
  std::string_view after() const { return after_; }
  bool fixed() const { return !content_; }
  bool uuid() const { return content_ && (format_ == base::SlotFormat::uuid || format_ == base::SlotFormat::uuid_upper); }
  bool upper() const { return format_ == base::SlotFormat::uuid_upper; }

  // Of a body whose content has `raw` bytes.
  std::size_t bytes(std::size_t raw) const {
    const std::size_t constants = before_.size() + after_.size();
    if (!content_) return constants;
    return constants + (format_ == base::SlotFormat::text ? raw : base::kUuidTextBytes);
  }
  // The content as it goes out; a UUID's text is put into `text`.
  base::ByteView shown(base::ByteView content, UuidText& text) const {
    if (!content_) return {};
    if (format_ == base::SlotFormat::text) return content;
    TOCSIN_ASSERT(content.size() == kUuidBytes);
    base::uuid_format(reinterpret_cast<const std::uint8_t*>(content.data()), text.data(), upper());
    return std::as_bytes(std::span(text));
  }

 private:
  std::string before_;
  std::string after_;
  bool content_;
  base::SlotFormat format_;
};

}  // namespace tocsin::h2
