// SPDX-License-Identifier: Apache-2.0
// The bench's judgement without a bench: conditions, sweeps, void results, the text of a distribution.
#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/bench/chart.h"
#include "cli/bench/comparison.h"
#include "cli/bench/fail_if.h"
#include "cli/bench/options.h"
#include "cli/bench/profile_result.h"
#include "cli/bench/report.h"
#include "cli/bench/results.h"

namespace tocsin::cli::bench {
namespace {

RunResult good_run(double cpu_ns = 1000, double rate = 100'000) {
  RunResult run;
  run.seconds = 1;
  run.pushes = static_cast<std::uint64_t>(rate);
  run.pushes_per_second = rate;
  run.client_cpu_ns = cpu_ns;
  run.mock_cpu_ns = 500;
  run.mock_busy = 0.5;
  run.allocations = 0;
  run.crypto = "none";
  run.connections_open = run.spec.connections;
  run.latency = std::make_unique<obs::Histogram>();
  run.latency->record(1'000'000, 99);
  run.latency->record(5'000'000);
  run.submitted = run.ended = run.ends[static_cast<std::size_t>(End::accepted)] = 100;
  run.mock.requests = run.mock.accepted = 100;
  return run;
}

ProfileResult result_of(std::vector<double> cpu_ns) {
  ProfileResult result;
  result.profile = "validate";
  for (const double ns : cpu_ns) result.runs.push_back(good_run(ns));
  return result;
}

std::string why(RunResult run) {
  judge(run);
  std::string out;
  for (const std::string& reason : run.void_because) out += reason + "\n";
  return out;
}

TEST(BenchJudge, BelievesOneWhoseLedgerAgrees) { EXPECT_EQ(why(good_run()), ""); }

TEST(BenchJudge, FindsEachReasonForAVoidRun) {
  RunResult lost = good_run();
  lost.submitted = 101;
  EXPECT_NE(why(std::move(lost)).find("1 of 101 pushes had no outcome"), std::string::npos);

  RunResult rejected = good_run();
  rejected.ends[static_cast<std::size_t>(End::accepted)] = 99;
  rejected.ends[static_cast<std::size_t>(End::rejected)] = 1;
  rejected.first_failure = "rejected: 400 BadDeviceToken";
  rejected.mock.accepted = 99;
  rejected.mock.rejected = 1;
  const std::string said = why(std::move(rejected));
  EXPECT_NE(said.find("1 pushes were not accepted, first rejected: 400 BadDeviceToken"), std::string::npos) << said;
  EXPECT_NE(said.find("99 accepted and 1 rejected"), std::string::npos) << said;

  RunResult differs = good_run();
  differs.mock.accepted = 98;
  EXPECT_NE(why(std::move(differs)).find("98 accepted"), std::string::npos);

  RunResult busy = good_run();
  busy.mock_busy = 0.91;
  EXPECT_NE(why(std::move(busy)).find("busy for 91 %"), std::string::npos);
  const auto flood = [](std::uint64_t validated) {
    RunResult run = good_run();
    run.spec.profile = "flood";
    run.spec.validate_first = 50;
    run.mock.validated = validated;
    return run;
  };
  EXPECT_NE(why(flood(40)).find("only 40 of the first 50"), std::string::npos);
  EXPECT_NE(why(flood(100)).find("did not begin"), std::string::npos);
  EXPECT_EQ(why(flood(60)), "");
  RunResult few = good_run();
  --few.connections_open;
  EXPECT_NE(why(std::move(few)).find("3 of 4 connections were open"), std::string::npos);
  RunResult nearly = good_run();
  nearly.mock_busy = 0.9;
  EXPECT_EQ(why(std::move(nearly)), "");
}

TEST(BenchJudge, ASpreadBeyondTheBoundVoidsTheProfile) {
  ProfileResult near = result_of({1000, 1050, 1100});
  EXPECT_TRUE(void_reasons(near).empty());
  EXPECT_NEAR(spread_of(near), 100.0 / 1050, 1e-9);
  EXPECT_TRUE(headline(near).at("valid").get<bool>());
  ProfileResult far = result_of({1000, 1050, 1300});
  ASSERT_EQ(void_reasons(far).size(), 1u);
  EXPECT_NE(void_reasons(far)[0].find("28.6 %"), std::string::npos) << void_reasons(far)[0];
  EXPECT_FALSE(headline(far).at("valid").get<bool>());
  // At a fixed rate the rate says nothing; in closed loop it must agree as well.
  ProfileResult open = result_of({1000, 1000});
  open.runs[0].pushes_per_second = 50'000;
  EXPECT_FALSE(void_reasons(open).empty());
  for (RunResult& run : open.runs) run.spec.rate = 1000;
  EXPECT_TRUE(void_reasons(open).empty());
}

TEST(BenchHeadline, HasTheFiguresThatScriptsRelyOn) {
  ProfileResult result = result_of({900, 1000, 1200});
  result.spread_max = 1;
  result.ceiling = good_run();
  const nlohmann::ordered_json line = headline(result);
  for (const char* name : {"profile", "pushes_per_second", "client_cpu_ns_per_push", "mock_cpu_ns_per_push", "unattributed_cpu_share",
                           "allocations_per_push", "p50_us", "p99_us", "p999_us", "not_started", "connections", "streams", "codec",
                           "crypto", "valid"}) {
    EXPECT_TRUE(line.contains(name)) << name;
  }
  EXPECT_EQ(line.at("client_cpu_ns_per_push").get<double>(), 1000);
  EXPECT_EQ(line.at("mock_ceiling_pushes_per_second").get<double>(), 2'000'000);
  EXPECT_FALSE(line.at("mock_bound").get<bool>());
  EXPECT_NEAR(line.at("p50_us").get<double>(), 1000, 16);
  EXPECT_EQ(line.at("max_us").get<double>(), 5000);
  // A mock that could do less than 1.3 times what was measured is told as the bound that it is.
  result.ceiling->mock_cpu_ns = 8000;
  EXPECT_TRUE(headline(result).at("mock_bound").get<bool>());
  // What was not measured is null, and no number.
  for (RunResult& run : result.runs) run.allocations = -1;
  EXPECT_TRUE(headline(result).at("allocations_per_push").is_null());
  EXPECT_FALSE(text_summary(result).empty());
}

TEST(BenchFailIf, ComparesAFigureWithALimit) {
  const std::vector<std::string> names = metric_names();
  const nlohmann::ordered_json line{{"p999_us", 2000.0}, {"allocations_per_push", nullptr}};
  for (const auto& [text, expected] : {std::pair{"p999_us>2000", false}, {"p999_us>=2000", true}, {" p999_us < 2000.5 ", true},
                                       {"p999_us<=1999", false}, {"p999_us==2e3", true}, {"p999_us!=2000", false}}) {
    const auto parsed = parse_fail_if(text, names);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.error().message;
    EXPECT_EQ(holds(*parsed, line), expected) << text;
  }
  // A limit on what was not measured is not kept.
  EXPECT_TRUE(holds(parse_fail_if("allocations_per_push>0", names).value(), line));
}

TEST(BenchFailIf, SaysWhereItIsWrong) {
  const std::vector<std::string> names = metric_names();
  for (const auto& [text, expected] : {std::pair{"", "column 1: a figure's name"}, {"latency>3", "column 1: there is no figure 'latency'"},
                                       {"p999_us 3", "column 9: one of <"}, {"p999_us>", "column 9: a number"},
                                       {"p999_us>>3", "column 9: a number"}, {"p999_us>3us", "column 10: nothing"}}) {
    const auto parsed = parse_fail_if(text, names);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_NE(parsed.error().message.find(expected), std::string::npos) << text << ": " << parsed.error().message;
  }
}

TEST(BenchSweep, NamesADimensionAndItsValues) {
  const auto sweep = parse_sweep("connections=1,4,64");
  ASSERT_TRUE(sweep.ok());
  EXPECT_EQ(sweep->name, "connections");
  EXPECT_EQ(sweep->values, (std::vector<std::string>{"1", "4", "64"}));
  for (const char* text : {"streams=1", "shards=2", "payload=0,4096", "delay=0,50ms", "auth=cert,token", "tls=1.2,1.3", "codec=fast,nghttp2"}) {
    EXPECT_TRUE(parse_sweep(text).ok()) << text;
  }
  for (const char* text : {"connections", "connections=", "connections=1,,2", "connections=0", "colour=red", "tls=1.1", "auth=none",
                           "payload=5000", "delay=fast"}) {
    EXPECT_FALSE(parse_sweep(text).ok()) << text;
  }
  RunSpec spec;
  ASSERT_TRUE(set_dimension(spec, "auth", "token").ok());
  ASSERT_TRUE(set_dimension(spec, "tls", "1.2").ok());
  EXPECT_EQ(spec.auth, Auth::token);
  EXPECT_EQ(spec.tls, 12u);
}

TEST(BenchHgrm, IsADistributionThatEndsAtItsMaximum) {
  obs::Histogram latency;
  for (std::uint64_t i = 1; i <= 100'000; ++i) latency.record(i * 1000);
  std::istringstream text(hgrm_text(latency));
  std::string line;
  std::getline(text, line);
  EXPECT_EQ(line, "       Value     Percentile TotalCount 1/(1-Percentile)");
  std::getline(text, line);
  EXPECT_EQ(line, "");
  double last_value = -1, last_share = -1, share = 0;
  std::size_t rows = 0;
  while (std::getline(text, line) && line[0] != '#') {
    std::istringstream row(line);
    double value = 0;
    std::uint64_t count = 0;
    row >> value >> share >> count;
    ASSERT_FALSE(row.fail()) << line;
    EXPECT_GE(value, last_value);
    EXPECT_GT(share, last_share);
    EXPECT_NEAR(static_cast<double>(count), share * 100'000, 1);
    EXPECT_LE(share * 100'000, value * 1.001);  // values are 1 to 100,000 us: none may be told smaller than it was
    last_value = value;
    last_share = share;
    ++rows;
  }
  EXPECT_GT(rows, 30u);
  EXPECT_EQ(share, 1.0);
  EXPECT_EQ(last_value, 100'000.0);
  EXPECT_EQ(line.substr(0, 6), "#[Mean");
  EXPECT_NE(hgrm_text(obs::Histogram{}).find("#[Max     =        0.000, Total count    =            0]"), std::string::npos);
}

nlohmann::ordered_json document_of(std::vector<double> cpu_ns, const char* kernel) {
  ProfileResult result = result_of(std::move(cpu_ns));
  result.spread_max = 10;
  result.runs[0].series.push_back({0.1, 100'000, 1000, 2000, 5000});
  result.ceiling = good_run();
  result.staged = good_run();
  result.staged->stage_cpu_ns[static_cast<std::size_t>(Stage::step)] = 700;
  for (const double rate : {1e3, 1e4}) {
    result.curve.push_back(good_run(500'000 / std::sqrt(rate), rate));
    result.curve.back().spec.rate = rate;
  }
  result.sweeps.push_back({"connections", "64", good_run()});
  return {{"environment", {{"kernel", kernel}, {"cpu", "<a> & \"b\""}, {"time", "now"}}}, {"profiles", {full_record(result)}}};
}

const Compared& figure_of(const Comparison& comparison, const std::string& metric) {
  for (const Compared& figure : comparison.figures) {
    if (figure.metric == metric) return figure;
  }
  throw std::out_of_range(metric);
}

TEST(BenchCompare, TellsADifferenceFromNoise) {
  const auto before = document_of({1000, 1010, 990, 1005, 995}, "one");
  // Half the cost, beyond any doubt; and the same runs again.
  const Comparison faster = compare_results(before, document_of({500, 505, 495, 502, 498}, "one"));
  EXPECT_NEAR(figure_of(faster, "client_cpu_ns_per_push").ratio, 0.5, 1e-9);
  EXPECT_TRUE(figure_of(faster, "client_cpu_ns_per_push").differs());
  EXPECT_LE(figure_of(faster, "client_cpu_ns_per_push").low, 0.5);
  EXPECT_GE(figure_of(faster, "client_cpu_ns_per_push").high, 0.5);
  EXPECT_LT(figure_of(faster, "client_cpu_ns_per_push").high, 0.52);
  EXPECT_FALSE(figure_of(faster, "pushes_per_second").differs());
  EXPECT_TRUE(faster.differences.empty());
  EXPECT_TRUE(faster.valid);
  const Comparison same = compare_results(before, document_of({1003, 992, 1008, 1000, 996}, "one"));
  EXPECT_FALSE(figure_of(same, "client_cpu_ns_per_push").differs());
  // The same files give the same interval.
  const Comparison again = compare_results(before, document_of({1003, 992, 1008, 1000, 996}, "one"));
  EXPECT_EQ(comparison_json(same).dump(), comparison_json(again).dump());
}

TEST(BenchCompare, WithFewRunsTheIntervalIsTheExtremes) {
  const Interval interval = ratio_interval({100, 110}, {50, 66});
  EXPECT_DOUBLE_EQ(interval.low, 50.0 / 110);
  EXPECT_DOUBLE_EQ(interval.high, 66.0 / 100);
  // Nothing is a multiple of zero.
  EXPECT_EQ(ratio_interval({0, 1}, {1, 1}).low, 0);
  EXPECT_FALSE(std::isfinite(ratio_interval({0, 1}, {1, 1}).high));
}

TEST(BenchCompare, NamesWhatElseDiffersAndWhoIsVoid) {
  const auto before = document_of({1000}, "one");
  auto after = document_of({1000}, "two");
  after["profiles"][0]["streams"] = 5;
  after["profiles"][0]["valid"] = false;
  after["profiles"].push_back({{"profile", "flood"}});
  const Comparison comparison = compare_results(before, after);
  EXPECT_EQ(comparison.differences, (std::vector<std::string>{"kernel: one / two", "validate: streams: 1000 / 5"}));
  EXPECT_EQ(comparison.left_out, std::vector<std::string>{"flood"});
  EXPECT_FALSE(comparison.valid);
  const std::string text = comparison_text(comparison);
  for (const char* part : {"differs  kernel: one / two", "only one of the two has the profile flood", "VOID"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(BenchReport, IsOnePageThatFetchesNothing) {
  const auto before = document_of({1000, 1010, 990}, "one");
  const auto after = document_of({500, 505, 495}, "two");
  const Comparison comparison = compare_results(before, after);
  const std::string page = report_html(after, &comparison);
  for (const char* part : {"Throughput over time", "Latency over time", "Latency by percentile", "Client CPU a push by stage",
                           "CPU a push over the offered rate", "Latency over the offered rate", "Client CPU a push by connections",
                           "Ratio by figure", "kernel: one / two", "prefers-color-scheme:dark", "&lt;a&gt; &amp; &quot;b&quot;"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  for (const char* part : {"http://", "https://", "src=", "href=", "url(", "@import", "<script", "<a>", "nan", "inf\""}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
  const auto count = [&page](std::string_view what) {
    std::size_t times = 0;
    for (std::size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++times;
    return times;
  };
  for (const char* tag : {"svg", "figure", "div", "details", "table", "text", "title", "h2"}) {
    EXPECT_EQ(count("<" + std::string(tag) + ">") + count("<" + std::string(tag) + " "), count("</" + std::string(tag) + ">")) << tag;
  }
  // A document with little in it is drawn as far as it goes.
  const nlohmann::ordered_json bare{{"environment", nlohmann::ordered_json::object()}, {"profiles", {{{"profile", "validate"}}}}};
  EXPECT_NE(report_html(bare, nullptr).find("<h2>validate</h2>"), std::string::npos);
}

// `--NAME:#rgb` or `#rrggbb` of a piece of a style sheet, as what WCAG 2 calls relative luminance.
std::map<std::string, double> palette_of(const std::string& css) {
  std::map<std::string, double> out;
  for (std::size_t at = css.find("--"); at != std::string::npos; at = css.find("--", at + 2)) {
    const std::size_t colon = css.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789", at + 2);
    if (colon == std::string::npos || css.compare(colon, 2, ":#") != 0) continue;  // a use, not a definition
    std::string digits = css.substr(colon + 2, css.find_first_of(";}", colon) - colon - 2);
    if (digits.size() == 3) digits = {digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]};
    constexpr double kWeights[] = {0.2126, 0.7152, 0.0722};
    double luminance = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double part = std::stoi(digits.substr(2 * i, 2), nullptr, 16) / 255.0;
      luminance += kWeights[i] * (part <= 0.04045 ? part / 12.92 : std::pow((part + 0.055) / 1.055, 2.4));
    }
    out[css.substr(at + 2, colon - at - 2)] = luminance;
  }
  return out;
}

TEST(BenchReport, BothPalettesDefineEveryColourAndAreReadable) {
  const std::string page = report_html(document_of({1000, 1010, 990}, "one"), nullptr);
  const std::size_t dark_at = page.find("@media (prefers-color-scheme:dark)");
  const std::size_t dark_end = page.find("}}", dark_at);
  ASSERT_NE(dark_end, std::string::npos);
  const auto light = palette_of(page.substr(0, dark_at)), dark = palette_of(page.substr(dark_at, dark_end - dark_at + 1));
  std::size_t uses = 0;
  for (std::size_t at = page.find("var(--"); at != std::string::npos; at = page.find("var(--", at + 1), ++uses) {
    const std::string name = page.substr(at + 6, page.find(')', at) - at - 6);
    EXPECT_TRUE(light.contains(name) && dark.contains(name)) << name;
  }
  EXPECT_GT(uses, 30u);
  // WCAG 2, level AA: 4.5 for text, 3 for what is drawn.
  const auto readable = [](const std::map<std::string, double>& palette, const std::string& front, const std::string& back, double least) {
    const auto [low, high] = std::minmax(palette.at(front), palette.at(back));
    EXPECT_GE((high + 0.05) / (low + 0.05), least) << front << " on " << back;
  };
  for (const auto& palette : {light, dark}) {
    for (const char* back : {"page", "card"}) {
      readable(palette, "ink", back, 4.5);
      readable(palette, "soft", back, 4.5);
    }
    readable(palette, "bad", "badback", 4.5);
    for (char colour = '0'; colour < '8'; ++colour) readable(palette, std::string("c") + colour, "card", 3);
  }
  EXPECT_GT(light.at("page"), dark.at("page"));
}

TEST(BenchChart, LeavesOutWhatCannotBeDrawn) {
  LineChart chart{.title = "t", .x_label = "x", .x_log = true, .y_log = true, .series = {}, .x_ticks = {}};
  chart.series = {{"a", {{0, 1}, {1, 0}, {1, std::nan("")}}}};
  EXPECT_EQ(draw(chart), "");
  chart.series[0].points.emplace_back(10, 100);
  EXPECT_NE(draw(chart).find("<path class=\"line l0\""), std::string::npos);
  EXPECT_EQ(draw(BarChart{"t", Unit::plain, {}, 0}), "");
  EXPECT_EQ(draw_stack("t", Unit::plain, {{"a", {{"b", 0.0}}}}), "");
  EXPECT_EQ(unit_text(1'234'567, Unit::count), "1.23M");
  EXPECT_EQ(unit_text(999.9, Unit::microseconds), "1.00 ms");
  EXPECT_EQ(unit_text(12'345, Unit::nanoseconds), "12,345 ns");
  EXPECT_EQ(unit_text(86.4, Unit::nanoseconds), "86.4 ns");
  EXPECT_EQ(unit_text(2048, Unit::bytes), "2 KiB");
}

}  // namespace
}  // namespace tocsin::cli::bench
