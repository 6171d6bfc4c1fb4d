// SPDX-License-Identifier: Apache-2.0
#include "obs/exposition.h"

#include <array>
#include <charconv>
#include <cmath>

namespace tocsin::obs {
namespace {

template <class T>
std::string number(T value) {
  std::array<char, 32> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return std::string(digits.data(), end);
}

// The format spells what JSON and printf spell otherwise.
std::string real(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return number(value);
}

void escape(std::string_view text, bool quote_too, std::string& out) {
  for (const char c : text) {
    if (c == '\\') out += "\\\\";
    else if (c == '\n') out += "\\n";
    else if (c == '"' && quote_too) out += "\\\"";
    else out += c;
  }
}

std::string_view type_name(MetricType type) {
  switch (type) {
    case MetricType::counter: return "counter";
    case MetricType::gauge: return "gauge";
    case MetricType::summary: return "summary";
  }
  return "untyped";
}

}  // namespace

void Exposition::head(Metric metric) {
  if (metric == last_) return;
  last_ = metric;
  const MetricInfo& info = metric_info(metric);
  text_.append("# HELP ").append(info.name).append(" ");
  escape(info.help, false, text_);
  text_.append("\n# TYPE ").append(info.name).append(" ").append(type_name(info.type)).append("\n");
}

void Exposition::line(std::string_view name, std::string_view suffix, std::span<const Label> labels,
                      std::string_view quantile, std::string_view value) {
  text_.append(name).append(suffix);
  if (!labels.empty() || !quantile.empty()) {
    text_ += '{';
    bool first = true;
    for (const Label& label : labels) {
      if (!first) text_ += ',';
      first = false;
      text_.append(label.name).append("=\"");
      escape(label.value, true, text_);
      text_ += '"';
    }
    if (!quantile.empty()) {
      if (!first) text_ += ',';
      text_.append("quantile=\"").append(quantile).append("\"");
    }
    text_ += '}';
  }
  text_.append(" ").append(value).append("\n");
}

void Exposition::add(Metric metric, std::uint64_t value, std::initializer_list<Label> labels) {
  head(metric);
  line(metric_info(metric).name, "", {labels.begin(), labels.size()}, "", number(value));
}

void Exposition::add_real(Metric metric, double value, std::initializer_list<Label> labels) {
  head(metric);
  line(metric_info(metric).name, "", {labels.begin(), labels.size()}, "", real(value));
}

void Exposition::add_summary(Metric metric, const Histogram& histogram, double scale,
                             std::initializer_list<Label> labels) {
  struct Quantile {
    double percent;
    std::string_view text;
  };
  constexpr Quantile kQuantiles[] = {{50, "0.5"}, {90, "0.9"}, {99, "0.99"}, {99.9, "0.999"}};
  head(metric);
  const std::string_view name = metric_info(metric).name;
  const std::span<const Label> all{labels.begin(), labels.size()};
  for (const Quantile& q : kQuantiles) {
    // An empty summary has no quantiles; the format asks for NaN there.
    const double value = histogram.count() == 0 ? NAN : static_cast<double>(histogram.percentile(q.percent)) * scale;
    line(name, "", all, q.text, real(value));
  }
  line(name, "_sum", all, "", real(histogram.sum() * scale));
  line(name, "_count", all, "", number(histogram.count()));
}

}  // namespace tocsin::obs
