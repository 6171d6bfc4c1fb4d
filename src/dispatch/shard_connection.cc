// SPDX-License-Identifier: Apache-2.0
// A connection's life inside the shard: dial, TLS, SETTINGS, GOAWAY, loss.
#include <algorithm>
#include <utility>

#include "apns/answer.h"
#include "base/assertion.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// How long a last GOAWAY and close_notify may take to leave; the peer's reading of them is a courtesy.
constexpr std::int64_t kFarewellNs = base::kSecond;

// Causes that another dial will not cure: the same one three times in a row ends the trying at once.
bool definite(tls::Cause cause) {
  switch (cause) {
    case tls::Cause::not_tls:
    case tls::Cause::untrusted:
    case tls::Cause::certificate_expired:
    case tls::Cause::name_mismatch:
    case tls::Cause::no_alpn:
    case tls::Cause::own_certificate_refused:
    case tls::Cause::own_configuration: return true;
    default: return false;
  }
}
constexpr unsigned kDefiniteFailuresMax = 3;

}  // namespace

void Shard::start_dial(std::uint32_t credential_index) {
  Credential& credential = credentials_[credential_index];
  const base::Handle handle = connections_.acquire();
  if (!handle) {
    credential.next_dial_mono_ns = now_.mono_ns + 10 * base::kMillisecond;
    note_deadline(credential.next_dial_mono_ns);
    return;
  }
  Connection& connection = connections_[handle];
  connection.credential = credential_index;
  move(connection, ConnectionInput::dial);
  connection.dial_open = true;
  connection.stage_deadline_mono_ns = now_.mono_ns + credential.config->connect_timeout_ns;
  note_deadline(connection.stage_deadline_mono_ns);
  credential.connections.push_back(handle);
  mark_changed(credential);
  Action& resolve = act(ActionKind::resolve, handle, credential_index);
  resolve.name = credential.config->host;
  resolve.port = credential.config->port;
}

Action& Shard::act(ActionKind kind, base::Handle handle, std::uint32_t credential) {
  Action& action = out_->actions.emplace_back();
  action.kind = kind;
  action.handle = handle.value;
  action.credential = credential;
  return action;
}

void Shard::on_resolved(base::Handle handle, Connection& connection, std::span<const base::Address> addresses) {
  if (connection.state != ConnectionState::resolving) return;  // it timed out meanwhile
  TOCSIN_ASSERT(!addresses.empty());
  move(connection, ConnectionInput::resolved);
  act(ActionKind::dial, handle, connection.credential).address = addresses[prng_.below(addresses.size())];
}

void Shard::on_dialled(base::Handle handle, Connection& connection) {
  if (connection.state != ConnectionState::dialling) return;  // it timed out meanwhile
  const CredentialConfig& config = *credentials_[connection.credential].config;
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
  move(connection, ConnectionInput::connected);
  connection.stage_deadline_mono_ns = now_.mono_ns + config.handshake_timeout_ns;
  note_deadline(connection.stage_deadline_mono_ns);
  if (connection.tls->start(connection.wire[1 - connection.sending_index]) == tls::State::open) {
    tls_opened(handle, connection);
  }
  mark_dirty(handle, connection);
}

void Shard::on_dial_failed(base::Handle handle, Connection& connection, std::string_view text) {
  if (connection.state != ConnectionState::dialling && connection.state != ConnectionState::resolving) return;
  lose(handle, connection, tls::Cause::none, std::string(text));
}

void Shard::on_dial_deferred(base::Handle handle, Connection& connection) {
  if (connection.state != ConnectionState::resolving) return;
  Credential& credential = credentials_[connection.credential];
  // Not a failure: the budget is the process's. A few milliseconds of jitter keep shards from asking in step.
  credential.next_dial_mono_ns =
      now_.mono_ns + 5 * base::kMillisecond +
      static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(20 * base::kMillisecond)));
  note_deadline(credential.next_dial_mono_ns);
  connection.dial_open = false;  // it never got one
  begin_close(handle, connection, ConnectionInput::fail);
}

void Shard::on_received(base::Handle handle, Connection& connection, base::ByteView bytes) {
  if (connection.state == ConnectionState::closing || connection.tls == nullptr) return;
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
  const tls::State state =
      connection.tls->receive(bytes, connection.plain_in, connection.wire[1 - connection.sending_index]);
  if (handshaking && (state == tls::State::open || state == tls::State::closed)) tls_opened(handle, connection);
  if (state == tls::State::failed || state == tls::State::closed) {
    // What was decrypted before the alert or close_notify is genuine: answers in it still count.
    if (connection.h2 != nullptr && !connection.plain_in.empty()) h2_receive(handle, connection);
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
  const CredentialConfig& config = *credentials_[connection.credential].config;
  h2::ClientOptions options;
  options.streams_max = config.streams_max;
  options.captures = {std::string(apns::kCaptureApnsId)};
  auto session = h2::make_nghttp2_client(options);
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
  const Result<void> result = connection.h2->receive(connection.plain_in.readable(), answers_, h2_events_);
  connection.plain_in.clear();
  Credential& credential = credentials_[connection.credential];
  for (const h2::Event& event : h2_events_) {
    switch (event.kind) {
      case h2::EventKind::settings:
        if (connection.state == ConnectionState::settling) {
          move(connection, ConnectionInput::settings);
          connection.stage_deadline_mono_ns = base::kNever;
          settle_dial(handle, connection);
          ++counters_.connections_opened;
          connection.unreachable_before_mono_ns =
              std::exchange(credential.unreachable_since_mono_ns, base::kNever);
          connection.unreachable_before_wall_ns = credential.unreachable_since_wall_ns;
          credential.unreachable_since_wall_ns = 0;
          credential.gave_up = false;
          mark_changed(credential);
          const tls::Facts facts = connection.tls->facts();
          log(LogLevel::info, "connection_ready",
              "connected to " + credential.config->authority + " (" + facts.version + ", " + facts.cipher + ", " +
                  std::to_string(connection.h2->peer_streams_max()) + " streams)");
        }
        break;
      case h2::EventKind::goaway: on_goaway(handle, connection, event); break;
      default: break;
    }
  }
  if (!answers_.empty()) {
    // One stamp a batch: the answers of one read came together.
    connection.last_answer_mono_ns = now_.mono_ns;
    for (const h2::Answer& answer : answers_) on_answer(connection, answer);
    if (stopping_ && connection.in_flight == 0) note_deadline(now_.mono_ns);
  }
  mark_dirty(handle, connection);
  if (!result) {
    lose(handle, connection, tls::Cause::none, result.error().message);
    return;
  }
  if (connection.state == ConnectionState::draining && connection.in_flight == 0) {
    begin_close(handle, connection, ConnectionInput::drained);
  }
}

void Shard::on_goaway(base::Handle handle, Connection& connection, const h2::Event& event) {
  ++counters_.goaways;
  Credential& credential = credentials_[connection.credential];
  std::string text = "GOAWAY from " + credential.config->authority + ", last stream " +
                     std::to_string(event.last_stream_id) + ", error " + std::to_string(event.error_code);
  if (!event.debug.empty()) {
    // Mostly {"reason":"..."}; shown as it is, but only its printable part and not without end.
    text += ": ";
    for (const char c : event.debug.substr(0, 200)) text += c >= 0x20 && c < 0x7f ? c : '?';
  }
  log(event.error_code == 0 ? LogLevel::info : LogLevel::warning, "goaway", text);
  move(connection, ConnectionInput::goaway);
  connection.stage_deadline_mono_ns = base::kNever;
  settle_dial(handle, connection);
  // Without an error too, if no answer can come: a server that sends every new connection away must not be
  // dialled without end.
  const bool sent_away = event.error_code != 0 || connection.in_flight == 0 || event.last_stream_id == 0;
  if (!connection.proven && sent_away && !std::exchange(connection.goaway_counted, true)) {
    count_failure(credential, connection, tls::Cause::none, std::move(text));
  } else {
    // A small random wait, so that a GOAWAY to every connection does not bring them all back at once.
    const std::int64_t wait = static_cast<std::int64_t>(
        prng_.below(static_cast<std::uint64_t>(std::max<std::int64_t>(credential.config->backoff_min_ns, 1))));
    credential.next_dial_mono_ns = std::max(credential.next_dial_mono_ns, now_.mono_ns + wait);
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
    if (connection.proven && cause != tls::Cause::own_certificate_refused) {
      log(LogLevel::warning, "connection_lost", text);
      credential.last_error = std::move(text);
      const std::int64_t wait = static_cast<std::int64_t>(
          prng_.below(static_cast<std::uint64_t>(std::max<std::int64_t>(credential.config->backoff_min_ns, 1))));
      credential.next_dial_mono_ns = std::max(credential.next_dial_mono_ns, now_.mono_ns + wait);
    } else {
      count_failure(credential, connection, cause, std::move(text));
    }
  }
  begin_close(handle, connection, ConnectionInput::fail);
}

void Shard::count_failure(Credential& credential, const Connection& connection, tls::Cause cause, std::string text) {
  ++counters_.dials_failed;
  credential.failures = std::min(credential.failures + 1, 30u);
  credential.same_cause = cause == credential.last_cause ? credential.same_cause + 1 : 1;
  credential.last_cause = cause;
  bool other_open = false;
  for (const base::Handle handle : credential.connections) {
    const Connection* other = connections_.find(handle);
    other_open |= other != nullptr && other->state == ConnectionState::ready && other->proven;
  }
  if (!other_open) {
    if (credential.unreachable_since_mono_ns == base::kNever) {
      const bool goes_on = connection.unreachable_before_mono_ns != base::kNever;
      credential.unreachable_since_mono_ns = goes_on ? connection.unreachable_before_mono_ns : now_.mono_ns;
      credential.unreachable_since_wall_ns = goes_on ? connection.unreachable_before_wall_ns : now_.wall_ns;
    }
    if (definite(cause) && credential.same_cause >= kDefiniteFailuresMax) credential.gave_up = true;
  }
  // Full jitter: anywhere between 0 and the doubled bound, so that shards and processes spread out.
  const CredentialConfig& config = *credential.config;
  std::int64_t bound = config.backoff_min_ns;
  for (unsigned i = 1; i < credential.failures && bound < config.backoff_max_ns; ++i) bound *= 2;
  bound = std::clamp<std::int64_t>(bound, 1, std::max<std::int64_t>(config.backoff_max_ns, 1));
  credential.next_dial_mono_ns = now_.mono_ns + 1 + static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(bound)));
  note_deadline(credential.next_dial_mono_ns);
  log(LogLevel::warning, "dial_failed", config.name + ": " + text);
  credential.last_error = std::move(text);
  mark_changed(credential);
}

void Shard::settle_dial(base::Handle handle, Connection& connection) {
  if (!connection.dial_open) return;
  connection.dial_open = false;
  act(ActionKind::dial_settled, handle, connection.credential);
}

void Shard::begin_close(base::Handle handle, Connection& connection, ConnectionInput input) {
  const bool graceful = input == ConnectionInput::drained;
  move(connection, input);
  settle_dial(handle, connection);
  connection.stage_deadline_mono_ns = base::kNever;
  connection.answer_deadline_mono_ns = base::kNever;
  mark_changed(credentials_[connection.credential]);
  if (graceful && connection.h2 != nullptr && connection.tls->state() == tls::State::open) {
    base::ByteBuffer& fill = connection.wire[1 - connection.sending_index];
    connection.h2->goaway();
    connection.h2->write_pending(connection.plain_out);
    connection.tls->send(connection.plain_out.readable(), fill);
    connection.plain_out.clear();
    connection.tls->close(fill);
    connection.close_after_send = true;
    connection.stage_deadline_mono_ns = now_.mono_ns + kFarewellNs;
    note_deadline(connection.stage_deadline_mono_ns);
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
  connections_.release(handle);
}

void Shard::mark_dirty(base::Handle handle, Connection& connection) {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(handle);
}

void Shard::flush(base::Handle handle, Connection& connection) {
  connection.dirty = false;
  if (connection.state == ConnectionState::closing) return;
  if (connection.h2 != nullptr && connection.tls->state() == tls::State::open) {
    connection.h2->write_pending(connection.plain_out);
    if (!connection.plain_out.empty()) {
      const tls::State state =
          connection.tls->send(connection.plain_out.readable(), connection.wire[1 - connection.sending_index]);
      connection.plain_out.clear();
      if (state == tls::State::failed) {
        const tls::Failure failure = connection.tls->failure();
        lose(handle, connection, failure.cause, failure.text);
        return;
      }
    }
  }
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
  if (connection.close_after_send) {
    start_send(handle, connection);
  } else {
    mark_dirty(handle, connection);
  }
}

}  // namespace tocsin::dispatch
