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

  // Appends everything that may be sent now.
  virtual void write_pending(base::ByteBuffer& out) = 0;

  virtual std::uint32_t open_streams() const = 0;
  virtual std::int32_t last_stream_id() const = 0;
  // True once the client said GOAWAY and no stream is open: the connection can be closed.
  virtual bool finished() const = 0;
};

Result<std::unique_ptr<ServerSession>> make_nghttp2_server(const ServerOptions& options);

}  // namespace tocsin::h2
