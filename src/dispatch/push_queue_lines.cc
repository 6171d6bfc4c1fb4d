// SPDX-License-Identifier: Apache-2.0
// The queue's lines: flows and the rings they stand in, what is delayed, and groups.
#include <algorithm>

#include "base/assertion.h"
#include "base/prng.h"
#include "dispatch/push_queue.h"

namespace tocsin::dispatch {

std::size_t Queue::FlowHash::operator()(const FlowKey& key) const { return base::mix64(key.high ^ base::mix64(key.low)); }

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
  QueuedPush& push = pushes_[slot];
  Flow& flow = flows_[push.flow];
  push.line.next = before;
  push.line.prev = before == kNone ? flow.tail : pushes_[before].line.prev;
  (push.line.prev == kNone ? flow.head : pushes_[push.line.prev].line.next) = slot;
  (before == kNone ? flow.tail : pushes_[before].line.prev) = slot;
  push.state = PushState::queued;
  joined(push.flow, 1);
}

void Queue::joined(std::uint32_t index, std::uint32_t count) {
  if (count == 0) return;
  Flow& flow = flows_[index];
  Lane& lane = lanes_[flow.credential];
  flow.count += count;
  waiting_ += count;
  lane.waiting += count;
  lane.ready += flow.in_ring ? count : 0;
  if (flow.group != 0) {
    Group& group = groups_[flow.group - 1];
    group.queued += count;
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
  const std::uint32_t index = pushes_[slot].flow;
  const QueuedPush::Line& line = pushes_[slot].line;
  Flow& flow = flows_[index];
  (line.prev == kNone ? flow.head : pushes_[line.prev].line.next) = line.next;
  (line.next == kNone ? flow.tail : pushes_[line.next].line.prev) = line.prev;
  --flow.count;
  if (flow.in_ring) --lanes_[flow.credential].ready;
  --waiting_;
  --lanes_[flow.credential].waiting;
  if (flow.group != 0) --groups_[flow.group - 1].queued;
  if (flow.count == 0) leave_ring(index);
}

// A popped push did not use what its group's rate allowed.
void Queue::give_back(std::uint32_t number) {
  if (number == 0) return;
  Group& group = groups_[number - 1];
  if (group.paced && group.allowance++ == 0) refresh_group(group);
}

void Queue::add_delayed(std::uint32_t slot, Tick not_before) {
  meta(slot);  // what it is due at stands there
  QueuedPush& push = pushes_[slot];
  Lane& lane = lanes_[credential_of(slot)];
  push.state = PushState::delayed;
  push.line.prev = kNone;
  push.line.next = lane.delayed_head;
  if (lane.delayed_head != kNone) pushes_[lane.delayed_head].line.prev = slot;
  lane.delayed_head = slot;
  ++lane.waiting;
  ++waiting_;
  ++delayed_;
  const Tick until = std::clamp<Tick>(not_before, 1, kTickMax - 1);
  wheel_.link(slot, push.deadline != kTickNone ? std::min(until, push.deadline) : until);
}

void Queue::remove_delayed(std::uint32_t slot) {
  const QueuedPush::Line& line = pushes_[slot].line;
  Lane& lane = lanes_[credential_of(slot)];
  (line.prev == kNone ? lane.delayed_head : pushes_[line.prev].line.next) = line.next;
  if (line.next != kNone) pushes_[line.next].line.prev = line.prev;
  --lane.waiting;
  --waiting_;
  --delayed_;
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
      const std::uint32_t following = pushes_[slot].line.next;
      if (group_of(slot) == index + 1) {
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
    if (!waits(slot) || !std::binary_search(sorted.begin(), sorted.end(), pushes_[slot].id)) continue;
    out.push_back(slot);
    hold(slot);
  }
}

}  // namespace tocsin::dispatch
