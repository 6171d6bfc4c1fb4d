// SPDX-License-Identifier: Apache-2.0
// ConnectionLog: when each connection of a worker ended, and by whom: the witness that a double or an unknown outcome
// "by a lost connection" is held against.
//
// Threads: add() from the worker's, all() from any. Bounds: kConnectionsLoggedMax entries of 32 bytes; what comes later is
// counted and not kept. A connection that still lives has no entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

namespace tocsin::mockd {

inline constexpr std::size_t kConnectionsLoggedMax = 1'000'000;

enum class EndedBy : std::uint8_t {
  client,          // FIN, RST, close_notify, or GOAWAY with nothing under way
  goaway,          // ours, after the last answer
  script,          // a fault, a half open connection included
  protocol_error,  // of the client
  tls,             // a handshake or a record that failed
  timeout,         // of a handshake
  stop,            // the mock itself ended
};

constexpr std::string_view ended_by_word(EndedBy by) {
  constexpr std::string_view kWords[] = {"client", "goaway", "script", "protocol_error", "tls", "timeout", "stop"};
  return kWords[static_cast<std::size_t>(by)];
}

struct ConnectionEnd {
  std::uint32_t connection = 0;      // its ordinal, as in the ledger's history
  std::uint32_t streams_open = 0;    // then: requests that had got no answer, or only a part of it
  std::int64_t opened_unix_ms = 0;   // when it was taken from the listener
  std::int64_t ended_unix_ms = 0;    // from when on none of its requests was judged
  EndedBy by = EndedBy::client;
};

class ConnectionLog {
 public:
  void add(const ConnectionEnd& end) {
    const std::lock_guard lock(mutex_);
    if (ends_.size() < kConnectionsLoggedMax) ends_.push_back(end);
    else ++lost_;
  }
  // Appends; answers how many were not kept.
  std::uint64_t all(std::vector<ConnectionEnd>& out) const {
    const std::lock_guard lock(mutex_);
    out.insert(out.end(), ends_.begin(), ends_.end());
    return lost_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<ConnectionEnd> ends_;
  std::uint64_t lost_ = 0;
};

}  // namespace tocsin::mockd
