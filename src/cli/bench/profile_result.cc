// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/profile_result.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStageNames[kStages] = {"wait", "reap", "inbox", "step", "perform", "deliver"};

double rounded(double value, int digits) {
  const double scale = std::pow(10, digits);
  return std::round(value * scale) / scale;
}

// -1 stands for "not measured".
Json known(double value, int digits = 1) { return value < 0 ? Json() : Json(rounded(value, digits)); }

template <class Get>
double median_over(const std::vector<RunResult>& runs, Get get) {
  std::vector<double> values;
  for (const RunResult& run : runs) values.push_back(static_cast<double>(get(run)));
  return median_of(std::move(values));
}

template <class Get>
double spread_over(const std::vector<RunResult>& runs, Get get) {
  double least = get(runs.front()), most = least;
  for (const RunResult& run : runs) {
    least = std::min(least, get(run));
    most = std::max(most, get(run));
  }
  const double middle = median_over(runs, get);
  return middle > 0 ? (most - least) / middle : 0;
}

std::string crypto_word(const RunSpec& spec) {
  return spec.crypto == TlsCrypto::wolfssl ? "wolfssl" : spec.crypto == TlsCrypto::ipsec_mb ? "ipsec-mb" : "automatic";
}

void add_percentiles(Json& out, const obs::Histogram& latency) {
  const auto us = [&latency](double percent) { return rounded(static_cast<double>(latency.percentile(percent)) / 1000, 1); };
  out["p50_us"] = us(50);
  out["p90_us"] = us(90);
  out["p99_us"] = us(99);
  out["p999_us"] = us(99.9);
  out["p9999_us"] = us(99.99);
  out["max_us"] = rounded(static_cast<double>(latency.max()) / 1000, 1);
}

// What a single run says; for curve, sweeps and the list of runs.
Json run_record(const RunResult& run) {
  Json out{{"loop", run.spec.rate != 0 ? "open" : "closed"}};
  if (run.spec.rate != 0) out["rate"] = rounded(run.spec.rate, 3);
  out["seconds"] = rounded(run.seconds, 3);
  out["pushes"] = run.pushes;
  out["pushes_per_second"] = rounded(run.pushes_per_second, 1);
  out["client_cpu_ns_per_push"] = rounded(run.client_cpu_ns, 1);
  out["mock_cpu_ns_per_push"] = rounded(run.mock_cpu_ns, 1);
  out["unattributed_cpu_share"] = rounded(run.unattributed_share, 4);
  out["mock_busy"] = rounded(run.mock_busy, 4);
  out["allocations_per_push"] = known(run.allocations, 6);
  add_percentiles(out, *run.latency);
  out["not_started"] = run.not_started;
  out["late"] = run.late;
  out["connections"] = run.spec.connections;
  out["connections_open"] = run.connections_open;
  out["streams"] = run.spec.streams;
  out["crypto"] = run.crypto;
  out["mock_cpu_ns_of_its_life"] = run.mock.cpu_ns;
  out["valid"] = run.valid();
  out["void_because"] = run.void_because;
  return out;
}

Json percentile_curve(const obs::Histogram& latency) {
  Json out = Json::array();
  // As HdrHistogram does it: each halving of what is left has the same number of steps.
  for (double left = 1; left > 1e-6; left *= 0.8408964152537145) {  // 2^(-1/4)
    const double percent = 100 * (1 - left);
    out.push_back({rounded(percent, 6), rounded(static_cast<double>(latency.percentile(percent)) / 1000, 2)});
    if (latency.count() == 0 || left * static_cast<double>(latency.count()) < 1) break;
  }
  return out;
}

Json series_of(const RunResult& run) {
  Json out = Json::array();
  for (const SeriesPoint& point : run.series) {
    out.push_back({rounded(point.at_s, 3), rounded(point.pushes_per_second, 0), rounded(point.p50_us, 1), rounded(point.p99_us, 1),
                   rounded(point.max_us, 1)});
  }
  return out;
}

// What the stages of the shards' loops used, the producer, and what neither explains (resolver, engine start, rounding).
Json stages_of(const RunResult& run) {
  Json out;
  double shards = 0;
  for (std::size_t i = 0; i < kStages; ++i) {
    out[kStageNames[i]] = rounded(run.stage_cpu_ns[i], 1);
    shards += run.stage_cpu_ns[i];
  }
  out["producer"] = rounded(run.producer_cpu_ns, 1);
  out["other"] = rounded(std::max(0.0, run.client_cpu_ns - shards - run.producer_cpu_ns), 1);
  return out;
}

const RunResult& middle_run(const ProfileResult& result) {
  std::vector<const RunResult*> order;
  for (const RunResult& run : result.runs) order.push_back(&run);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->client_cpu_ns < b->client_cpu_ns; });
  return *order[order.size() / 2];
}

}  // namespace

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double spread_of(const ProfileResult& result) {
  const double cpu = spread_over(result.runs, [](const RunResult& r) { return r.client_cpu_ns; });
  if (result.runs.front().spec.rate != 0) return cpu;
  return std::max(cpu, spread_over(result.runs, [](const RunResult& r) { return r.pushes_per_second; }));
}

double ceiling_of(const ProfileResult& result) {
  if (!result.ceiling || result.ceiling->mock_cpu_ns <= 0) return 0;
  return 1e9 * result.ceiling->spec.mock_workers / result.ceiling->mock_cpu_ns;
}

std::vector<std::string> void_reasons(const ProfileResult& result) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < result.runs.size(); ++i) {
    for (const std::string& reason : result.runs[i].void_because) out.push_back(fmt::format("run {}: {}", i + 1, reason));
  }
  if (const double spread = spread_of(result); spread > result.spread_max) {
    out.push_back(fmt::format("the runs differ by {:.1f} % of their median, more than {:.1f} % (--spread-max)", spread * 100,
                              result.spread_max * 100));
  }
  return out;
}

obs::Histogram merged_latency(const ProfileResult& result) {
  obs::Histogram all;
  for (const RunResult& run : result.runs) all.merge(*run.latency);
  return all;
}

nlohmann::ordered_json headline(const ProfileResult& result) {
  const std::vector<RunResult>& runs = result.runs;
  const RunSpec& spec = runs.front().spec;
  const auto median = [&runs](auto get, int digits = 1) { return rounded(median_over(runs, get), digits); };
  const double rate = median([](const RunResult& r) { return r.pushes_per_second; });
  std::uint64_t not_started = 0, late = 0;
  for (const RunResult& run : runs) not_started += run.not_started, late += run.late;
  const std::vector<std::string> reasons = void_reasons(result);
  Json out{{"profile", result.profile}, {"loop", spec.rate != 0 ? "open" : "closed"}};
  if (spec.rate != 0) out["rate"] = rounded(spec.rate, 3);
  out["pushes_per_second"] = rate;
  out["client_cpu_ns_per_push"] = median([](const RunResult& r) { return r.client_cpu_ns; });
  out["client_user_ns_per_push"] = median([](const RunResult& r) { return r.client_user_ns; });
  out["client_system_ns_per_push"] = median([](const RunResult& r) { return r.client_system_ns; });
  out["producer_cpu_ns_per_push"] = median([](const RunResult& r) { return r.producer_cpu_ns; });
  out["mock_cpu_ns_per_push"] = median([](const RunResult& r) { return r.mock_cpu_ns; });
  out["sum_cpu_ns_per_push"] = median([](const RunResult& r) { return r.sum_cpu_ns; });
  out["machine_cpu_ns_per_push"] = median([](const RunResult& r) { return r.machine_cpu_ns; });
  out["unattributed_cpu_share"] = median([](const RunResult& r) { return r.unattributed_share; }, 4);
  out["mock_busy"] = median([](const RunResult& r) { return r.mock_busy; }, 4);
  const double ceiling = ceiling_of(result);
  out["mock_ceiling_pushes_per_second"] = rounded(ceiling, 0);
  out["mock_bound"] = ceiling < 1.3 * rate;
  out["allocations_per_push"] = known(median_over(runs, [](const RunResult& r) { return r.allocations; }), 6);
  out["io_enters_per_push"] = median([](const RunResult& r) { return r.enters; }, 5);
  out["writes_per_push"] = median([](const RunResult& r) { return r.writes; }, 5);
  out["bytes_sent_per_push"] = median([](const RunResult& r) { return r.bytes_sent; });
  out["bytes_received_per_push"] = median([](const RunResult& r) { return r.bytes_received; });
  add_percentiles(out, merged_latency(result));
  out["not_started"] = not_started;
  out["late"] = late;
  out["connections"] = spec.connections;
  out["streams"] = spec.streams;
  out["shards"] = spec.shards;
  out["payload_bytes"] = spec.payload_bytes;
  out["delay_ms"] = spec.delay_ms;
  out["auth"] = spec.auth == Auth::certificate ? "cert" : "token";
  out["tls"] = spec.tls == 13 ? "1.3" : "1.2";
  out["codec"] = spec.codec == Codec::fast ? "fast" : "nghttp2";
  out["crypto"] = runs.front().crypto;
  out["dead_tokens"] = spec.dead_tokens;
  out["pushes_validated"] = runs.front().mock.validated;
  out["rss_bytes"] = median([](const RunResult& r) { return static_cast<double>(r.rss_bytes); }, 0);
  out["rss_per_connection_bytes"] = known(result.memory.bytes_per_connection);
  out["rss_per_queued_push_bytes"] = known(result.memory.bytes_per_queued_push);
  out["runs"] = runs.size();
  out["spread"] = rounded(spread_of(result), 4);
  out["valid"] = reasons.empty();
  out["void_because"] = reasons;
  return out;
}

nlohmann::ordered_json full_record(const ProfileResult& result) {
  Json out = headline(result);
  const RunSpec& spec = result.runs.front().spec;
  out["options"] = {{"warmup_ms", spec.warmup_ms}, {"main_ms", spec.main_ms}, {"warmup_pushes", spec.warmup_pushes},
                    {"inside", inside_of(spec)},   {"jitter_ms", spec.jitter_ms}, {"window", spec.window},
                    {"script", spec.script},       {"crypto", crypto_word(spec)}, {"engine_cpus", spec.engine_cpus},
                    {"mock_cpus", spec.mock_cpus}, {"mock_workers", spec.mock_workers}, {"spread_max", result.spread_max}};
  for (const RunResult& run : result.runs) out["each"].push_back(run_record(run));
  out["percentiles"] = percentile_curve(merged_latency(result));
  out["series"] = series_of(middle_run(result));
  if (result.ceiling) out["ceiling"] = run_record(*result.ceiling);
  if (result.staged) out["stages"] = stages_of(*result.staged);
  for (const RunResult& run : result.curve) out["curve"].push_back(run_record(run));
  for (const SweepPoint& point : result.sweeps) {
    Json entry{{"name", point.name}, {"value", point.value}};
    entry.update(run_record(point.run));
    out["sweeps"].push_back(std::move(entry));
  }
  return out;
}

std::vector<std::string> metric_names() {
  ProfileResult empty;
  empty.memory = {0, 0};
  RunResult run;
  run.allocations = 0;
  run.latency = std::make_unique<obs::Histogram>();
  run.spec.rate = 1;
  empty.runs.push_back(std::move(run));
  std::vector<std::string> out;
  const Json all = headline(empty);
  for (const auto& [name, value] : all.items()) {
    if (value.is_number()) out.push_back(name);
  }
  return out;
}

std::string text_summary(const ProfileResult& result) {
  const Json h = headline(result);
  const auto number = [&h](const char* name) { return h.at(name).get<double>(); };
  const auto count = [&](const char* name) { return format_count(static_cast<std::uint64_t>(std::llround(number(name)))); };
  const auto time = [&](const char* name) { return format_us(number(name)); };
  std::string out = fmt::format("{}, {} loop{}: {} connections x {} streams, {} run{} of {:.1f} s{}\n", result.profile,
                                h.at("loop").get<std::string>(),
                                h.contains("rate") ? fmt::format(" at {}/s", count("rate")) : std::string(), count("connections"),
                                count("streams"), result.runs.size(), result.runs.size() == 1 ? "" : "s", result.runs.front().seconds,
                                result.runs.size() == 1 ? "" : ", medians");
  out += fmt::format("  rate       {} pushes/s\n", count("pushes_per_second"));
  out += fmt::format("  client     {} ns of CPU a push ({} user, {} system; {} of it the producer)\n", count("client_cpu_ns_per_push"),
                     count("client_user_ns_per_push"), count("client_system_ns_per_push"), count("producer_cpu_ns_per_push"));
  out += fmt::format("  mock       {} ns of CPU a push, busy {:.0f} %; its ceiling is {} pushes/s{}\n", count("mock_cpu_ns_per_push"),
                     number("mock_busy") * 100, count("mock_ceiling_pushes_per_second"),
                     h.at("mock_bound").get<bool>() ? ", less than 1.3 times this rate: mock-bound" : "");
  out += fmt::format("  together   {} ns a push; {:.1f} % of the machine's CPU belonged to neither\n", count("sum_cpu_ns_per_push"),
                     number("unattributed_cpu_share") * 100);
  out += fmt::format("  latency    p50 {}, p99 {}, p99.9 {}, p99.99 {}, max {} {}\n", time("p50_us"), time("p99_us"), time("p999_us"),
                     time("p9999_us"), time("max_us"),
                     h.contains("rate") ? fmt::format("from the intended time; {} not started, {} late", count("not_started"), count("late"))
                                        : std::string("from submit to answer (closed loop: stalls hide here)"));
  out += fmt::format("  per push   {} allocations, {:.4f} io_uring enters, {:.4f} writes, {:.0f} bytes out, {:.0f} in\n",
                     h.at("allocations_per_push").is_null() ? "?" : fmt::format("{:.6f}", number("allocations_per_push")),
                     number("io_enters_per_push"), number("writes_per_push"), number("bytes_sent_per_push"),
                     number("bytes_received_per_push"));
  if (result.staged) {
    out += "  stages     ";
    const Json stages = stages_of(*result.staged);
    for (const auto& [name, value] : stages.items()) out += fmt::format("{} {:.0f}  ", name, value.get<double>());
    out += "ns a push\n";
  }
  if (result.memory.bytes_per_connection >= 0) {
    out += fmt::format("  memory     {:.0f} bytes a connection, {:.0f} a queued push\n", result.memory.bytes_per_connection,
                       result.memory.bytes_per_queued_push);
  }
  for (const RunResult& run : result.curve) {
    out += fmt::format("  at {:>12}/s  {:>8.0f} ns a push  p50 {}  p99 {}  p99.9 {}  max {}{}{}\n",
                       format_count(static_cast<std::uint64_t>(run.spec.rate)), run.client_cpu_ns,
                       format_us(static_cast<double>(run.latency->percentile(50)) / 1000),
                       format_us(static_cast<double>(run.latency->percentile(99)) / 1000),
                       format_us(static_cast<double>(run.latency->percentile(99.9)) / 1000),
                       format_us(static_cast<double>(run.latency->max()) / 1000),
                       run.not_started == 0 ? "" : fmt::format("  {} not started", format_count(run.not_started)),
                       run.valid() ? "" : "  void");
  }
  for (const SweepPoint& point : result.sweeps) {
    out += fmt::format("  {:<20} {:>12} pushes/s  {:>8.0f} ns a push  p99 {}{}\n", point.name + "=" + point.value,
                       format_count(static_cast<std::uint64_t>(point.run.pushes_per_second)), point.run.client_cpu_ns,
                       format_us(static_cast<double>(point.run.latency->percentile(99)) / 1000), point.run.valid() ? "" : "  void");
  }
  for (const std::string& reason : void_reasons(result)) out += "  VOID       " + reason + "\n";
  return out;
}

}  // namespace tocsin::cli::bench
