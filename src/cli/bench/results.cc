// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/results.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tocsin::cli::bench {

Result<void> write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) return Error{Code::io, "cannot write " + path + ": " + std::strerror(errno)};
  return {};
}

Result<nlohmann::ordered_json> read_results(const std::string& path) {
  std::error_code error;
  const std::string file_name = std::filesystem::is_directory(path, error) ? path + "/" + kResultsFile : path;
  std::ifstream file(file_name, std::ios::binary);
  if (!file) return Error{Code::io, "cannot read " + file_name + ": " + std::strerror(errno)};
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(text, nullptr, false);
  const bool good = json.is_object() && json.contains("environment") && json["environment"].is_object() && json.contains("profiles") &&
                    json["profiles"].is_array();
  if (!good) return Error{Code::invalid_argument, file_name + " is no result of tocsin bench: give its --out directory or results.json"};
  for (const auto& profile : json["profiles"]) {
    if (!profile.is_object() || !profile.contains("profile") || !profile["profile"].is_string()) {
      return Error{Code::invalid_argument, file_name + ": an entry of \"profiles\" has no profile"};
    }
  }
  return json;
}

std::string hgrm_text(const obs::Histogram& latency_ns) {
  std::string out = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
  const double count = static_cast<double>(latency_ns.count());
  const double mean = latency_ns.mean();
  double squares = 0;
  std::uint64_t seen = 0;
  // One line for each step of percentile: five in every halving of the distance to 100.
  double next = 0;
  latency_ns.for_each([&](std::uint64_t highest, std::uint64_t times) {
    const double off = static_cast<double>(highest) - mean;
    squares += off * off * static_cast<double>(times);
    seen += times;
    const double share = static_cast<double>(seen) / count;
    if (seen == latency_ns.count() || share < next) return;
    out += fmt::format("{:12.3f} {:14.12f} {:10d} {:14.2f}\n", static_cast<double>(highest) / 1000, share, seen, 1 / (1 - share));
    while (next <= share) next += (1 - next) / 10;
  });
  if (latency_ns.count() != 0) {
    out += fmt::format("{:12.3f} {:14.12f} {:10d}\n", static_cast<double>(latency_ns.max()) / 1000, 1.0, latency_ns.count());
  }
  const double deviation = count == 0 ? 0 : std::sqrt(squares / count);
  out += fmt::format("#[Mean    = {:12.3f}, StdDeviation   = {:12.3f}]\n", mean / 1000, deviation / 1000);
  out += fmt::format("#[Max     = {:12.3f}, Total count    = {:12d}]\n", static_cast<double>(latency_ns.max()) / 1000, latency_ns.count());
  out += fmt::format("#[Buckets = {:12d}, SubBuckets     = {:12d}]\n", obs::Histogram::kValueBits, 1 << (obs::Histogram::kSubBits + 1));
  return out;
}

}  // namespace tocsin::cli::bench
