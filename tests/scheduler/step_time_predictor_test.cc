#include "scheduler/step_time_predictor.h"

#include <algorithm>
#include <cstdint>
#include <random>

#include "gtest/gtest.h"

namespace parrot {
namespace {

// A worker whose steps take exactly this long.
struct Worker {
  double step = 0.0;
  double token = 0.0;
  double image = 0.0;
  absl::Duration Time(int64_t tokens, int64_t images) const {
    return absl::Seconds(step + token * static_cast<double>(tokens) +
                         image * static_cast<double>(images));
  }
};
constexpr Worker kWorker = {.step = 0.005, .token = 0.0004, .image = 0.8};

// Steps as a busy server has them: decoding, some prefill chunks, an image now and then.
void ObserveTraffic(const Worker& worker,
                    int num_steps,
                    double noise,
                    std::mt19937& random,
                    StepTimePredictor* predictor) {
  std::uniform_real_distribution<double> factor(1.0 - noise, 1.0 + noise);
  for (int i = 0; i < num_steps; ++i) {
    const bool is_prefill = random() % 4 == 0;
    const auto tokens = static_cast<int32_t>(is_prefill ? 1 + random() % 512 : 1 + random() % 16);
    const int32_t images = is_prefill && random() % 3 == 0 ? 1 : 0;
    predictor->Observe(tokens, images, worker.Time(tokens, images) * factor(random));
  }
}

void ExpectNear(absl::Duration actual, absl::Duration expected, double tolerance) {
  EXPECT_NEAR(absl::FDivDuration(actual, expected), 1.0, tolerance)
      << actual << " for " << expected;
}

TEST(StepTimePredictorTest, KnowsNothingAtFirstAndIsReadyAfterSomeSteps) {
  StepTimePredictor predictor;
  EXPECT_FALSE(predictor.is_ready());
  EXPECT_EQ(predictor.Step(100, 1), absl::ZeroDuration());
  EXPECT_EQ(predictor.NthToken(1, {.num_tokens = 100}), absl::ZeroDuration());
  predictor.Observe(1, 0, absl::ZeroDuration());  // no measurement
  predictor.Observe(1, 0, -absl::Seconds(1));
  predictor.Observe(1, 0, absl::InfiniteDuration());
  EXPECT_EQ(predictor.num_observed(), 0);
  for (int i = 0; i < 8; ++i) {
    EXPECT_FALSE(predictor.is_ready());
    predictor.Observe(4, 0, kWorker.Time(4, 0));
  }
  EXPECT_TRUE(predictor.is_ready());
  EXPECT_EQ(predictor.mean_relative_error(), 0.0);
  predictor.Observe(4, 0, 2 * kWorker.Time(4, 0));
  EXPECT_NEAR(predictor.mean_relative_error(), 0.5, 0.01);
}

TEST(StepTimePredictorTest, FewStepsOfOneKindPredictThatKind) {
  StepTimePredictor predictor;
  for (int i = 0; i < 3; ++i) predictor.Observe(8, 0, absl::Milliseconds(40));
  ExpectNear(predictor.Step(8, 0), absl::Milliseconds(40), 0.05);
  EXPECT_GE(predictor.Step(500, 0), predictor.Step(8, 0));
}

TEST(StepTimePredictorTest, LearnsWhatStepsTokensAndImagesCost) {
  std::mt19937 random(1);
  StepTimePredictor predictor;
  ObserveTraffic(kWorker, 300, /*noise=*/0.0, random, &predictor);
  const StepTimePredictor::Coefficients learned = predictor.coefficients();
  EXPECT_NEAR(learned.step / kWorker.step, 1.0, 0.1);
  EXPECT_NEAR(learned.token / kWorker.token, 1.0, 0.02);
  EXPECT_NEAR(learned.image / kWorker.image, 1.0, 0.02);
  ExpectNear(predictor.Step(1024, 4), kWorker.Time(1024, 4), 0.02);
}

TEST(StepTimePredictorTest, NoiseOfAThirdLeavesATenth) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    StepTimePredictor predictor;
    ObserveTraffic(kWorker, 500, /*noise=*/0.3, random, &predictor);
    ExpectNear(predictor.Step(512, 1), kWorker.Time(512, 1), 0.12);
    ExpectNear(predictor.Step(512, 0), kWorker.Time(512, 0), 0.25);
    const StepTimePredictor::Coefficients learned = predictor.coefficients();
    EXPECT_GE(std::min({learned.step, learned.token, learned.image}), 0.0);
  }
}

TEST(StepTimePredictorTest, HoursOfDecodingDoNotUnlearnPrefillAndImages) {
  std::mt19937 random(2);
  StepTimePredictor predictor;
  ObserveTraffic(kWorker, 300, /*noise=*/0.0, random, &predictor);
  for (int i = 0; i < 100000; ++i) predictor.Observe(4, 0, kWorker.Time(4, 0));
  ExpectNear(predictor.Step(4, 0), kWorker.Time(4, 0), 0.01);
  ExpectNear(predictor.Step(512, 0), kWorker.Time(512, 0), 0.05);
  ExpectNear(predictor.Step(512, 1), kWorker.Time(512, 1), 0.05);
}

TEST(StepTimePredictorTest, OneSlowStepIsForgivenAndASlowerMachineIsNoticed) {
  std::mt19937 random(3);
  StepTimePredictor predictor;
  ObserveTraffic(kWorker, 300, /*noise=*/0.0, random, &predictor);
  predictor.Observe(4, 0, absl::Seconds(60));
  EXPECT_LT(predictor.Step(4, 0), 1.5 * kWorker.Time(4, 0));
  const Worker slower = {.step = 0.05, .token = 0.004, .image = 8.0};
  ObserveTraffic(slower, 500, /*noise=*/0.0, random, &predictor);
  ExpectNear(predictor.Step(512, 1), slower.Time(512, 1), 0.1);
}

// Against the steps that a worker would really do, counted one by one.
TEST(StepTimePredictorTest, ATokenComesAfterAllStepsBeforeIt) {
  std::mt19937 random(4);
  StepTimePredictor predictor;
  ObserveTraffic(kWorker, 1000, /*noise=*/0.0, random, &predictor);
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE(trial);
    const StepTimePredictor::Queue queue = {
        .num_tokens = static_cast<int64_t>(1 + random() % 5000),
        .num_images = static_cast<int64_t>(random() % 6),
        .num_decoding = static_cast<int32_t>(random() % 32),
        .num_steps_until_slot = static_cast<int32_t>(random() % 20),
        .max_step_tokens = static_cast<int32_t>(64 + random() % 1000),
        .max_step_images = static_cast<int32_t>(1 + random() % 4)};
    const int32_t nth = static_cast<int32_t>(1 + random() % 50);
    const absl::Duration step_of_others =
        std::max(kWorker.Time(queue.num_decoding, 0), predictor.mean_step());
    absl::Duration expected = (queue.num_steps_until_slot + nth - 1) * step_of_others;
    int64_t tokens = queue.num_tokens;
    int64_t images = queue.num_images;
    while (tokens > 0 || images > 0) {
      const int64_t step_tokens =
          std::min<int64_t>(tokens, queue.max_step_tokens - queue.num_decoding);
      const int64_t step_images = std::min<int64_t>(images, queue.max_step_images);
      tokens -= step_tokens;
      images -= step_images;
      expected += kWorker.Time(step_tokens + queue.num_decoding, step_images);
    }
    ExpectNear(predictor.NthToken(nth, queue), expected, 0.05);
  }
  // A batch that is full of decoding still moves.
  EXPECT_GT(predictor.NthToken(1, {.num_tokens = 10, .num_decoding = 100, .max_step_tokens = 8}),
            absl::ZeroDuration());
}

TEST(StepTimePredictorTest, TheMeanStepFollowsWhatStepsTake) {
  StepTimePredictor predictor;
  EXPECT_EQ(predictor.mean_step(), absl::ZeroDuration());
  for (int i = 0; i < 3; ++i) predictor.Observe(4, 0, absl::Milliseconds(20));
  ExpectNear(predictor.mean_step(), absl::Milliseconds(20), 0.01);
  for (int i = 0; i < 100; ++i)
    predictor.Observe(i % 2 == 0 ? 4 : 200, 0, absl::Milliseconds(i % 2 == 0 ? 10 : 50));
  ExpectNear(predictor.mean_step(), absl::Milliseconds(30), 0.1);
}

TEST(StepTimePredictorTest, APartOfATowerCountsInPart) {
  StepTimePredictor whole;
  StepTimePredictor parts;
  for (int i = 0; i < 40; ++i) {
    whole.Observe(4, i % 2, kWorker.Time(4, i % 2));
    const double share = i % 4 / 4.0;
    parts.Observe(4, share, kWorker.Time(4, 0) + share * (kWorker.Time(4, 1) - kWorker.Time(4, 0)));
  }
  ExpectNear(parts.Step(4, 1), whole.Step(4, 1), 0.01);
}

}  // namespace
}  // namespace parrot
