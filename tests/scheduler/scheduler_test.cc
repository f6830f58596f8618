#include "scheduler/scheduler.h"

#include <cstdint>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_driver.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SchedulerTest, HasNothingToDoWithoutRequests) {
  Driver driver;
  EXPECT_EQ(driver.Submit(), nullptr);
}

TEST(SchedulerTest, GeneratesUntilMaxTokens) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(6).MaxTokens(5);
  driver.Add(request);
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
  const FinishEvent finish = driver.sink().Finish(1);
  EXPECT_EQ(finish.reason, FinishReason::kLength);
  EXPECT_EQ(finish.num_completion_tokens, 5);
  EXPECT_EQ(driver.scheduler().totals().num_prompt_tokens, 6);
  EXPECT_EQ(driver.scheduler().totals().num_generated_tokens, 5);
  EXPECT_EQ(driver.model().num_live_slots(), 0);
}

TEST(SchedulerTest, AStopTokenEndsTheAnswerAndIsNotPartOfIt) {
  auto request = RequestBuilder(1).Text(6).MaxTokens(6);
  const std::vector<TokenId> all = ExpectedTokens(*request.Build());
  request.StopToken(all[3]);
  Driver driver;
  driver.Add(request);
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), std::vector<TokenId>(all.begin(), all.begin() + 3));
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kStop);
  EXPECT_EQ(driver.sink().Finish(1).stop_token, all[3]);
  EXPECT_EQ(driver.sink().Finish(1).num_completion_tokens, 3);
}

TEST(SchedulerTest, AStopTokenBeforeMinTokensIsAnOrdinaryToken) {
  auto request = RequestBuilder(1).Text(6).MaxTokens(6);
  const std::vector<TokenId> all = ExpectedTokens(*request.Build());
  request.StopToken(all[1]).MinTokens(2);
  Driver driver;
  driver.Add(request);
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), all);
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kLength);
}

TEST(SchedulerTest, ANewSlotArrivesInFullAndLaterStepsCarryDeltas) {
  Driver driver;
  const auto request = RequestBuilder(1).Text(6).MaxTokens(4).Logprobs(2);
  driver.Add(request);
  const StepInput* step = driver.Submit();
  ASSERT_EQ(step->new_slots.size(), 1u);
  const SlotStart start = step->new_slots[0];
  EXPECT_EQ(start.token_ids, request.Build()->token_ids);
  EXPECT_EQ(start.num_prompt_tokens, 6);
  EXPECT_EQ(start.block_ids.size(), 2u) << "6 positions of 4, and no more";
  EXPECT_EQ(start.sampling.num_logprobs, 2);
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(start.slot, 0, 6)));
  driver.Finish();
  step = driver.Submit();
  EXPECT_THAT(step->new_slots, IsEmpty());
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(start.slot, 6, 1)));
  EXPECT_EQ(step->token_ids, driver.sink().Tokens(1));
  driver.Finish();
  const auto& event = std::get<TokenEvent>(driver.sink().events().front());
  EXPECT_EQ(event.logprob, -1.0f);
  EXPECT_EQ(event.top.size(), 2u);
}

TEST(SchedulerTest, DecodeComesBeforePrefillAndAPrefillIsSplitByTheBudget) {
  Driver driver;
  driver.Add(RequestBuilder(1).Text(3).MaxTokens(8));
  driver.Submit();
  driver.Finish();
  driver.Add(RequestBuilder(2).Text(20).MaxTokens(1));
  driver.Add(RequestBuilder(3).Text(4).MaxTokens(1));
  const StepInput* step = driver.Submit();
  EXPECT_THAT(Spans(*step), ElementsAre(ElementsAre(0, 3, 1), ElementsAre(1, 0, 15)));
  EXPECT_EQ(step->logits_rows.size(), 1u) << "an unfinished prefill samples nothing";
  driver.Finish();
  step = driver.Submit();
  EXPECT_THAT(Spans(*step),
              ElementsAre(ElementsAre(0, 4, 1), ElementsAre(1, 15, 5), ElementsAre(2, 0, 4)));
  EXPECT_EQ(step->logits_rows.size(), 3u);
  driver.Finish();
  EXPECT_EQ(driver.sink().num_finished(), 2);
}

TEST(SchedulerTest, ABlockIsTakenWhenItsFirstPositionIsComputed) {
  Driver driver;
  driver.Add(RequestBuilder(1).Text(3).MaxTokens(7));
  std::vector<int32_t> num_used;
  std::vector<size_t> num_appended;
  while (const StepInput* step = driver.Submit()) {
    if (step->spans.empty()) break;
    num_used.push_back(driver.scheduler().blocks().num_used());
    num_appended.push_back(step->block_appends.size());
    driver.Finish();
  }
  EXPECT_THAT(num_used, ElementsAre(1, 1, 2, 2, 2, 2, 3));
  EXPECT_THAT(num_appended, ElementsAre(0, 0, 1, 0, 0, 0, 1)) << "a new slot brings its own";
}

TEST(SchedulerTest, AdmitsOnlyWhosePromptFitsBesideTheOthersAndNobodyOvertakes) {
  Driver driver;                                         // 16 blocks of 4
  driver.Add(RequestBuilder(1).Text(30).MaxTokens(11));  // 8 blocks at first, 10 at the end
  driver.Add(RequestBuilder(2).Text(32).MaxTokens(2));   // 8 blocks: one too many
  driver.Add(RequestBuilder(3).Text(1).MaxTokens(1));    // 1 block: would fit
  driver.Submit();
  EXPECT_EQ(driver.scheduler().num_running(), 1);
  EXPECT_EQ(driver.scheduler().num_waiting(), 2);
  EXPECT_EQ(driver.scheduler().num_waiting_tokens(), 33);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 4) << "of the first 16 positions";
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().num_finished(), 3);
  EXPECT_THAT(OrderOfFirstTokens(driver.sink()), ElementsAre(1, 2, 3));
  EXPECT_EQ(driver.scheduler().totals().num_preemptions, 0);
}

TEST(SchedulerTest, AdmitsNoMoreThanThereAreSlots) {
  Driver driver;
  for (RequestKey key = 1; key <= 6; ++key) driver.Add(RequestBuilder(key).Text(1).MaxTokens(2));
  driver.Submit();
  EXPECT_EQ(driver.scheduler().num_running(), 4);
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().num_finished(), 6);
}

TEST(SchedulerTest, ASecondStepInFlightReadsTheTokenOnTheDevice) {
  Driver driver(TwoInFlight());
  const auto request = RequestBuilder(1).Text(6).MaxTokens(3);
  driver.Add(request);
  ASSERT_NE(driver.Submit(), nullptr);
  const StepInput* second = driver.Submit();
  ASSERT_NE(second, nullptr);
  ASSERT_EQ(second->spans.size(), 1u);
  EXPECT_EQ(second->spans[0].source, TokenSource::kSampledOnDevice);
  EXPECT_EQ(second->spans[0].start_position, 6);
  EXPECT_THAT(second->token_ids, IsEmpty());
  driver.Finish();
  const StepInput* third = driver.Submit();
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(third->spans[0].start_position, 7);
  driver.Finish();
  EXPECT_EQ(driver.Submit(), nullptr) << "max_tokens are already on their way";
  driver.Finish();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kLength);
}

TEST(SchedulerTest, ASplitPrefillMayHaveTwoPartsInFlight) {
  Driver driver(TwoInFlight());
  const auto request = RequestBuilder(1).Text(24).MaxTokens(2);
  driver.Add(request);
  driver.Submit();
  const StepInput* second = driver.Submit();
  EXPECT_THAT(Spans(*second), ElementsAre(ElementsAre(0, 16, 8)));
  driver.Finish();
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Tokens(1), ExpectedTokens(*request.Build()));
}

TEST(SchedulerTest, BlocksComeBackOnlyWhenNoStepInFlightUsesThem) {
  auto request = RequestBuilder(1).Text(6).MaxTokens(8);
  request.StopToken(ExpectedTokens(*request.Build())[0]);
  Driver driver(TwoInFlight());
  driver.Add(request);
  driver.Submit();
  driver.Submit();
  driver.Finish();  // draws the stop token; the second step still writes to the blocks
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kStop);
  EXPECT_EQ(driver.scheduler().num_running(), 0);
  EXPECT_EQ(driver.scheduler().num_retiring(), 1);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 2);
  EXPECT_EQ(driver.Submit(), nullptr);
  driver.Finish();
  EXPECT_EQ(driver.scheduler().num_retiring(), 0);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
  EXPECT_THAT(driver.sink().Tokens(1), IsEmpty()) << "what was drawn after the end is ignored";
  const StepInput* last = driver.Submit();
  ASSERT_NE(last, nullptr) << "the worker hears of the slot at once";
  EXPECT_THAT(last->retired_slots, ElementsAre(0));
  driver.Finish();
  EXPECT_EQ(driver.Submit(), nullptr);
}

TEST(SchedulerTest, CancelsInEveryState) {
  Driver driver;
  driver.Cancel(77);  // unknown
  driver.Add(RequestBuilder(1).Text(60).MaxTokens(2));
  driver.Add(RequestBuilder(2).Text(60).MaxTokens(2));
  driver.Submit();  // 1 runs, 2 waits
  driver.Cancel(2);
  EXPECT_EQ(driver.scheduler().num_waiting(), 0);
  driver.Cancel(1);
  EXPECT_EQ(driver.scheduler().num_retiring(), 1) << "its step is in flight";
  EXPECT_GT(driver.scheduler().blocks().num_used(), 0);
  driver.Cancel(1);
  driver.Finish();
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
  driver.Add(RequestBuilder(3).Text(60).MaxTokens(2));
  driver.Submit();
  driver.Finish();
  driver.Cancel(3);  // between steps: nothing is in flight
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
  driver.RunAll();
  EXPECT_EQ(driver.model().num_live_slots(), 0);
  for (RequestKey key = 1; key <= 3; ++key) {
    EXPECT_EQ(driver.sink().Finish(key).reason, FinishReason::kCancelled);
  }
  EXPECT_EQ(driver.sink().num_finished(), 3);
}

TEST(SchedulerTest, ADeadlineEndsARequestInAnyState) {
  Driver driver;
  const absl::Time start = driver.clock().Now();
  driver.Add(RequestBuilder(1).Text(50).MaxTokens(10).Deadline(start + absl::Seconds(5)));
  driver.Add(RequestBuilder(2).Text(50).MaxTokens(10).Deadline(start + absl::Seconds(3)));
  EXPECT_EQ(driver.scheduler().next_expiry(), start + absl::Seconds(3));
  driver.Submit();
  driver.clock().Advance(absl::Seconds(3));
  driver.Expire();
  EXPECT_EQ(driver.sink().Finish(2).reason, FinishReason::kDeadline);
  EXPECT_EQ(driver.scheduler().next_expiry(), start + absl::Seconds(5));
  driver.clock().Advance(absl::Seconds(2));
  driver.Expire();
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kDeadline);
  EXPECT_EQ(driver.sink().Finish(1).status, absl::OkStatus());
  EXPECT_EQ(driver.scheduler().next_expiry(), absl::InfiniteFuture());
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 0);
}

TEST(SchedulerTest, TheQueueTimeLimitCountsOnlyWaiting) {
  Driver driver;  // 30 s
  driver.Add(RequestBuilder(1).Text(50).MaxTokens(10));
  driver.Add(RequestBuilder(2).Text(50).MaxTokens(10));
  driver.Submit();
  driver.clock().Advance(absl::Seconds(30));
  driver.Expire();
  const FinishEvent finish = driver.sink().Finish(2);
  EXPECT_EQ(finish.reason, FinishReason::kError);
  EXPECT_EQ(finish.status.code(), absl::StatusCode::kResourceExhausted);
  const ErrorFacts facts = GetErrorFacts(finish.status);
  EXPECT_EQ(facts.reason, "QUEUE_TIMEOUT");
  EXPECT_EQ(facts.limit, "30000 ms");
  EXPECT_GT(facts.retry_after, absl::ZeroDuration());
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(1).reason, FinishReason::kLength);
}

TEST(SchedulerTest, EachRequestIsToldTheTimesOfItsOwnStages) {
  Driver driver;
  driver.Add(RequestBuilder(1).Image(1).Text(1).MaxTokens(2));
  driver.Add(RequestBuilder(2).Text(3).MaxTokens(3));
  for (int i = 0; i < 4; ++i) {
    if (driver.Submit() == nullptr) break;
    StepOutput output = driver.Run();
    for (absl::Duration& elapsed : output.times.elapsed) elapsed = absl::Seconds(1);
    driver.clock().Advance(absl::Seconds(7));
    driver.Update(&output);
  }
  const StageTimes image = driver.sink().Finish(1).times.stages;
  const StageTimes text = driver.sink().Finish(2).times.stages;
  EXPECT_EQ(image[Stage::kClip], absl::Seconds(1));
  EXPECT_EQ(image[Stage::kExperts], absl::Seconds(1));
  EXPECT_EQ(image[Stage::kPrefill], absl::Seconds(1));
  EXPECT_EQ(image[Stage::kDecode], absl::Seconds(1));
  EXPECT_EQ(text[Stage::kClip], absl::ZeroDuration());
  EXPECT_EQ(text[Stage::kRouter], absl::ZeroDuration());
  EXPECT_EQ(text[Stage::kPrefill], absl::Seconds(1));
  EXPECT_EQ(text[Stage::kDecode], absl::Seconds(2));
  EXPECT_EQ(text[Stage::kSample], absl::Seconds(3));
  EXPECT_EQ(driver.sink().Finish(2).times.prefill, absl::Seconds(7));
  EXPECT_EQ(driver.sink().Finish(2).times.decode, absl::Seconds(14));
}

TEST(SchedulerTest, ServesMoreDecodesThanTheTokenBudgetHolds) {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.max_step_tokens = 3;
  Driver driver(capacity);
  for (RequestKey key = 1; key <= 4; ++key) driver.Add(RequestBuilder(key).Text(2).MaxTokens(5));
  driver.RunAll();
  for (RequestKey key = 1; key <= 4; ++key) {
    EXPECT_EQ(driver.sink().Tokens(key).size(), 5u);
  }
}

}  // namespace
}  // namespace parrot
