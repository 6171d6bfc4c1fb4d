// SPDX-License-Identifier: Apache-2.0
#include "dispatch/reach.h"

#include <algorithm>
#include <tuple>

#include "base/assertion.h"

namespace tocsin::dispatch {
namespace {

constexpr unsigned kPortFailures = 2;
constexpr unsigned kAtOnceEnough = 256;
// How long an address is avoided after its first failure; doubles with each, to about five minutes.
constexpr std::int64_t kAvoidNs = 10 * base::kSecond;
constexpr unsigned kAvoidDoublings = 5;
constexpr unsigned kFailuresMax = 1'000'000;
// Doublings of the back-off that are told apart; more than any sensible bound needs.
constexpr unsigned kBackoffDoublings = 62;

}  // namespace

Reach::Reach(const ReachOptions& options) : options_(options) {
  if (options_.alternate_port == options_.port) options_.alternate_port = 0;
  options_.backoff_max_ns = std::max<std::int64_t>(options_.backoff_max_ns, 1);
  options_.backoff_min_ns = std::clamp<std::int64_t>(options_.backoff_min_ns, 1, options_.backoff_max_ns);
  options_.breaker_failures = std::clamp(options_.breaker_failures, 1u, kFailuresMax);
}

void Reach::widen(std::int64_t backoff_min_ns, std::int64_t backoff_max_ns) {
  options_.backoff_max_ns = std::max(options_.backoff_max_ns, backoff_max_ns);
  options_.backoff_min_ns = std::clamp(backoff_min_ns, options_.backoff_min_ns, options_.backoff_max_ns);
}

void Reach::connection_gone() {
  TOCSIN_ASSERT(connections_ != 0);
  --connections_;
}

std::int64_t Reach::may_dial_at() const {
  if (down_) return under_way_ != 0 ? base::kNever : next_dial_;
  if (at_once_ != 0 && under_way_ >= at_once_) return base::kNever;
  return 0;
}

std::uint16_t Reach::dial_started(std::int64_t now) {
  ++under_way_;
  if (on_alternate_ && !returning_ && now - alternate_since_ >= options_.return_to_port_ns) {
    alternate_since_ = now;  // one dial tries; the others stay
    returning_ = true;
    return options_.port;
  }
  return port();
}

std::vector<Reach::Known>::iterator Reach::find(const base::Address& address) {
  return std::find_if(known_.begin(), known_.end(), [&](const Known& each) { return each.address == address; });
}

Reach::Known& Reach::known(const base::Address& address) {
  const auto found = find(address);
  if (found != known_.end()) return *found;
  shrink(kAddressesMax - 1);
  return known_.emplace_back(Known{address, 0, 0, 0});
}

void Reach::forget_if_plain(std::vector<Known>::iterator known) {
  if (known->failures == 0 && known->used == 0) known_.erase(known);
}

// Those go whose failure is longest ago, among those without a connection (a connection will be counted down again).
void Reach::shrink(std::size_t most) {
  while (known_.size() > most) {
    auto oldest = known_.end();
    for (auto each = known_.begin(); each != known_.end(); ++each) {
      if (each->used == 0 && (oldest == known_.end() || each->failed_at < oldest->failed_at)) oldest = each;
    }
    if (oldest == known_.end()) return;
    known_.erase(oldest);
  }
}

bool Reach::avoid(const Known& known, std::int64_t now) {
  return known.failures != 0 && now - known.failed_at < kAvoidNs << std::min(known.failures - 1, kAvoidDoublings);
}

Reach::Choice Reach::choose(std::span<const base::Address> addresses, std::int64_t now, base::Prng& chance) {
  TOCSIN_ASSERT(!addresses.empty());
  Choice choice;
  // Avoided or not; of the avoided the one whose failure is longest ago, of the others the least used.
  std::tuple<bool, std::int64_t, unsigned, std::uint64_t> best;
  std::size_t fresh = addresses.size();  // the first that need not be avoided
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto each = find(addresses[i]);
    const bool seen = each != known_.end();
    const bool avoided = seen && avoid(*each, now);
    const std::tuple<bool, std::int64_t, unsigned, std::uint64_t> rank(avoided, avoided ? each->failed_at : 0,
                                                                       seen ? each->used : 0, chance.next());
    if (!avoided) {
      if (fresh == addresses.size()) fresh = i;
      // A name may give one address twice.
      else if (addresses[i] != addresses[fresh]) choice.others_fresh = true;
    }
    if (i != 0 && best < rank) continue;
    best = rank;
    choice.index = i;
  }
  return choice;
}

void Reach::address_used(const base::Address& address, int change) {
  if (change > 0) {
    ++known(address).used;
    return;
  }
  const auto each = find(address);
  TOCSIN_ASSERT(each != known_.end() && each->used != 0);
  --each->used;
  forget_if_plain(each);
  shrink(kAddressesMax);
}

void Reach::address_failed(const base::Address& address, std::int64_t now) {
  Known& each = known(address);
  // Dials that were under way together fail together; that is one failure.
  if (!avoid(each, now)) each.failures = std::min(each.failures + 1, kAvoidDoublings + 1);
  each.failed_at = now;
}

// Full jitter: anywhere between 0 and the doubled bound.
void Reach::wait(std::int64_t now, base::Prng& chance) {
  std::int64_t bound = options_.backoff_min_ns;
  for (unsigned i = options_.breaker_failures; i < failures_ && bound < options_.backoff_max_ns; ++i) {
    bound = bound > options_.backoff_max_ns / 2 ? options_.backoff_max_ns : bound * 2;
  }
  next_dial_ = now + 1 + static_cast<std::int64_t>(chance.below(static_cast<std::uint64_t>(bound)));
}

void Reach::dial_failed(std::int64_t now, std::uint16_t port_used, bool network, base::Prng& chance) {
  TOCSIN_ASSERT(under_way_ != 0);
  --under_way_;
  const bool stray = strays_ != 0;
  if (stray) --strays_;
  const bool returning = returning_ && port_used == options_.port;
  if (returning) returning_ = false;
  if (!network) {
    // The first port was not truly tried (or works): the next dial tries it.
    if (returning && on_alternate_) alternate_since_ = now - options_.return_to_port_ns;
    return;
  }
  if (stray) return wait(now, chance);
  // That the first port is still dead says nothing about the one in use.
  if (returning && on_alternate_ && !down_) return;
  failures_ = failures_ < options_.breaker_failures + kBackoffDoublings ? failures_ + 1 : failures_;
  if (options_.alternate_port != 0 && port_used == port() && ++port_failures_ >= kPortFailures) {
    on_alternate_ = !on_alternate_;
    alternate_since_ = now;
    port_failures_ = 0;
  }
  if (failures_ < options_.breaker_failures) return;
  if (!down_) {
    down_ = true;
    strays_ = under_way_;
  }
  wait(now, chance);
}

void Reach::dial_reached(std::uint16_t port_used, const base::Address& address) {
  TOCSIN_ASSERT(under_way_ != 0);
  --under_way_;
  ++connections_;
  strays_ = 0;
  const auto each = find(address);
  if (each != known_.end()) {
    each->failures = 0;
    forget_if_plain(each);
  }
  failures_ = 0;
  if (port_used == options_.port) {
    on_alternate_ = false;
    returning_ = false;
  }
  if (port_used == port()) port_failures_ = 0;
  if (down_) {
    down_ = false;
    at_once_ = 1;
  }
  if (at_once_ != 0) {
    at_once_ *= 2;
    if (at_once_ >= kAtOnceEnough) at_once_ = 0;
  }
}

}  // namespace tocsin::dispatch
