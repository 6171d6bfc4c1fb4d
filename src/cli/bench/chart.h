// SPDX-License-Identifier: Apache-2.0
// Charts as inline SVG: lines, bars, stacked bars. They carry classes and no colours; the page's style sheet has those, for light
// and dark. Pure: data in, text out. Text is escaped here. Values that are not finite, or not positive on a logarithmic axis, are
// left out.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tocsin::cli::bench {

// How an axis or a bar writes its numbers.
enum class Unit { plain, count, microseconds, nanoseconds, bytes };
std::string unit_text(double value, Unit unit);

std::string html_escape(const std::string& text);

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // by x, ascending
};

struct LineChart {
  std::string title;
  std::string x_label;
  Unit x_unit = Unit::plain;
  Unit y_unit = Unit::plain;
  bool x_log = false;
  bool y_log = false;
  std::vector<Series> series;                         // at most eight
  std::vector<std::pair<double, std::string>> x_ticks;  // in place of the axis' own
};
std::string draw(const LineChart& chart);  // "" if there is no point

struct Bar {
  std::string label;
  double value = 0;
  double low = 0, high = 0;  // an interval, where high > low
  std::string note;          // behind the value
  int colour = 0;            // which of the page's eight
};
struct BarChart {
  std::string title;
  Unit unit = Unit::plain;
  std::vector<Bar> bars;
  double mark = 0;           // a line across at this value; 0: none
};
std::string draw(const BarChart& chart);

// One bar a row, cut into parts; the legend names them with their values.
struct StackRow {
  std::string label;
  std::vector<std::pair<std::string, double>> parts;
};
std::string draw_stack(const std::string& title, Unit unit, const std::vector<StackRow>& rows);

}  // namespace tocsin::cli::bench
