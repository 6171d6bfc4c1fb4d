// SPDX-License-Identifier: Apache-2.0
// ClientSession: the client side of one HTTP/2 connection, made for batches: many requests are encoded
// into one output buffer, bytes are fed and many answers come back. It does no I/O and has no clock, and
// knows nothing of APNs. Two implementations stand behind this interface: a purpose-made one, and nghttp2's session.
//
// Streams are ours to count: write() starts a request only while can_start() > 0 and, if it has a body,
// only if its first byte fits the windows; no library queues for us (invariant 6). Control frames go first.
//
// Threads: one at a time. Ownership: what prepare() is given is copied; views in Answer and Event, and plain_tags(), live until the
// next call of receive(); slot values and contents given to write() are copied or encoded before it returns. Bounds: streams_max of
// the options; a response body beyond answer_body_max is cut and marked; response fields are bounded by header_list_max.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/result.h>

#include "base/bytes.h"
#include "base/fields.h"

namespace tocsin::h2 {

inline constexpr std::size_t kCapturesMax = 2;  // each costs every answer 16 bytes

struct ClientOptions {
  std::uint32_t streams_max = 1000;          // ours; the peer's limit counts as well
  std::uint32_t window_bytes = 1u << 20;     // our receive window, connection and stream
  std::uint32_t header_table_bytes = 4096;   // the dynamic table we offer the peer's encoder
  std::uint32_t header_list_max = 16 * 1024; // of a response
  std::uint32_t answer_body_max = 4096;
  // Names (lower case) of response fields that answers carry, by position; at most kCapturesMax.
  std::vector<std::string> captures{};
  // Plain answers (a final 200 without a captured field and without a body) may come as plain_tags() and not as Answers.
  bool plain_apart = false;
};

// One request: the list it was prepared with, its slot values in the list's order, the content of its body.
struct Request {
  std::uint64_t tag = 0;       // the caller's; comes back in the answer
  std::uint32_t prepared = 0;  // from prepare()
  std::array<base::ByteView, base::kFieldSlotsMax> slots{};
  base::ByteView content{};    // as the shape says: raw bytes, or a UUID's 16; not looked at if the shape has none
};

enum class AnswerKind : std::uint8_t {
  complete,  // END_STREAM was read; status is valid
  reset,     // RST_STREAM by the peer, error_code says which; REFUSED_STREAM (7) means "not processed"
  // The response broke HTTP rules (no :status, bad fields, a content-length that its body does not keep): we reset the
  // stream. A final status whose whole block was read stands: headers_seen says so.
  broken,
};

struct Answer {
  std::uint64_t tag = 0;
  std::int32_t stream_id = 0;
  AnswerKind kind = AnswerKind::complete;
  std::uint32_t error_code = 0;
  std::uint16_t status = 0;
  bool headers_seen = false;        // a final :status was read before the reset
  bool body_cut = false;
  std::uint32_t plain_before = 0;   // so many of plain_tags() came before it
  std::array<std::string_view, kCapturesMax> captured{};
  base::ByteView body;
};

enum class EventKind : std::uint8_t {
  settings,     // the peer's SETTINGS were applied; read the limits again
  settings_ack, // ours were
  goaway,       // last_stream_id, error_code, debug
  ping_ack,     // opaque
};

struct Event {
  EventKind kind = EventKind::settings;
  std::int32_t last_stream_id = 0;
  std::uint32_t error_code = 0;
  std::uint64_t opaque = 0;
  std::string_view debug;
};

// A tag whose stream ended without an answer, with what is known about it.
struct Orphan {
  std::uint64_t tag = 0;
  std::int32_t stream_id = 0;
  std::uint16_t status = 0;  // of a final header block that was read (its body was still to come), else 0
};

class ClientSession {
 public:
  virtual ~ClientSession() = default;

  // Registers a request's field list and the shape of its body; the number is valid until forget_prepared().
  virtual std::uint32_t prepare(const base::FieldList& fields, const base::BodyShape& shape) = 0;
  // Every number given so far is void; what was written stays as it is.
  virtual void forget_prepared() = 0;

  // Encodes as many requests as streams and windows allow, in order, behind any pending control frames;
  // answers how many were wholly taken. A body larger than the window is continued: it counts as taken, the
  // rest is kept inside (bounded by the body's size) and goes out with later writes as the windows open.
  virtual std::size_t write(std::span<const Request> requests, base::ByteBuffer& out) = 0;

  // Appends pending control frames (preface and SETTINGS at first, acknowledgements, WINDOW_UPDATE) and
  // continued bodies. Call after receive().
  virtual void write_pending(base::ByteBuffer& out) = 0;

  // Takes all bytes; appends to `answers` and `events`. An error means the peer broke the connection's rules: send
  // what write_pending() still gives (a GOAWAY), close, and treat open streams as lost.
  virtual Result<void> receive(base::ByteView bytes, std::vector<Answer>& answers, std::vector<Event>& events) = 0;

  // With plain_apart: the tags of plain answers that the last receive() read and made no Answers of, in their order. Which
  // ones these are is the codec's choice: nghttp2's makes an Answer of each.
  virtual std::span<const std::uint64_t> plain_tags() const { return {}; }

  virtual void ping(std::uint64_t opaque) = 0;

  // Resets one stream (CANCEL), for an answer that came too late; it gives no answer afterwards. False if unknown.
  virtual bool cancel(std::uint64_t tag) = 0;

  // GOAWAY(NO_ERROR) with the next write_pending().
  virtual void goaway() = 0;

  // How many requests may start now: 0 before the peer's first SETTINGS, after GOAWAY, when ids are used up.
  virtual std::uint32_t can_start() const = 0;
  virtual std::uint32_t open_streams() const = 0;
  virtual std::uint32_t peer_streams_max() const = 0;  // its MAX_CONCURRENT_STREAMS as it stands
  virtual bool settings_seen() const = 0;
  virtual std::int64_t send_window() const = 0;        // of the connection, bytes
  virtual std::int32_t next_stream_id() const = 0;

  // Every tag still open, with its stream id: for sweeping a lost connection. Appends.
  virtual void open_tags(std::vector<Orphan>& out) const = 0;
};

Result<std::unique_ptr<ClientSession>> make_fast_client(const ClientOptions& options);
Result<std::unique_ptr<ClientSession>> make_nghttp2_client(const ClientOptions& options);

}  // namespace tocsin::h2
