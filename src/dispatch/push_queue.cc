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

std::size_t Queue::FlowHash::operator()(const FlowKey& key) const { return base::mix64(key.high ^ base::mix64(key.low)); }

Queue::Queue(std::uint32_t pushes_max, std::uint64_t seed)
    : seed_(seed),
      records_(pushes_max),
      places_(pushes_max),
      metas_(pushes_max),
      free_(pushes_max),
      wheel_(Links{places_.data()}) {}

inline std::uint32_t Queue::acquire() {
  const std::uint32_t slot = free_.take();
  if (const std::uint32_t later = free_.upcoming(); later != FreeSlots::kNone) expect(later);
  ++in_use_;
  return slot;
}

std::uint32_t Queue::find_flow(const FlowKey& key, const PushRecord& record) {
  const auto next = free_flows_.empty() ? static_cast<std::uint32_t>(flows_.size()) : free_flows_.back();
  const auto [found, fresh] = flow_index_.try_emplace(key, next);
  if (fresh) {
    if (free_flows_.empty()) {
      flows_.emplace_back();
    } else {
      free_flows_.pop_back();
    }
    Flow& flow = flows_[next] = Flow{};
    flow.credential = record.credential;
    flow.topic = static_cast<std::uint32_t>(key.high);
    flow.group = record.group;
    flow.priority_class = static_cast<std::uint8_t>(record.priority_class);
    lanes_[record.credential].flows.push_back(found->second);
    if (record.group != 0) groups_[record.group - 1].flows.push_back(found->second);
  }
  last_key_ = key;
  last_flow_ = found->second;
  return last_flow_;
}

void Queue::forget_credential(std::uint32_t credential) {
  Lane& lane = lanes_[credential];
  TOCSIN_ASSERT(lane.waiting == 0);
  for (const std::uint32_t index : lane.flows) {
    const Flow& flow = flows_[index];
    TOCSIN_ASSERT(flow.count == 0 && !flow.in_ring);
    flow_index_.erase({std::uint64_t{credential} << 32 | flow.topic, std::uint64_t{flow.group} << 8 | flow.priority_class});
    if (flow.group != 0) std::erase(groups_[flow.group - 1].flows, index);
    free_flows_.push_back(index);
  }
  lane = Lane{};
  last_flow_ = kNone;
}

void Queue::enter_ring(std::uint32_t index) {
  Flow& flow = flows_[index];
  if (flow.in_ring) return;
  flow.in_ring = true;
  Lane& lane = lanes_[flow.credential];
  lane.ready += flow.count;
  std::uint32_t& head = lane.rings[flow.priority_class];
  if (head == kNone) {
    if (!lane.woken && !has_ready(flow.credential)) {
      lane.woken = true;
      woken_.push_back(flow.credential);
    }
    head = flow.ring_next = flow.ring_prev = index;
    lane.passes[flow.priority_class] = std::max(lane.passes[flow.priority_class], lane.now);
    return;
  }
  // Behind all others: just before the one whose turn it is.
  Flow& first = flows_[head];
  flow.ring_next = head;
  flow.ring_prev = first.ring_prev;
  flows_[first.ring_prev].ring_next = index;
  first.ring_prev = index;
}

void Queue::leave_ring(std::uint32_t index) {
  Flow& flow = flows_[index];
  if (!flow.in_ring) return;
  flow.in_ring = false;
  lanes_[flow.credential].ready -= flow.count;
  std::uint32_t& head = lanes_[flow.credential].rings[flow.priority_class];
  if (flow.ring_next == index) {
    head = kNone;
    return;
  }
  flows_[flow.ring_prev].ring_next = flow.ring_next;
  flows_[flow.ring_next].ring_prev = flow.ring_prev;
  if (head == index) head = flow.ring_next;
}

void Queue::refresh_group(Group& group) {
  const bool may = group.may_send();
  for (const std::uint32_t index : group.flows) {
    if (may && flows_[index].count != 0) {
      enter_ring(index);
    } else {
      leave_ring(index);
    }
  }
  if (group.paced && group.allowance == 0 && !group.listed && group.queued != 0) {
    group.listed = true;
    starved_.push_back(static_cast<std::uint32_t>(&group - groups_.data()));
  }
}

void Queue::link_before(std::uint32_t slot, std::uint32_t before) {
  Place& place = places_[slot];
  Flow& flow = flows_[place.flow];
  place.next = before;
  place.prev = before == kNone ? flow.tail : places_[before].prev;
  (place.prev == kNone ? flow.head : places_[place.prev].next) = slot;
  (before == kNone ? flow.tail : places_[before].prev) = slot;
  joined(slot, place.flow);
}

// A fresh place, at the end of its line.
inline void Queue::link_last(std::uint32_t slot) {
  Place& place = places_[slot];
  Flow& flow = flows_[place.flow];
  place.prev = flow.tail;
  (flow.tail == kNone ? flow.head : places_[flow.tail].next) = slot;
  flow.tail = slot;
  joined(slot, place.flow);
}

inline void Queue::joined(std::uint32_t slot, std::uint32_t index) {
  Flow& flow = flows_[index];
  Lane& lane = lanes_[flow.credential];
  records_[slot].state = PushState::queued;
  ++flow.count;
  ++waiting_;
  ++lane.waiting;
  lane.ready += flow.in_ring ? 1 : 0;
  if (flow.group != 0) {
    Group& group = groups_[flow.group - 1];
    ++group.queued;
    if (!group.may_send()) {
      if (group.paced && group.allowance == 0 && !group.listed) {
        group.listed = true;
        starved_.push_back(flow.group - 1);
      }
      return;
    }
  }
  if (!flow.in_ring) enter_ring(index);
}

void Queue::unlink(std::uint32_t slot) {
  const Place& place = places_[slot];
  Flow& flow = flows_[place.flow];
  (place.prev == kNone ? flow.head : places_[place.prev].next) = place.next;
  (place.next == kNone ? flow.tail : places_[place.next].prev) = place.prev;
  --flow.count;
  if (flow.in_ring) --lanes_[flow.credential].ready;
  --waiting_;
  --lanes_[flow.credential].waiting;
  if (flow.group != 0) --groups_[flow.group - 1].queued;
  if (flow.count == 0) leave_ring(place.flow);
}

// A popped push did not use what its group's rate allowed.
void Queue::give_back(const PushRecord& record) {
  if (record.group == 0) return;
  Group& group = groups_[record.group - 1];
  if (group.paced && group.allowance++ == 0) refresh_group(group);
}

void Queue::add_delayed(std::uint32_t slot, Tick not_before) {
  Place& place = places_[slot];
  PushRecord& record = records_[slot];
  Lane& lane = lanes_[record.credential];
  record.state = PushState::delayed;
  place.prev = kNone;
  place.next = lane.delayed_head;
  if (lane.delayed_head != kNone) places_[lane.delayed_head].prev = slot;
  lane.delayed_head = slot;
  ++lane.waiting;
  ++waiting_;
  ++delayed_;
  const Tick until = std::clamp<Tick>(not_before, 1, kTickMax - 1);
  wheel_.link(slot, record.deadline != kTickNone ? std::min(until, record.deadline) : until);
}

void Queue::remove_delayed(std::uint32_t slot) {
  const Place& place = places_[slot];
  Lane& lane = lanes_[records_[slot].credential];
  (place.prev == kNone ? lane.delayed_head : places_[place.prev].next) = place.next;
  if (place.next != kNone) places_[place.next].prev = place.prev;
  --lane.waiting;
  --waiting_;
  --delayed_;
}

void Queue::watch_deadline(std::uint32_t slot) {
  if (records_[slot].deadline != kTickNone) wheel_.link(slot, records_[slot].deadline);
}

inline void Queue::enter_chain(std::uint32_t slot, std::uint64_t print) {
  const PushRecord& mine = records_[slot];
  const std::uint32_t topic = flows_[places_[slot].flow].topic;
  const std::uint64_t hash = hash_of(mine, topic, mine.by_collapse, print != 0 ? print : print_of(mine, topic));
  const std::uint32_t newest = index_.find(hash, [&](std::uint32_t other) {
    const PushRecord& record = records_[other];
    if (record.by_collapse != mine.by_collapse || flows_[places_[other].flow].topic != topic) return false;
    if (record.credential != mine.credential) return false;
    const auto same = [](base::ByteView a, base::ByteView b) {
      return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
    };
    return same(record.token(), mine.token()) && (!mine.by_collapse || same(record.collapse_id(), mine.collapse_id()));
  });
  if (newest == kNone) {
    index_.add(hash, slot);
    return;
  }
  index_.replace(hash, newest, slot);
  places_[slot].older = newest;
  places_[newest].newer = slot;
}

bool Queue::stands_for(std::uint32_t newer, std::uint32_t older) const {
  const PushRecord& mine = records_[newer];
  const PushRecord& other = records_[older];
  const auto paused = [this](const PushRecord& record) { return record.group != 0 && groups_[record.group - 1].paused; };
  const auto rank = [](const PushRecord& record) { return kRanks[static_cast<std::size_t>(record.priority_class)]; };
  const auto lasts = [](const PushRecord& record) { return record.deadline == kTickNone ? kTickMax : record.deadline; };
  return rank(mine) <= rank(other) && lasts(mine) >= lasts(other) && (!paused(mine) || paused(other));
}

void Queue::supersede_older(std::uint32_t slot, std::vector<Superseded>& superseded) {
  for (std::uint32_t older = places_[slot].older; older != kNone; older = places_[older].older) {
    if (!waits(older) || !stands_for(slot, older)) continue;
    hold(older);
    superseded.push_back({older, records_[slot].id, false});
  }
}

std::uint32_t Queue::insert(const PushRecord& record, std::uint32_t topic, bool coalesce, bool by_collapse_id,
                            std::vector<Superseded>& superseded, std::uint64_t print) {
  const std::uint32_t slot = acquire();
  PushRecord& mine = records_[slot] = record;
  mine.keyed = coalesce;
  mine.by_collapse = coalesce && by_collapse_id;
  mine.tried = false;
  Place& at = places_[slot] = Place{};
  at.flow = flow_of(record, topic);
  if (coalesce) enter_chain(slot, print);
  if (at.older == kNone) {
    link_last(slot);
  } else {
    std::uint32_t place = kNone;
    // The place in line of one that stands in the same line; of several, of the oldest.
    for (std::uint32_t older = at.older; older != kNone; older = places_[older].older) {
      const bool in_line = state(older) == PushState::queued && places_[older].flow == at.flow;
      if (in_line && stands_for(slot, older)) place = older;
    }
    link_before(slot, place);
    supersede_older(slot, superseded);
  }
  watch_deadline(slot);
  return slot;
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
  if (const std::uint32_t next = places_[slot].next; next != kNone) {
    // Records of a long queue are cold, and the next one's place is known already.
    base::prefetch(&records_[next]);
    base::prefetch(reinterpret_cast<const std::byte*>(&records_[next]) + sizeof(PushRecord) - 1);
  }
  lane.rings[chosen] = flow.ring_next;
  unlink(slot);
  wheel_.unlink(slot);
  records_[slot].state = PushState::in_flight;
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
    const std::uint32_t next = places_[slot].next;
    if (next != kNone) {
      base::prefetch(&places_[next]);
      base::prefetch(&records_[next]);
      base::prefetch(reinterpret_cast<const std::byte*>(&records_[next]) + sizeof(PushRecord) - 1);
    }
    wheel_.unlink(slot);
    records_[slot].state = PushState::in_flight;
    out.push_back(slot);
    slot = next;
  }
  flow.head = slot;
  (slot == kNone ? flow.tail : places_[slot].prev) = kNone;
  flow.count -= count;
  lane.ready -= count;
  lane.waiting -= count;
  waiting_ -= count;
  if (flow.count == 0) leave_ring(index);
}

void Queue::unpop(std::uint32_t slot) {
  const PushRecord& record = records_[slot];
  TOCSIN_ASSERT(record.state == PushState::in_flight);
  Lane& lane = lanes_[record.credential];
  const auto priority_class = static_cast<std::size_t>(record.priority_class);
  const std::uint64_t pass = lane.passes[priority_class] - kStrides[priority_class];
  const bool woken = std::exchange(lane.woken, true);  // that it is ready again is no news to who popped it
  give_back(record);
  link_front(slot);
  lane.woken = woken;
  // Its class's and its flow's turn again.
  lane.passes[priority_class] = pass;
  lane.now = std::min(lane.now, pass);
  if (flows_[places_[slot].flow].in_ring) lane.rings[priority_class] = places_[slot].flow;
  watch_deadline(slot);
}

bool Queue::requeue(std::uint32_t slot, Tick not_before, std::vector<Superseded>& superseded, std::uint64_t& by,
                    bool& accepted) {
  PushRecord& record = records_[slot];
  TOCSIN_ASSERT(record.state == PushState::in_flight);
  if (record.tried && metas_[slot].outdone) {
    by = metas_[slot].superseded_by;
    accepted = true;
    record.state = PushState::held;
    return false;
  }
  for (std::uint32_t newer = places_[slot].newer; newer != kNone; newer = places_[newer].newer) {
    if (!waits(newer) || !stands_for(newer, slot)) continue;
    by = records_[newer].id;
    accepted = false;
    record.state = PushState::held;
    return false;
  }
  supersede_older(slot, superseded);
  if (not_before != kTickNone) {
    add_delayed(slot, not_before);
  } else {
    link_front(slot);
    watch_deadline(slot);
  }
  return true;
}

void Queue::delay(std::uint32_t slot, Tick not_before) {
  TOCSIN_ASSERT(state(slot) == PushState::in_flight);
  give_back(records_[slot]);
  add_delayed(slot, not_before);
}

void Queue::hold(std::uint32_t slot) {
  TOCSIN_ASSERT(state(slot) != PushState::free);
  if (state(slot) == PushState::queued) unlink(slot);
  if (state(slot) == PushState::delayed) remove_delayed(slot);
  wheel_.unlink(slot);
  records_[slot].state = PushState::held;
}

void Queue::leave_chain(std::uint32_t slot) {
  const Place& place = places_[slot];
  if (place.newer != kNone) {
    places_[place.newer].older = place.older;
  } else if (place.older != kNone) {
    index_.replace(hash_of(slot), slot, place.older);
  } else {
    index_.erase(hash_of(slot), slot);
  }
  if (place.older != kNone) places_[place.older].newer = place.newer;
}

// It is not the only one of its key.
void Queue::finish_in_chain(std::uint32_t slot, bool accepted, std::vector<Superseded>& superseded) {
  const std::uint64_t id = records_[slot].id;
  for (std::uint32_t older = accepted ? places_[slot].older : kNone; older != kNone; older = places_[older].older) {
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
    const Tick deadline = records_[slot].deadline;
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

void Queue::set_group_paused(std::uint32_t index, bool paused) {
  groups_[index].paused = paused;
  refresh_group(groups_[index]);
}

void Queue::set_group_paced(std::uint32_t index, bool paced) {
  groups_[index].paced = paced;
  groups_[index].allowance = 0;
  refresh_group(groups_[index]);
}

void Queue::void_group(std::uint32_t index) {
  groups_[index].allowance = 0;
  refresh_group(groups_[index]);
}

void Queue::grant_group(std::uint32_t index, std::uint32_t count) {
  Group& group = groups_[index];
  group.allowance += count;
  // Whose flow enters its ring first is looked at first, and may take all of a small grant: each time another.
  if (group.flows.size() > 1) std::rotate(group.flows.begin(), group.flows.begin() + 1, group.flows.end());
  refresh_group(group);
}

void Queue::wanting_groups(std::vector<std::pair<std::uint32_t, std::uint32_t>>& out) {
  for (std::size_t i = 0; i < starved_.size();) {
    Group& group = groups_[starved_[i]];
    if (group.paced && group.allowance == 0 && group.queued != 0) {
      if (!group.paused) out.emplace_back(starved_[i], group.queued);
      ++i;
      continue;
    }
    group.listed = false;
    starved_[i] = starved_.back();
    starved_.pop_back();
  }
}

void Queue::cancel_group(std::uint32_t index, std::vector<std::uint32_t>& out) {
  Group& group = groups_[index];
  group.cancelled = true;
  for (const std::uint32_t each : group.flows) {
    while (flows_[each].head != kNone) {
      out.push_back(flows_[each].head);
      hold(out.back());
    }
  }
  for (Lane& lane : lanes_) {
    for (std::uint32_t slot = lane.delayed_head; slot != kNone;) {
      const std::uint32_t following = places_[slot].next;
      if (records_[slot].group == index + 1) {
        out.push_back(slot);
        hold(slot);
      }
      slot = following;
    }
  }
}

void Queue::take_waiting(std::uint32_t credential, std::vector<std::uint32_t>& out) {
  Lane& lane = lanes_[credential];
  for (const std::uint32_t each : lane.flows) {
    while (flows_[each].head != kNone) {
      out.push_back(flows_[each].head);
      hold(out.back());
    }
  }
  while (lane.delayed_head != kNone) {
    out.push_back(lane.delayed_head);
    hold(out.back());
  }
}

void Queue::cancel_ids(std::span<const std::uint64_t> ids, std::vector<std::uint32_t>& out) {
  std::vector<std::uint64_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  for (std::uint32_t slot = 0; slot < free_.end(); ++slot) {
    if (!waits(slot) || !std::binary_search(sorted.begin(), sorted.end(), records_[slot].id)) continue;
    out.push_back(slot);
    hold(slot);
  }
}

}  // namespace tocsin::dispatch
