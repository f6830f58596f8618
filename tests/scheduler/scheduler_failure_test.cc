// What the scheduler does when a step, a slot or a job fails, and with stale news.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_driver.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SchedulerFailureTest, WhoWasInAFailedStepRunsAgainAlone) {
  Driver driver;  // 16 tokens per step
  driver.Add(RequestBuilder(1).Text(8).MaxTokens(2));
  driver.Add(RequestBuilder(2).Text(8).MaxTokens(2));
  driver.Add(RequestBuilder(3).Text(8).MaxTokens(2));
  const StepInput* step = driver.Submit();
  ASSERT_EQ(step->spans.size(), 2u);
  StepOutput output = driver.Fail(absl::InternalError("x"));
  driver.Update(&output);
  EXPECT_EQ(driver.sink().num_finished(), 0);
  EXPECT_EQ(driver.scheduler().totals().num_retries, 2);
  for (int i = 0; i < 2; ++i) {
    step = driver.Submit();
    ASSERT_EQ(step->spans.size(), 1u);
    EXPECT_EQ(step->spans[0].num_tokens, 8);
    driver.Finish();
  }
  driver.RunAll();
  for (RequestKey key = 1; key <= 3; ++key) {
    EXPECT_EQ(driver.sink().Finish(key).reason, FinishReason::kLength);
    EXPECT_EQ(driver.sink().Tokens(key),
              ExpectedTokens(*RequestBuilder(key).Text(8).MaxTokens(2).Build()));
  }
}

TEST(SchedulerFailureTest, OnlyTheRequestThatBreaksItsStepsFails) {
  Driver driver;
  std::vector<RequestBuilder> requests;
  for (RequestKey key = 1; key <= 4; ++key) {
    requests.push_back(RequestBuilder(key).Text(3).Image(static_cast<int>(key)).MaxTokens(4));
    driver.Add(requests.back());
  }
  SlotId broken = -1;  // of request 2, whenever it has one
  driver.set_on_step([&broken](StepInput* input) {
    for (const SlotId slot : input->retired_slots) broken = slot == broken ? -1 : broken;
    for (const SlotStart& start : input->new_slots) {
      if (start.sampling.seed == 2) broken = start.slot;
    }
  });
  for (const StepInput* step = driver.Submit(); step != nullptr; step = driver.Submit()) {
    const bool has_it = std::any_of(step->spans.begin(), step->spans.end(), [&](const Span& span) {
      const bool starts_now =
          std::any_of(step->new_slots.begin(), step->new_slots.end(), [&](const SlotStart& start) {
            return start.slot == span.slot && start.sampling.seed == 2;
          });
      return span.slot == broken || starts_now;
    });
    StepOutput output =
        has_it ? driver.Fail(absl::InternalError("at 0x7f00 in /opt/secret.cc")) : driver.Run();
    driver.Update(&output);
  }
  const FinishEvent finish = driver.sink().Finish(2);
  EXPECT_EQ(finish.reason, FinishReason::kError);
  EXPECT_EQ(finish.status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(finish.status.message(), "inference failed") << "never the worker's own words";
  for (const RequestKey key : {1, 3, 4}) {
    EXPECT_EQ(driver.sink().Finish(key).reason, FinishReason::kLength);
    EXPECT_EQ(driver.sink().Tokens(key), ExpectedTokens(*requests[key - 1].Build()));
  }
}

TEST(SchedulerFailureTest, MapsTheWorkersErrorToWhatAClientMayRetry) {
  const std::vector<std::pair<absl::StatusCode, absl::StatusCode>> cases = {
      {absl::StatusCode::kInternal, absl::StatusCode::kInternal},
      {absl::StatusCode::kUnknown, absl::StatusCode::kInternal},
      {absl::StatusCode::kInvalidArgument, absl::StatusCode::kInternal},
      {absl::StatusCode::kResourceExhausted, absl::StatusCode::kResourceExhausted},
      {absl::StatusCode::kUnavailable, absl::StatusCode::kUnavailable}};
  for (const auto& [from, to] : cases) {
    Driver driver;
    driver.Add(RequestBuilder(1).Text(1));
    driver.Submit();
    StepOutput output = driver.Fail(absl::Status(from, "x"));
    driver.Update(&output);
    EXPECT_EQ(driver.sink().Finish(1).status.code(), to);
  }
}

TEST(SchedulerFailureTest, AnOutputThatDoesNotAnswerItsInputIsAFailedStep) {
  for (int kind = 0; kind < 3; ++kind) {
    Driver driver;
    driver.Add(RequestBuilder(1).Text(3).MaxTokens(4));
    driver.Submit();
    StepOutput output = driver.Run();
    if (kind == 0) output.rows.clear();
    if (kind == 1) output.rows[0].slot = 3;
    if (kind == 2) output.step_id += 1;
    driver.Update(&output);
    EXPECT_EQ(driver.sink().Finish(1).status.code(), absl::StatusCode::kInternal) << kind;
    EXPECT_FALSE(output.status.ok());
  }
}

TEST(SchedulerFailureTest, AFailedSlotFailsAlone) {
  Driver driver;
  driver.Add(RequestBuilder(1).Text(4).MaxTokens(2));
  driver.Add(RequestBuilder(2).Text(4).MaxTokens(2));
  driver.Submit();
  StepOutput output = driver.Run();
  driver.model().SpoilSlot(0);
  output.failed_slots.push_back({0, absl::InternalError("logits are not finite")});
  driver.Update(&output);
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kError);
  EXPECT_EQ(driver.sink().Finish(1).num_completion_tokens, 0);
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(2).reason, FinishReason::kLength);
}

TEST(SchedulerFailureTest, FailAllFinishesWaitingAndRunning) {
  Driver driver;
  driver.Add(RequestBuilder(1).Text(60).MaxTokens(2));
  driver.Add(RequestBuilder(2).Text(60).MaxTokens(2));
  driver.Submit();
  std::vector<EngineEvent> events;
  driver.scheduler().FailAll(absl::UnavailableError("over"), driver.clock().Now(), &events);
  ASSERT_EQ(events.size(), 2u);
  for (const EngineEvent& event : events) {
    EXPECT_EQ(std::get<FinishEvent>(event).status, absl::UnavailableError("over"));
  }
  driver.Finish();
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
}

TEST(SchedulerFailureTest, AfterAFailedStepOthersEncodeTheSharedImageAgain) {
  Driver driver;
  ExecutorCapacity capacity = TwoInFlight();
  Driver two(capacity, /*job_delay_steps=*/1);
  two.Add(RequestBuilder(1).Image(9).Text(3).MaxTokens(2));
  two.Submit();
  const auto second = RequestBuilder(2).Image(9).Text(4).MaxTokens(2);
  two.Add(second);
  StepOutput output = two.Fail(absl::InternalError("x"));
  two.Update(&output);
  EXPECT_EQ(two.sink().Finish(1).reason, FinishReason::kError);
  const StepInput* step = two.Submit();
  EXPECT_THAT(step->evicted_images, ElementsAre(TestImage(9).hash));
  EXPECT_EQ(step->encode_jobs.size(), 1u);
  two.Finish();
  two.RunAll();
  EXPECT_EQ(two.sink().Tokens(2), ExpectedTokens(*second.Build()));
}

TEST(SchedulerFailureTest, AFailedEncodeFailsThoseWhoReadIt) {
  Driver driver;
  driver.Add(RequestBuilder(1).Image(9).Text(3).MaxTokens(2));
  driver.Add(RequestBuilder(2).Image(9, RoutingSource::kZeros).Text(3).MaxTokens(2));
  driver.Submit();
  StepOutput output = driver.Run();
  ASSERT_EQ(output.encodes_done.size(), 1u);
  output.encodes_done[0].status = absl::InternalError("not finite");
  output.routes_done.erase(output.routes_done.begin());  // request 1's
  driver.Update(&output);
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kError);
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(2).reason, FinishReason::kLength);
  EXPECT_EQ(driver.model().num_features(), 0);
}

TEST(SchedulerFailureTest, AFailedRouteFailsItsRequest) {
  Driver driver;
  driver.Add(RequestBuilder(1).Image(9).Text(3).MaxTokens(2));
  driver.Add(RequestBuilder(2).Image(9).Text(3).MaxTokens(2));
  driver.Submit();
  StepOutput output = driver.Run();
  ASSERT_EQ(output.routes_done.size(), 2u);
  output.routes_done[0].status = absl::InternalError("x");
  driver.Update(&output);
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kError);
  EXPECT_THAT(driver.sink().Routings(1), IsEmpty());
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(2).reason, FinishReason::kLength);
}

TEST(SchedulerFailureTest, NewsOfTheSlotsFormerHolderIsIgnored) {
  Driver driver(TwoInFlight());
  driver.Add(RequestBuilder(1).Image(1).Text(1).MaxTokens(2));
  driver.Submit();
  StepOutput first = driver.Run();
  StepOutput stale = first;
  driver.Update(&first);
  driver.Cancel(1);
  driver.Add(RequestBuilder(2).Image(2).Text(1).MaxTokens(2));
  driver.Submit();
  StepOutput output = driver.Run();
  output.routes_done = {{.slot = 0, .image_idx = 7},  // no such image
                        {.slot = 9, .image_idx = 0},  // no such slot
                        {.slot = -1, .image_idx = 0}};
  output.encodes_done = {{TestImage(1).hash, absl::InternalError("gone")},
                         {TestImage(5).hash, absl::OkStatus()}};
  driver.Update(&output);
  EXPECT_THAT(driver.sink().Routings(2), IsEmpty());
  EXPECT_THAT(driver.sink().Finishes(2), IsEmpty());
}

}  // namespace
}  // namespace parrot
