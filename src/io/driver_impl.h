// SPDX-License-Identifier: Apache-2.0
// Driver's inside: the slots, what of them the kernel holds, and the park/wake protocol.
//
// user_data of a request is kind (8 bits) | slot index (24) | epoch (32). The epoch counts a slot's uses,
// so a completion that comes late finds another one and is dropped. A slot is freed only when `closed`
// is handed over, and `closed` is made only when nothing of the slot is outstanding, cancel requests included.
//
// Requests are queued from verbs (arm_*, all through get_sqe) and never while completions are read: what
// a completion asks for (another receive, a retry) waits in `rearm` until arm_pending(). That lets
// get_sqe() read completions when the kernel takes nothing more before the completion queue is emptied.
//
// Park and wake. `signal` is running, parked or signalled:
//   worker, wait():   running -> parked, then sleeps; if it was signalled: -> running, and no sleep.
//                     After the sleep: -> running.
//   any thread, wake(): -> signalled; only if it was parked is the eventfd written, which ends the sleep.
// Both are read-modify-write operations on one variable, so one comes first: either the worker sees the
// signal and does not sleep, or wake() sees `parked` and writes. Whoever posts to a queue *before* wake()
// is seen by a worker that reads the queue *after* wait() returned, in either order. A wake() between the
// worker's return and its next wait() makes that wait return at once. Repeated wakes cost one exchange.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "io/driver.h"
#include "io/ring.h"

namespace tocsin::io {

enum class Op : std::uint8_t { wake = 1, receive, send, connect, accept, cancel, provide };

enum class SlotState : std::uint8_t {
  free,
  open,
  closing,  // close() was called, requests are outstanding
  closed,   // nothing outstanding, `closed` not yet handed over
};

struct Slot {
  std::uint64_t handle = 0;
  std::uint32_t epoch = 0;
  int fd = -1;
  SlotState state = SlotState::free;
  bool listener = false;
  bool reset = false;
  // What the kernel holds of this slot.
  bool receiving = false;
  bool accepting = false;
  bool connecting = false;
  bool sending = false;
  std::uint8_t cancels = 0;
  // What waits for us.
  bool resend = false;           // a send to be queued again
  bool shutdown_waits = false;   // shutdown_write() came while a send was outstanding
  base::ByteView bytes;          // of the send
  Address address;               // of the connect; the kernel reads it when the request is submitted

  bool outstanding() const { return receiving || accepting || connecting || sending || cancels != 0; }
};

struct Driver::Impl {
  ~Impl();

  Result<void> open(const DriverOptions& options);

  // driver.cc: requests.
  Slot& acquire(std::uint64_t handle);  // asserts a free slot in bounds
  Slot* find(std::uint64_t handle);     // nullptr unless open and of this generation
  io_uring_sqe* get_sqe(Op op, std::uint32_t index, std::uint32_t epoch);
  io_uring_sqe* get_sqe(Op op, const Slot& slot);
  void arm_receive(Slot& slot);
  void arm_accept(Slot& slot);
  void arm_send(Slot& slot);
  void arm_wake();
  void arm_pending();
  void close(Slot& slot, bool reset);
  void give_back();
  void enter_submit();
  void sleep(std::int64_t deadline_mono_ns);
  void entered(int result);

  // completions.cc: what the kernel answers.
  void collect();
  void on_completion(const io_uring_cqe& cqe);
  void on_receive(Slot& slot, const io_uring_cqe& cqe);
  void on_accept(Slot& slot, const io_uring_cqe& cqe);
  void on_send(Slot& slot, int result);
  void on_connect(Slot& slot, int result);
  void on_late(Slot* slot, Op op, const io_uring_cqe& cqe);
  void finish_close(Slot& slot);
  void deliver(std::vector<Completion>& out);
  void put(CompletionKind kind, const Slot& slot, std::int64_t result = 0, int error = 0, base::ByteView bytes = {});

  std::uint32_t index_of(const Slot& slot) const { return static_cast<std::uint32_t>(&slot - slots.data()); }
  std::uint64_t name_of(const Slot& slot) const { return std::uint64_t{slot.epoch} << 32 | index_of(slot); }
  Slot* named(std::uint64_t name);

  ReceiveBuffers buffers;  // before the ring: the kernel lets go of them first
  Ring ring;
  int wake_fd = -1;
  std::uint64_t wake_value = 0;  // the kernel writes the eventfd's count here
  bool wake_armed = false;
  bool stopping = false;
  bool broken = false;           // the kernel refuses to be entered (another thread than open()'s)
  bool multishot_receive = true;
  bool multishot_accept = true;

  std::vector<Slot> slots;
  unsigned in_use = 0;
  std::vector<Completion> ready;             // read from the ring, not yet handed over
  std::vector<std::uint16_t> ready_buffers;  // their receive buffers
  std::vector<std::uint16_t> lent;           // buffers of the last reap
  std::vector<std::uint64_t> rearm;          // slots that want a request queued
  std::vector<std::uint64_t> starving;       // ...once buffers were given back
  std::vector<std::uint64_t> accept_paused;  // ...once accept_retry_ns has passed
  std::vector<std::uint64_t> arming;         // arm_pending's work list, kept for its memory
  std::int64_t accept_retry_ns = base::kNever;

  DriverStats stats;

  static constexpr std::uint32_t kRunning = 0;
  static constexpr std::uint32_t kParked = 1;
  static constexpr std::uint32_t kSignalled = 2;
  alignas(64) std::atomic<std::uint32_t> signal{kRunning};
};

}  // namespace tocsin::io
