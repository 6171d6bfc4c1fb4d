// SPDX-License-Identifier: Apache-2.0
// What a script does below HTTP/2: to TCP, to TLS, to the pace of bytes.
#include <algorithm>

#include <sys/socket.h>
#include <unistd.h>

#include "mockd/worker.h"

namespace tocsin::mockd {
namespace {

// RFC 8446 section 6: a fatal alert (2), handshake_failure (40), as a record of its own.
constexpr unsigned char kHandshakeFailure[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28};
// A record of application data that no key has made: whoever reads it answers bad_record_mac.
constexpr unsigned char kForgedRecord[] = {0x17, 0x03, 0x03, 0x00, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
                                           19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};

}  // namespace

void Worker::hang(Connection& c) {
  c.stage = Stage::hanging;
  if (c.deadline_mono_ns != base::kNever) --timed_;
  c.deadline_mono_ns = base::kNever;
}

// Nothing was read or written, so that the client sees RST and no more.
void Worker::refuse(int fd) {
  const linger at_once{1, 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(fd);
  shared_.connections.fetch_sub(1, std::memory_order_relaxed);
}

// True: the handshake goes no further.
bool Worker::spoil_handshake(base::Handle handle, Connection& c, base::ByteView bytes) {
  if (c.faults.tls == mock::TlsFault::alert) {
    c.filling.append(std::as_bytes(std::span(kHandshakeFailure)));
    c.half_close = true;  // no TLS to close
    note_end(c, EndedBy::script);
    end(handle, c);
    return true;
  }
  if (c.faults.tls != mock::TlsFault::hang) return false;
  // Half of what the server would say first, and never a word more.
  base::ByteBuffer whole;
  plain_.clear();
  (void)c.channel->receive(bytes, plain_, whole);
  if (whole.empty()) return true;
  hang(c);
  c.flying.append(whole.readable().first(whole.size() / 2));
  send(handle, c);
  return true;
}

// What the conversation wants of its connection now that it has said its last.
void Worker::obey_ending(base::Handle handle, Connection& c) {
  using Ending = mock::Conversation::Ending;
  if (!c.conversation->vanished() && c.conversation->ending() == Ending::none) return;
  const mock::Conversation& said = *c.conversation;
  const bool idle = said.ending() == Ending::close && !said.vanished() && said.open_streams() == 0;
  note_end(c, said.broken() ? EndedBy::protocol_error
              : idle && said.finished() ? EndedBy::client
              : idle && said.leaving() ? EndedBy::goaway : EndedBy::script);
  if (c.conversation->vanished()) return hang(c);
  switch (c.conversation->ending()) {
    case Ending::reset: return close(handle, c, true);
    case Ending::half_close: c.half_close = true; break;
    case Ending::alert:
      // Our own channel writes the alert, as it would upon a broken record of the client's.
      plain_.clear();
      (void)c.channel->receive(std::as_bytes(std::span(kForgedRecord)), plain_, c.filling);
      break;
    case Ending::none:
    case Ending::close: break;
  }
  c.stage = Stage::ending;
}

// Nothing may be sent now; the connection is looked at again when it may.
bool Worker::paused(base::Handle handle, Connection& c, base::Now now) {
  if (shared_.options.script == nullptr) return false;
  const std::int64_t until = std::max(c.pause_mono_ns, service_.stalled_until(now));
  if (until <= now.mono_ns) return false;
  wake_at(handle, c, until);
  return true;
}

}  // namespace tocsin::mockd
