#include "base/svg/svg_chart.h"

#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(SvgChart, MarksOfAnAxisAreRoundAndFew) {
  EXPECT_THAT(
      (std::vector<double>{TickStep(1), TickStep(2), TickStep(7), TickStep(8), TickStep(60)}),
      ElementsAre(0.2, 0.5, 1, 2, 10));
  for (double end = 0.001; end < 1e6; end *= 1.37) {
    EXPECT_GE(end / TickStep(end), 3) << end;
    EXPECT_LE(end / TickStep(end), 7.5) << end;
  }
}

TEST(SvgChart, APlotHasALineOrDotsForEachSeries) {
  const std::string svg = SvgPlot({.title = "a < b",
                                   .x_label = "step",
                                   .y_label = "loss",
                                   .series = {{.name = "one", .points = {{0, 2}, {10, 1}}},
                                              {.name = "two", .points = {{5, 1}}, .dots = true}}});
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_EQ(CountOf(svg, "<polyline"), 1);
  EXPECT_EQ(CountOf(svg, "<circle"), 1);
  EXPECT_THAT(svg, HasSubstr(">one</text>"));
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
}

TEST(SvgChart, BarsStandOnTheAxisAndLeaveOutWhatIsMissing) {
  const std::string svg = SvgBars(
      {.title = "Accuracy",
       .y_label = "%",
       .groups = {"en", "cn"},
       .series = {{.name = "x", .values = {50, std::nan("")}}, {.name = "y", .values = {100, 0}}},
       .y_end = 100});
  EXPECT_EQ(CountOf(svg, "<rect"), 3);
  EXPECT_THAT(svg, HasSubstr("<title>en, x: 50</title>"));
  EXPECT_THAT(svg, HasSubstr("height=\"212.0\""));
  EXPECT_THAT(svg, HasSubstr("height=\"106.0\""));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(SvgChart, ALongLegendTakesLines) {
  BarChart chart{.title = "t", .groups = {"a"}};
  for (int i = 0; i < 4; ++i) chart.series.push_back({std::string(25, 'x'), {1}});
  const std::string svg = SvgBars(chart);
  EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 520 314\""));
  EXPECT_THAT(svg, HasSubstr("y=\"46.0\""));
}

TEST(SvgChart, NothingToDrawIsNoError) {
  EXPECT_THAT(SvgPlot({.title = "t"}), HasSubstr("</svg>"));
  EXPECT_THAT(SvgBars({.title = "t"}), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace parrot
