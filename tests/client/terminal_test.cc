#include "client/cli/terminal.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(WithoutControls, KeepsTextOfEveryScript) {
  const std::string text = "a\tb\n图片 صورة кошка 🐦\xE2\x80\x8F";
  EXPECT_EQ(WithoutControls(text), text);
}

TEST(WithoutControls, ReplacesWhatSteersATerminal) {
  EXPECT_EQ(WithoutControls("\x1b[2J"), "\xEF\xBF\xBD[2J");
  EXPECT_EQ(WithoutControls("a\rb\x07\x7f"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(WithoutControls(std::string("\0", 1)), "\xEF\xBF\xBD");
  EXPECT_EQ(WithoutControls("\xC2\x9B"
                            "31m"),
            "\xEF\xBF\xBD"
            "31m");
  EXPECT_EQ(WithoutControls("\xC2\xA0"), "\xC2\xA0");
}

TEST(WithoutControls, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(WithoutControls("\x9b"
                            "31m"),
            "\xEF\xBF\xBD"
            "31m");
  EXPECT_EQ(WithoutControls("\xE5\x9B"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(WithoutControls("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(ExpertBars, AreProportionalAndBounded) {
  const std::vector<float> weights = {0.5f, 0.0f, 1.0f, 7.0f};
  EXPECT_EQ(ExpertBars(weights, {}),
            "  expert 0  ###############...............  0.500\n"
            "  expert 1  ..............................  0.000\n"
            "  expert 2  ##############################  1.000\n"
            "  expert 3  ##############################  7.000\n");
  const std::vector<float> one = {1.0f};
  EXPECT_THAT(ExpertBars(one, {.is_tty = true, .unicode = true}), testing::HasSubstr("███"));
}

TEST(ExpertLine, SurvivesWeightsThatAreNotNumbers) {
  const std::vector<float> weights = {std::numeric_limits<float>::quiet_NaN(), -1.0f, 1.0f};
  EXPECT_EQ(ExpertLine(weights, {}), "experts |  #| nan -1.00 1.00");
}

TEST(Dimmed, OnlyWithColour) {
  EXPECT_EQ(Dimmed("x", {}), "x");
  EXPECT_EQ(Dimmed("x", {.is_tty = true, .colour = true}), "\x1b[2mx\x1b[0m");
}

}  // namespace
}  // namespace parrot
