// SPDX-License-Identifier: Apache-2.0
#include "oracles.h"

#include <algorithm>
#include <cstring>

namespace tocsin::sim {
namespace {

std::string push_name(std::uint64_t id) { return "push " + std::to_string(id); }
std::string in_ms(std::int64_t ns) { return std::to_string(ns / base::kMillisecond) + " ms"; }

}  // namespace

std::uint64_t hash_bytes(base::ByteView bytes) {
  std::uint64_t hash = bytes.size();
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  for (; at < bytes.size(); ++at) hash = (hash ^ static_cast<std::uint64_t>(bytes[at])) * 0x100000001b3ull;
  return hash;
}

void Conservation::taken(std::uint64_t id) {
  if (!taken_.insert(id).second) verdicts_.say(1, push_name(id) + " was taken twice");
}

void Conservation::ended(std::uint64_t id, End end) {
  if (taken_.count(id) == 0) verdicts_.say(1, push_name(id) + " ended and was never taken");
  const auto [at, fresh] = ended_.try_emplace(id, end);
  if (!fresh) {
    verdicts_.say(1, push_name(id) + " ended as " + end_name(end) + " and before as " + end_name(at->second));
    return;
  }
  ++ends_[static_cast<std::size_t>(end)];
}

void Conservation::nothing_pending() {
  for (const std::uint64_t id : taken_) {
    if (ended_.count(id) == 0) verdicts_.say(1, push_name(id) + " has no outcome");
  }
}

void Effects::processed(std::uint64_t id) { ++pushes_[id].processed; }

void Effects::ended(const Outcome& outcome, std::uint64_t id) {
  Push& push = pushes_[id];
  push.ended = true;
  push.end = outcome.end;
  push.doubled = (outcome.flags & kPossiblyDoubled) != 0;
  push.attempts = outcome.attempts;
  if (outcome.end == End::accepted && push.processed == 0) {
    verdicts_.say(3, push_name(id) + " is reported as accepted; the gateway knows nothing of it");
  }
}

// At the end: a push that was processed later than its outcome was told (in transit then) counts, too.
void Effects::judge() {
  for (const auto& [id, push] : pushes_) {
    if (push.processed > 1 && (push.policy == Policy::at_most_once || !push.doubled)) {
      verdicts_.say(2, push_name(id) + " was processed " + std::to_string(push.processed) + " times, " +
                           (push.policy == Policy::at_most_once ? "at most once" : "and not counted as possibly doubled"));
    }
    if (push.processed > push.attempts && push.ended) {
      verdicts_.say(2, push_name(id) + " was processed more often than it was written");
    }
    if (!push.ended || push.processed == 0 || push.end == End::accepted || push.end == End::unknown) continue;
    // A rejection of a later attempt says nothing of an earlier one.
    if (push.end == End::rejected && push.doubled) continue;
    verdicts_.say(2, push_name(id) + " was processed and is reported as " + end_name(push.end));
  }
}

void AfterGoaway::started(unsigned connection, std::uint32_t stream, std::int64_t encoded_from) {
  const auto found = read_.find(connection);
  if (found == read_.end() || encoded_from <= found->second) return;
  verdicts_.say(5, "stream " + std::to_string(stream) + " started on connection " + std::to_string(connection) + " after GOAWAY");
}

void DeadTokenRule::known(const Key& key, std::int64_t unregistered_ms, std::int64_t at) {
  const auto [found, fresh] = known_.try_emplace(key, Known{unregistered_ms, at});
  if (!fresh && unregistered_ms > found->second.ms) found->second = {unregistered_ms, at};
}

void DeadTokenRule::requested(const Key& key, std::int64_t registered_ms, std::int64_t encoded_from) {
  const auto found = known_.find(key);
  if (forgiving_ || found == known_.end() || encoded_from <= found->second.at || registered_ms > found->second.ms) return;
  verdicts_.say(6, "a token that is known to be dead was sent to, " + in_ms(encoded_from - found->second.at) + " later");
}

void DeadTokenRule::withheld(std::int64_t registered_ms, std::int64_t unregistered_ms) {
  if (registered_ms <= unregistered_ms) return;
  verdicts_.say(6, "a token registered anew " + std::to_string(registered_ms - unregistered_ms) + " ms after its death was not sent to");
}

void ProviderTokenRule::used(unsigned connection, std::uint32_t key, std::int64_t iat_s, std::int64_t at,
                             std::int64_t age_ns) {
  if (iat_s % 1800 != 0) verdicts_.say(7, "iat " + std::to_string(iat_s) + " is not on the grid of 30 minutes");
  if (age_ns >= 3300 * base::kSecond) {
    verdicts_.say(7, "a provider token " + std::to_string(age_ns / base::kSecond) + " s old was sent");
  }
  const auto [found, fresh] = connections_.try_emplace(connection, Use{iat_s, at});
  // A request that was encoded before the change, and whose body came late, is no change back.
  if (!fresh && found->second.iat_s != iat_s && at >= found->second.since) {
    if (at - found->second.since < 1200 * base::kSecond) {
      verdicts_.say(7, "connection " + std::to_string(connection) + " changed its provider token after " +
                           in_ms(at - found->second.since));
    }
    found->second = {iat_s, at};
  }
  auto& live = live_[key];
  live[iat_s] = at;
  std::erase_if(live, [at](const auto& item) { return at - item.second > 60 * base::kSecond; });
  if (live.size() > 2) verdicts_.say(7, "three provider tokens of one key are in use within a minute");
}

void NoStampede::dial(unsigned shard, std::uint32_t credential, unsigned serving, std::int64_t at) {
  One& one = dialers_[{shard, credential}];
  const std::string who = "credential " + std::to_string(credential) + " of shard " + std::to_string(shard);
  if (++one.open > std::max(serving, 1u)) {
    verdicts_.say(8, who + " dials " + std::to_string(one.open) + " times at once with " + std::to_string(serving) + " connections");
  }
  one.recent.push_back(at);
  while (one.recent.front() < at - base::kSecond) one.recent.pop_front();
  if (one.recent.size() > kPerSecond) verdicts_.say(8, who + " dialled " + std::to_string(one.recent.size()) + " times in a second");
}

void NoStampede::settled(unsigned shard, std::uint32_t credential) { --dialers_[{shard, credential}].open; }

void NoStampede::after_mass_death(const std::vector<std::int64_t>& dials) {
  if (dials.size() < 4) return;
  const std::set<std::int64_t> moments(dials.begin(), dials.end());
  if (moments.size() * 2 < dials.size()) {
    verdicts_.say(8, std::to_string(dials.size()) + " dials after a mass death came at " + std::to_string(moments.size()) + " moments");
  }
}

void Bounds::within(const char* what, std::uint64_t value, std::uint64_t most) {
  if (value > most) verdicts_.say(9, std::string(what) + " is " + std::to_string(value) + ", over " + std::to_string(most));
}

void Bounds::at_rest(const char* what, std::uint64_t left) {
  if (left != 0) verdicts_.say(9, "at rest, " + std::to_string(left) + " " + what);
}

void LentBuffers::lend(std::uint64_t link, base::ByteView bytes) {
  if (!lent_.try_emplace(link, Lent{bytes, hash_bytes(bytes)}).second) {
    verdicts_.say(10, "a second send while one is with the kernel");
  }
}

void LentBuffers::give_back(std::uint64_t link) {
  const auto found = lent_.find(link);
  if (found == lent_.end()) return;
  if (hash_bytes(found->second.bytes) != found->second.hash) verdicts_.say(10, "bytes changed while the kernel had them");
  lent_.erase(found);
}

void Fairness::waits(const Flow& flow) {
  State& state = flows_[flow];
  if (state.waiting++ == 0) state.others = 0;
}

void Fairness::left(const Flow& flow) {
  State& state = flows_[flow];
  if (state.waiting != 0) --state.waiting;
}

void Fairness::served(const Flow& flow, bool first) {
  if (first) left(flow);
  flows_[flow].others = 0;
  if (held_) return;
  for (auto& [other, state] : flows_) {
    if (other.first != flow.first || other == flow || state.waiting == 0) continue;
    if (++state.others <= kOthersMost) continue;
    verdicts_.say(11, "topic " + std::to_string(other.second) + " waits while " + std::to_string(state.others) +
                          " requests of others of its credential went");
    state.others = 0;
  }
}

void Fairness::release() {
  held_ = false;
  for (auto& [flow, state] : flows_) state.others = 0;
}

void DrainBound::ended(std::int64_t stop_at, std::int64_t deadline, std::int64_t rest_at, bool rested) {
  if (!rested || rest_at > std::max(stop_at, deadline) + kFarewellNs) {
    verdicts_.say(12, std::string(rested ? "rest came " + in_ms(rest_at - stop_at) + " after" : "no rest after") +
                          " a stop with a grace of " + in_ms(deadline - stop_at));
  }
}

void Expiry::ended(std::uint64_t id, std::int64_t deadline, std::int64_t at, bool expired, bool was_waiting) {
  if (expired && (deadline == 0 || at < deadline)) verdicts_.say(13, push_name(id) + " expired before its time");
  if (was_waiting && deadline != 0 && at > deadline + base::kSecond) {
    verdicts_.say(13, push_name(id) + " was told of " + in_ms(at - deadline) + " after its deadline, all of which it waited");
  }
}

void Expiry::requested(std::uint64_t id, std::int64_t deadline, std::int64_t encoded_from) {
  if (deadline == 0 || encoded_from <= deadline + base::kSecond) return;
  verdicts_.say(13, push_name(id) + " was sent " + in_ms(encoded_from - deadline) + " after its deadline");
}

void Expiry::still_open(std::uint64_t id, std::int64_t over_ns) {
  verdicts_.say(13, push_name(id) + " has no outcome " + in_ms(over_ns) + " after its deadline");
}

void Supersession::superseded(std::uint64_t id, const std::string& key, std::uint64_t by, const std::string& by_key) {
  if (by > id && key == by_key) return;
  verdicts_.say(16, push_name(id) + " was superseded by " + std::to_string(by) + ", which is no newer one of its key");
}

void FirstAnswer::started(unsigned connection, std::uint32_t stream) {
  State& state = open_[connection];
  if (state.shown) return;
  state.streams.insert(stream);
  if (state.streams.size() < 2) return;
  verdicts_.say(17, "connection " + std::to_string(connection) + " has " + std::to_string(state.streams.size()) +
                        " requests on their way, and no answer has shown that its provider token is taken");
}

void FirstAnswer::ended(unsigned connection, std::uint32_t stream) {
  if (const auto found = open_.find(connection); found != open_.end()) found->second.streams.erase(stream);
}

void VersionRule::answered(const Owner& owner, unsigned connection, std::int64_t at) {
  const auto found = owners_.find(owner);
  if (found == owners_.end() || found->second.since != base::kNever) return;
  State& state = found->second;
  state.newer.insert(connection);
  if (state.newer.size() >= state.older.size()) state.since = at;
}

void VersionRule::started(const Owner& owner, unsigned connection, std::int64_t encoded_from) {
  const auto found = owners_.find(owner);
  if (found == owners_.end() || found->second.since == base::kNever || found->second.older.count(connection) == 0 ||
      encoded_from <= found->second.since + kReadWithinNs) {
    return;
  }
  verdicts_.say(18, "connection " + std::to_string(connection) + " of an older version took a push " +
                        in_ms(encoded_from - found->second.since) + " after its place was taken");
}

void VersionRule::look_at(State& state, unsigned connection, std::int64_t now, bool idle) {
  if (!idle) {
    state.idle.erase(connection);
    return;
  }
  const std::int64_t since = state.idle.try_emplace(connection, now).first->second;
  if (now - since <= kClosedWithinNs) return;
  verdicts_.say(18, "connection " + std::to_string(connection) + " of an older version has nothing in flight since " +
                        in_ms(now - since) + ", its place is taken, and it is still open");
}

void NoSpin::stepped(unsigned shard, std::int64_t at, bool given, bool done) {
  Shard& one = shards_[shard];
  if (!given && !done) count(one.fruitless, at, kMomentNs, kFruitlessMost, shard, "steps that it asked for and did nothing in");
  if (!given) count(one.unasked, at, base::kSecond, kUnaskedMost, shard, "steps that it asked for");
  count(one.all, at, base::kSecond, kStepsMost, shard, "steps");
}

void NoSpin::count(Times& times, std::int64_t at, std::int64_t within, std::size_t most, unsigned shard, const char* what) {
  times.push_back(at);
  while (times.front() <= at - within) times.pop_front();
  if (times.size() <= most) return;
  verdicts_.say(19, "shard " + std::to_string(shard) + " took " + std::to_string(times.size()) + " " + what + " within " + in_ms(within));
  times.clear();
}

void Liveness::waits(std::uint64_t id, std::uint32_t credential, std::int64_t bound) {
  verdicts_.say(20, push_name(id) + " of credential " + std::to_string(credential) + " has not ended " + in_ms(bound) +
                        " after all was healed, which is its bound");
}

void Liveness::came_through(std::uint64_t id, End end, bool excused) {
  if (end == End::accepted || excused) return;
  verdicts_.say(20, push_name(id) + " was made after all was healed, and is " + end_name(end));
}

void RateRule::judge(const std::string& what) {
  std::sort(sent_.begin(), sent_.end());
  for (std::size_t first = 0, i = 0; i < sent_.size(); ++i) {
    while (sent_[first] <= sent_[i] - base::kSecond) ++first;
    const std::size_t count = i - first + 1;
    if (static_cast<double>(count) <= rate_ + burst_) continue;
    verdicts_.say(14, what + ": " + std::to_string(count) + " requests in a second at a rate of " + std::to_string(rate_));
    break;
  }
  sent_.clear();
}

void DeadPeer::look(std::int64_t now, bool (*has_in_flight)(void*, unsigned), void* context) {
  for (auto each = died_.begin(); each != died_.end();) {
    if (now - each->second > kFoundWithinNs && has_in_flight(context, each->first)) {
      verdicts_.say(15, "connection " + std::to_string(each->first) + " is dead since " + in_ms(now - each->second) +
                            " with pushes in flight, and still held");
      each = died_.erase(each);
    } else {
      ++each;
    }
  }
}

}  // namespace tocsin::sim
