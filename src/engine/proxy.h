// SPDX-License-Identifier: Apache-2.0
// The proxy of a credential, from its URL. Pure; threads: any. Errors name the field `proxy` and never show the URL, which
// holds a password.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tocsin/result.h>

namespace tocsin::engine {

struct Proxy {
  std::string host;
  std::uint16_t port = 0;
  std::string authorization;  // "Basic ..." (RFC 7617), a secret; empty without user and password
};

// "http://[user[:password]@]host:port[/]".
Result<Proxy> parse_proxy(std::string_view url);

}  // namespace tocsin::engine
