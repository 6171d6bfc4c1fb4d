// SPDX-License-Identifier: Apache-2.0
// PushOptions: what `tocsin push` was asked for, checked as far as the command line alone can be.
// Threads: plain data. It holds paths of secrets, never a secret.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/options.h>

#include "cli/input.h"
#include "cli/units.h"
#include "log/log.h"

namespace CLI {
class App;
}

namespace tocsin::cli {

struct PushOptions {
  std::string input;  // path or "-"
  InputOptions reading;
  std::uint64_t limit = 0;  // 0: all

  Endpoint endpoint{"api.push.apple.com", 443};
  bool endpoint_given = false;
  bool sandbox = false;
  std::string tls_name;
  std::string cert, key, key_password_file;
  std::string p12, p12_password_file;
  std::string ca;
  std::string p8, key_id, team_id;
  std::string credentials;  // a file that lists several
  std::string proxy;        // may hold a password: never shown
  int alternate_port = kAlternatePortAutomatic;

  std::string topic;
  std::optional<PushType> push_type;
  std::optional<unsigned> priority;
  std::string expiration;
  std::optional<std::string> alert, title, subtitle, sound;
  std::optional<std::int64_t> badge;
  PriorityClass priority_class = PriorityClass::normal;
  std::optional<bool> coalesce;  // not given: MDM wake-ups only
  std::int64_t deadline_ms = 0;  // from the reading of a line on; 0: none
  std::string dead_tokens;

  unsigned connections = 4;
  unsigned connections_min = 1;
  unsigned streams = 1000;
  unsigned shards = 1;
  std::vector<int> cpus;
  double rate = 0;  // pushes per second, 0: as fast as it goes
  Policy policy = Policy::at_least_once;
  TlsCrypto tls_crypto = TlsCrypto::automatic;
  Codec codec = EngineOptions{}.codec;
  std::int64_t connect_timeout_ms = 10'000;
  std::int64_t answer_timeout_ms = 60'000;
  std::int64_t give_up_ms = 60'000;
  std::int64_t grace_ms = 10'000;
  std::int64_t retry_backoff_ms = 15'000;
  double bad_token_share = 0.5;  // 0: no brake

  std::string out;
  std::string rejects;
  std::string metrics;
  bool resume = false;
  bool overwrite = false;
  bool retry_failed = false;
  std::string run_key;          // "": a random one
  std::int64_t sync_ms = 1000;  // 0: never
  bool strict = false;
  bool dry_run = false;
  bool json = false;
  bool progress = true;
  log::Options logging{log::Format::text, LogLevel::warning};

  bool has_credential() const { return !cert.empty() || !p12.empty() || !p8.empty() || !credentials.empty(); }
  bool has_app_payload() const { return alert || title || subtitle || sound || badge; }
};

// Adds `push` to the root; `chosen` is called after parsing if it was asked for. Wrong values are CLI11's
// errors (exit 2). Relations between options: "" or what is wrong.
void add_push_options(CLI::App& root, PushOptions& options, std::function<void()> chosen);
std::string check_relations(const PushOptions& options);

inline constexpr const char* kNoMdmByToken =
    "APNs takes MDM pushes only with the push certificate of their topic, not with a provider key";

// "urgent", "normal", "bulk".
bool priority_class_from_name(std::string_view name, PriorityClass& out);
inline constexpr const char* kPriorityClasses = "urgent, normal or bulk";

// {"aps":{"alert":...,"sound":...,"badge":...}} from --alert and its kin.
std::string app_payload(const PushOptions& options);

}  // namespace tocsin::cli
