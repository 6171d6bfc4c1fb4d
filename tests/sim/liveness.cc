// SPDX-License-Identifier: Apache-2.0
// After the faults: all is healed, once; whoever was paused or stopped by them is resumed, once; and then the shards are alone
// with what they do in production. Each push must end within a bound that follows from the configuration, and each credential
// must then bring a push through.
#include <algorithm>
#include <cmath>

#include "world.h"

namespace tocsin::sim {
namespace {

// What was written under faults is answered or lost by then: the time for an answer, the largest delay of a script, and a second.
constexpr std::int64_t kSettleNs = 20 * kSec;

// From nothing to a connection that answers: the credential's back-off and the endpoint's, the wait after connections that
// lived shortly, name and address, TLS, SETTINGS, a PING before use.
constexpr std::int64_t kConnectNs = (5 + 5 + 2 + 2 + 2 + 2 + 5) * kSec;

}  // namespace

void World::heal() {
  faults_on_ = false;
  drift_ = 0;
  wall_offset_ = 0;
  outage_until_ = 0;
  for (std::int64_t& until : dead_address_until_) until = 0;
  for (auto& link : links_) {
    link->stalled_until = 0;
    if (!link->gone && (link->silent || link->accept_hangs)) break_link(*link, "healed: the wire is new");
  }
}

// Its owner's word after the faults: what they stopped, alarmed or gave up goes on.
void World::resume_all() {
  for (std::uint32_t c = 0; c < credentials_.size(); ++c) control(dispatch::EventKind::credential_resumed, c);
  for (std::uint32_t g = 0; g < groups_ + group_base_; ++g) control(dispatch::EventKind::group_resumed, g);
}

// One request's time on a connection that has room for one: its body may need a window's update for every few bytes.
std::int64_t World::service_ns(std::size_t body_bytes) const {
  const std::int64_t round_trip = 4 * draw_.latency_ns + 5 * kMs;
  const auto rounds = static_cast<std::int64_t>(1 + body_bytes / std::max<std::uint32_t>(draw_.peer_window, 1));
  return std::min(rounds * round_trip, 16 * kSec);  // the time for an answer
}

// How long everything that waits now may take beside its own back-off: to connect, each credential of each shard in turn where
// places are few; then one push after the other on one stream, within the rates.
std::int64_t World::liveness_bound() const {
  const auto has = [this](const char* word) { return draw_.script.find(word) != std::string::npos; };
  std::int64_t service = 0;
  std::map<std::pair<int, std::uint32_t>, std::uint64_t> paced;
  std::set<std::pair<unsigned, std::uint32_t>> owners;
  for (const auto& [id, pushed] : pushes_) {
    if (pushed.ended) continue;
    const Spec& spec = pushed.spec;
    service += service_ns(std::max<std::size_t>(spec.content.size(), 64));
    owners.insert({pushed.host, spec.credential});
    const std::pair<dispatch::Pace, std::uint32_t> paces[] = {
        {dispatch::Pace::engine, 0}, {dispatch::Pace::credential, spec.credential}, {dispatch::Pace::group, spec.group - 1}};
    for (const auto& [pace, index] : paces) {
      if (const std::pair key{static_cast<int>(pace), index}; buckets_.count(key) != 0) ++paced[key];
    }
  }
  double rates_s = 0;
  for (const auto& [key, count] : paced) {
    if (const double rate = buckets_.at(key).per_second(); rate > 0) rates_s += static_cast<double>(count) / rate;
  }
  // Manners of the server that come and go take a part of the time; a PING that is not answered costs its connection.
  const int slower = has(" every 7s") || has(" every 8s") || has(" every 9s") || has(" every 11s") ? 2 : 1;
  const std::int64_t silence = has("ping-silence") ? 20 * kSec : 0;
  const auto turns = static_cast<std::int64_t>(owners.size());
  return kConnectNs + silence + turns * (2 * kSec + silence) + slower * service + static_cast<std::int64_t>(2 * rates_s * 1e9);
}

// The largest that an answer under the faults can have set for it.
std::int64_t World::back_off_bound(const Pushed& pushed) const {
  const auto has = [this](const char* word) { return draw_.script.find(word) != std::string::npos; };
  std::int64_t most = 0;
  if (has("TooManyProviderTokenUpdates")) most = 30 * kSec;  // the connection's
  if (has("TooManyRequests") && pushed.spec.token != 0) most = 300 * kSec;  // its token's, because of others
  if (pushed.taken_at >= healed_at_) return most;
  if (has("TooManyRequests")) most = 300 * kSec;
  if (has("TooManyProviderTokenUpdates")) most = 1200 * kSec;
  return std::max(most, std::min<std::int64_t>(900 * kSec, draw_.retry_later_most_ns << 9));
}

// Each push that is on its way now is asked for at its time.
bool World::all_end_in_time() {
  const std::int64_t bound = liveness_bound();
  std::int64_t last = 0;
  for (const auto& [id, pushed] : pushes_) {
    if (pushed.ended) continue;
    const std::int64_t within = bound + back_off_bound(pushed);
    last = std::max(last, within);
    at(now_ + within, [this, id = id, within] {
      if (!pushes_.at(id).ended) liveness_.waits(id, pushes_.at(id).spec.credential, within);
    });
  }
  return run_until([this] { return pending() == 0; }, last + kSec);
}

// One that nothing is special about.
std::uint64_t World::push_probe(std::uint32_t credential) {
  Spec spec;
  spec.credential = credential;
  spec.template_index = templates_of_[credential][0];
  return push(spec);
}

void World::live() {
  heal();
  // Faults may have let no connection come to be: the script's time has not begun, then, and does so with the first.
  if (script_zero_ == 0 && !draw_.script.empty()) {
    resume_all();
    for (std::uint32_t c = 0; c < draw_.credentials; ++c) {
      if (!removed_[c]) push_probe(c);
    }
    run_until([this] { return script_zero_ != 0; }, kSettleNs);
  }
  // The script's rules end with phase one as the gateway counts it: from its first connection on.
  const std::int64_t script_ends = (script_zero_ != 0 ? script_zero_ : now_) + std::max(draw_.phase_one_ns, 12 * kSec);
  run_for(std::max(now_, script_ends) + kSettleNs - now_);
  resume_all();
  healed_at_ = now_;
  for (std::uint64_t i = 20 + chance_.below(100); i != 0; --i) push(draw_push());
  if (!all_end_in_time()) return;
  // And is everything in order again? A push for each credential says so.
  std::vector<std::uint64_t> probes;
  for (std::uint32_t c = 0; c < credentials_.size(); ++c) {
    if (!removed_[c]) probes.push_back(push_probe(c));
  }
  if (!all_end_in_time()) return;
  // A rule for a certain request may wait for its number yet; and who gives up soon may do so for want of a place.
  const bool refused_yet = draw_.script.find("when request ") != std::string::npos;
  const bool few_places = draw_.credentials > draw_.connections_max || draw_.credentials * draw_.shards > draw_.budget_connections;
  for (const std::uint64_t id : probes) {
    const Pushed& pushed = pushes_.at(id);
    const bool hasty = credentials_[pushed.spec.credential]->give_up_ns != 0 && few_places;
    liveness_.came_through(id, pushed.outcome.end, refused_yet || hasty);
  }
}

}  // namespace tocsin::sim
