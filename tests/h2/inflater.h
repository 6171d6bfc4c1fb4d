// SPDX-License-Identifier: Apache-2.0
// nghttp2's decoder of header blocks, for tests of what ours writes.
// Threads, ownership, bounds: a test's.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

namespace tocsin::h2::test {

using Fields = std::vector<std::pair<std::string, std::string>>;

class Inflater {
 public:
  Inflater() { EXPECT_EQ(nghttp2_hd_inflate_new(&inflater_), 0); }
  ~Inflater() { nghttp2_hd_inflate_del(inflater_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  void set_limit(std::uint32_t bytes) { EXPECT_EQ(nghttp2_hd_inflate_change_table_size(inflater_, bytes), 0); }
  std::optional<Fields> read(std::string block) {
    Fields fields;
    auto* at = reinterpret_cast<std::uint8_t*>(block.data());
    std::size_t left = block.size();
    for (;;) {
      nghttp2_nv field{};
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, 1);
      if (used < 0) return {};
      at += used;
      left -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        fields.emplace_back(std::string(reinterpret_cast<char*>(field.name), field.namelen),
                            std::string(reinterpret_cast<char*>(field.value), field.valuelen));
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    return fields;
  }
  std::size_t table_bytes() const { return nghttp2_hd_inflate_get_dynamic_table_size(inflater_); }

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

}  // namespace tocsin::h2::test
