// SPDX-License-Identifier: Apache-2.0
// World: a shard over the plain TLS twin, a small fake network whose peers are h2::ServerSession or frames made by
// hand, and virtual time. Everything is drawn from one seed, so that a run can be had again.
//
// After each step it judges what must hold always: every push taken ends exactly once and the gauges agree; what
// the peer truly accepted agrees with what was reported; bytes lent to `send` keep their hash until `sent`; one
// send, one dial and one close at a time; nothing new starts after a GOAWAY; the next deadline lies ahead. That
// streams and windows keep to the peer's limits is judged by the peer, which may never find a broken rule.
//
// Threads: a test's. Ownership: the World owns the shard, the links (kept after their end) and external blocks, which
// die the moment the shard releases them. Bounds: none of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "dispatch/shard.h"
#include "h2/server_session.h"

namespace tocsin::dispatch::test {

inline constexpr std::int64_t kMs = base::kMillisecond;
inline constexpr std::int64_t kSec = base::kSecond;
inline constexpr std::int64_t kWallOffset = 1'700'000'000ll * kSec;

enum class Dial : std::uint8_t {
  accept,  // up, with an HTTP/2 server behind it
  raw,     // up; what comes from there is made by hand with inject(), or never
  refuse,
  defer,
  no_place,  // deferred as well: every place for a connection is taken
  hang,    // no answer at all
};

struct Net {
  std::int64_t dial_ns = 2 * kMs;
  std::int64_t latency_ns = kMs;    // each way
  std::int64_t send_ns = kMs / 10;  // until `sent`
  std::int64_t close_ns = kMs / 10;
  std::int64_t answer_ns = kMs;
  double short_sends = 0;           // chance that a send takes only a part
  double cuts = 0;                  // chance that what arrives is cut into pieces
};

// A request as the peer read it.
struct Seen {
  std::uint64_t id = 0;
  std::int32_t stream_id = 0;
  unsigned attempt = 0;  // 1, 2, ... over all connections
  std::string collapse;
};

struct Verdict {
  enum class Kind : std::uint8_t { answer, reset, headers_then_reset, hold };
  Kind kind = Kind::answer;
  unsigned status = 200;
  std::string body{};
  std::uint32_t code = 0;
  bool processed = true;  // of a reset or a hold: APNs did take the push
  std::int64_t delay_ns = -1;  // -1: Net::answer_ns

  static Verdict accept() { return {}; }
  static Verdict reject(unsigned status, std::string body) { return {Kind::answer, status, std::move(body)}; }
  static Verdict reset(std::uint32_t code, bool processed = false) {
    return {Kind::reset, 0, {}, code, processed};
  }
  static Verdict hold(bool processed = false) { return {Kind::hold, 0, {}, 0, processed}; }
  static Verdict ok_then_reset(std::uint32_t code) { return {Kind::headers_then_reset, 200, {}, code, true}; }
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
  std::vector<Head> feed(base::ByteView bytes);

 private:
  std::size_t skip_;
  std::string held_;
};

struct Link {
  std::uint64_t handle = 0;
  std::uint32_t credential = 0;
  unsigned number = 0;  // in the order of dials, from 0
  Dial way = Dial::accept;
  std::unique_ptr<h2::ServerSession> server;
  std::string raw_in;             // a raw peer's: all that the shard sent
  bool up = false;
  std::int64_t waiting_since_ns = base::kNever;  // as its dial said
  bool dial_open = true;          // no dial_settled yet
  bool close_asked = false;
  bool gone = false;              // `closed` was told
  bool cut = false;               // the wire is broken: nothing passes any more
  bool stalled = false;           // sends never complete

  bool lent = false;              // `bytes` are ours until `sent`
  base::ByteView bytes;
  std::uint64_t bytes_hash = 0;
  std::string rest;               // of a short send: what must come next

  bool goaway_sent = false;
  bool goaway_read = false;       // by the shard
  unsigned old_sends = 0;         // sends after that which may hold requests encoded before it
  std::int32_t decided = 0;       // the highest stream with a verdict that processed it
  std::uint32_t open_most = 0;    // streams seen open at once
  unsigned requests = 0;
  std::int64_t to_server_ns = 0;  // bytes arrive in order
  std::int64_t to_client_ns = 0;

  FrameTap client_tap{24};
  FrameTap server_tap{0};

  bool usable() const { return up && !gone && !cut && !close_asked; }
};

struct PushSpec {
  std::uint32_t credential = 0;
  std::uint32_t template_index = 0;
  Policy policy = Policy::at_least_once;
  std::string part{};
  std::string payload{};
  std::string collapse{};
  bool external = false;  // even if it fits inline
};

// Token of 32 bytes whose first eight are the push's id, so that the peer knows whom it reads.
std::array<std::byte, 32> token_of(std::uint64_t id);

class World {
 public:
  explicit World(const ShardOptions& options = {}, std::uint64_t seed = 1);
  ~World();

  std::uint32_t add_credential(CredentialConfig config);
  std::uint32_t add_credential() { return add_credential(plain_credential()); }
  static CredentialConfig plain_credential();
  std::uint32_t add_template(PayloadForm form, std::string payload, std::string topic = "com.example.app");
  // One credential and one fixed template, which most tests want.
  void add_default() {
    add_credential();
    add_template(PayloadForm::fixed, R"({"aps":{"alert":"x"}})");
  }

  std::uint64_t push(const PushSpec& spec = {});
  std::vector<std::uint64_t> push_many(std::size_t count, const PushSpec& spec = {});
  void stop(std::int64_t grace_ns);
  void event(Event event) { events_.push_back(std::move(event)); }
  void at(std::int64_t delay_ns, std::function<void()> call);

  // Runs until `done` or for `limit_ns` of virtual time; answers whether `done` came true.
  bool run(std::int64_t limit_ns, const std::function<bool()>& done = {});
  bool run_until_ended(std::int64_t limit_ns = 120 * kSec) {
    return run(limit_ns, [this] { return pending() == 0; });
  }
  // Stops with `grace_ns`, runs to rest and judges that nothing is left; then the ledger.
  void finish(std::int64_t grace_ns = 10 * kSec);
  void check_ledger();

  // What peers do.
  Link* newest();
  Link& link(std::size_t number) { return links_.at(number); }
  std::size_t links() const { return links_.size(); }
  std::vector<Link*> usable_links();
  void answer(Link& link, std::int32_t stream_id, std::uint64_t id, const Verdict& verdict);
  void goaway(Link& link, std::int32_t last, std::uint32_t code, std::string_view debug = {});
  void set_streams_max(Link& link, std::uint32_t streams_max);
  void inject(Link& link, std::string frames);
  void hang_up(Link& link);     // after everything sent so far
  void break_wire(Link& link);  // at once

  std::size_t pending() const { return pushes_.size() - outcomes.size(); }
  const Counters& counters() const { return shard_->counters(); }
  const Shard& shard() const { return *shard_; }
  bool config_alive(std::uint32_t credential) const { return !configs_.at(credential).expired(); }
  std::int64_t now() const { return now_ns_; }
  std::int64_t deadline() const { return output_.deadline_mono_ns; }
  std::uint64_t hash() const { return hash_; }
  base::Prng& chance() { return prng_; }
  const Outcome& outcome(std::uint64_t id) const { return outcomes.at(id); }
  std::size_t ended_as(End end) const;
  std::size_t logged(std::string_view event) const;
  std::size_t blocks_out() const { return blocks_.size(); }

  Net net;
  h2::ServerOptions server;
  bool bare_answers = false;         // accepted: of every second push, :status alone
  std::function<Dial(std::uint32_t credential)> on_dial;
  std::function<void(const Want&)> on_want;          // where a rate is set
  std::function<Verdict(Link&, const Seen&)> judge;  // default: accept
  std::map<std::uint64_t, Outcome> outcomes;
  std::map<std::uint64_t, unsigned> ledger;          // pushes that the peer took, how often
  std::vector<std::int64_t> dial_times;
  std::map<std::uint32_t, CredentialStatus> statuses;
  std::vector<LogEvent> logs;
  std::size_t released = 0;
  std::uint64_t steps = 0;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> tokens_asked;  // step, credential
  bool tokens_fail = false;
  std::int64_t dial_word_ns = 10 * kMs;  // after a deferred dial: when the budget tells that a place is free; negative: never
  bool was_at_rest = false;  // Output::at_rest of the last step

 private:
  struct Pushed {
    PushSpec spec;
    Uuid apns_id{};
    std::int64_t submitted_ns = 0;
    std::string body;
    unsigned seen = 0;
  };

  void step();
  void perform(const Action& action);
  void start_link(const Action& action);
  void connect(Link& link);
  void lend(Link& link, base::ByteView bytes);
  void complete_send(Link& link);
  void finish_close(Link& link);
  void check_lent();
  void check_counts();
  void take_outcome(const Outcome& outcome);
  void arrive(Link& link, const std::string& bytes);
  void on_request(Link& link, const h2::ServerRequest& request);
  void server_flush(Link& link);
  void send_to_client(Link& link, std::string bytes);
  void deliver(Link& link, std::string bytes);
  void tell(EventKind kind, const Link& link, std::int64_t result = 0, std::string_view text = {});
  void mix(std::uint64_t value) { hash_ = base::mix64(hash_ ^ value); }

  ShardOptions options_;
  base::Prng prng_;
  std::unique_ptr<Shard> shard_;
  Output output_;
  std::int64_t now_ns_ = kSec;
  std::uint64_t order_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, std::function<void()>> calls_;
  std::vector<Event> events_;
  std::vector<PushRecord> new_pushes_;
  std::deque<std::string> held_;  // bytes of `received` events, for the length of a step
  std::deque<Link> links_;
  std::map<std::uint64_t, Link*> live_;
  std::vector<CredentialConfig> credentials_;
  std::vector<std::weak_ptr<const CredentialConfig>> configs_;
  std::vector<std::shared_ptr<TemplateConfig>> templates_;
  std::map<std::uint64_t, Pushed> pushes_;
  std::map<std::byte*, std::unique_ptr<std::byte[]>> blocks_;
  std::uint64_t hash_ = 0;
  base::Address address_{{2, 0, 1, 187, 127, 0, 0, 1}, 16};  // of every name
};

}  // namespace tocsin::dispatch::test
