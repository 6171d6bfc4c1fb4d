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

}  // namespace

std::int64_t Reach::may_dial_at() const {
  if (down_) return under_way_ != 0 ? base::kNever : next_dial_;
  if (at_once_ != 0 && under_way_ >= at_once_) return base::kNever;
  return 0;
}

std::uint16_t Reach::dial_started(std::int64_t now) {
  ++under_way_;
  if (on_alternate_ && now - alternate_since_ >= options_.return_to_port_ns) {
    alternate_since_ = now;  // one dial tries; the others stay
    return options_.port;
  }
  return port();
}

const Reach::Known* Reach::find(const base::Address& address) const {
  const auto found = std::find_if(known_.begin(), known_.end(), [&](const Known& each) { return each.address == address; });
  return found == known_.end() ? nullptr : &*found;
}

Reach::Known& Reach::known(const base::Address& address) {
  for (Known& each : known_) {
    if (each.address == address) return each;
  }
  if (known_.size() >= kAddressesMax) {
    // The one whose failure is longest ago goes, among those without a connection.
    auto oldest = known_.end();
    for (auto each = known_.begin(); each != known_.end(); ++each) {
      if (each->used == 0 && (oldest == known_.end() || each->failed_at < oldest->failed_at)) oldest = each;
    }
    if (oldest != known_.end()) known_.erase(oldest);
  }
  return known_.emplace_back(Known{address, 0, 0, 0});
}

bool Reach::avoid(const Known& known, std::int64_t now) {
  return known.failures != 0 && now - known.failed_at < kAvoidNs << std::min(known.failures - 1, 5u);
}

Reach::Choice Reach::choose(std::span<const base::Address> addresses, std::int64_t now, base::Prng& chance) {
  TOCSIN_ASSERT(!addresses.empty());
  Choice choice;
  std::size_t fresh = 0;
  bool chosen_fresh = false;
  std::tuple<bool, std::int64_t, unsigned, std::uint64_t> best;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const Known* each = find(addresses[i]);
    const bool avoided = each != nullptr && avoid(*each, now);
    fresh += avoided ? 0 : 1;
    const std::tuple<bool, std::int64_t, unsigned, std::uint64_t> rank(
        avoided, avoided ? each->failed_at : 0, each != nullptr ? each->used : 0, chance.next());
    if (i != 0 && best < rank) continue;
    best = rank;
    choice.index = i;
    chosen_fresh = !avoided;
  }
  choice.others_fresh = chosen_fresh && fresh > 1;
  return choice;
}

void Reach::address_used(const base::Address& address, int change) {
  Known& each = known(address);
  TOCSIN_ASSERT(change > 0 || each.used != 0);
  each.used = change > 0 ? each.used + 1 : each.used - 1;
}

void Reach::address_failed(const base::Address& address, std::int64_t now) {
  Known& each = known(address);
  each.failed_at = now;
  ++each.failures;
}

void Reach::dial_failed(std::int64_t now, std::uint16_t port_used, bool network, base::Prng& chance) {
  TOCSIN_ASSERT(under_way_ != 0);
  --under_way_;
  if (!network) return;
  failures_ = std::min(failures_ + 1, 60u);
  if (options_.alternate_port != 0 && port_used == port() && ++port_failures_ >= kPortFailures) {
    on_alternate_ = !on_alternate_;
    alternate_since_ = now;
    port_failures_ = 0;
  }
  if (failures_ < options_.breaker_failures) return;
  down_ = true;
  std::int64_t bound = std::max<std::int64_t>(options_.backoff_min_ns, 1);
  for (unsigned i = options_.breaker_failures; i < failures_ && bound < options_.backoff_max_ns; ++i) bound *= 2;
  bound = std::min(bound, std::max<std::int64_t>(options_.backoff_max_ns, 1));
  next_dial_ = now + 1 + static_cast<std::int64_t>(chance.below(static_cast<std::uint64_t>(bound)));
}

void Reach::dial_reached(std::uint16_t port_used, const base::Address& address) {
  TOCSIN_ASSERT(under_way_ != 0);
  --under_way_;
  known(address).failures = 0;
  failures_ = port_failures_ = 0;
  if (on_alternate_ && port_used == options_.port) on_alternate_ = false;
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
