// SPDX-License-Identifier: Apache-2.0
// Shard: the heart. Pushes and events in, actions and outcomes out; it owns the queue of push records, the
// connections and what it learned about endpoints and tokens, and has no clock, thread, descriptor or random source.
//
//   step(now, events, pushes) = control events -> socket events -> take the pushes -> what is due
//                               -> dial and write requests -> flush -> the next deadline
//
// A push's way: waiting (queued, or delayed until its time) -> in flight (on a connection's stream) -> ended, or back to
// waiting when its stream ended without an answer, or with one that asks for another try, and its policy, its deadline
// and attempts_max allow it.
//
// Threads: one at a time. Ownership: the Output handed to step() is cleared and filled; its views (bytes to
// send) live until the `sent` event of that connection, or until `closed`. Bounds: ShardOptions; the caller never hands
// over more pushes than pushes_max allows (credits are taken at submit), which is asserted.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "apns/answer.h"
#include "apns/reasons.h"
#include "base/prng.h"
#include "base/slab.h"
#include "dispatch/buffers.h"
#include "dispatch/config.h"
#include "dispatch/connection.h"
#include "dispatch/deadlines.h"
#include "dispatch/events.h"
#include "dispatch/push_queue.h"
#include "dispatch/reach.h"
#include "dispatch/record.h"
#include "dispatch/retry.h"
#include "dispatch/token_table.h"

namespace tocsin::dispatch {

class Shard {
 public:
  explicit Shard(const ShardOptions& options);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  void step(base::Now now, std::span<const Event> events, std::span<const PushRecord> pushes, Output& out);

  // The same in parts, for whoever has pushes come in pieces that stay in the first caches: begin(), then handle() and take() as
  // often as there is something, the time not before an earlier one's, then finish(). What a push names is told by a handle() before it.
  void begin(base::Now now, Output& out);
  void handle(base::Now now, std::span<const Event> events);
  void take(std::span<const PushRecord> pushes);
  void finish();

  const Counters& counters() const { return counters_; }
  // Nothing waits, nothing is in flight, no connection exists (invariant 2).
  bool at_rest() const { return queue_.in_use() == 0 && connections_.in_use() == 0; }
  std::uint32_t connections_in_use() const { return connections_.in_use(); }
  std::size_t flows() const { return queue_.flows(); }
  // Tests ask after each step: whether a full scan finds somebody who could act now, or before this deadline, and is not
  // looked at by then; empty if not. Defined beside them (tests/dispatch/overslept.cc).
  std::string overslept(std::int64_t deadline_mono_ns) const;

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;

  // Requests handed to a session at once: few enough that their array stays in the first-level cache. What is
  // written piles up in one buffer, so TLS records fill whatever this number is.
  static constexpr std::uint32_t kBatchMax = 64;

  // What a rate has granted and was not used in this time is void, so that nothing gathers behind the bucket's back.
  static constexpr std::int64_t kLeaseNs = 50 * base::kMillisecond;

  // A connection fills one for the wire while the kernel has another: with fewer kept, a step that serves all connections
  // would allocate.
  static constexpr std::size_t kWiresPerConnection = 2;

  // A rate's state here: what was granted and not used, and whether more was asked for.
  struct Allowance {
    bool paced = false;
    bool asked = false;
    std::uint32_t left = 0;
    std::uint32_t want = 0;        // where it stands in Output::wants,
    std::uint64_t asked_step = 0;  // if it was asked for in this step
    std::int64_t ask_again_mono_ns = 0;
    std::int64_t void_mono_ns = 0;  // what is left then is void: others may have had it
  };

  struct Credential {
    std::shared_ptr<const CredentialConfig> config;  // null once it was removed and nothing of it is left
    std::uint32_t version = 0;        // of the config; connections of an older one are drained when a new one is ready
    std::uint32_t reach = 0;          // in reaches_
    std::vector<base::Handle> connections;
    bool active = false;              // in active_
    bool in_dial_line = false;
    bool in_engine_line = false;
    bool in_token_line = false;
    std::uint32_t reach_line = kNone; // the one it stands in
    bool opening = false;             // connections_min has not been come to yet, though nothing may wait
    bool renewing = false;            // a connection of this version is wanted, though nothing may wait
    bool paused = false;
    bool alarmed = false;
    bool alarmed_here = false;        // and this shard's answers were the cause
    bool stopped = false;             // refused: by APNs' answer, or by the TLS alert that names our certificate
    bool stopped_here = false;        // and this shard found it
    bool letting_go = false;          // stopped or alarmed just now: its connections are to go, though nothing may wait
    bool removed = false;
    bool gave_up = false;
    bool ever_proven = false;
    bool changed = false;             // a CredentialStatus is due
    Reason stop_reason = Reason::none;
    unsigned short_lives = 0;         // connections in a row that went soon after they had come
    unsigned failures = 0;            // dials in a row that led to no answer
    unsigned same_cause = 0;          // of these, the last ones with one definite TLS cause
    tls::Cause last_cause = tls::Cause::none;
    std::int64_t next_dial_mono_ns = 0;
    bool endpoint_failed = false;     // it waits until then because its endpoint could not be reached
    std::int64_t placeless_since_mono_ns = base::kNever;  // without a connection, it waits for a place for one
    std::int64_t unreachable_since_mono_ns = base::kNever;
    std::int64_t unreachable_since_wall_ns = 0;
    std::string last_error;
    Allowance allowance;
    std::uint32_t engine_want = 0;    // pushes that it could send if the engine's rate let it
    RetryBudget budget;
    // The provider token: its iat, the field's value, and when it was had.
    std::int64_t token_iat_s = 0;
    std::int64_t token_age_at_ns = 0;  // its age by the wall clock when it was had,
    std::int64_t token_had_mono_ns = 0;
    std::int64_t token_asked_iat_s = 0;
    std::int64_t token_retry_mono_ns = 0;  // after token_failed
    std::string authorization;
    unsigned tokens_expired = 0;      // ExpiredProviderToken in a row for tokens that are young by our clock
    // The last answers, for the alarm.
    unsigned answers = 0;
    unsigned bad_tokens = 0;
  };

  // What each push asks of its template, at hand.
  struct TemplateFacts {
    std::uint32_t topic = 0;          // a number; equal for equal topics
    bool coalesce = false;
    bool by_collapse_id = false;      // an MDM wake-up is one wake-up whatever else it carries; others are told apart by it
    PayloadForm form = PayloadForm::fixed;
    base::ByteView before, after;     // of the payload, around the part
  };

  // Those who wait for a dial to an endpoint.
  struct ReachLine {
    std::deque<std::uint32_t> waiting;
    bool touched = false;             // in touched_reaches_
  };
  enum class Line : std::uint8_t { none, dial, reach, engine, token };

  // --- shard.cc: the step, pushes in, what is due
  void apply_control(const Event& event);
  void take_to_end(std::span<const PushRecord> run, const TemplateFacts& facts, End how, Reason why, Mark mark_as);
  void add_dead(std::uint32_t topic, base::ByteView token, std::int64_t unregistered_unix_ms);
  void first_waits(Credential& credential);
  // schedule() is to look at it.
  bool has_task(std::uint32_t index) const {
    const Credential& credential = credentials_[index];
    const bool opening = credential.opening && !credential.connections.empty();
    return queue_.waiting(index) != 0 || opening || credential.renewing || credential.letting_go;
  }
  void advance_queue();
  void report_statuses();
  Tick tick_at(std::int64_t mono_ns) const;
  std::int64_t mono_of(Tick tick) const { return options_.start_mono_ns + std::int64_t{tick} * kTickNs; }

  // --- shard_credential.cc: a credential's life
  void add_credential(const Event& event);
  void replace_credential(const Event& event);
  void remove_credential(std::uint32_t index);
  void forget_credential(std::uint32_t index);
  void roll_credential(std::uint32_t index, Mark why);
  void confirm(Connection& connection);
  void retire_older(std::uint32_t index);
  void resume_credential(std::uint32_t index);
  void stop_credential(std::uint32_t index, Reason reason, std::string text, bool told = false);
  void let_go(Credential& credential);
  void alarm_credential(std::uint32_t index, std::string text, bool told);
  void count_answers(std::uint32_t index, std::uint32_t count, std::uint32_t bad_tokens);
  void count_good_answers(std::uint32_t index, std::uint32_t count);
  std::uint32_t find_reach(const CredentialConfig& config);
  // False: nothing may be sent on this connection before a provider token comes.
  bool ready_token(std::uint32_t index, base::Handle handle, Connection& connection);
  void take_token(const Credential& credential, Connection& connection);
  void use_token(Connection& connection);
  // What is being made is not waited for, either.
  static void forget_token(Credential& credential) {
    credential.token_iat_s = credential.token_asked_iat_s = credential.token_retry_mono_ns = 0;
    credential.authorization.clear();
  }
  // True: this connection's token was made before the clock was set back, and is not taken into use again.
  bool forget_future_token(const Connection& connection);
  void on_token(const Event& event);
  std::int64_t token_age_ns(const Credential& credential) const {
    return credential.token_age_at_ns + (now_.mono_ns - credential.token_had_mono_ns);
  }
  void mark_changed(Credential& credential) {
    if (credential.changed) return;
    credential.changed = true;
    changed_.push_back(static_cast<std::uint32_t>(&credential - credentials_.data()));
  }

  // --- shard_wait.cc: who is looked at in this step, and when the next one is due
  void activate(std::uint32_t index);
  void activate_woken();
  void serve_active();
  void serve_lines();
  void serve_turn(std::uint32_t index, Line line);
  void touch_reach(std::uint32_t number);
  void await_reach(std::uint32_t index, Credential& credential);
  void await_dial(std::uint32_t index, Credential& credential);
  void await_engine(std::uint32_t index, Credential& credential);
  void await_token(std::uint32_t index, Credential& credential);
  void dial_refused(std::uint32_t index);
  void run_deadlines();
  void wake_at(std::uint32_t index, std::int64_t at) { credential_due_.bring(index, at); }
  void watch(base::Handle handle, const Connection& connection) {
    connection_due_.bring(handle.index(), next_deadline(connection));
  }
  std::int64_t next_wake() const;
  void forget_waits();

  // --- shard_dial.cc: from nothing to a TCP connection, and what a failure means
  // first: it has no connection that takes pushes.
  void start_dial(std::uint32_t credential_index, bool first);
  void on_resolved(base::Handle handle, Connection& connection, std::span<const base::Address> addresses);
  void on_dialled(base::Handle handle, Connection& connection);
  void on_tunnel(base::Handle handle, Connection& connection, base::ByteView bytes);
  void on_dial_failed(base::Handle handle, Connection& connection, std::string_view text);
  void on_dial_deferred(base::Handle handle, Connection& connection, bool connections);
  void count_failure(Credential& credential, Connection& connection, tls::Cause cause, std::string text);
  bool served(const Connection& connection) const;
  void endpoint_answers(std::uint32_t reach);
  void settle_dial(base::Handle handle, Connection& connection);
  // The next dial after a short random wait; a longer one where connections come and go.
  void soon(Credential& credential, const Connection& gone);

  // --- shard_places.cc: who gets a place for a connection, and who gives one up
  void enter_line(std::uint32_t index);
  void leave_line(std::uint32_t index);
  bool place_for(std::uint32_t index);
  void make_room(std::uint32_t index);
  bool shed_idle(std::uint32_t asker = kNone);
  // Its dial is for pushes, and not only for its minimum: worth somebody else's idle connection.
  bool needs_room(std::uint32_t index) const {
    const Credential& credential = credentials_[index];
    return credential.renewing || (queue_.has_ready(index) && !credential.paused && !credential.alarmed);
  }
  void give_up_place(std::uint32_t of);

  // --- shard_connection.cc: a connection's life from TLS on
  void start_tls(base::Handle handle, Connection& connection);
  void on_received(base::Handle handle, Connection& connection, base::ByteView bytes);
  void on_sent(base::Handle handle, Connection& connection, const Event& event);
  void on_closed(base::Handle handle, Connection& connection);
  bool tls_receive(base::Handle handle, Connection& connection, base::ByteView bytes);
  void tls_opened(base::Handle handle, Connection& connection);
  void h2_receive(base::Handle handle, Connection& connection);
  void on_settings(base::Handle handle, Connection& connection);
  void judge_limit(Connection& connection);
  void on_goaway(base::Handle handle, Connection& connection, const h2::Event& event);
  // Ends a connection: sweeps its streams, counts the failure, closes.
  void lose(base::Handle handle, Connection& connection, tls::Cause cause, std::string text);
  // Nothing new starts on it; closed once nothing is in flight.
  void retire(base::Handle handle, Connection& connection);
  void begin_close(base::Handle handle, Connection& connection, ConnectionInput input);
  void emit_close(base::Handle handle, Connection& connection);
  Action& act(ActionKind kind, base::Handle handle, std::uint32_t credential);
  // Applies the table, counted.
  void move(Connection& connection, ConnectionInput input) {
    ++counters_.edges[static_cast<std::size_t>(connection.state)][static_cast<std::size_t>(input)];
    connection.apply(input);
    activate(connection.credential);
  }
  void mark(Mark mark) { ++counters_.marks[static_cast<std::size_t>(mark)]; }
  void mark_dirty(base::Handle handle, Connection& connection);
  bool seal(base::Handle handle, Connection& connection, std::size_t bytes);
  bool seal_rest(base::Handle handle, Connection& connection);
  void write_pending(Connection& connection) {
    plain_buffers_.lend(connection.plain_out);
    connection.h2->write_pending(connection.plain_out);
  }
  void flush(base::Handle handle, Connection& connection);
  void start_send(base::Handle handle, Connection& connection);
  void log(LogLevel level, const char* event, std::string text);

  // --- shard_alive.cc: is the peer there?
  void connection_deadline(base::Handle handle, Connection& connection);
  std::int64_t next_deadline(const Connection& connection) const;
  bool check_liveness(base::Handle handle, Connection& connection);  // false: it was lost
  void send_ping(base::Handle handle, Connection& connection);
  void overdue(base::Handle handle, Connection& connection);
  bool probe(base::Handle handle, Connection& connection);  // true: nothing may be sent before its answer

  // --- shard_schedule.cc: queue to streams
  void schedule();
  void schedule_credential(std::uint32_t index, Credential& credential);
  // usable: takes pushes. dialling: on its way to that. unsure: a word from the peer is awaited first.
  struct Strength { unsigned usable = 0, dialling = 0, unsure = 0; };
  void serve(base::Handle handle, std::uint32_t index, Credential& credential, Strength& strength);
  void want_connection(std::uint32_t index, Credential& credential, Strength strength);
  void dial_more(std::uint32_t index, Credential& credential, Strength strength, bool work);
  std::uint32_t room_of(const Connection& connection, const Credential& credential) const;
  std::uint32_t write_batch(base::Handle handle, Connection& connection, std::uint32_t index, Credential& credential);
  std::uint32_t allowed(std::uint32_t index, Credential& credential, std::uint32_t room);
  void note_takes_nothing(base::Handle handle, Connection& connection);
  std::uint32_t lease_left(Allowance& allowance) const {
    if (now_.mono_ns >= allowance.void_mono_ns) allowance.left = 0;
    return allowance.left;
  }
  void keep_lease(Allowance& held, const Allowance& awaited) const;
  void use_allowance(Credential& credential, std::uint32_t count);
  void ask_for_line();
  void ask(Pace pace, std::uint32_t index, Allowance& allowance, std::uint32_t count);
  // False: it may not go now (delayed, or ended).
  bool may_go(std::uint32_t slot, bool suspect);
  void add_rechecked(Connection& connection);
  bool may_go_after_all(std::uint32_t slot);
  void add_request(std::uint32_t slot, Connection& connection);
  std::uint32_t prepared_list(Connection& connection, const QueuedPush& record);
  std::uint32_t prepare_list(Connection& connection, const QueuedPush& record);
  void fail_waiting(std::uint32_t index, End end, Reason reason, std::string_view text);

  // --- shard_end.cc: answers and ends
  void on_answer(Connection& connection, const h2::Answer& answer);
  // All that receive() gave. True: a stream broke.
  bool take_answers(Connection& connection);
  template <class TagOf, class IdOf>
  void end_run(Connection& connection, std::size_t count, TagOf&& tag_of, IdOf&& apns_id_of);
  void count_accepted(Connection& connection, std::uint32_t count);
  void end_accepted(std::uint32_t slot, std::uint64_t hash, std::string_view apns_id, AcceptedPush& push);
  void connection_proven(Connection& connection);
  void note_rejection(std::uint32_t slot, Connection& connection, const apns::Rule& rule, const apns::Verdict& verdict,
                      std::uint16_t status);
  // `waits`: the next try would come after a wait that the peer asked for.
  bool no_more_tries(const Queue::Meta& meta, bool waits) const;
  // True: the push will be tried again.
  bool retry(std::uint32_t slot, const Connection& connection, const apns::Rule& rule, std::uint16_t status, Reason reason);
  void requeue(std::uint32_t slot, Tick not_before);
  void end(std::uint32_t slot, End end, Reason reason, std::uint16_t status, std::string_view text,
           std::uint64_t superseded_by = 0);
  Outcome& add_outcome(std::uint32_t slot, End end);
  void release(std::uint32_t slot, bool accepted, std::uint64_t hash = 0);
  void end_superseded();
  // The stream ended without an answer. processed_possible: its fate is unknown, else APNs certainly did not process it.
  void stream_lost(std::uint32_t slot, bool processed_possible, Reason reason, std::string_view text,
                   bool by_goaway = false);
  void orphaned(Connection& connection, const h2::Orphan& orphan, Reason reason, std::string_view text);
  void sweep(Connection& connection, Reason reason, std::string_view text);

  ShardOptions options_;
  base::Prng prng_;
  Queue queue_;
  DeadTokens dead_tokens_;
  // Tokens were added to them while pushes waited, which are to be looked at again; what is taken in meanwhile is, too.
  bool recheck_ = false;
  TokenHolds token_holds_;
  base::Slab<Connection> connections_;
  std::vector<Credential> credentials_;
  std::vector<std::shared_ptr<const TemplateConfig>> templates_;
  std::vector<TemplateFacts> template_facts_;   // by the same index
  std::unordered_map<std::string, std::uint32_t> topics_;
  std::vector<Allowance> groups_;               // paced and asked; what is left stands in the queue
  std::vector<std::uint32_t> leased_groups_;    // with a grant that may yet become void
  Allowance engine_allowance_;
  std::vector<std::unique_ptr<Reach>> reaches_;
  std::unordered_map<std::string, std::uint32_t> reach_index_;
  std::vector<std::uint32_t> placeless_;  // credentials without a connection that wait for a place, longest first
  std::vector<std::uint32_t> active_;  // credentials to be looked at in this step
  std::vector<std::uint32_t> woken_;   // scratch of activate_woken
  std::vector<std::uint32_t> changed_; // credentials with a status to report
  std::deque<std::uint32_t> dial_line_;    // for a place in the process's budget of dials
  std::deque<std::uint32_t> engine_line_;  // for the engine's rate
  std::deque<std::uint32_t> token_line_;   // for the one provider token that is asked for in a step
  std::vector<ReachLine> reach_lines_;     // by reach
  std::vector<std::uint32_t> touched_reaches_;
  Line serving_ = Line::none;              // whose turn the credential under way has
  std::uint32_t dials_left_ = kNone;       // that may be tried before the budget is known to be free; kNone: no limit
  std::size_t dials_refused_ = 0;          // in this step
  Deadlines connection_due_;               // by slot
  Deadlines credential_due_;
  Deadlines reach_due_;
  std::int64_t rate_deadline_ = base::kNever;       // when the engine's rate or a group's is asked again
  std::int64_t dial_retry_mono_ns_ = base::kNever;  // when the budget is tried without its word
  Buffers plain_buffers_{options_.connections_max};
  Buffers wire_buffers_{kWiresPerConnection * options_.connections_max};
  base::ByteBuffer plain_in_;              // decrypted, not yet read by h2; of the connection under way, and empty after it
  std::vector<base::Handle> dirty_;
  std::vector<base::Handle> deferred_;  // connections with handshake bytes kept for a later step
  std::vector<h2::Answer> answers_;
  std::vector<h2::Event> h2_events_;
  std::vector<h2::Request> requests_;   // of a batch; those behind request_slots_.size() are of earlier ones
  std::vector<std::uint32_t> request_slots_;
  std::vector<std::uint32_t> popped_;
  std::vector<std::uint64_t> prints_;   // of popped_, where they are asked about
  std::vector<h2::Orphan> orphans_;
  std::vector<base::Handle> handles_;   // scratch of run_deadlines
  std::vector<std::uint32_t> slots_;    // scratch of whatever the queue hands out
  std::vector<Queue::Superseded> superseded_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> wanting_;
  Counters counters_;
  base::Now now_;
  std::uint64_t ping_count_ = 0;
  std::uint64_t steps_ = 0;
  base::Handle given_up_{};            // the connection that gave its place up last,
  std::int64_t given_up_mono_ns_ = 0;  // then
  bool token_asked_ = false;           // at most one signature for a provider token per step (invariant 8)
  bool private_key_used_ = false;      // at most one handshake step with a private key per step (invariant 8)
  bool stopping_ = false;
  std::int64_t stop_deadline_mono_ns_ = base::kNever;
  Output* out_ = nullptr;              // of the step under way
};

}  // namespace tocsin::dispatch
