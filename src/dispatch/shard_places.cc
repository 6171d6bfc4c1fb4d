// SPDX-License-Identifier: Apache-2.0
// Places for connections, which are fewer than credentials may want: who gets the next one, and who gives one up.
//
// A credential without any connection comes before one that has some, and those that wait longest come first. Idle connections
// go at once for whoever needs the place. Where all are busy, a credential without any waits kPlaceWaitNs; then the one
// that has most gives its least busy one up, and where nobody has two, whoever has had his for longest, after kPlaceTurnNs.
#include <algorithm>

#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// One that was used just now is not idle: two credentials with one place would take it from each other with every push.
constexpr std::int64_t kShedIdleNs = 250 * base::kMillisecond;

// Nobody is passed over for one that cannot dial this soon.
constexpr std::int64_t kReadyToDialNs = 50 * base::kMillisecond;

// One busy connection goes at a time, and its end is awaited for so long before another does.
constexpr std::int64_t kAwaitPlaceNs = base::kSecond;
constexpr std::int64_t kGiveUpEveryNs = 20 * base::kMillisecond;

bool starting(ConnectionState state) {
  return state >= ConnectionState::resolving && state <= ConnectionState::settling;
}

}  // namespace

void Shard::enter_line(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (credential.placeless_since_mono_ns != base::kNever) return;
  credential.placeless_since_mono_ns = now_.mono_ns;
  placeless_.push_back(index);
}

void Shard::leave_line(std::uint32_t index) {
  Credential& credential = credentials_[index];
  if (credential.placeless_since_mono_ns == base::kNever) return;
  credential.placeless_since_mono_ns = base::kNever;
  std::erase(placeless_, index);
}

// Whether a slot is left for it beside those that are first in the line.
bool Shard::place_for(std::uint32_t index) {
  const std::uint32_t free = connections_.capacity() - connections_.in_use();
  std::uint32_t ahead = 0;
  for (std::size_t i = 0; i < placeless_.size() && placeless_[i] != index && ahead < free; ++i) {
    const Credential& other = credentials_[placeless_[i]];
    if (std::max(other.next_dial_mono_ns, reaches_[other.reach]->may_dial_at()) > now_.mono_ns + kReadyToDialNs) continue;
    const bool dials = std::any_of(other.connections.begin(), other.connections.end(),
                                   [this](base::Handle handle) { return starting(connections_[handle].state); });
    ahead += dials ? 0 : 1;
  }
  return ahead < free;
}

// For a connection of this credential: its own of an older version go first, which it would replace anyway.
void Shard::make_room(std::uint32_t index) {
  const Credential& credential = credentials_[index];
  if (credential.renewing) {
    retire_older(index);
  } else if (shed_idle(index)) {
    mark(Mark::shed);
  } else if (credential.placeless_since_mono_ns != base::kNever &&
             now_.mono_ns - credential.placeless_since_mono_ns >= kPlaceWaitNs) {
    give_up_place(kNone);
  }
}

// The connection that is idle longest makes room for another credential's.
bool Shard::shed_idle(std::uint32_t asker) {
  base::Handle oldest{};
  std::int64_t used = base::kNever;
  connections_.for_each([&](base::Handle handle, Connection& connection) {
    if (connection.state != ConnectionState::ready || connection.in_flight != 0 || connection.used_mono_ns >= used) return;
    if (connection.credential == asker) return;
    const Credential& owner = credentials_[connection.credential];
    const bool works = queue_.waiting(connection.credential) != 0 && !owner.paused && !owner.alarmed;
    if (works || now_.mono_ns - connection.used_mono_ns < kShedIdleNs) return;
    oldest = handle;
    used = connection.used_mono_ns;
  });
  if (!oldest) return false;
  credentials_[connections_[oldest].credential].opening = false;  // it would take the place again
  retire(oldest, connections_[oldest]);
  return true;
}

// `of`: one of this credential, which has more than others have in all shards together; kNone: as this shard sees it.
void Shard::give_up_place(std::uint32_t of) {
  if (given_up_ && now_.mono_ns - given_up_mono_ns_ < kGiveUpEveryNs) return;
  if (connections_.find(given_up_) != nullptr && now_.mono_ns - given_up_mono_ns_ < kAwaitPlaceNs) return;
  base::Handle chosen{};
  unsigned most = 0;
  const auto ready = [this](std::uint32_t index) {
    unsigned count = 0;
    for (const base::Handle each : credentials_[index].connections) {
      count += connections_[each].state == ConnectionState::ready ? 1 : 0;
    }
    return count;
  };
  connections_.for_each([&](base::Handle handle, Connection& connection) {
    if (connection.state != ConnectionState::ready || (of != kNone && connection.credential != of)) return;
    const unsigned count = ready(connection.credential);
    if (of == kNone && count == 1 && now_.mono_ns - connection.ready_mono_ns < kPlaceTurnNs) return;
    if (chosen) {
      const Connection& other = connections_[chosen];
      if (count < most) return;
      if (count == most && count > 1 && connection.in_flight >= other.in_flight) return;
      if (count == most && count == 1 && connection.ready_mono_ns >= other.ready_mono_ns) return;
    }
    chosen = handle;
    most = count;
  });
  if (!chosen) return;
  mark(Mark::place_given_up);
  given_up_ = chosen;
  given_up_mono_ns_ = now_.mono_ns;
  credentials_[connections_[chosen].credential].opening = false;
  retire(chosen, connections_[chosen]);
}

}  // namespace tocsin::dispatch
