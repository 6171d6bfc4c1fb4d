// SPDX-License-Identifier: Apache-2.0
// Engine and Submitter: push in, outcome out.
//
//   auto engine = tocsin::Engine::start(options);
//   auto credential = engine.value()->add_credential(...);   auto wakeup = engine.value()->add_template(...);
//   auto submitter = engine.value()->submitter();
//   submitter.value().submit(pushes);                        engine.value()->poll(outcomes);
//
// A complete program stands in docs/embedding.md and is compiled and run by the tests.
//
// Threads: Engine's functions may be called from any thread, poll/wait/dispatch from several at once
// (each outcome goes to one of them). A Submitter belongs to one thread at a time; make one per producer.
// Ownership: the Engine owns its threads (options.shards shards, and up to four name resolvers made on need, none else)
// and ends them in stop() or its destructor; Submitters must be gone before it. Bounds: options.h.
//
// What is asked of groups and credentials (pause, cancel, replace, ...) holds for every push submitted after the call returned, and
// reaches those inside within a step of their shard. Pushes in flight are never called back: they end by their answer.
//
// A guest in its host's process: prints nothing, installs no signal handler, owns no global of its own.
// wolfSSL is initialised once per process (reference counted) and one crypto callback device is
// registered with it under the id documented in docs/embedding.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <tocsin/export.h>
#include <tocsin/options.h>
#include <tocsin/push.h>
#include <tocsin/result.h>

namespace tocsin {

class Submitter;

// What submit did with a span: the first `taken` pushes are the engine's now, the rest are still the
// caller's. If `error` is ok, the engine was merely full: try again when outcomes were read. Otherwise the
// push at index `taken` is wrong (code and message say how); skip it and go on behind it.
struct SubmitResult {
  std::size_t taken = 0;
  Code error = Code::ok;
  std::string message;
};

// What a credential's connections are doing. Counters only grow; gauges are the moment's.
struct CredentialStats {
  CredentialHandle handle = CredentialHandle::none;
  std::string name;
  std::string topic;                      // UID of the client certificate, or ""
  std::int64_t not_after_unix_s = 0;      // end of the client certificate, 0 without one
  unsigned connections_open = 0;
  unsigned connections_dialling = 0;
  std::int64_t unreachable_since_unix_ns = 0;  // 0: reachable, or never tried
  std::string last_error;                 // of the last failed dial or lost connection
  bool gave_up = false;                   // connect_give_up_ms or outage_give_up_ms passed without a connection
  bool stopped = false;                   // APNs refuses this credential; last_error says how
  bool paused = false;                    // by pause()
  bool alarmed = false;                   // paused by itself: too many BadDeviceToken (bad_tokens_share)
  bool removed = false;                   // by remove_credential()
  std::string provider_key_id;            // with a provider key, else ""
};

// What a shard's thread does in one turn of its loop: EngineStats::stage_cpu_ns. Stable numbers.
enum class Stage : std::uint8_t {
  wait = 0,  // hands operations to the kernel, sleeps: sends and receives are done in here
  reap,      // takes completions
  inbox,     // takes pushes and control events
  step,      // the dispatch core: queue, HTTP/2, TLS
  perform,   // queues operations for the kernel
  deliver,   // hands outcomes over
};
inline constexpr std::size_t kStages = 6;

struct EngineStats {
  std::uint64_t submitted = 0;            // taken by submit
  std::uint64_t outcomes = 0;             // ended
  std::uint64_t ends[kEnds + 1] = {};     // by End
  std::uint64_t waiting = 0;              // in inboxes and queues
  std::uint64_t in_flight = 0;            // written, no answer yet
  std::uint64_t attempts = 0;             // requests written, resends included
  std::uint64_t possibly_doubled = 0;
  std::uint64_t connections_opened = 0;
  std::uint64_t connections_lost = 0;
  std::uint64_t dials_failed = 0;
  std::uint64_t goaways = 0;
  std::uint64_t bytes_sent = 0;           // TLS bytes
  std::uint64_t bytes_received = 0;
  std::uint64_t records_sent = 0;         // TLS records' worth of writes: one per connection and batch
  std::uint64_t inbox_wakes = 0;
  std::uint64_t queue_bytes = 0;          // bytes of payloads waiting
  std::uint64_t unread = 0;               // outcomes ended and not yet polled
  std::uint64_t inside = 0;               // places of pushes_max in use: waiting, in flight and unread
  std::string tls_crypto;                 // "ipsec-mb (avx512)", "wolfssl"
  std::vector<CredentialStats> credentials;
  std::uint64_t retries = 0;              // attempts after an answer that asked for one
  std::uint64_t pings = 0;                // PINGs sent
  std::uint64_t peers_dead = 0;           // connections given up because a PING or an answer never came
  std::uint64_t delayed = 0;              // of the waiting: those that wait for their time
  std::uint64_t dead_tokens = 0;          // tokens in the filter
  std::uint64_t token_turns = 0;          // times that a connection took a new provider token into use
  std::uint64_t io_enters = 0;            // io_uring_enter calls of the shards
  std::uint64_t stage_cpu_ns[kStages] = {};  // by Stage; all 0 unless EngineOptions::stage_clocks
};

class TOCSIN_API Engine {
 public:
  // Checks the options, starts the shard threads and the resolver. Errors name the option.
  static Result<std::unique_ptr<Engine>> start(EngineOptions options);

  ~Engine();  // stop(), then frees
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Loads and checks the certificate (key, dates, password) or provider key before it answers; connects on the first push.
  Result<CredentialHandle> add_credential(const CredentialOptions& options);

  // Another certificate, key, endpoint or any other option under the same handle: checked as add_credential does; on an error
  // nothing changes. New connections are made with it first, then the old ones are drained; no push is lost. `span` must stay 0 or
  // what it was. A pause stays, a stop by APNs ends. A certificate of another topic is taken, and logged as a warning.
  Result<void> replace_credential(CredentialHandle credential, const CredentialOptions& options);

  // For good: submit then answers Code::unknown_handle, what waits ends as returned, what is in flight is awaited.
  Result<void> remove_credential(CredentialHandle credential);

  // What waits stays (its deadlines count on), what is in flight is awaited. resume also ends the pause of an alarm and the stop of a
  // credential that APNs refused, and dials anew where that had been given up.
  Result<void> pause(CredentialHandle credential);
  Result<void> resume(CredentialHandle credential);

  // Replaces every connection, one after the other, without losing a push.
  Result<void> roll_connections(CredentialHandle credential);

  // Pushes per second, as EngineOptions::rate; 0: no limit. In place of what the options said.
  Result<void> set_rate(double pushes_per_second);
  Result<void> set_rate(CredentialHandle credential, double pushes_per_second);

  // Groups: pushes that are cancelled, paused and paced together. Never freed while the engine lives (groups_max).
  Result<GroupHandle> add_group(const GroupOptions& options);
  Result<void> pause(GroupHandle group);
  Result<void> resume(GroupHandle group);
  Result<void> set_rate(GroupHandle group, double pushes_per_second);
  // For good: what waits, and whatever is submitted with this group later, ends as cancelled.
  Result<void> cancel(GroupHandle group);

  // Pushes with these ids that were submitted before the call and still wait end as cancelled; the others end as they end, tried again
  // where that is due (unlike those of a cancelled group).
  // Looks at every push inside: for a handful of ids, or thousands in one call. At most 65,536 ids a call, and Code::capacity while
  // a shard has as many again to do.
  Result<void> cancel(std::span<const std::uint64_t> ids);

  // Fills the filter of unregistered tokens from what an earlier run learnt (it learns by itself from 410 answers). At most
  // kDeadTokensPerCall a call, all or none; Code::capacity while the shards still read earlier ones: try again.
  Result<void> add_dead_tokens(CredentialHandle credential, std::span<const DeadToken> tokens);

  // Checks topic, type, priority and payload as APNs would.
  Result<TemplateHandle> add_template(const TemplateOptions& options);

  // A door for one producer thread. At most 256 at a time.
  Result<Submitter> submitter();

  // Takes up to out.size() outcomes; 0 if there are none now. Never blocks. Accepted ones of a shard come in the order of their
  // answers, and so do all others; between the two kinds there is no order.
  std::size_t poll(std::span<Outcome> out);

  // As poll, but waits up to timeout_ms for the first one.
  std::size_t wait(std::span<Outcome> out, int timeout_ms);

  // Calls `fn` with batches of at most 1,024 on the calling thread until no outcome is left or outcomes_max
  // were handed over; answers how many. `fn` must not call this engine's poll, wait or dispatch.
  std::size_t dispatch(const std::function<void(std::span<const Outcome>)>& fn, std::size_t outcomes_max);

  // An eventfd that becomes readable when outcomes arrive: for epoll, libuv, asio. Read it (8 bytes) before
  // polling until poll answers 0. Valid until the engine is destroyed; do not close it.
  int outcome_event_fd() const;

  // Takes no more pushes (submit answers Code::stopped) and waits until every push has its outcome, read or
  // not, or until timeout_ms passed. True: nothing is left inside but unread outcomes. Any thread may poll meanwhile.
  bool drain(int timeout_ms);

  // Ends now: pushes not written are returned, those in flight get `grace_ms` for their answers and are then
  // unknown. Outcomes stay readable by poll, also meanwhile. Idempotent; called again from another thread with less
  // grace, it brings the end nearer. Names being resolved are waited for, all at once (as long as the system's resolver takes).
  void stop(int grace_ms = 0);

  EngineStats stats() const;

 private:
  friend class Submitter;
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Owns the producer tokens of one thread's pushes. Move-only; must not outlive its Engine.
class TOCSIN_API Submitter {
 public:
  Submitter(Submitter&&) noexcept;
  Submitter& operator=(Submitter&&) noexcept;
  ~Submitter();

  // Copies what fits. Never blocks, does not allocate after warm-up. See SubmitResult.
  SubmitResult submit(std::span<const Push> pushes);

 private:
  friend class Engine;
  struct Impl;
  explicit Submitter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The library's version, "0.1.0". Static storage.
TOCSIN_API const char* version() noexcept;

}  // namespace tocsin
