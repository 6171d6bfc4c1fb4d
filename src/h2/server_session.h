// SPDX-License-Identifier: Apache-2.0
// ServerSession: the server side of one HTTP/2 connection, for the mock (and later the front end). No
// I/O, no clock, nothing of APNs.
//
// Threads: one at a time. Ownership: views in ServerRequest live until the next call of receive(); fields and bodies
// given to respond() are copied. Bounds: the options; a request body beyond body_max is cut and marked.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <tocsin/result.h>

#include "base/bytes.h"

namespace tocsin::h2 {

// The defaults are what Apple's servers were seen to send.
struct ServerOptions {
  std::uint32_t streams_max = 1000;          // MAX_CONCURRENT_STREAMS
  std::uint32_t window_bytes = 65'535;       // INITIAL_WINDOW_SIZE
  std::uint32_t connection_window_bytes = 65'535;
  std::uint32_t header_table_bytes = 4096;
  std::uint32_t header_list_max = 8000;
  std::uint32_t frame_bytes_max = 16'384;
  std::uint32_t body_max = 8192;             // kept of a request body; the whole is counted in body_bytes
  bool literal_answers = false;              // the client's dynamic table is never used, as FloodServer asks for
};

struct FieldView {
  std::string_view name;
  std::string_view value;
  bool literal = false;  // of a response: kept out of the client's dynamic table (values that never repeat)
};

struct ServerRequest {
  std::int32_t stream_id = 0;
  std::span<const FieldView> fields;  // pseudo-fields included, in order
  base::ByteView body;
  std::uint64_t body_bytes = 0;
  bool body_cut = false;
};

class ServerSession {
 public:
  virtual ~ServerSession() = default;

  // Takes all bytes; appends every request that is complete (END_STREAM read). An error means the client broke
  // the connection's rules: send what write_pending() still gives, then close.
  virtual Result<void> receive(base::ByteView bytes, std::vector<ServerRequest>& requests) = 0;

  // Answers a stream. `fields` without :status. Answers for a stream the client has reset are dropped (false).
  virtual bool respond(std::int32_t stream_id, unsigned status, std::span<const FieldView> fields, base::ByteView body) = 0;

  // RST_STREAM.
  virtual void reset(std::int32_t stream_id, std::uint32_t error_code) = 0;

  // GOAWAY; last_stream_id < 0 means "the highest seen". Streams above it are dropped without an answer.
  virtual void goaway(std::int32_t last_stream_id, std::uint32_t error_code, std::string_view debug) = 0;

  // New SETTINGS for the client.
  virtual void set_streams_max(std::uint32_t streams_max) = 0;

  // Faults, for a mock that plays a bad server. All of them hold until the next call of the same name.

  // Raw bytes, in order behind what is pending now. The session's own state learns nothing of them.
  virtual void inject(base::ByteView frames) = 0;
  // INITIAL_WINDOW_SIZE for later and open streams; enforced once the client acknowledged it.
  virtual void set_initial_window(std::uint32_t bytes) = 0;
  // Off: DATA is read and gives no WINDOW_UPDATE, for the connection nor its streams; on again: what is owed is sent.
  // Padding, and DATA of streams that are gone, count as consumed either way (nghttp2 does so by itself).
  virtual void set_auto_window_update(bool on) = 0;
  // Off: the client's PINGs are counted and never answered.
  virtual void set_auto_ping_ack(bool on) = 0;
  // Response header blocks leave as HEADERS and CONTINUATION of at most `bytes` each; 0: as they come.
  virtual void split_headers(std::size_t bytes) = 0;
  // One SETTINGS frame with any entries. Values that RFC 9113 section 6.5.2 forbids go out all the same; a client that
  // acknowledges those is taken to break the rules.
  virtual void set_settings(std::span<const std::pair<std::uint16_t, std::uint32_t>> entries) = 0;
  virtual std::uint64_t pings_seen() const = 0;  // without acknowledgements

  // Appends everything that may be sent now.
  virtual void write_pending(base::ByteBuffer& out) = 0;

  virtual std::uint32_t open_streams() const = 0;
  virtual std::int32_t last_stream_id() const = 0;
  // True once the client said GOAWAY and no stream is open: the connection can be closed.
  virtual bool finished() const = 0;

  // For whoever takes the connection over (FloodServer).
  virtual bool settings_acknowledged() const = 0;    // all of ours
  virtual bool client_goaway() const = 0;
  virtual std::uint32_t client_table() const = 0;    // its SETTINGS_HEADER_TABLE_SIZE
  virtual std::int64_t receive_window() const = 0;   // of the connection: what the client may still send
  virtual std::int64_t send_window() const = 0;      // of the connection: what may be sent to it
};

Result<std::unique_ptr<ServerSession>> make_nghttp2_server(const ServerOptions& options);

}  // namespace tocsin::h2
