// SPDX-License-Identifier: Apache-2.0
#include "tls/channel.h"

namespace tocsin::tls {
namespace {

// The end of the stream is the transport's to tell: there is no close_notify here.
class PlainChannel final : public Channel {
 public:
  State start(base::ByteBuffer&) override { return State::open; }
  State receive(base::ByteView wire, base::ByteBuffer& plain_out, base::ByteBuffer&) override {
    plain_out.append(wire);
    return State::open;
  }
  State send(base::ByteView plain, base::ByteBuffer& wire_out) override {
    wire_out.append(plain);
    return State::open;
  }
  void close(base::ByteBuffer&) override {}
  State state() const override { return State::open; }
  const Failure& failure() const override { return failure_; }
  Facts facts() const override { return {"plain", "none", "h2", {}, {}, {}}; }

 private:
  Failure failure_;
};

}  // namespace

std::unique_ptr<Channel> make_plain_channel() { return std::make_unique<PlainChannel>(); }

}  // namespace tocsin::tls
