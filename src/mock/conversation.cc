// SPDX-License-Identifier: Apache-2.0
#include "mock/conversation.h"

#include <algorithm>
#include <utility>

#include "base/hex.h"

namespace tocsin::mock {

Service::Service(std::shared_ptr<const GatewayConfig> config, const h2::ServerOptions& options, Share share)
    : gateway_(std::move(config), share.index), options_(options), share_(share) {}

Service::~Service() = default;

ConnectFaults Service::on_connect(base::Now) {
  ConnectFaults faults;
  faults.connection = connections_++ * share_.of + share_.index + 1;
  return faults;
}

std::unique_ptr<Conversation> Service::converse(const Peer& peer, const ConnectFaults& faults, base::Now) {
  std::unique_ptr<Conversation> made(new Conversation(*this, peer));
  made->peer_.connection = faults.connection;
  Result<std::unique_ptr<h2::ServerSession>> session = h2::make_nghttp2_server(options_);
  if (!session.ok()) {
    made->broken_ = true;
    made->why_ = session.error().message;
    made->end(Conversation::Ending::close);
    return made;
  }
  made->session_ = *std::move(session);
  made->streams_max_ = options_.streams_max;
  return made;
}

Conversation::Conversation(Service& service, const Peer& peer) : service_(service), peer_(peer) {}

Conversation::~Conversation() { service_.traffic_.answers_waiting -= later_.size(); }

void Conversation::end(Ending how) {
  if (ending_ == Ending::none) ending_ = how;
}

void Conversation::receive(base::ByteView plain, base::Now now) {
  if (ending_ != Ending::none) return;
  std::vector<h2::ServerRequest>& requests = service_.requests_;
  requests.clear();
  const Result<void> read = session_->receive(plain, requests);
  for (const h2::ServerRequest& request : requests) judge(request, now);
  if (read.ok()) return;
  broken_ = true;
  why_ = read.error().message;
  end(Ending::close);  // its GOAWAY still goes out
}

void Conversation::judge(const h2::ServerRequest& request, base::Now now) {
  Reply& reply = service_.reply_;
  service_.gateway_.handle(peer_, request, now, reply);
  last_judged_ = std::max(last_judged_, request.stream_id);
  Traffic& traffic = service_.traffic_;
  ++traffic.requests;
  ++(reply.status == 200 ? traffic.accepted : traffic.rejected);
  if (reply.delay_ns <= 0) return answer(request.stream_id, reply);
  later_.add(now.mono_ns + reply.delay_ns, {request.stream_id, reply});
  ++traffic.answers_waiting;
}

void Conversation::answer(std::int32_t stream_id, const Reply& reply) {
  char id[base::kUuidTextBytes];
  char unique[base::kUuidTextBytes];
  base::uuid_format(reply.apns_id, id);
  // Values that never repeat stay out of the client's table, which also keeps its reading cheap.
  h2::FieldView fields[2] = {{"apns-id", {id, sizeof id}, true}, {}};
  std::size_t count = 1;
  if (reply.unique_id) {
    base::uuid_format(reply.unique_id_value, unique);
    fields[count++] = {"apns-unique-id", {unique, sizeof unique}, true};
  }
  // False: the client has reset the stream meanwhile. What was judged stays in the ledger, as at Apple.
  (void)session_->respond(stream_id, reply.status, {fields, count}, base::as_bytes(reply.body()));
}

void Conversation::run(base::Now now) {
  Later due;
  while (later_.take_due(now.mono_ns, due)) {
    --service_.traffic_.answers_waiting;
    if (ending_ == Ending::none) answer(due.stream_id, due.reply);
  }
}

void Conversation::write(base::ByteBuffer& plain_out, base::Now) {
  if (session_ == nullptr) return;
  session_->write_pending(plain_out);
  if (session_->open_streams() == 0 && (leaving_ || session_->finished())) end(Ending::close);
}

void Conversation::drain() {
  if (session_ == nullptr || leaving_) return;
  goaway_last_ = session_->last_stream_id();
  session_->goaway(-1, 0, {});
  leaving_ = true;
}

}  // namespace tocsin::mock
