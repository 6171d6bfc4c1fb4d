// SPDX-License-Identifier: Apache-2.0
// Channel: one TLS connection as a byte transformer, memory to memory; and a plain twin of it for
// simulation and tests, which passes bytes through (wolfSSL's seed cannot be injected).
//
// Threads: one at a time; a Context may make channels on several threads. Ownership: a channel keeps its
// context alive. Bounds: send() makes records of at most 16,384 plain bytes; everything given is always
// taken, so that nothing waits inside (bound the buffers outside).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"

namespace tocsin::tls {

enum class State : std::uint8_t {
  handshaking,
  open,
  closed,  // the peer said close_notify
  failed,  // see failure(); what is in wire_out (an alert) may still be sent, then close
};

// Why a handshake or a record failed; one sentence for people comes with it.
enum class Cause : std::uint8_t {
  none,
  not_tls,               // the peer answered with something that is no TLS record
  untrusted,             // the chain ends in no given trust anchor
  certificate_expired,   // the peer's certificate is not valid now
  name_mismatch,         // the peer's certificate does not carry the name asked for
  no_alpn,               // the peer did not choose h2
  own_certificate_refused,  // the peer sent a certificate alert: ours is missing, revoked, expired, unknown
  alert,                 // the peer sent another fatal alert (its name is in the text)
  own_configuration,     // our side could not be set up
  protocol,              // anything else: bad MAC, bad message, no common version or cipher
};

struct Failure {
  Cause cause = Cause::none;
  std::string text;  // "the server's certificate is for api.push.apple.com, not for localhost"
};

struct Facts {
  std::string version;  // "TLS 1.3", "TLS 1.2", "plain"
  std::string cipher;
  std::string alpn;
  std::string peer_subject;  // of the peer's certificate, if it gave one
  std::string peer_uid;      // UID of the peer's certificate subject (the MDM topic), if any
  std::string peer_root;     // subject of the trust anchor the chain ended in, where known
};

class Channel {
 public:
  virtual ~Channel() = default;

  // A client says hello into `wire_out`; a server does nothing. Once, before anything else.
  virtual State start(base::ByteBuffer& wire_out) = 0;

  // Takes all of `wire`, however it is cut; appends application bytes to `plain_out` and whatever TLS
  // itself has to say (handshake, alert, key update) to `wire_out`.
  virtual State receive(base::ByteView wire, base::ByteBuffer& plain_out, base::ByteBuffer& wire_out) = 0;

  // Encrypts all of `plain` into `wire_out`, in full records. Only while open.
  virtual State send(base::ByteView plain, base::ByteBuffer& wire_out) = 0;

  // Appends close_notify, if the connection still can.
  virtual void close(base::ByteBuffer& wire_out) = 0;

  virtual State state() const = 0;
  virtual const Failure& failure() const = 0;
  virtual Facts facts() const = 0;  // complete once open
};

// Passes bytes through; open at once. alpn is "h2".
std::unique_ptr<Channel> make_plain_channel();

}  // namespace tocsin::tls
