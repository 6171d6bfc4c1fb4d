// SPDX-License-Identifier: Apache-2.0
// Oracles: what must hold whatever happens, each fed with what was seen and judged apart from the code under test.
//
// Numbers as in docs/testing.md. An oracle complains to Verdicts; it never aborts. Each has a test that feeds it a bad
// history. Threads: one at a time. Times are virtual nanoseconds.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <tocsin/push.h>

#include "base/bytes.h"
#include "base/now.h"

namespace tocsin::sim {

class Verdicts {
 public:
  static constexpr std::size_t kMost = 20;
  void say(int oracle, std::string text) {
    ++count_;
    if (said_.size() < kMost) said_.push_back("oracle " + std::to_string(oracle) + ": " + std::move(text));
  }
  bool good() const { return count_ == 0; }
  const std::vector<std::string>& said() const { return said_; }

 private:
  std::uint64_t count_ = 0;
  std::vector<std::string> said_;
};

// 1: each push taken gets exactly one final outcome.
class Conservation {
 public:
  explicit Conservation(Verdicts& verdicts) : verdicts_(verdicts) {}
  void taken(std::uint64_t id);
  void ended(std::uint64_t id, End end);
  void nothing_pending();  // at the end of a run
  std::size_t pending() const { return taken_.size() - ended_.size(); }
  std::uint64_t of(End end) const { return ends_[static_cast<std::size_t>(end)]; }

 private:
  Verdicts& verdicts_;
  std::set<std::uint64_t> taken_;
  std::map<std::uint64_t, End> ended_;
  std::uint64_t ends_[kEnds + 1] = {};
};

// 2 and 3: what the gateway processed against what was reported.
class Effects {
 public:
  explicit Effects(Verdicts& verdicts) : verdicts_(verdicts) {}
  void taken(std::uint64_t id, Policy policy) { pushes_[id].policy = policy; }
  void processed(std::uint64_t id);          // accepted by the gateway
  void ended(const Outcome& outcome, std::uint64_t id);
  void judge();

 private:
  struct Push {
    Policy policy = Policy::at_least_once;
    unsigned processed = 0;
    bool ended = false;
    End end = End::failed;
    bool doubled = false;
    unsigned attempts = 0;
  };
  Verdicts& verdicts_;
  std::unordered_map<std::uint64_t, Push> pushes_;
};

// 4: what the peer says of our obedience to its limits, windows and HTTP/2's rules.
class PeerRules {
 public:
  explicit PeerRules(Verdicts& verdicts) : verdicts_(verdicts) {}
  void broken(unsigned connection, std::string_view why) {
    verdicts_.say(4, "connection " + std::to_string(connection) + " broke the peer's rules: " + std::string(why));
  }

 private:
  Verdicts& verdicts_;
};

// 5: nothing new starts on a connection after the client read GOAWAY.
class AfterGoaway {
 public:
  explicit AfterGoaway(Verdicts& verdicts) : verdicts_(verdicts) {}
  void read(unsigned connection, std::int64_t at) { read_.try_emplace(connection, at); }
  // A HEADERS frame left in bytes that were encoded no earlier than `encoded_from`.
  void started(unsigned connection, std::uint32_t stream, std::int64_t encoded_from);

 private:
  Verdicts& verdicts_;
  std::map<unsigned, std::int64_t> read_;
};

// 6: a token reported unregistered at T is not sent to, unless registered after T; then it is.
class DeadTokenRule {
 public:
  explicit DeadTokenRule(Verdicts& verdicts) : verdicts_(verdicts) {}
  using Key = std::pair<unsigned, std::string>;  // shard; topic and token
  void known(const Key& key, std::int64_t unregistered_ms, std::int64_t at);
  void requested(const Key& key, std::int64_t registered_ms, std::int64_t encoded_from);
  // A push that ended as one to a token known to be dead since then.
  void withheld(std::int64_t registered_ms, std::int64_t unregistered_ms);
  // The filter has few places: what it forgot is forgiven.
  void forgive_forgetting() { forgiving_ = true; }

 private:
  struct Known {
    std::int64_t ms = 0;
    std::int64_t at = 0;
  };
  Verdicts& verdicts_;
  std::map<Key, Known> known_;
  bool forgiving_ = false;
};

// 7: provider tokens: on the grid; a connection changes no sooner than 20 minutes after its last change, and never
// sends one of 55 minutes; at most two live ones per key; one signature for all.
class ProviderTokenRule {
 public:
  explicit ProviderTokenRule(Verdicts& verdicts) : verdicts_(verdicts) {}
  void used(unsigned connection, std::uint32_t key, std::int64_t iat_s, std::int64_t encoded_mono_ns, std::int64_t age_ns);
  // The gateway, which verifies tokens as APNs does, refused a request for the sake of its token, and nothing else was the cause.
  void refused(unsigned connection, std::string_view reason) {
    verdicts_.say(7, "connection " + std::to_string(connection) + " was answered " + std::string(reason));
  }

 private:
  struct Use {
    std::int64_t iat_s = 0;
    std::int64_t since = 0;
  };
  Verdicts& verdicts_;
  std::map<unsigned, Use> connections_;
  std::map<std::uint32_t, std::map<std::int64_t, std::int64_t>> live_;  // key -> iat -> last use
};

// 8: dials are spread: of a credential in a shard one at a time, or as many as it has connections; no more than a back-off allows, and not all at one moment.
class NoStampede {
 public:
  explicit NoStampede(Verdicts& verdicts) : verdicts_(verdicts) {}
  // serving: connections of the credential in that shard that are ready, and not asked to close.
  void dial(unsigned shard, std::uint32_t credential, unsigned serving, std::int64_t at);
  void settled(unsigned shard, std::uint32_t credential);
  // The dials that followed an event which ended every connection of `dialers` at once.
  void after_mass_death(const std::vector<std::int64_t>& dials);
  static constexpr unsigned kPerSecond = 60;

 private:
  struct One {
    unsigned open = 0;
    std::deque<std::int64_t> recent;
  };
  Verdicts& verdicts_;
  std::map<std::pair<unsigned, std::uint32_t>, One> dialers_;
};

// 9: nothing over capacity; at rest nothing is left.
class Bounds {
 public:
  explicit Bounds(Verdicts& verdicts) : verdicts_(verdicts) {}
  void within(const char* what, std::uint64_t value, std::uint64_t most);
  void at_rest(const char* what, std::uint64_t left);

 private:
  Verdicts& verdicts_;
};

// 10: bytes lent to the kernel do not change before they come back.
class LentBuffers {
 public:
  explicit LentBuffers(Verdicts& verdicts) : verdicts_(verdicts) {}
  void lend(std::uint64_t link, base::ByteView bytes);
  void give_back(std::uint64_t link);
  void forget(std::uint64_t link) { lent_.erase(link); }
  std::size_t out() const { return lent_.size(); }

 private:
  struct Lent {
    base::ByteView bytes;
    std::uint64_t hash = 0;
  };
  Verdicts& verdicts_;
  std::map<std::uint64_t, Lent> lent_;
};

// 11: while a (credential, topic) has pushes that were never tried, others of its credential may not be served
// without end.
class Fairness {
 public:
  explicit Fairness(Verdicts& verdicts) : verdicts_(verdicts) {}
  using Flow = std::pair<std::uint32_t, std::uint32_t>;  // (credential and shard, topic)
  void waits(const Flow& flow);
  void left(const Flow& flow);             // ended without being tried
  void served(const Flow& flow, bool first);  // tried; for the first time
  void hold() { held_ = true; }            // pauses and rates make no promise
  void release();
  static constexpr unsigned kOthersMost = 200;

 private:
  struct State {
    unsigned waiting = 0;
    unsigned others = 0;  // served since this one was, or since it began to wait
  };
  Verdicts& verdicts_;
  std::map<Flow, State> flows_;
  bool held_ = false;
};

// 12: drain ends in bounded time.
class DrainBound {
 public:
  explicit DrainBound(Verdicts& verdicts) : verdicts_(verdicts) {}
  void ended(std::int64_t stop_at, std::int64_t deadline, std::int64_t rest_at, bool rested);
  static constexpr std::int64_t kFarewellNs = 3 * base::kSecond;

 private:
  Verdicts& verdicts_;
};

// 13: an expired push's outcome comes within a second, and one in flight as its time is over ends with the time for its answer.
class Expiry {
 public:
  explicit Expiry(Verdicts& verdicts) : verdicts_(verdicts) {}
  void ended(std::uint64_t id, std::int64_t deadline, std::int64_t at, bool expired, bool was_waiting);
  // Written, again or for the first time, in bytes that were encoded no earlier than `encoded_from`.
  void requested(std::uint64_t id, std::int64_t deadline, std::int64_t encoded_from);
  void still_open(std::uint64_t id, std::int64_t over_ns);

 private:
  Verdicts& verdicts_;
};

// 14: no more requests in any second than the rate and what may have gathered. They may be told in any order.
class RateRule {
 public:
  RateRule(Verdicts& verdicts, double per_second, double burst, std::int64_t since = 0)
      : verdicts_(verdicts), rate_(per_second), burst_(burst), since_(since) {}
  void sent(std::int64_t at) {
    if (at >= since_) sent_.push_back(at);
  }
  void judge(const std::string& what);

 private:
  Verdicts& verdicts_;
  double rate_;
  double burst_;
  std::int64_t since_;  // before that another rate held
  std::vector<std::int64_t> sent_;
};

// 15: a dead peer with pushes in flight is found within ten seconds.
class DeadPeer {
 public:
  explicit DeadPeer(Verdicts& verdicts) : verdicts_(verdicts) {}
  void died(unsigned connection, std::int64_t at) { died_.try_emplace(connection, at); }
  void closed(unsigned connection) { died_.erase(connection); }
  void look(std::int64_t now, bool (*has_in_flight)(void*, unsigned), void* context);
  static constexpr std::int64_t kFoundWithinNs = 10 * base::kSecond;

 private:
  Verdicts& verdicts_;
  std::map<unsigned, std::int64_t> died_;
};

// 16: a push is superseded by a newer one of its key only.
class Supersession {
 public:
  explicit Supersession(Verdicts& verdicts) : verdicts_(verdicts) {}
  // key: credential, topic, token and, where it counts, collapse id.
  void superseded(std::uint64_t id, const std::string& key, std::uint64_t by, const std::string& by_key);

 private:
  Verdicts& verdicts_;
};

// 17: a connection with a provider token has one request at a time on its way until an answer has shown that the token is taken.
class FirstAnswer {
 public:
  explicit FirstAnswer(Verdicts& verdicts) : verdicts_(verdicts) {}
  void started(unsigned connection, std::uint32_t stream);
  void ended(unsigned connection, std::uint32_t stream);  // and nothing was shown by it
  void shown(unsigned connection) { open_.insert_or_assign(connection, State{true, {}}); }

 private:
  struct State {
    bool shown = false;
    std::set<std::uint32_t> streams;
  };
  Verdicts& verdicts_;
  std::map<unsigned, State> open_;
};

// 18: once as many connections of a credential's new version have answered as there were older ones, none of those takes a
// new push, and each is closed when nothing is in flight on it.
class VersionRule {
 public:
  explicit VersionRule(Verdicts& verdicts) : verdicts_(verdicts) {}
  using Owner = std::pair<unsigned, std::uint32_t>;  // shard, credential
  // Another version; these are open.
  void changed(const Owner& owner, std::set<unsigned> older) { owners_[owner] = {std::move(older), {}, base::kNever, {}}; }
  void answered(const Owner& owner, unsigned connection, std::int64_t at);  // one of the new version
  void started(const Owner& owner, unsigned connection, std::int64_t encoded_from);
  template <class F>
  void look(std::int64_t now, F&& is_idle) {
    for (auto& [owner, state] : owners_) {
      if (state.since == base::kNever) continue;
      for (const unsigned connection : state.older) look_at(state, connection, now, is_idle(connection));
    }
  }
  static constexpr std::int64_t kReadWithinNs = base::kMillisecond;  // from what came to what is written thereafter
  static constexpr std::int64_t kClosedWithinNs = 4 * base::kSecond;

 private:
  struct State {
    std::set<unsigned> older;
    std::set<unsigned> newer;                // that answered
    std::int64_t since = base::kNever;       // when they were as many
    std::map<unsigned, std::int64_t> idle;   // since when
  };
  void look_at(State& state, unsigned connection, std::int64_t now, bool idle);
  Verdicts& verdicts_;
  std::map<Owner, State> owners_;
};

// 19: a shard does not spin: the steps that it asks for itself and does nothing in are few within any moment, and those it
// asks for, and all of them, are not without number within any second.
class NoSpin {
 public:
  explicit NoSpin(Verdicts& verdicts) : verdicts_(verdicts) {}
  // given: the step had events or pushes. done: it wanted, told or ended something.
  void stepped(unsigned shard, std::int64_t at, bool given, bool done);
  // Deadlines are noted early now and then, and each of a few credentials may look for a place of its own every 10 ms.
  static constexpr std::int64_t kMomentNs = 10 * base::kMillisecond;
  static constexpr std::size_t kFruitlessMost = 10;
  static constexpr std::size_t kUnaskedMost = 800;
  static constexpr std::size_t kStepsMost = 4000;  // what a full pool of pushes and twenty connections come to is a third of it

 private:
  using Times = std::deque<std::int64_t>;
  struct Shard {
    Times fruitless, unasked, all;
  };
  void count(Times& times, std::int64_t at, std::int64_t within, std::size_t most, unsigned shard, const char* what);
  Verdicts& verdicts_;
  std::map<unsigned, Shard> shards_;
};

// 20: after the faults every push ends within a bound, and what is pushed then is accepted.
class Liveness {
 public:
  explicit Liveness(Verdicts& verdicts) : verdicts_(verdicts) {}
  void waits(std::uint64_t id, std::uint32_t credential, std::int64_t bound);
  // excused: the gateway's script may yet refuse one.
  void came_through(std::uint64_t id, End end, bool excused);

 private:
  Verdicts& verdicts_;
};

std::uint64_t hash_bytes(base::ByteView bytes);

}  // namespace tocsin::sim
