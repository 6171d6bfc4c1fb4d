// SPDX-License-Identifier: Apache-2.0
// The queue's many at once, taken in and popped, what it keeps of each push, and what the shard takes in for a cancelled group.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/prng.h"
#include "dispatch/push_queue.h"
#include "dispatch/shard.h"
#include "dispatch/token_table.h"

namespace tocsin::dispatch {
namespace {

std::string numbered(std::string text, std::uint64_t number) { return text += std::to_string(number); }
base::ByteView view(const std::string& text) { return std::as_bytes(std::span(text)); }

// With one line, which is popped in one go, and with several.
TEST(Queue, ManyAtOnceAreThoseThatSinglePopsGive) {
  Queue queue(4096, 1), other(4096, 1);
  queue.add_credential();
  other.add_credential();
  base::Prng prng(6);
  std::vector<Queue::Superseded> taken;
  std::uint64_t id = 0;
  std::size_t together = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto kinds = i % 300 < 150 ? 1u : 3u;
    for (std::uint64_t n = prng.below(12); n != 0 && queue.in_use() < 4000; --n) {
      PushRecord record;
      record.id = ++id;
      record.priority_class = static_cast<PriorityClass>(prng.below(kinds));
      record.deadline = prng.chance(0.5) ? 100'000 + static_cast<Tick>(prng.below(1000)) : kTickNone;
      const auto topic = static_cast<std::uint32_t>(prng.below(kinds));
      queue.insert(record, {topic, false, false}, nullptr, taken);
      other.insert(record, {topic, false, false}, nullptr, taken);
    }
    std::vector<std::uint32_t> got;
    const auto most = static_cast<std::uint32_t>(prng.below(14));
    queue.pop(0, most, got);
    together += got.size();
    for (const std::uint32_t slot : got) {
      const std::uint32_t single = other.pop(0);
      ASSERT_EQ(queue.record(slot).id, other.record(single).id) << i;
      ASSERT_EQ(queue.state(slot), PushState::in_flight);
      other.finish(single, true, taken);
    }
    if (got.size() < most) {
      ASSERT_FALSE(other.has_ready(0));
    }
    ASSERT_EQ(queue.waiting(), other.waiting());
    ASSERT_EQ(queue.ready(0), other.ready(0));
    ASSERT_EQ(queue.has_ready(0), other.has_ready(0));
    ASSERT_EQ(queue.next_due(), other.next_due());
    for (const std::uint32_t slot : got) queue.finish(slot, true, taken);
  }
  EXPECT_GT(together, 10'000u);
}

// A run that is taken in at once, against the same pushes one by one: those who find an older one of their key included.
TEST(Queue, ARunTakenInIsWhatSinglePushesAre) {
  std::size_t superseded = 0, suspects = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Queue queue(2048, seed), other(2048, seed);
    queue.add_credential();
    other.add_credential();
    queue.add_group(true);
    other.add_group(true);
    base::Prng prng(seed);
    DeadTokens dead(4096, seed);
    for (std::uint32_t i = 0; i < 40; i += 3) dead.add(i % 2, view(numbered("token", i)), 5);
    std::vector<Queue::Superseded> taken, single;
    std::uint64_t id = 0;
    Tick now = 0;
    for (int round = 0; round < 200; ++round) {
      PushRecord like;
      like.group = static_cast<std::uint32_t>(prng.below(2));
      like.priority_class = static_cast<PriorityClass>(prng.below(3));
      const Queue::Keys keys{static_cast<std::uint32_t>(prng.below(2)), prng.chance(0.7), prng.chance(0.5)};
      std::vector<PushRecord> run;
      for (std::uint64_t n = 1 + prng.below(50); n != 0 && queue.in_use() + n < 2048; --n) {
        PushRecord& push = run.emplace_back(like);
        push.id = ++id;
        push.deadline = prng.chance(0.3) ? now + static_cast<Tick>(prng.below(30)) : kTickNone;
        const std::string token = numbered("token", prng.below(40));
        const std::string collapse(prng.below(3), 'c');
        push.token_bytes = static_cast<std::uint8_t>(token.size());
        push.collapse_bytes = static_cast<std::uint8_t>(collapse.size());
        std::memcpy(push.inline_bytes, (token + collapse).data(), token.size() + collapse.size());
      }
      const DeadTokens* const filter = prng.chance(0.5) ? &dead : nullptr;
      if (!run.empty()) queue.insert(run, keys, filter, taken);
      for (const PushRecord& push : run) {
        const std::uint32_t slot = other.insert(push, keys, filter, single);
        const bool suspect = (other.record(slot).flags & QueuedPush::kSuspect) != 0;
        ASSERT_EQ(suspect, filter != nullptr && dead.may_be(other.print_of(slot)));
        suspects += suspect ? 1 : 0;
      }
      ASSERT_EQ(taken.size(), single.size());
      superseded += taken.size();
      for (std::size_t i = 0; i < taken.size(); ++i) {
        ASSERT_EQ(queue.record(taken[i].slot).id, other.record(single[i].slot).id);
        ASSERT_EQ(taken[i].by, single[i].by);
        std::vector<Queue::Superseded> none;
        queue.finish(taken[i].slot, false, none);
        other.finish(single[i].slot, false, none);
      }
      taken.clear();
      single.clear();
      if (prng.chance(0.4)) {
        queue.grant_group(0, 7);
        other.grant_group(0, 7);
      }
      std::vector<std::uint32_t> got, wanted;
      const auto most = static_cast<std::uint32_t>(prng.below(40));
      queue.pop(0, most, got);
      other.pop(0, most, wanted);
      now += static_cast<Tick>(prng.below(10));
      queue.advance(now, got);
      other.advance(now, wanted);
      ASSERT_EQ(got.size(), wanted.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(queue.record(got[i]).id, other.record(wanted[i]).id);
        ASSERT_EQ(queue.record(got[i]).flags, other.record(wanted[i]).flags);
        queue.finish(got[i], true, taken);
        other.finish(wanted[i], true, single);
      }
      ASSERT_EQ(queue.waiting(), other.waiting());
      ASSERT_EQ(queue.ready(0), other.ready(0));
      ASSERT_EQ(queue.next_due(), other.next_due());
    }
  }
  EXPECT_GT(superseded, 1000u);
  EXPECT_GT(suspects, 1000u);
}

// The queue copies a record in two pieces whose places agree by static_assert; that each field means the same is shown here.
TEST(Queue, APushKeepsWhatItsRecordSays) {
  base::Prng prng(3);
  for (int round = 0; round < 500; ++round) {
    PushRecord record;
    record.id = prng.next();
    for (auto& byte : record.apns_id) byte = static_cast<std::uint8_t>(prng.below(256));
    record.submitted_wall_ns = static_cast<std::int64_t>(prng.next());
    record.template_index = static_cast<std::uint32_t>(prng.next());
    record.credential = static_cast<std::uint32_t>(prng.below(2));
    record.group = static_cast<std::uint32_t>(prng.below(2));
    record.deadline = static_cast<Tick>(1 + prng.below(kTickMax - 2));
    record.set_registered_unix_ms(static_cast<std::int64_t>(prng.next() >> 16));
    record.token_bytes = static_cast<std::uint8_t>(prng.below(20));
    record.collapse_bytes = static_cast<std::uint8_t>(prng.below(14));
    record.content_bytes = static_cast<std::uint16_t>(prng.below(14));
    record.policy = prng.chance(0.5) ? Policy::at_most_once : Policy::at_least_once;
    record.priority_class = static_cast<PriorityClass>(prng.below(3));
    for (auto& byte : record.inline_bytes) byte = static_cast<std::byte>(prng.below(256));
    record.flags = static_cast<std::uint8_t>(prng.below(2) != 0 ? PushRecord::kUuidLower : prng.below(2) != 0 ? PushRecord::kUuidUpper : 0);
    std::byte block[64] = {};
    if (prng.chance(0.3)) record.set_block(block, 77);
    Queue queue(2, 1);
    queue.add_credential();
    queue.add_credential();
    queue.add_group(false);
    std::vector<Queue::Superseded> taken;
    const bool coalesce = prng.chance(0.5);
    const std::uint32_t slot = queue.insert(record, {9, coalesce, prng.chance(0.5)}, nullptr, taken);
    for (int look = 0; look < 3; ++look) {  // waiting, in flight, waiting again
      const QueuedPush& push = queue.record(slot);
      ASSERT_EQ(push.id, record.id);
      ASSERT_EQ(push.apns_id, record.apns_id);
      ASSERT_EQ(push.submitted_wall_ns, record.submitted_wall_ns);
      ASSERT_EQ(push.template_index, record.template_index);
      ASSERT_EQ(push.deadline, record.deadline);
      ASSERT_EQ(push.registered_unix_ms(), record.registered_unix_ms());
      ASSERT_EQ(push.policy(), record.policy);
      ASSERT_EQ(push.external(), record.external());
      ASSERT_EQ(push.uuid_content(), record.uuid_content());
      ASSERT_EQ(push.flags & PushRecord::kUuidUpper, record.flags & PushRecord::kUuidUpper);
      if (record.external()) {
        ASSERT_EQ(push.block(), block);
        ASSERT_EQ(push.block_class(), 77u);
      }
      const auto same = [](base::ByteView a, base::ByteView b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); };
      ASSERT_EQ(push.data_bytes(), record.data_bytes());
      ASSERT_TRUE(same(push.token(), record.token()));
      ASSERT_TRUE(same(push.collapse_id(), record.collapse_id()));
      ASSERT_TRUE(same(push.content(), record.content()));
      ASSERT_EQ(std::memcmp(push.inline_bytes, record.inline_bytes, kInlineBytes), 0);
      ASSERT_EQ(queue.credential_of(slot), record.credential);
      ASSERT_EQ(queue.group_of(slot), record.group);
      ASSERT_EQ(queue.topic_of(slot), 9u);
      ASSERT_EQ(queue.class_of(slot), record.priority_class);
      if (look == 0) {
        ASSERT_EQ(queue.pop(record.credential), slot);
        ASSERT_TRUE(queue.sent(slot, 1234));
      } else if (look == 1) {
        std::uint64_t by = 0;
        bool accepted = false;
        ASSERT_TRUE(queue.requeue(slot, prng.chance(0.5) ? 5 : kTickNone, taken, by, accepted));
      }
    }
    EXPECT_EQ(queue.known(slot).attempts, 1);
    EXPECT_EQ(queue.known(slot).sent_mono_ns, 1234);
    queue.hold(slot);
    EXPECT_EQ(queue.known(slot).attempts, 1);
    queue.finish(slot, false, taken);
  }
}

// What a shard is told of a credential and a template.
std::vector<Event> one_of_each(bool coalesce) {
  std::vector<Event> events(2);
  events[0].kind = EventKind::credential_added;
  events[0].credential = std::make_shared<CredentialConfig>();
  events[1].kind = EventKind::template_added;
  auto config = std::make_shared<TemplateConfig>();
  config->options.coalesce = coalesce;
  events[1].template_config = config;
  return events;
}

// What comes for a cancelled group ends at once; an older push of its key that waits elsewhere is not superseded by it.
TEST(QueueInShard, APushOfACancelledGroupSupersedesNobody) {
  Shard shard(ShardOptions{});
  Output out;
  std::vector<Event> events = one_of_each(true);
  events.emplace_back().kind = EventKind::group_added;
  events.emplace_back().kind = EventKind::group_cancelled;
  std::vector<PushRecord> pushes(3);
  for (std::size_t i = 0; i < pushes.size(); ++i) {
    pushes[i].id = i + 1;
    pushes[i].token_bytes = 1;
    pushes[i].inline_bytes[0] = std::byte{'t'};
  }
  pushes[1].group = 1;
  shard.step({.mono_ns = 1, .wall_ns = 1}, events, pushes, out);
  std::map<std::uint64_t, End> ends;
  for (const Outcome& outcome : out.outcomes) ends[outcome.id] = outcome.end;
  const std::map<std::uint64_t, End> wanted{{2, End::cancelled}, {1, End::superseded}};
  EXPECT_EQ(ends, wanted);
  for (const Outcome& outcome : out.outcomes) {
    if (outcome.id == 1) {
      EXPECT_EQ(outcome.superseded_by, 3u);
    }
  }
}

// However often the wheel has moved in this tick.
TEST(QueueInShard, APushWhoseDeadlineHasPassedEndsAtOnce) {
  Shard shard(ShardOptions{});
  Output out;
  std::vector<Event> events = one_of_each(false);
  std::vector<PushRecord> pushes(3);
  for (std::uint64_t step = 0; step < 3; ++step) {
    for (std::size_t i = 0; i < pushes.size(); ++i) pushes[i].id = step * 10 + i;
    pushes[0].deadline = 1;
    pushes[1].deadline = 6;  // not yet
    pushes[2].deadline = 5;
    shard.step({.mono_ns = 5 * kTickNs, .wall_ns = 1}, events, pushes, out);
    events.clear();
    ASSERT_EQ(out.outcomes.size(), 2u) << step;
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(out.outcomes[i].id, step * 10 + i * 2);
      EXPECT_EQ(out.outcomes[i].end, End::expired);
      EXPECT_EQ(out.outcomes[i].reason, Reason::deadline_passed);
    }
  }
  shard.step({.mono_ns = 6 * kTickNs, .wall_ns = 1}, events, {}, out);
  EXPECT_EQ(out.outcomes.size(), 3u);
}

}  // namespace
}  // namespace tocsin::dispatch
