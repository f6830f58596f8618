// Images in the scheduler: encode and route jobs, budgets of a step, features that are shared.
#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_driver.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SchedulerImagesTest, VisualPositionsWaitForTheirRouteJob) {
  Driver driver(SmallCapacity(), /*job_delay_steps=*/1);
  const auto request = RequestBuilder(1).Text(3).Image(1).Text(2).MaxTokens(2);
  driver.Add(request);
  const StepInput* step = driver.Submit();
  EXPECT_EQ(step->encode_jobs.size(), 1u);
  ASSERT_EQ(step->route_jobs.size(), 1u);
  EXPECT_EQ(step->route_jobs[0].text_ids, request.Build()->text_ids);
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(0, 0, 3)))
      << "the text before it need not wait";
  driver.Finish();
  step = driver.Submit();
  ASSERT_NE(step, nullptr) << "a step that waits for the jobs";
  EXPECT_THAT(step->spans, IsEmpty());
  driver.Finish();
  ASSERT_EQ(driver.sink().Routings(1).size(), 1u);
  EXPECT_EQ(driver.sink().Routings(1)[0].weights.size(), static_cast<size_t>(kTestExperts));
  step = driver.Submit();
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(0, 3, 7)));
  ASSERT_EQ(step->visual_spans.size(), 1u);
  EXPECT_EQ(step->visual_spans[0].first_row, 0);
  EXPECT_EQ(step->visual_spans[0].num_tokens, kTestImageTokens);
  driver.Finish();
  step = driver.Submit();
  ASSERT_EQ(step->released_visuals.size(), 1u) << "consumed";
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST(SchedulerImagesTest, AnImageMayBeCutAcrossSteps) {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.max_step_tokens = 4;
  Driver driver(capacity);
  const auto request = RequestBuilder(1).Text(2).Image(1).Image(2).Text(1).MaxTokens(3);
  driver.Add(request);
  driver.Submit();
  driver.Finish();
  const StepInput* step = driver.Submit();
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(0, 2, 4)));
  driver.Finish();
  step = driver.Submit();
  ASSERT_EQ(step->visual_spans.size(), 2u);
  EXPECT_EQ(step->visual_spans[0].first_row, 4);
  EXPECT_EQ(step->visual_spans[0].num_tokens, 1);
  EXPECT_EQ(step->visual_spans[1].image_idx, 1);
  EXPECT_EQ(step->visual_spans[1].first_row, 0);
  EXPECT_EQ(step->visual_spans[1].num_tokens, 3);
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
}

TEST(SchedulerImagesTest, KeepsTheImagesBudgetOfAStep) {
  Driver driver;  // 2 images per step, 4 slots
  for (RequestKey key = 1; key <= 4; ++key) {
    driver.Add(RequestBuilder(key).Image(static_cast<int>(key)).Text(1).MaxTokens(1));
  }
  const StepInput* step = driver.Submit();
  EXPECT_EQ(step->encode_jobs.size(), 2u);
  EXPECT_EQ(step->route_jobs.size(), 2u);
  driver.Finish();
  step = driver.Submit();
  EXPECT_EQ(step->encode_jobs.size(), 2u);
  EXPECT_EQ(step->spans.size(), 2u);
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().num_finished(), 4);
}

TEST(SchedulerImagesTest, RequestsWithOneImageShareItsEncode) {
  ExecutorCapacity capacity = TwoInFlight();
  Driver driver(capacity, /*job_delay_steps=*/1);
  const auto first = RequestBuilder(1).Image(9).Text(3).MaxTokens(8);
  const auto second = RequestBuilder(2).Image(9).Text(4).MaxTokens(1);
  driver.Add(first);
  const StepInput* step = driver.Submit();
  EXPECT_EQ(step->encode_jobs.size(), 1u);
  driver.Add(second);
  EXPECT_EQ(driver.Submit(), nullptr) << "it is being encoded";
  driver.Finish();
  int num_encodes = 0;
  int num_routes = 0;
  for (int i = 0; i < 50; ++i) {
    step = driver.Submit();
    if (step == nullptr) break;
    num_encodes += static_cast<int>(step->encode_jobs.size());
    num_routes += static_cast<int>(step->route_jobs.size());
    driver.Finish();
  }
  EXPECT_EQ(num_encodes, 0);
  EXPECT_EQ(num_routes, 1);
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*first.Build()));
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*second.Build()));
  EXPECT_EQ(driver.model().num_features(), 0);
  EXPECT_EQ(driver.scheduler().vision().num_used(), 0);
}

TEST(SchedulerImagesTest, TwoPlacesOfOneImageShareItsEncode) {
  Driver driver;
  const auto request = RequestBuilder(1).Image(9).Text(1).Image(9).Text(1).MaxTokens(2);
  driver.Add(request);
  const StepInput* step = driver.Submit();
  EXPECT_EQ(step->encode_jobs.size(), 1u);
  EXPECT_EQ(step->route_jobs.size(), 2u);
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
}

TEST(SchedulerImagesTest, ZeroVisualTokensNeedNoEncode) {
  Driver driver;
  const auto request = RequestBuilder(1)
                           .Image(1)
                           .Text(1)
                           .Image(2, RoutingSource::kZeros)
                           .Text(1)
                           .Image(3, RoutingSource::kWeights)
                           .Text(1)
                           .MaxTokens(2);
  driver.Add(request);
  const StepInput* step = driver.Submit();
  EXPECT_EQ(step->encode_jobs.size(), 2u);
  EXPECT_EQ(step->route_jobs.size(), 3u);
  EXPECT_THAT(step->route_jobs[1].text_ids, IsEmpty());
  EXPECT_EQ(step->route_jobs[2].weights.size(), static_cast<size_t>(kTestExperts));
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
  ASSERT_EQ(driver.sink().Routings(1).size(), 2u);
  EXPECT_EQ(driver.sink().Routings(1)[1].image_idx, 2);
}

TEST(SchedulerImagesTest, ARouteRequestEncodesAndRoutesAndComputesNoPosition) {
  Driver driver;
  driver.Add(RequestBuilder(1).Text(2).Image(1).Text(60).Image(2).Route());
  const StepInput* step = driver.Submit();
  EXPECT_EQ(step->route_jobs.size(), 2u);
  EXPECT_THAT(step->spans, IsEmpty());
  EXPECT_THAT(step->new_slots[0].block_ids, IsEmpty());
  driver.Finish();
  EXPECT_EQ(driver.sink().Routings(1).size(), 2u);
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kStop);
  EXPECT_EQ(driver.sink().Finish(1).stop_token, -1);
  driver.RunAll();
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST(SchedulerImagesTest, WaitsForAnEncodeWhoseFirstUserIsGone) {
  Driver driver(SmallCapacity(), /*job_delay_steps=*/2);
  driver.Add(RequestBuilder(1).Image(9).Text(3).MaxTokens(2));
  const auto second = RequestBuilder(2).Image(9).Text(3).MaxTokens(2);
  driver.Submit();
  driver.Add(second);
  driver.Finish();
  driver.Cancel(1);
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(2), ExpectedTokens(*second.Build()));
}

}  // namespace
}  // namespace parrot
