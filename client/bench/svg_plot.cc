#include "client/bench/svg_plot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace parrot {
namespace {

constexpr double kWidth = 520;
constexpr double kHeight = 300;
constexpr double kLeft = 64;
constexpr double kRight = 12;
constexpr double kTop = 28;
constexpr double kBottom = 44;
constexpr std::array<const char*, 6> kColours = {
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf"};

// From values to places in the drawing.
struct Scale {
  double x_end = 1;
  double y_end = 1;

  double X(double x) const { return kLeft + x / x_end * (kWidth - kLeft - kRight); }
  double Y(double y) const { return kHeight - kBottom - y / y_end * (kHeight - kTop - kBottom); }
};

Scale ScaleOf(const Plot& plot) {
  Scale scale{.x_end = 0, .y_end = 0};
  for (const PlotSeries& series : plot.series) {
    for (const auto& [x, y] : series.points) {
      scale.x_end = std::max(scale.x_end, x);
      scale.y_end = std::max(scale.y_end, y);
    }
  }
  if (scale.x_end <= 0) scale.x_end = 1;
  if (scale.y_end <= 0) scale.y_end = 1;
  return scale;
}

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat(
      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, EscapeHtml(text));
}

// Beside the one at 0.
int NumTicks(double end, double step) { return static_cast<int>(end * (1 + 1e-9) / step); }

std::string Axes(const Plot& plot, const Scale& scale) {
  std::string svg;
  const double x_step = TickStep(scale.x_end);
  for (int i = 0; i <= NumTicks(scale.x_end, x_step); ++i) {
    const double x = i * x_step;
    absl::StrAppendFormat(&svg,
                          "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n",
                          scale.X(x),
                          kTop,
                          kHeight - kBottom);
    absl::StrAppend(&svg,
                    Text(scale.X(x), kHeight - kBottom + 14, "middle", absl::StrFormat("%.4g", x)));
  }
  const double y_step = TickStep(scale.y_end);
  for (int i = 0; i <= NumTicks(scale.y_end, y_step); ++i) {
    const double y = i * y_step;
    absl::StrAppendFormat(
        &svg, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", kLeft, scale.Y(y), kWidth - kRight);
    absl::StrAppend(&svg, Text(kLeft - 6, scale.Y(y) + 4, "end", absl::StrFormat("%.4g", y)));
  }
  absl::StrAppend(&svg, Text((kLeft + kWidth) / 2, kHeight - 10, "middle", plot.x_label));
  absl::StrAppendFormat(&svg,
                        "<text transform=\"translate(14 %.1f) rotate(-90)\" "
                        "text-anchor=\"middle\">%s</text>\n",
                        kHeight / 2,
                        EscapeHtml(plot.y_label));
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
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n",
      kWidth,
      kHeight);
  absl::StrAppend(&svg, Text(kLeft, 16, "start", plot.title), Axes(plot, scale));
  double legend_x = kWidth - kRight;
  for (size_t i = plot.series.size(); i-- > 0;) {
    const PlotSeries& series = plot.series[i];
    const char* colour = kColours[i % kColours.size()];
    absl::StrAppend(&svg, Marks(series, scale, colour));
    if (plot.series.size() < 2) continue;
    absl::StrAppendFormat(
        &svg,
        "<text x=\"%.1f\" y=\"16\" text-anchor=\"end\" style=\"fill:%s\">%s</text>\n",
        legend_x,
        colour,
        EscapeHtml(series.name));
    legend_x -= 8.0 * static_cast<double>(series.name.size()) + 12;
  }
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace parrot
