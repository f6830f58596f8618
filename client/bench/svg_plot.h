// Plots as SVG elements for a page, without scripts, fonts or files of others. Stateless;
// thread-safe.
#ifndef PARROT_CLIENT_BENCH_SVG_PLOT_H_
#define PARROT_CLIENT_BENCH_SVG_PLOT_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace parrot {

struct PlotSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  // finite, at least 0
  bool dots = false;                              // else a line through them, in their order
};

struct Plot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<PlotSeries> series;
};

// An <svg> element; axes begin at 0. Texts are escaped.
std::string SvgPlot(const Plot& plot);

// `text` as the text of an element or a quoted attribute: markup is escaped, control characters
// become question marks.
std::string EscapeHtml(std::string_view text);

// Distance of the marks of an axis that goes from 0 to `end`: 1, 2 or 5 times a power of ten, 3 to
// 7 of them. REQUIRES: end > 0.
double TickStep(double end);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_SVG_PLOT_H_
