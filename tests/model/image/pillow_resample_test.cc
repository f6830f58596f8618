#include "model/image/pillow_resample.h"

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/image/image_test_support.h"
#include "tests/model/image/naive_resample.h"

namespace parrot {
namespace {

using testing::NaivePadAndResize;
using testing::NaiveResizeAndCentreCrop;
using testing::RandomImage;
using testing::TestImage;

constexpr RgbColour kMean = {122, 116, 104};

ResizeAxis WholeAxis(int32_t content, int32_t scaled) {
  return {.canvas = content,
          .content_begin = 0,
          .scaled = scaled,
          .first_output = 0,
          .num_outputs = scaled};
}

TEST(PillowResampleTest, VirtualPaddingEqualsTheBuiltSquareOnOddSizes) {
  constexpr uint32_t kSeed = 20240611;
  std::mt19937 random(kSeed);
  for (int i = 0; i < 60; ++i) {
    const auto width = static_cast<int32_t>(1 + random() % 150);
    const auto height = static_cast<int32_t>(1 + random() % 150);
    const auto size = static_cast<int32_t>(1 + random() % 120);
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed << " case " << i << ": " << width << "x"
                                      << height << " -> " << size);
    const TestImage image = RandomImage(width, height, random());
    ASSERT_EQ(PadAndResize(image.view(), kMean, size),
              NaivePadAndResize(image.view(), kMean, size));
  }
}

TEST(PillowResampleTest, VirtualPaddingEqualsTheBuiltSquareOnExtremeSides) {
  const int32_t sides[][2] = {{1, 1},
                              {1, 2},
                              {2, 1},
                              {1, 336},
                              {336, 1},
                              {337, 335},
                              {335, 336},
                              {3, 700},
                              {700, 3},
                              {1, 1500},
                              {1500, 1},
                              {336, 336},
                              {47, 31}};
  for (const auto& [width, height] : sides) {
    SCOPED_TRACE(::testing::Message() << width << "x" << height);
    const TestImage image = RandomImage(width, height, 7);
    ASSERT_EQ(PadAndResize(image.view(), kMean, 336), NaivePadAndResize(image.view(), kMean, 336));
  }
}

TEST(PillowResampleTest, CentreCropEqualsTheWholeResizeCut) {
  constexpr uint32_t kSeed = 99;
  std::mt19937 random(kSeed);
  for (int i = 0; i < 40; ++i) {
    const auto width = static_cast<int32_t>(1 + random() % 150);
    const auto height = static_cast<int32_t>(1 + random() % 150);
    const auto size = static_cast<int32_t>(1 + random() % 60);
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed << " case " << i << ": " << width << "x"
                                      << height << " -> " << size);
    const TestImage image = RandomImage(width, height, random());
    ASSERT_EQ(ResizeAndCentreCrop(image.view(), size),
              NaiveResizeAndCentreCrop(image.view(), size));
  }
}

TEST(PillowResampleTest, GeneralResizeEqualsThePlainLoop) {
  const TestImage image = RandomImage(61, 83, 5);
  for (const auto& [width, height] : {std::pair{61, 40}, {30, 83}, {200, 10}, {61, 83}}) {
    EXPECT_EQ(Resample(image.view(), kMean, WholeAxis(61, width), WholeAxis(83, height)),
              testing::NaiveResize(image.view(), width, height));
  }
}

TEST(PillowResampleTest, AnUnchangedSizeIsACopy) {
  const TestImage image = RandomImage(336, 336, 6);
  EXPECT_EQ(PadAndResize(image.view(), kMean, 336), image.pixels);
  EXPECT_EQ(ResizeAndCentreCrop(image.view(), 336), image.pixels);
}

// A line of 16384 pixels: the square would have 268 million, the cropped resize 1.8 billion.
TEST(PillowResampleTest, LongestLineNeedsNoSquare) {
  const TestImage row = RandomImage(16384, 1, 8);
  const TestImage column = {1, 16384, row.pixels};
  const std::vector<uint8_t> resized_row = PadAndResize(row.view(), kMean, 336);
  const std::vector<uint8_t> resized_column = PadAndResize(column.view(), kMean, 336);
  ASSERT_EQ(resized_row.size(), size_t{336} * 336 * 3);
  // Symmetric: the picture on its side gives the result on its side where rounding agrees, and the
  // border is the padding in both.
  EXPECT_EQ(resized_row[0], kMean[0]);
  EXPECT_EQ(resized_column[1], kMean[1]);
  EXPECT_EQ(ResizeAndCentreCrop(row.view(), 336).size(), size_t{336} * 336 * 3);
}

}  // namespace
}  // namespace parrot
