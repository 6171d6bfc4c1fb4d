// SPDX-License-Identifier: Apache-2.0
// What differs between versions of liburing and of the kernel's header, in one place. liburing 2.3
// (Debian 12) has no io_uring_setup_buf_ring, so the memory of a buffer ring is mapped and registered here.
#pragma once

#include <cstddef>
#include <cstring>

#include <liburing.h>
#include <sys/mman.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

namespace tocsin::io {

// Anonymous, page-aligned, touched lazily. nullptr if there is none.
inline void* map_pages(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}
inline void unmap_pages(void* memory, std::size_t bytes) {
  if (memory != nullptr) ::munmap(memory, bytes);
}

inline std::size_t buffer_ring_bytes(unsigned entries) { return entries * sizeof(io_uring_buf); }

// Linux 5.19 and later; otherwise -EINVAL and nullptr.
inline int setup_buffer_ring(io_uring* ring, unsigned entries, int group, io_uring_buf_ring** out) {
  *out = nullptr;
  void* memory = map_pages(buffer_ring_bytes(entries));
  if (memory == nullptr) return -12;  // ENOMEM
  io_uring_buf_reg reg;
  std::memset(&reg, 0, sizeof(reg));
  reg.ring_addr = reinterpret_cast<unsigned long>(memory);
  reg.ring_entries = entries;
  reg.bgid = static_cast<__u16>(group);
  const int error = io_uring_register_buf_ring(ring, &reg, 0);
  if (error != 0) {
    unmap_pages(memory, buffer_ring_bytes(entries));
    return error;
  }
  *out = static_cast<io_uring_buf_ring*>(memory);
  io_uring_buf_ring_init(*out);
  return 0;
}

inline void free_buffer_ring(io_uring* ring, io_uring_buf_ring* buffers, unsigned entries, int group) {
  if (buffers == nullptr) return;
  io_uring_unregister_buf_ring(ring, group);
  unmap_pages(buffers, buffer_ring_bytes(entries));
}

// Work waits that only an entry into the kernel moves to the completion queue.
inline bool completions_need_enter(const io_uring* ring) {
  return (IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
}

}  // namespace tocsin::io
