// SPDX-License-Identifier: Apache-2.0
// The kernel's answers, turned into completions. Nothing here queues a request (see driver_impl.h).
#include <cerrno>

#include <sys/socket.h>
#include <unistd.h>

#include "io/driver_impl.h"
#include "io/sockets.h"

namespace tocsin::io {

namespace {

// When descriptors run out, accepting again at once would fail at once; 100 ms is short for a person and
// long for a processor.
constexpr std::int64_t kAcceptRetryNs = 100 * base::kMillisecond;

bool try_again(int result) { return result == -EINTR || result == -EAGAIN; }
bool more(const io_uring_cqe& cqe) { return (cqe.flags & IORING_CQE_F_MORE) != 0; }

}  // namespace

Slot* Driver::Impl::named(std::uint64_t name) {
  Slot& slot = slots[static_cast<std::uint32_t>(name)];
  return slot.epoch == static_cast<std::uint32_t>(name >> 32) && slot.state == SlotState::open ? &slot : nullptr;
}

void Driver::Impl::put(CompletionKind kind, const Slot& slot, std::int64_t result, int error, base::ByteView bytes) {
  ready.push_back({kind, slot.handle, result, error, bytes});
}

void Driver::Impl::collect() {
  bool entered_once = false;
  for (;;) {
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(ring.get(), head, cqe) {
      on_completion(*cqe);
      ++count;
    }
    io_uring_cq_advance(ring.get(), count);
    stats.completions += count;
    // Once per call at most, so that a flood does not keep us here; and only if there was nothing to do
    // otherwise or the queue overflowed, because it costs a system call.
    const bool flush = count == 0 ? completions_need_enter(ring.get()) : io_uring_cq_has_overflow(ring.get());
    if (entered_once || !flush) return;
    entered_once = true;
    entered(io_uring_get_events(ring.get()));
  }
}

void Driver::Impl::on_completion(const io_uring_cqe& cqe) {
  const Op op = static_cast<Op>(cqe.user_data >> 56);
  const std::uint32_t index = static_cast<std::uint32_t>(cqe.user_data >> 32) & 0xffffff;
  if (op == Op::wake) {
    wake_armed = false;
    return;
  }
  if (op == Op::provide) {
    if (cqe.res < 0) ready_buffers.push_back(static_cast<std::uint16_t>(index));  // try once more
    return;
  }
  if (index >= slots.size()) return;
  Slot& slot = slots[index];
  if (slot.epoch != static_cast<std::uint32_t>(cqe.user_data)) return on_late(nullptr, op, cqe);
  if (slot.state != SlotState::open) return on_late(&slot, op, cqe);
  switch (op) {
    case Op::receive: return on_receive(slot, cqe);
    case Op::accept: return on_accept(slot, cqe);
    case Op::send: return on_send(slot, cqe.res);
    case Op::connect: return on_connect(slot, cqe.res);
    case Op::cancel:
    case Op::wake:
    case Op::provide: return;
  }
}

void Driver::Impl::on_receive(Slot& slot, const io_uring_cqe& cqe) {
  if (!more(cqe)) slot.receiving = false;
  const bool has_buffer = (cqe.flags & IORING_CQE_F_BUFFER) != 0;
  const std::uint16_t id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
  if (has_buffer) ready_buffers.push_back(id);

  if (cqe.res > 0) {
    TOCSIN_ASSERT(has_buffer && id < buffers.count());
    put(CompletionKind::received, slot, cqe.res, 0, {buffers.buffer(id), static_cast<std::size_t>(cqe.res)});
    if (!slot.receiving) rearm.push_back(name_of(slot));
  } else if (slot.receiving) {
    // A failure in the middle of a multishot would be the kernel's riddle; its end will come.
  } else if (cqe.res == -ENOBUFS) {
    ++stats.buffers_exhausted;
    starving.push_back(name_of(slot));
  } else if (try_again(cqe.res)) {
    rearm.push_back(name_of(slot));
  } else if (cqe.res == -EINVAL && multishot_receive) {
    multishot_receive = false;  // before Linux 6.0
    rearm.push_back(name_of(slot));
  } else {
    put(CompletionKind::peer_closed, slot, 0, -cqe.res);
  }
}

void Driver::Impl::on_accept(Slot& slot, const io_uring_cqe& cqe) {
  if (!more(cqe)) slot.accepting = false;
  if (cqe.res >= 0) {
    put(CompletionKind::accepted, slot, cqe.res);
    if (!slot.accepting) rearm.push_back(name_of(slot));
    return;
  }
  if (slot.accepting) return;
  if (cqe.res == -EINVAL && multishot_accept) {
    multishot_accept = false;  // before Linux 5.19
    rearm.push_back(name_of(slot));
  } else if (try_again(cqe.res) || cqe.res == -ECONNABORTED) {
    rearm.push_back(name_of(slot));
  } else {
    put(CompletionKind::accepted, slot, cqe.res, -cqe.res);
    accept_paused.push_back(name_of(slot));
    accept_retry_ns = clock_now().mono_ns + kAcceptRetryNs;
  }
}

void Driver::Impl::on_send(Slot& slot, int result) {
  slot.sending = false;
  if (try_again(result)) {
    slot.resend = true;
    rearm.push_back(name_of(slot));
    return;
  }
  put(CompletionKind::sent, slot, result, result < 0 ? -result : 0);
  if (slot.shutdown_waits) {
    slot.shutdown_waits = false;
    (void)::shutdown(slot.fd, SHUT_WR);  // an error here shows on the next receive
  }
}

void Driver::Impl::on_connect(Slot& slot, int result) {
  slot.connecting = false;
  put(CompletionKind::dialled, slot, 0, -result);
  if (result == 0) rearm.push_back(name_of(slot));
}

// A completion for a slot that is closing, or for an earlier use of it: only what it holds is let go.
void Driver::Impl::on_late(Slot* slot, Op op, const io_uring_cqe& cqe) {
  if (op == Op::receive && (cqe.flags & IORING_CQE_F_BUFFER) != 0) {
    ready_buffers.push_back(static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT));
  }
  if (op == Op::accept && cqe.res >= 0) ::close(cqe.res);
  if (slot == nullptr || more(cqe)) return;
  switch (op) {
    case Op::receive: slot->receiving = false; break;
    case Op::accept: slot->accepting = false; break;
    case Op::send: slot->sending = false; break;
    case Op::connect: slot->connecting = false; break;
    case Op::cancel:
      --slot->cancels;
      // It was running just then and might go back to waiting: a shut socket ends every wait.
      if (cqe.res == -EALREADY) (void)::shutdown(slot->fd, SHUT_RDWR);
      break;
    case Op::wake:
    case Op::provide: break;
  }
  if (slot->state == SlotState::closing && !slot->outstanding()) finish_close(*slot);
}

void Driver::Impl::finish_close(Slot& slot) {
  close_socket(slot.fd, slot.reset);
  slot.fd = -1;
  slot.state = SlotState::closed;
  put(CompletionKind::closed, slot);
}

void Driver::Impl::deliver(std::vector<Completion>& out) {
  for (const Completion& completion : ready) {
    Slot& slot = slots[static_cast<std::uint32_t>(completion.handle)];
    if (completion.kind == CompletionKind::closed) {
      slot.state = SlotState::free;
      --in_use;
      out.push_back(completion);
    } else if (slot.state == SlotState::open) {
      out.push_back(completion);
    } else if (completion.kind == CompletionKind::accepted && completion.result >= 0) {
      ::close(static_cast<int>(completion.result));  // its listener was closed meanwhile
    }
  }
  ready.clear();
  // What was read into `ready_buffers` is now the caller's (or was dropped) until the next reap.
  TOCSIN_ASSERT(lent.empty());
  lent.swap(ready_buffers);
}

}  // namespace tocsin::io
