// SPDX-License-Identifier: Apache-2.0
// Queue: every push inside a shard, and the order in which those that wait may go.
//
// Waiting pushes stand in flows, one per (credential, topic, group, priority class). A credential's classes are served
// by weight (urgent 16, normal 4, bulk 1 while all have work, so that none starves), the flows of a class in turn. Flows
// of a paused group, or of one whose rate allows nothing now, stand aside. A push that must wait for its time is delayed:
// in no flow, but counted as waiting. Deadlines and delays are ticks on one wheel.
//
// Pushes of a coalescing template have a key (topic, token, and collapse id where that counts); a newer one supersedes
// those of its key that wait, takes the place in line where it can, and once accepted also those that come back to wait.
// It does not stand for one that may go sooner or wait longer: while its own group is paused and the other's is not, from
// a class that is served less, or with a nearer deadline. Then both wait, and the newer one, once accepted, still
// supersedes the other.
//
// Threads: one at a time. Ownership: slots are the caller's between insert() and finish(); a slot that the queue hands
// out as superseded, expired or cancelled is `held` until finish(). Bounds: pushes_max slots; one small record per flow that
// ever was, until its credential is forgotten; nothing is allocated per push once those exist. Errors: misuse (a slot in
// the wrong state, more pushes than there is room for) is asserted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/assertion.h"
#include "base/prefetch.h"
#include "dispatch/coalesce_index.h"
#include "dispatch/free_slots.h"
#include "dispatch/pool.h"
#include "dispatch/record.h"
#include "dispatch/timer_wheel.h"
#include "dispatch/token_table.h"

namespace tocsin::dispatch {

class Queue {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;

  // What is known of a push's attempts beyond the first one under way. It is made when there is more to know, so that those
  // that only wait, or are answered the first time, have none.
  struct Meta {
    std::int64_t sent_mono_ns = 0;    // last attempt
    std::uint64_t superseded_by = 0;
    Tick due = kTickNone;             // of a delayed one: when it fires
    std::uint16_t attempts = 0;
    std::uint16_t last_status = 0;    // of an answer that asked for another try
    Reason last_reason = Reason::none;
    std::uint8_t delays = 0;          // long waits it has had
    bool maybe_processed : 1 = false; // an attempt's fate is unknown
    bool doubled : 1 = false;         // and it was written again after that
    bool rebound : 1 = false;         // was sent again because a connection was bound to another key
    bool owes : 1 = false;            // a retry that the budget has not let go yet
    bool outdone : 1 = false;         // in flight, and a newer one of its key was accepted: superseded_by
  };
  static_assert(sizeof(Meta) == 32);

  struct Superseded {
    std::uint32_t slot = 0;
    std::uint64_t by = 0;
    bool accepted = false;  // because the newer one was accepted
  };

  Queue(std::uint32_t pushes_max, std::uint64_t seed);
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  const QueuedPush& record(std::uint32_t slot) const { return pushes_[slot]; }
  PushState state(std::uint32_t slot) const { return pushes_[slot].state; }
  std::uint32_t credential_of(std::uint32_t slot) const { return flows_[pushes_[slot].flow].credential; }
  std::uint32_t group_of(std::uint32_t slot) const { return flows_[pushes_[slot].flow].group; }
  std::uint32_t topic_of(std::uint32_t slot) const { return flows_[pushes_[slot].flow].topic; }
  PriorityClass class_of(std::uint32_t slot) const { return static_cast<PriorityClass>(flows_[pushes_[slot].flow].priority_class); }
  // To write to: made now, if it is not there yet.
  Meta& meta(std::uint32_t slot) { return pushes_[slot].tried ? metas_[slot] : make_meta(slot); }
  // To read, as it stands.
  Meta known(std::uint32_t slot) const {
    const QueuedPush& push = pushes_[slot];
    if (push.tried) return metas_[slot];
    Meta one;
    if ((push.flags & QueuedPush::kSentOnce) != 0) {
      one.attempts = 1;
      one.sent_mono_ns = push.sent.mono_ns;
    }
    return one;
  }
  // A popped one has been written. True: its first attempt.
  bool sent(std::uint32_t slot, std::int64_t mono_ns) {
    QueuedPush& push = pushes_[slot];
    if (!push.tried) {
      push.flags |= QueuedPush::kSentOnce;
      push.sent.mono_ns = mono_ns;
      return true;
    }
    metas_[slot].sent_mono_ns = mono_ns;
    return ++metas_[slot].attempts == 1;
  }
  // Asks for the memory of a push that is looked at soon: answers come in another order than pushes lie.
  void expect(std::uint32_t slot) const {
    base::prefetch(&pushes_[slot]);
    base::prefetch(&pushes_[slot].deadline);
  }
  // The same for its key's place in the index; the key's hash, for finish(). 0: it has none.
  std::uint64_t expect_key(std::uint32_t slot) const {
    if (!pushes_[slot].keyed) return 0;
    const std::uint64_t hash = hash_of(slot);
    index_.expect(hash);
    return hash;
  }
  // Of a push's token and topic, under the queue's seed.
  std::uint64_t print_of(base::ByteView token, std::uint32_t topic) const { return token_fingerprint(seed_, topic, token); }
  std::uint64_t print_of(std::uint32_t slot) const { return print_of(pushes_[slot].token(), topic_of(slot)); }

  void add_credential() { lanes_.emplace_back(); }
  // Nothing of it waits or is in flight: its flows are given back. It may be used again.
  void forget_credential(std::uint32_t credential);
  void add_group(bool paced) { groups_.emplace_back().paced = paced; }

  // What is the same for all pushes of a template. Equal numbers, equal topics.
  struct Keys {
    std::uint32_t topic = 0;
    bool coalesce = false;
    bool by_collapse_id = false;
  };
  // Takes pushes in that are all alike(); there is room (asserted). Those whose token may be among `dead` (null: none are) are
  // marked as suspects. The last one's slot.
  std::uint32_t insert(std::span<const PushRecord> alike, const Keys& keys, const DeadTokens* dead, std::vector<Superseded>& superseded);
  std::uint32_t insert(const PushRecord& push, const Keys& keys, const DeadTokens* dead, std::vector<Superseded>& superseded) {
    return insert({&push, 1}, keys, dead, superseded);
  }

  // The push of this credential that goes next, now in_flight; kNone if none may.
  std::uint32_t pop(std::uint32_t credential);
  // Appends those that `most` calls of that would give.
  void pop(std::uint32_t credential, std::uint32_t most, std::vector<std::uint32_t>& out);
  bool has_ready(std::uint32_t credential) const;
  // Credentials that had nothing ready and have now, or had for a moment, since the last call. Appends.
  void take_woken(std::vector<std::uint32_t>& out);
  // It was not written after all: back to where it stood, as if it had not been popped. Of several, the last one popped
  // first, and before anything else is done with the queue but delay(), hold() and finish() of those popped with it.
  void unpop(std::uint32_t slot);
  // In flight, back to wait: to the front, or delayed. False: a newer one of its key waits that stands for it, or one was
  // accepted, so that it is superseded instead, and held. Else those of its key that wait and are older are superseded by
  // it, as by a new one.
  bool requeue(std::uint32_t slot, Tick not_before, std::vector<Superseded>& superseded, std::uint64_t& by,
               bool& accepted);
  // Popped, but not to go before this tick; its group's allowance is given back.
  void delay(std::uint32_t slot, Tick not_before);
  // Takes it out of wherever it is, to be ended.
  void hold(std::uint32_t slot);
  // It has ended. Accepted: those of its key that are older and wait are superseded. hash: of its key, if that is at hand.
  void finish(std::uint32_t slot, bool accepted, std::vector<Superseded>& superseded, std::uint64_t hash = 0) {
    QueuedPush& push = pushes_[slot];
    TOCSIN_ASSERT(push.state == PushState::in_flight || push.state == PushState::held);
    if (push.keyed) {
      if ((push.older & push.newer) == kNone) {
        index_.erase(hash != 0 ? hash : hash_of(slot), slot);
      } else {
        finish_in_chain(slot, accepted, superseded);
      }
    }
    push.state = PushState::free;
    free_.give(slot);
    --in_use_;
  }

  // Delayed pushes whose tick has come are queued; those whose deadline has come are held and appended.
  void advance(Tick now, std::vector<std::uint32_t>& expired);
  Tick next_due() const { return wheel_.next_due(); }

  void set_group_paused(std::uint32_t group, bool paused);
  void set_group_paced(std::uint32_t group, bool paced);
  void grant_group(std::uint32_t group, std::uint32_t count);
  void void_group(std::uint32_t group);  // what was granted and not used is gone
  bool group_cancelled(std::uint32_t group) const { return groups_[group].cancelled; }
  // For good; what waits is held and appended.
  void cancel_group(std::uint32_t group, std::vector<std::uint32_t>& out);
  // Groups that have something queued and may send nothing for their rate: (group, queued). Paused ones are left out.
  // Told with every call until granted. Appends.
  void wanting_groups(std::vector<std::pair<std::uint32_t, std::uint32_t>>& out);

  // All that wait of a credential, held, line by line in their order, then the delayed ones. Appends.
  void take_waiting(std::uint32_t credential, std::vector<std::uint32_t>& out);
  // Those that wait and have one of these ids, held. Looks at every slot once. Appends.
  void cancel_ids(std::span<const std::uint64_t> ids, std::vector<std::uint32_t>& out);

  std::uint32_t waiting(std::uint32_t credential) const { return lanes_[credential].waiting; }
  std::uint32_t ready(std::uint32_t credential) const { return lanes_[credential].ready; }  // may go now
  std::uint32_t waiting() const { return waiting_; }
  std::uint32_t delayed() const { return delayed_; }
  std::uint32_t in_use() const { return in_use_; }
  std::size_t flows() const { return flow_index_.size(); }

 private:
  static constexpr std::size_t kClasses = 3;

  struct Flow {
    std::uint32_t credential = 0;
    std::uint32_t topic = 0;
    std::uint32_t group = 0;  // handle: 0 is none
    std::uint8_t priority_class = 0;
    bool in_ring = false;
    std::uint32_t head = kNone;
    std::uint32_t tail = kNone;
    std::uint32_t count = 0;
    std::uint32_t ring_next = kNone;  // circular, among the credential's flows of its class that may send
    std::uint32_t ring_prev = kNone;
  };
  struct Lane {  // a credential's
    std::array<std::uint32_t, kClasses> rings{kNone, kNone, kNone};
    // Stride scheduling: the class that has got least for its weight goes next, and unpop() takes back exactly what
    // pop() added. A class that had nothing to send does not save up: it starts at `now`.
    std::array<std::uint64_t, kClasses> passes{};
    std::uint64_t now = 0;  // the pass of the class served last
    std::uint32_t waiting = 0;
    std::uint32_t ready = 0;  // in flows that are in a ring
    bool woken = false;  // in woken_
    std::uint32_t delayed_head = kNone;
    std::vector<std::uint32_t> flows;
  };
  struct Group {
    bool paced = false;
    bool paused = false;
    bool cancelled = false;
    bool listed = false;  // in starved_
    std::uint32_t allowance = 0;
    std::uint32_t queued = 0;
    std::vector<std::uint32_t> flows;
    bool may_send() const { return !paused && (!paced || allowance != 0); }
  };
  struct FlowKey {
    std::uint64_t high = 0;  // credential, topic
    std::uint64_t low = 0;   // group, class
    bool operator==(const FlowKey&) const = default;
  };
  struct FlowHash {
    std::size_t operator()(const FlowKey& key) const;
  };
  // Where the wheel finds its links. A queued push is due at its deadline, so that this need not be kept twice.
  struct Links {
    QueuedPush* pushes;
    Meta* metas;
    WheelLink& link(std::uint32_t slot) const { return pushes[slot].line.wheel; }
    Tick due(std::uint32_t slot) const {
      const QueuedPush& push = pushes[slot];
      if (!push.in_wheel) return kTickNone;
      return push.state == PushState::delayed ? metas[slot].due : push.deadline;
    }
    void set_due(std::uint32_t slot, Tick due) const {
      QueuedPush& push = pushes[slot];
      push.in_wheel = due != kTickNone;
      if (due == kTickNone) return;
      // A deadline that has passed already is brought to when it is seen.
      (push.state == PushState::delayed ? metas[slot].due : push.deadline) = due;
    }
  };

  std::uint32_t acquire();
  std::uint32_t flow_of(const PushRecord& record, std::uint32_t topic) {
    const FlowKey key{std::uint64_t{record.credential} << 32 | topic,
                      std::uint64_t{record.group} << 8 | static_cast<std::uint64_t>(record.priority_class)};
    return last_flow_ != kNone && key == last_key_ ? last_flow_ : find_flow(key, record);
  }
  std::uint32_t find_flow(const FlowKey& key, const PushRecord& record);
  Meta& make_meta(std::uint32_t slot);
  // It is to wait again: what `sent` says goes where the links do not need its room.
  void make_room(std::uint32_t slot) {
    if ((pushes_[slot].flags & QueuedPush::kSentOnce) != 0) make_meta(slot);
  }
  bool eligible(const Flow& flow) const { return flow.group == 0 || groups_[flow.group - 1].may_send(); }
  void enter_ring(std::uint32_t index);
  void leave_ring(std::uint32_t index);
  void refresh_group(Group& group);
  // Links a slot into its flow in front of `before`; kNone: at the end.
  void link_before(std::uint32_t slot, std::uint32_t before);
  // Counts pushes that were linked into it.
  void joined(std::uint32_t index, std::uint32_t count);
  // One of a key that is there already.
  void insert_newer(std::uint32_t slot, std::uint32_t newest, std::uint64_t hash, std::vector<Superseded>& superseded);
  // The only line of this credential that may send, if nothing of it is counted; kNone.
  std::uint32_t only_flow(const Lane& lane) const;
  void pop_run(Lane& lane, std::uint32_t index, std::uint32_t count, std::vector<std::uint32_t>& out);
  void link_front(std::uint32_t slot) { link_before(slot, flows_[pushes_[slot].flow].head); }
  void unlink(std::uint32_t slot);
  void give_back(std::uint32_t group);
  void add_delayed(std::uint32_t slot, Tick not_before);
  void remove_delayed(std::uint32_t slot);
  void watch_deadline(std::uint32_t slot);
  bool waits(std::uint32_t slot) const {
    return state(slot) == PushState::queued || state(slot) == PushState::delayed;
  }
  // The newest live push with the key of this one, which is not in the index yet; kNone.
  std::uint32_t find_same(const QueuedPush& mine, std::uint64_t hash) const;
  // Whether `newer` may stand for `older`, which waits.
  bool stands_for(std::uint32_t newer, std::uint32_t older) const;
  void supersede_older(std::uint32_t slot, std::vector<Superseded>& superseded);
  // The hash of a key.
  template <class Push>
  std::uint64_t hash_of(const Push& push, std::uint32_t topic, bool by_collapse, std::uint64_t print) const {
    if (!by_collapse || push.collapse_bytes == 0) return print;
    return print ^ token_fingerprint(~seed_, topic, push.collapse_id());
  }
  std::uint64_t hash_of(std::uint32_t slot) const {
    const QueuedPush& push = pushes_[slot];
    const std::uint32_t topic = topic_of(slot);
    return hash_of(push, topic, push.by_collapse, print_of(push.token(), topic));
  }
  void finish_in_chain(std::uint32_t slot, bool accepted, std::vector<Superseded>& superseded);
  void leave_chain(std::uint32_t slot);

  std::uint64_t seed_;
  SlotArray<QueuedPush> pushes_;
  SlotArray<Meta> metas_;
  FreeSlots free_;
  std::uint32_t in_use_ = 0;
  std::uint32_t waiting_ = 0;
  std::uint32_t delayed_ = 0;
  std::vector<Lane> lanes_;
  std::vector<Group> groups_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> free_flows_;
  std::unordered_map<FlowKey, std::uint32_t, FlowHash> flow_index_;
  FlowKey last_key_;  // pushes come in runs of one flow
  std::uint32_t last_flow_ = kNone;
  std::vector<std::uint32_t> starved_;
  std::vector<std::uint32_t> woken_;
  CoalesceIndex index_;
  TimerWheel<Links> wheel_;
};

}  // namespace tocsin::dispatch
