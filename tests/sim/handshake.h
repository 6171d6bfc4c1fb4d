// SPDX-License-Identifier: Apache-2.0
// A stand-in for TLS that can fail: a round trip of greetings before the bytes pass through, so that the stages, causes
// and delays of a handshake are there without its randomness (wolfSSL's seed cannot be injected).
//
// The client says "HI\n"; the server "OK\n", or "NO" with the number of a tls::Cause. Threads: one.
#pragma once

#include <memory>
#include <string>

#include "mock/faults.h"
#include "tls/context.h"

namespace tocsin::sim {

std::shared_ptr<tls::ClientContext> handshake_context();

inline constexpr std::size_t kHelloBytes = 3;  // of the client; the server's good answer has as many

// What the server answers under this fault.
std::string handshake_answer(mock::TlsFault fault);

}  // namespace tocsin::sim
