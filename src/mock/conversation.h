// SPDX-License-Identifier: Apache-2.0
// Service and Conversation: the mock's whole behaviour over plaintext bytes: a Service is one worker's gateway, fault
// script and counts; a Conversation is the server side of one connection. mockd runs them behind TLS and sockets, the simulator behind
// a simulated wire: both run the same model.
//
// No clock and no I/O: `now` comes with each call. Threads: a Service and its conversations one at a time. Ownership: the
// Service outlives its conversations; a conversation owns its HTTP/2 session and what waits in it. Bounds:
// h2::ServerOptions; answers wait only while their stream is open.
//
// The carrier's turn: receive() what came, run() what is due, write() what may be sent, then look at ending(), pace()
// and deadline().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/now.h"
#include "h2/flood_server.h"
#include "h2/server_session.h"
#include "mock/delays.h"
#include "mock/faults.h"
#include "mock/gateway.h"
#include "mock/profile.h"
#include "mock/script.h"

namespace tocsin::mock {

class Conversation;

// What the gateway judged.
struct Traffic {
  std::uint64_t requests = 0;
  std::uint64_t accepted = 0;
  std::uint64_t rejected = 0;
  std::uint64_t answers_waiting = 0;  // a gauge
  // The part of these that nobody judged. Its requests were accepted, and stand in no ledger.
  struct Flood {
    std::uint64_t connections = 0;    // handed over
    std::uint64_t streams = 0;        // begun
    std::uint64_t end_streams = 0;    // requests
    std::uint64_t body_bytes = 0;
    std::uint64_t resets = 0;         // by the client, before the answer
  } flood;
};

// Several workers that share one listener in turn number their connections so that each has its own number.
struct Share {
  std::uint32_t index = 0;
  std::uint32_t of = 1;
};

class Service {
 public:
  // `script` may be null: a faultless server. `seed` decides the script's ratios.
  Service(std::shared_ptr<const GatewayConfig> config, std::shared_ptr<const Script> script,
          const h2::ServerOptions& options, std::uint64_t seed, Share share = {}, const ProfileOptions& profile = {});
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // At TCP accept: what is to happen to this connection. The first one is the script's time zero.
  ConnectFaults on_connect(base::Now now);
  // Once TLS is open (or at once, where there is none). `faults` are those of its accept. Never null; if no session can be
  // made, it is broken().
  std::unique_ptr<Conversation> converse(const Peer& peer, const ConnectFaults& faults, base::Now now);

  Gateway& gateway() { return gateway_; }
  const Gateway& gateway() const { return gateway_; }
  // Until then no connection of this server is sent a byte, TLS handshakes included; 0: it speaks.
  std::int64_t stalled_until(base::Now now);
  const Traffic& traffic() const { return traffic_; }
  // How often each kind of fault was done.
  const ScriptCounts& counts() const { return counts_; }

 private:
  friend class Conversation;
  void stall(std::int64_t until_mono_ns);

  Gateway gateway_;
  h2::ServerOptions options_;
  Share share_;
  ProfileOptions profile_;
  bool probe_ = false;  // connections without a certificate begin with one stream
  std::uint32_t throttle_errors_ = 0;
  std::unique_ptr<ScriptState> script_;
  std::uint32_t connections_ = 0;
  std::int64_t stalled_until_mono_ns_ = 0;
  Traffic traffic_;
  ScriptCounts counts_;
  // Of the conversation that is at work; their memory is kept.
  std::vector<h2::ServerRequest> requests_;
  std::vector<const Action*> actions_;
  Reply reply_;
};

class Conversation {
 public:
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  void receive(base::ByteView plain, base::Now now);
  // Whatever is due: answers that waited, what the script does at a time.
  void run(base::Now now);
  // Appends what may be sent now.
  void write(base::ByteBuffer& plain_out, base::Now now);
  // Call run() and write() then; kNever if nothing is due.
  std::int64_t deadline() const;

  // The server goes: GOAWAY now, the end when the last answer was given.
  void drain();

  // close: once what write() gave was sent. reset: at once. half_close: like close, but only our side is shut; the
  // client may go on sending, and nobody reads it. alert: a fatal TLS alert, then the end. Final once set.
  enum class Ending : std::uint8_t { none, close, reset, half_close, alert };
  Ending ending() const { return ending_; }
  // Each answer that write() gave goes into a TLS record of its own (h2::first_answer).
  bool separate_records() const { return service_.profile_.profile == Profile::apns; }
  // How fast the carrier may send what write() gave.
  Pace pace() const { return manner_.pace; }
  // The connection is half open: its bytes go nowhere, nothing comes from it, and no end is told.
  bool vanished() const { return vanished_; }

  // It ends by its own GOAWAY, after the last answer; by the client's, with nothing under way.
  bool leaving() const { return leaving_; }
  bool finished() const { return flood_ ? flood_->finished() : session_ && session_->finished(); }

  // The client broke HTTP/2's rules; what it did is in why(). Our own client never may.
  bool broken() const { return broken_; }
  std::string_view why() const { return why_; }

  // Facts for oracles.
  std::uint32_t connection() const { return peer_.connection; }
  std::int32_t last_accepted_stream() const { return last_judged_; }  // the highest the gateway judged
  std::int32_t goaway_last() const { return goaway_last_; }           // of the last GOAWAY; -1: none was sent
  std::uint32_t open_streams() const {
    return flood_ ? flood_->open_streams() : session_ ? session_->open_streams() : 0;
  }
  bool handed_over() const { return flood_ != nullptr; }              // validated no longer
  std::uint32_t streams_max() const { return streams_max_; }          // as last announced
  std::uint64_t pings_seen() const {
    return (session_ ? session_->pings_seen() : 0) + (flood_ ? flood_->counts().pings : 0);
  }

 private:
  friend class Service;
  enum class Due : std::uint8_t { answer, goaway };
  struct Later {
    Due what = Due::answer;
    std::int32_t stream_id = 0;
    Reply reply;
    const Action* action = nullptr;
  };
  // What a request's actions come to.
  struct Verdict {
    const Action* action = nullptr;  // the first that decides the request's fate; null: the gateway does
    std::int64_t delay_ns = 0;
  };

  Conversation(Service& service, const Peer& peer);
  void open(const ConnectFaults& faults, base::Now now);
  void receive_validated(base::ByteView plain, base::Now now);
  void judge(const h2::ServerRequest& request, base::Now now);
  void judge_by_script(const h2::ServerRequest& request, base::Now now);
  void decide(const h2::ServerRequest& request, const Verdict& verdict, base::Now now);
  void book(const Reply& reply);
  void answer_later(std::int32_t stream_id, const Reply& reply, std::int64_t delay_ns, base::Now now);
  void answer(std::int32_t stream_id, const Reply& reply);
  void answer_with_bad_body(std::int32_t stream_id, const Action& action, const Reply& reply);
  void answer_headers_only(std::int32_t stream_id, const Reply& reply);

  // The profiles that hand over.
  bool hand_over_due() const;
  std::size_t receive_before_hand_over(base::ByteView plain, base::Now now);
  void receive_flood(base::ByteView plain, base::Now now);
  void run_flood(base::Now now);
  void count_flood();

  // What happens to the connection.
  void perform(const Action& action, base::Now now);
  void goaway(const Action& action, base::Now now);
  void say_goaway(std::int32_t last, const Action& action, bool whole);
  void change(const Action& action, base::Now now);
  void settle(base::Now now);  // brings the session to what base_, script and limits say
  void count_departures(const Manner& before);
  void end(Ending how);
  void vanish() { vanished_ = true; }
  void inject(base::ByteView frames) { session_->inject(frames); }
  bool deaf() const { return vanished_ || ending_ != Ending::none; }

  Service& service_;
  Peer peer_;
  std::unique_ptr<h2::ServerSession> session_;
  std::unique_ptr<h2::FloodServer> flood_;  // behind the hand-over; borrows session_
  h2::FrameCursor cursor_;                  // before it, if there is to be one
  std::unique_ptr<h2::RequestEcho> echo_;   // apns: reads all requests; goes to flood_
  h2::FloodServer::Counts flood_told_;      // what the service's counts have of it
  Delays<std::size_t> flood_later_;         // answers that came together
  std::size_t flood_delayed_ = 0;
  std::uint64_t judged_ = 0;
  Delays<Later> later_;
  Ending ending_ = Ending::none;
  bool vanished_ = false;
  bool leaving_ = false;  // the last GOAWAY was said, the end follows the last answer
  bool broken_ = false;
  std::string why_;
  std::int32_t last_judged_ = 0;
  std::int32_t goaway_last_ = -1;
  std::uint32_t streams_max_ = 0;

  // Behaviour that lasts: what was ordered for good, and what the session was told last.
  Manner base_, manner_;
  bool probing_ = false;
  std::uint32_t throttle_errors_ = 0;  // 0: no throttling
  std::uint32_t throttle_limit_ = 0xffffffffu;
  std::uint32_t errors_run_ = 0, successes_run_ = 0;
  std::int64_t looked_mono_ns_ = 0;    // until when the script's times were carried out
  std::int64_t edge_mono_ns_ = base::kNever;
  std::int64_t stall_mono_ns_ = 0;     // write() was held back until then
};

}  // namespace tocsin::mock
