#include "train/world/painter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "base/hash.h"

namespace parrot {
namespace {

constexpr int kSide = 84;

CounterRng PaintRng() { return {7, RandomStream::kPaint, 0}; }

// A small figure of the shape alone in the middle.
std::vector<uint8_t> SmallShape(int shape) {
  constexpr int kMiddle = kSide * kSubpixels / 2;
  return PaintScene(
      {.figures = {{.shape = shape, .cell = 4, .x = kMiddle, .y = kMiddle, .radius = 122}}},
      kSide,
      PaintRng());
}

int DifferentPixels(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int different = 0;
  for (size_t i = 1; i < a.size(); i += 3) different += std::abs(a[i] - b[i]) > 64 ? 1 : 0;
  return different;
}

TEST(PainterTest, PaintsTheSamePixelsOnEveryMachine) {
  Sha256 hash;
  for (uint64_t i = 0; i < 200; ++i) {
    const auto pixels = PaintScene(
        MakeScene({}, Split::kTrain, 1, i), kSide, CounterRng(1, RandomStream::kPaint, i));
    hash.Update(pixels.data(), pixels.size());
  }
  EXPECT_EQ(hash.Finish().ToHex(),
            "23c2223a8f60db42d6f292f9b64cd39c646293623fe23101c50b8f67c2942020");
}

TEST(PainterTest, SmallShapesDifferFromEachOther) {
  for (int a = 0; a < static_cast<int>(kShapeNames.size()); ++a) {
    for (int b = 0; b < a; ++b) {
      EXPECT_GE(DifferentPixels(SmallShape(a), SmallShape(b)), 25)
          << kShapeNames[a] << " and " << kShapeNames[b];
    }
  }
}

TEST(PainterTest, DigitsDifferFromEachOther) {
  std::vector<std::vector<uint8_t>> digits;
  for (int value = 0; value < 10; ++value) {
    digits.push_back(
        PaintScene({.digit = Digit{.value = value, .cell = 4, .x = 672, .y = 672, .height = 290}},
                   kSide,
                   PaintRng()));
    for (int other = 0; other < value; ++other) {
      EXPECT_GE(DifferentPixels(digits[value], digits[other]), 20) << value << " and " << other;
    }
  }
}

TEST(PainterTest, SmoothsEdges) {
  const auto pixels = SmallShape(0);
  EXPECT_TRUE(std::any_of(
      pixels.begin(), pixels.end(), [](uint8_t value) { return value > 100 && value < 180; }));
}

TEST(PainterTest, DigitsAreLightOnBlackAndDarkElsewhere) {
  const Digit digit{.value = 1, .cell = 4, .x = 672, .y = 672, .height = 300};
  const auto brightest = [&](int background) {
    const auto pixels = PaintScene({.background = background, .digit = digit}, kSide, PaintRng());
    return *std::max_element(pixels.begin(), pixels.end());
  };
  EXPECT_GT(brightest(kBlackBackground), 200);
  const auto on_gray = PaintScene({.background = 2, .digit = digit}, kSide, PaintRng());
  EXPECT_LT(*std::min_element(on_gray.begin(), on_gray.end()), 40);
}

TEST(PainterTest, ScalesWithThePicture) {
  const Scene scene = MakeScene({.picture_px = 112}, Split::kTrain, 1, 1);
  EXPECT_EQ(PaintScene(scene, 112, PaintRng()).size(), 112U * 112 * 3);
}

}  // namespace
}  // namespace parrot
