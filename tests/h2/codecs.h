// SPDX-License-Identifier: Apache-2.0
// The client codecs, for suites that run once with each: a fixture that says which one is on, and a maker that follows it.
// Threads, ownership, bounds: a test's.
#pragma once

#include <ostream>

#include <gtest/gtest.h>

#include "h2/fast_client.h"
#include "h2/nghttp2_client.h"

namespace tocsin::h2::test {

struct Codec {
  const char* name = "";
  Result<std::unique_ptr<ClientSession>> (*make_at)(const ClientOptions& options, std::int32_t first_id) = nullptr;
  Result<std::unique_ptr<ClientSession>> make(const ClientOptions& options) const { return make_at(options, 1); }
};
inline std::ostream& operator<<(std::ostream& out, const Codec& codec) { return out << codec.name; }

inline constexpr Codec kFast{"fast", make_fast_client_at}, kNghttp2{"nghttp2", make_nghttp2_client_at};
inline Codec codec = kNghttp2;  // of the test that runs

class EachClient : public testing::TestWithParam<Codec> {
 protected:
  void SetUp() override { codec = GetParam(); }
};
inline std::string codec_name(const testing::TestParamInfo<Codec>& info) { return info.param.name; }

}  // namespace tocsin::h2::test
