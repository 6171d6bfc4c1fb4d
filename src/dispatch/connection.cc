// SPDX-License-Identifier: Apache-2.0
#include "dispatch/connection.h"

#include "base/assertion.h"

namespace tocsin::dispatch {

const char* state_name(ConnectionState state) {
  static constexpr const char* kNames[kConnectionStates] = {"free",     "resolving", "dialling", "tunnelling", "handshaking",
                                                            "settling", "ready",     "draining", "closing"};
  return kNames[static_cast<std::size_t>(state)];
}

void Connection::apply(ConnectionInput input) {
  const std::uint8_t next = kTransitions[static_cast<std::size_t>(state)][static_cast<std::size_t>(input)];
  TOCSIN_ASSERT(next != kNoTransition);
  state = static_cast<ConnectionState>(next);
}

}  // namespace tocsin::dispatch
