// SPDX-License-Identifier: Apache-2.0
// Driver: one io_uring ring and the sockets on it; the only door to the kernel for shards and for the
// mock's workers. The worker loop is four verbs: reap, (step), submit, wait.
//
// Sockets are named by the caller's 64-bit handles (base::Handle values: slot index + generation); the
// driver keeps a slot per index. A buffer given to send() is the kernel's until the `sent` completion;
// bytes of a `received` completion are the caller's until the next reap(). After close(), late
// completions of that handle are swallowed (those handed over by the same reap are the caller's to drop), and exactly one `closed` completion says that the kernel holds nothing of it any more.
//
// A handle that is stale or closing is ignored by send, shutdown_write and close. dial, adopt and listen
// need a free slot: an index is free again when `closed` was reaped, also after a failed dial or peer_closed.
//
// Threads: everything from the one thread that called open() (SINGLE_ISSUER), except wake().
// Bounds: sockets_max slots; receive buffers of `buffer_bytes` x `buffers`; when they run out, receiving
// resumes by itself after the next reap.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tocsin/result.h>

#include "base/address.h"
#include "base/bytes.h"
#include "base/now.h"

struct sockaddr;

namespace tocsin::io {

// An IPv4 or IPv6 address with port; no allocation.
struct Address : base::Address {
  Address() = default;
  explicit Address(const base::Address& address) : base::Address(address) {}
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(storage); }
  std::string text() const;  // "127.0.0.1:443", "[::1]:443"
};

// "127.0.0.1:2197", "[::1]:2197", ":0" (any), "0.0.0.0:80". Numeric only.
Result<Address> parse_address(std::string_view text);

enum class CompletionKind : std::uint8_t {
  dialled,      // error 0: connected, receiving is armed; else errno
  received,     // bytes
  peer_closed,  // end of stream; error 0, or errno of a failed receive (ECONNRESET)
  sent,         // result: bytes that went out (may be fewer than given), or -errno
  closed,       // after close(): the kernel holds nothing of this handle any more
  accepted,     // on a listener: fd in result (give it to adopt()), or -errno
};

struct Completion {
  CompletionKind kind = CompletionKind::received;
  std::uint64_t handle = 0;
  std::int64_t result = 0;
  int error = 0;
  base::ByteView bytes;
};

struct DriverOptions {
  unsigned entries = 1024;          // submission queue; the completion queue is four times that
  unsigned sockets_max = 1024;
  unsigned buffers = 256;           // power of two
  unsigned buffer_bytes = 32 * 1024;
  // Use only what Linux 5.11 has: no multishot, no buffer ring, no set-up flags. Chosen by itself, piece by
  // piece, where the kernel lacks them; this is for tests, and for a kernel whose newer paths misbehave.
  bool conservative = false;
};

struct DriverStats {
  std::uint64_t enters = 0;         // io_uring_enter calls
  std::uint64_t completions = 0;
  std::uint64_t wakes = 0;          // wake() calls seen
  std::uint64_t buffers_exhausted = 0;
};

class Driver {
 public:
  // Code::ring_refused with the reason (kernel, seccomp, memlock) where the kernel gives no ring.
  static Result<std::unique_ptr<Driver>> open(const DriverOptions& options);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // Starts a TCP connection (TCP_NODELAY). One `dialled` follows, unless close() comes first.
  void dial(std::uint64_t handle, const Address& address);

  // Takes over a connected socket (from `accepted`) and arms receiving.
  void adopt(std::uint64_t handle, int fd);

  // Listens; `accepted` completions carry `handle`. The bound address (with the real port) comes back.
  Result<Address> listen(std::uint64_t handle, const Address& address, int backlog);

  // One send at a time per handle. MSG_NOSIGNAL. Answers with one `sent`.
  void send(std::uint64_t handle, base::ByteView bytes);

  // shutdown(SHUT_WR), for half-closing.
  void shutdown_write(std::uint64_t handle);

  // Cancels what is outstanding and closes. reset: with SO_LINGER 0, so that the peer sees RST.
  void close(std::uint64_t handle, bool reset = false);

  // The four verbs. reap() appends what is complete (it never calls into the caller) and gives receive
  // buffers of the previous reap back; submit() hands all queued operations to the kernel; wait() does so
  // too, and sleeps until something completes, wake() is called or `deadline_mono_ns` (CLOCK_MONOTONIC) passes.
  void reap(std::vector<Completion>& out);
  void submit();
  void wait(std::int64_t deadline_mono_ns);

  // From any thread: ends a wait, now or the next one. Cheap when called often (one eventfd write, and only
  // if the worker sleeps). Post to the queue first, then wake(); the worker reads the queue after wait().
  void wake();

  // Sockets not yet closed, `closed` still to come included. At rest: 0.
  unsigned sockets_in_use() const;
  const DriverStats& stats() const;
  // "SINGLE_ISSUER|DEFER_TASKRUN", or what the kernel allowed of it.
  const std::string& ring_mode() const;

 private:
  struct Impl;
  explicit Driver(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// CLOCK_MONOTONIC and CLOCK_REALTIME, the one place that reads them for the worker loops.
base::Now clock_now();

}  // namespace tocsin::io
