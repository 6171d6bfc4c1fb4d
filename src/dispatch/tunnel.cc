// SPDX-License-Identifier: Apache-2.0
#include "dispatch/tunnel.h"

#include <utility>

namespace tocsin::dispatch {

std::string connect_request(std::string_view host, std::uint16_t port, std::string_view authorization) {
  const bool v6 = host.find(':') != std::string_view::npos;
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
      continue;
    }
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    const std::string line = std::exchange(line_, {});
    if (!status_read_) {
      // HTTP/1.1 200 Connection established
      const auto digit = [&](std::size_t i) { return line[i] >= '0' && line[i] <= '9'; };
      if (line.size() < 12 || !line.starts_with("HTTP/1.") || !digit(7) || line[8] != ' ' || !digit(9) || !digit(10) ||
          !digit(11) || (line.size() > 12 && line[12] != ' ')) {
        return refuse("the proxy did not answer CONNECT in HTTP/1.1; is it an HTTP proxy?", true);
      }
      status_ = static_cast<unsigned>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
      status_read_ = true;
    } else if (line.empty()) {
      if (status_ >= 200) return end_of_head();
      status_read_ = false;  // an interim answer; the final one follows
    }
  }
  return State::more;
}

TunnelAnswer::State TunnelAnswer::end_of_head() {
  if (status_ < 300) return State::open;
  const std::string number = std::to_string(status_);
  switch (status_) {
    case 407: return refuse("the proxy refuses the user name and password it was given, or wants some (407)", true);
    case 403:
    case 405: return refuse("the proxy does not allow CONNECT to this host and port (" + number + ")", true);
    default: return refuse("the proxy could not connect: it answered " + number, false);
  }
}

}  // namespace tocsin::dispatch
