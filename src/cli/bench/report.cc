// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/bench/chart.h"
#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>tocsin bench</title>
<style>
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5b6675;--rule:#e2e6ec;--bad:#b3261e;--badback:#fdecea;
--c0:#2f6fdb;--c1:#d9730d;--c2:#1a8f5a;--c3:#8a4fd0;--c4:#c8385a;--c5:#0e8a9e;--c6:#8a7a1f;--c7:#7a8596}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--card:#1b212a;--ink:#e8ecf2;--soft:#9aa6b5;--rule:#2e3743;--bad:#ff8a80;
--badback:#3a1f1f;--c0:#78aeff;--c1:#ffab5c;--c2:#5fd39a;--c3:#c3a0ff;--c4:#ff8aa5;--c5:#5fd0e0;--c6:#d8c860;--c7:#8d99aa}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1400px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:20px;margin:36px 0 2px}
p,.sub{color:var(--soft);margin:0 0 14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 14px}
.tile,figure,details{background:var(--card);border:1px solid var(--rule);border-radius:10px}
.tile{padding:12px 14px}.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:14px;align-items:start}
figure{margin:0;padding:14px 16px}figcaption{font-weight:600;margin-bottom:6px}
svg{display:block;width:100%;height:auto;overflow:visible}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
.value,.label{fill:var(--ink)}.value{font-variant-numeric:tabular-nums}
.grid{stroke:var(--rule);stroke-width:1}.mark{stroke:var(--soft);stroke-dasharray:4 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.whisker{fill:none;stroke:var(--ink);stroke-width:1.5}
.spot{fill:transparent}.part{stroke:var(--card);stroke-width:1}
.legend{font-size:13px;color:var(--soft);margin-bottom:6px}.key{display:inline-flex;align-items:center;margin-right:14px}
.key i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}
.void{background:var(--badback);color:var(--bad);border-radius:10px;padding:10px 14px;margin:0 0 14px}
details{padding:12px 16px;margin-top:14px}summary{cursor:pointer;font-weight:600}
table{border-collapse:collapse;margin-top:8px;font-size:14px}td{padding:3px 18px 3px 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{color:var(--soft);white-space:nowrap}
)";

// The eight colours, for lines, dots and areas.
std::string colour_rules() {
  std::string out;
  for (int i = 0; i < 8; ++i) {
    out += fmt::format(".l{0}{{stroke:var(--c{0})}}.dot.c{0}{{fill:var(--c{0})}}.b{0}{{fill:var(--c{0});background:var(--c{0})}}\n", i);
  }
  return out;
}

double number(const Json& object, const char* name) {
  return object.is_object() && object.contains(name) && object.at(name).is_number() ? object.at(name).get<double>() : 0;
}

std::string word(const Json& object, const char* name) {
  if (!object.is_object() || !object.contains(name) || object.at(name).is_null()) return "-";
  return object.at(name).is_string() ? object.at(name).get<std::string>() : object.at(name).dump();
}

const Json& list(const Json& object, const char* name) {
  static const Json kNone = Json::array();
  return object.is_object() && object.contains(name) && object.at(name).is_array() ? object.at(name) : kNone;
}

std::string tile(const std::string& value, const std::string& what) {
  return "<div class=\"tile\"><b>" + html_escape(value) + "</b><span>" + html_escape(what) + "</span></div>";
}

std::string tiles_of(const Json& profile) {
  const auto ns = [&profile](const char* name) { return unit_text(number(profile, name), Unit::nanoseconds); };
  const auto us = [&profile](const char* name) { return unit_text(number(profile, name), Unit::microseconds); };
  std::string out = "<div class=\"tiles\">";
  out += tile(unit_text(number(profile, "pushes_per_second"), Unit::count), "pushes a second");
  out += tile(ns("client_cpu_ns_per_push"), "client CPU a push");
  out += tile(ns("mock_cpu_ns_per_push"), "mock CPU a push");
  out += tile(us("p50_us"), "p50 latency");
  out += tile(us("p99_us"), "p99 latency");
  out += tile(us("p999_us"), "p99.9 latency");
  out += tile(us("max_us"), "longest");
  if (word(profile, "loop") == "open") out += tile(format_count(static_cast<std::uint64_t>(number(profile, "not_started"))), "not started");
  out += tile(word(profile, "allocations_per_push"), "allocations a push");
  out += tile(fmt::format("{:.1f} %", 100 * number(profile, "unattributed_cpu_share")), "of the machine's CPU neither's");
  out += tile(unit_text(number(profile, "mock_ceiling_pushes_per_second"), Unit::count), "the mock's ceiling a second");
  if (number(profile, "rss_per_connection_bytes") > 0) {
    out += tile(unit_text(number(profile, "rss_per_connection_bytes"), Unit::bytes), "memory of a connection");
    out += tile(unit_text(number(profile, "rss_per_queued_push_bytes"), Unit::bytes), "memory of a queued push");
  }
  return out + "</div>";
}

// Columns of a list of rows as series over the first column.
std::vector<Series> columns(const Json& rows, const std::vector<std::pair<std::size_t, std::string>>& wanted) {
  std::vector<Series> out;
  for (const auto& [column, name] : wanted) {
    Series series{name, {}};
    for (const Json& row : rows) {
      if (!row.is_array() || row.size() <= column || !row[0].is_number() || !row[column].is_number()) continue;
      series.points.emplace_back(row[0].get<double>(), row[column].get<double>());
    }
    out.push_back(std::move(series));
  }
  return out;
}

std::string time_charts(const Json& profile) {
  const Json& rows = list(profile, "series");
  std::string out = draw(LineChart{.title = "Throughput over time", .x_label = "seconds of the main phase (the middle run)", .y_unit = Unit::count,
                                   .series = columns(rows, {{1, "pushes a second"}}), .x_ticks = {}});
  out += draw(LineChart{.title = "Latency over time", .x_label = "seconds of the main phase (the middle run)", .y_unit = Unit::microseconds,
                        .y_log = true, .series = columns(rows, {{2, "p50"}, {3, "p99"}, {4, "longest"}}), .x_ticks = {}});
  return out;
}

// Percentiles stand at 1 / (1 - share) on a logarithmic axis: each further nine is as wide as the one before.
std::string percentile_chart(const Json& profile) {
  Series series{word(profile, "profile"), {}};
  for (const Json& row : list(profile, "percentiles")) {
    if (!row.is_array() || row.size() < 2 || !row[0].is_number() || !row[1].is_number()) continue;
    series.points.emplace_back(1 / std::max(1e-9, 1 - row[0].get<double>() / 100), row[1].get<double>());
  }
  LineChart chart{.title = "Latency by percentile, all runs", .x_label = "percentile", .y_unit = Unit::microseconds, .x_log = true, .y_log = true,
                  .series = {std::move(series)},
                  .x_ticks = {{1, "0"}, {2, "50"}, {10, "90"}, {100, "99"}, {1e3, "99.9"}, {1e4, "99.99"}, {1e5, "99.999"}}};
  return draw(chart);
}

std::string cost_charts(const Json& profile) {
  const double producer = number(profile, "producer_cpu_ns_per_push");
  std::vector<StackRow> rows{{"CPU",
                              {{"client, user", number(profile, "client_user_ns_per_push")},
                               {"client, kernel", number(profile, "client_system_ns_per_push")},
                               {"mock", number(profile, "mock_cpu_ns_per_push")}}}};
  std::string out = draw_stack("CPU a push, client and mock", Unit::nanoseconds, rows);
  if (!profile.contains("stages") || !profile.at("stages").is_object()) {
    return out + draw_stack("Client CPU a push", Unit::nanoseconds,
                            {{"client", {{"shards", number(profile, "client_cpu_ns_per_push") - producer}, {"producer", producer}}}});
  }
  StackRow stages{"client", {}};
  for (const auto& [name, value] : profile.at("stages").items()) {
    if (value.is_number()) stages.parts.emplace_back(name, value.get<double>());
  }
  return out + draw_stack("Client CPU a push by stage (a run of its own)", Unit::nanoseconds, {stages});
}

std::string curve_charts(const Json& profile) {
  Series cpu{"client CPU a push", {}}, mock{"mock CPU a push", {}};
  std::vector<Series> latency{{"p50", {}}, {"p99", {}}, {"p99.9", {}}, {"longest", {}}};
  for (const Json& run : list(profile, "curve")) {
    const double rate = number(run, "rate");
    cpu.points.emplace_back(rate, number(run, "client_cpu_ns_per_push"));
    mock.points.emplace_back(rate, number(run, "mock_cpu_ns_per_push"));
    const char* names[] = {"p50_us", "p99_us", "p999_us", "max_us"};
    for (std::size_t i = 0; i < latency.size(); ++i) latency[i].points.emplace_back(rate, number(run, names[i]));
  }
  return draw(LineChart{.title = "CPU a push over the offered rate", .x_label = "pushes offered a second", .x_unit = Unit::count,
                        .y_unit = Unit::nanoseconds, .x_log = true, .y_log = true, .series = {std::move(cpu), std::move(mock)}, .x_ticks = {}}) +
         draw(LineChart{.title = "Latency over the offered rate, from the intended time", .x_label = "pushes offered a second",
                        .x_unit = Unit::count, .y_unit = Unit::microseconds, .x_log = true, .y_log = true, .series = std::move(latency),
                        .x_ticks = {}});
}

std::string sweep_charts(const Json& profile) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<Bar>> bars;
  for (const Json& point : list(profile, "sweeps")) {
    const std::string name = word(point, "name");
    if (bars[name].empty()) order.push_back(name);
    const bool valid = point.contains("valid") && point.at("valid").is_boolean() && point.at("valid").get<bool>();
    Bar bar{name + " " + word(point, "value"), number(point, "client_cpu_ns_per_push"), 0, 0,
            fmt::format("({}/s{})", unit_text(number(point, "pushes_per_second"), Unit::count), valid ? "" : ", void"), 0};
    bars[name].push_back(std::move(bar));
  }
  std::string out;
  for (const std::string& name : order) out += draw(BarChart{"Client CPU a push by " + name, Unit::nanoseconds, bars[name], 0});
  return out;
}

std::string comparison_section(const Comparison& comparison) {
  std::vector<Bar> bars;
  for (const Compared& figure : comparison.figures) {
    // An interval that is not bounded has no whisker.
    const bool bounded = std::isfinite(figure.high) && figure.low > 0;
    bars.push_back({figure.profile + " " + figure.metric.substr(0, figure.metric.find("_per_push")), figure.ratio, bounded ? figure.low : 0,
                    bounded ? figure.high : 0, figure.differs() ? "x" : "x (not shown)", figure.differs() ? 1 : 7});
  }
  std::string out = "<h2>Against the other result</h2><p>Ratios, after over before; whiskers: 95 % interval by bootstrap over the runs, "
                    "or the extremes with fewer than three. Grey, (not shown): the interval holds 1, so no difference is shown.</p><div class=\"charts\">" +
                    draw(BarChart{"Ratio by figure", Unit::plain, bars, 1}) + "</div>";
  std::string rows;
  for (const std::string& difference : comparison.differences) rows += "<tr><td>differs</td><td>" + html_escape(difference) + "</td></tr>";
  for (const std::string& name : comparison.left_out) rows += "<tr><td>only on one side</td><td>" + html_escape(name) + "</td></tr>";
  if (!comparison.valid) out += "<div class=\"void\">One of the two results is void.</div>";
  return rows.empty() ? out : out + "<details open><summary>What else differs</summary><table>" + rows + "</table></details>";
}

std::string table_of(const std::string& title, const Json& object) {
  std::string rows;
  for (const auto& [name, value] : object.items()) {
    if (value.is_array() || value.is_object()) continue;
    rows += "<tr><td>" + html_escape(name) + "</td><td>" + html_escape(value.is_string() ? value.get<std::string>() : value.dump()) + "</td></tr>";
  }
  return "<details><summary>" + html_escape(title) + "</summary><table>" + rows + "</table></details>";
}

std::string profile_section(const Json& profile) {
  std::string out = fmt::format("<h2>{}</h2><p>{} loop{}, {} connections x {} streams, {} shard(s), TLS {} with {}, codec {}, {} runs, spread {:.1f} %</p>",
                                html_escape(word(profile, "profile")), html_escape(word(profile, "loop")),
                                profile.contains("rate") ? " at " + unit_text(number(profile, "rate"), Unit::count) + "/s" : std::string(),
                                word(profile, "connections"), word(profile, "streams"), word(profile, "shards"), html_escape(word(profile, "tls")),
                                html_escape(word(profile, "crypto")), html_escape(word(profile, "codec")), word(profile, "runs"),
                                100 * number(profile, "spread"));
  for (const Json& reason : list(profile, "void_because")) {
    if (reason.is_string()) out += "<div class=\"void\">Void: " + html_escape(reason.get<std::string>()) + "</div>";
  }
  out += tiles_of(profile);
  out += "<div class=\"charts\">" + time_charts(profile) + percentile_chart(profile) + cost_charts(profile) + curve_charts(profile) +
         sweep_charts(profile) + "</div>";
  out += table_of("All figures of " + word(profile, "profile"), profile);
  if (profile.contains("options") && profile.at("options").is_object()) out += table_of("Options", profile.at("options"));
  return out;
}

}  // namespace

std::string report_html(const nlohmann::ordered_json& document, const Comparison* comparison) {
  const Json& environment = document.at("environment");
  std::string out = kHead + colour_rules() + "</style></head><body><main>";
  out += fmt::format("<h1>tocsin bench</h1><p>{} &middot; {} &middot; {} CPUs &middot; {} &middot; tocsin {} {}</p>",
                     html_escape(word(environment, "time")), html_escape(word(environment, "cpu")), html_escape(word(environment, "cpus")),
                     html_escape(word(environment, "kernel")), html_escape(word(environment, "tocsin")),
                     html_escape(word(environment, "commit").substr(0, 12)));
  if (comparison != nullptr) out += comparison_section(*comparison);
  for (const Json& profile : document.at("profiles")) out += profile_section(profile);
  return out + table_of("Environment", environment) + "</main></body></html>\n";
}

}  // namespace tocsin::cli::bench
