// SPDX-License-Identifier: Apache-2.0
// What a worker does with bytes: TLS, HTTP/2, the gateway's judgement, the answer.
#include "apns/request.h"
#include "mockd/worker.h"

namespace tocsin::mockd {
namespace {

mock::Peer peer_of(const tls::Facts& facts) {
  mock::Peer peer;
  peer.has_certificate = !facts.peer_subject.empty();
  peer.uid = facts.peer_uid;
  // An app's certificate is good for the bundle id and for what hangs on it; an MDM one for its UID alone.
  if (peer.uid.empty() || peer.uid.starts_with("com.apple.mgmt.")) return peer;
  for (std::size_t i = 0; i < kPushTypes; ++i) {
    const std::string_view suffix = apns::topic_suffix(static_cast<PushType>(i));
    if (!suffix.empty()) peer.topics.push_back(peer.uid + std::string(suffix));
  }
  return peer;
}

}  // namespace

void Worker::on_received(base::Handle handle, Connection& c, base::ByteView bytes, base::Now now) {
  counts_.bytes_received.add(bytes.size());
  if (c.stage == Stage::ending || c.stage == Stage::lingering || c.stage == Stage::hanging) return;
  if (c.stage == Stage::handshaking && spoil_handshake(handle, c, bytes)) return;
  plain_.clear();
  const tls::State state = c.channel->receive(bytes, plain_, c.filling);
  mark_dirty(handle, c);
  if (state == tls::State::failed) return on_tls_failed(handle, c, now);
  if (c.stage == Stage::handshaking && state != tls::State::handshaking && !on_handshake_done(handle, c, now)) {
    note_end(c, EndedBy::protocol_error);
    return end(handle, c);
  }
  if (!plain_.empty()) read_requests(handle, c, now);
  if (state != tls::State::closed) return;
  note_end(c, EndedBy::client);
  end(handle, c);
}

bool Worker::on_handshake_done(base::Handle handle, Connection& c, base::Now now) {
  c.stage = Stage::open;
  if (c.deadline_mono_ns != base::kNever) --timed_;
  c.deadline_mono_ns = base::kNever;
  const tls::Facts facts = c.channel->facts();
  if (facts.alpn != "h2") {
    counts_.handshakes_failed.add(1);
    log_bounded(now, "no_alpn", "a client did not offer h2 by ALPN; APNs speaks HTTP/2 only");
    return false;
  }
  c.conversation = service_.converse(peer_of(facts), c.faults, now);
  schedule(handle, c);
  return true;
}

void Worker::on_tls_failed(base::Handle handle, Connection& c, base::Now now) {
  if (c.stage == Stage::handshaking) counts_.handshakes_failed.add(1);
  else counts_.protocol_errors.add(1);
  log_bounded(now, c.stage == Stage::handshaking ? "handshake_failed" : "tls_failed", c.channel->failure().text);
  note_end(c, EndedBy::tls);
  end(handle, c);  // the alert still goes out
}

void Worker::read_requests(base::Handle handle, Connection& c, base::Now now) {
  mock::Conversation& conversation = *c.conversation;
  conversation.receive(plain_.readable(), now);
  schedule(handle, c);
  if (!conversation.broken()) return;
  counts_.protocol_errors.add(1);
  log_bounded(now, "protocol_error", std::string(conversation.why()));
  note_end(c, EndedBy::protocol_error);
  end(handle, c);  // its GOAWAY still goes out
}

}  // namespace tocsin::mockd
