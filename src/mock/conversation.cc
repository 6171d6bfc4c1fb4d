// SPDX-License-Identifier: Apache-2.0
// The faultless path of a conversation, and the service. What a script does stands in conversation_faults.cc.
#include "mock/conversation.h"

#include <algorithm>
#include <utility>

#include "base/hex.h"

namespace tocsin::mock {

Service::Service(std::shared_ptr<const GatewayConfig> config, std::shared_ptr<const Script> script,
                 const h2::ServerOptions& options, std::uint64_t seed, Share share, const ProfileOptions& profile)
    : gateway_(config, share.index),
      options_(options),
      share_(share),
      profile_(profile),
      probe_(!config->provider_keys.empty()),
      throttle_errors_(config->throttle_errors) {
  // Both sessions of a connection write header blocks then.
  if (profile_.profile != Profile::validate) options_.literal_answers = true;
  if (script != nullptr && !script->rules().empty()) {
    script_ = std::make_unique<ScriptState>(std::move(script), base::mix64(seed) ^ share.index);
  }
}

Service::~Service() = default;

ConnectFaults Service::on_connect(base::Now now) {
  ConnectFaults faults;
  faults.connection = connections_++ * share_.of + share_.index + 1;
  if (script_ == nullptr) return faults;
  script_->on_connect(faults.connection, now, faults);
  static constexpr Fault kAccept[] = {Fault::answer /* unused */, Fault::refuse, Fault::accept_and_hang};
  static constexpr Fault kTls[] = {Fault::answer /* unused */, Fault::tls_refuse_certificate, Fault::tls_expired,
                                   Fault::tls_wrong_name, Fault::tls_alert, Fault::tls_no_alpn, Fault::tls_hang};
  if (faults.accept != AcceptFault::none) counts_.add(kAccept[static_cast<std::size_t>(faults.accept)]);
  else if (faults.tls != TlsFault::none) counts_.add(kTls[static_cast<std::size_t>(faults.tls)]);
  if (faults.slow.bytes != 0) counts_.add(Fault::slow);
  return faults;
}

std::unique_ptr<Conversation> Service::converse(const Peer& peer, const ConnectFaults& faults, base::Now now) {
  std::unique_ptr<Conversation> made(new Conversation(*this, peer));
  made->open(faults, now);
  return made;
}

void Service::stall(std::int64_t until_mono_ns) {
  if (until_mono_ns <= stalled_until_mono_ns_) return;
  stalled_until_mono_ns_ = until_mono_ns;
  counts_.add(Fault::stall);
}

std::int64_t Service::stalled_until(base::Now now) {
  if (script_ == nullptr) return 0;
  if (const std::int64_t until = script_->stalled_until(now); until != 0) stall(until);
  return stalled_until_mono_ns_ > now.mono_ns ? stalled_until_mono_ns_ : 0;
}

Conversation::Conversation(Service& service, const Peer& peer) : service_(service), peer_(peer) {}

Conversation::~Conversation() { service_.traffic_.answers_waiting -= later_.size() + flood_delayed_; }

void Conversation::open(const ConnectFaults& faults, base::Now now) {
  peer_.connection = faults.connection;
  h2::ServerOptions options = service_.options_;
  base_.streams = options.streams_max;
  base_.window = options.window_bytes;
  base_.pace = faults.slow;
  probing_ = service_.probe_ && !peer_.has_certificate;
  throttle_errors_ = service_.throttle_errors_;
  // What the first SETTINGS can already say is not said a second time.
  std::vector<const Action*> rest;
  for (const Action* action : faults.on_open) {
    if (action->fault == Fault::streams || action->fault == Fault::window || action->fault == Fault::probe) {
      change(*action, now);
      service_.counts_.add(action->fault);
    } else {
      rest.push_back(action);
    }
  }
  manner_ = base_;
  looked_mono_ns_ = now.mono_ns;
  if (service_.script_ != nullptr) {
    service_.script_->overlay(peer_.connection, now, manner_);
    edge_mono_ns_ = service_.script_->next_edge(now);
    count_departures(base_);
  }
  streams_max_ = probing_ ? std::min(1u, manner_.streams) : manner_.streams;
  options.streams_max = streams_max_;
  options.window_bytes = manner_.window;
  Result<std::unique_ptr<h2::ServerSession>> session = h2::make_nghttp2_server(options);
  if (!session.ok()) {
    broken_ = true;
    why_ = session.error().message;
    return end(Ending::close);
  }
  session_ = *std::move(session);
  if (service_.profile_.profile == Profile::apns) {
    echo_ = std::make_unique<h2::RequestEcho>("apns-id", peer_.connection);
    cursor_.read_blocks(echo_.get());
  }
  // Of the rest of the manner the session knows nothing yet.
  Manner told;
  told.streams = manner_.streams;
  told.window = manner_.window;
  told.pace = manner_.pace;
  const bool strange = manner_ != told;
  manner_ = told;
  for (const Action* action : rest) perform(*action, now);
  if (strange) settle(now);
}

void Conversation::end(Ending how) {
  if (ending_ == Ending::none) ending_ = how;
}

void Conversation::receive(base::ByteView plain, base::Now now) {
  if (deaf()) return;
  if (service_.profile_.profile == Profile::validate) return receive_validated(plain, now);
  if (flood_ == nullptr) plain = plain.subspan(receive_before_hand_over(plain, now));
  if (flood_ != nullptr && !plain.empty()) receive_flood(plain, now);
}

void Conversation::receive_validated(base::ByteView plain, base::Now now) {
  std::vector<h2::ServerRequest>& requests = service_.requests_;
  requests.clear();
  const Result<void> read = session_->receive(plain, requests);
  for (const h2::ServerRequest& request : requests) {
    // What a GOAWAY disowned is never judged, even if it came before the GOAWAY left.
    if (goaway_last_ >= 0 && request.stream_id > goaway_last_) continue;
    if (service_.script_ == nullptr) judge(request, now);
    else judge_by_script(request, now);
    if (deaf()) return;
  }
  if (read.ok()) return;
  broken_ = true;
  why_ = read.error().message;
  end(Ending::close);  // its GOAWAY still goes out
}

void Conversation::judge(const h2::ServerRequest& request, base::Now now) {
  Reply& reply = service_.reply_;
  service_.gateway_.handle(peer_, request, now, reply);
  last_judged_ = std::max(last_judged_, request.stream_id);
  ++judged_;
  book(reply);
  if (reply.delay_ns <= 0) answer(request.stream_id, reply);
  else answer_later(request.stream_id, reply, reply.delay_ns, now);
}

// Counts, and what a verdict means for the stream limit.
void Conversation::book(const Reply& reply) {
  Traffic& traffic = service_.traffic_;
  ++traffic.requests;
  ++(reply.status == 200 ? traffic.accepted : traffic.rejected);
  if (!probing_ && throttle_errors_ == 0) return;
  if (flood_ != nullptr) return;  // the limit stays as it was handed over
  if (reply.status == 200) {
    probing_ = false;
    errors_run_ = 0;
    if (throttle_errors_ != 0 && throttle_limit_ < manner_.streams && ++successes_run_ >= throttle_errors_) {
      successes_run_ = 0;
      throttle_limit_ = throttle_limit_ > manner_.streams / 2 ? 0xffffffffu : throttle_limit_ * 2;
    }
  } else if (throttle_errors_ != 0 && reply.status >= 400 && reply.status < 500 && reply.status != 410) {
    successes_run_ = 0;
    if (++errors_run_ >= throttle_errors_) {
      errors_run_ = 0;
      throttle_limit_ = std::max(1u, std::min(throttle_limit_, manner_.streams) / 2);
      service_.counts_.add(Fault::throttle);
    }
  }
  const std::uint32_t wanted = std::min(probing_ ? 1u : throttle_limit_, manner_.streams);
  if (wanted == streams_max_) return;
  streams_max_ = wanted;
  session_->set_streams_max(wanted);
}

void Conversation::answer_later(std::int32_t stream_id, const Reply& reply, std::int64_t delay_ns, base::Now now) {
  later_.add(now.mono_ns + delay_ns, {Due::answer, stream_id, reply, nullptr});
  ++service_.traffic_.answers_waiting;
}

void Conversation::answer(std::int32_t stream_id, const Reply& reply) {
  char id[base::kUuidTextBytes];
  char unique[base::kUuidTextBytes];
  base::uuid_format(reply.apns_id, id);
  // Values that never repeat stay out of the client's table, which also keeps its reading cheap.
  h2::FieldView fields[2] = {{"apns-id", {id, sizeof id}, true}, {}};
  std::size_t count = reply.bare ? 0 : 1;
  if (reply.unique_id && !reply.bare) {
    base::uuid_format(reply.unique_id_value, unique);
    fields[count++] = {"apns-unique-id", {unique, sizeof unique}, true};
  }
  // False: the client has reset the stream meanwhile. What was judged stays in the ledger, as at Apple.
  (void)session_->respond(stream_id, reply.status, {fields, count}, base::as_bytes(reply.body()));
}

std::int64_t Conversation::deadline() const {
  if (deaf()) return base::kNever;
  const std::int64_t due = std::min({later_.next_due(), flood_later_.next_due(), edge_mono_ns_});
  return stall_mono_ns_ == 0 ? due : std::min(stall_mono_ns_, due);
}

void Conversation::write(base::ByteBuffer& plain_out, base::Now now) {
  if (session_ == nullptr || vanished_) return;
  stall_mono_ns_ = service_.script_ == nullptr ? 0 : service_.stalled_until(now);
  if (stall_mono_ns_ != 0) return;
  if (flood_ != nullptr) flood_->write_pending(plain_out);
  else session_->write_pending(plain_out);
  if (open_streams() == 0 && (leaving_ || finished())) end(Ending::close);
}

void Conversation::drain() {
  if (session_ == nullptr || deaf() || leaving_) return;
  const std::int32_t seen = flood_ != nullptr ? flood_->last_stream_id() : session_->last_stream_id();
  goaway_last_ = goaway_last_ < 0 ? seen : std::min(goaway_last_, seen);
  if (flood_ != nullptr) flood_->goaway(goaway_last_, 0, {});
  else session_->goaway(goaway_last_, 0, {});
  leaving_ = true;
}

}  // namespace tocsin::mock
