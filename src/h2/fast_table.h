// SPDX-License-Identifier: Apache-2.0
// The in-flight table of the purpose-made client session: one 32-byte place per open stream, found by its id, and what
// few streams need beside it.
//
// Ids grow by two, so (id / 2) modulo the table's size is as good as a perfect hash while answers come in any near order;
// a stream that stays open long costs a short probe and nothing else. Places move when others are erased or the table
// grows: no reference outlives insert() or erase(). StreamMore objects do not move.
//
// Threads: as the session. Ownership: the table owns both; blocks inside StreamMore belong to the session's heap. Bounds:
// at most half full, so four times the most streams ever open at worst; it does not shrink.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assertion.h"
#include "h2/client_stream.h"

namespace tocsin::h2 {

// Of a stream whose answer does not come in one frame, or whose body did not go out at once.
struct StreamMore : KeptResponse {
  OutBody out;
  std::uint64_t body_bytes = 0;      // read, kept or not
  std::uint64_t length = kNoLength;  // of its content-length
  std::int32_t received = 0;         // of our window for it, since we last gave any back
  bool update_queued = false;        // a WINDOW_UPDATE for it waits to be written
  bool body_cut = false;
  bool sending = false;              // in the list of those whose body may go on

  void reset(BlockHeap& heap) {
    out.release(heap);
    body.release(heap);
    drop_captures(heap);
    body_bytes = 0;
    length = kNoLength;
    received = 0;
    update_queued = body_cut = sending = false;
  }
};

struct FastStream {
  std::uint64_t tag = 0;
  StreamMore* more = nullptr;
  std::int32_t id = 0;            // 0: nobody's place
  std::int32_t send_window = 0;
  std::uint16_t status = 0;
  bool opened = false;            // HEADERS of its response began
  bool final_seen = false;        // a final :status with its whole block was read
  bool settled = false;           // its tag was reported, or forgotten by cancel()
  bool closing = false;           // our RST_STREAM waits to be written; it ends with that
  bool read_shut = false;         // END_STREAM was read
  bool write_shut = false;        // END_STREAM was written
};
static_assert(sizeof(FastStream) == 32);

class FastTable {
 public:
  explicit FastTable(BlockHeap& heap) : heap_(heap), places_(64) {}
  ~FastTable() {
    for (const auto& chunk : chunks_) {
      for (StreamMore& more : *chunk) more.reset(heap_);
    }
  }
  FastTable(const FastTable&) = delete;
  FastTable& operator=(const FastTable&) = delete;

  std::uint32_t size() const { return size_; }

  FastStream* find(std::int32_t id) {
    if (id <= 0) return nullptr;
    std::size_t at = home(id);
    for (std::size_t distance = 0;; at = after(at), ++distance) {
      if (places_[at].id == id) return &places_[at];
      if (places_[at].id == 0 || from_home(at) < distance) return nullptr;
    }
  }
  // `id` is positive and not there.
  FastStream& insert(std::int32_t id) {
    if ((size_ + 1) * 2 > places_.size()) grow();
    ++size_;
    FastStream fresh;
    fresh.id = id;
    return put(fresh);
  }
  void erase(FastStream& stream) {
    if (stream.more != nullptr) retired_.push_back(stream.more);
    auto hole = static_cast<std::size_t>(&stream - places_.data());
    for (std::size_t at = after(hole); places_[at].id != 0 && from_home(at) != 0; at = after(at)) {
      places_[hole] = places_[at];
      hole = at;
    }
    places_[hole] = {};
    --size_;
  }

  StreamMore& more(FastStream& stream) {
    if (stream.more == nullptr) stream.more = acquire();
    return *stream.more;
  }
  // Of erased streams: kept until here, because views into it may be out.
  void release_retired() {
    for (StreamMore* more : retired_) {
      more->reset(heap_);
      free_.push_back(more);
    }
    retired_.clear();
  }

  template <class F>
  void for_each(F&& f) {
    for (FastStream& place : places_) {
      if (place.id != 0) f(place);
    }
  }
  template <class F>
  void for_each(F&& f) const {
    for (const FastStream& place : places_) {
      if (place.id != 0) f(place);
    }
  }

 private:
  using Chunk = std::array<StreamMore, 16>;

  std::size_t home(std::int32_t id) const { return static_cast<std::size_t>(id >> 1) & (places_.size() - 1); }
  std::size_t after(std::size_t at) const { return (at + 1) & (places_.size() - 1); }
  std::size_t from_home(std::size_t at) const { return (at - home(places_[at].id)) & (places_.size() - 1); }
  // Whoever is farther from home has the place (Robin Hood hashing), so a run of streams that are all at home, which is the
  // rule, ends every search and every move at its first place.
  FastStream& put(FastStream moving) {
    std::size_t at = home(moving.id);
    FastStream* placed = nullptr;
    for (std::size_t distance = 0; places_[at].id != 0; at = after(at), ++distance) {
      const std::size_t other = from_home(at);
      if (other >= distance) continue;
      std::swap(moving, places_[at]);
      if (placed == nullptr) placed = &places_[at];
      distance = other;
    }
    places_[at] = moving;
    return placed != nullptr ? *placed : places_[at];
  }
  void grow() {
    std::vector<FastStream> old(places_.size() * 2);
    old.swap(places_);
    for (const FastStream& one : old) {
      if (one.id != 0) put(one);
    }
  }
  StreamMore* acquire() {
    if (free_.empty()) {
      chunks_.push_back(std::make_unique<Chunk>());
      free_.reserve(chunks_.size() * chunks_.back()->size());
      for (StreamMore& more : *chunks_.back()) free_.push_back(&more);
    }
    StreamMore* const taken = free_.back();
    free_.pop_back();
    return taken;
  }

  BlockHeap& heap_;
  std::vector<FastStream> places_;  // a power of two
  std::uint32_t size_ = 0;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<StreamMore*> free_;
  std::vector<StreamMore*> retired_;
};

// Texts that answers and events show until the next receive(). Blocks are kept and never move.
class TextArena {
 public:
  std::string_view keep(std::string_view text) {
    if (text.size() > left_) next(text.size());
    char* const to = at_;
    if (!text.empty()) std::memcpy(to, text.data(), text.size());
    at_ += text.size();
    left_ -= text.size();
    return {to, text.size()};
  }
  void clear() {
    used_ = 0;
    left_ = 0;
    if (!blocks_.empty()) use(0);
  }

 private:
  static constexpr std::size_t kBlockBytes = 16 * 1024;
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };

  void use(std::size_t block) {
    at_ = blocks_[block].bytes.get();
    left_ = blocks_[block].size;
    used_ = block + 1;
  }
  void next(std::size_t bytes) {
    while (used_ < blocks_.size()) {
      use(used_);
      if (left_ >= bytes) return;
    }
    const std::size_t size = bytes > kBlockBytes ? bytes : kBlockBytes;
    blocks_.push_back({std::make_unique<char[]>(size), size});
    use(blocks_.size() - 1);
  }

  std::vector<Block> blocks_;
  std::size_t used_ = 0;
  char* at_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace tocsin::h2
