// SPDX-License-Identifier: Apache-2.0
#include "draw.h"

#include <algorithm>
#include <iterator>

namespace tocsin::sim {

const char* kind_name(Kind kind) {
  static constexpr const char* kNames[] = {
      "resolve-fails",  "dial-refused",      "dial-hangs",        "address-dead",       "proxy-refuses", "budget-used-up",
      "short-send",     "slow-send",         "cut-bytes",         "wire-reset",         "wire-stalls",   "wire-half-open",
      "peer-hangs-up", "broken-answer",  "mass-death",        "outage",            "clock-steps",        "clock-drifts",  "token-dies",
      "token-fails",    "tokens-told",
      "credential-replaced", "credential-rolled", "credential-paused", "credential-removed", "group-paused",
      "group-cancelled", "ids-cancelled",    "rate-changed"};
  static_assert(std::size(kNames) == kKinds);
  return kNames[static_cast<std::size_t>(kind)];
}

namespace {

std::string share(Chance& chance, double most) { return std::to_string(0.002 + chance.unit() * most); }
std::string ms(Chance& chance, std::uint64_t most) { return std::to_string(1 + chance.below(most)) + "ms"; }

// Rules of the mock's fault script, some of them. Those that are bound to nothing else end with phase one.
std::string draw_script(Chance& chance, std::int64_t phase_one_ns) {
  const std::string until = " and between 0s and " + std::to_string(phase_one_ns / kSec) + "s";
  std::string text;
  const auto rule = [&](double likely, const std::string& when, const std::string& what) {
    if (chance.chance(likely)) text += "when " + when + " -> " + what + "\n";
  };
  const auto some = [&](double likely, double most, const std::string& what) {
    const std::string ratio = share(chance, most);
    rule(likely, "ratio " + ratio + until, what);
  };
  // Done to a connection, on the occasion of a request.
  const auto on_request = [&](double likely, const std::string& what) {
    const std::string every = std::to_string(15 + chance.below(150));
    rule(likely, "every " + every + until, what);
  };
  some(0.30, 0.05, "reset REFUSED_STREAM");
  some(0.20, 0.03, "reset CANCEL");
  some(0.20, 0.03, "reset INTERNAL_ERROR accepted");
  some(0.15, 0.03, "reset NO_ERROR");
  some(0.15, 0.03, "reset INTERNAL_ERROR after headers");
  some(0.20, 0.02, "no-answer");
  some(0.20, 0.02, "no-answer-but-accept");
  some(0.25, 0.05, "answer 503 ServiceUnavailable");
  some(0.20, 0.04, "answer 500 InternalServerError");
  some(0.20, 0.03, "answer 503 Shutdown");
  some(0.15, 0.03, "answer 400 IdleTimeout");
  some(0.25, 0.05, "answer 429 TooManyRequests hold " + ms(chance, 3000));
  some(0.20, 0.05, "answer 410 Unregistered");
  some(0.20, 0.05, "answer 400 BadDeviceToken");
  some(0.10, 0.02, "answer 403 ExpiredProviderToken");
  some(0.10, 0.02, "answer 429 TooManyProviderTokenUpdates");
  some(0.10, 0.02, "answer 403 UnrelatedKeyIdInToken");
  some(0.10, 0.02, "answer 418 SomethingNew");
  rule(0.07, "request " + std::to_string(1 + chance.below(400)), "answer 403 InvalidProviderToken");
  rule(0.07, "between 5s and 12s and ratio 0.9", "answer 400 BadDeviceToken");
  rule(0.08, "between 2s and 8s", "answer 503 ServiceUnavailable");
  rule(0.05, "between 5s and 9s", "answer 403 ExpiredProviderToken");
  some(0.25, 0.20, "delay " + ms(chance, 3000));
  on_request(0.25, "goaway");
  on_request(0.20, "goaway last all twice");
  on_request(0.20, "goaway last none reason Shutdown");
  on_request(0.20, "goaway last -2 code ENHANCE_YOUR_CALM text \"calm down\"");
  rule(0.10, "on connect and connection every " + std::to_string(3 + chance.below(4)) + until, "goaway last none");
  on_request(0.20, "streams " + std::to_string(1 + chance.below(3)));
  rule(0.20, "for 2s every 7s", "streams 1");
  rule(0.15, "for 2s every 9s", "window " + std::to_string(chance.chance(0.4) ? 0 : chance.below(300)));
  rule(0.15, "for 3s every 11s", "no-window-updates");
  on_request(0.15, "settings HEADER_TABLE_SIZE " + std::to_string(chance.below(5000)));
  on_request(0.20, "unknown-frame");
  rule(0.20, "on connect", "split-headers " + std::to_string(1 + chance.below(20)));
  rule(0.15, "for 15s every 40s", "ping-silence");
  on_request(0.15, "garbage");
  on_request(0.15, "vanish");
  some(0.15, 0.02, "broken-body");
  some(0.15, 0.02, "oversized-body");
  on_request(0.20, "close");
  on_request(0.20, "tcp-reset");
  on_request(0.15, "half-close");
  on_request(0.10, "tls alert");
  rule(0.15, "for 1s every 8s", "slow 7/1ms");
  rule(0.20, "between 6s and 7s", "stall");
  rule(0.10, "on connect", "probe");
  rule(0.10, "on connect", "throttle " + std::to_string(1 + chance.below(5)));
  for (const char* what : {"refuse", "accept-and-hang", "tls refuse-certificate", "tls expired", "tls wrong-name", "tls no-alpn", "tls hang"}) {
    rule(0.10, "on connect and connection every " + std::to_string(3 + chance.below(5)) + until, what);
  }
  return text;
}

}  // namespace

Draw Draw::from(std::uint64_t seed) {
  Chance chance(base::mix64(seed) ^ 0x5eed);
  return from(seed, chance);
}

Draw Draw::from(std::uint64_t seed, Chance& chance) {
  Draw d;
  d.seed = seed;
  d.shards = 1 + static_cast<unsigned>(chance.below(3));
  d.credentials = 1 + static_cast<unsigned>(chance.below(4));
  d.topics = 1 + static_cast<unsigned>(chance.below(3));
  d.groups = chance.chance(0.5) ? 0 : 1 + static_cast<unsigned>(chance.below(3));
  d.pushes = 400 + static_cast<unsigned>(chance.below(500));
  d.phase_one_ns = static_cast<std::int64_t>(10 + chance.below(40)) * kSec;
  d.pushes_max = 32 + static_cast<std::uint32_t>(chance.below(200));
  d.connections_max = 2 + static_cast<std::uint32_t>(chance.below(6));
  d.budget_connections = 2 + static_cast<unsigned>(chance.below(8));
  d.budget_dials = 1 + static_cast<unsigned>(chance.below(3));
  d.attempts_max = 2 + static_cast<unsigned>(chance.below(5));
  d.credential_connections = 1 + static_cast<unsigned>(chance.below(5));
  d.streams_max = 1 + static_cast<std::uint32_t>(chance.below(6));
  d.peer_streams = 1 + static_cast<std::uint32_t>(chance.below(6));
  d.peer_window = chance.chance(0.6) ? 65'535 : 1 + static_cast<std::uint32_t>(chance.below(1000));
  d.dead_tokens_max = chance.chance(0.1) ? 0 : 4 + static_cast<std::uint32_t>(chance.below(100));
  d.wire_high_water = chance.chance(0.3) ? 600 : 512 * 1024;
  d.connections_min = 1 + static_cast<unsigned>(base::mix64(seed ^ 0x313) % d.credential_connections);  // no draw either
  d.codec = (base::mix64(seed ^ 0xc0dec) & 1) != 0 ? Codec::fast : Codec::nghttp2;  // no draw: it changes nothing else
  d.bare_answers = (base::mix64(seed ^ 0xba4e) & 1) != 0;
  d.provider_tokens = chance.chance(0.4);
  d.provider_certificate = chance.chance(0.3);
  d.long_run = chance.chance(0.15);
  if (d.long_run) d.phase_one_ns = static_cast<std::int64_t>(2 + chance.below(3)) * 3600 * kSec;
  d.proxy = chance.chance(0.15);
  d.alternate_port = chance.chance(0.4);
  d.give_up = chance.chance(0.3) ? 0.5 : 0;
  d.shared_tokens = chance.chance(0.6) ? chance.unit() * 0.5 : 0;
  d.coalesce = chance.chance(0.6) ? 0.7 : 0;
  d.deadlines = chance.chance(0.5) ? chance.unit() * 0.6 : 0;
  d.at_most_once = chance.unit();
  d.large = chance.chance(0.5) ? chance.unit() * 0.3 : 0;
  d.paced = chance.chance(0.3) ? 0.5 : 0;
  d.latency_ns = static_cast<std::int64_t>(1 + chance.below(60)) * kMs;
  // The largest body gets through in half the time for an answer, or the peer would serve nobody, healed or not.
  d.peer_window = std::max(d.peer_window, static_cast<std::uint32_t>(3100 * (4 * d.latency_ns / kMs + 5) / 7500 + 1));
  for (double& each : d.menu) {
    if (chance.chance(0.4)) each = chance.unit();
  }
  d.script = draw_script(chance, d.phase_one_ns);
  if (chance.chance(0.08)) {  // calm: no faults at all, for what only then can be judged
    for (double& each : d.menu) each = 0;
    d.script.clear();
    d.long_run = d.proxy = false;
    d.phase_one_ns = 20 * kSec;
  }
  d.stop_early = chance.chance(0.15);
  return d;
}

std::string Draw::text() const {
  std::string text = "seed " + std::to_string(seed) + ": " + std::to_string(shards) + " shards, " +
                     std::to_string(credentials) + " credentials, " + std::to_string(topics) + " topics, " +
                     std::to_string(groups) + " groups, " + std::to_string(pushes) + " pushes, " +
                     std::to_string(phase_one_ns / kSec) + " s, latency " + std::to_string(latency_ns / kMs) + " ms, streams " +
                     std::to_string(streams_max) + "/" + std::to_string(peer_streams) + ", window " + std::to_string(peer_window) +
                     ", pool " + std::to_string(pushes_max) + ", attempts " + std::to_string(attempts_max);
  text += codec == Codec::fast ? ", codec fast" : ", codec nghttp2";
  if (provider_tokens) text += provider_certificate ? ", provider tokens beside certificates" : ", provider tokens";
  if (bare_answers) text += ", bare answers";
  if (proxy) text += ", proxy";
  if (stop_early) text += ", stopped early";
  text += "; menu:";
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (menu[i] > 0) text += std::string(" ") + kind_name(static_cast<Kind>(i));
  }
  std::string rules = script;
  for (char& c : rules) c = c == '\n' ? ';' : c;
  return text + "; script: " + rules;
}

}  // namespace tocsin::sim
