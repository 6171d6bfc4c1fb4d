// SPDX-License-Identifier: Apache-2.0
// Soak: seeds draw limits, load and faults. Phase one has the faults and judges safety only; phase two is healed, and
// within a budget of virtual time every push must have ended; then a stop must leave nothing. Small limits on
// purpose, so that collisions and exhaustion are common.
#include <algorithm>

#include <gtest/gtest.h>

#include "harness.h"

namespace tocsin::dispatch::test {
namespace {

constexpr std::uint64_t kSeeds = 200;

struct Tally {
  std::uint64_t hash = 0;
  std::uint64_t ends[kEnds + 1] = {};
  std::uint64_t doubled = 0;
  std::uint64_t goaways = 0;
  std::uint64_t lost = 0;
  std::uint64_t dials_failed = 0;
};

struct Menu {
  double refuse_stream = 0;
  double reset = 0;
  double hold = 0;
  double reject = 0;
  double dial_bad = 0;
  double goaway = 0;
  double broken = 0;
  double limits = 0;
  double stall = 0;
};

// Swarm style: a seed leaves some faults out altogether, so that they do not hide one another.
Menu draw_menu(base::Prng& chance) {
  Menu menu;
  for (double* one : {&menu.refuse_stream, &menu.reset, &menu.hold, &menu.reject, &menu.dial_bad, &menu.goaway,
                      &menu.broken, &menu.limits, &menu.stall}) {
    if (chance.chance(0.5)) *one = chance.unit() * 0.3;
  }
  return menu;
}

class Soak {
 public:
  explicit Soak(std::uint64_t seed) : world_(options(seed), seed), menu_(draw_menu(world_.chance())) { world_.bare_answers = seed % 2 == 0; }

  Tally run() {
    draw_world();
    faults_ = true;
    for (int tick = 0; tick < 60 && !testing::Test::HasFailure(); ++tick) {
      submit();
      world_.run(static_cast<std::int64_t>(chance().below(100)) * kMs);
      fault();
    }
    if (chance().chance(0.25)) {  // stopped in the middle of it all
      world_.finish(static_cast<std::int64_t>(chance().below(3000)) * kMs);
    } else {
      faults_ = false;
      for (Link* link : world_.usable_links()) {
        if (link->stalled) {
          world_.break_wire(*link);
        } else if (link->server != nullptr && !link->goaway_sent) {
          world_.set_streams_max(*link, 3);
        }
      }
      const bool ended = world_.run_until_ended(300 * kSec);
      if (!testing::Test::HasFailure()) {
        EXPECT_TRUE(ended) << world_.pending() << " pushes never ended";
      }
      world_.finish();
    }
    return tally();
  }

 private:
  static ShardOptions options(std::uint64_t seed) {
    ShardOptions made;
    made.pushes_max = 256;
    made.connections_max = 7;
    made.attempts_max = 2 + static_cast<unsigned>(seed % 4);
    made.seed = seed;
    made.wire_high_water_bytes = seed % 3 == 0 ? 600 : 512 * 1024;
    return made;
  }

  base::Prng& chance() { return world_.chance(); }

  void draw_world() {
    credentials_ = 1 + static_cast<std::uint32_t>(chance().below(3));
    for (std::uint32_t i = 0; i < credentials_; ++i) {
      CredentialConfig config = World::plain_credential();
      config.authority = "apns" + std::to_string(i) + ".test";
      config.connections_max = 1 + static_cast<unsigned>(chance().below(3));
      config.streams_max = 1 + static_cast<unsigned>(chance().below(3));
      config.connect_timeout_ns = 500 * kMs;
      config.handshake_timeout_ns = 500 * kMs;
      config.answer_timeout_ns = 2 * kSec;
      config.backoff_min_ns = 20 * kMs;
      config.backoff_max_ns = kSec;
      config.give_up_ns = chance().chance(0.5) ? 0 : 400 * kMs;
      world_.add_credential(config);
    }
    world_.add_template(PayloadForm::fixed, R"({"aps":{"alert":"soak"}})");
    world_.add_template(PayloadForm::with_part, R"({"mdm":"%PART%"})");
    world_.add_template(PayloadForm::own, "");
    world_.server.streams_max = 1 + static_cast<std::uint32_t>(chance().below(3));
    world_.server.window_bytes = chance().chance(0.5) ? 65'535 : 1 + static_cast<std::uint32_t>(chance().below(1000));
    world_.net.short_sends = chance().chance(0.5) ? 0 : 0.4;
    world_.net.cuts = chance().chance(0.5) ? 0 : 0.4;
    world_.net.latency_ns = static_cast<std::int64_t>(1 + chance().below(20)) * kMs;
    world_.on_dial = [this](std::uint32_t) {
      if (!faults_ || !chance().chance(menu_.dial_bad)) return Dial::accept;
      constexpr Dial kBad[] = {Dial::refuse, Dial::defer, Dial::hang, Dial::raw};
      return kBad[chance().below(4)];
    };
    world_.judge = [this](Link&, const Seen&) { return verdict(); };
  }

  Verdict verdict() {
    Verdict made;
    if (faults_) {
      if (chance().chance(menu_.refuse_stream)) made = Verdict::reset(7);
      else if (chance().chance(menu_.reset)) made = Verdict::reset(static_cast<std::uint32_t>(chance().below(3)) * 4, chance().chance(0.5));
      else if (chance().chance(menu_.reset)) made = Verdict::ok_then_reset(2);
      else if (chance().chance(menu_.hold)) return Verdict::hold(chance().chance(0.5));
      else if (chance().chance(menu_.reject)) made = Verdict::reject(410, R"({"reason":"Unregistered","timestamp":1})");
    }
    made.delay_ns = static_cast<std::int64_t>(chance().below(30)) * kMs;
    return made;
  }

  void submit() {
    const std::uint64_t count = std::min<std::uint64_t>(chance().below(8), 256 - world_.pending());
    for (std::uint64_t i = 0; i < count; ++i) {
      PushSpec spec;
      spec.credential = static_cast<std::uint32_t>(chance().below(credentials_));
      spec.template_index = static_cast<std::uint32_t>(chance().below(3));
      spec.policy = chance().chance(0.5) ? Policy::at_least_once : Policy::at_most_once;
      if (spec.template_index == 1) spec.part = std::string(1 + chance().below(60), 'm');
      if (spec.template_index == 2) spec.payload = R"({"x":")" + std::string(chance().below(3000), 'o') + R"("})";
      if (chance().chance(0.2)) spec.collapse = std::string(1 + i, 'c');
      spec.external = chance().chance(0.1);
      world_.push(spec);
    }
  }

  void fault() {
    const std::vector<Link*> links = world_.usable_links();
    if (links.empty()) return;
    Link& link = *links[chance().below(links.size())];
    if (chance().chance(menu_.broken)) {
      if (chance().chance(0.5)) world_.hang_up(link);
      else world_.break_wire(link);
      return;
    }
    if (chance().chance(menu_.stall)) link.stalled = true;
    if (link.server == nullptr || link.goaway_sent) return;
    if (chance().chance(menu_.limits)) world_.set_streams_max(link, 1 + static_cast<std::uint32_t>(chance().below(3)));
    if (chance().chance(menu_.goaway)) {
      if (chance().chance(0.3)) {
        world_.goaway(link, 0x7fffffff, 0);
        world_.at(20 * kMs, [this, &link] {
          if (link.usable()) world_.goaway(link, std::max(link.decided, link.server->last_stream_id()), 0);
        });
      } else {
        // Anything from what was processed up to the highest seen is the truth.
        const auto last = static_cast<std::int32_t>(chance().chance(0.5) ? link.decided : link.server->last_stream_id());
        world_.goaway(link, last, chance().chance(0.3) ? 11 : 0, R"({"reason":"Shutdown"})");
      }
    }
  }

  Tally tally() const {
    Tally made;
    made.hash = world_.hash();
    const Counters& counters = world_.counters();
    std::copy(std::begin(counters.ends), std::end(counters.ends), std::begin(made.ends));
    made.doubled = counters.possibly_doubled;
    made.goaways = counters.goaways;
    made.lost = counters.connections_lost;
    made.dials_failed = counters.dials_failed;
    return made;
  }

  World world_;
  Menu menu_;
  std::uint32_t credentials_ = 1;
  bool faults_ = false;
};

TEST(Soak, SeedsConserveEveryPushAndLeaveNothing) {
  Tally all;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Tally one = Soak(seed).run();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    for (std::size_t i = 0; i <= kEnds; ++i) all.ends[i] += one.ends[i];
    all.doubled += one.doubled;
    all.goaways += one.goaways;
    all.lost += one.lost;
    all.dials_failed += one.dials_failed;
  }
  // The faults did happen, or the seeds would judge nothing.
  for (const End end : {End::accepted, End::rejected, End::failed, End::unknown, End::returned}) {
    EXPECT_GT(all.ends[static_cast<std::size_t>(end)], 20u) << end_name(end);
    RecordProperty(end_name(end), static_cast<int>(all.ends[static_cast<std::size_t>(end)]));
  }
  EXPECT_GT(all.doubled, 100u);
  EXPECT_GT(all.goaways, 100u);
  EXPECT_GT(all.lost, 100u);
  EXPECT_GT(all.dials_failed, 100u);
}

TEST(Soak, TheSameSeedGivesTheSameRun) {
  std::uint64_t before = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const std::uint64_t first = Soak(seed).run().hash;
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    EXPECT_EQ(first, Soak(seed).run().hash) << "seed " << seed << " went another way the second time";
    EXPECT_NE(first, before) << "another seed gives another run";
    before = first;
  }
}

}  // namespace
}  // namespace tocsin::dispatch::test
