// SPDX-License-Identifier: Apache-2.0
// RunSpec: one run of the bench, whole: what the mock does, how the engine is set up, how it is loaded and for how long.
// BenchOptions: what the command line asked for, from which specs are made. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <tocsin/options.h>
#include <tocsin/result.h>

namespace tocsin::cli::bench {

// How the mock behaves, and with how many connections it is measured unless told.
struct Profile {
  const char* name;
  unsigned connections;
  bool validates_all;  // else the first RunSpec::validate_first pushes only
  std::int64_t delay_ms, jitter_ms;
};
inline constexpr Profile kProfiles[] = {{"apns", 300, false, 45, 10}, {"flood", 4, false, 0, 0}, {"validate", 4, true, 0, 0}};
const Profile* find_profile(const std::string& name);  // null: there is none
std::string profile_names();                           // "apns, flood, validate"

enum class Auth : std::uint8_t { certificate, token };

struct RunSpec {
  std::string profile = "validate";
  std::uint64_t validate_first = 100'000;  // of profiles that do not validate all
  unsigned connections = 4;
  unsigned streams = 1000;
  unsigned shards = 1;
  unsigned payload_bytes = 0;        // 0: an MDM wake-up
  std::int64_t delay_ms = -1;        // of the mock's answers; -1: the profile's, until spec_of
  std::int64_t jitter_ms = -1;
  std::uint32_t window = 0;          // INITIAL_WINDOW_SIZE; 0: the profile's
  std::string script;                // fault script of the mock; "": none
  Auth auth = Auth::certificate;
  unsigned tls = 13;
  TlsCrypto crypto = TlsCrypto::automatic;
  Codec codec = EngineOptions{}.codec;
  std::uint64_t dead_tokens = 1'000'000;
  std::uint64_t inside = 0;          // closed loop: pushes under way; 0: chosen (inside_of)
  double rate = 0;                   // open loop: pushes per second; 0: closed loop
  std::int64_t warmup_ms = 1000;
  std::int64_t main_ms = 3000;
  std::uint64_t warmup_pushes = 0;   // the warm-up has at least so many
  bool stages = false;
  std::vector<int> engine_cpus, mock_cpus;  // empty: not pinned
  unsigned mock_workers = 1;
};

// MDM wake-ups, or alerts: those of another size, and those with a provider token, which APNs takes for no MDM push.
inline bool sends_mdm(const RunSpec& spec) { return spec.auth == Auth::certificate && spec.payload_bytes == 0; }
inline constexpr const char* kAppTopic = "com.example.bench";
inline const char* certificates_of(const RunSpec& spec) { return sends_mdm(spec) ? "/certs" : "/certs-app"; }

// Pushes under way in closed loop: enough that no stream waits for the producer.
inline std::uint64_t inside_of(const RunSpec& spec) {
  if (spec.inside != 0) return spec.inside;
  const std::uint64_t full = std::uint64_t{2} * spec.connections * spec.streams;
  return full < 1024 ? 1024 : full > 131'072 ? 131'072 : full;
}

// Sets what a sweep varies, by name: connections, streams, payload, delay, shards, auth, tls, codec. The error says what is
// wrong.
Result<void> set_dimension(RunSpec& spec, const std::string& name, const std::string& value);

// "connections=1,4,64" as a name and its values, each checked by set_dimension.
struct Sweep {
  std::string name;
  std::vector<std::string> values;
};
Result<Sweep> parse_sweep(const std::string& text);

struct FailIf {
  std::string text, metric, op;
  double value = 0;
};

struct BenchOptions {
  std::vector<std::string> profiles;
  unsigned runs = 5;
  RunSpec base;
  std::optional<unsigned> connections;  // else the profile's own
  std::optional<double> rate_share;     // open loop at this share of the capacity that was measured first
  double spread_max = 0.15;
  bool curve = false;
  bool memory = false;
  std::uint64_t memory_pushes = 1'000'000;
  std::vector<Sweep> sweeps;
  std::vector<FailIf> fail_if;
  bool json = false;
  std::string out;     // directory of the results; "": none
  std::string report;  // HTML file; "": none
};

}  // namespace tocsin::cli::bench
