// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/spec.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

Result<unsigned> number_of(const std::string& name, const std::string& text, unsigned least, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most) return value;
  return Error{Code::invalid_argument, fmt::format("{}: '{}' is not a number from {} to {}", name, text, least, most)};
}

}  // namespace

const Profile* find_profile(const std::string& name) {
  for (const Profile& each : kProfiles) {
    if (name == each.name) return &each;
  }
  return nullptr;
}

std::string profile_names() {
  std::string out;
  for (const Profile& each : kProfiles) out.append(out.empty() ? "" : ", ").append(each.name);
  return out;
}

Result<void> set_dimension(RunSpec& spec, const std::string& name, const std::string& value) {
  const auto number = [&](unsigned least, unsigned most, unsigned& to) -> Result<void> {
    const Result<unsigned> parsed = number_of(name, value, least, most);
    if (!parsed.ok()) return parsed.error();
    to = *parsed;
    return {};
  };
  const auto one_of = [&](const char* first, const char* second) -> Result<bool> {
    if (value == first || value == second) return value == second;
    return Error{Code::invalid_argument, fmt::format("{}: '{}' is neither {} nor {}", name, value, first, second)};
  };
  if (name == "connections") return number(1, 65'536, spec.connections);
  if (name == "streams") return number(1, 100'000, spec.streams);
  if (name == "shards") return number(1, 256, spec.shards);
  if (name == "payload") return number(0, 4096, spec.payload_bytes);
  if (name == "delay") {
    const Result<std::int64_t> parsed = parse_duration_ms(value);
    if (!parsed.ok()) return Error{Code::invalid_argument, "delay: " + parsed.error().message};
    spec.delay_ms = *parsed;
    return {};
  }
  if (name == "auth") {
    const Result<bool> token = one_of("cert", "token");
    if (!token.ok()) return token.error();
    spec.auth = *token ? Auth::token : Auth::certificate;
    return {};
  }
  if (name == "tls") {
    const Result<bool> newer = one_of("1.2", "1.3");
    if (!newer.ok()) return newer.error();
    spec.tls = *newer ? 13 : 12;
    return {};
  }
  if (name == "codec") {
    const Result<bool> theirs = one_of("fast", "nghttp2");
    if (!theirs.ok()) return theirs.error();
    spec.codec = *theirs ? Codec::nghttp2 : Codec::fast;
    return {};
  }
  return Error{Code::invalid_argument,
               fmt::format("'{}' cannot be varied; connections, streams, shards, payload, delay, auth, tls and codec can", name)};
}

Result<Sweep> parse_sweep(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals + 1 == text.size()) {
    return Error{Code::invalid_argument, "'" + text + "' names no values; write connections=1,4,64"};
  }
  Sweep out;
  out.name = text.substr(0, equals);
  for (std::size_t at = equals + 1; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    out.values.push_back(text.substr(at, comma - at));
    RunSpec probe;
    if (Result<void> set = set_dimension(probe, out.name, out.values.back()); !set.ok()) return set.error();
    at = comma + 1;
  }
  return out;
}

}  // namespace tocsin::cli::bench
