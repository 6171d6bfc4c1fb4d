// SPDX-License-Identifier: Apache-2.0
// The histogram against a sorted vector, and the exposition text letter by letter.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/prng.h"
#include "obs/exposition.h"
#include "obs/histogram.h"
#include "obs/metrics.h"

namespace tocsin::obs {
namespace {

std::uint64_t true_percentile(const std::vector<std::uint64_t>& sorted, double percent) {
  const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(sorted.size())));
  return sorted[rank == 0 ? 0 : rank - 1];
}

void expect_like_model(const Histogram& histogram, std::vector<std::uint64_t> values) {
  std::sort(values.begin(), values.end());
  ASSERT_EQ(histogram.count(), values.size());
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
  for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const std::uint64_t truth = true_percentile(values, percent);
    const std::uint64_t answer = histogram.percentile(percent);
    EXPECT_GE(answer, truth) << percent;
    EXPECT_LE(static_cast<double>(answer), static_cast<double>(truth) * (1 + 1.0 / 64) + 0.5) << percent;
  }
}

TEST(Histogram, FollowsASortedVectorOverAllMagnitudes) {
  base::Prng prng(7);
  Histogram histogram;
  std::vector<std::uint64_t> values;
  double sum = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t value = prng.next() >> (18 + prng.below(46));  // 0 to 46 bits
    values.push_back(value);
    histogram.record(value);
    sum += static_cast<double>(value);
  }
  expect_like_model(histogram, values);
  EXPECT_NEAR(histogram.mean(), sum / 20'000, 1e-6 * sum);
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (std::uint64_t v = 0; v < 128; ++v) histogram.record(v);
  for (std::uint64_t v = 0; v < 128; ++v) {
    EXPECT_EQ(histogram.percentile(100.0 * static_cast<double>(v + 1) / 128), v);
  }
}

TEST(Histogram, EveryBucketEdgeStaysWithinItsError) {
  for (unsigned bits = 7; bits < Histogram::kValueBits; ++bits) {
    for (const std::uint64_t value : {(std::uint64_t{1} << bits) - 1, std::uint64_t{1} << bits, (std::uint64_t{1} << bits) + 1}) {
      Histogram histogram;
      histogram.record(value);
      histogram.record(Histogram::kValueMax);
      const std::uint64_t answer = histogram.percentile(50);
      EXPECT_GE(answer, value);
      EXPECT_LE(answer - value, value / 64);
    }
  }
}

TEST(Histogram, MergingEqualsRecordingAll) {
  base::Prng prng(3);
  Histogram a, b, whole;
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 4'000; ++i) {
    const std::uint64_t value = prng.below(1'000'000'000);
    values.push_back(value);
    (i % 3 == 0 ? a : b).record(value);
    whole.record(value);
  }
  a.merge(b);
  a.merge(Histogram{});
  expect_like_model(a, values);
  EXPECT_EQ(a.percentile(99), whole.percentile(99));
  Histogram empty;
  empty.merge(a);
  EXPECT_EQ(empty.min(), a.min());
}

TEST(Histogram, EmptyAndBeyondTheRange) {
  Histogram histogram;
  EXPECT_EQ(histogram.percentile(50), 0u);
  EXPECT_EQ(histogram.mean(), 0);
  histogram.record(~std::uint64_t{0}, 3);
  EXPECT_EQ(histogram.count(), 3u);
  EXPECT_EQ(histogram.max(), ~std::uint64_t{0});
  EXPECT_EQ(histogram.percentile(100), ~std::uint64_t{0});
}

TEST(Metrics, NamesAreUniquePrefixedAndCountersEndInTotal) {
  std::set<std::string> names;
  for (const MetricInfo& info : metric_table()) {
    const std::string name = info.name;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(name.rfind("tocsin_", 0), 0u) << name;
    EXPECT_EQ(info.type == MetricType::counter, name.ends_with("_total")) << name;
    EXPECT_GT(std::string(info.help).size(), 10u) << name;
  }
  EXPECT_EQ(names.size(), kMetrics);
}

TEST(Exposition, WritesHeadsOnceAndEscapesLabels) {
  Exposition exposition;
  exposition.add(Metric::push_rejections, 3, {{"reason", "BadTopic"}});
  exposition.add(Metric::push_rejections, 4, {{"reason", "a\"b\\c\nd"}, {"topic", "x"}});
  exposition.add(Metric::pushes_waiting, 0);
  EXPECT_EQ(exposition.text(),
            "# HELP tocsin_push_rejections_total Pushes that APNs rejected, by reason.\n"
            "# TYPE tocsin_push_rejections_total counter\n"
            "tocsin_push_rejections_total{reason=\"BadTopic\"} 3\n"
            "tocsin_push_rejections_total{reason=\"a\\\"b\\\\c\\nd\",topic=\"x\"} 4\n"
            "# HELP tocsin_pushes_waiting Pushes in inboxes and queues, not yet written.\n"
            "# TYPE tocsin_pushes_waiting gauge\n"
            "tocsin_pushes_waiting 0\n");
}

TEST(Exposition, SummariesScaleAndSayNaNWhenEmpty) {
  Histogram histogram;
  histogram.record(2'000'000'000);
  Exposition exposition;
  exposition.add_summary(Metric::push_latency, histogram, 1e-9, {{"shard", "0"}});
  EXPECT_NE(exposition.text().find("tocsin_push_latency_seconds{shard=\"0\",quantile=\"0.99\"} 2\n"), std::string::npos)
      << exposition.text();
  EXPECT_NE(exposition.text().find("tocsin_push_latency_seconds_sum{shard=\"0\"} 2\n"), std::string::npos);
  EXPECT_NE(exposition.text().find("tocsin_push_latency_seconds_count{shard=\"0\"} 1\n"), std::string::npos);
  Exposition empty;
  empty.add_summary(Metric::push_latency, Histogram{}, 1e-9);
  EXPECT_NE(empty.text().find("{quantile=\"0.5\"} NaN\n"), std::string::npos) << empty.text();
  EXPECT_NE(empty.text().find("_count 0\n"), std::string::npos);
}

TEST(Counter, AddsSubtractsAndSets) {
  Counter counter;
  counter.add(5);
  counter.sub(2);
  EXPECT_EQ(counter.get(), 3u);
  counter.set(9);
  EXPECT_EQ(counter.get(), 9u);
}

}  // namespace
}  // namespace tocsin::obs
