// SPDX-License-Identifier: Apache-2.0
// Server: HTTP/1.1 for admin and metrics addresses: GET and HEAD, keep-alive, no bodies, no TLS. Meant for
// loopback and scrapers, not for the open network.
//
// Threads: start() and stop() from one thread; the handler is called on the server's own thread, one
// request at a time, and should answer quickly. Ownership: owns its thread and sockets; stop() (or the
// destructor) ends both. Bounds: 64 connections (further ones wait in the kernel's backlog until one
// ends), 8 KiB of request head, 10 s for a request to arrive, for a response to leave, or idle.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tocsin/result.h>

namespace tocsin::http {

struct Request {
  std::string method;  // "GET" or "HEAD"; anything else is answered before the handler
  std::string path;    // without the query
  std::string query;   // behind the "?", as it came
};

struct Response {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// {"error":"..."} with a JSON content type.
Response json_error(unsigned status, std::string_view text);

using Handler = std::function<Response(const Request&)>;

struct ServerOptions {
  unsigned connections_max = 64;
  std::size_t head_bytes_max = 8 * 1024;
  int timeout_ms = 10'000;
};

class Server {
 public:
  // `address` as io::parse_address reads it; port 0 lets the kernel choose. The error says which address
  // could not be bound, why, and what to do.
  static Result<std::unique_ptr<Server>> start(std::string_view address, Handler handler,
                                               const ServerOptions& options = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The bound address with its real port, "127.0.0.1:9090".
  const std::string& address() const;

  void stop();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tocsin::http
