// Charts as SVG elements, without scripts, fonts or files of others: lines and dots over numbers,
// bars over names. Each is a file of its own (.svg) and may stand in a page as well. Stateless;
// thread-safe.
//
//   SvgPlot({.title = "Loss", .x_label = "step", .y_label = "loss",
//            .series = {{.name = "stage 1", .points = {{1, 3.2}, {2, 2.9}}}}});
//   SvgBars({.title = "Accuracy", .y_label = "%", .groups = {"en", "cn"},
//            .series = {{.name = "Mini-MMMB", .values = {91.5, 90}}}, .y_end = 100});
#ifndef PARROT_BASE_SVG_SVG_CHART_H_
#define PARROT_BASE_SVG_SVG_CHART_H_

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

struct BarSeries {
  std::string name;
  // One for each group, at least 0; what is not finite gets no bar.
  std::vector<double> values;
};

struct BarChart {
  std::string title;
  std::string y_label;
  std::vector<std::string> groups;  // names under the axis; each has a bar of every series
  std::vector<BarSeries> series;
  double y_end = 0;  // top of the axis; 0: the largest value
};

// <svg> elements; axes begin at 0. Texts are escaped. Several series are named in a legend.
std::string SvgPlot(const Plot& plot);
std::string SvgBars(const BarChart& chart);

// `text` as the text of an element or a quoted attribute: markup is escaped, control characters
// become question marks.
std::string EscapeHtml(std::string_view text);

// Distance of the marks of an axis that goes from 0 to `end`: 1, 2 or 5 times a power of ten, 3 to
// 7 of them. REQUIRES: end > 0.
double TickStep(double end);

}  // namespace parrot

#endif  // PARROT_BASE_SVG_SVG_CHART_H_
