// SPDX-License-Identifier: Apache-2.0
#include "io/driver.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/driver_impl.h"
#include "io/sockets.h"

namespace tocsin::io {

namespace {

constexpr unsigned kSocketsMax = (1u << 24) - 1;  // the index has 24 bits in user_data
constexpr unsigned kBuffersMax = 1u << 15;        // the kernel's bound for a buffer ring
constexpr std::size_t kSendBytesMax = 1u << 30;   // a request's length has 32 bits; more is a short send

Result<void> check(const DriverOptions& options) {
  const auto bad = [](const char* text) { return Error{Code::invalid_argument, text}; };
  if (options.entries == 0 || options.entries > 32'768) return bad("DriverOptions::entries: 1 to 32768");
  if (options.sockets_max == 0 || options.sockets_max > kSocketsMax) {
    return bad("DriverOptions::sockets_max: 1 to 16777215");
  }
  if (!std::has_single_bit(options.buffers) || options.buffers > kBuffersMax) {
    return bad("DriverOptions::buffers: a power of two, 1 to 32768");
  }
  if (options.buffer_bytes == 0 || options.buffer_bytes > (1u << 30)) {
    return bad("DriverOptions::buffer_bytes: 1 to 1073741824");
  }
  return {};
}

}  // namespace

Result<void> Driver::Impl::open(const DriverOptions& options) {
  if (auto checked = check(options); !checked) return checked;
  if (auto opened = ring.open(options.entries, options.conservative); !opened) return opened;
  if (auto opened = buffers.open(ring.get(), options.buffers, options.buffer_bytes, options.conservative); !opened) {
    return opened;
  }
  multishot_receive = multishot_accept = !options.conservative;
  slots.resize(options.sockets_max);
  wake_fd = ::eventfd(0, EFD_CLOEXEC);  // blocking, as sockets.h says
  if (wake_fd < 0) return Error{Code::io, std::string("cannot make an eventfd: ") + std::strerror(errno)};
  if (!buffers.has_ring()) {
    io_uring_sqe* sqe = get_sqe(Op::provide, 0, 0);
    io_uring_prep_provide_buffers(sqe, buffers.buffer(0), static_cast<int>(buffers.bytes_each()),
                                  static_cast<int>(buffers.count()), ReceiveBuffers::kGroup, 0);
    io_uring_cqe* cqe = nullptr;
    const int submitted = io_uring_submit_and_wait(ring.get(), 1);
    if (submitted < 0 || io_uring_peek_cqe(ring.get(), &cqe) != 0) return ring_refusal(EINVAL);
    const int result = cqe->res;
    io_uring_cqe_seen(ring.get(), cqe);
    if (result < 0) return ring_refusal(-result);
  }
  arm_wake();
  return {};
}

// Closes what is open and waits until the kernel holds nothing: receive buffers are freed next, and the
// bytes of an outstanding send may be the caller's stack.
Driver::Impl::~Impl() {
  stopping = true;
  if (wake_fd >= 0) {
    for (Slot& slot : slots) {
      if (slot.state == SlotState::open) close(slot, false);
    }
    const std::uint64_t one = 1;
    (void)!::write(wake_fd, &one, sizeof(one));  // ends the read of the eventfd
    std::vector<Completion> dropped;
    const std::int64_t give_up_ns = clock_now().mono_ns + 5 * base::kSecond;
    while ((in_use != 0 || wake_armed) && !broken && clock_now().mono_ns < give_up_ns) {
      give_back();
      collect();
      deliver(dropped);
      dropped.clear();
      if (in_use != 0 || wake_armed) sleep(clock_now().mono_ns + 20 * base::kMillisecond);
    }
    for (const Slot& slot : slots) close_socket(slot.fd, false);
    ::close(wake_fd);
  }
  buffers.close(ring.get());
}

Slot& Driver::Impl::acquire(std::uint64_t handle) {
  const auto index = static_cast<std::uint32_t>(handle);
  TOCSIN_ASSERT(index < slots.size());
  Slot& slot = slots[index];
  TOCSIN_ASSERT(slot.state == SlotState::free);
  const std::uint32_t epoch = slot.epoch + 1;
  slot = Slot{};
  slot.handle = handle;
  slot.epoch = epoch;
  slot.state = SlotState::open;
  ++in_use;
  return slot;
}

Slot* Driver::Impl::find(std::uint64_t handle) {
  const auto index = static_cast<std::uint32_t>(handle);
  if (index >= slots.size()) return nullptr;
  Slot& slot = slots[index];
  return slot.state == SlotState::open && slot.handle == handle ? &slot : nullptr;
}

io_uring_sqe* Driver::Impl::get_sqe(Op op, std::uint32_t index, std::uint32_t epoch) {
  io_uring_sqe* sqe = io_uring_get_sqe(ring.get());
  for (int tries = 0; sqe == nullptr; ++tries) {
    // Full: hand over what is queued. If the kernel first wants its completions read, read them.
    TOCSIN_ASSERT(tries < 1000);
    if (tries != 0) collect();
    enter_submit();
    sqe = io_uring_get_sqe(ring.get());
  }
  // The callers prepare the request after this; liburing's prepare functions leave user_data alone.
  io_uring_sqe_set_data64(sqe, std::uint64_t{static_cast<std::uint8_t>(op)} << 56 | std::uint64_t{index} << 32 | epoch);
  return sqe;
}
io_uring_sqe* Driver::Impl::get_sqe(Op op, const Slot& slot) { return get_sqe(op, index_of(slot), slot.epoch); }

void Driver::Impl::arm_receive(Slot& slot) {
  io_uring_sqe* sqe = get_sqe(Op::receive, slot);
  if (multishot_receive) {
    io_uring_prep_recv_multishot(sqe, slot.fd, nullptr, 0, 0);
  } else {
    io_uring_prep_recv(sqe, slot.fd, nullptr, buffers.bytes_each(), 0);
  }
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = ReceiveBuffers::kGroup;
  slot.receiving = true;
}

void Driver::Impl::arm_accept(Slot& slot) {
  io_uring_sqe* sqe = get_sqe(Op::accept, slot);
  if (multishot_accept) {
    io_uring_prep_multishot_accept(sqe, slot.fd, nullptr, nullptr, SOCK_CLOEXEC);
  } else {
    io_uring_prep_accept(sqe, slot.fd, nullptr, nullptr, SOCK_CLOEXEC);
  }
  slot.accepting = true;
}

// MSG_WAITALL: the kernel goes on after a short send by itself, where it can (5.19).
void Driver::Impl::arm_send(Slot& slot) {
  io_uring_sqe* sqe = get_sqe(Op::send, slot);
  io_uring_prep_send(sqe, slot.fd, slot.bytes.data(), std::min(slot.bytes.size(), kSendBytesMax),
                     MSG_NOSIGNAL | MSG_WAITALL);
  slot.sending = true;
}

void Driver::Impl::arm_wake() {
  io_uring_sqe* sqe = get_sqe(Op::wake, 0, 0);
  io_uring_prep_read(sqe, wake_fd, &wake_value, sizeof(wake_value), 0);
  wake_armed = true;
}

void Driver::Impl::arm_pending() {
  if (!wake_armed && !stopping) arm_wake();
  if (rearm.empty()) return;
  arming.swap(rearm);  // get_sqe() may read completions, which append to `rearm`
  for (const std::uint64_t name : arming) {
    Slot* slot = named(name);
    if (slot == nullptr) continue;
    if (slot->resend) {
      slot->resend = false;
      arm_send(*slot);
    } else if (slot->listener) {
      if (!slot->accepting) arm_accept(*slot);
    } else if (!slot->receiving && !slot->connecting) {
      arm_receive(*slot);
    }
  }
  arming.clear();
}

void Driver::Impl::give_back() {
  if (buffers.has_ring()) {
    buffers.give_back(lent);
    lent.clear();
  }
  while (!lent.empty()) {
    const std::uint16_t id = lent.back();
    lent.pop_back();
    io_uring_sqe* sqe = get_sqe(Op::provide, id, 0);
    io_uring_prep_provide_buffers(sqe, buffers.buffer(id), static_cast<int>(buffers.bytes_each()), 1,
                                  ReceiveBuffers::kGroup, id);
  }
}

void Driver::Impl::close(Slot& slot, bool reset) {
  slot.state = SlotState::closing;
  slot.reset = reset;
  const std::pair<bool, Op> held[] = {{slot.receiving, Op::receive},
                                      {slot.accepting, Op::accept},
                                      {slot.connecting, Op::connect},
                                      {slot.sending, Op::send}};
  // Counted first: get_sqe() may read completions, and the slot must not finish under our hands.
  for (const auto& [is_held, op] : held) slot.cancels = static_cast<std::uint8_t>(slot.cancels + is_held);
  for (const auto& [is_held, op] : held) {
    if (!is_held) continue;
    io_uring_sqe* sqe = get_sqe(Op::cancel, slot);
    io_uring_prep_cancel64(
        sqe, std::uint64_t{static_cast<std::uint8_t>(op)} << 56 | std::uint64_t{index_of(slot)} << 32 | slot.epoch, 0);
  }
  if (slot.state == SlotState::closing && !slot.outstanding()) finish_close(slot);
}

void Driver::Impl::entered(int result) {
  ++stats.enters;
  TOCSIN_ASSERT(result != -EEXIST || stopping);  // entered from another thread than the one of open()
  // Time-out, signal, or completions that want reading first: all of them pass. Anything else does not.
  if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) broken = true;
}

void Driver::Impl::enter_submit() {
  if (io_uring_sq_ready(ring.get()) != 0) entered(io_uring_submit(ring.get()));
}

void Driver::Impl::sleep(std::int64_t deadline_mono_ns) {
  if (deadline_mono_ns == base::kNever) return entered(io_uring_submit_and_wait(ring.get(), 1));
  const std::int64_t left_ns = deadline_mono_ns - clock_now().mono_ns;
  if (left_ns <= 0) return entered(io_uring_submit_and_get_events(ring.get()));
  __kernel_timespec timeout{};
  timeout.tv_sec = left_ns / base::kSecond;
  timeout.tv_nsec = left_ns % base::kSecond;
  io_uring_cqe* cqe = nullptr;
  entered(io_uring_submit_and_wait_timeout(ring.get(), &cqe, 1, &timeout, nullptr));
}

Result<std::unique_ptr<Driver>> Driver::open(const DriverOptions& options) {
  auto impl = std::make_unique<Impl>();
  if (auto opened = impl->open(options); !opened) return std::move(opened).error();
  return std::unique_ptr<Driver>(new Driver(std::move(impl)));
}
Driver::Driver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Driver::~Driver() = default;

void Driver::dial(std::uint64_t handle, const Address& address) {
  Slot& slot = impl_->acquire(handle);
  const int fd = stream_socket(address);
  if (fd < 0) return impl_->put(CompletionKind::dialled, slot, 0, -fd);
  slot.fd = fd;
  slot.address = address;
  io_uring_sqe* sqe = impl_->get_sqe(Op::connect, slot);
  io_uring_prep_connect(sqe, fd, slot.address.get(), slot.address.size);
  slot.connecting = true;
}

void Driver::adopt(std::uint64_t handle, int fd) {
  Slot& slot = impl_->acquire(handle);
  prepare_adopted(fd);
  slot.fd = fd;
  impl_->arm_receive(slot);
}

Result<Address> Driver::listen(std::uint64_t handle, const Address& address, int backlog) {
  const int fd = listening_socket(address, backlog);
  if (fd < 0) {
    const char* hint = fd == -EADDRINUSE ? "; another program listens there: choose another port"
                       : fd == -EACCES   ? "; ports below 1024 need the right to bind them"
                                         : "";
    return Error{Code::io, "cannot listen on " + address.text() + ": " + std::strerror(-fd) + hint};
  }
  Slot& slot = impl_->acquire(handle);
  slot.fd = fd;
  slot.listener = true;
  impl_->arm_accept(slot);
  return local_address(fd);
}

void Driver::send(std::uint64_t handle, base::ByteView bytes) {
  Slot* slot = impl_->find(handle);
  if (slot == nullptr) return;
  TOCSIN_ASSERT(!slot->sending && !slot->resend && !slot->listener);
  slot->bytes = bytes;
  if (bytes.empty()) return impl_->put(CompletionKind::sent, *slot);
  if (slot->fd < 0) return impl_->put(CompletionKind::sent, *slot, -ENOTCONN, ENOTCONN);
  impl_->arm_send(*slot);
}

void Driver::shutdown_write(std::uint64_t handle) {
  Slot* slot = impl_->find(handle);
  if (slot == nullptr || slot->fd < 0) return;
  if (slot->sending || slot->resend) {
    slot->shutdown_waits = true;
  } else {
    (void)::shutdown(slot->fd, SHUT_WR);
  }
}

void Driver::close(std::uint64_t handle, bool reset) {
  if (Slot* slot = impl_->find(handle)) impl_->close(*slot, reset);
}

void Driver::reap(std::vector<Completion>& out) {
  Impl& impl = *impl_;
  impl.give_back();
  impl.rearm.insert(impl.rearm.end(), impl.starving.begin(), impl.starving.end());
  impl.starving.clear();
  if (!impl.accept_paused.empty() && clock_now().mono_ns >= impl.accept_retry_ns) {
    impl.rearm.insert(impl.rearm.end(), impl.accept_paused.begin(), impl.accept_paused.end());
    impl.accept_paused.clear();
    impl.accept_retry_ns = base::kNever;
  }
  impl.collect();
  impl.deliver(out);
  impl.arm_pending();
}

void Driver::submit() {
  impl_->arm_pending();
  impl_->enter_submit();
}

void Driver::wait(std::int64_t deadline_mono_ns) {
  Impl& impl = *impl_;
  impl.arm_pending();
  // Sockets that starve are served by the next reap, which gives buffers back: do not sleep before it.
  if (!impl.ready.empty() || !impl.starving.empty() || io_uring_cq_ready(impl.ring.get()) != 0) {
    return impl.enter_submit();
  }
  std::uint32_t expected = Impl::kRunning;
  if (!impl.signal.compare_exchange_strong(expected, Impl::kParked, std::memory_order_acq_rel)) {
    impl.signal.exchange(Impl::kRunning, std::memory_order_acq_rel);
    ++impl.stats.wakes;
    return impl.sleep(0);  // hands over and fetches, without sleeping
  }
  impl.sleep(std::min(deadline_mono_ns, impl.accept_retry_ns));
  if (impl.signal.exchange(Impl::kRunning, std::memory_order_acq_rel) == Impl::kSignalled) ++impl.stats.wakes;
}

void Driver::wake() {
  if (impl_->signal.exchange(Impl::kSignalled, std::memory_order_acq_rel) != Impl::kParked) return;
  const std::uint64_t one = 1;
  while (::write(impl_->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

unsigned Driver::sockets_in_use() const { return impl_->in_use; }
const DriverStats& Driver::stats() const { return impl_->stats; }
const std::string& Driver::ring_mode() const { return impl_->ring.mode(); }

}  // namespace tocsin::io
