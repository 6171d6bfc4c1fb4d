// SPDX-License-Identifier: Apache-2.0
// Buffers: memory that a shard's connections lend each other, so that few buffers, which are in the caches, do the work of
// many connections.
//
// A connection's ByteBuffer has memory only while there is something in it: lend() gives it some, give_back() takes it
// when the buffer is empty. What was given back last is lent first. Threads: one at a time. Ownership: what is lent is the
// borrower's, who may also keep it for good; what is sent from it must stay until the kernel has done with it, and only the
// borrower knows when that is. Bounds: at most kept_max buffers are kept; others are freed.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/assertion.h"
#include "base/bytes.h"

namespace tocsin::dispatch {

class Buffers {
 public:
  explicit Buffers(std::size_t kept_max) : kept_max_(kept_max) {}
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  // Nothing if it has memory, or if there is none: it will get its own as it grows.
  void lend(base::ByteBuffer& buffer) {
    if (buffer.capacity() != 0 || kept_.empty()) return;
    buffer.swap(kept_.back());
    kept_.pop_back();
  }

  // From an empty buffer.
  void give_back(base::ByteBuffer& buffer) {
    TOCSIN_ASSERT(buffer.empty());
    if (buffer.capacity() == 0) return;
    base::ByteBuffer memory;
    memory.swap(buffer);
    if (kept_.size() < kept_max_) kept_.push_back(std::move(memory));
  }

  // Frees what was not lent for longest, until so many are left.
  void trim(std::size_t kept) {
    if (kept < kept_.size()) kept_.erase(kept_.begin(), kept_.end() - static_cast<std::ptrdiff_t>(kept));
  }

  std::size_t kept() const { return kept_.size(); }

 private:
  std::size_t kept_max_;
  std::vector<base::ByteBuffer> kept_;
};

}  // namespace tocsin::dispatch
