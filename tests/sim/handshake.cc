// SPDX-License-Identifier: Apache-2.0
#include "handshake.h"

namespace tocsin::sim {
namespace {

class SimChannel final : public tls::Channel {
 public:
  tls::State start(base::ByteBuffer& wire_out) override {
    wire_out.append(base::as_bytes(std::string_view("HI\n")));
    return state_;
  }
  tls::State receive(base::ByteView wire, base::ByteBuffer& plain_out, base::ByteBuffer&) override {
    while (state_ == tls::State::handshaking && !wire.empty()) {
      const char c = static_cast<char>(wire.front());
      wire = wire.subspan(1);
      if (c != '\n') {
        said_ += c;
      } else if (said_ == "OK") {
        state_ = tls::State::open;
      } else {
        state_ = tls::State::failed;
        failure_.cause = static_cast<tls::Cause>(said_.back() - 'a');
        failure_.text = "the handshake failed: " + said_;
      }
    }
    if (state_ == tls::State::open) plain_out.append(wire);
    return state_;
  }
  tls::State send(base::ByteView plain, base::ByteBuffer& wire_out) override {
    wire_out.append(plain);
    return state_;
  }
  void close(base::ByteBuffer&) override {}
  tls::State state() const override { return state_; }
  const tls::Failure& failure() const override { return failure_; }
  tls::Facts facts() const override { return {"simulated", "none", "h2", {}, {}, {}}; }

 private:
  tls::State state_ = tls::State::handshaking;
  tls::Failure failure_;
  std::string said_;
};

class SimContext final : public tls::ClientContext {
 public:
  Result<std::unique_ptr<tls::Channel>> connect(std::string_view) override {
    return std::unique_ptr<tls::Channel>(std::make_unique<SimChannel>());
  }
};

}  // namespace

std::shared_ptr<tls::ClientContext> handshake_context() { return std::make_shared<SimContext>(); }

std::string handshake_answer(mock::TlsFault fault) {
  const auto no = [](tls::Cause cause) { return std::string("NO") + static_cast<char>('a' + static_cast<int>(cause)) + "\n"; };
  switch (fault) {
    case mock::TlsFault::none: return "OK\n";
    case mock::TlsFault::refuse_certificate: return no(tls::Cause::own_certificate_refused);
    case mock::TlsFault::expired: return no(tls::Cause::certificate_expired);
    case mock::TlsFault::wrong_name: return no(tls::Cause::name_mismatch);
    case mock::TlsFault::no_alpn: return no(tls::Cause::no_alpn);
    case mock::TlsFault::alert: return no(tls::Cause::alert);
    case mock::TlsFault::hang: return {};
  }
  return {};
}

}  // namespace tocsin::sim
