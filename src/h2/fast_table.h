// SPDX-License-Identifier: Apache-2.0
// The in-flight table of the purpose-made client session: one 32-byte place per open stream, found by its id, and what
// few streams need beside it.
//
// Ids grow by two, so each has a place of its own, (id / 2) modulo the table's size, while answers come in any near order. Where
// a newer stream wants the place of one that stays open long, the older one goes aside, into a second, scattered table: whatever
// stays open, what comes and goes beside it costs one look. Streams move when others are inserted or erased: no reference
// outlives insert() or erase(). StreamMore objects do not move.
//
// Threads: as the session. Ownership: the table owns both; blocks inside StreamMore belong to the session's heap. Bounds:
// both at most half full, so eight times the most streams ever open at worst; they do not shrink.
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

  // Its request is out, and nothing of its answer was read.
  bool awaits_all() const { return more == nullptr && write_shut && !(opened | settled | closing | read_shut); }
};
static_assert(sizeof(FastStream) == 32);

// Streams that stay open while others come and go. Open addressing over scattered places.
class AsideTable {
 public:
  AsideTable() : places_(16) {}

  FastStream* find(std::int32_t id) {
    for (std::size_t at = home(id); places_[at].id != 0; at = after(at)) {
      if (places_[at].id == id) return &places_[at];
    }
    return nullptr;
  }
  void insert(const FastStream& stream) {
    if ((size_ + 1) * 2 > places_.size()) grow();
    ++size_;
    free_place(stream.id) = stream;
  }
  bool holds(const FastStream& stream) const { return &stream >= places_.data() && &stream < places_.data() + places_.size(); }
  void erase(FastStream& stream) {
    std::size_t hole = static_cast<std::size_t>(&stream - places_.data());
    for (std::size_t at = after(hole); places_[at].id != 0; at = after(at)) {
      const std::size_t from_home = (at - home(places_[at].id)) & (places_.size() - 1);
      if (from_home < ((at - hole) & (places_.size() - 1))) continue;  // its home is behind the hole
      places_[hole] = places_[at];
      hole = at;
    }
    places_[hole] = {};
    --size_;
  }
  std::uint32_t size() const { return size_; }
  std::vector<FastStream>& places() { return places_; }
  const std::vector<FastStream>& places() const { return places_; }

 private:
  std::size_t home(std::int32_t id) const {
    return static_cast<std::uint32_t>(id >> 1) * 0x9e3779b1u >> 8 & (places_.size() - 1);
  }
  std::size_t after(std::size_t at) const { return (at + 1) & (places_.size() - 1); }
  FastStream& free_place(std::int32_t id) {
    std::size_t at = home(id);
    while (places_[at].id != 0) at = after(at);
    return places_[at];
  }
  void grow() {
    std::vector<FastStream> old(places_.size() * 2);
    old.swap(places_);
    for (const FastStream& one : old) {
      if (one.id != 0) free_place(one.id) = one;
    }
  }

  std::vector<FastStream> places_;  // a power of two
  std::uint32_t size_ = 0;
};

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
    FastStream& place = places_[home(id)];
    if (place.id == id) return &place;
    return aside_.size() == 0 ? nullptr : aside_.find(id);
  }
  // `count` more may come without the table growing; whose place one of them wants still goes aside.
  void reserve(std::uint32_t count) {
    while ((size_ + count) * 2 > places_.size()) grow();
  }
  // `id` is positive and not there.
  FastStream& insert(std::int32_t id) {
    reserve(1);
    return insert_reserved(id);
  }
  // After reserve().
  FastStream& insert_reserved(std::int32_t id) {
    ++size_;
    FastStream& place = places_[home(id)];
    if (place.id != 0) aside_.insert(std::exchange(place, {}));
    place.id = id;
    return place;
  }
  void erase(FastStream& stream) {
    if (stream.more != nullptr) retired_.push_back(stream.more);
    --size_;
    if (aside_.size() != 0 && aside_.holds(stream)) aside_.erase(stream);
    else stream = {};
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
    visit(places_, f);
    if (aside_.size() != 0) visit(aside_.places(), f);
  }
  template <class F>
  void for_each(F&& f) const {
    visit(places_, f);
    if (aside_.size() != 0) visit(aside_.places(), f);
  }

 private:
  using Chunk = std::array<StreamMore, 16>;

  template <class Places, class F>
  static void visit(Places& places, F& f) {
    for (auto& place : places) {
      if (place.id != 0) f(place);
    }
  }
  std::size_t home(std::int32_t id) const { return static_cast<std::size_t>(id >> 1) & (places_.size() - 1); }
  // Two that had places of their own keep them: twice the size tells them apart all the more.
  void grow() {
    std::vector<FastStream> old(places_.size() * 2);
    old.swap(places_);
    for (const FastStream& one : old) {
      if (one.id != 0) places_[home(one.id)] = one;
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
  std::vector<FastStream> places_;  // a power of two; those aside have no place here
  AsideTable aside_;
  std::uint32_t size_ = 0;          // of both
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
