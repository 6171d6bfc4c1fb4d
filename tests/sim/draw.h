// SPDX-License-Identifier: Apache-2.0
// Draw: all that one seed decides before a run begins: topology, limits, load, and which faults are on the menu.
//
// Limits are small on purpose (pools of a few, windows of little, streams of two), so that collisions and exhaustion
// are common; and a seed leaves whole kinds of faults out (swarm testing), so that they do not hide one another.
// Threads: plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tocsin/options.h>

#include "base/now.h"
#include "chance.h"

namespace tocsin::sim {

inline constexpr std::int64_t kMs = base::kMillisecond;
inline constexpr std::int64_t kSec = base::kSecond;

// Kinds of faults, for the menu and for the counts at the end of a run. Those of the fault script are counted by the
// mock under its own words.
enum class Kind : std::uint8_t {
  resolve_fails,
  dial_refused,
  dial_hangs,
  address_dead,
  proxy_refuses,
  budget_used_up,
  short_send,
  slow_send,
  cut_bytes,
  wire_reset,
  wire_stalls,
  wire_half_open,
  peer_hangs_up,
  broken_answer,  // a response without :status
  mass_death,     // every connection at once
  outage,         // nothing can be reached for a while
  clock_steps,
  clock_drifts,
  token_dies,     // a device token becomes unregistered
  token_fails,    // a provider token cannot be signed
  tokens_told,    // the owner names device tokens that are dead
  credential_replaced,
  credential_rolled,
  credential_paused,
  credential_removed,
  group_paused,
  group_cancelled,
  ids_cancelled,
  rate_changed,
  kinds
};
inline constexpr std::size_t kKinds = static_cast<std::size_t>(Kind::kinds);
const char* kind_name(Kind kind);

struct Draw {
  std::uint64_t seed = 1;
  unsigned shards = 1;
  unsigned credentials = 1;
  unsigned topics = 1;         // of each credential
  unsigned groups = 0;
  unsigned pushes = 600;       // in all
  std::int64_t phase_one_ns = 30 * kSec;
  std::uint32_t pushes_max = 128;
  std::uint32_t connections_max = 6;   // of a shard
  unsigned budget_connections = 8;
  unsigned budget_dials = 2;
  unsigned attempts_max = 5;
  unsigned credential_connections = 2;
  unsigned connections_min = 1;
  std::uint32_t streams_max = 3;       // ours
  std::uint32_t peer_streams = 4;
  std::uint32_t peer_window = 65'535;
  std::uint32_t dead_tokens_max = 64;
  std::size_t wire_high_water = 512 * 1024;
  Codec codec = Codec::fast;
  bool bare_answers = false;           // most of what is accepted is answered with :status alone
  bool provider_tokens = false;        // of every second credential
  bool provider_certificate = false;   // its connections have a certificate, too: then APNs looks at no token
  bool proxy = false;
  bool long_run = false;               // hours, for provider tokens and idle connections
  bool alternate_port = false;
  double give_up = 0;                  // chance that a credential gives up soon
  double shared_tokens = 0;            // share of pushes to a few tokens that others use as well
  double coalesce = 0;                 // share of templates
  double deadlines = 0;
  double at_most_once = 0.5;
  double large = 0;                    // share of pushes with their own payload
  double paced = 0;                    // chance that engine, credentials and groups have rates
  std::int64_t latency_ns = kMs;
  std::int64_t retry_later_most_ns = 2200 * kMs;
  double menu[kKinds] = {};            // 0: not on it; else how likely, per occasion
  std::string script;                  // the gateway's faults
  bool stop_early = false;             // stopped in the middle of phase one
  unsigned halvings = 0;               // by --shrink: the load was halved so often

  static Draw from(std::uint64_t seed);
  static Draw from(std::uint64_t seed, Chance& chance);
  std::string text() const;            // one line for people
};

}  // namespace tocsin::sim
