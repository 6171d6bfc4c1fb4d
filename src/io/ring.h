// SPDX-License-Identifier: Apache-2.0
// Ring and ReceiveBuffers: one io_uring with its set-up steps, and the receive buffers lent to the kernel.
//
// Threads: the one that called open() (SINGLE_ISSUER). Ownership: Ring owns the descriptor and its maps;
// ReceiveBuffers owns the bytes, each buffer being the kernel's or (after its completion) ours until
// give_back(). Destroy ReceiveBuffers after the ring stopped using it: close() with the ring still open.
// Bounds: sizes are fixed at open().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <tocsin/result.h>

#include "base/bytes.h"
#include "io/shims.h"

namespace tocsin::io {

// The sentence for a kernel that gives no ring (errno of io_uring_setup) and the way out.
Error ring_refusal(int error);

class Ring {
 public:
  Ring() = default;
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // conservative: no set-up flag newer than Linux 5.11.
  Result<void> open(unsigned entries, bool conservative);

  io_uring* get() { return &ring_; }
  const std::string& mode() const { return mode_; }

 private:
  io_uring ring_{};
  bool open_ = false;
  std::string mode_;
};

class ReceiveBuffers {
 public:
  static constexpr int kGroup = 1;

  ReceiveBuffers() = default;
  ~ReceiveBuffers();
  ReceiveBuffers(const ReceiveBuffers&) = delete;
  ReceiveBuffers& operator=(const ReceiveBuffers&) = delete;

  // A buffer ring where the kernel has one (5.19) and `conservative` is off, else buffers provided by requests.
  Result<void> open(io_uring* ring, unsigned count, unsigned bytes_each, bool conservative);
  void close(io_uring* ring);  // while the ring still lives

  // True: give_back() by the ring's shared memory. False: the caller queues a PROVIDE_BUFFERS request each.
  bool has_ring() const { return shared_ != nullptr; }
  void give_back(const std::vector<std::uint16_t>& ids);  // has_ring() only

  unsigned count() const { return count_; }
  unsigned bytes_each() const { return bytes_each_; }
  std::byte* buffer(unsigned id) { return bytes_ + std::size_t{id} * bytes_each_; }

 private:
  std::byte* bytes_ = nullptr;
  io_uring_buf_ring* shared_ = nullptr;
  unsigned count_ = 0;
  unsigned bytes_each_ = 0;
};

}  // namespace tocsin::io
