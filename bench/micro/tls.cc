// SPDX-License-Identifier: Apache-2.0
// TLS records, by version, who computes AES-GCM, and size: a handshake in memory first, then batches of records.
//
//   tls_write/VERSION/CRYPTO/BYTES   Channel::send of one record's worth of plain text, the client's side
//   tls_read/VERSION/CRYPTO/BYTES    Channel::receive of such a record, the client's side
#include <ctime>
#include <memory>
#include <vector>

#include "micro.h"
#include "portal/portal.h"
#include "tls/context.h"
#include "tls/identity.h"

namespace tocsin::bench {
namespace {

constexpr std::size_t kBatch = 64;

// One server certificate for all of them.
struct Pki {
  tls::Identity server;
  std::string ca_pem;

  static const Pki& get() {
    static const Pki pki = make();
    return pki;
  }

 private:
  static Pki make() {
    portal::Validity validity;
    validity.now_unix_s = std::time(nullptr);
    const auto authority = portal::Authority::make(validity).value();
    portal::ServerSpec spec;
    spec.validity = validity;
    const portal::Issued issued = authority->issue_server(spec).value();
    return {tls::identity_from_pem(issued.certificate_pem, issued.key_pem, {}).value(), authority->ca_pem()};
  }
};

class Pair {
 public:
  Pair(unsigned version, tls::Crypto crypto) {
    tls::ClientOptions client;
    client.ca_pem = Pki::get().ca_pem;
    client.crypto = crypto;
    client.version_min = client.version_max = version;
    tls::ServerOptions server;
    server.identity = &Pki::get().server;
    server.crypto = crypto;
    server.version_min = server.version_max = version;
    client_context_ = tls::make_client_context(client).value();
    server_context_ = tls::make_server_context(server).value();
    client_ = client_context_->connect("localhost").value();
    server_ = server_context_->accept().value();
  }

  bool shake_hands() {
    client_->start(up_);
    for (int turn = 0; turn < 8; ++turn) {
      server_->receive(up_.readable(), plain_, down_);
      up_.clear();
      client_->receive(down_.readable(), plain_, up_);
      down_.clear();
    }
    return client_->state() == tls::State::open && server_->state() == tls::State::open;
  }
  tls::Channel& client() { return *client_; }
  tls::Channel& server() { return *server_; }

 private:
  std::shared_ptr<tls::ClientContext> client_context_;
  std::shared_ptr<tls::ServerContext> server_context_;
  std::unique_ptr<tls::Channel> client_, server_;
  base::ByteBuffer up_, down_, plain_;
};

enum class Side { write, read };

void records(benchmark::State& state, unsigned version, tls::Crypto crypto, std::size_t bytes, Side side) {
  Pair pair(version, crypto);
  if (!require(state, pair.shake_hands(), "the handshake failed")) return;
  if (!require(state, pair.client().facts().version == (version == 13 ? "TLS 1.3" : "TLS 1.2"), "another TLS version")) return;
  tls::Channel& from = side == Side::write ? pair.client() : pair.server();
  tls::Channel& to = side == Side::write ? pair.server() : pair.client();
  base::ByteBuffer plain(bytes), wire, out, back;
  for (std::size_t i = 0; i < bytes; ++i) plain.append(std::string_view("0123456789abcdef").substr(i % 16, 1));
  std::uint64_t want = 0;
  for (std::size_t i = 0; i < kBatch; ++i) want = fold(plain.readable(), want);
  Stopwatch watch;
  std::uint64_t done = 0;
  const std::uint64_t calls_before = tls::crypto_callback_calls();
  for (auto _ : state) {
    if (side == Side::write) watch.start();
    for (std::size_t i = 0; i < kBatch; ++i) from.send(plain.readable(), wire);
    if (side == Side::write) watch.stop();
    if (side == Side::read) watch.start();
    to.receive(wire.readable(), out, back);
    if (side == Side::read) watch.stop();
    wire.clear();
    std::uint64_t got = 0;
    bool good = out.size() == kBatch * bytes;
    for (std::size_t i = 0; good && i < kBatch; ++i) got = fold(out.readable().subspan(i * bytes, bytes), got);
    if (!require(state, good && got == want, "what was read is not what was written")) return;
    out.clear();
    // A key update, after millions of records, is answered.
    if (!back.empty()) from.receive(back.readable(), out, wire);
    back.clear();
    state.SetIterationTime(watch.take_seconds());
    done += kBatch;
  }
  const std::uint64_t calls = tls::crypto_callback_calls() - calls_before;
  if (!require(state, crypto == tls::Crypto::ipsec_mb ? calls >= 2 * done : calls == 0, "AES-GCM was computed by another library")) {
    return;
  }
  per_item(state, "per_record", done);
  state.SetBytesProcessed(static_cast<std::int64_t>(done * bytes));
}

}  // namespace

void register_tls() {
  for (const unsigned version : {13u, 12u}) {
    for (const tls::Crypto crypto : {tls::Crypto::ipsec_mb, tls::Crypto::wolfssl}) {
      if (!tls::choose_crypto(crypto).ok()) continue;  // no such CPU
      for (const std::size_t bytes : {160u, 1400u, 4096u, 16384u}) {
        const std::string name = std::string(version == 13 ? "/tls1.3/" : "/tls1.2/") +
                                 (crypto == tls::Crypto::ipsec_mb ? "ipsec-mb/" : "wolfssl/") + std::to_string(bytes);
        for (const Side side : {Side::write, Side::read}) {
          benchmark::RegisterBenchmark(((side == Side::write ? "tls_write" : "tls_read") + name).c_str(),
                                       [=](benchmark::State& state) { records(state, version, crypto, bytes, side); })
              ->UseManualTime();
        }
      }
    }
  }
}

}  // namespace tocsin::bench
