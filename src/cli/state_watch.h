// SPDX-License-Identifier: Apache-2.0
// StateWatch: what an operator is told of the credentials while a run lasts, each thing once: APNs cannot be reached
// and can be again, a credential is refused for good, a credential has paused itself over BadDeviceToken.
//
// Threads: one at a time; time is an argument. Bounds: a few words for each credential. Text goes to standard error, so no
// secret may stand in a credential's name (it is the certificate's UID, a key id, or what the operator wrote).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tocsin/engine.h>

namespace tocsin::cli {

// "APNs unreachable since 12:34:56 (43 s): cause; 12 pushes wait"; the name before it where there are several.
std::string unreachable_text(const CredentialStats& credential, std::uint64_t waiting, std::int64_t now_unix_ns,
                             bool several);

struct StateFindings {
  std::vector<std::string> lines;  // to say now
  bool given_up = false;           // every credential is stopped or cannot be reached, and one cannot be reached
  std::string refused;             // every credential is stopped by APNs: why
  std::string alarmed;             // a credential has paused itself: why the run ends
};

class StateWatch {
 public:
  // `in_place`: a progress line is shown, which says itself that APNs cannot be reached.
  explicit StateWatch(bool in_place) : in_place_(in_place) {}

  StateFindings look(const EngineStats& stats, std::int64_t now_unix_ns);

 private:
  // A dial that fails once and succeeds at the next try is no outage.
  static constexpr std::int64_t kOutageNs = 1'000'000'000;

  struct Said {
    std::int64_t unreachable_since_ns = 0;  // said to begin; 0: not
    bool stopped = false;
    bool alarmed = false;
  };
  void look_at(const CredentialStats& credential, Said& said, const EngineStats& stats, std::int64_t now_unix_ns,
               StateFindings& out) const;

  bool in_place_;
  std::vector<Said> said_;
};

}  // namespace tocsin::cli
