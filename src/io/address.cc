// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cstring>
#include <ctime>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "io/driver.h"

namespace tocsin::io {

static_assert(sizeof(sockaddr_in6) == sizeof(base::Address::storage));

std::string Address::text() const {
  char host[INET6_ADDRSTRLEN] = {};
  if (size == sizeof(sockaddr_in)) {
    sockaddr_in in;
    std::memcpy(&in, storage, sizeof(in));
    ::inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
    return std::string(host) + ":" + std::to_string(ntohs(in.sin_port));
  }
  if (size == sizeof(sockaddr_in6)) {
    sockaddr_in6 in;
    std::memcpy(&in, storage, sizeof(in));
    ::inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof(host));
    return std::string("[").append(host).append("]:") + std::to_string(ntohs(in.sin6_port));
  }
  return "(no address)";
}

namespace {

Error bad_address(std::string_view text, const char* what) {
  std::string message("'");
  message.append(text).append("' is no address: ").append(what);
  message.append("; write 127.0.0.1:2197, [::1]:2197 or :2197 (any IPv4 interface)");
  return {Code::invalid_argument, std::move(message)};
}

bool parse_port(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

template <class T>
Address address_of(const T& in) {
  Address address;
  std::memcpy(address.storage, &in, sizeof(in));
  address.size = sizeof(in);
  return address;
}

}  // namespace

// ":port" is the IPv4 wildcard, because a machine without IPv6 has no other; "[::]:port" names both.
Result<Address> parse_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  std::uint16_t port = 0;
  if (colon == std::string_view::npos) return bad_address(text, "the port is missing");
  if (!parse_port(text.substr(colon + 1), port)) return bad_address(text, "the port is no number from 0 to 65535");
  std::string host(text.substr(0, colon));
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';

  if (bracketed) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    host = host.substr(1, host.size() - 2);
    if (::inet_pton(AF_INET6, host.c_str(), &in.sin6_addr) != 1) {
      return bad_address(text, "what stands in brackets is no IPv6 address");
    }
    return address_of(in);
  }
  if (host.find(':') != std::string::npos) return bad_address(text, "an IPv6 address needs brackets");
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  if (!host.empty() && ::inet_pton(AF_INET, host.c_str(), &in.sin_addr) != 1) {
    return bad_address(text, "the host is no numeric IPv4 address");
  }
  return address_of(in);
}

base::Now clock_now() {
  timespec mono{};
  timespec wall{};
  ::clock_gettime(CLOCK_MONOTONIC, &mono);
  ::clock_gettime(CLOCK_REALTIME, &wall);
  return {mono.tv_sec * base::kSecond + mono.tv_nsec, wall.tv_sec * base::kSecond + wall.tv_nsec};
}

}  // namespace tocsin::io
