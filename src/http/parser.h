// SPDX-License-Identifier: Apache-2.0
// Parser: bytes to requests, one connection's worth; Boost.Beast stands behind it, in parser.cc alone.
//
// Threads: one at a time. Ownership: owns the unread bytes. Bounds: head_bytes_max; what a client sends
// ahead (pipelining) is kept up to that much too.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "http/server.h"

namespace tocsin::http {

enum class Parsed : unsigned char {
  more,     // the head is not complete yet
  request,  // one request; call next() again for what was sent ahead
  refused,  // answer with `refusal` and close
};

struct Incoming {
  Request request;
  bool keep_alive = false;
  Response refusal;
  bool allow_header = false;  // 405 names what is allowed
};

class Parser {
 public:
  explicit Parser(std::size_t head_bytes_max);
  ~Parser();

  void feed(std::string_view bytes);
  Parsed next(Incoming& out);
  bool idle() const;  // nothing of a request has been read

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Status line, fields and (unless `head_only`) the body.
std::string serialise(const Response& response, bool keep_alive, bool head_only, bool allow_header);

}  // namespace tocsin::http
