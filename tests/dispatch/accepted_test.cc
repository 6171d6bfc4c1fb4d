// SPDX-License-Identifier: Apache-2.0
// Accepted pushes: runs of plain answers say what answers one by one say, and their compact form becomes the Outcome that it was
// made for; chains of one key, holds, the alarm and the counters, whichever way the answers come.
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../h2/frames.h"
#include "base/hex.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch::test {
namespace {

namespace frames = h2::test;

constexpr std::string_view kOk = "\x88";  // the static table's `:status: 200`
constexpr std::int64_t kWallOffset = 1'700'000'000ll * base::kSecond;

// A shard with one connection whose peer is the test; push n is on the connection's stream 2n - 1, unless it was sent before.
class Bench {
 public:
  explicit Bench(const ShardOptions& options = {}, CredentialConfig config = {}) : shard(options) {
    config.name = config.host = config.authority = "apns.test";
    config.connections_max = 1;
    Event& added = add(EventKind::credential_added);
    added.credential = std::make_shared<const CredentialConfig>(std::move(config));
    auto made = std::make_shared<TemplateConfig>();
    made->options.coalesce = true;
    made->halves.before = R"({"aps":{}})";
    add(EventKind::template_added).template_config = made;
  }

  Event& add(EventKind kind, std::uint64_t of = 0) {
    Event& event = events.emplace_back();
    event.kind = kind;
    event.handle = of;
    return event;
  }
  // To the device `token`; `external`: its bytes in a block.
  void push(std::uint64_t id, std::uint64_t token, bool external = false) {
    PushRecord record;
    record.id = id;
    for (std::size_t i = 0; i < record.apns_id.size(); ++i) record.apns_id[i] = static_cast<std::uint8_t>(id * 16 + i);
    record.submitted_wall_ns = kWallOffset + now - static_cast<std::int64_t>(id);
    record.token_bytes = 32;
    std::byte* to = record.inline_bytes;
    if (external) {
      to = blocks.emplace_back(std::make_unique<std::byte[]>(32)).get();
      record.set_block(to, 7);
    }
    std::memset(to, static_cast<int>(token), 32);
    pushes.push_back(record);
  }
  void step(std::int64_t ns = base::kMillisecond) {
    now += ns;
    std::vector<Event> told;
    told.swap(events);
    shard.step({now, now + kWallOffset}, told, pushes, out);
    pushes.clear();
    held.clear();
    out.for_each_outcome([this](const Outcome& outcome) { EXPECT_TRUE(ended.emplace(outcome.id, outcome).second) << outcome.id; });
    accepted += out.accepted.size();
    released += out.released.size();
    for (const Action& action : out.actions) {
      switch (action.kind) {
        case ActionKind::resolve: add(EventKind::resolved, action.handle).addresses = std::span(&address, 1); break;
        case ActionKind::dial:
          add(EventKind::dialled, handle = action.handle);
          read(frames::settings({{3, 100}}) + frames::settings_ack());
          break;
        case ActionKind::send:
          sent += base::as_text(action.bytes);
          add(EventKind::sent, action.handle).result = static_cast<std::int64_t>(action.bytes.size());
          break;
        case ActionKind::close: add(EventKind::closed, action.handle); break;
        default: break;
      }
    }
  }
  void settle(int steps = 8) {
    for (int i = 0; i < steps; ++i) step();
  }
  // What the peer sends next.
  void read(std::string bytes) {
    held.push_back(std::make_unique<std::string>(std::move(bytes)));
    add(EventKind::received, handle).bytes = base::as_bytes(*held.back());
  }
  std::vector<std::int32_t> requests() const {
    std::vector<std::int32_t> ids;
    for (const frames::Frame& frame : frames::of_type(frames::parse(sent), frames::kHeaders)) ids.push_back(frame.id);
    return ids;
  }
  std::uint64_t marked(Mark mark) const { return shard.counters().marks[static_cast<std::size_t>(mark)]; }
  std::uint64_t ends(End end) const { return shard.counters().ends[static_cast<std::size_t>(end)]; }

  Shard shard;
  Output out;
  std::int64_t now = base::kSecond;
  std::uint64_t handle = 0;
  std::vector<Event> events;
  std::vector<PushRecord> pushes;
  std::vector<std::unique_ptr<std::string>> held;  // for the length of a step
  std::vector<std::unique_ptr<std::byte[]>> blocks;
  std::map<std::uint64_t, Outcome> ended;
  std::size_t accepted = 0, released = 0;
  std::string sent;
  base::Address address{{2, 0, 1, 187, 127, 0, 0, 1}, 16};
};

std::string plain(std::int32_t id) { return frames::headers(id, kOk, true); }
std::string plain_run(std::initializer_list<std::int32_t> ids) {
  std::string run;
  for (const std::int32_t id : ids) run += plain(id);
  return run;
}
std::string rejected(std::int32_t id, std::string_view status, std::string_view reason) {
  return frames::headers(id, frames::literal(":status", status), false) +
         frames::frame(frames::kData, frames::kEndStream, id, R"({"reason":")" + std::string(reason) + R"("})");
}

std::string text(const Outcome& outcome) { return {reinterpret_cast<const char*>(&outcome), sizeof(outcome)}; }

TEST(AcceptedPushes, WriteEveryByteOfTheirOutcome) {
  AcceptedPush push;
  push.id = 0x0102030405060708;
  for (std::size_t i = 0; i < push.apns_id.size(); ++i) push.apns_id[i] = static_cast<std::uint8_t>(i + 1);
  push.submitted_unix_ns = 11;
  push.sent_unix_ns = 12;
  push.ended_unix_ns = 13;
  push.attempts = 0x0304;
  push.flags = kPossiblyDoubled;
  Outcome wanted;
  wanted.id = push.id;
  wanted.apns_id = push.apns_id;
  wanted.submitted_unix_ns = 11;
  wanted.sent_unix_ns = 12;
  wanted.ended_unix_ns = 13;
  wanted.attempts = 0x0304;
  wanted.flags = kPossiblyDoubled;
  wanted.status = 200;
  wanted.end = End::accepted;
  for (const int before : {0, 0xa5, 0xff}) {
    Outcome written;
    std::memset(static_cast<void*>(&written), before, sizeof(written));
    push.write(written);
    EXPECT_EQ(text(written), text(wanted));
  }
}

// Twelve pushes, the first of them sent twice because its first answer broke HTTP's rules, some with a block.
struct Told {
  std::map<std::uint64_t, std::string> outcomes;
  Counters counters;
};
Told tell(Codec codec, const std::function<std::string(std::int32_t)>& answer, bool one_by_one) {
  ShardOptions options;
  options.codec = codec;
  Bench bench(options);
  for (std::uint64_t id = 1; id <= 12; ++id) bench.push(id, 100 + id, id % 3 == 0);
  bench.settle();
  EXPECT_EQ(bench.requests().size(), 12u);
  bench.read(frames::headers(1, frames::literal("apns-id", "x"), true));
  bench.settle();
  EXPECT_EQ(bench.requests().back(), 25) << "sent again";
  std::string all;
  for (const std::int32_t id : {7, 25, 3, 23, 21, 5, 19, 9, 11, 17, 13, 15}) {
    if (one_by_one) bench.read(answer(id));
    else all += answer(id);
  }
  if (!one_by_one) bench.read(all);
  bench.step(5 * base::kMillisecond);
  EXPECT_EQ(bench.accepted, 12u);
  EXPECT_EQ(bench.released, 4u);
  EXPECT_EQ(bench.ends(End::accepted), 12u);
  EXPECT_EQ(bench.shard.counters().in_flight, 0u);
  Told told;
  for (const auto& [id, outcome] : bench.ended) {
    told.outcomes[id] = text(outcome);
    EXPECT_EQ(outcome.end, End::accepted);
    EXPECT_EQ(outcome.status, 200);
    EXPECT_EQ(outcome.attempts, id == 1 ? 2 : 1);
    EXPECT_EQ(outcome.flags, id == 1 ? kPossiblyDoubled : 0);
    EXPECT_EQ(outcome.ended_unix_ns, bench.now + kWallOffset);
    EXPECT_LT(outcome.submitted_unix_ns, outcome.sent_unix_ns);
    EXPECT_LT(outcome.sent_unix_ns, outcome.ended_unix_ns);
    EXPECT_EQ(outcome.apns_id[0], static_cast<std::uint8_t>(id * 16));
  }
  told.counters = bench.shard.counters();
  return told;
}

TEST(AcceptedPushes, OfARunAreThoseOfTheGeneralWay) {
  const auto general = [](std::int32_t id) { return frames::headers(id, std::string(kOk) + frames::literal("apns-id", "x"), true); };
  const Told one = tell(Codec::nghttp2, general, true);
  ASSERT_EQ(one.outcomes.size(), 12u);
  for (const Codec codec : {Codec::fast, Codec::nghttp2}) {
    for (const bool one_by_one : {false, true}) {
      EXPECT_EQ(tell(codec, general, one_by_one).outcomes, one.outcomes);
      const Told run = tell(codec, plain, one_by_one);
      EXPECT_EQ(run.outcomes, one.outcomes);
      for (std::size_t i = 0; i < kMarks; ++i) EXPECT_EQ(run.counters.marks[i], one.counters.marks[i]) << i;
    }
  }
}

// Longer than what is asked for ahead, with answers of other kinds between.
TEST(AcceptedPushes, RunsOfAnyLength) {
  for (const std::uint64_t count : {1u, 11u, 12u, 13u, 23u, 24u, 25u, 26u, 60u, 100u}) {
    Bench bench;
    for (std::uint64_t id = 1; id <= count; ++id) bench.push(id, 1 + id);
    bench.settle();
    ASSERT_EQ(bench.requests().size(), count);
    std::string all;
    for (std::uint64_t id = 1; id <= count; ++id) {
      const auto stream = static_cast<std::int32_t>(2 * id - 1);
      all += id == 40 || id == 41 ? rejected(stream, "413", "PayloadTooLarge") : plain(stream);
    }
    bench.read(all);
    bench.step();
    EXPECT_EQ(bench.ended.size(), count);
    const std::uint64_t others = count >= 60 ? 2 : 0;
    EXPECT_EQ(bench.ends(End::accepted), count - others);
    EXPECT_EQ(bench.ends(End::rejected), others);
    EXPECT_EQ(bench.shard.counters().in_flight, 0u);
  }
}

TEST(AcceptedPushes, AnApnsIdOfTheirOwnIsTold) {
  constexpr std::string_view kTheirs = "00000000-1111-2222-3333-444444444444";
  for (const Codec codec : {Codec::fast, Codec::nghttp2}) {
    ShardOptions options;
    options.codec = codec;
    Bench bench(options);
    for (std::uint64_t id = 1; id <= 3; ++id) bench.push(id, id);
    bench.settle();
    bench.read(plain(1) + frames::headers(3, std::string(kOk) + frames::literal("apns-id", kTheirs), true) + plain(5));
    bench.step();
    ASSERT_EQ(bench.ended.size(), 3u);
    EXPECT_EQ(base::uuid_format(bench.ended[2].apns_id), kTheirs);
    for (const std::uint64_t id : {1u, 3u}) EXPECT_EQ(bench.ended[id].apns_id[0], static_cast<std::uint8_t>(id * 16));
  }
}

// Two pushes of one key in flight, the second one the newer.
TEST(AcceptedPushes, ChainsOfOneKey) {
  struct Case {
    std::string bytes;
    End first;
    std::uint64_t retries;
  };
  const std::string late = rejected(1, "503", "ServiceUnavailable");
  const Case cases[] = {
      {plain_run({1, 3}), End::accepted, 0},
      {plain_run({3, 1}), End::accepted, 0},
      // It would be tried again, and the newer one, accepted before or behind, stands for it.
      {late + plain(3), End::superseded, 1},
      {plain(3) + late, End::superseded, 1},
      {plain(5) + late + plain(3), End::superseded, 1},
      {plain_run({5, 3}) + late, End::superseded, 1},
  };
  for (const Codec codec : {Codec::fast, Codec::nghttp2}) {
    for (const Case& one : cases) {
      ShardOptions options;
      options.codec = codec;
      Bench bench(options);
      bench.push(1, 9);
      bench.settle();
      bench.push(2, 9);
      bench.push(3, 10);
      bench.settle();
      ASSERT_EQ(bench.requests().size(), 3u);
      bench.read(one.bytes);
      bench.step();
      ASSERT_EQ(bench.ended.count(1), 1u);
      EXPECT_EQ(bench.ended[1].end, one.first);
      EXPECT_EQ(bench.ended[1].superseded_by, one.first == End::superseded ? 2u : 0u);
      EXPECT_EQ(bench.ended[2].end, End::accepted);
      EXPECT_EQ(bench.ended[2].superseded_by, 0u);
      EXPECT_EQ(bench.shard.counters().retries, one.retries);
      EXPECT_EQ(bench.marked(Mark::superseded_accepted), one.first == End::superseded ? 1u : 0u);
    }
  }
}

// A device that was called throttled and then takes a push is not held any more; called so behind it, it is.
TEST(AcceptedPushes, EndTheHoldOfTheirToken) {
  for (const bool throttled_last : {false, true}) {
    Bench bench;
    bench.push(1, 9);
    bench.settle();
    bench.push(2, 9);
    bench.settle();
    const std::string throttled = rejected(1, "429", "TooManyRequests");
    bench.read(throttled_last ? plain_run({3}) + throttled : throttled + plain(3));
    bench.step();
    bench.push(3, 9);
    bench.settle();
    EXPECT_EQ(bench.requests().size(), throttled_last ? 2u : 3u);
  }
}

// The share is judged each time that so many answers have come, also in the middle of a run.
TEST(AcceptedPushes, CountForTheAlarmOneByOne) {
  CredentialConfig config;
  config.bad_tokens_share = 0.5;
  config.bad_tokens_least = 10;
  const auto alarmed = [&config](std::initializer_list<int> runs) {  // good ones, bad ones, good ones, ...
    Bench bench({}, config);
    std::uint64_t count = 0;
    for (const int run : runs) count += static_cast<std::uint64_t>(run);
    for (std::uint64_t id = 1; id <= count; ++id) bench.push(id, 1 + id);
    bench.settle();
    EXPECT_EQ(bench.requests().size(), count);
    std::string all;
    std::int32_t stream = 1;
    bool good = true;
    for (const int run : runs) {
      for (int i = 0; i < run; ++i, stream += 2) all += good ? plain(stream) : rejected(stream, "400", "BadDeviceToken");
      good = !good;
    }
    bench.read(all);
    bench.step();
    EXPECT_EQ(bench.ended.size(), count);
    return std::any_of(bench.out.statuses.begin(), bench.out.statuses.end(), [](const CredentialStatus& s) { return s.alarmed_here; });
  };
  EXPECT_FALSE(alarmed({30}));
  EXPECT_FALSE(alarmed({5, 4, 1}));
  EXPECT_TRUE(alarmed({5, 5}));
  EXPECT_TRUE(alarmed({0, 5, 5}));
  EXPECT_TRUE(alarmed({0, 5, 12})) << "with the fifth good one, not behind the run";
  EXPECT_FALSE(alarmed({0, 5, 4}));
  EXPECT_TRUE(alarmed({12, 8})) << "two of the first run count with the bad ones";
  EXPECT_FALSE(alarmed({16, 4})) << "and six here";
  EXPECT_TRUE(alarmed({40, 5, 5}));
}

}  // namespace
}  // namespace tocsin::dispatch::test
