// SPDX-License-Identifier: Apache-2.0
// Tunnel: an HTTP proxy asked to pass bytes through to APNs (CONNECT), and its answer.
//
// Source: RFC 9110 section 9.3.6, RFC 9112 sections 4 and 6.3 (an answer of 2xx to CONNECT has no body). Threads: one at a
// time. Bounds: an answer's head of kHeadBytesMax. Errors: a sentence for people, without the credentials.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace tocsin::dispatch {

// `authorization` is the value of Proxy-Authorization, or empty. An IPv6 address may stand in brackets or not.
std::string connect_request(std::string_view host, std::uint16_t port, std::string_view authorization);

class TunnelAnswer {
 public:
  static constexpr std::size_t kHeadBytesMax = 8 * 1024;

  enum class State : std::uint8_t { more, open, refused };

  // Takes bytes as they come, until the state is no longer `more`; `used` says how many were the proxy's own, what is
  // behind them is the tunnel's. Not to be called afterwards. The text of a refusal is ours alone: nothing of what
  // the proxy wrote stands in it but the status.
  State feed(base::ByteView bytes, std::size_t& used);

  unsigned status() const { return status_; }
  const std::string& text() const { return text_; }  // why it was refused
  bool definite() const { return definite_; }        // another try will not cure it

 private:
  State end_of_head();
  State refuse(std::string text, bool definite);
  State refuse_garbage();

  std::string line_;  // the line being read, without its end
  std::size_t bytes_ = 0;
  unsigned status_ = 0;
  bool status_read_ = false;
  bool definite_ = false;
  std::string text_;
};

}  // namespace tocsin::dispatch
