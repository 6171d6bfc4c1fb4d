// SPDX-License-Identifier: Apache-2.0
// A connection's life inside the shard from TLS on: SETTINGS, GOAWAY, loss, retirement, and the bytes in and out.
#include <algorithm>
#include <utility>

#include "apns/answer.h"
#include "base/assertion.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// How long a last GOAWAY and close_notify may take to leave; the peer's reading of them is a courtesy.
constexpr std::int64_t kFarewellNs = base::kSecond;

// An outage of at least this is followed by a ramp.
constexpr std::int64_t kRampAfterNs = base::kSecond;

}  // namespace

void Shard::start_tls(base::Handle handle, Connection& connection) {
  const CredentialConfig& config = *connection.config;
  if (config.context != nullptr) {
    auto channel = config.context->connect(config.tls_name);
    if (!channel) {
      lose(handle, connection, tls::Cause::own_configuration, channel.error().message);
      return;
    }
    connection.tls = std::move(channel).value();
  } else {
    connection.tls = tls::make_plain_channel();
  }
  move(connection, connection.state == ConnectionState::tunnelling ? ConnectionInput::tunnelled : ConnectionInput::connected);
  connection.stage_deadline_mono_ns = now_.mono_ns + config.handshake_timeout_ns;
  watch(handle, connection);
  if (connection.tls->start(connection.wire[1 - connection.sending_index]) == tls::State::open) {
    tls_opened(handle, connection);
  }
  mark_dirty(handle, connection);
}

void Shard::on_received(base::Handle handle, Connection& connection, base::ByteView bytes) {
  if (connection.state == ConnectionState::closing) return;
  connection.quiet_since_mono_ns = now_.mono_ns;
  if (connection.state == ConnectionState::tunnelling) return on_tunnel(handle, connection, bytes);
  if (connection.tls == nullptr) return;
  if (connection.state == ConnectionState::handshaking) {
    // A client handshake with an RSA-2048 certificate costs a millisecond or two: one per step, so that a herd of
    // reconnects does not hold up the pushes of connections that work.
    if (private_key_used_ || connection.has_deferred) {
      connection.deferred.append(bytes);
      if (!connection.has_deferred) deferred_.push_back(handle);
      connection.has_deferred = true;
      return;
    }
    private_key_used_ = true;
  }
  counters_.bytes_received += bytes.size();
  if (!tls_receive(handle, connection, bytes)) return;
  if (connection.h2 != nullptr) h2_receive(handle, connection);
}

bool Shard::tls_receive(base::Handle handle, Connection& connection, base::ByteView bytes) {
  const bool handshaking = connection.state == ConnectionState::handshaking;
  plain_in_.clear();  // of one that could not read it
  const tls::State state = connection.tls->receive(bytes, plain_in_, connection.wire[1 - connection.sending_index]);
  if (handshaking && (state == tls::State::open || state == tls::State::closed)) tls_opened(handle, connection);
  if (state == tls::State::failed || state == tls::State::closed) {
    // What was decrypted before the alert or close_notify is genuine: answers in it still count.
    if (connection.h2 != nullptr && !plain_in_.empty()) h2_receive(handle, connection);
    if (state == tls::State::failed) {
      const tls::Failure failure = connection.tls->failure();
      lose(handle, connection, failure.cause, failure.text);
    } else {
      lose(handle, connection, tls::Cause::none,
           "the connection to " + credentials_[connection.credential].config->authority + " was closed by the peer");
    }
    return false;
  }
  mark_dirty(handle, connection);
  return true;
}

void Shard::tls_opened(base::Handle handle, Connection& connection) {
  const CredentialConfig& config = *connection.config;
  h2::ClientOptions options;
  options.streams_max = config.streams_max;
  options.captures = {std::string(apns::kCaptureApnsId)};
  options.plain_apart = true;
  auto session = options_.codec == Codec::fast ? h2::make_fast_client(options) : h2::make_nghttp2_client(options);
  if (!session) {
    lose(handle, connection, tls::Cause::own_configuration, session.error().message);
    return;
  }
  connection.h2 = std::move(session).value();
  move(connection, ConnectionInput::tls_open);
  mark_dirty(handle, connection);
}

void Shard::h2_receive(base::Handle handle, Connection& connection) {
  answers_.clear();
  h2_events_.clear();
  const Result<void> result = connection.h2->receive(plain_in_.readable(), answers_, h2_events_);
  plain_in_.clear();
  connection.window_shut = false;
  const bool pinged = connection.ping_deadline_mono_ns != base::kNever;
  // Whatever came shows that the peer lives; a probe wants its own answer, because what is read may be old.
  for (const h2::Event& event : h2_events_) {
    switch (event.kind) {
      case h2::EventKind::settings: on_settings(handle, connection); break;
      case h2::EventKind::goaway: on_goaway(handle, connection, event); break;
      case h2::EventKind::ping_ack:
        if (event.opaque != connection.ping_opaque) break;
        connection.ping_deadline_mono_ns = base::kNever;
        if (std::exchange(connection.probing, false)) activate(connection.credential);
        confirm(connection);
        break;
      default: break;
    }
  }
  if (!answers_.empty() || !connection.h2->plain_tags().empty()) {
    // One stamp a batch: the answers of one read came together.
    connection.last_answer_mono_ns = connection.used_mono_ns = now_.mono_ns;
    if (!connection.probing) connection.ping_deadline_mono_ns = base::kNever;
    const bool broken = take_answers(connection);
    // We reset those: a stream's place is free once its RST_STREAM is written.
    if (broken) write_pending(connection);
    // Idle from now on, which has deadlines of its own.
    if (connection.in_flight == 0) watch(handle, connection);
    if (stopping_ && connection.in_flight == 0) connection_due_.bring(handle.index(), now_.mono_ns);
  }
  // Silence from now on is noticed sooner than the PING's answer was due.
  if (pinged && connection.ping_deadline_mono_ns == base::kNever) watch(handle, connection);
  if (connection.rejected) judge_limit(connection);
  mark_dirty(handle, connection);
  activate(connection.credential);
  if (!result) {
    lose(handle, connection, tls::Cause::none, result.error().message);
    return;
  }
  if (connection.state == ConnectionState::draining && connection.in_flight == 0) {
    begin_close(handle, connection, ConnectionInput::drained);
  }
}

void Shard::on_settings(base::Handle handle, Connection& connection) {
  if (connection.state == ConnectionState::closing) return;
  const std::uint32_t limit = connection.h2->peer_streams_max();
  if (limit < connection.limit_seen && limit < connection.in_flight) mark(Mark::limit_below_open);
  connection.limit_seen = limit;
  connection.limit_high = std::max(connection.limit_high, std::min(limit, connection.config->streams_max));
  Credential& credential = credentials_[connection.credential];
  if (connection.state != ConnectionState::settling) {
    activate(connection.credential);
    return;
  }
  move(connection, ConnectionInput::settings);
  connection.stage_deadline_mono_ns = base::kNever;
  connection.quiet_since_mono_ns = connection.used_mono_ns = connection.ready_mono_ns = now_.mono_ns;
  // With a second one beside it, an idle connection may go.
  for (const base::Handle each : credential.connections) watch(each, connections_[each]);
  settle_dial(handle, connection);
  ++counters_.connections_opened;
  Reach& reach = *reaches_[connection.reach];
  if (std::exchange(connection.reach_open, false)) {
    if (reach.down()) {
      mark(Mark::outage_ended);
      reach.begin_recovery();
    }
    reach.dial_reached(connection.port, connection.address);
    credential.endpoint_failed = false;
    endpoint_answers(connection.reach);
    touch_reach(connection.reach);
  }
  connection.unreachable_before_mono_ns = std::exchange(credential.unreachable_since_mono_ns, base::kNever);
  connection.unreachable_before_wall_ns = std::exchange(credential.unreachable_since_wall_ns, 0);
  const std::int64_t since = connection.unreachable_before_mono_ns;
  if (since != base::kNever && now_.mono_ns - since >= kRampAfterNs) reach.begin_recovery();
  if (reach.recovering()) connection.ramp.start();
  credential.gave_up = false;
  mark_changed(credential);
  const tls::Facts facts = connection.tls->facts();
  log(LogLevel::info, "connection_ready",
      "connected to " + connection.config->authority + " (" + facts.version + ", " + facts.cipher + ", " +
          std::to_string(limit) + " streams)");
  // SETTINGS alone do not say that our certificate is taken (TLS 1.3 lets the server judge it later): an answer does.
  if (connection.version == credential.version && credential.renewing) {
    connection.confirming = true;
    if (connection.ping_deadline_mono_ns == base::kNever) send_ping(handle, connection);
  }
  activate(connection.credential);
  // Its credential ended while it was on its way.
  if (credential.removed || connection.version != credential.version) retire(handle, connection);
}

// APNs lowers the stream limit after rejections, down to 1, and raises it again on success (Apple, "Handling error
// responses from APNs"). A connection so punished gets its requests after the others.
void Shard::judge_limit(Connection& connection) {
  if (connection.limit_seen > connection.limit_high / 2) {
    if (connection.slowed) connection.rejected = connection.slowed = false;
    return;
  }
  if (std::exchange(connection.slowed, true)) return;
  mark(Mark::limit_lowered);
  log(LogLevel::warning, "stream_limit_lowered",
      credentials_[connection.credential].config->name + ": APNs lowered the stream limit of a connection from " +
          std::to_string(connection.limit_high) + " to " + std::to_string(connection.limit_seen) +
          " after rejections; other connections go first");
}

void Shard::on_goaway(base::Handle handle, Connection& connection, const h2::Event& event) {
  ++counters_.goaways;
  if (connection.state == ConnectionState::settling) {
    // A session takes nothing before SETTINGS (RFC 9113 section 3.4); one that did would have no stream to save.
    lose(handle, connection, tls::Cause::none, "GOAWAY before SETTINGS from " + connection.config->authority);
    return;
  }
  Credential& credential = credentials_[connection.credential];
  std::string text = "GOAWAY from " + credential.config->authority + ", last stream " +
                     std::to_string(event.last_stream_id) + ", error " + std::to_string(event.error_code);
  if (!event.debug.empty()) {
    // Mostly {"reason":"..."}; shown as it is, but only its printable part and not without end.
    text += ": ";
    for (const char c : event.debug.substr(0, 200)) text += c >= 0x20 && c < 0x7f ? c : '?';
  }
  log(event.error_code == 0 ? LogLevel::info : LogLevel::warning, "goaway", text);
  if (connection.state == ConnectionState::draining) mark(Mark::goaway_twice);
  connection.goaway_last = event.last_stream_id;
  move(connection, ConnectionInput::goaway);
  connection.stage_deadline_mono_ns = base::kNever;
  settle_dial(handle, connection);
  // Without an error too, if no answer can come: a server that sends every new connection away must not be
  // dialled without end.
  const bool sent_away = event.error_code != 0 || connection.in_flight == 0 || event.last_stream_id == 0;
  if (!served(connection) && sent_away && !std::exchange(connection.goaway_counted, true)) {
    count_failure(credential, connection, tls::Cause::none, std::move(text));
  } else {
    soon(credential, connection);  // a GOAWAY may come to every connection at once
  }
  mark_changed(credential);
}

void Shard::lose(base::Handle handle, Connection& connection, tls::Cause cause, std::string text) {
  if (connection.state == ConnectionState::closing) {
    if (connection.close_after_send) emit_close(handle, connection);
    return;
  }
  Credential& credential = credentials_[connection.credential];
  const bool was_open =
      connection.state == ConnectionState::ready || connection.state == ConnectionState::draining;
  if (was_open) ++counters_.connections_lost;
  const bool expected = connection.state == ConnectionState::draining && connection.in_flight == 0;
  sweep(connection, Reason::connection_lost, text);
  if (!stopping_ && !expected) {
    if (served(connection) && cause != tls::Cause::own_certificate_refused) {
      log(LogLevel::warning, "connection_lost", text);
      credential.last_error = std::move(text);
      soon(credential, connection);
    } else {
      count_failure(credential, connection, cause, std::move(text));
    }
  }
  begin_close(handle, connection, ConnectionInput::fail);
}

void Shard::retire(base::Handle handle, Connection& connection) {
  if (connection.state == ConnectionState::ready) {
    move(connection, ConnectionInput::retire);
    mark_changed(credentials_[connection.credential]);
  } else if (connection.state != ConnectionState::draining) {
    if (connection.state != ConnectionState::closing) begin_close(handle, connection, ConnectionInput::fail);
    return;
  }
  if (connection.in_flight == 0) begin_close(handle, connection, ConnectionInput::drained);
}

void Shard::begin_close(base::Handle handle, Connection& connection, ConnectionInput input) {
  const bool graceful = input == ConnectionInput::drained;
  move(connection, input);
  settle_dial(handle, connection);
  Reach& reach = *reaches_[connection.reach];
  if (std::exchange(connection.reach_open, false)) {
    reach.dial_failed(now_.mono_ns, connection.port, false, prng_);
    touch_reach(connection.reach);
  }
  if (connection.ready_mono_ns != base::kNever) reach.connection_gone();
  if (std::exchange(connection.address_used, false)) reach.address_used(connection.address, -1);
  connection.tunnel.reset();
  connection.probing = false;
  connection.ping_deadline_mono_ns = base::kNever;
  connection.stage_deadline_mono_ns = base::kNever;
  connection.answer_deadline_mono_ns = base::kNever;
  mark_changed(credentials_[connection.credential]);
  if (graceful && connection.h2 != nullptr && connection.tls->state() == tls::State::open) {
    base::ByteBuffer& fill = connection.wire[1 - connection.sending_index];
    connection.h2->goaway();
    write_pending(connection);
    connection.tls->send(connection.plain_out.readable(), fill);
    connection.plain_out.clear();
    plain_buffers_.give_back(connection.plain_out);
    connection.tls->close(fill);
    connection.close_after_send = true;
    connection.stage_deadline_mono_ns = now_.mono_ns + kFarewellNs;
    watch(handle, connection);
    if (!connection.sending) start_send(handle, connection);
    return;
  }
  emit_close(handle, connection);
}

void Shard::emit_close(base::Handle handle, Connection& connection) {
  connection.close_after_send = false;
  connection.stage_deadline_mono_ns = base::kNever;
  act(ActionKind::close, handle, connection.credential);
}

void Shard::on_closed(base::Handle handle, Connection& connection) {
  move(connection, ConnectionInput::closed);
  Credential& credential = credentials_[connection.credential];
  std::erase(credential.connections, handle);
  mark_changed(credential);
  activate(connection.credential);
  connection_due_.cancel(handle.index());
  connection.plain_out.clear();
  plain_buffers_.give_back(connection.plain_out);
  for (base::ByteBuffer& wire : connection.wire) {  // the kernel has done with them
    wire.clear();
    wire_buffers_.give_back(wire);
  }
  connections_.release(handle);
  plain_buffers_.trim(connections_.in_use());
  wire_buffers_.trim(kWiresPerConnection * connections_.in_use());
}

void Shard::mark_dirty(base::Handle handle, Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(handle);
}

// Encrypts the first `bytes` of what is to go out. False: TLS failed, and the connection is lost.
bool Shard::seal(base::Handle handle, Connection& connection, std::size_t bytes) {
  base::ByteBuffer& fill = connection.wire[1 - connection.sending_index];
  wire_buffers_.lend(fill);
  const tls::State state = connection.tls->send(connection.plain_out.readable().first(bytes), fill);
  connection.plain_out.consume(bytes);
  if (state != tls::State::failed) return true;
  const tls::Failure failure = connection.tls->failure();
  lose(handle, connection, failure.cause, failure.text);
  return false;
}

// All that is to go out, and what the session has to say besides; its buffer is the next connection's then.
bool Shard::seal_rest(base::Handle handle, Connection& connection) {
  write_pending(connection);
  if (!connection.plain_out.empty() && !seal(handle, connection, connection.plain_out.size())) return false;
  plain_buffers_.give_back(connection.plain_out);
  return true;
}

void Shard::flush(base::Handle handle, Connection& connection) {
  connection.dirty = false;
  if (connection.state == ConnectionState::closing) return;
  if (connection.h2 != nullptr && connection.tls->state() == tls::State::open && !seal_rest(handle, connection)) return;
  if (!connection.sending) start_send(handle, connection);
}

void Shard::start_send(base::Handle handle, Connection& connection) {
  base::ByteBuffer& fill = connection.wire[1 - connection.sending_index];
  if (fill.empty()) {
    if (connection.close_after_send) emit_close(handle, connection);
    return;
  }
  connection.sending_index = 1 - connection.sending_index;
  connection.sending = true;
  ++counters_.writes;
  act(ActionKind::send, handle, connection.credential).bytes = fill.readable();
}

void Shard::on_sent(base::Handle handle, Connection& connection, const Event& event) {
  TOCSIN_ASSERT(connection.sending);
  base::ByteBuffer& buffer = connection.wire[connection.sending_index];
  if (event.result <= 0) {
    connection.sending = false;
    lose(handle, connection, tls::Cause::none, std::string(event.text));
    return;
  }
  counters_.bytes_sent += static_cast<std::uint64_t>(event.result);
  buffer.consume(static_cast<std::size_t>(event.result));
  activate(connection.credential);
  if (connection.state == ConnectionState::closing && !connection.close_after_send) {
    connection.sending = false;
    return;
  }
  if (!buffer.empty()) {  // a short send: the rest goes first
    ++counters_.writes;
    act(ActionKind::send, handle, connection.credential).bytes = buffer.readable();
    return;
  }
  connection.sending = false;
  wire_buffers_.give_back(buffer);
  if (connection.close_after_send) {
    start_send(handle, connection);
  } else {
    mark_dirty(handle, connection);
  }
}

}  // namespace tocsin::dispatch
