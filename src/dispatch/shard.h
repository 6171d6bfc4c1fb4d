// SPDX-License-Identifier: Apache-2.0
// Shard: the heart. Pushes and events in, actions and outcomes out; it owns a pool of push records, a
// queue per credential and the connections of that credential, and has no clock, thread, descriptor or random source.
//
//   step(now, events, pushes) = control events -> socket events -> queue the pushes -> deadlines
//                               -> dial and write requests -> flush -> the next deadline
//
// A push's way: waiting (in its credential's queue) -> in flight (on a connection's stream) -> ended, or back to
// waiting when its stream ended without an answer and its policy and attempts_max allow it.
//
// Threads: one at a time. Ownership: the Output handed to step() is cleared and filled; its views (bytes to
// send) live until the `sent` event of that connection, or until `closed`. Bounds: ShardOptions; the caller never hands
// over more pushes than pushes_max allows (credits are taken at submit), which is asserted.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/slab.h"
#include "dispatch/config.h"
#include "dispatch/connection.h"
#include "dispatch/events.h"
#include "dispatch/record.h"

namespace tocsin::dispatch {

class Shard {
 public:
  explicit Shard(const ShardOptions& options);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  void step(base::Now now, std::span<const Event> events, std::span<const PushRecord> pushes, Output& out);

  const Counters& counters() const { return counters_; }
  // Nothing waits, nothing is in flight, no connection exists (invariant 2).
  bool at_rest() const { return pool_in_use_ == 0 && connections_.in_use() == 0; }
  std::uint32_t connections_in_use() const { return connections_.in_use(); }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;

  enum class PushState : std::uint8_t { free, waiting, in_flight };

  // Beside each record, in an array of its own: what changes while the push lives.
  struct Meta {
    std::int64_t sent_mono_ns = 0;
    std::uint32_t next = kNone;       // in a queue or the free list
    std::uint16_t attempts = 0;
    PushState state = PushState::free;
    bool maybe_processed : 1 = false; // an attempt's fate is unknown
    bool doubled : 1 = false;         // and it was written again after that
  };

  struct Credential {
    std::shared_ptr<const CredentialConfig> config;
    std::uint32_t head = kNone;
    std::uint32_t tail = kNone;
    std::uint32_t waiting = 0;
    std::vector<base::Handle> connections;
    bool active = false;              // in active_
    bool gave_up = false;
    bool changed = false;             // a CredentialStatus is due
    unsigned failures = 0;            // dials in a row that led to no answer
    unsigned same_cause = 0;          // of these, the last ones with one definite TLS cause
    tls::Cause last_cause = tls::Cause::none;
    std::int64_t next_dial_mono_ns = 0;
    std::int64_t unreachable_since_mono_ns = base::kNever;
    std::int64_t unreachable_since_wall_ns = 0;
    std::string last_error;
  };

  // --- shard.cc: the step, queues and pool
  void apply_control(const Event& event);
  void take(std::span<const PushRecord> pushes);
  std::uint32_t pool_acquire();
  void push_back(Credential& credential, std::uint32_t slot);
  void push_front(Credential& credential, std::uint32_t slot);
  std::uint32_t pop_front(Credential& credential);
  void activate(std::uint32_t index);
  void run_deadlines();
  void connection_deadline(base::Handle handle, Connection& connection);
  void note_deadline(std::int64_t deadline) { if (deadline < earliest_) earliest_ = deadline; }
  std::int64_t find_earliest();
  void report_statuses();

  // --- shard_connection.cc: a connection's life
  void start_dial(std::uint32_t credential_index);
  void on_resolved(base::Handle handle, Connection& connection, std::span<const base::Address> addresses);
  void on_dialled(base::Handle handle, Connection& connection);
  void on_dial_failed(base::Handle handle, Connection& connection, std::string_view text);
  void on_dial_deferred(base::Handle handle, Connection& connection);
  void on_received(base::Handle handle, Connection& connection, base::ByteView bytes);
  void on_sent(base::Handle handle, Connection& connection, const Event& event);
  void on_closed(base::Handle handle, Connection& connection);
  bool tls_receive(base::Handle handle, Connection& connection, base::ByteView bytes);
  void tls_opened(base::Handle handle, Connection& connection);
  void h2_receive(base::Handle handle, Connection& connection);
  void on_goaway(base::Handle handle, Connection& connection, const h2::Event& event);
  // Ends a connection: sweeps its streams, counts the failure, closes.
  void lose(base::Handle handle, Connection& connection, tls::Cause cause, std::string text);
  void begin_close(base::Handle handle, Connection& connection, ConnectionInput input);
  void emit_close(base::Handle handle, Connection& connection);
  void mark_changed(Credential& credential) { credential.changed = any_changed_ = true; }
  void count_failure(Credential& credential, const Connection& connection, tls::Cause cause, std::string text);
  void settle_dial(base::Handle handle, Connection& connection);
  Action& act(ActionKind kind, base::Handle handle, std::uint32_t credential);
  // Applies the table, counted.
  void move(Connection& connection, ConnectionInput input) {
    ++counters_.edges[static_cast<std::size_t>(connection.state)][static_cast<std::size_t>(input)];
    connection.apply(input);
  }
  void mark(Mark mark) { ++counters_.marks[static_cast<std::size_t>(mark)]; }
  void mark_dirty(base::Handle handle, Connection& connection);
  void flush(base::Handle handle, Connection& connection);
  void start_send(base::Handle handle, Connection& connection);
  void log(LogLevel level, const char* event, std::string text);

  // --- shard_schedule.cc: queue to streams
  void schedule();
  void schedule_credential(std::uint32_t index, Credential& credential);
  std::uint32_t write_batch(base::Handle handle, Connection& connection, Credential& credential);
  std::uint32_t prepared_list(Connection& connection, const Credential& credential, const PushRecord& record);
  void fail_waiting(Credential& credential, End end, Reason reason, std::string_view text);

  // --- shard_end.cc: answers and ends
  void on_answer(Connection& connection, const h2::Answer& answer);
  void end(std::uint32_t slot, End end, Reason reason, std::uint16_t status, std::string_view text);
  Outcome& add_outcome(std::uint32_t slot, End end);
  // The stream ended without an answer. processed_possible: its fate is unknown, else APNs certainly did not process it.
  void stream_lost(std::uint32_t slot, bool processed_possible, Reason reason, std::string_view text);
  void sweep(Connection& connection, Reason reason, std::string_view text);
  void release(std::uint32_t slot);

  ShardOptions options_;
  base::Prng prng_;
  std::unique_ptr<PushRecord[]> records_;
  std::unique_ptr<Meta[]> metas_;
  std::uint32_t pool_free_ = kNone;
  std::uint32_t pool_fresh_ = 0;      // slots never used yet start here, so that untouched memory stays untouched
  std::uint32_t pool_in_use_ = 0;
  base::Slab<Connection> connections_;
  std::vector<Credential> credentials_;
  std::vector<std::shared_ptr<const TemplateConfig>> templates_;
  std::vector<std::uint32_t> active_;  // credentials with waiting pushes
  std::vector<base::Handle> dirty_;
  std::vector<base::Handle> deferred_;  // connections with handshake bytes kept for a later step
  std::vector<h2::Answer> answers_;
  std::vector<h2::Event> h2_events_;
  std::vector<h2::Request> requests_;
  std::vector<std::uint32_t> request_slots_;
  std::vector<h2::Orphan> orphans_;
  std::vector<base::Handle> handles_;   // scratch of run_deadlines
  Counters counters_;
  base::Now now_;
  std::int64_t earliest_ = base::kNever;
  bool private_key_used_ = false;      // at most one handshake step with a private key per step (invariant 8)
  bool stopping_ = false;
  bool any_changed_ = false;           // some credential has a status to report
  std::int64_t stop_deadline_mono_ns_ = base::kNever;
  Output* out_ = nullptr;              // of the step under way
};

}  // namespace tocsin::dispatch
