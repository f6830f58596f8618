#include "model/api/step.h"

#include <set>
#include <string>

#include "gtest/gtest.h"
#include "model/api/model_config.h"

namespace parrot {
namespace {

TEST(StepTest, ClearEmptiesEveryVectorAndKeepsMemory) {
  StepInput input;
  input.step_id = 4;
  input.retired_slots = {1};
  input.token_ids.assign(100, 7);
  input.spans = {Span{.slot = 1, .num_tokens = 100}};
  EXPECT_FALSE(input.empty());
  const size_t capacity = input.token_ids.capacity();
  input.Clear();
  EXPECT_TRUE(input.empty());
  EXPECT_EQ(input.step_id, 0u);
  EXPECT_TRUE(input.token_ids.empty());
  EXPECT_EQ(input.token_ids.capacity(), capacity);
}

TEST(StepTest, StageNamesAreDistinct) {
  std::set<std::string> names;
  for (int i = 0; i < kNumStages; ++i) names.insert(StageName(static_cast<Stage>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kNumStages));
  EXPECT_EQ(names.count("unknown"), 0u);
}

TEST(StepTest, StageTimesAdd) {
  StageTimes total;
  StageTimes step;
  step[Stage::kClip] = absl::Milliseconds(3);
  total.Add(step);
  total.Add(step);
  EXPECT_EQ(total[Stage::kClip], absl::Milliseconds(6));
  EXPECT_EQ(total[Stage::kDecode], absl::ZeroDuration());
}

TEST(ModelConfigTest, SizesFollowFromTheConfiguration) {
  ModelConfig config;  // Parrot-7B
  EXPECT_EQ(config.vision.num_tokens(), 577);
  EXPECT_EQ(config.vision.num_used_layers(), 23);
  EXPECT_EQ(config.vision.head_dim(), 64);
  EXPECT_EQ(config.kv_bytes_per_token(DataType::kBFloat16), 512 * 1024);
  config.vision.image_size = 224;
  EXPECT_EQ(config.vision.num_tokens(), 257);
}

}  // namespace
}  // namespace parrot
