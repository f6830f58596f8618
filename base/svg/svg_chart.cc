#include "base/svg/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace parrot {
namespace {

constexpr double kWidth = 520;
constexpr double kHeight = 300;
constexpr double kLeft = 64;
constexpr double kRight = 12;
constexpr double kTop = 44;  // title, a line of the legend
constexpr double kLegendY = 32;
constexpr double kLegendLine = 14;
constexpr double kBottom = 44;
constexpr double kPlotWidth = kWidth - kLeft - kRight;
constexpr double kPlotHeight = kHeight - kTop - kBottom;
// Of a group's width; the rest parts it from its neighbours.
constexpr double kBarsShare = 0.8;
constexpr std::array<const char*, 8> kColours = {
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"};

const char* ColourOf(size_t series_idx) { return kColours[series_idx % kColours.size()]; }

double EndOrOne(double end) { return end > 0 ? end : 1; }

// From values to places in the drawing.
struct Scale {
  double x_end = 1;
  double y_end = 1;

  double X(double x) const { return kLeft + x / x_end * kPlotWidth; }
  double Y(double y) const { return kHeight - kBottom - y / y_end * kPlotHeight; }
};

Scale ScaleOf(const Plot& plot) {
  Scale scale{.x_end = 0, .y_end = 0};
  for (const PlotSeries& series : plot.series) {
    for (const auto& [x, y] : series.points) {
      scale.x_end = std::max(scale.x_end, x);
      scale.y_end = std::max(scale.y_end, y);
    }
  }
  return {.x_end = EndOrOne(scale.x_end), .y_end = EndOrOne(scale.y_end)};
}

Scale ScaleOf(const BarChart& chart) {
  double y_end = chart.y_end;
  if (y_end <= 0) {
    for (const BarSeries& series : chart.series) {
      for (const double value : series.values) {
        if (std::isfinite(value)) y_end = std::max(y_end, value);
      }
    }
  }
  return {.x_end = EndOrOne(static_cast<double>(chart.groups.size())), .y_end = EndOrOne(y_end)};
}

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat(
      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, EscapeHtml(text));
}

// Beside the one at 0.
int NumTicks(double end, double step) { return static_cast<int>(end * (1 + 1e-9) / step); }

std::string XAxis(const Plot& plot, const Scale& scale) {
  std::string svg;
  const double step = TickStep(scale.x_end);
  for (int i = 0; i <= NumTicks(scale.x_end, step); ++i) {
    const double x = i * step;
    absl::StrAppendFormat(&svg,
                          "<path stroke=\"#e4e4e4\" d=\"M%.1f %.1fV%.1f\"/>\n",
                          scale.X(x),
                          kTop,
                          kHeight - kBottom);
    absl::StrAppend(&svg,
                    Text(scale.X(x), kHeight - kBottom + 14, "middle", absl::StrFormat("%.4g", x)));
  }
  return svg + Text((kLeft + kWidth) / 2, kHeight - 10, "middle", plot.x_label);
}

std::string XAxis(const BarChart& chart, const Scale& scale) {
  std::string svg;
  for (size_t i = 0; i < chart.groups.size(); ++i) {
    absl::StrAppend(&svg,
                    Text(scale.X(static_cast<double>(i) + 0.5),
                         kHeight - kBottom + 14,
                         "middle",
                         chart.groups[i]));
  }
  return svg;
}

std::string YAxis(const std::string& label, const Scale& scale) {
  std::string svg;
  const double step = TickStep(scale.y_end);
  for (int i = 0; i <= NumTicks(scale.y_end, step); ++i) {
    const double y = i * step;
    absl::StrAppendFormat(&svg,
                          "<path stroke=\"#e4e4e4\" d=\"M%.1f %.1fH%.1f\"/>\n",
                          kLeft,
                          scale.Y(y),
                          kWidth - kRight);
    absl::StrAppend(&svg, Text(kLeft - 6, scale.Y(y) + 4, "end", absl::StrFormat("%.4g", y)));
  }
  absl::StrAppendFormat(&svg,
                        "<text transform=\"translate(14 %.1f) rotate(-90)\" "
                        "text-anchor=\"middle\">%s</text>\n",
                        kHeight / 2,
                        EscapeHtml(label));
  return svg;
}

std::string Marks(const PlotSeries& series, const Scale& scale, const char* colour) {
  std::string svg;
  if (series.dots) {
    for (const auto& [x, y] : series.points) {
      absl::StrAppendFormat(&svg,
                            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\" fill=\"%s\"/>\n",
                            scale.X(x),
                            scale.Y(y),
                            colour);
    }
    return svg;
  }
  svg = "<polyline points=\"";
  for (const auto& [x, y] : series.points) {
    absl::StrAppendFormat(&svg, "%.1f,%.1f ", scale.X(x), scale.Y(y));
  }
  absl::StrAppendFormat(&svg, "\" fill=\"none\" stroke=\"%s\"/>\n", colour);
  return svg;
}

std::string Bars(const BarChart& chart, size_t series_idx, const Scale& scale) {
  std::string svg;
  const double width = kBarsShare / static_cast<double>(chart.series.size());
  const BarSeries& series = chart.series[series_idx];
  const size_t num_bars = std::min(series.values.size(), chart.groups.size());
  for (size_t i = 0; i < num_bars; ++i) {
    if (!std::isfinite(series.values[i])) continue;
    const double value = std::clamp(series.values[i], 0.0, scale.y_end);
    const double left =
        static_cast<double>(i) + (1 - kBarsShare) / 2 + width * static_cast<double>(series_idx);
    absl::StrAppendFormat(&svg,
                          "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\">"
                          "<title>%s</title></rect>\n",
                          scale.X(left),
                          scale.Y(value),
                          scale.X(width) - kLeft,
                          scale.Y(0) - scale.Y(value),
                          ColourOf(series_idx),
                          EscapeHtml(absl::StrFormat(
                              "%s, %s: %.4g", chart.groups[i], series.name, series.values[i])));
  }
  return svg;
}

// Names in the colours of their series, in lines; a character is taken for 6.5 wide. One series
// needs none.
struct Legend {
  std::string svg;
  int num_lines = 1;
};

template <typename Series>
Legend LegendOf(const std::vector<Series>& series) {
  Legend legend;
  if (series.size() < 2) return legend;
  double x = kLeft;
  for (size_t i = 0; i < series.size(); ++i) {
    const std::string& name = series[i].name;
    const auto num_characters = std::count_if(
        name.begin(), name.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
    const double width = 6.5 * static_cast<double>(num_characters) + 12;
    if (x > kLeft && x + width > kWidth) {
      x = kLeft;
      ++legend.num_lines;
    }
    absl::StrAppendFormat(&legend.svg,
                          "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n",
                          x,
                          kLegendY + kLegendLine * (legend.num_lines - 1),
                          ColourOf(i),
                          EscapeHtml(name));
    x += width;
  }
  return legend;
}

// `content` stands below the legend, however many lines that has.
std::string Drawing(const std::string& title, const Legend& legend, const std::string& content) {
  const double shift = kLegendLine * (legend.num_lines - 1);
  return absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
      "font-family=\"system-ui, sans-serif\" font-size=\"11\">\n%s%s"
      "<g transform=\"translate(0 %.0f)\">\n%s</g>\n</svg>\n",
      kWidth,
      kHeight + shift,
      Text(kLeft, 16, "start", title),
      legend.svg,
      shift,
      content);
}

}  // namespace

double TickStep(double end) {
  const double power = std::pow(10, std::floor(std::log10(end)));
  const double leading = end / power;  // 1 .. 10
  if (leading < 1.5) return power / 5;
  if (leading < 3.5) return power / 2;
  return leading < 7.5 ? power : power * 2;
}

std::string EscapeHtml(std::string_view text) {
  std::string clean;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    clean += (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f ? '?' : c;
  }
  return absl::StrReplaceAll(
      clean, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string SvgPlot(const Plot& plot) {
  const Scale scale = ScaleOf(plot);
  std::string content = XAxis(plot, scale) + YAxis(plot.y_label, scale);
  for (size_t i = 0; i < plot.series.size(); ++i) {
    absl::StrAppend(&content, Marks(plot.series[i], scale, ColourOf(i)));
  }
  return Drawing(plot.title, LegendOf(plot.series), content);
}

std::string SvgBars(const BarChart& chart) {
  const Scale scale = ScaleOf(chart);
  std::string content = XAxis(chart, scale) + YAxis(chart.y_label, scale);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    absl::StrAppend(&content, Bars(chart, i, scale));
  }
  return Drawing(chart.title, LegendOf(chart.series), content);
}

}  // namespace parrot
