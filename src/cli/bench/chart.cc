// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

constexpr double kWidth = 640, kHeight = 260;
constexpr double kLeft = 62, kRight = 14, kTop = 12, kBottom = 44;
constexpr int kColours = 8;

std::string scaled(double value, const char* const* suffixes, double step, int count) {
  int at = 0;
  while (std::abs(value) >= step * 0.9995 && at + 1 < count) {
    value /= step;
    ++at;
  }
  const double size = std::abs(value);
  const int digits = size >= 100 || value == std::round(value) ? 0 : size >= 10 ? 1 : 2;
  std::string text = fmt::format("{:.{}f}", value, digits);
  return text + suffixes[at];
}

// Places for ticks: 1, 2 or 5 times a power of ten, about `want` of them.
std::vector<double> linear_ticks(double low, double high, int want) {
  const double raw = (high - low) / want;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = power * 10;
  for (const double each : {1.0, 2.0, 5.0}) {
    if (each * power >= raw) {
      step = each * power;
      break;
    }
  }
  std::vector<double> out;
  for (double at = std::ceil(low / step) * step; at <= high + step * 1e-9; at += step) out.push_back(std::abs(at) < step * 1e-9 ? 0 : at);
  return out;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> out;
  const bool few = std::log10(high / low) < 2;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high * 1.0001; power *= 10) {
    for (const double each : {1.0, 2.0, 5.0}) {
      const double at = each * power;
      if ((each == 1 || few) && at >= low * 0.9999 && at <= high * 1.0001) out.push_back(at);
    }
  }
  return out;
}

struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool log = false;
  double from = 0, to = 0;  // of the drawing

  bool takes(double value) const { return std::isfinite(value) && (!log || value > 0); }
  void see(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Room around what was seen; a linear axis of amounts begins at nothing.
  void settle(bool from_zero) {
    if (log) {
      const double room = high <= low * 1.01 ? 2 : 1.1;
      low /= room;
      high *= room;
      return;
    }
    if (from_zero) low = std::min(0.0, low), high += (high - low) * 0.08;
    if (high <= low) high = low + 1;
  }
  double place(double value) const {
    const double share = log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return from + share * (to - from);
  }
};

std::string figure(const std::string& title, const std::string& legend, const std::string& body, double height) {
  return fmt::format("<figure><figcaption>{}</figcaption>{}<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">{}</svg></figure>\n",
                     html_escape(title), legend, kWidth, height, html_escape(title), body);
}

std::string key(int colour, const std::string& text) {
  return fmt::format("<span class=\"key\"><i class=\"b{}\"></i>{}</span>", colour % kColours, html_escape(text));
}

}  // namespace

std::string unit_text(double value, Unit unit) {
  static constexpr const char* kCount[] = {"", "k", "M", "G"};
  static constexpr const char* kUs[] = {" us", " ms", " s"};
  static constexpr const char* kBytes[] = {" B", " KiB", " MiB", " GiB"};
  switch (unit) {
    case Unit::plain: return fmt::format("{:.4g}", value);
    case Unit::count: return scaled(value, kCount, 1000, 4);
    case Unit::microseconds: return scaled(value, kUs, 1000, 3);
    // One unit for all costs, so that they are compared at a glance.
    case Unit::nanoseconds: return (value < 100 ? fmt::format("{:.3g}", value) : format_count(static_cast<std::uint64_t>(std::llround(value)))) + " ns";
    case Unit::bytes: return scaled(value, kBytes, 1024, 4);
  }
  return "";
}

std::string html_escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string draw(const LineChart& chart) {
  Axis x, y;
  x.log = chart.x_log;
  y.log = chart.y_log;
  x.from = kLeft, x.to = kWidth - kRight;
  y.from = kHeight - kBottom, y.to = kTop;
  std::size_t points = 0;
  for (const Series& series : chart.series) {
    for (const auto& [px, py] : series.points) {
      if (!x.takes(px) || !y.takes(py)) continue;
      x.see(px);
      y.see(py);
      ++points;
    }
  }
  if (points == 0) return "";
  x.settle(false);
  y.settle(true);
  std::string body;
  for (const double at : y.log ? log_ticks(y.low, y.high) : linear_ticks(y.low, y.high, 5)) {
    const double py = y.place(at);
    body += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", x.from, x.to, py, py);
    body += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", x.from - 8, py + 4,
                        unit_text(at, chart.y_unit));
  }
  std::vector<std::pair<double, std::string>> ticks = chart.x_ticks;
  if (ticks.empty()) {
    for (const double at : x.log ? log_ticks(x.low, x.high) : linear_ticks(x.low, x.high, 6)) ticks.emplace_back(at, unit_text(at, chart.x_unit));
  }
  for (const auto& [at, text] : ticks) {
    if (!x.takes(at) || at < x.low || at > x.high * 1.001) continue;
    body += fmt::format("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>", x.place(at), y.from, y.to);
    body += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", x.place(at), y.from + 18,
                        html_escape(text));
  }
  body += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", (x.from + x.to) / 2, kHeight - 6,
                      html_escape(chart.x_label));
  std::string legend;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& series = chart.series[i];
    std::string path, dots;
    for (const auto& [px, py] : series.points) {
      if (!x.takes(px) || !y.takes(py)) continue;
      path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "M" : "L", x.place(px), y.place(py));
      // A wide, invisible dot for the pointer: it tells the value.
      dots += fmt::format("<circle class=\"{} c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"><title>{}: {} at {}</title></circle>",
                          series.points.size() <= 24 ? "dot" : "spot", i % kColours, x.place(px), y.place(py),
                          series.points.size() <= 24 ? 3 : 5, html_escape(series.name), unit_text(py, chart.y_unit),
                          unit_text(px, chart.x_unit));
    }
    body += fmt::format("<path class=\"line l{}\" d=\"{}\"/>{}", i % kColours, path, dots);
    if (chart.series.size() > 1) legend += key(static_cast<int>(i), series.name);
  }
  if (!legend.empty()) legend = "<div class=\"legend\">" + legend + "</div>";
  return figure(chart.title, legend, body, kHeight);
}

std::string draw(const BarChart& chart) {
  double most = chart.mark;
  double widest = 0;
  for (const Bar& bar : chart.bars) {
    most = std::max(most, bar.value);
    widest = std::max(widest, bar.high);
  }
  if (chart.bars.empty() || !(most > 0)) return "";
  most = std::clamp(widest, most, 1.5 * most);  // a wide interval is cut, so that the bars can still be told apart
  constexpr double kRow = 30, kNames = 190, kValues = 150;
  const double span = kWidth - kNames - kValues;
  const auto place = [&](double value) { return kNames + span * std::clamp(value / most, 0.0, 1.0); };
  const double height = kRow * static_cast<double>(chart.bars.size()) + 8;
  std::string body;
  for (std::size_t i = 0; i < chart.bars.size(); ++i) {
    const Bar& bar = chart.bars[i];
    const double top = kRow * static_cast<double>(i) + 6, middle = top + 10;
    body += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kNames - 10, middle + 4,
                        html_escape(bar.label));
    body += fmt::format("<rect class=\"b{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"20\" rx=\"3\"/>", bar.colour % kColours, kNames,
                        top, std::max(1.0, place(bar.value) - kNames));
    if (bar.high > bar.low) {
      body += fmt::format("<path class=\"whisker\" d=\"M{0:.1f},{2:.1f}V{3:.1f}M{0:.1f},{4:.1f}H{1:.1f}M{1:.1f},{2:.1f}V{3:.1f}\"/>", place(bar.low),
                          place(bar.high), middle - 5, middle + 5, middle);
    }
    body += fmt::format("<text class=\"value\" x=\"{:.1f}\" y=\"{:.1f}\">{} {}</text>", std::max(place(bar.value), place(bar.high)) + 8, middle + 4,
                        unit_text(bar.value, chart.unit), html_escape(bar.note));
  }
  if (chart.mark > 0) {
    body += fmt::format("<line class=\"mark\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"0\" y2=\"{1:.1f}\"/>", place(chart.mark), height);
  }
  return figure(chart.title, "", body, height);
}

std::string draw_stack(const std::string& title, Unit unit, const std::vector<StackRow>& rows) {
  double most = 0;
  for (const StackRow& row : rows) {
    double sum = 0;
    for (const auto& [name, value] : row.parts) sum += std::max(0.0, value);
    most = std::max(most, sum);
  }
  if (!(most > 0)) return "";
  constexpr double kRow = 40, kNames = 80, kValues = 80;
  const double span = kWidth - kNames - kValues;
  std::string body, legend;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double top = kRow * static_cast<double>(r) + 4;
    double at = kNames, sum = 0;
    body += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kNames - 10, top + 20,
                        html_escape(rows[r].label));
    for (std::size_t i = 0; i < rows[r].parts.size(); ++i) {
      const auto& [name, value] = rows[r].parts[i];
      const double width = span * std::max(0.0, value) / most;
      body += fmt::format("<rect class=\"part b{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"30\"><title>{}: {}</title></rect>", i % kColours,
                          at, top, width, html_escape(name), unit_text(value, unit));
      at += width;
      sum += value;
      if (rows.size() == 1) legend += key(static_cast<int>(i), name + " " + unit_text(value, unit));
      else if (r == 0) legend += key(static_cast<int>(i), name);
    }
    body += fmt::format("<text class=\"value\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", at + 8, top + 20, unit_text(sum, unit));
  }
  return figure(title, "<div class=\"legend\">" + legend + "</div>", body, kRow * static_cast<double>(rows.size()) + 2);
}

}  // namespace tocsin::cli::bench
