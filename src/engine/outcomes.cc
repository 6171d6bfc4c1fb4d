// SPDX-License-Identifier: Apache-2.0
#include "engine/outcomes.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/assertion.h"

namespace tocsin::engine {
namespace {

// Where the queue of accepted pushes puts them: each becomes an Outcome where the reader wants it, without a copy between.
class OutcomeWriter {
 public:
  explicit OutcomeWriter(Outcome* at) : at_(at) {}
  OutcomeWriter& operator*() noexcept { return *this; }
  OutcomeWriter& operator=(const dispatch::AcceptedPush& push) noexcept {
    push.write(*at_);
    return *this;
  }
  OutcomeWriter& operator++() noexcept {
    ++at_;
    return *this;
  }
  OutcomeWriter operator++(int) noexcept { return OutcomeWriter(at_++); }

 private:
  Outcome* at_;
};

}  // namespace

Outcomes::Outcomes(std::size_t most) : accepted_(std::min(most, kAcceptedMade)), others_(std::min(most, kOthersMade)) {}

Outcomes::~Outcomes() {
  if (fd_ >= 0) ::close(fd_);
}

bool Outcomes::open() {
  fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd_ >= 0;
}

void Outcomes::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof(one));
}

// Only memory could fail, and then this process is past help.
void Outcomes::put(Source& source, std::span<const dispatch::AcceptedPush> accepted, std::span<const Outcome> others) {
  if (!accepted.empty()) TOCSIN_ASSERT(accepted_.enqueue_bulk(source.accepted_, accepted.data(), accepted.size()));
  if (others.empty()) return;
  others_unread_.fetch_add(others.size(), std::memory_order_relaxed);
  TOCSIN_ASSERT(others_.enqueue_bulk(source.others_, others.data(), others.size()));
}

std::size_t Outcomes::take(std::span<Outcome> out) {
  if (out.empty()) return 0;
  if (const std::size_t taken = look(out); taken != 0) return taken;
  // Looks empty: let the next arrival signal again, then look once more, so that what arrived between is not missed.
  signalled_.exchange(false, std::memory_order_acq_rel);
  return look(out);
}

std::size_t Outcomes::look(std::span<Outcome> out) {
  if (others_unread_.load(std::memory_order_relaxed) == 0) return take_accepted(out);
  const bool accepted_first = accepted_turn_.load(std::memory_order_relaxed);
  accepted_turn_.store(!accepted_first, std::memory_order_relaxed);
  const auto first = accepted_first ? &Outcomes::take_accepted : &Outcomes::take_others;
  const auto second = accepted_first ? &Outcomes::take_others : &Outcomes::take_accepted;
  const std::size_t half = (out.size() + 1) / 2;
  std::size_t taken = (this->*first)(out.first(half));
  const bool more = taken == half;
  taken += (this->*second)(out.subspan(taken));
  if (more) taken += (this->*first)(out.subspan(taken));
  return taken;
}

std::size_t Outcomes::take_accepted(std::span<Outcome> out) {
  return out.empty() ? 0 : accepted_.try_dequeue_bulk(OutcomeWriter(out.data()), out.size());
}

std::size_t Outcomes::take_others(std::span<Outcome> out) {
  const std::size_t taken = out.empty() ? 0 : others_.try_dequeue_bulk(out.data(), out.size());
  others_unread_.fetch_sub(taken, std::memory_order_relaxed);
  return taken;
}

}  // namespace tocsin::engine
