// SPDX-License-Identifier: Apache-2.0
#include "engine/proxy.h"

#include <charconv>

#include "tls/wipe.h"

namespace tocsin::engine {
namespace {

Error bad(const char* what) {
  return Error{Code::invalid_argument,
               std::string("proxy: ") + what + "; write http://host:port or http://user:password@host:port"};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// RFC 3986 section 2.1. Control characters would end a header field, decoded or not.
bool percent_decode(std::string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return false;
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return false;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return false;
    out += c;
  }
  return true;
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      word = word << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) out += i + j > bytes.size() ? '=' : kDigits[word >> (18 - 6 * j) & 63];
  }
  return out;
}

bool host_text(std::string_view host) {
  for (const char c : host) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                      c == '_';
    if (!good) return false;
  }
  return !host.empty() && host.size() <= 253;
}

}  // namespace

Result<Proxy> parse_proxy(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return bad("its URL must begin with http:// (TLS to the proxy and SOCKS are not spoken)");
  url.remove_prefix(kScheme.size());
  if (url.ends_with('/')) url.remove_suffix(1);
  Proxy proxy;
  std::string_view credentials;
  const std::size_t at = url.rfind('@');
  if (at != std::string_view::npos) {
    credentials = url.substr(0, at);
    url.remove_prefix(at + 1);
  }
  if (url.find_first_of("/?#") != std::string_view::npos) return bad("nothing may stand behind the port");

  std::size_t colon = url.rfind(':');
  if (url.starts_with('[')) {
    const std::size_t bracket = url.find(']');
    if (bracket == std::string_view::npos) return bad("the bracket of an IPv6 address is open");
    if (url.substr(1, bracket - 1).find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos || bracket == 1) {
      return bad("what stands in brackets is no IPv6 address");
    }
    if (bracket + 1 >= url.size() || url[bracket + 1] != ':') return bad("the port is missing");
    colon = bracket + 1;
    proxy.host = url.substr(1, bracket - 1);
  } else {
    if (colon == std::string_view::npos) return bad("the port is missing");
    if (!host_text(url.substr(0, colon))) return bad("the host must be a name or address, an IPv6 address in brackets");
    proxy.host = url.substr(0, colon);
  }
  const std::string_view digits = url.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), proxy.port);
  if (error != std::errc{} || end != digits.data() + digits.size() || proxy.port == 0) {
    return bad("the port must be a number from 1 to 65535");
  }

  if (at != std::string_view::npos) {
    // The first colon parts user and password, so a user's own is %3A; RFC 7617 does not allow it to have one at all.
    const std::size_t part = credentials.find(':');
    std::string user;
    std::string both;
    bool good = percent_decode(credentials.substr(0, part), user) && !user.empty() && user.find(':') == std::string::npos;
    both.reserve(user.size() + 1 + credentials.size());  // once: growing would leave copies behind
    both.append(user).append(":");
    good = good && (part == std::string_view::npos || percent_decode(credentials.substr(part + 1), both));
    if (good) proxy.authorization = "Basic " + base64(both);
    tls::wipe(both.data(), both.size());
    if (!good) return bad("user or password is malformed (a user is needed; %XX for bytes beyond letters, digits and -._~)");
  }
  return proxy;
}

}  // namespace tocsin::engine
