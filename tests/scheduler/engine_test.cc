// The engine turn by turn on one thread: RunOnce, a fake clock, an executor that runs by hand.
#include "scheduler/engine.h"

#include <memory>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

struct EngineTest : public testing::Test {
  EngineTest() { Reset({}, SmallCapacity()); }
  ~EngineTest() override { Finish(); }

  void Reset(const EngineOptions& options, const ExecutorCapacity& capacity) {
    if (engine != nullptr) Finish();
    FakeExecutorOptions executor_options;
    executor_options.model = {.capacity = capacity, .vocab_size = kTestVocabSize};
    executor = std::make_unique<FakeModelExecutor>(executor_options);
    engine = std::make_unique<Engine>(options, executor.get(), &sink, &clock);
  }
  void Finish() {
    RunAll();
    EXPECT_EQ(executor->violation(), absl::OkStatus());
    EXPECT_EQ(engine->load().num_blocks_used, 0);
    EXPECT_EQ(engine->load().num_outstanding_tokens, 0);
    engine.reset();
  }
  void RunAll() {
    while (engine->RunOnce() || executor->RunStep()) {
    }
  }
  // One turn, and the step it submitted.
  void Step() {
    engine->RunOnce();
    executor->RunStep();
  }

  FakeClock clock;
  RecordingSink sink;
  std::unique_ptr<FakeModelExecutor> executor;
  std::unique_ptr<Engine> engine;
};

TEST_F(EngineTest, AnswersARequest) {
  const auto request = RequestBuilder(1).Text(5).Image(1).Text(2).MaxTokens(4).Build();
  ASSERT_EQ(engine->Add(request), absl::OkStatus());
  RunAll();
  EXPECT_EQ(sink.Tokens(1), ExpectedTokens(*request));
  EXPECT_EQ(sink.Routings(1).size(), 1u);
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kLength);
}

TEST_F(EngineTest, RequestsJoinAndLeaveAtEveryStep) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(3).MaxTokens(6).Build()), absl::OkStatus());
  Step();
  Step();
  ASSERT_EQ(engine->Add(RequestBuilder(2).Text(3).MaxTokens(2).Build()), absl::OkStatus());
  Step();
  EXPECT_EQ(executor->counts().max_step_spans, 2);
  Step();
  Step();
  EXPECT_EQ(sink.Finish(2).reason, FinishReason::kLength);
  EXPECT_TRUE(sink.Finishes(1).empty());
  RunAll();
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kLength);
}

TEST_F(EngineTest, DoesNothingWhenThereIsNothingToDo) {
  EXPECT_FALSE(engine->RunOnce());
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(3).Build()), absl::OkStatus());
  EXPECT_TRUE(engine->RunOnce());
  EXPECT_FALSE(engine->RunOnce()) << "the step is in flight";
}

TEST_F(EngineTest, RefusesWhatCannotFitAtTheDoor) {
  const absl::Status status = engine->Add(RequestBuilder(1).Text(60).MaxTokens(10).Build());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(status).reason, "KV_CACHE_TOO_SMALL");
  EXPECT_EQ(engine->Add(RequestBuilder(1).Text(1).NumSequences(0).Build()).code(),
            absl::StatusCode::kInternal);
  EXPECT_FALSE(engine->RunOnce());
  EXPECT_EQ(sink.num_finished(), 0);
}

TEST_F(EngineTest, RefusesAKeyThatIsLive) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(1).Build()), absl::OkStatus());
  EXPECT_EQ(engine->Add(RequestBuilder(1).Text(1).Build()).code(), absl::StatusCode::kInternal);
  RunAll();
  EXPECT_EQ(sink.num_finished(), 1);
}

TEST_F(EngineTest, AFullQueueSaysWhenToComeBack) {
  Reset({.max_num_seqs = 2, .max_queue_size = 1}, SmallCapacity());
  for (RequestKey key = 1; key <= 3; ++key) {
    ASSERT_EQ(engine->Add(RequestBuilder(key).Text(1).MaxTokens(3).Build()), absl::OkStatus())
        << "two start at once, one waits";
  }
  for (int turn = 0; turn < 2; ++turn) {
    const absl::Status status = engine->Add(RequestBuilder(9).Text(1).Build());
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(GetErrorFacts(status).reason, "QUEUE_FULL");
    EXPECT_EQ(GetErrorFacts(status).limit, "1");
    EXPECT_GT(GetErrorFacts(status).retry_after, absl::ZeroDuration());
    engine->RunOnce();
  }
  RunAll();
  EXPECT_EQ(engine->Add(RequestBuilder(9).Text(1).Build()), absl::OkStatus());
}

TEST_F(EngineTest, FreePlacesDoNotCountWhileBlocksAreMissing) {
  Reset({.max_num_seqs = 4, .max_queue_size = 1}, SmallCapacity());
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(60).MaxTokens(2).Build()), absl::OkStatus());
  ASSERT_EQ(engine->Add(RequestBuilder(2).Text(60).MaxTokens(2).Build()), absl::OkStatus());
  engine->RunOnce();  // the second waits for blocks
  EXPECT_EQ(engine->Add(RequestBuilder(3).Text(1).Build()).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(EngineTest, CancelsAtEveryStage) {
  // Stage: number of RunOnce and RunStep calls before the cancel. Prompts of 40 tokens in steps of
  // 16: in the inbox, first, second and third chunk, decode; odd numbers have a step in flight.
  for (int stage = 0; stage <= 14; ++stage) {
    const RequestKey key = 100 + stage;
    const RequestKey waiting_key = 200 + stage;
    ASSERT_EQ(engine->Add(RequestBuilder(key).Text(30).Image(1).Text(5).MaxTokens(9).Build()),
              absl::OkStatus());
    ASSERT_EQ(engine->Add(RequestBuilder(waiting_key).Text(50).MaxTokens(9).Build()),
              absl::OkStatus());
    for (int i = 0; i < stage; ++i) i % 2 == 0 ? engine->RunOnce() : executor->RunStep();
    engine->Cancel(key);
    engine->Cancel(waiting_key);
    engine->Cancel(key);
    engine->RunOnce();
    EXPECT_EQ(sink.Finish(key).reason, FinishReason::kCancelled) << stage;
    EXPECT_EQ(sink.Finish(waiting_key).reason, FinishReason::kCancelled) << stage;
    EXPECT_EQ(sink.Finish(key).num_completion_tokens,
              static_cast<int32_t>(sink.Tokens(key).size()));
    executor->RunStep();
    engine->RunOnce();
    EXPECT_EQ(engine->load().num_blocks_used, 0) << "stage " << stage << ": within one step";
    RunAll();
    EXPECT_EQ(executor->num_live_slots(), 0);
    EXPECT_EQ(executor->num_features(), 0);
  }
}

TEST_F(EngineTest, ACancelOfAFinishedRequestIsIgnored) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(1).Build()), absl::OkStatus());
  RunAll();
  engine->Cancel(1);
  engine->Cancel(12345);
  EXPECT_FALSE(engine->RunOnce());
  EXPECT_EQ(sink.num_finished(), 1);
}

TEST_F(EngineTest, WhatHappenedBeforeTheCancelCounts) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(1).MaxTokens(1).Build()), absl::OkStatus());
  engine->RunOnce();
  executor->RunStep();
  engine->Cancel(1);  // the last token lies in the inbox
  engine->RunOnce();
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kLength);
}

TEST_F(EngineTest, AnExpiredRequestIsNeverComputed) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(1).Deadline(clock.Now()).Build()), absl::OkStatus());
  RunAll();
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kDeadline);
  EXPECT_EQ(executor->counts().num_steps, 0);
}

TEST_F(EngineTest, ADeadlineEndsARunningRequestWhileItsStepIsInFlight) {
  ASSERT_EQ(
      engine->Add(
          RequestBuilder(1).Text(1).MaxTokens(9).Deadline(clock.Now() + absl::Seconds(1)).Build()),
      absl::OkStatus());
  Step();
  engine->RunOnce();
  clock.Advance(absl::Seconds(1));
  engine->RunOnce();
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kDeadline);
  EXPECT_EQ(sink.Finish(1).num_completion_tokens, 1);
  EXPECT_GT(engine->load().num_blocks_used, 0) << "a step in flight still writes to them";
}

TEST_F(EngineTest, ReportsItsLoad) {
  Reset({.max_num_seqs = 1}, SmallCapacity());
  EXPECT_EQ(engine->load().num_blocks_total, 16);
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(5).MaxTokens(3).Build()), absl::OkStatus());
  ASSERT_EQ(engine->Add(RequestBuilder(2).Text(7).MaxTokens(2).Build()), absl::OkStatus());
  EngineLoad load = engine->load();
  EXPECT_EQ(load.num_waiting, 2) << "also before the engine has looked";
  EXPECT_EQ(load.num_waiting_tokens, 12);
  EXPECT_EQ(load.num_outstanding_tokens, 17);
  const absl::Time start = clock.Now();
  engine->RunOnce();
  load = engine->load();
  EXPECT_EQ(load.num_waiting, 1);
  EXPECT_EQ(load.num_running, 1);
  EXPECT_EQ(load.num_waiting_tokens, 7);
  EXPECT_EQ(load.num_blocks_used, 2);
  EXPECT_TRUE(load.step_in_flight);
  EXPECT_EQ(load.oldest_step_start, start);
  clock.Advance(absl::Seconds(1));
  executor->RunStep();
  engine->RunOnce();
  load = engine->load();
  EXPECT_EQ(load.num_steps, 1);
  EXPECT_EQ(load.last_step_tokens, 5);
  EXPECT_EQ(load.last_step_end, start + absl::Seconds(1));
  EXPECT_EQ(load.num_prompt_tokens, 5);
  EXPECT_EQ(load.num_generated_tokens, 1);
  RunAll();
  load = engine->load();
  EXPECT_FALSE(load.step_in_flight);
  EXPECT_EQ(load.num_prompt_tokens, 12);
  EXPECT_EQ(load.num_generated_tokens, 5);
  EXPECT_EQ(load.health, absl::OkStatus());
}

TEST_F(EngineTest, WhilePausedNothingIsComputedAndNothingIsLost) {
  const auto request = RequestBuilder(1).Text(5).Image(1).Text(2).MaxTokens(4).Build();
  ASSERT_EQ(engine->Add(request), absl::OkStatus());
  Step();
  engine->Pause();
  engine->Pause();
  RunAll();
  const int64_t num_steps = executor->counts().num_steps;
  EXPECT_TRUE(engine->load().paused);
  EXPECT_EQ(engine->load().num_running, 1) << "it keeps its place";
  ASSERT_EQ(engine->Add(RequestBuilder(2).Text(3).MaxTokens(2).Build()), absl::OkStatus());
  ASSERT_EQ(engine->Add(RequestBuilder(3).Text(3).MaxTokens(2).Build()), absl::OkStatus());
  ASSERT_EQ(
      engine->Add(
          RequestBuilder(4).Text(3).MaxTokens(2).Deadline(clock.Now() + absl::Seconds(1)).Build()),
      absl::OkStatus());
  RunAll();
  engine->Cancel(3);
  clock.Advance(absl::Seconds(1));
  RunAll();
  EXPECT_EQ(sink.Finish(3).reason, FinishReason::kCancelled);
  EXPECT_EQ(sink.Finish(4).reason, FinishReason::kDeadline);
  EXPECT_EQ(executor->counts().num_steps, num_steps);
  engine->Resume();
  EXPECT_TRUE(engine->RunOnce()) << "the news wakes it";
  RunAll();
  EXPECT_FALSE(engine->load().paused);
  EXPECT_EQ(sink.Tokens(1), ExpectedTokens(*request));
  EXPECT_EQ(sink.Finish(2).reason, FinishReason::kLength);
}

TEST_F(EngineTest, AStepInFlightEndsWhilePaused) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(5).MaxTokens(1).Build()), absl::OkStatus());
  engine->RunOnce();
  engine->Pause();
  RunAll();
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kLength);
  engine->Resume();
}

TEST_F(EngineTest, FlushCacheForgetsWhatNobodyUses) {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.image_bytes = 10;
  Reset({.vision_cache_memory_bytes = 100}, capacity);
  const auto ask = [this](RequestKey key) {
    ASSERT_EQ(engine->Add(RequestBuilder(key).Content(1).Text(5).Image(1).Text(2).Build()),
              absl::OkStatus());
    RunAll();
  };
  ask(1);
  ask(2);
  EngineLoad load = engine->load();
  EXPECT_EQ(sink.Finish(2).num_cached_tokens, 8);
  EXPECT_EQ(load.num_blocks_cached, 3);
  EXPECT_EQ(load.num_vision_entries, 1);
  EXPECT_EQ(load.num_prefix_query_tokens, 24);
  EXPECT_EQ(load.num_prefix_hit_tokens, 8);
  EXPECT_EQ(load.num_vision_queries, 2);
  EXPECT_EQ(load.num_vision_hits, 1);
  engine->FlushCache();
  RunAll();
  load = engine->load();
  EXPECT_EQ(load.num_blocks_cached, 0);
  EXPECT_EQ(load.num_vision_entries, 0);
  EXPECT_EQ(executor->num_features(), 0);
  ask(3);
  EXPECT_EQ(sink.Finish(3).num_cached_tokens, 0);
  EXPECT_EQ(executor->counts().num_encodes, 2);
}

TEST_F(EngineTest, EndsOneAnswerOfSeveral) {
  const auto request = RequestBuilder(1).Text(5).MaxTokens(6).NumSequences(3).Build();
  ASSERT_EQ(engine->Add(request), absl::OkStatus());
  EXPECT_EQ(engine->load().num_outstanding_tokens, 3 * 11);
  Step();
  Step();
  engine->CancelSequence(1, 2);
  engine->CancelSequence(1, 2);
  engine->CancelSequence(1, 7);  // nobody
  RunAll();
  ASSERT_EQ(sink.Finishes(1).size(), 3u);
  for (const FinishEvent& finish : sink.Finishes(1)) {
    const bool is_cancelled = finish.sequence_idx == 2;
    EXPECT_EQ(finish.reason, is_cancelled ? FinishReason::kCancelled : FinishReason::kLength);
    EXPECT_EQ(finish.num_completion_tokens,
              static_cast<int32_t>(sink.Tokens(1, finish.sequence_idx).size()));
    if (!is_cancelled) {
      EXPECT_EQ(sink.Tokens(1, finish.sequence_idx), ExpectedTokens(*request));
    }
  }
}

TEST_F(EngineTest, DrainRefusesNewRequestsAndFinishesTheOthers) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(5).MaxTokens(3).Build()), absl::OkStatus());
  engine->RunOnce();
  int num_drained = 0;
  engine->Drain([&] {
    ++num_drained;
    EXPECT_EQ(sink.num_finished(), 1) << "after the last event";
  });
  const absl::Status status = engine->Add(RequestBuilder(2).Text(1).Build());
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorFacts(status).reason, "DRAINING");
  EXPECT_GT(GetErrorFacts(status).retry_after, absl::ZeroDuration());
  engine->RunOnce();
  EXPECT_EQ(num_drained, 0);
  RunAll();
  EXPECT_EQ(num_drained, 1);
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kLength);
  engine->Drain([&] { ++num_drained; });
  engine->RunOnce();
  EXPECT_EQ(num_drained, 2) << "at once when nothing runs";
}

TEST_F(EngineTest, StopFailsWhatIsLeft) {
  ASSERT_EQ(engine->Add(RequestBuilder(1).Text(5).MaxTokens(3).Build()), absl::OkStatus());
  Step();
  ASSERT_EQ(engine->Add(RequestBuilder(2).Text(5).MaxTokens(3).Build()), absl::OkStatus());
  int num_drained = 0;
  engine->Drain([&] { ++num_drained; });
  engine->Stop();
  EXPECT_EQ(num_drained, 1);
  for (const RequestKey key : {1, 2}) {
    EXPECT_EQ(sink.Finish(key).reason, FinishReason::kError);
    EXPECT_EQ(sink.Finish(key).status.code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(engine->Add(RequestBuilder(3).Text(1).Build()).code(), absl::StatusCode::kUnavailable);
  engine->Drain([&] { ++num_drained; });
  EXPECT_EQ(num_drained, 2);
  engine->Stop();
}

TEST_F(EngineTest, KeepsTwoStepsInFlightWhenTheExecutorCan) {
  ExecutorCapacity capacity = SmallCapacity();
  capacity.max_steps_in_flight = 2;
  Reset({}, capacity);
  const auto request = RequestBuilder(1).Text(5).MaxTokens(8).Build();
  ASSERT_EQ(engine->Add(request), absl::OkStatus());
  RunAll();
  EXPECT_EQ(sink.Tokens(1), ExpectedTokens(*request));
  EXPECT_EQ(executor->counts().max_in_flight, 2);
}

TEST_F(EngineTest, TheAnswerDoesNotDependOnBatchMatesOrChunks) {
  std::vector<TokenId> alone;
  for (const int32_t budget : {16, 1, 2, 3, 5, 7, 11}) {
    for (const int num_mates : {0, 3}) {
      Reset({.max_num_batched_tokens = budget}, SmallCapacity());
      sink = RecordingSink();
      const auto request = RequestBuilder(1).Text(4).Image(1).Text(3).MaxTokens(5).Build();
      ASSERT_EQ(engine->Add(request), absl::OkStatus());
      for (int mate = 0; mate < num_mates; ++mate) {
        ASSERT_EQ(engine->Add(RequestBuilder(10 + mate).Image(mate).Text(3).MaxTokens(4).Build()),
                  absl::OkStatus());
      }
      RunAll();
      EXPECT_LE(executor->counts().max_step_tokens, budget);
      EXPECT_EQ(sink.Tokens(1), ExpectedTokens(*request));
    }
  }
}

}  // namespace
}  // namespace parrot
