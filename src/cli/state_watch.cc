// SPDX-License-Identifier: Apache-2.0
#include "cli/state_watch.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/units.h"

namespace tocsin::cli {
namespace {

std::string named(const CredentialStats& credential, bool several) {
  return several ? credential.name + ": " : std::string();
}

double seconds_between(std::int64_t from_ns, std::int64_t to_ns) {
  return static_cast<double>(std::max<std::int64_t>(0, to_ns - from_ns)) / 1e9;
}

std::string without_full_stop(std::string text) {
  while (text.ends_with('.')) text.pop_back();
  return text;
}

}  // namespace

std::string unreachable_text(const CredentialStats& credential, std::uint64_t waiting, std::int64_t now_unix_ns,
                             bool several) {
  return fmt::format("{}APNs unreachable since {} ({}): {}; {} pushes wait", named(credential, several),
                     format_local_time(credential.unreachable_since_unix_ns),
                     format_seconds(seconds_between(credential.unreachable_since_unix_ns, now_unix_ns)),
                     credential.last_error.empty() ? "no cause is known" : without_full_stop(credential.last_error),
                     format_count(waiting));
}

void StateWatch::look_at(const CredentialStats& credential, Said& said, const EngineStats& stats,
                         std::int64_t now_unix_ns, StateFindings& out) const {
  const bool several = stats.credentials.size() > 1;
  const std::int64_t since = credential.unreachable_since_unix_ns;
  if (since != 0 && said.unreachable_since_ns == 0 && now_unix_ns - since >= kOutageNs) {
    said.unreachable_since_ns = since;
    if (!in_place_) out.lines.push_back(unreachable_text(credential, stats.waiting, now_unix_ns, several));
  }
  if (since == 0 && said.unreachable_since_ns != 0) {
    if (credential.connections_open != 0) {
      out.lines.push_back(fmt::format("{}APNs reachable again after {}; {} pushes wait", named(credential, several),
                                      format_seconds(seconds_between(said.unreachable_since_ns, now_unix_ns)),
                                      format_count(stats.waiting)));
    }
    said.unreachable_since_ns = 0;
  }
  if (credential.stopped && !said.stopped) {
    out.lines.push_back(fmt::format(
        "APNs refuses the credential {}: {}. Nothing more is sent with it: renew or replace it, then continue with "
        "--resume",
        credential.name, without_full_stop(credential.last_error)));
  }
  said.stopped = credential.stopped;
  if (credential.alarmed && !said.alarmed) {
    out.lines.push_back(fmt::format(
        "the run is stopped, credential {}: {}; what waits is handed back. Compare the endpoint (--sandbox or not) with "
        "where the tokens come from, then continue with --resume; --bad-token-brake off sends all the same",
        credential.name, without_full_stop(credential.last_error)));
  }
  said.alarmed = credential.alarmed;
  if (credential.alarmed && out.alarmed.empty())
    out.alarmed = fmt::format("{}: {}", credential.name, without_full_stop(credential.last_error));
}

StateFindings StateWatch::look(const EngineStats& stats, std::int64_t now_unix_ns) {
  StateFindings out;
  said_.resize(stats.credentials.size());
  std::size_t stopped = 0, gave_up = 0;
  for (std::size_t i = 0; i < stats.credentials.size(); ++i) {
    const CredentialStats& credential = stats.credentials[i];
    look_at(credential, said_[i], stats, now_unix_ns, out);
    if (credential.stopped) {
      ++stopped;
      if (out.refused.empty())
        out.refused = fmt::format("{}: {}", credential.name, without_full_stop(credential.last_error));
    } else if (credential.gave_up) {
      ++gave_up;
    }
  }
  const std::size_t all = stats.credentials.size();
  if (stopped != all) out.refused.clear();
  out.given_up = gave_up != 0 && stopped + gave_up == all;
  return out;
}

}  // namespace tocsin::cli
