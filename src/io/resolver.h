// SPDX-License-Identifier: Apache-2.0
// Resolver: name to addresses, on one thread of its own (getaddrinfo blocks). A fresh query each time;
// nothing is cached, as Apple asks of providers.
//
// Threads: resolve() from any thread; `done` is called on the resolver's thread, or on the caller's when
// the name is an address literal; it must be quick (post and wake). Bounds: requests_max waiting; beyond that, `done` gets an error at once.
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

  explicit Resolver(std::size_t requests_max = 1024);
  ~Resolver();  // waits for a query under way (bounded by the system resolver's own time-out); drops the rest

  void resolve(std::string host, std::uint16_t port, Done done);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tocsin::io
