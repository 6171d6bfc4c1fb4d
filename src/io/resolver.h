// SPDX-License-Identifier: Apache-2.0
// Resolver: name to all its addresses, on threads of its own (getaddrinfo blocks). A fresh query each time: nothing is cached, as
// Apple asks of providers; requests for one host that wait together share the next query for it.
//
// Threads: resolve() from any thread; `done` is called on a thread of the resolver, or on the caller's when the name is an
// address literal; it must be quick (post and wake). Up to kThreadsMax threads, made when names wait; a host occupies at most
// one of them, so that a slow name does not hold up others. Bounds: requests_max waiting; beyond that, `done` gets an
// error at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <tocsin/result.h>

#include "io/driver.h"

namespace tocsin::io {

class Resolver {
 public:
  using Done = std::function<void(Result<std::vector<Address>>)>;

  static constexpr std::size_t kThreadsMax = 4;
  // One query, as the system's resolver answers it; called on several threads at once.
  using Query = std::function<Result<std::vector<Address>>(const std::string& host)>;

  // `query` in place of the system's (tests).
  explicit Resolver(std::size_t requests_max = 1024, Query query = {});
  ~Resolver();  // waits for the queries under way (bounded by the system resolver's own time-out); drops the rest

  void resolve(std::string host, std::uint16_t port, Done done);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tocsin::io
