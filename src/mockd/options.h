// SPDX-License-Identifier: Apache-2.0
// Options of the mock daemon. Plain data, copied at Server::start, which checks them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tocsin/options.h>

#include "h2/server_session.h"
#include "mock/gateway.h"
#include "mock/profile.h"
#include "mock/script.h"
#include "tls/context.h"

namespace tocsin::mockd {

struct Options {
  std::string listen = "127.0.0.1:2197";
  std::string admin;    // "": no admin address
  std::string metrics;  // "": metrics on the admin address only

  unsigned workers = 1;   // 1 to 64; one thread and one ring each
  std::vector<int> cpus;  // worker i is pinned to cpus[i % size]; empty: not pinned

  std::string certificate_pem;  // the server's
  std::string key_pem;
  std::string client_ca_pem;    // clients are asked for a certificate of this CA; "": not asked
  bool require_client_certificate = false;
  tls::Crypto crypto = tls::Crypto::automatic;

  // What goes wrong, and when; null: nothing does. Where it asks for expired or wrongly named certificates, these are needed.
  std::shared_ptr<const mock::Script> script;
  std::string expired_certificate_pem, expired_key_pem;
  std::string wrong_name_certificate_pem, wrong_name_key_pem;

  // Any profile but validate takes no script.
  mock::ProfileOptions profile;
  h2::ServerOptions http2;      // what Apple's servers were seen to send
  mock::GatewayConfig gateway;

  unsigned connections_max = 1024;           // of all workers; one more is closed at once. 1 to 100,000
  unsigned handshake_timeout_ms = 10'000;
  std::size_t output_bytes_max = 1u << 20;   // waiting for one connection; beyond it no more answers are
                                             // made for it until the client has read
  LogCallback log;
};

}  // namespace tocsin::mockd
