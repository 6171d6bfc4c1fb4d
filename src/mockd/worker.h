// SPDX-License-Identifier: Apache-2.0
// Worker: one thread, one ring, its connections and its part of the ledger. The loop is four verbs: reap,
// step (judge requests, give answers), submit, wait.
//
// Threads: start(), begin_stop(), join() from the owner's thread; hand_over() and the readers (counts,
// with_ledger, batches) from any. Ownership: owns thread, ring and connections. Bounds: options.h; one
// connection's output is bounded because answers are not pulled from its session while too much waits: the
// streams then stay open, and the client may start no further ones.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/slab.h"
#include "io/driver.h"
#include "mock/conversation.h"
#include "mockd/connection_log.h"
#include "mockd/options.h"
#include "obs/histogram.h"
#include "obs/metrics.h"
#include "tls/channel.h"
#include "tls/context.h"

namespace tocsin::mockd {

class Worker;

// What all workers of a server share; immutable once they run, but for the count.
struct Shared {
  Options options;
  // By mock::TlsFault; those that the script does not ask for are null. Under `none` stands the good one.
  std::array<std::shared_ptr<tls::ServerContext>, 7> tls;
  std::shared_ptr<const mock::GatewayConfig> gateway;
  std::vector<std::unique_ptr<Worker>> workers;
  std::atomic<unsigned> connections{0};
};

struct Counts {
  obs::Counter requests, accepted, rejected, validated, answers_waiting;
  obs::Counter connections_open, connections_accepted, connections_refused, connections_handed_over;
  obs::Counter handshakes_failed, handshake_timeouts, protocol_errors;
  obs::Counter bytes_received, bytes_sent, sends, enters, buffers_exhausted;
};

enum class Stage : std::uint8_t {
  handshaking,
  open,
  ending,     // what waits is still written, then our side is shut
  lingering,  // our side is shut; waits (bounded) for the client's end, so that it can read all we said
  closing,    // given back to the driver; `closed` is awaited
  hanging,    // a fault: what comes is dropped, nothing is said, until the client goes
};

struct Connection {
  std::unique_ptr<tls::Channel> channel;
  std::unique_ptr<mock::Conversation> conversation;  // once TLS is open
  mock::ConnectFaults faults;
  base::ByteBuffer filling;  // ours: what leaves with the next send
  base::ByteBuffer flying;   // the kernel's while `sending`
  std::int64_t deadline_mono_ns = base::kNever;  // of the handshake or of lingering
  std::int64_t timer_mono_ns = base::kNever;     // when timers_ looks at this connection next
  std::int64_t pause_mono_ns = 0;                // nothing is sent before: a slow line, a stalled server
  Stage stage = Stage::handshaking;
  bool sending = false;
  bool dirty = false;  // stands in dirty_
  bool half_close = false;  // ends by FIN alone, without close_notify
  bool ended = false;       // stands in the connection log
  std::int64_t opened_unix_ms = 0;
};

class Worker {
 public:
  Worker(Shared& shared, unsigned index);
  ~Worker();

  // Opens the ring on the worker's own thread; with `listen`, also the listener, whose bound address comes back.
  Result<io::Address> start(const std::optional<io::Address>& listen);

  // Takes over a connected socket; closes it if the worker has ended.
  void hand_over(int fd);

  // GOAWAY to every client, answers still due are given, then all ends, within drain_ms (and a second's grace).
  void begin_stop(int drain_ms);
  void join();

  const Counts& counts() const { return counts_; }
  void with_ledger(const std::function<void(const mock::Ledger&)>& f) const;
  obs::Histogram batches() const;
  mock::ScriptCounts faults() const;
  const ConnectionLog& ends() const { return ends_; }
  mock::Traffic::Flood flood() const;

 private:
  Result<io::Address> open(const std::optional<io::Address>& listen);
  void run();
  void step(base::Now now);
  void on_completion(const io::Completion& completion, base::Now now);
  void on_accepted(const io::Completion& completion);
  void on_received(base::Handle handle, Connection& c, base::ByteView bytes, base::Now now);
  void on_sent(base::Handle handle, Connection& c, std::int64_t result, base::Now now);
  bool on_handshake_done(base::Handle handle, Connection& c, base::Now now);
  void on_tls_failed(base::Handle handle, Connection& c, base::Now now);
  void read_requests(base::Handle handle, Connection& c, base::Now now);
  void run_timers(base::Now now);
  void schedule(base::Handle handle, Connection& c);
  void wake_at(base::Handle handle, Connection& c, std::int64_t due);
  // Faults of the carrier, in worker_faults.cc.
  void refuse(int fd);
  bool spoil_handshake(base::Handle handle, Connection& c, base::ByteView bytes);
  void obey_ending(base::Handle handle, Connection& c);
  bool paused(base::Handle handle, Connection& c, base::Now now);
  void hang(Connection& c);
  void adopt_mail();
  void adopt(int fd, base::Now now);
  void mark_dirty(base::Handle handle, Connection& c);
  void flush_dirty(base::Now now);
  void flush(base::Handle handle, Connection& c, base::Now now);
  void encrypt(Connection& c);
  void send(base::Handle handle, Connection& c);
  void note_end(Connection& c, EndedBy by);  // the first word counts
  void end(base::Handle handle, Connection& c);    // after what waits was written
  void close(base::Handle handle, Connection& c, bool reset = false);  // now
  void sweep(base::Now now);
  void start_draining(base::Now now);
  bool finished(base::Now now);
  std::int64_t next_deadline(base::Now now) const;
  void publish();
  void log(LogLevel level, std::string_view event, const std::string& text);
  void log_bounded(base::Now now, std::string_view event, const std::string& text);

  Shared& shared_;
  const unsigned index_;
  std::thread thread_;
  Counts counts_;

  // The mailbox, and whether the worker lives.
  std::mutex mail_mutex_;
  std::vector<int> mail_;
  bool living_ = false;
  std::atomic<bool> stop_{false};
  std::atomic<int> drain_ms_{0};

  // The ledger (inside the service) and the batch sizes: taken once a batch.
  mutable std::mutex ledger_mutex_;
  mock::Service service_;
  obs::Histogram batches_;
  ConnectionLog ends_;

  // The worker thread's own. The driver is declared last, so that it lets go of buffers first.
  base::Slab<Connection> connections_;
  struct Timer {
    std::int64_t due_mono_ns;
    base::Handle handle;
  };
  static bool later(const Timer& a, const Timer& b);
  std::vector<Timer> timers_;  // a heap; a connection has one that counts (timer_mono_ns), older ones are skipped
  std::vector<base::Handle> dirty_, flushing_;
  std::vector<int> arrived_;
  std::vector<io::Completion> completions_;
  base::ByteBuffer plain_;
  base::Handle listener_;
  std::size_t next_worker_ = 0;
  unsigned timed_ = 0;  // connections with a deadline
  bool draining_ = false;
  std::int64_t drain_deadline_ns_ = base::kNever;
  std::int64_t next_sweep_ns_ = 0;
  std::int64_t log_window_ns_ = 0;
  unsigned log_window_lines_ = 0;
  std::unique_ptr<io::Driver> driver_;
};

}  // namespace tocsin::mockd
