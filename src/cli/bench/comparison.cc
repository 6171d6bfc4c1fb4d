// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/prng.h"
#include "cli/bench/profile_result.h"

namespace tocsin::cli::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kMetrics[] = {"client_cpu_ns_per_push", "mock_cpu_ns_per_push", "pushes_per_second", "p50_us", "p99_us", "p999_us",
                                    "allocations_per_push"};
// What makes two results answers to two questions.
constexpr const char* kSetUp[] = {"loop", "rate", "connections", "streams", "shards", "payload_bytes", "delay_ms", "auth", "tls", "codec",
                                  "crypto", "dead_tokens"};
constexpr const char* kPassing[] = {"time", "load_before"};  // differ always, and say nothing
constexpr int kResamplings = 10'000;
constexpr std::size_t kRunsForBootstrap = 3;

const Json* profile_of(const Json& document, const std::string& name) {
  for (const Json& each : document.at("profiles")) {
    if (each.at("profile") == name) return &each;
  }
  return nullptr;
}

// A figure of each run; the headline's where the runs are not there.
std::vector<double> values_of(const Json& profile, const char* metric) {
  std::vector<double> out;
  if (const auto each = profile.find("each"); each != profile.end() && each->is_array()) {
    for (const Json& run : *each) {
      if (run.is_object() && run.contains(metric) && run.at(metric).is_number()) out.push_back(run.at(metric).get<double>());
    }
  }
  if (out.empty() && profile.contains(metric) && profile.at(metric).is_number()) out.push_back(profile.at(metric).get<double>());
  return out;
}

std::string shown(const Json& object, const char* name) {
  if (!object.contains(name) || object.at(name).is_null()) return "none";
  return object.at(name).is_string() ? object.at(name).get<std::string>() : object.at(name).dump();
}

void note_difference(const Json& before, const Json& after, const char* name, const std::string& where, std::vector<std::string>& out) {
  const std::string a = shown(before, name), b = shown(after, name);
  if (a != b) out.push_back(fmt::format("{}{}: {} / {}", where, name, a, b));
}

bool is_valid(const Json& profile) { return profile.contains("valid") && profile.at("valid").is_boolean() && profile.at("valid").get<bool>(); }

}  // namespace

Interval ratio_interval(const std::vector<double>& before, const std::vector<double>& after) {
  const auto usable = [](const std::vector<double>& values) {
    return !values.empty() && *std::min_element(values.begin(), values.end()) > 0;
  };
  if (!usable(before) || !usable(after)) return {0, std::numeric_limits<double>::infinity()};
  if (before.size() < kRunsForBootstrap || after.size() < kRunsForBootstrap) {
    const auto [least_before, most_before] = std::minmax_element(before.begin(), before.end());
    const auto [least_after, most_after] = std::minmax_element(after.begin(), after.end());
    return {*least_after / *most_before, *most_after / *least_before};
  }
  base::Prng prng(1);
  const auto resampled = [&prng](const std::vector<double>& values) {
    std::vector<double> out(values.size());
    for (double& each : out) each = values[prng.below(values.size())];
    return median_of(std::move(out));
  };
  std::vector<double> ratios(kResamplings);
  for (double& ratio : ratios) {
    const double divisor = resampled(before);
    ratio = resampled(after) / divisor;
  }
  std::sort(ratios.begin(), ratios.end());
  return {ratios[kResamplings / 40], ratios[kResamplings - 1 - kResamplings / 40]};
}

Comparison compare_results(const Json& before, const Json& after) {
  Comparison out;
  for (const auto& [name, value] : before.at("environment").items()) {
    if (std::find(std::begin(kPassing), std::end(kPassing), name) != std::end(kPassing)) continue;
    note_difference(before.at("environment"), after.at("environment"), name.c_str(), "", out.differences);
  }
  for (const Json& a : before.at("profiles")) {
    const std::string name = a.at("profile").get<std::string>();
    const Json* b = profile_of(after, name);
    if (b == nullptr) {
      out.left_out.push_back(name);
      continue;
    }
    out.valid = out.valid && is_valid(a) && is_valid(*b);
    for (const char* each : kSetUp) note_difference(a, *b, each, name + ": ", out.differences);
    for (const char* metric : kMetrics) {
      const std::vector<double> values_a = values_of(a, metric), values_b = values_of(*b, metric);
      if (values_a.empty() || values_b.empty()) continue;
      Compared figure;
      figure.profile = name;
      figure.metric = metric;
      figure.before = median_of(values_a);
      figure.after = median_of(values_b);
      if (!(figure.before > 0)) continue;  // nothing to be a multiple of
      figure.ratio = figure.after / figure.before;
      const Interval interval = ratio_interval(values_a, values_b);
      figure.low = interval.low;
      figure.high = interval.high;
      out.figures.push_back(figure);
    }
  }
  for (const Json& b : after.at("profiles")) {
    const std::string name = b.at("profile").get<std::string>();
    if (profile_of(before, name) == nullptr) out.left_out.push_back(name);
  }
  return out;
}

std::string comparison_text(const Comparison& comparison) {
  std::string out, last;
  for (const Compared& figure : comparison.figures) {
    if (figure.profile != last) out += figure.profile + "\n";
    last = figure.profile;
    out += fmt::format("  {:<24} {:>14.1f} {:>14.1f}   x {:.3f}  ({:.3f} to {:.3f}){}\n", figure.metric, figure.before, figure.after, figure.ratio,
                       figure.low, figure.high, figure.differs() ? "" : "  no difference shown");
  }
  for (const std::string& name : comparison.left_out) out += "only one of the two has the profile " + name + "\n";
  for (const std::string& difference : comparison.differences) out += "differs  " + difference + "\n";
  if (!comparison.valid) out += "VOID     one of the two is void itself\n";
  return out + "Medians; in brackets the 95 % interval of the ratio (bootstrap), or its extremes with fewer than three runs.\n";
}

nlohmann::ordered_json comparison_json(const Comparison& comparison) {
  Json out{{"valid", comparison.valid}, {"differences", comparison.differences}, {"left_out", comparison.left_out}, {"figures", Json::array()}};
  for (const Compared& f : comparison.figures) {
    out["figures"].push_back({{"profile", f.profile}, {"metric", f.metric}, {"before", f.before}, {"after", f.after}, {"ratio", f.ratio},
                              {"low", f.low}, {"high", std::isfinite(f.high) ? Json(f.high) : Json()}, {"differs", f.differs()}});
  }
  return out;
}

}  // namespace tocsin::cli::bench
