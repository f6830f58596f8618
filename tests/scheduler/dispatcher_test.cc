#include "scheduler/dispatcher.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

struct DispatcherTest : public testing::Test {
  DispatcherTest() {
    std::vector<Engine*> pointers;
    for (int i = 0; i < 3; ++i) {
      FakeExecutorOptions options;
      options.model = {.capacity = SmallCapacity(), .vocab_size = kTestVocabSize};
      executors.push_back(std::make_unique<FakeModelExecutor>(options));
      engines.push_back(
          std::make_unique<Engine>(EngineOptions{.max_num_seqs = 1, .max_queue_size = 1},
                                   executors.back().get(),
                                   &sink,
                                   &clock));
      pointers.push_back(engines.back().get());
    }
    dispatcher = std::make_unique<Dispatcher>(pointers);
  }
  ~DispatcherTest() override { RunAll(); }
  void RunAll() {
    for (size_t i = 0; i < engines.size(); ++i) {
      while (engines[i]->RunOnce() || executors[i]->RunStep()) {
      }
    }
  }
  int NumWaiting(int engine_idx) const { return dispatcher->load(engine_idx).num_waiting; }

  FakeClock clock;
  RecordingSink sink;
  std::vector<std::unique_ptr<FakeModelExecutor>> executors;
  std::vector<std::unique_ptr<Engine>> engines;
  std::unique_ptr<Dispatcher> dispatcher;
};

TEST_F(DispatcherTest, PicksTheFewestOutstandingTokens) {
  ASSERT_EQ(dispatcher->Add(RequestBuilder(1).Text(20).MaxTokens(5).Build()), absl::OkStatus());
  ASSERT_EQ(dispatcher->Add(RequestBuilder(2).Text(3).MaxTokens(5).Build()), absl::OkStatus());
  ASSERT_EQ(dispatcher->Add(RequestBuilder(3).Text(9).MaxTokens(5).Build()), absl::OkStatus());
  ASSERT_EQ(dispatcher->Add(RequestBuilder(4).Text(3).MaxTokens(5).Build()), absl::OkStatus());
  EXPECT_EQ(NumWaiting(0), 1);
  EXPECT_EQ(NumWaiting(1), 2);
  EXPECT_EQ(NumWaiting(2), 1);
  EXPECT_EQ(dispatcher->TotalLoad().num_waiting, 4);
  EXPECT_EQ(dispatcher->TotalLoad().num_outstanding_tokens, 35 + 20);
  EXPECT_EQ(dispatcher->TotalLoad().num_blocks_total, 48);
}

TEST_F(DispatcherTest, TriesTheNextEngineWhenOneIsFullOrDead) {
  executors[0]->FailNextSteps(1, absl::UnavailableError("x"));
  ASSERT_EQ(dispatcher->Add(RequestBuilder(1).Text(1).Build()), absl::OkStatus());
  RunAll();
  EXPECT_FALSE(dispatcher->load(0).health.ok());
  EXPECT_EQ(dispatcher->TotalLoad().health, absl::OkStatus()) << "two are alive";
  for (RequestKey key = 2; key <= 5; ++key) {
    ASSERT_EQ(dispatcher->Add(RequestBuilder(key).Text(1).Build()), absl::OkStatus());
  }
  EXPECT_EQ(NumWaiting(1), 2);
  EXPECT_EQ(NumWaiting(2), 2);
  EXPECT_FALSE(dispatcher->Add(RequestBuilder(6).Text(1).Build()).ok());
}

TEST_F(DispatcherTest, DoesNotShopAroundWithAnInvalidRequest) {
  EXPECT_EQ(dispatcher->Add(RequestBuilder(1).Text(100).Build()).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DispatcherTest, CancelsWhereverTheRequestIs) {
  for (RequestKey key = 1; key <= 3; ++key) {
    ASSERT_EQ(dispatcher->Add(RequestBuilder(key).Text(3).MaxTokens(5).Build()), absl::OkStatus());
  }
  dispatcher->Cancel(2);
  RunAll();
  EXPECT_EQ(sink.Finish(1).reason, FinishReason::kLength);
  EXPECT_EQ(sink.Finish(2).reason, FinishReason::kCancelled);
  EXPECT_EQ(sink.Finish(3).reason, FinishReason::kLength);
}

TEST_F(DispatcherTest, EndsOneAnswerWhereverItsRequestIs) {
  const auto request = RequestBuilder(1).Text(3).MaxTokens(5).NumSequences(2).Build();
  ASSERT_EQ(dispatcher->Add(request), absl::OkStatus());
  dispatcher->CancelSequence(1, 0);
  RunAll();
  ASSERT_EQ(sink.Finishes(1).size(), 2u);
  EXPECT_EQ(sink.Finishes(1)[0].reason, FinishReason::kCancelled);
  EXPECT_EQ(sink.Finishes(1)[1].reason, FinishReason::kLength);
  EXPECT_EQ(sink.Tokens(1, 1), ExpectedTokens(*request));
}

TEST_F(DispatcherTest, PausesResumesAndFlushesAllEngines) {
  dispatcher->Pause();
  for (RequestKey key = 1; key <= 3; ++key) {
    ASSERT_EQ(dispatcher->Add(RequestBuilder(key).Text(9).MaxTokens(2).Build()), absl::OkStatus());
  }
  RunAll();
  EXPECT_EQ(sink.num_finished(), 0);
  EXPECT_TRUE(dispatcher->TotalLoad().paused);
  engines[1]->Resume();
  RunAll();
  EXPECT_EQ(sink.num_finished(), 1);
  EXPECT_FALSE(dispatcher->TotalLoad().paused) << "one of them works";
  dispatcher->Resume();
  RunAll();
  EXPECT_EQ(sink.num_finished(), 3);
  EXPECT_EQ(dispatcher->TotalLoad().num_blocks_cached, 3 * 2);
  dispatcher->FlushCache();
  RunAll();
  EXPECT_EQ(dispatcher->TotalLoad().num_blocks_cached, 0);
}

TEST_F(DispatcherTest, IsDrainedWhenTheLastEngineIs) {
  ASSERT_EQ(dispatcher->Add(RequestBuilder(1).Text(3).MaxTokens(5).Build()), absl::OkStatus());
  int num_drained = 0;
  dispatcher->Drain([&] { ++num_drained; });
  engines[1]->RunOnce();
  engines[2]->RunOnce();
  EXPECT_EQ(num_drained, 0);
  RunAll();
  EXPECT_EQ(num_drained, 1);
  EXPECT_EQ(dispatcher->Add(RequestBuilder(2).Text(1).Build()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace parrot
