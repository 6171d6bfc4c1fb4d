// SPDX-License-Identifier: Apache-2.0
// The client's in-flight table: one ClientStream per open stream, in chunks that never move, and a
// request's field list as nghttp2 wants it. The table is the truth about what is open; nghttp2's word is
// only an input to it (deleting its session, for one, closes streams without saying so).
//
// Threads: as the session. Ownership: the table owns its streams; their blocks belong to the session's
// heap. Bounds: at most twice streams_max: those open, and those whose answers' views must still live.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "base/fields.h"
#include "h2/client_session.h"
#include "h2/nghttp2_parts.h"
#include "h2/response_rules.h"

namespace tocsin::h2 {

// What is kept of a response that is not whole yet.
struct KeptResponse {
  struct Capture {
    std::uint32_t at = 0;
    std::uint32_t size = 0;
    bool set = false;
  };
  std::array<Capture, kCapturesMax> captured{};
  GrowBlock more_text;  // captured text beyond the inline part
  GrowBlock body;
  std::uint32_t text_bytes = 0;
  // Two UUIDs' worth (apns-id, apns-unique-id) without a block of their own.
  std::array<char, 72> text{};

  void capture(BlockHeap& heap, std::size_t position, std::string_view value);
  std::string_view captured_text(std::size_t position) const;
  void drop_captures(BlockHeap& heap);
};

struct ClientStream : KeptResponse {
  std::uint64_t tag = 0;
  std::int32_t id = 0;
  std::uint16_t status = 0;
  bool in_use = false;
  bool settled = false;      // its tag was reported, or forgotten by cancel()
  bool closed = false;       // nghttp2 has closed it
  bool not_sent = false;     // its HEADERS never went out
  bool peer_reset = false;   // the peer's RST_STREAM was read
  bool final_seen = false;   // a final :status with its whole block was read
  bool body_cut = false;
  bool block_status = false;   // in the header block being read: a :status came,
  bool block_regular = false;  // a regular field came
  std::uint32_t block_bytes = 0;
  std::uint64_t body_bytes = 0;              // read, kept or not
  std::uint64_t length = kNoLength;          // of its content-length
  OutBody out;

  void reset(BlockHeap& heap);
};

class ClientTable {
 public:
  explicit ClientTable(BlockHeap& heap) : heap_(heap) {}
  ~ClientTable();
  ClientTable(const ClientTable&) = delete;
  ClientTable& operator=(const ClientTable&) = delete;

  ClientStream& acquire();
  void release(ClientStream& stream);
  // For a stream that has closed: kept until release_retired(), because views into it may be out.
  void retire(ClientStream& stream) { retired_.push_back(&stream); }
  void release_retired();

  template <class F>
  void for_each(F&& f) const {
    for (const auto& chunk : chunks_) {
      for (ClientStream& stream : *chunk) {
        if (stream.in_use) f(stream);
      }
    }
  }

 private:
  using Chunk = std::array<ClientStream, 64>;

  BlockHeap& heap_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<ClientStream*> free_;
  std::vector<ClientStream*> retired_;
};

// A prepared list: names and constants stay where they are for the session's life, so that nghttp2 copies
// neither; slots are formatted in place behind their prefix.
class PreparedFields {
 public:
  explicit PreparedFields(const base::FieldList& list);

  // Formats the slot values into the fields; valid until the next fill().
  std::span<const nghttp2_nv> fill(const std::array<base::ByteView, base::kFieldSlotsMax>& slots);

 private:
  struct Slot {
    std::size_t field = 0;
    base::SlotFormat format = base::SlotFormat::text;
    std::size_t prefix_bytes = 0;
    std::string text;  // prefix, then the value at hand
  };

  base::FieldList list_;
  std::vector<nghttp2_nv> fields_;
  std::vector<Slot> slots_;
};

}  // namespace tocsin::h2
