// SPDX-License-Identifier: Apache-2.0
// FloodServer: the server side of one HTTP/2 connection that answers every request of valid shape with a bare 200, at the
// least cost, so that a benchmark sees the client's ceiling and not the server's.
//
// Field blocks are not decoded, unless the requests' ids are to be given back (RequestEcho); everything else that RFC 9113 asks of a receiver is checked: the preface, frame sizes, the
// order of frames, stream ids, MAX_CONCURRENT_STREAMS, both windows, padding, SETTINGS. What it forbids ends the
// connection (section 5.4.1 allows that for a stream's errors, too). Without ids answers are ":status: 200" by its static
// index, and the client's table is never touched.
//
// It can take a connection over from another session between two frames: streams up to that moment end there, later ones
// are its own. Both write at the same time; the other session must not use the client's table either
// (ServerOptions::literal_answers).
//
// Threads: one at a time; no clock, no I/O. Ownership: borrows the older session, which must outlive it. Bounds:
// ServerOptions; a frame of at most frame_bytes_max is held; output waits until write_pending(), and more than
// kControlMax bytes of it besides answers end the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include <tocsin/result.h>

#include "base/bytes.h"
#include "h2/request_echo.h"
#include "h2/server_session.h"

namespace tocsin::h2 {

// Walks over a client's bytes and knows where its frames end.
class FrameCursor {
 public:
  // Steps over `bytes`, or, with `stop`, up to the first place where a frame may begin that belongs to no field
  // block; answers how many were stepped over.
  std::size_t advance(base::ByteView bytes, bool stop);
  // Where the cursor stands no frame and no field block is under way.
  bool between_frames() const { return left_ == 0 && head_bytes_ == 0 && !in_block_; }
  // Field blocks are read by `echo`, which then knows the client's table where the cursor stands.
  void read_blocks(RequestEcho* echo) { echo_ = echo; }

 private:
  void end_frame();

  std::uint64_t left_ = 24;  // of the frame under way; at first the preface
  std::uint8_t head_[9] = {};
  unsigned head_bytes_ = 0;
  bool in_block_ = false;
  RequestEcho* echo_ = nullptr;
  base::ByteBuffer block_;   // the payload under way, if it is of a field block and somebody reads it
};

// How many of `frames`, which are whole ones, belong to the first of them: all up to END_STREAM, if that is HEADERS without
// it, which its DATA follows; else one frame. Answers of a server can be told apart so.
std::size_t first_answer(base::ByteView frames);

class FloodServer {
 public:
  static constexpr std::size_t kControlMax = 64 * 1024;

  struct Counts {
    std::uint64_t streams = 0;      // begun, refused ones apart
    std::uint64_t end_streams = 0;  // requests: END_STREAM was read, nothing was wrong
    std::uint64_t body_bytes = 0;   // without padding
    std::uint64_t resets = 0;       // by the client, before its answer was written
    std::uint64_t refused = 0;      // beyond the limit while the client could not know it, or behind our GOAWAY
    std::uint64_t pings = 0;
  };

  // From the preface on. Its SETTINGS are the first that write_pending() gives.
  explicit FloodServer(const ServerOptions& options, std::unique_ptr<RequestEcho> echo = nullptr);
  // Goes on where `older` stands: nothing of a frame or field block may be under way there, and the client must have
  // acknowledged its SETTINGS, which were made of the same options. `echo` must have read all blocks up to here.
  FloodServer(const ServerOptions& options, ServerSession& older, std::unique_ptr<RequestEcho> echo = nullptr);
  FloodServer(const FloodServer&) = delete;
  FloodServer& operator=(const FloodServer&) = delete;

  // Takes all bytes, or those up to the first request that the older session completes, which goes to `requests` and
  // which that session answers; says how many it took. An error means that the client broke the connection's rules: send
  // what write_pending() still gives, then close.
  Result<std::size_t> receive(base::ByteView bytes, std::vector<ServerRequest>& requests);
  // Own requests that are complete and wait for their answer.
  std::size_t waiting() const { return waiting_.size() - answered_; }
  // Answers the `count` oldest of them.
  void answer(std::size_t count);
  void goaway(std::int32_t last_stream_id, std::uint32_t error_code, std::string_view debug);
  // Appends everything that may be sent now.
  void write_pending(base::ByteBuffer& out);

  // Own ones and the older session's, until their answer was written.
  std::uint32_t open_streams() const { return open_ + (older_ != nullptr ? older_->open_streams() : 0); }
  std::int32_t last_stream_id() const { return static_cast<std::int32_t>(last_); }
  bool finished() const { return client_goaway_ && open_streams() == 0; }
  const Counts& counts() const { return counts_; }

 private:
  // A stream whose END_STREAM has not come.
  struct Stream {
    std::uint32_t id = 0;       // 0: an empty place
    bool dropped = false;       // reset or never taken: its frames are read and count against the windows only
    std::int64_t left = 0;      // of its window
    RequestEcho::Uuid uuid{};   // to be given back
  };
  struct Head {
    std::uint32_t length;
    std::uint8_t type, flags;
    std::uint32_t id;
  };

  void take_usual(const std::uint8_t*& at, const std::uint8_t* end);
  bool step(const std::uint8_t*& at, const std::uint8_t* end);
  void take(const Head& head, const std::uint8_t* payload);
  void on_headers(const Head& head, const std::uint8_t* payload);
  void on_block_end(std::uint32_t id, bool end_stream);
  void on_continuation(const Head& head, const std::uint8_t* payload);
  bool read_block(const std::uint8_t* part, std::size_t bytes, bool last);
  std::uint8_t* write_answer(std::uint32_t id, const RequestEcho::Uuid* uuid, std::uint8_t* at);
  void on_data(const Head& head, const std::uint8_t* payload);
  void on_settings(const Head& head, const std::uint8_t* payload);
  void on_control(const Head& head, const std::uint8_t* payload);
  void on_reset(const Head& head, const std::uint8_t* payload);
  void on_window_update(const Head& head, const std::uint8_t* payload);
  void to_older(const Head& head, const std::uint8_t* payload);
  bool unpad(const Head& head, const std::uint8_t* payload, std::uint32_t& content);
  void complete(std::uint32_t id, const RequestEcho::Uuid& uuid);
  void refuse(std::uint32_t id, std::uint32_t code, bool ended);
  void shrink_table();
  void give_back();
  void give_back(Stream& stream);
  void collect_older();

  Stream* find(std::uint32_t id);
  void insert(const Stream& stream);
  void erase(Stream* stream);

  void frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id, base::ByteView payload);
  void fail(std::uint32_t code, std::string_view what);

  const ServerOptions options_;
  const std::unique_ptr<RequestEcho> echo_;
  ServerSession* older_ = nullptr;  // null once its last stream has ended
  std::uint32_t older_last_ = 0;
  std::vector<ServerRequest>* requests_ = nullptr;

  unsigned preface_bytes_ = 0;      // read of it
  bool settings_seen_ = false;
  unsigned settings_unacknowledged_ = 0;
  base::ByteBuffer held_;           // a frame that is not whole
  base::ByteBuffer control_;        // all frames but answers
  base::ByteBuffer from_older_;

  std::uint32_t last_ = 0;          // the highest id that the client began
  std::uint32_t refused_above_;     // our GOAWAY's
  std::uint32_t open_ = 0;
  Stream youngest_;                 // the stream of the last HEADERS: as a rule its DATA comes next
  std::vector<Stream> streams_;     // the others: open addressing, a power of two
  std::size_t streams_used_ = 0;
  std::uint32_t block_id_ = 0;      // of the field block under way
  std::uint32_t block_bytes_ = 0;
  std::uint32_t block_frames_ = 0;
  bool block_ends_stream_ = false;
  bool block_opens_ = false;        // false: trailers

  std::vector<std::uint32_t> waiting_;  // ids whose request is complete; 0: the client has reset it
  std::vector<RequestEcho::Uuid> uuids_; // of these, with echo_
  std::size_t answered_ = 0;            // of these, the first ones may be written
  std::int64_t window_left_ = 65'535;   // of the connection, what the client may still send
  std::int64_t window_size_ = 65'535;
  std::int64_t stream_window_ = 65'535; // that new streams begin with
  std::int64_t send_window_ = 65'535;   // of the connection; only its overflow matters: no answer has a body
  bool table_shrunk_ = false;           // the next block must say so (RFC 7541 section 4.2)
  bool client_goaway_ = false;
  bool failed_ = false;
  Error failure_;
  Counts counts_;
};

}  // namespace tocsin::h2
