// SPDX-License-Identifier: Apache-2.0
#include "io/ring.h"

#include <cerrno>
#include <cstring>

namespace tocsin::io {

namespace {

struct Mode {
  const char* name;
  unsigned flags;
};

// From the cheapest to what every kernel has. DEFER_TASKRUN (6.1) runs completion work only when we
// enter the kernel, so that a batch is not interrupted; COOP_TASKRUN (5.19) saves the interrupts at least.
// TASKRUN_FLAG tells reap() that such work waits.
constexpr Mode kModes[] = {
    {"SINGLE_ISSUER|DEFER_TASKRUN", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                        IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL},
    {"COOP_TASKRUN", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL},
    {"plain", 0},
};

}  // namespace

Error ring_refusal(int error) {
  switch (error) {
    case ENOSYS:
      return {Code::ring_refused,
              "the kernel has no io_uring; tocsin needs Linux 5.11 or newer, built with CONFIG_IO_URING"};
    case EPERM:
    case EACCES:
      return {Code::ring_refused,
              "io_uring is forbidden here, by the container's seccomp profile or by the sysctl "
              "kernel.io_uring_disabled; allow io_uring_setup, io_uring_enter and io_uring_register in the "
              "profile, or set the sysctl to 0"};
    case ENOMEM:
      return {Code::ring_refused,
              "the kernel has no memory for an io_uring ring; on kernels before 5.12 it is counted as locked "
              "memory: raise the limit (ulimit -l, LimitMEMLOCK= in systemd) or use fewer shards"};
    case EMFILE:
    case ENFILE:
      return {Code::ring_refused,
              "no file descriptor is left for an io_uring ring; raise the limit (ulimit -n, LimitNOFILE= in systemd)"};
    default:
      return {Code::ring_refused, std::string("the kernel refused an io_uring ring: ") + std::strerror(error) +
                                      "; tocsin needs Linux 5.11 or newer"};
  }
}

Ring::~Ring() {
  if (open_) io_uring_queue_exit(&ring_);
}

Result<void> Ring::open(unsigned entries, bool conservative) {
  int error = EINVAL;
  for (const Mode& mode : kModes) {
    if (conservative && mode.flags != 0) continue;
    io_uring_params params;
    std::memset(&params, 0, sizeof(params));
    params.flags = mode.flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    params.cq_entries = entries * 4;
    error = -io_uring_queue_init_params(entries, &ring_, &params);
    if (error == EINVAL) continue;  // an unknown flag: one step back
    if (error != 0) break;
    open_ = true;
    mode_ = mode.name;
    // Without EXT_ARG (5.11) a wait with a deadline would need a time-out request of its own.
    constexpr unsigned kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;
    if ((ring_.features & kNeeded) != kNeeded) return ring_refusal(EINVAL);
    return {};
  }
  return ring_refusal(error);
}

ReceiveBuffers::~ReceiveBuffers() { unmap_pages(bytes_, std::size_t{count_} * bytes_each_); }

Result<void> ReceiveBuffers::open(io_uring* ring, unsigned count, unsigned bytes_each, bool conservative) {
  count_ = count;
  bytes_each_ = bytes_each;
  bytes_ = static_cast<std::byte*>(map_pages(std::size_t{count} * bytes_each));
  if (bytes_ == nullptr) {
    return Error{Code::out_of_memory, "no memory for " + std::to_string(count) + " receive buffers of " +
                                          std::to_string(bytes_each) + " bytes"};
  }
  if (!conservative && setup_buffer_ring(ring, count, kGroup, &shared_) == 0) {
    for (unsigned id = 0; id < count; ++id) {
      io_uring_buf_ring_add(shared_, buffer(id), bytes_each, static_cast<unsigned short>(id),
                            io_uring_buf_ring_mask(count), static_cast<int>(id));
    }
    io_uring_buf_ring_advance(shared_, static_cast<int>(count));
  }
  return {};
}

void ReceiveBuffers::close(io_uring* ring) {
  free_buffer_ring(ring, shared_, count_, kGroup);
  shared_ = nullptr;
}

void ReceiveBuffers::give_back(const std::vector<std::uint16_t>& ids) {
  int offset = 0;
  for (const std::uint16_t id : ids) {
    io_uring_buf_ring_add(shared_, buffer(id), bytes_each_, id, io_uring_buf_ring_mask(count_), offset++);
  }
  if (offset != 0) io_uring_buf_ring_advance(shared_, offset);
}

}  // namespace tocsin::io
