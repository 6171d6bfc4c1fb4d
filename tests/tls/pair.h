// SPDX-License-Identifier: Apache-2.0
// Two channels that talk to each other over memory.
//
// Threads: one at a time. Ownership: the tests'. Bounds: none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "pki.h"
#include "tls/channel.h"
#include "tls/context.h"

namespace tocsin::tls::testing {

struct End {
  std::unique_ptr<Channel> channel;
  base::ByteBuffer plain;  // received
  base::ByteBuffer wire;   // to send
};

struct Scene {
  unsigned client_min = 12, client_max = 13;
  unsigned server_min = 12, server_max = 13;
  Crypto client_crypto = Crypto::wolfssl;
  Crypto server_crypto = Crypto::wolfssl;
  std::string name = "localhost";
  std::string anchor = "root.pem";
  std::string server = "server";
  std::string client;         // identity; "" for none
  std::string client_anchor;  // the server's; "" to ask for nothing
  bool require_client = false;
  bool require_alpn = true;
  bool offer_alpn = true;
};

struct Pair {
  explicit Pair(const Scene& setup) {
    const Pki& pki = Pki::get();
    ClientOptions client_options;
    Identity client_identity;
    if (!setup.client.empty()) {
      client_identity = pki.identity(setup.client);
      client_options.identity = &client_identity;
    }
    client_options.ca_pem = pki.file(setup.anchor);
    client_options.crypto = setup.client_crypto;
    client_options.version_min = setup.client_min;
    client_options.version_max = setup.client_max;
    client_options.require_alpn = setup.require_alpn;
    auto client_context = make_client_context(client_options);
    EXPECT_TRUE(client_context.ok()) << (client_context.ok() ? "" : client_context.error().message);
    const Identity server_identity = pki.identity(setup.server);
    ServerOptions server_options;
    server_options.identity = &server_identity;
    if (!setup.client_anchor.empty()) server_options.client_ca_pem = pki.file(setup.client_anchor);
    server_options.require_client_certificate = setup.require_client;
    server_options.crypto = setup.server_crypto;
    server_options.version_min = setup.server_min;
    server_options.version_max = setup.server_max;
    server_options.offer_alpn = setup.offer_alpn;
    auto server_context = make_server_context(server_options);
    EXPECT_TRUE(server_context.ok()) << (server_context.ok() ? "" : server_context.error().message);
    if (!client_context || !server_context) return;
    auto connected = (*client_context)->connect(setup.name);
    auto accepted = (*server_context)->accept();
    EXPECT_TRUE(connected.ok() && accepted.ok());
    client.channel = std::move(*connected);
    server.channel = std::move(*accepted);
  }

  // Contexts are gone by now: channels must keep what they need.
  void start() {
    client.channel->start(client.wire);
    server.channel->start(server.wire);
  }

  static void move(End& from, End& to, std::size_t piece) {
    while (!from.wire.empty()) {
      const std::size_t bytes = std::min(piece, from.wire.size());
      const std::vector<std::byte> copy(from.wire.readable().begin(), from.wire.readable().begin() + static_cast<std::ptrdiff_t>(bytes));
      from.wire.consume(bytes);
      to.channel->receive(copy, to.plain, to.wire);
    }
  }
  void pump(std::size_t piece = 1 << 20) {
    while (!client.wire.empty() || !server.wire.empty()) {
      move(client, server, piece);
      move(server, client, piece);
    }
  }
  void handshake(std::size_t piece = 1 << 20) {
    start();
    pump(piece);
  }
  bool open() const { return client.channel->state() == State::open && server.channel->state() == State::open; }
  std::string why() const { return client.channel->failure().text + " | " + server.channel->failure().text; }

  End client, server;
};

inline std::string noise(std::size_t bytes, std::uint64_t seed) {
  base::Prng prng(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(prng.next());
  return text;
}

}  // namespace tocsin::tls::testing
