#include "scheduler/retry_after.h"

#include "gtest/gtest.h"

namespace parrot {
namespace {

EngineLoad LoadWithSteps(absl::Duration step) {
  EngineLoad load{.num_running = 4, .mean_completion_tokens = 100};
  for (int i = 0; i < 100; ++i) load.predictor.Observe(4, 0, step);
  return load;
}

TEST(RetryAfterTest, IsASecondWhileNothingIsKnown) {
  EXPECT_EQ(RetryAfter(EngineLoad{}), absl::Seconds(1));
}

TEST(RetryAfterTest, IsWhenOneOfThoseThatRunIsExpectedToBeDone) {
  EngineLoad load = LoadWithSteps(absl::Milliseconds(40));
  EXPECT_NEAR(absl::ToDoubleSeconds(RetryAfter(load)), 1.0, 0.01);
  load.num_running = 0;  // paused, or between two requests
  EXPECT_GT(RetryAfter(load), absl::Seconds(1));
}

TEST(RetryAfterTest, StaysInBounds) {
  EXPECT_EQ(RetryAfter(LoadWithSteps(absl::Microseconds(10))), absl::Milliseconds(100));
  EXPECT_EQ(RetryAfter(LoadWithSteps(absl::Seconds(100))), absl::Seconds(30));
}

}  // namespace
}  // namespace parrot
