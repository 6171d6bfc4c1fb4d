// SPDX-License-Identifier: Apache-2.0
// Exposition: metrics as text in the Prometheus format (version 0.0.4).
//
// Threads: one at a time. Ownership: owns the text. Samples of one metric must follow one another, as the
// format asks; HELP and TYPE are written before the first. Bounds: what the caller adds.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "obs/histogram.h"
#include "obs/metrics.h"

namespace tocsin::obs {

inline constexpr std::string_view kExpositionContentType = "text/plain; version=0.0.4; charset=utf-8";

struct Label {
  std::string_view name;
  std::string_view value;
};

class Exposition {
 public:
  void add(Metric metric, std::uint64_t value, std::initializer_list<Label> labels = {});
  void add_real(Metric metric, double value, std::initializer_list<Label> labels = {});

  // Quantiles 0.5, 0.9, 0.99 and 0.999, sum and count; values times `scale` (1e-9: nanoseconds as seconds).
  void add_summary(Metric metric, const Histogram& histogram, double scale, std::initializer_list<Label> labels = {});

  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  void head(Metric metric);
  void line(std::string_view name, std::string_view suffix, std::span<const Label> labels, std::string_view quantile,
            std::string_view value);

  std::string text_;
  Metric last_ = Metric::count_;
};

}  // namespace tocsin::obs
