#include "train/world/scene.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "train/world/counter_rng.h"

namespace parrot {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

TEST(CounterRngTest, GivesTheSameNumbersEverywhere) {
  CounterRng rng(1, RandomStream::kTest, 0);
  EXPECT_EQ(rng.Next(), 0x5C27BC2D3CC7C51DU);
  EXPECT_EQ(rng.Next(), 0x7277CB4D9EDFF27U);
}

TEST(CounterRngTest, IsUniformEnough) {
  CounterRng rng(1, RandomStream::kTest, 1);
  std::array<int, 9> counts{};
  for (int i = 0; i < 9000; ++i) ++counts[static_cast<size_t>(rng.Below(9))];
  EXPECT_THAT(counts, ::testing::Each(AllOf(Ge(850), Le(1150))));
}

TEST(CounterRngTest, WeightedNeverPicksWeightZero) {
  CounterRng rng(1, RandomStream::kTest, 2);
  std::array<int, 3> counts{};
  for (int i = 0; i < 4000; ++i) {
    ++counts[static_cast<size_t>(rng.Weighted(std::array<int, 3>{0, 3, 1}))];
  }
  EXPECT_EQ(counts[0], 0);
  EXPECT_NEAR(counts[1], 3000, 150);
}

TEST(SceneTest, TrainingAndHeldOutPicturesShareNoCombination) {
  for (int num_shapes : {4, 8}) {
    const SceneOptions options{.num_shapes = num_shapes, .num_colors = 6};
    for (uint64_t i = 0; i < 2000; ++i) {
      for (const Figure& f : MakeScene(options, Split::kTrain, 5, i).figures) {
        EXPECT_FALSE(IsHeldOut(f));
      }
      const Scene held_out = MakeScene(options, Split::kHeldOut, 5, i);
      for (const Figure& f : held_out.figures) EXPECT_TRUE(IsHeldOut(f));
      if (held_out.digit.has_value()) {
        EXPECT_TRUE(IsHeldOut(*held_out.digit, held_out.background));
      }
    }
  }
}

TEST(SceneTest, EveryPairOfValuesOccursInTraining) {
  std::set<std::tuple<int, int, int>> shape_color_size;
  std::set<std::tuple<int, int>> shape_cell;
  std::set<std::tuple<int, int>> color_cell;
  for (uint64_t i = 0; i < 5000; ++i) {
    for (const Figure& f : MakeScene({}, Split::kTrain, 1, i).figures) {
      shape_color_size.emplace(f.shape, f.color, f.size);
      shape_cell.emplace(f.shape, f.cell);
      color_cell.emplace(f.color, f.cell);
    }
  }
  EXPECT_EQ(shape_color_size.size(), 8U * 8 * 2);
  EXPECT_EQ(shape_cell.size(), 8U * 9);
  EXPECT_EQ(color_cell.size(), 8U * 9);
}

TEST(SceneTest, FiguresStayInTheirCellsAndInThePicture) {
  for (const int picture_px : {84, 112}) {
    const int cell = picture_px * kSubpixels / 3;
    for (uint64_t i = 0; i < 2000; ++i) {
      const Scene scene = MakeScene({.picture_px = picture_px}, Split::kTrain, 2, i);
      std::set<int> cells;
      for (const Figure& f : scene.figures) {
        EXPECT_TRUE(cells.insert(f.cell).second) << "two figures in one cell";
        EXPECT_EQ(f.x / cell, f.cell % 3);
        EXPECT_EQ(f.y / cell, f.cell / 3);
        const double radius = static_cast<double>(f.radius) / kSubpixels * 84 / picture_px;
        EXPECT_THAT(radius, f.size == 0 ? AllOf(Ge(7.5), Le(8.9)) : AllOf(Ge(11.9), Le(13.0)));
      }
      if (scene.digit.has_value()) {
        EXPECT_FALSE(cells.contains(scene.digit->cell));
      }
    }
  }
}

TEST(SceneTest, FollowsTheOptions) {
  const SceneOptions options{
      .num_shapes = 4, .num_colors = 6, .min_figures = 2, .max_figures = 3, .digit_percent = 100};
  for (uint64_t i = 0; i < 500; ++i) {
    const Scene scene = MakeScene(options, Split::kTrain, 3, i);
    EXPECT_THAT(scene.figures.size(), AllOf(Ge(2U), Le(3U)));
    EXPECT_TRUE(scene.digit.has_value());
    for (const Figure& f : scene.figures) {
      EXPECT_LT(f.shape, 4);
      EXPECT_LT(f.color, 6);
    }
  }
}

TEST(SceneTest, JsonSaysWhatThePictureShows) {
  const Scene scene{
      .background = 1,
      .figures =
          {{.shape = 3, .color = 4, .size = 1, .cell = 5, .x = 1100, .y = 680, .radius = 200}},
      .digit = Digit{.value = 7, .cell = 2}};
  EXPECT_EQ(SceneJson(scene, "000042.png"),
            R"({"image":"000042.png","background":"black","digit":7,"digit_cell":2,)"
            R"("figures":[{"shape":"star","color":"orange","size":"large","cell":5,)"
            R"("cx":68.75,"cy":42.5,"radius":12.5}]})");
  const auto without = nlohmann::json::parse(SceneJson({.figures = {}}, "a.png"));
  EXPECT_TRUE(without.at("digit").is_null());
  EXPECT_TRUE(without.at("digit_cell").is_null());
}

}  // namespace
}  // namespace parrot
