// SPDX-License-Identifier: Apache-2.0
// Reach: what a shard has learned about one endpoint: which of its ports and addresses to try next, whether it is taken
// for down, and how many dials it may see at once.
//
// One per endpoint (host, ports, proxy), shared by every credential that goes there: during an outage 500 tenants are one
// dialling loop and not 500. A breaker opens after a few network failures in a row; from then on there is one dial at a
// time, with full jitter; when one reaches SETTINGS, the number of dials allowed at once grows again by doubling.
// Ports: two failures in a row change to the alternate (443 and 2197 at Apple), and from time to time one dial tries the
// first again. Addresses (Apple: query before each connection, spread over what comes): one that failed lately is
// avoided, then one in use.
// What is the endpoint's: ports, addresses, the breaker and its back-off. What is a credential's stays with it: that its
// certificate is refused, that its configuration is wrong, that its connections do not last; and a TLS or HTTP/2 failure
// while another connection to the endpoint is up. The bounds of the back-off are the longest that a credential asks for.
// Several dials may be under way when an endpoint goes away; they are one outage: what they say afterwards neither
// lengthens the back-off nor speaks about a port that was left meanwhile.
//
// Threads: one at a time. Bounds: kAddressesMax remembered addresses, or as many as are in use. Time and chance come in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/address.h"
#include "base/now.h"
#include "base/prng.h"

namespace tocsin::dispatch {

struct ReachOptions {
  std::uint16_t port = 443;
  std::uint16_t alternate_port = 0;  // 0: none
  std::int64_t backoff_min_ns = 100 * base::kMillisecond;
  std::int64_t backoff_max_ns = 30 * base::kSecond;
  std::int64_t return_to_port_ns = 600 * base::kSecond;
  unsigned breaker_failures = 3;  // 0 as 1
};

class Reach {
 public:
  static constexpr std::size_t kAddressesMax = 64;

  explicit Reach(const ReachOptions& options);

  // When a dial may start: at once if that is not later than `now`; kNever while dials under way are to be awaited.
  std::int64_t may_dial_at() const;

  // A dial starts; answers its port. One dial_failed or dial_reached follows.
  std::uint16_t dial_started(std::int64_t now);

  struct Choice {
    std::size_t index = 0;
    bool others_fresh = false;  // another address has not failed lately, and this one had not either: if this dial
                                // fails, another may do
  };
  Choice choose(std::span<const base::Address> addresses, std::int64_t now, base::Prng& chance);
  void address_used(const base::Address& address, int change);  // 1: a connection more, -1: one less
  void address_failed(const base::Address& address, std::int64_t now);

  // network: the way there failed; not ours alone (a certificate of ours), and not that another address is tried.
  void dial_failed(std::int64_t now, std::uint16_t port, bool network, base::Prng& chance);
  void dial_reached(std::uint16_t port, const base::Address& address);  // SETTINGS were read
  void connection_gone();  // one that had been reached
  unsigned connections() const { return connections_; }
  // Another credential's bounds: the longer ones count.
  void widen(std::int64_t backoff_min_ns, std::int64_t backoff_max_ns);

  // After an outage: what becomes ready from now on begins slowly (Ramp), until one connection has shown that all is well.
  void begin_recovery() { recovering_ = true; }
  void recovered() { recovering_ = false; }
  bool recovering() const { return recovering_; }

  bool down() const { return down_; }
  std::uint16_t port() const { return on_alternate_ ? options_.alternate_port : options_.port; }
  unsigned under_way() const { return under_way_; }
  std::size_t addresses_known() const { return known_.size(); }

 private:
  struct Known {
    base::Address address;
    std::int64_t failed_at = 0;
    unsigned failures = 0;  // in a row
    unsigned used = 0;      // connections
  };
  std::vector<Known>::iterator find(const base::Address& address);
  Known& known(const base::Address& address);
  void forget_if_plain(std::vector<Known>::iterator known);
  void shrink(std::size_t most);
  static bool avoid(const Known& known, std::int64_t now);
  void wait(std::int64_t now, base::Prng& chance);

  ReachOptions options_;
  std::vector<Known> known_;
  unsigned under_way_ = 0;
  unsigned connections_ = 0;    // reached and not gone
  unsigned strays_ = 0;         // of these, from before the endpoint was taken for down
  unsigned failures_ = 0;       // network failures in a row
  unsigned port_failures_ = 0;  // the same, of the port in use
  bool on_alternate_ = false;
  bool returning_ = false;      // a dial tries the first port again
  std::int64_t alternate_since_ = 0;  // or since the last such try
  bool down_ = false;
  bool recovering_ = false;
  std::int64_t next_dial_ = 0;
  unsigned at_once_ = 0;        // dials allowed at once; 0: as many as the budgets give
};

}  // namespace tocsin::dispatch
