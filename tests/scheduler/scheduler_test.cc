#include "scheduler/scheduler.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_state.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A scheduler and a fake runtime on one thread, step by step.
class Driver {
 public:
  explicit Driver(const ExecutorCapacity& capacity = SmallCapacity(), int32_t job_delay_steps = 0)
      : model_(FakeModelOptions{.capacity = capacity,
                                .vocab_size = kTestVocabSize,
                                .job_delay_steps = job_delay_steps}),
        scheduler_({.max_num_seqs = 1000,
                    .max_num_batched_tokens = 1000,
                    .max_images_per_step = 1000,
                    .queue_timeout = absl::Seconds(30)},
                   capacity) {}

  void Add(const RequestBuilder& request) { scheduler_.Add(request.Build(), clock_.Now()); }
  void Cancel(RequestKey key) {
    scheduler_.Cancel({key, kAllSequences}, clock_.Now(), &events_);
    Deliver();
  }
  void Expire() {
    scheduler_.Expire(clock_.Now(), &events_);
    Deliver();
  }

  // Submits one step; null when there is nothing to do. The step stays valid until its Finish.
  const StepInput* Submit() {
    auto input = std::make_unique<StepInput>();
    const bool scheduled = scheduler_.Schedule(clock_.Now(), input.get(), &events_);
    Deliver();
    if (!scheduled) return nullptr;
    in_flight_.push_back(std::move(input));
    return in_flight_.back().get();
  }
  // Runs and finishes the oldest step.
  void Finish() {
    StepOutput output = Run();
    Update(&output);
  }
  StepOutput Run() {
    StepOutput output;
    output.step_id = in_flight_.front()->step_id;
    EXPECT_EQ(model_.Begin(*in_flight_.front()), absl::OkStatus());
    model_.Compute(*in_flight_.front(), &output);
    return output;
  }
  StepOutput Fail(const absl::Status& status) {
    StepOutput output;
    output.step_id = in_flight_.front()->step_id;
    output.status = status;
    EXPECT_EQ(model_.Begin(*in_flight_.front()), absl::OkStatus());
    model_.Abandon(*in_flight_.front());
    return output;
  }
  void Update(StepOutput* output) {
    scheduler_.Update(*in_flight_.front(), output, clock_.Now(), &events_);
    in_flight_.pop_front();
    Deliver();
    EXPECT_EQ(scheduler_.CheckIntegrity(), absl::OkStatus());
  }
  // Steps until nothing is left to do.
  void RunAll() {
    for (int i = 0; i < 1000; ++i) {
      if (Submit() == nullptr && in_flight_.empty()) return;
      if (!in_flight_.empty()) Finish();
    }
    FAIL() << "no end";
  }

  Scheduler& scheduler() { return scheduler_; }
  FakeModelState& model() { return model_; }
  FakeClock& clock() { return clock_; }
  const RecordingSink& sink() const { return sink_; }

 private:
  void Deliver() {
    sink_.OnEvents(events_);
    events_.clear();
  }

  FakeClock clock_;
  FakeModelState model_;
  Scheduler scheduler_;
  std::deque<std::unique_ptr<StepInput>> in_flight_;
  std::vector<EngineEvent> events_;
  RecordingSink sink_;
};

// (slot, start, count) of each span.
std::vector<std::vector<int32_t>> Spans(const StepInput& input) {
  std::vector<std::vector<int32_t>> spans;
  for (const Span& s : input.spans) spans.push_back({s.slot, s.start_position, s.num_tokens});
  return spans;
}

ExecutorCapacity TwoInFlight() {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.max_steps_in_flight = 2;
  return capacity;
}

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
  EXPECT_EQ(start.block_ids.size(), 3u) << "9 positions of 4: the whole life";
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

TEST(SchedulerTest, AdmitsOnlyWhoseWholeLifeFitsAndNobodyOvertakes) {
  Driver driver;                                         // 16 blocks of 4
  driver.Add(RequestBuilder(1).Text(30).MaxTokens(11));  // 10 blocks
  driver.Add(RequestBuilder(2).Text(2).MaxTokens(27));   // 7 blocks: must wait
  driver.Add(RequestBuilder(3).Text(1).MaxTokens(1));    // 1 block: would fit
  driver.Submit();
  EXPECT_EQ(driver.scheduler().num_running(), 1);
  EXPECT_EQ(driver.scheduler().num_waiting(), 2);
  EXPECT_EQ(driver.scheduler().num_waiting_tokens(), 3);
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 10);
  driver.Finish();
  driver.RunAll();
  EXPECT_EQ(driver.sink().num_finished(), 3);
  std::vector<RequestKey> order;
  for (const EngineEvent& event : driver.sink().events()) {
    const auto* token = std::get_if<TokenEvent>(&event);
    if (token != nullptr && !std::count(order.begin(), order.end(), token->key)) {
      order.push_back(token->key);
    }
  }
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
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
  EXPECT_EQ(driver.scheduler().blocks().num_used(), 4);
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

TEST(SchedulerTest, AFailedStepFailsOnlyTheRequestsInIt) {
  Driver driver;  // 16 tokens per step
  driver.Add(RequestBuilder(1).Text(8).MaxTokens(2));
  driver.Add(RequestBuilder(2).Text(8).MaxTokens(2));
  driver.Add(RequestBuilder(3).Text(8).MaxTokens(2));
  const StepInput* step = driver.Submit();
  ASSERT_EQ(step->spans.size(), 2u);
  StepOutput output = driver.Fail(absl::InternalError("at 0x7f00 in /opt/secret.cc"));
  driver.Update(&output);
  for (const RequestKey key : {1, 2}) {
    const FinishEvent finish = driver.sink().Finish(key);
    EXPECT_EQ(finish.reason, FinishReason::kError);
    EXPECT_EQ(finish.status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(finish.status.message(), "inference failed") << "never the worker's own words";
  }
  driver.RunAll();
  EXPECT_EQ(driver.sink().Finish(3).reason, FinishReason::kLength);
  EXPECT_EQ(driver.sink().Tokens(3),
            ExpectedTokens(*RequestBuilder(3).Text(8).MaxTokens(2).Build()));
}

TEST(SchedulerTest, MapsTheWorkersErrorToWhatAClientMayRetry) {
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

TEST(SchedulerTest, AnOutputThatDoesNotAnswerItsInputIsAFailedStep) {
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

TEST(SchedulerTest, AFailedSlotFailsAlone) {
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

TEST(SchedulerTest, FailAllFinishesWaitingAndRunning) {
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

// ---- Images ----

TEST(SchedulerTest, VisualPositionsWaitForTheirRouteJob) {
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

TEST(SchedulerTest, AnImageMayBeCutAcrossSteps) {
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

TEST(SchedulerTest, KeepsTheImagesBudgetOfAStep) {
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

TEST(SchedulerTest, RequestsWithOneImageShareItsEncode) {
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

TEST(SchedulerTest, TwoPlacesOfOneImageShareItsEncode) {
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

TEST(SchedulerTest, ZeroVisualTokensNeedNoEncode) {
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

TEST(SchedulerTest, ARouteRequestEncodesAndRoutesAndComputesNoPosition) {
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

TEST(SchedulerTest, AfterAFailedStepOthersEncodeTheSharedImageAgain) {
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

TEST(SchedulerTest, AFailedEncodeFailsThoseWhoReadIt) {
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

TEST(SchedulerTest, AFailedRouteFailsItsRequest) {
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

TEST(SchedulerTest, WaitsForAnEncodeWhoseFirstUserIsGone) {
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

TEST(SchedulerTest, NewsOfTheSlotsFormerHolderIsIgnored) {
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
  output.routes_done = {{0, 7, {1.0f}, absl::OkStatus()},  // no such image
                        {9, 0, {1.0f}, absl::OkStatus()},  // no such slot
                        {-1, 0, {1.0f}, absl::OkStatus()}};
  output.encodes_done = {{TestImage(1).hash, absl::InternalError("gone")},
                         {TestImage(5).hash, absl::OkStatus()}};
  driver.Update(&output);
  EXPECT_THAT(driver.sink().Routings(2), IsEmpty());
  EXPECT_THAT(driver.sink().Finishes(2), IsEmpty());
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
