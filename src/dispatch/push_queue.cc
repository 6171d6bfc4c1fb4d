// SPDX-License-Identifier: Apache-2.0
#include "dispatch/push_queue.h"

#include <algorithm>
#include <utility>

#include "base/assertion.h"
#include "base/prefetch.h"
#include "base/prng.h"

namespace tocsin::dispatch {
namespace {

// What a request costs its class, in the enum's order: normal, urgent, bulk. Of equals the more urgent class goes first.
constexpr std::array<std::uint64_t, 3> kStrides = {4, 1, 16};
constexpr std::array<std::size_t, 3> kOrder = {1, 0, 2};
constexpr std::array<unsigned, 3> kRanks = {1, 0, 2};  // of each class in that order
static_assert(static_cast<int>(PriorityClass::normal) == 0 && static_cast<int>(PriorityClass::urgent) == 1 &&
              static_cast<int>(PriorityClass::bulk) == 2);

}  // namespace

Queue::Queue(std::uint32_t pushes_max, std::uint64_t seed)
    : seed_(seed),
      pushes_(pushes_max),
      metas_(pushes_max),
      free_(pushes_max),
      wheel_(Links{pushes_.data(), metas_.data()}) {}

inline std::uint32_t Queue::acquire() {
  const std::uint32_t slot = free_.take();
  if (const std::uint32_t later = free_.upcoming(); later != FreeSlots::kNone) expect(later);
  ++in_use_;
  return slot;
}

Queue::Meta& Queue::make_meta(std::uint32_t slot) {
  metas_[slot] = known(slot);
  pushes_[slot].tried = true;
  pushes_[slot].flags &= static_cast<std::uint8_t>(~QueuedPush::kSentOnce);
  return metas_[slot];
}

void Queue::watch_deadline(std::uint32_t slot) {
  if (pushes_[slot].deadline != kTickNone) wheel_.link(slot, pushes_[slot].deadline);
}

inline std::uint32_t Queue::find_same(const QueuedPush& mine, std::uint64_t hash) const {
  return index_.find(hash, [&](std::uint32_t other) {
    const QueuedPush& push = pushes_[other];
    if (push.by_collapse != mine.by_collapse) return false;
    if (push.flow != mine.flow) {
      const Flow& a = flows_[push.flow];
      const Flow& b = flows_[mine.flow];
      if (a.topic != b.topic || a.credential != b.credential) return false;
    }
    const auto same = [](base::ByteView a, base::ByteView b) {
      return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
    };
    return same(push.token(), mine.token()) && (!mine.by_collapse || same(push.collapse_id(), mine.collapse_id()));
  });
}

bool Queue::stands_for(std::uint32_t newer, std::uint32_t older) const {
  const Flow& mine = flows_[pushes_[newer].flow];
  const Flow& other = flows_[pushes_[older].flow];
  const auto paused = [this](const Flow& flow) { return flow.group != 0 && groups_[flow.group - 1].paused; };
  const auto lasts = [this](std::uint32_t slot) { return pushes_[slot].deadline == kTickNone ? kTickMax : pushes_[slot].deadline; };
  return kRanks[mine.priority_class] <= kRanks[other.priority_class] && lasts(newer) >= lasts(older) && (!paused(mine) || paused(other));
}

void Queue::supersede_older(std::uint32_t slot, std::vector<Superseded>& superseded) {
  for (std::uint32_t older = pushes_[slot].older; older != kNone; older = pushes_[older].older) {
    if (!waits(older) || !stands_for(slot, older)) continue;
    hold(older);
    superseded.push_back({older, pushes_[slot].id, false});
  }
}

// A key's place in the index and a token's in the filter lie in cold memory: each is asked for so many pushes ahead.
std::uint32_t Queue::insert(std::span<const PushRecord> alike, const Keys& keys, const DeadTokens* dead,
                            std::vector<Superseded>& superseded) {
  constexpr std::size_t kAhead = 16;
  struct Ahead {
    std::uint64_t print = 0;
    std::uint64_t hash = 0;
  };
  Ahead ring[kAhead];
  const bool by_collapse = keys.coalesce && keys.by_collapse_id;
  const auto look = [&](const PushRecord& push) {
    if (!keys.coalesce && dead == nullptr) return Ahead{};
    const std::uint64_t print = print_of(push.token(), keys.topic);
    if (dead != nullptr) dead->expect(print);
    if (!keys.coalesce) return Ahead{print, 0};
    const std::uint64_t hash = hash_of(push, keys.topic, by_collapse, print);
    index_.expect(hash);
    return Ahead{print, hash};
  };
  const std::uint32_t index = flow_of(alike.front(), keys.topic);
  const std::size_t begun = std::min(kAhead, alike.size());
  for (std::size_t i = 0; i < begun; ++i) ring[i] = look(alike[i]);
  std::uint32_t linked = 0;  // at the end of the line, and not yet counted
  std::uint32_t slot = kNone;
  for (std::size_t i = 0; i < alike.size(); ++i) {
    const Ahead at = ring[i % kAhead];
    if (i + kAhead < alike.size()) ring[i % kAhead] = look(alike[i + kAhead]);
    slot = acquire();
    QueuedPush& push = pushes_[slot];
    push.take(alike[i], keys.coalesce, by_collapse, dead != nullptr && dead->may_be(at.print) ? QueuedPush::kSuspect : std::uint8_t{0});
    push.older = push.newer = kNone;
    push.flow = index;
    // One that has passed is as good as the next tick, whatever it was.
    if (push.deadline != kTickNone && push.deadline <= wheel_.now()) push.deadline = wheel_.now() + 1;
    if (keys.coalesce) {
      if (const std::uint32_t newest = find_same(push, at.hash); newest != kNone) {
        joined(index, std::exchange(linked, 0));
        insert_newer(slot, newest, at.hash, superseded);
        continue;
      }
      index_.add(at.hash, slot);
    }
    Flow& flow = flows_[index];
    push.line.next = kNone;
    push.line.prev = flow.tail;
    (flow.tail == kNone ? flow.head : pushes_[flow.tail].line.next) = slot;
    flow.tail = slot;
    ++linked;
    watch_deadline(slot);
  }
  joined(index, linked);
  return slot;
}

void Queue::insert_newer(std::uint32_t slot, std::uint32_t newest, std::uint64_t hash, std::vector<Superseded>& superseded) {
  index_.replace(hash, newest, slot);
  pushes_[slot].older = newest;
  pushes_[newest].newer = slot;
  std::uint32_t place = kNone;
  // The place in line of one that stands in the same line; of several, of the oldest.
  for (std::uint32_t older = newest; older != kNone; older = pushes_[older].older) {
    const bool in_line = state(older) == PushState::queued && pushes_[older].flow == pushes_[slot].flow;
    if (in_line && stands_for(slot, older)) place = older;
  }
  link_before(slot, place);
  supersede_older(slot, superseded);
  watch_deadline(slot);
}

bool Queue::has_ready(std::uint32_t credential) const {
  const Lane& lane = lanes_[credential];
  return lane.rings[0] != kNone || lane.rings[1] != kNone || lane.rings[2] != kNone;
}

void Queue::take_woken(std::vector<std::uint32_t>& out) {
  for (const std::uint32_t credential : woken_) lanes_[credential].woken = false;
  out.insert(out.end(), woken_.begin(), woken_.end());
  woken_.clear();
}

std::uint32_t Queue::pop(std::uint32_t credential) {
  Lane& lane = lanes_[credential];
  std::size_t chosen = kClasses;
  for (const std::size_t each : kOrder) {
    if (lane.rings[each] == kNone) continue;
    if (chosen == kClasses || lane.passes[each] < lane.passes[chosen]) chosen = each;
  }
  if (chosen == kClasses) return kNone;
  lane.now = lane.passes[chosen];
  lane.passes[chosen] += kStrides[chosen];
  Flow& flow = flows_[lane.rings[chosen]];
  const std::uint32_t slot = flow.head;
  // Those of a long queue are cold, and the next one's place is known already.
  if (const std::uint32_t next = pushes_[slot].line.next; next != kNone) expect(next);
  lane.rings[chosen] = flow.ring_next;
  unlink(slot);
  wheel_.unlink(slot);
  pushes_[slot].state = PushState::in_flight;
  if (flow.group != 0) {
    Group& group = groups_[flow.group - 1];
    if (group.paced && --group.allowance == 0) refresh_group(group);
  }
  return slot;
}

std::uint32_t Queue::only_flow(const Lane& lane) const {
  std::uint32_t only = kNone;
  for (const std::uint32_t ring : lane.rings) {
    if (ring == kNone) continue;
    if (only != kNone || flows_[ring].ring_next != ring) return kNone;
    only = ring;
  }
  return only != kNone && flows_[only].group == 0 ? only : kNone;
}

void Queue::pop(std::uint32_t credential, std::uint32_t most, std::vector<std::uint32_t>& out) {
  Lane& lane = lanes_[credential];
  if (const std::uint32_t only = only_flow(lane); only != kNone) return pop_run(lane, only, std::min(most, flows_[only].count), out);
  for (; most != 0; --most) {
    const std::uint32_t slot = pop(credential);
    if (slot == kNone) return;
    out.push_back(slot);
  }
}

// What is counted for each of them is counted for all: nobody else has his turn between.
void Queue::pop_run(Lane& lane, std::uint32_t index, std::uint32_t count, std::vector<std::uint32_t>& out) {
  Flow& flow = flows_[index];
  if (count == 0) return;
  const std::uint64_t stride = kStrides[flow.priority_class];
  std::uint64_t& pass = lane.passes[flow.priority_class];
  pass += stride * count;
  lane.now = pass - stride;
  std::uint32_t slot = flow.head;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t next = pushes_[slot].line.next;
    if (next != kNone) expect(next);
    wheel_.unlink(slot);
    pushes_[slot].state = PushState::in_flight;
    out.push_back(slot);
    slot = next;
  }
  flow.head = slot;
  (slot == kNone ? flow.tail : pushes_[slot].line.prev) = kNone;
  flow.count -= count;
  lane.ready -= count;
  lane.waiting -= count;
  waiting_ -= count;
  if (flow.count == 0) leave_ring(index);
}

void Queue::unpop(std::uint32_t slot) {
  TOCSIN_ASSERT(state(slot) == PushState::in_flight);
  const std::uint32_t index = pushes_[slot].flow;
  Lane& lane = lanes_[flows_[index].credential];
  const auto priority_class = static_cast<std::size_t>(flows_[index].priority_class);
  const std::uint64_t pass = lane.passes[priority_class] - kStrides[priority_class];
  const bool woken = std::exchange(lane.woken, true);  // that it is ready again is no news to who popped it
  give_back(flows_[index].group);
  make_room(slot);
  link_front(slot);
  lane.woken = woken;
  // Its class's and its flow's turn again.
  lane.passes[priority_class] = pass;
  lane.now = std::min(lane.now, pass);
  if (flows_[index].in_ring) lane.rings[priority_class] = index;
  watch_deadline(slot);
}

bool Queue::requeue(std::uint32_t slot, Tick not_before, std::vector<Superseded>& superseded, std::uint64_t& by,
                    bool& accepted) {
  QueuedPush& push = pushes_[slot];
  TOCSIN_ASSERT(push.state == PushState::in_flight);
  if (push.tried && metas_[slot].outdone) {
    by = metas_[slot].superseded_by;
    accepted = true;
    push.state = PushState::held;
    return false;
  }
  for (std::uint32_t newer = push.newer; newer != kNone; newer = pushes_[newer].newer) {
    if (!waits(newer) || !stands_for(newer, slot)) continue;
    by = pushes_[newer].id;
    accepted = false;
    push.state = PushState::held;
    return false;
  }
  supersede_older(slot, superseded);
  if (not_before != kTickNone) {
    add_delayed(slot, not_before);
  } else {
    make_room(slot);
    link_front(slot);
    watch_deadline(slot);
  }
  return true;
}

void Queue::delay(std::uint32_t slot, Tick not_before) {
  TOCSIN_ASSERT(state(slot) == PushState::in_flight);
  give_back(group_of(slot));
  add_delayed(slot, not_before);
}

void Queue::hold(std::uint32_t slot) {
  TOCSIN_ASSERT(state(slot) != PushState::free);
  if (state(slot) == PushState::queued) unlink(slot);
  if (state(slot) == PushState::delayed) remove_delayed(slot);
  wheel_.unlink(slot);
  pushes_[slot].state = PushState::held;
}

void Queue::leave_chain(std::uint32_t slot) {
  const QueuedPush& push = pushes_[slot];
  if (push.newer != kNone) {
    pushes_[push.newer].older = push.older;
  } else if (push.older != kNone) {
    index_.replace(hash_of(slot), slot, push.older);
  } else {
    index_.erase(hash_of(slot), slot);
  }
  if (push.older != kNone) pushes_[push.older].newer = push.newer;
}

// It is not the only one of its key.
void Queue::finish_in_chain(std::uint32_t slot, bool accepted, std::vector<Superseded>& superseded) {
  const std::uint64_t id = pushes_[slot].id;
  for (std::uint32_t older = accepted ? pushes_[slot].older : kNone; older != kNone; older = pushes_[older].older) {
    if (state(older) == PushState::in_flight) {
      Meta& other = meta(older);
      other.outdone = true;
      other.superseded_by = id;
    } else if (waits(older)) {
      hold(older);
      superseded.push_back({older, id, true});
    }
  }
  leave_chain(slot);
}

void Queue::advance(Tick now, std::vector<std::uint32_t>& expired) {
  wheel_.advance(now, [&](std::uint32_t slot) {
    const Tick deadline = pushes_[slot].deadline;
    if (deadline != kTickNone && deadline <= now) {
      hold(slot);
      expired.push_back(slot);
      return;
    }
    remove_delayed(slot);
    link_front(slot);
    watch_deadline(slot);
  });
}

}  // namespace tocsin::dispatch
