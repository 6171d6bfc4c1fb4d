// SPDX-License-Identifier: Apache-2.0
// World: one or more shards on virtual time, with a network, a kernel, clocks and a gateway around them, all in one
// thread and all drawn from one seed.
//
// The shards are the production ones, over the plain twin of the TLS channel; the gateway is the mock's own
// (mock::Service and its fault script). What lies between is here: name look-ups, dials through a budget, links that cut,
// delay, stall, lose and break; sends that take only a part; late completions; a wall clock that drifts and steps. Beside
// it stands a client that submits, cancels, pauses, renews and removes. Every oracle watches.
//
// Threads: one. Same seed, same hash (of all actions and outcomes). run() is what seeds do; scenarios drive the pieces.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "dispatch/shard.h"
#include "draw.h"
#include "engine/places.h"
#include "engine/rate.h"
#include "handshake.h"
#include "fates.h"
#include "mock/conversation.h"
#include "oracles.h"
#include "provider.h"

namespace tocsin::sim {

inline constexpr std::string_view kNoAnswer("\x00\x01x\x01y", 5);  // a header block without :status
inline constexpr std::int64_t kWallStart = 1'700'000'000ll * kSec;

struct Report {
  bool good = false;
  std::vector<std::string> said;
  std::uint64_t hash = 0;
  std::uint64_t pushes = 0;
  std::uint64_t ends[kEnds + 1] = {};
  std::array<std::uint64_t, kKinds> faults{};
  mock::ScriptCounts script;
  std::uint64_t edges[dispatch::kConnectionStates][dispatch::kConnectionInputs] = {};
  std::uint64_t marks[dispatch::kMarks] = {};
  std::int64_t virtual_ns = 0;
  std::uint64_t steps = 0;
};

// Splits a byte stream into frames, wherever it was cut.
class FrameTap {
 public:
  struct Head {
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    std::uint32_t id = 0;
  };
  explicit FrameTap(std::size_t preface_bytes) : skip_(preface_bytes) {}
  // begin(head) when a frame's head is there; end(head, body) when all of it is. The body of frames without flow control only.
  template <class F, class G>
  void feed(base::ByteView bytes, F&& begin, G&& end);

 private:
  Head current_;
  std::string body_;
  std::size_t skip_;
  std::size_t body_left_ = 0;
  std::uint8_t head_[9] = {};
  std::size_t head_bytes_ = 0;
};

struct Spec {  // of one push
  std::uint32_t credential = 0;
  std::uint32_t template_index = 0;
  std::uint32_t group = 0;  // handle
  Policy policy = Policy::at_least_once;
  PriorityClass priority_class = PriorityClass::normal;
  std::int64_t deadline_ns = 0;  // from now on; 0: none
  std::int64_t registered_ms = 0;
  std::uint64_t token = 0;  // 0: its own
  std::string collapse{};
  std::string content{};
};

using Inflater = std::unique_ptr<nghttp2_hd_inflater, void (*)(nghttp2_hd_inflater*)>;

class World {
 public:
  // choices: taken before the seed's own, as long as they last; they must outlive the world.
  explicit World(const Draw& draw, bool trace = false, std::span<const std::uint8_t> choices = {});
  ~World();

  Report run();

  // --- for scenarios
  void start();                     // shards, credentials, templates as drawn
  std::uint64_t push(const Spec& spec);  // 0: no room
  void run_for(std::int64_t ns);
  bool run_until(const std::function<bool()>& done, std::int64_t limit_ns);
  void heal();
  void stop(std::int64_t grace_ns);
  void finish();                    // stop, rest, judge
  void mass_death(bool reset);
  void outage(std::int64_t ns);
  void control(dispatch::EventKind kind, std::uint32_t index, std::int64_t result = 0);
  void set_rate(dispatch::Pace pace, std::uint32_t index, double rate);
  void replace(std::uint32_t index);
  void step_wall_clock(std::int64_t ns) { wall_offset_ += ns; }
  Report report() const;
  std::int64_t now() const { return now_; }
  const Outcome& outcome(std::uint64_t id) const { return pushes_.at(id).outcome; }
  bool ended(std::uint64_t id) const { return pushes_.at(id).ended; }
  std::int64_t ended_at(std::uint64_t id) const { return pushes_.at(id).ended_at; }
  std::int64_t first_written(std::uint64_t id) const { return pushes_.at(id).first_written; }  // on whichever connection
  std::uint64_t pending() const { return conservation_.pending(); }
  std::uint64_t of(End end) const { return conservation_.of(end); }
  std::uint64_t marked(dispatch::Mark mark) const;
  std::uint64_t dials() const { return dials_; }
  const Verdicts& verdicts() const { return verdicts_; }
  std::uint64_t processed() const { return processed_; }
  const dispatch::Counters& counters(unsigned shard = 0) const { return hosts_[shard]->shard->counters(); }
  mock::GatewayConfig& gateway() { return *gateway_config_; }
  std::vector<std::string>& trace() { return trace_; }

 private:
  struct Link {
    unsigned number = 0;
    std::uint64_t handle = 0;
    std::uint32_t credential = 0;
    unsigned host = 0;
    std::uint16_t port = 0;
    bool dial_open = false;
    bool up = false;
    bool close_asked = false;
    bool gone = false;        // `closed` was told
    bool broken = false;      // nothing passes any more, and the client knows or will
    bool silent = false;      // half open: nothing passes, nobody is told
    bool accept_hangs = false;
    bool ended = false;       // the gateway's side is over
    bool tunnelled = false;   // the proxy's part is over
    bool rst = false;
    std::string tunnel;
    std::unique_ptr<mock::Conversation> conversation;
    mock::ConnectFaults faults;
    base::ByteView sending;
    std::int64_t sending_at = 0;       // of the send before: what goes now was encoded later than that
    std::int64_t encoded_from = 0;
    bool rest_follows = false;
    std::int64_t to_server = 0;        // bytes arrive in order
    std::int64_t to_client = 0;
    std::int64_t stalled_until = 0;
    std::int64_t latency = 0;
    struct Start {
      std::int64_t encoded_from = 0;
      std::int64_t left_at = 0;
    };
    std::map<std::uint32_t, Start> started;  // by stream: when its HEADERS were encoded at the earliest, and went
    std::int64_t timer_at = base::kNever;
    std::set<std::uint32_t> open_streams;  // as the client sees them
    std::set<std::uint32_t> shows_nothing; // streams whose answer says nothing of the way: it is about the credential
    unsigned version = 0;                  // of its credential
    bool settled = false;                  // the server's SETTINGS were handed over
    bool going_away = false;               // and its GOAWAY
    bool greeted = false;              // the handshake is over
    std::string hello;
    FrameTap client_tap{kHelloBytes + 24};
    Inflater inflater{nullptr, nghttp2_hd_inflate_del};
    std::map<std::uint32_t, Attempt*> attempts;  // by stream: HEADERS that left
    std::vector<std::pair<std::uint32_t, std::int64_t>> goaways;  // read: last id, and when
    FrameTap server_tap{0};
    bool passes() const { return up && !gone && !broken && !silent; }
  };
  struct Host {
    unsigned number = 0;
    std::int64_t retry_later_ns = 0;
    std::unique_ptr<dispatch::Shard> shard;
    dispatch::Output out;
    std::vector<dispatch::Event> events;
    std::deque<std::string> held;                       // bytes and texts of events
    std::deque<std::vector<base::Address>> addresses;
    std::deque<std::vector<std::uint64_t>> ids;
    std::deque<std::vector<dispatch::DeadToken>> dead;
    std::deque<dispatch::PushRecord> inbox;
    std::map<std::uint64_t, Link*> links;
    std::map<std::uint32_t, unsigned> open;             // connections that are open, by credential, as it reported
    bool step_due = false;
    std::uint64_t deadline_turn = 0;
    unsigned inside = 0;
    bool stopping = false;
    bool rested = false;
    std::int64_t stop_at = 0, stop_deadline = 0, rest_at = 0;
    std::map<std::uint32_t, std::uint64_t> words;  // how often its owner replaced or resumed it, by credential
    std::map<std::pair<std::uint32_t, bool>, std::uint64_t> told;  // since which of these the others know of a stop; true: of an alarm
    std::map<std::uint32_t, unsigned> versions;  // that the shard has, by credential
    std::map<std::uint32_t, unsigned> keys;  // the provider key of the version that the shard has, by credential
    std::map<std::string, std::pair<std::int64_t, std::int64_t>, std::less<>> tokens;  // when had, and their age then
  };
  struct Pushed {
    Spec spec;
    unsigned host = 0;
    std::string token;
    std::int64_t deadline = 0;
    std::int64_t taken_at = 0;
    std::int64_t first_written = base::kNever;  // as far as a peer came to know of it
    std::int64_t ended_at = base::kNever;
    unsigned seen = 0;
    bool ended = false;
    Outcome outcome;
  };
  using Call = std::function<void()>;

  // --- world.cc: time, hosts, the client's calls
  void at(std::int64_t when, Call call);
  bool turn(std::int64_t limit);
  base::Now clock() const { return {now_, kWallStart + now_ + wall_offset_ + static_cast<std::int64_t>(drift_ * static_cast<double>(now_))}; }
  base::Now true_clock() const { return {now_, kWallStart + now_}; }
  void wake(Host& host);
  void step(Host& host);
  void step_in_pieces(Host& host, std::span<const dispatch::Event> events, std::span<const dispatch::PushRecord> pushes);
  void take_outcome(Host& host, const Outcome& outcome);
  void grant(Host& host, const dispatch::Want& want);
  void read_control(Host& host, std::vector<dispatch::Event>& events);
  void pass_on(Host& host, const dispatch::CredentialStatus& status);
  void pass_on(Host& host, const dispatch::CredentialStatus& status, bool alarm, std::uint64_t word);
  dispatch::Event& tell(Host& host, dispatch::EventKind kind);
  void tell_all(const dispatch::Event& event);
  dispatch::CredentialConfig credential_config(std::uint32_t index, bool quick);
  void mix(std::uint64_t value) { hash_ = base::mix64(hash_ ^ value); }
  void note(const std::string& line);
  void count(Kind kind) { ++faults_[static_cast<std::size_t>(kind)]; }
  bool happens(Kind kind, double scale = 1);
  // Its connections have nothing but a provider token.
  bool wants_tokens(std::uint32_t credential) const { return credentials_[credential]->provider_tokens && !draw_.provider_certificate; }
  void register_key(std::uint32_t index, unsigned key);
  std::vector<std::string> topics_of_credential(std::uint32_t index) const;
  static std::string mdm_topic(std::uint32_t credential);
  static std::string pool_token(std::uint64_t number);
  std::string key_of(const Pushed& pushed) const;
  std::uint32_t topic_of(std::uint32_t template_index) const;
  // --- liveness.cc: after the faults
  void live();
  void resume_all();
  std::int64_t service_ns(std::size_t body_bytes) const;
  std::int64_t liveness_bound() const;
  std::int64_t back_off_bound(const Pushed& pushed) const;
  std::uint64_t push_probe(std::uint32_t credential);
  bool all_end_in_time();
  // --- client.cc: what the client does in phase one
  void schedule_client();
  void submit_some();
  Spec draw_push();
  void meddle(Kind kind);
  // --- net.cc: dials, links, bytes
  void perform(Host& host, const dispatch::Action& action);
  void tell_dials_free();
  void ask_to_shed(const Host& asking, bool busy);
  void resolve(Host& host, const dispatch::Action& action);
  void dial(Host& host, Link& link, const dispatch::Action& action);
  void send(Host& host, Link& link, base::ByteView bytes);
  void send_done(Host& host, Link& link, std::size_t bytes);
  void arrive(Link& link, std::string bytes);
  void arrive_tunnel(Link& link, const std::string& bytes);
  void pump(Link& link);
  void deliver(Link& link, std::string bytes, bool of_proxy = false);
  void tell_link(Link& link, dispatch::EventKind kind, std::int64_t result = 0, std::string_view text = {});
  void break_link(Link& link, const char* why);
  void silence(Link& link);
  void close(Host& host, Link& link);
  Link* any_link();
  void rates_saw(const Spec& spec, std::int64_t left_at);
  void judge_rate(const std::pair<int, std::uint32_t>& key);
  void tell_dead_tokens(std::uint32_t credential);
  void judge_refusal(const Link& link, Reason reason);
  void version_changed(Host& host, std::uint32_t credential);
  void see_request(const mock::Peer& peer, const h2::ServerRequest& request, const mock::Reply& reply);
  void look_for_dead_peers();
  // --- tries.cc: each push's HEADERS, and what came of them
  void wrote(Link& link, std::uint32_t stream, std::uint8_t flags, base::ByteView body);
  void gave_up(Link& link, std::uint32_t stream);
  void read_to_the_end(Link& link, const FrameTap::Head& head, base::ByteView body);
  void closing(Link& link);
  void read_frame(Link& link, const FrameTap::Head& head);

  const Draw draw_;
  Chance chance_;
  base::Prng pieces_;  // of steps: not a choice of the scenario
  bool tracing_ = false;
  bool faults_on_ = true;
  std::int64_t now_ = kSec;
  std::int64_t wall_offset_ = 0;
  double drift_ = 0;
  std::uint64_t order_ = 0;
  struct Item {
    std::int64_t when = 0;
    std::uint64_t order = 0;
    std::size_t call = 0;  // in calls_: a heap that moves calls about is slow
    bool operator<(const Item& other) const {
      return when != other.when ? when > other.when : order > other.order;  // a heap's top is the earliest
    }
  };
  std::vector<Item> heap_;
  std::vector<Call> calls_;
  std::vector<std::size_t> free_calls_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::deque<std::unique_ptr<Link>> links_;
  std::map<unsigned, Link*> by_connection_;  // the gateway's ordinal
  std::shared_ptr<mock::GatewayConfig> gateway_config_;
  std::unique_ptr<mock::Service> service_;
  std::vector<std::shared_ptr<const dispatch::CredentialConfig>> credentials_;  // the last version of each
  std::vector<std::shared_ptr<const dispatch::CredentialConfig>> versions_;     // all, so that keys_ may name them
  std::map<const dispatch::CredentialConfig*, unsigned> keys_;                  // the provider key of a version
  std::vector<bool> removed_;
  std::vector<std::shared_ptr<dispatch::TemplateConfig>> templates_;
  std::vector<std::vector<std::uint32_t>> templates_of_;  // by credential
  unsigned groups_ = 0;
  unsigned group_base_ = 0;  // cancelled ones are followed by new ones
  std::map<std::pair<int, std::uint32_t>, engine::RateBucket> buckets_;  // the engine's own, shared by all shards
  std::map<std::pair<int, std::uint32_t>, RateRule> rates_;
  std::map<std::uint64_t, Pushed> pushes_;
  std::map<std::byte*, std::unique_ptr<std::byte[]>> blocks_;
  std::map<std::pair<std::string, std::uint64_t>, std::int64_t> registered_;  // topic, pool token -> ms, after a 410
  std::uint64_t next_push_ = 1;
  std::uint64_t processed_ = 0;
  std::uint64_t dials_ = 0;
  engine::Places places_;
  std::int64_t shed_asked_at_ = 0;
  std::size_t shed_turn_ = 0;
  unsigned budget_dials_ = 0;
  std::size_t dials_told_ = 0;  // whose turn it is to be told
  std::int64_t outage_until_ = 0;
  std::vector<std::int64_t> dead_address_until_;
  std::int64_t healed_at_ = 0;
  std::int64_t script_zero_ = 0;  // the gateway's first connection
  std::int64_t mass_death_at_ = 0;
  std::vector<std::int64_t> mass_dials_;
  bool calm_ = false;
  std::uint64_t hash_ = 0;
  std::uint64_t steps_ = 0;
  std::array<std::uint64_t, kKinds> faults_{};
  std::vector<std::string> trace_;

  Verdicts verdicts_;
  Conservation conservation_{verdicts_};
  Effects effects_{verdicts_};
  PeerRules peer_rules_{verdicts_};
  AfterGoaway after_goaway_{verdicts_};
  DeadTokenRule dead_tokens_{verdicts_};
  ProviderTokenRule provider_tokens_{verdicts_};
  NoStampede stampede_{verdicts_};
  Bounds bounds_{verdicts_};
  LentBuffers lent_{verdicts_};
  Fairness fairness_{verdicts_};
  DrainBound drain_{verdicts_};
  Expiry expiry_{verdicts_};
  DeadPeer dead_peer_{verdicts_};
  Supersession supersession_{verdicts_};
  FirstAnswer first_answer_{verdicts_};
  VersionRule version_rule_{verdicts_};
  NoSpin no_spin_{verdicts_};
  Liveness liveness_{verdicts_};
  Fates fates_{verdicts_};
};

}  // namespace tocsin::sim
