// SPDX-License-Identifier: Apache-2.0
#include "dispatch/tunnel.h"

#include <algorithm>
#include <utility>

namespace tocsin::dispatch {
namespace {

constexpr std::string_view kVersion = "HTTP/1.";
constexpr unsigned kSwitchingProtocols = 101;  // never asked for; nothing follows it
constexpr std::size_t kStatusAt = 9;  // HTTP/1.1 200 Connection established

bool digit(char c) { return c >= '0' && c <= '9'; }

// False once `line`, read so far, can no longer become a status line.
bool may_be_status(std::string_view line) {
  const std::size_t size = std::min(line.size(), kVersion.size());
  return line.substr(0, size) == kVersion.substr(0, size);
}

// 0: not a status line.
unsigned status_of(std::string_view line) {
  if (line.size() < kStatusAt + 3 || !line.starts_with(kVersion) || !digit(line[7]) || line[8] != ' ') return 0;
  if (line.size() > kStatusAt + 3 && line[kStatusAt + 3] != ' ') return 0;
  unsigned status = 0;
  for (const char c : line.substr(kStatusAt, 3)) {
    if (!digit(c)) return 0;
    status = status * 10 + static_cast<unsigned>(c - '0');
  }
  return status < 100 ? 0 : status;
}

}  // namespace

std::string connect_request(std::string_view host, std::uint16_t port, std::string_view authorization) {
  const bool v6 = host.find(':') != std::string_view::npos && !host.starts_with('[');
  std::string target;
  if (v6) target += '[';
  target += host;
  if (v6) target += ']';
  target += ':' + std::to_string(port);
  std::string request = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n";
  if (!authorization.empty()) request.append("Proxy-Authorization: ").append(authorization).append("\r\n");
  return request + "\r\n";
}

TunnelAnswer::State TunnelAnswer::refuse(std::string text, bool definite) {
  text_ = std::move(text);
  definite_ = definite;
  return State::refused;
}

TunnelAnswer::State TunnelAnswer::feed(base::ByteView bytes, std::size_t& used) {
  for (used = 0; used < bytes.size();) {
    const char c = static_cast<char>(bytes[used++]);
    if (++bytes_ > kHeadBytesMax) return refuse("the proxy's answer to CONNECT has no end", true);
    if (c != '\n') {
      line_ += c;
      // What is no HTTP may never end a line, and would be waited for.
      if (!status_read_ && !may_be_status(line_)) return refuse_garbage();
      continue;
    }
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    const std::string line = std::exchange(line_, {});
    if (!status_read_) {
      status_ = status_of(line);
      if (status_ == 0) return refuse_garbage();
      status_read_ = true;
    } else if (line.empty()) {
      if (status_ >= 200 || status_ == kSwitchingProtocols) return end_of_head();
      status_read_ = false;  // an interim answer; the final one follows
    }
  }
  return State::more;
}

TunnelAnswer::State TunnelAnswer::refuse_garbage() {
  return refuse("the proxy did not answer CONNECT in HTTP/1.1; is it an HTTP proxy?", true);
}

TunnelAnswer::State TunnelAnswer::end_of_head() {
  if (status_ >= 200 && status_ < 300) return State::open;
  const std::string number = std::to_string(status_);
  switch (status_) {
    case 407: return refuse("the proxy refuses the user name and password it was given, or wants some (407)", true);
    case 403:
    case 405: return refuse("the proxy does not allow CONNECT to this host and port (" + number + ")", true);
    default: return refuse("the proxy could not connect: it answered " + number, false);
  }
}

}  // namespace tocsin::dispatch
