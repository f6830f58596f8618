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

// ---- Towers that are cut by layers ----

// A tower of four layers costs 4 s, everything else nothing: under a limit of `seconds` a step has
// that many layers while somebody decodes.
class CutTowerTest : public testing::Test {
 protected:
  static ExecutorCapacity FourLayers() {
    ExecutorCapacity capacity = SmallCapacity();
    capacity.num_vision_layers = 4;
    return capacity;
  }
  static StepTimeLimit Limit(double seconds) {
    return {.limit = absl::Seconds(seconds), .price = {.image = 4.0}};
  }
  // Request 1 decodes from now on.
  void StartDecoding() {
    driver.Add(decoding);
    driver.Submit();
    driver.Finish();
  }
  // (first layer, layers) of the step's jobs.
  static std::vector<std::vector<int32_t>> Layers(const StepInput& step) {
    std::vector<std::vector<int32_t>> layers;
    for (const EncodeJob& job : step.encode_jobs) {
      layers.push_back({job.first_layer, job.num_layers});
    }
    return layers;
  }
  void ExpectAnswer(const RequestBuilder& request) {
    EXPECT_EQ(driver.sink().Tokens(request.Build()->key), ExpectedTokens(*request.Build()));
  }

  Driver driver{FourLayers()};
  const RequestBuilder decoding = RequestBuilder(1).Text(2).MaxTokens(20);
  const RequestBuilder asking = RequestBuilder(2).Image(9).Text(3).MaxTokens(2);
};

TEST_F(CutTowerTest, RunsAFewLayersAStepWhileOthersDecode) {
  driver.scheduler().set_step_time_limit(Limit(1.5));
  StartDecoding();
  driver.Add(asking);
  for (int32_t layer = 0; layer < 4; ++layer) {
    const StepInput* step = driver.Submit();
    EXPECT_THAT(Layers(*step), ElementsAre(ElementsAre(layer, 1)));
    EXPECT_EQ(step->spans.size(), 1u) << "who decodes goes on";
    EXPECT_EQ(step->route_jobs.size(), layer == 3 ? 1u : 0u);
    driver.Finish();
  }
  driver.RunAll();
  EXPECT_EQ(driver.num_encodes(), 4) << "jobs";
  ExpectAnswer(decoding);
  ExpectAnswer(asking);
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST_F(CutTowerTest, RunsWholeWhenNobodyDecodes) {
  driver.scheduler().set_step_time_limit(Limit(0.1));
  driver.Add(asking);
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(0, 4)));
  driver.Finish();
  driver.RunAll();
  ExpectAnswer(asking);
}

TEST_F(CutTowerTest, TheRestRunsAtOnceWhenTheLastThatDecodedHasEnded) {
  driver.scheduler().set_step_time_limit(Limit(0.1));
  StartDecoding();
  driver.Add(asking);
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(0, 1))) << "one at least";
  driver.Finish();
  driver.Cancel(1);
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(1, 3)));
  driver.Finish();
  driver.RunAll();
  ExpectAnswer(asking);
}

TEST_F(CutTowerTest, TowersRunTogetherAndANewOneWaitsForThem) {
  driver.scheduler().set_step_time_limit(Limit(4.0));
  StartDecoding();
  driver.Add(asking);
  driver.Add(RequestBuilder(3).Image(8).Text(3).MaxTokens(2));
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(0, 2), ElementsAre(0, 2)));
  driver.Finish();
  const auto late = RequestBuilder(4).Image(7).Text(3).MaxTokens(2);
  driver.Add(late);
  const StepInput* step = driver.Submit();
  EXPECT_THAT(Layers(*step), ElementsAre(ElementsAre(2, 2), ElementsAre(2, 2)));
  EXPECT_EQ(step->route_jobs.size(), 2u);
  driver.Finish();
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(0, 4)));
  driver.Finish();
  driver.RunAll();
  ExpectAnswer(asking);
  ExpectAnswer(late);
}

TEST_F(CutTowerTest, GoesOnForOthersWhenItsFirstUserIsGoneAndStopsWithTheLast) {
  driver.scheduler().set_step_time_limit(Limit(1.0));
  StartDecoding();
  driver.Add(asking);
  driver.Submit();
  driver.Finish();
  const auto other = RequestBuilder(3).Image(9).Text(4).MaxTokens(2);
  driver.Add(other);
  driver.Submit();
  driver.Cancel(2);
  driver.Finish();
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(2, 1)));
  driver.Cancel(3);
  driver.Finish();
  EXPECT_EQ(driver.scheduler().vision().num_present(), 0);
  const StepInput* step = driver.Submit();
  EXPECT_THAT(Layers(*step), IsEmpty());
  EXPECT_EQ(step->evicted_images.size(), 1u);
  driver.Finish();
  EXPECT_EQ(driver.model().num_features(), 0);
  driver.RunAll();
  ExpectAnswer(decoding);
}

TEST_F(CutTowerTest, ALostPartLosesTheWholeAndIsTriedAloneOnce) {
  driver.scheduler().set_step_time_limit(Limit(1.0));
  StartDecoding();
  driver.Add(asking);
  driver.Submit();
  driver.Finish();
  driver.Submit();
  StepOutput output = driver.Fail(absl::InternalError("x"));
  driver.Update(&output);
  EXPECT_EQ(driver.scheduler().totals().num_retries, 2) << "who decoded, and who waited for it";
  driver.RunAll();
  ExpectAnswer(decoding);
  ExpectAnswer(asking);
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST_F(CutTowerTest, AnImageThatCannotBeEncodedFailsThoseItWasEncodedFor) {
  driver.scheduler().set_step_time_limit(Limit(2.0));
  StartDecoding();
  driver.Add(asking);
  driver.Submit();
  driver.Finish();
  const auto waiting = RequestBuilder(3).Image(9).Text(4).MaxTokens(2);
  driver.Add(waiting);
  driver.Submit();
  StepOutput output = driver.Run();
  output.encodes_done.at(0).status = absl::InternalError("x");
  output.routes_done.clear();
  driver.Update(&output);
  EXPECT_EQ(driver.sink().Finish(2).reason, FinishReason::kError);
  driver.RunAll();
  ExpectAnswer(waiting);
  ExpectAnswer(decoding);
}

TEST_F(CutTowerTest, WhereThereIsNoTimeLeftWhatCostsNothingGetsOnToo) {
  driver.scheduler().set_step_time_limit({.limit = absl::Seconds(1), .price = {.step = 2.0}});
  StartDecoding();
  driver.Add(asking);
  EXPECT_THAT(Layers(*driver.Submit()), ElementsAre(ElementsAre(0, 1)));
  driver.Finish();
  driver.RunAll();
  ExpectAnswer(decoding);
  ExpectAnswer(asking);
}

TEST_F(CutTowerTest, PromptsGetOnEvenWhenThereIsNoTime) {
  driver.scheduler().set_step_time_limit({.limit = absl::Seconds(1), .price = {.token = 10.0}});
  StartDecoding();
  const auto prompt = RequestBuilder(2).Text(3).MaxTokens(1);
  driver.Add(prompt);
  EXPECT_THAT(Spans(*driver.Submit()), ElementsAre(ElementsAre(0, 2, 1), ElementsAre(1, 0, 1)));
  driver.Finish();
  driver.RunAll();
  ExpectAnswer(prompt);
}

}  // namespace
}  // namespace parrot
