// SPDX-License-Identifier: Apache-2.0
// The shard's queue against a naive model over random operations, and the order it promises.
#include "dispatch/push_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/prng.h"

namespace tocsin::dispatch {
namespace {

using Slots = std::vector<std::uint32_t>;
using Taken = std::vector<Queue::Superseded>;

std::string numbered(std::string text, std::uint64_t number) { return text += std::to_string(number); }

PushRecord make_record(std::uint64_t id, std::uint32_t credential = 0, const std::string& token = "t",
                       const std::string& collapse = "") {
  PushRecord record;
  record.id = id;
  record.credential = credential;
  record.token_bytes = static_cast<std::uint8_t>(token.size());
  record.collapse_bytes = static_cast<std::uint8_t>(collapse.size());
  std::memcpy(record.inline_bytes, token.data(), token.size());
  std::memcpy(record.inline_bytes + token.size(), collapse.data(), collapse.size());
  return record;
}

// ---------------------------------------------------------------------------------------------------- the model

// What the queue is to do, in the plainest containers. A line is a list of sets: pushes whose delays ended in the same
// advance() come back to the front of their line in no order that is promised.
class Model {
 public:
  using Line = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, int>;  // credential, topic, group, class
  struct Push {
    std::uint64_t id = 0;
    std::uint64_t age = 0;
    Line line;
    std::optional<std::string> key;
    Tick deadline = kTickNone;
    Tick not_before = kTickNone;
    PushState state = PushState::queued;
    std::uint64_t outdone_by = 0;
    unsigned attempts = 0;
    std::int64_t sent_ns = 0;
  };
  struct Group {
    bool paced = false, paused = false, cancelled = false;
    std::uint32_t allowance = 0;
  };

  std::map<std::uint32_t, Push> pushes;
  std::map<Line, std::deque<std::set<std::uint32_t>>> lines;
  std::vector<Group> groups;
  Tick now = 0;
  std::uint64_t ages = 0;

  bool waits(const Push& push) const { return push.state == PushState::queued || push.state == PushState::delayed; }
  bool eligible(const Line& line) const {
    const std::uint32_t group = std::get<2>(line);
    return group == 0 || (!groups[group - 1].paused && (!groups[group - 1].paced || groups[group - 1].allowance != 0));
  }
  Slots waiting(auto&& predicate) const {
    Slots out;
    for (const auto& [slot, push] : pushes) {
      if (waits(push) && predicate(push)) out.push_back(slot);
    }
    return out;
  }
  // A deadline that has passed when a push begins to stand in line is the next tick.
  Tick seen_now(Tick deadline) const { return deadline == kTickNone ? kTickNone : std::max(deadline, now + 1); }
  void front(std::uint32_t slot) {
    pushes[slot].state = PushState::queued;
    pushes[slot].deadline = seen_now(pushes[slot].deadline);
    lines[pushes[slot].line].push_front({slot});
  }
  void take_out(std::uint32_t slot, PushState state) {
    Push& push = pushes[slot];
    auto& line = lines[push.line];
    for (auto it = line.begin(); push.state == PushState::queued && it != line.end(); ++it) {
      if (it->erase(slot) == 0) continue;
      if (it->empty()) line.erase(it);
      break;
    }
    push.state = state;
  }
  bool paused(const Push& push) const { return std::get<2>(push.line) != 0 && groups[std::get<2>(push.line) - 1].paused; }
  // A newer push that is served later, lasts shorter, or is paused where the other is not leaves it alone.
  bool stands_for(const Push& newer, const Push& older) const {
    const auto rank = [](const Push& push) {
      switch (static_cast<PriorityClass>(std::get<3>(push.line))) {
        case PriorityClass::urgent: return 0;
        case PriorityClass::normal: return 1;
        default: return 2;
      }
    };
    if (rank(newer) > rank(older) || (paused(newer) && !paused(older))) return false;
    return newer.deadline == kTickNone || (older.deadline != kTickNone && newer.deadline >= older.deadline);
  }
  // Those of its key that wait, the newest first.
  Slots waiting_with_key(const Push& of, auto&& counts) const {
    Slots found;
    for (const auto& [slot, push] : pushes) {
      if (waits(push) && of.key && push.key == of.key && push.age != of.age && counts(push)) found.push_back(slot);
    }
    std::sort(found.begin(), found.end(), [this](std::uint32_t a, std::uint32_t b) { return pushes.at(a).age > pushes.at(b).age; });
    return found;
  }
  Slots older_to_go(const Push& of) const {
    return waiting_with_key(of, [&](const Push& other) { return other.age < of.age && stands_for(of, other); });
  }
};

class Twin {
 public:
  static constexpr std::uint32_t kCredentials = 3;
  static constexpr std::uint32_t kGroups = 5;

  Twin(std::uint64_t seed, std::uint32_t capacity) : prng_(seed), capacity_(capacity), queue_(capacity, seed * 7 + 1) {
    for (std::uint32_t i = 0; i < kCredentials; ++i) queue_.add_credential();
    for (std::uint32_t i = 0; i < kGroups; ++i) {
      queue_.add_group(i % 2 == 1);
      model_.groups.push_back({.paced = i % 2 == 1});
    }
    insert_bias_ = 10 + static_cast<unsigned>(prng_.below(40));
    far_ = prng_.chance(0.3);
    narrow_ = prng_.chance(0.4);
  }

  void step() {
    const std::uint64_t dice = prng_.below(100);
    if (dice < insert_bias_) {
      insert();
    } else if (dice < 65) {
      pop_some();
    } else if (dice < 82) {
      for (std::uint32_t i = 1 + pick(8); i != 0; --i) end_one();
    } else if (dice < 90) {
      advance();
    } else {
      control();
    }
    check();
  }

  void drain() {
    for (std::uint32_t i = 0; i < kCredentials; ++i) take_waiting(i);
    while (!model_.pushes.empty()) finish(model_.pushes.begin()->first, false);
    check();
    EXPECT_EQ(queue_.in_use(), 0u);
    EXPECT_EQ(queue_.next_due(), kTickMax);
    // Every slot is there again, and no key is remembered.
    Taken taken;
    std::set<std::uint32_t> slots;
    for (std::uint32_t i = 0; i < capacity_; ++i) {
      slots.insert(queue_.insert(make_record(i, 0, numbered("t", i)), {0, true, false}, nullptr, taken));
    }
    EXPECT_EQ(slots.size(), capacity_);
    EXPECT_TRUE(taken.empty());
  }

  std::map<std::string, int> seen;  // how often what was met

 private:
  std::uint32_t pick(std::uint32_t bound) { return static_cast<std::uint32_t>(prng_.below(bound)); }
  Tick ahead() {
    const std::uint32_t spans[] = {4, 40, 600, 70'000, 20'000'000};
    return pick(spans[pick(far_ ? 5 : 3)]);
  }

  void insert() {
    if (model_.pushes.size() == capacity_) return;
    const std::uint32_t topic = narrow_ ? 0 : pick(2);
    const bool coalesce = prng_.chance(narrow_ ? 0.95 : 0.6);
    const bool by_collapse = prng_.chance(narrow_ ? 0.1 : 0.5);
    const std::string token = std::string(1 + pick(2), static_cast<char>('a' + pick(3)));
    const std::string collapse(pick(3), 'a');
    PushRecord record = make_record(1000 + model_.ages, narrow_ ? 0 : pick(kCredentials), token, collapse);
    if (!narrow_) record.group = pick(kGroups + 1);
    if (record.group != 0 && model_.groups[record.group - 1].cancelled) record.group = 0;
    if (!narrow_) record.priority_class = static_cast<PriorityClass>(pick(3));
    if (prng_.chance(0.4)) record.deadline = std::max<Tick>(1, model_.now + ahead());
    Model::Push push;
    push.id = record.id;
    push.age = model_.ages++;
    push.line = {record.credential, topic, record.group, static_cast<int>(record.priority_class)};
    push.deadline = model_.seen_now(record.deadline);
    if (coalesce) push.key = std::to_string(record.credential) + "@" + std::to_string(topic) + '/' + token + (by_collapse ? '/' + collapse : std::string("-"));
    const Slots older = model_.older_to_go(push);
    if (older.empty() && push.key && !model_.waiting_with_key(push, [](const auto&) { return true; }).empty()) ++seen["left alone"];

    Taken taken;
    const std::uint32_t slot = queue_.insert(record, {topic, coalesce, coalesce && by_collapse}, nullptr, taken);
    ASSERT_FALSE(model_.pushes.contains(slot));
    model_.pushes[slot] = push;
    std::set<std::uint32_t>* place = nullptr;
    auto& line = model_.lines[push.line];
    for (const std::uint32_t other : older) {
      if (model_.pushes[other].state != PushState::queued || model_.pushes[other].line != push.line) continue;
      for (auto& each : line) {
        if (each.contains(other)) place = &each;
      }
    }
    if (place != nullptr) {
      ++seen["place taken"];
      // It stands where the oldest stood, also among others whose order is open.
      place->insert(slot);
    } else {
      line.push_back({slot});
    }
    expect_superseded(taken, older, push.id, false);
  }

  void expect_superseded(const Taken& taken, const Slots& older, std::uint64_t by, bool accepted) {
    ASSERT_EQ(taken.size(), older.size());
    if (older.size() > 1) ++seen["several superseded"];
    for (std::size_t i = 0; i < older.size(); ++i) {
      ++seen[accepted ? "superseded by an accepted one" : "superseded"];
      EXPECT_EQ(taken[i].slot, older[i]);
      EXPECT_EQ(taken[i].by, by);
      EXPECT_EQ(taken[i].accepted, accepted);
      model_.take_out(older[i], PushState::held);
    }
  }

  std::optional<std::uint32_t> pop(std::uint32_t credential) { return judge_pop(credential, queue_.pop(credential)); }
  std::optional<std::uint32_t> judge_pop(std::uint32_t credential, std::uint32_t slot) {
    bool possible = false;
    bool is_front = false;
    for (const auto& [line, places] : model_.lines) {
      if (std::get<0>(line) != credential || places.empty() || !model_.eligible(line)) continue;
      possible = true;
      is_front = is_front || places.front().contains(slot);
    }
    EXPECT_EQ(slot != Queue::kNone, possible);
    if (slot == Queue::kNone) return {};
    EXPECT_TRUE(is_front) << "not the first of a line that may send";
    model_.take_out(slot, PushState::in_flight);
    spend(slot, true);
    return slot;
  }
  void spend(std::uint32_t slot, bool take) {
    const std::uint32_t group = std::get<2>(model_.pushes[slot].line);
    if (group == 0 || !model_.groups[group - 1].paced) return;
    if (take) --model_.groups[group - 1].allowance; else ++model_.groups[group - 1].allowance;
  }

  void pop_some() {
    const std::uint32_t credential = narrow_ ? 0 : pick(kCredentials);
    Slots popped;
    const std::uint32_t most = 1 + pick(6);
    const bool at_once = prng_.chance(0.5);
    if (at_once) {
      queue_.pop(credential, most, popped);
      EXPECT_LE(popped.size(), most);
      for (const std::uint32_t slot : popped) judge_pop(credential, slot);
      if (popped.size() < most) judge_pop(credential, Queue::kNone);
      seen["popped at once"] += popped.size() > 1 ? 1 : 0;
    }
    for (std::uint32_t i = at_once ? 0 : most; i != 0; --i) {
      const auto slot = pop(credential);
      if (!slot) break;
      if (prng_.chance(0.1)) {
        const Tick until = model_.now + ahead();
        queue_.delay(*slot, until);
        model_.pushes[*slot].state = PushState::delayed;
        model_.pushes[*slot].not_before = until;
        spend(*slot, false);
        ++seen["delayed"];
      } else {
        popped.push_back(*slot);
      }
    }
    for (std::size_t back = prng_.chance(0.3) ? prng_.below(popped.size() + 1) : 0; back != 0; --back) {
      queue_.unpop(popped.back());
      model_.front(popped.back());
      spend(popped.back(), false);
      popped.pop_back();
      ++seen["unpopped"];
    }
    for (const std::uint32_t slot : popped) {
      if (prng_.chance(0.2)) continue;  // as if an answer came for it all the same: nothing else may depend on it
      Model::Push& push = model_.pushes[slot];
      push.sent_ns = ++stamps_;
      EXPECT_EQ(queue_.sent(slot, push.sent_ns), ++push.attempts == 1);
    }
  }

  void end_one() {
    Slots busy;
    for (const auto& [slot, push] : model_.pushes) {
      if (!model_.waits(push)) busy.push_back(slot);
    }
    if (busy.empty()) return;
    const std::uint32_t slot = busy[prng_.below(busy.size())];
    if (model_.pushes[slot].state == PushState::held) return finish(slot, false);
    switch (pick(5)) {
      case 0: requeue(slot, kTickNone); break;
      case 1: requeue(slot, std::max<Tick>(1, model_.now + ahead())); break;
      case 2:
        queue_.hold(slot);
        model_.pushes[slot].state = PushState::held;
        break;
      default: finish(slot, prng_.chance(0.7)); break;
    }
  }

  void requeue(std::uint32_t slot, Tick until) {
    Model::Push& push = model_.pushes[slot];
    const Slots newer = model_.waiting_with_key(push, [&](const auto& other) {
      return other.age > push.age && model_.stands_for(other, push);
    });
    const Slots older = model_.older_to_go(push);
    Taken taken;
    std::uint64_t by = 0;
    bool accepted = false;
    const bool back = queue_.requeue(slot, until, taken, by, accepted);
    EXPECT_EQ(back, push.outdone_by == 0 && newer.empty());
    if (!back) {
      EXPECT_EQ(accepted, push.outdone_by != 0);
      EXPECT_EQ(by, push.outdone_by != 0 ? push.outdone_by : model_.pushes[newer.empty() ? slot : newer.back()].id);
      EXPECT_TRUE(taken.empty());
      push.state = PushState::held;
      ++seen[accepted ? "retry outdone" : "retry superseded"];
      return;
    }
    expect_superseded(taken, older, push.id, false);
    if (!older.empty()) ++seen["superseded by a retry"];
    if (until == kTickNone) return model_.front(slot);
    push.state = PushState::delayed;
    push.not_before = until;
  }

  void finish(std::uint32_t slot, bool accepted) {
    const Model::Push push = model_.pushes[slot];
    const Slots older =
        accepted ? model_.waiting_with_key(push, [&](const auto& other) { return other.age < push.age; }) : Slots{};
    if (accepted && push.key) {
      for (auto& [other, each] : model_.pushes) {
        if (each.key == push.key && each.age < push.age && each.state == PushState::in_flight) each.outdone_by = push.id;
      }
    }
    Taken taken;
    queue_.finish(slot, accepted, taken);
    expect_superseded(taken, older, push.id, true);
    model_.pushes.erase(slot);
  }

  void advance() {
    const Tick before = model_.now;
    const Tick next = queue_.next_due();
    if (next != kTickMax) {
      EXPECT_GT(next, before);
    }
    if (!prng_.chance(0.1)) model_.now += 1 + ahead();
    Slots expired;
    queue_.advance(model_.now, expired);
    // Nothing at all happens in an advance to the same tick.
    const bool moved = model_.now > before;
    const auto timed = model_.waiting([](const auto& push) {
      return push.deadline != kTickNone || push.state == PushState::delayed;
    });
    std::map<Model::Line, std::set<std::uint32_t>> released;
    Slots due;
    for (const std::uint32_t slot : timed) {
      Model::Push& push = model_.pushes[slot];
      if (!moved) continue;
      if (push.deadline != kTickNone && push.deadline <= model_.now) {
        due.push_back(slot);
      } else if (push.state == PushState::delayed && push.not_before <= model_.now) {
        released[push.line].insert(slot);
        push.state = PushState::queued;
      }
    }
    if (!due.empty() || !released.empty()) {
      EXPECT_LE(next, model_.now);
    }
    if (timed.empty()) {
      EXPECT_EQ(next, kTickMax);
    }
    for (const std::uint32_t slot : due) model_.take_out(slot, PushState::held);
    for (auto& [line, slots] : released) model_.lines[line].push_front(slots);
    std::sort(expired.begin(), expired.end());
    EXPECT_EQ(expired, due);
    seen["expired"] += static_cast<int>(due.size());
    seen["released"] += static_cast<int>(released.size());
  }

  void hold_all(Slots got, const Slots& wanted) {
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, wanted);
    for (const std::uint32_t slot : wanted) model_.take_out(slot, PushState::held);
  }

  void take_waiting(std::uint32_t credential) {
    Slots got;
    queue_.take_waiting(credential, got);
    hold_all(got, model_.waiting([&](const auto& push) { return std::get<0>(push.line) == credential; }));
  }

  void control() {
    const std::uint32_t group = pick(kGroups);
    Model::Group& state = model_.groups[group];
    switch (pick(10)) {
      case 0:
      case 1:
        state.paused = !state.paused;
        queue_.set_group_paused(group, state.paused);
        break;
      case 2:
        state.paced = !state.paced;
        state.allowance = 0;
        queue_.set_group_paced(group, state.paced);
        break;
      case 3: {
        std::vector<std::uint64_t> ids;
        for (std::uint32_t i = pick(4); i != 0; --i) ids.push_back(1000 + prng_.below(model_.ages + 1));
        Slots got;
        queue_.cancel_ids(ids, got);
        seen["cancelled"] += static_cast<int>(got.size());
        hold_all(got, model_.waiting([&](const auto& push) { return std::count(ids.begin(), ids.end(), push.id) != 0; }));
        break;
      }
      case 4: {
        if (!prng_.chance(0.05)) break;
        Slots got;
        queue_.cancel_group(group, got);
        state.cancelled = true;
        EXPECT_TRUE(queue_.group_cancelled(group));
        hold_all(got, model_.waiting([&](const auto& push) { return std::get<2>(push.line) == group + 1; }));
        ++seen["group cancelled"];
        break;
      }
      case 5:
        if (prng_.chance(0.1)) take_waiting(pick(kCredentials));
        break;
      default:
        if (!state.paced) break;
        const std::uint32_t count = pick(5);
        queue_.grant_group(group, count);
        state.allowance += count;
        break;
    }
  }

  void check() {
    std::uint32_t waiting[kCredentials] = {};
    std::uint32_t ready[kCredentials] = {};
    std::uint32_t delayed = 0;
    std::vector<std::uint32_t> queued(kGroups, 0);
    for (const auto& [slot, push] : model_.pushes) {
      ASSERT_EQ(queue_.state(slot), push.state) << "slot " << slot;
      ASSERT_EQ(queue_.record(slot).id, push.id);
      ASSERT_EQ(queue_.known(slot).attempts, push.attempts);
      ASSERT_EQ(queue_.known(slot).sent_mono_ns, push.sent_ns);
      if (!model_.waits(push)) continue;
      ++waiting[std::get<0>(push.line)];
      if (push.state == PushState::delayed) {
        ++delayed;
        continue;
      }
      if (model_.eligible(push.line)) ++ready[std::get<0>(push.line)];
      if (std::get<2>(push.line) != 0) ++queued[std::get<2>(push.line) - 1];
    }
    for (std::uint32_t i = 0; i < kCredentials; ++i) {
      ASSERT_EQ(queue_.waiting(i), waiting[i]);
      ASSERT_EQ(queue_.ready(i), ready[i]);
      ASSERT_EQ(queue_.has_ready(i), ready[i] != 0);
    }
    ASSERT_EQ(queue_.waiting(), waiting[0] + waiting[1] + waiting[2]);
    ASSERT_EQ(queue_.delayed(), delayed);
    ASSERT_EQ(queue_.in_use(), model_.pushes.size());
    std::vector<std::pair<std::uint32_t, std::uint32_t>> wanting, wanted;
    queue_.wanting_groups(wanting);
    std::sort(wanting.begin(), wanting.end());
    for (std::uint32_t i = 0; i < kGroups; ++i) {
      const Model::Group& group = model_.groups[i];
      if (group.paced && !group.paused && group.allowance == 0 && queued[i] != 0) wanted.emplace_back(i, queued[i]);
    }
    ASSERT_EQ(wanting, wanted);
    if (!wanted.empty()) ++seen["group starved"];
  }

  base::Prng prng_;
  std::uint32_t capacity_;
  Queue queue_;
  Model model_;
  unsigned insert_bias_ = 0;
  bool far_ = false;
  std::int64_t stamps_ = 0;
  bool narrow_ = false;  // one line, few keys: pushes of one key meet often
};

TEST(QueueModel, AgreesOverRandomOperations) {
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const std::uint32_t capacities[] = {1, 2, 7, 24, 64};
    Twin twin(seed, capacities[seed % 5]);
    for (int step = 0; step < 1500; ++step) {
      twin.step();
      ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed << ", step " << step;
    }
    twin.drain();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed << ", drain";
    for (const auto& [what, times] : twin.seen) seen[what] += times;
  }
  // The runs had substance.
  for (const char* what : {"place taken", "superseded", "superseded by an accepted one", "superseded by a retry",
                           "left alone", "popped at once", "several superseded", "retry outdone", "retry superseded", "delayed", "unpopped", "expired", "released",
                           "cancelled", "group cancelled", "group starved"}) {
    EXPECT_GE(seen[what], 50) << what;
  }
}

// ---------------------------------------------------------------------------------------------------- order

class QueueOrder : public ::testing::Test {
 protected:
  QueueOrder() { queue_.add_credential(); }
  std::uint32_t add(PriorityClass priority_class, std::uint32_t topic = 0, Tick deadline = kTickNone) {
    PushRecord record = make_record(++ids_);
    record.priority_class = priority_class;
    record.deadline = deadline;
    return queue_.insert(record, {topic, false, false}, nullptr, taken_);
  }
  std::uint32_t add_keyed(std::uint32_t group = 0) {
    PushRecord record = make_record(++ids_);
    record.group = group;
    return queue_.insert(record, {0, true, false}, nullptr, taken_);
  }
  std::uint64_t pop_id() {
    const std::uint32_t slot = queue_.pop(0);
    return slot == Queue::kNone ? 0 : queue_.record(slot).id;
  }

  Queue queue_{4096, 1};
  Taken taken_;
  std::uint64_t ids_ = 0;
  std::uint64_t by_ = 0;
  bool accepted_ = false;
};

TEST_F(QueueOrder, ClassesShareByWeight) {
  for (int i = 0; i < 500; ++i) {
    for (const auto each : {PriorityClass::bulk, PriorityClass::normal, PriorityClass::urgent}) add(each);
  }
  std::map<PriorityClass, int> got;
  for (int i = 0; i < 210; ++i) ++got[queue_.class_of(queue_.pop(0))];
  EXPECT_NEAR(got[PriorityClass::urgent], 160, 2);
  EXPECT_NEAR(got[PriorityClass::normal], 40, 2);
  EXPECT_NEAR(got[PriorityClass::bulk], 10, 2);
}

TEST_F(QueueOrder, AClassThatHadNothingDoesNotSaveUp) {
  for (int i = 0; i < 1000; ++i) add(PriorityClass::bulk);
  for (int i = 0; i < 500; ++i) pop_id();
  for (int i = 0; i < 1000; ++i) add(PriorityClass::urgent);
  int urgent = 0;
  for (int i = 0; i < 170; ++i) urgent += queue_.class_of(queue_.pop(0)) == PriorityClass::urgent ? 1 : 0;
  EXPECT_NEAR(urgent, 160, 3);
}

// A connection that takes five of each batch of 64: what is given back does not change who gets how much.
TEST_F(QueueOrder, WeightsHoldWhenMostIsUnpopped) {
  for (int i = 0; i < 1000; ++i) {
    for (const auto each : {PriorityClass::bulk, PriorityClass::normal, PriorityClass::urgent}) add(each);
  }
  std::map<PriorityClass, int> got;
  for (int round = 0; round < 84; ++round) {
    Slots popped;
    for (int i = 0; i < 64; ++i) popped.push_back(queue_.pop(0));
    for (std::size_t i = 64; i > 5; --i) queue_.unpop(popped[i - 1]);
    for (std::size_t i = 0; i < 5; ++i) ++got[queue_.class_of(popped[i])];
  }
  EXPECT_NEAR(got[PriorityClass::urgent], 320, 3);
  EXPECT_NEAR(got[PriorityClass::normal], 80, 3);
  EXPECT_NEAR(got[PriorityClass::bulk], 20, 3);
}

TEST_F(QueueOrder, UnpopLeavesNoTrace) {
  Queue other(4096, 1);
  other.add_credential();
  base::Prng prng(5);
  Taken taken;
  for (int i = 0; i < 600; ++i) {
    PushRecord record = make_record(static_cast<std::uint64_t>(i) + 1);
    record.priority_class = static_cast<PriorityClass>(prng.below(3));
    const auto topic = static_cast<std::uint32_t>(prng.below(4));
    queue_.insert(record, {topic, false, false}, nullptr, taken);
    other.insert(record, {topic, false, false}, nullptr, taken);
  }
  for (int i = 0; i < 600; ++i) {
    Slots popped;
    for (std::uint64_t n = prng.below(90); n != 0 && queue_.has_ready(0); --n) popped.push_back(queue_.pop(0));
    for (; !popped.empty(); popped.pop_back()) queue_.unpop(popped.back());
    const std::uint64_t id = pop_id();
    ASSERT_EQ(id, other.record(other.pop(0)).id) << i;
    ASSERT_NE(id, 0u);
  }
  EXPECT_EQ(pop_id(), 0u);
}

TEST_F(QueueOrder, FlowsTakeTurns) {
  for (int i = 0; i < 100; ++i) add(PriorityClass::normal, 0);  // ids 1 to 100
  for (int i = 0; i < 3; ++i) add(PriorityClass::normal, 1);    // 101 to 103
  std::vector<std::uint64_t> got;
  for (int i = 0; i < 8; ++i) got.push_back(pop_id());
  EXPECT_EQ(got, (std::vector<std::uint64_t>{1, 101, 2, 102, 3, 103, 4, 5}));
}

TEST_F(QueueOrder, RetriesGoFirstAndInTheirOrder) {
  const std::uint32_t first = add(PriorityClass::normal);
  const std::uint32_t second = add(PriorityClass::normal);
  add(PriorityClass::normal);
  ASSERT_EQ(queue_.pop(0), first);
  ASSERT_EQ(queue_.pop(0), second);
  EXPECT_TRUE(queue_.requeue(second, kTickNone, taken_, by_, accepted_));
  EXPECT_TRUE(queue_.requeue(first, kTickNone, taken_, by_, accepted_));
  for (const std::uint64_t id : {1u, 2u, 3u}) EXPECT_EQ(pop_id(), id);
}

TEST_F(QueueOrder, ChainsOfSupersedingPushes) {
  std::uint32_t last = add_keyed();
  for (std::uint64_t i = 2; i <= 50; ++i) {
    const std::uint32_t next = add_keyed();
    ASSERT_EQ(taken_.size(), 1u);
    EXPECT_EQ(taken_[0].slot, last);
    EXPECT_EQ(taken_[0].by, i);
    // Ended late: held ones stay in the chain and disturb nobody.
    if (i % 3 == 0) {
      Taken none;
      queue_.finish(last, false, none);
      EXPECT_TRUE(none.empty());
    }
    taken_.clear();
    last = next;
  }
  EXPECT_EQ(queue_.waiting(), 1u);
  EXPECT_EQ(pop_id(), 50u);
}

// A newer push that may go later, or not at all in time, does not take the place of one that could go now.
TEST_F(QueueOrder, ALesserPushLeavesTheOlderAlone) {
  queue_.add_group(false);
  const auto wakeup = [&](PriorityClass priority_class, std::uint32_t group, Tick deadline) {
    PushRecord record = make_record(++ids_);
    record.priority_class = priority_class;
    record.group = group;
    record.deadline = deadline;
    queue_.insert(record, {0, true, false}, nullptr, taken_);
    return taken_.size();
  };
  EXPECT_EQ(wakeup(PriorityClass::normal, 0, 1000), 0u);
  EXPECT_EQ(wakeup(PriorityClass::bulk, 0, 1000), 0u);
  EXPECT_EQ(wakeup(PriorityClass::normal, 0, 999), 0u);
  queue_.set_group_paused(0, true);
  EXPECT_EQ(wakeup(PriorityClass::urgent, 1, kTickNone), 0u);
  EXPECT_EQ(queue_.waiting(), 4u);
  // One that may go as soon and lasts as long takes the place of all but what lasts longer in the paused group.
  EXPECT_EQ(wakeup(PriorityClass::normal, 0, 1000), 3u);
  EXPECT_EQ(pop_id(), 5u);
  taken_.clear();
  // The paused one waits on, and goes once it may.
  queue_.set_group_paused(0, false);
  ASSERT_EQ(pop_id(), 4u);
}

TEST_F(QueueOrder, NeverOneInFlightButItsRetry) {
  const std::uint32_t old = add_keyed();
  ASSERT_EQ(queue_.pop(0), old);
  const std::uint32_t young = add_keyed();
  EXPECT_TRUE(taken_.empty());
  ASSERT_EQ(queue_.pop(0), young);
  // Both in flight; the older comes back first and waits, then the younger, which takes it out.
  EXPECT_TRUE(queue_.requeue(old, 50, taken_, by_, accepted_));
  EXPECT_TRUE(queue_.requeue(young, kTickNone, taken_, by_, accepted_));
  ASSERT_EQ(taken_.size(), 1u);
  EXPECT_EQ(taken_[0].slot, old);
  EXPECT_EQ(taken_[0].by, 2u);
  EXPECT_EQ(queue_.delayed(), 0u);
  EXPECT_EQ(queue_.next_due(), kTickMax);
}

TEST_F(QueueOrder, AcceptedOneOutdoesTheOlderInFlight) {
  const std::uint32_t old = add_keyed();
  ASSERT_EQ(queue_.pop(0), old);
  const std::uint32_t young = add_keyed();
  ASSERT_EQ(queue_.pop(0), young);
  queue_.finish(young, true, taken_);
  EXPECT_TRUE(taken_.empty());
  EXPECT_FALSE(queue_.requeue(old, kTickNone, taken_, by_, accepted_));
  EXPECT_TRUE(accepted_);
  EXPECT_EQ(by_, 2u);
  EXPECT_EQ(queue_.state(old), PushState::held);
}

// Whoever is woken first by a small grant may take all of it.
TEST_F(QueueOrder, AGroupsGrantsWakeItsCredentialsInTurn) {
  const std::uint32_t other = 1;
  queue_.add_credential();
  queue_.add_group(true);
  for (std::uint32_t i = 0; i < 20; ++i) {
    PushRecord record = make_record(++ids_);
    record.credential = i % 2;
    record.group = 1;
    queue_.insert(record, {0, false, false}, nullptr, taken_);
  }
  unsigned first[2] = {};
  for (unsigned round = 0; round < 6; ++round) {
    queue_.grant_group(0, 1);
    Slots woken;
    queue_.take_woken(woken);
    ASSERT_FALSE(woken.empty());
    ASSERT_LE(woken.front(), other);
    ++first[woken.front()];
    queue_.finish(queue_.pop(woken.front()), true, taken_);
  }
  EXPECT_EQ(first[0], 3u);
  EXPECT_EQ(first[other], 3u);
}

TEST_F(QueueOrder, DeadlineOfWhatIsPausedAndWithoutAllowance) {
  queue_.add_group(true);
  PushRecord record = make_record(1);
  record.group = 1;
  record.deadline = 100;
  const std::uint32_t slot = queue_.insert(record, {0, false, false}, nullptr, taken_);
  queue_.set_group_paused(0, true);
  EXPECT_FALSE(queue_.has_ready(0));
  Slots expired;
  queue_.advance(99, expired);
  EXPECT_TRUE(expired.empty());
  queue_.advance(100, expired);
  EXPECT_EQ(expired, Slots{slot});
}

TEST_F(QueueOrder, KeysOfManyTokens) {
  std::vector<std::uint32_t> slots;
  Queue queue(8192, 9);
  queue.add_credential();
  for (std::uint32_t i = 0; i < 4000; ++i) {
    slots.push_back(queue.insert(make_record(i, 0, numbered("token", i)), {0, true, true}, nullptr, taken_));
  }
  EXPECT_TRUE(taken_.empty());
  for (std::uint32_t i = 0; i < 4000; i += 2) {
    queue.hold(slots[i]);
    queue.finish(slots[i], false, taken_);
  }
  for (std::uint32_t i = 0; i < 4000; ++i) {
    queue.insert(make_record(10'000 + i, 0, numbered("token", i)), {0, true, true}, nullptr, taken_);
    ASSERT_EQ(taken_.size(), i % 2);
    if (i % 2 == 1) {
      EXPECT_EQ(taken_[0].slot, slots[i]);
      Taken none;
      queue.finish(taken_[0].slot, false, none);
      taken_.clear();
    }
  }
  EXPECT_EQ(queue.waiting(), 4000u);
}

}  // namespace
}  // namespace tocsin::dispatch
