#include "scheduler/dispatcher.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

constexpr int kNumEngines = 3;

struct DispatcherTest : public testing::Test {
  DispatcherTest() { Make({.max_num_seqs = 1, .max_queue_size = 1}); }
  ~DispatcherTest() override { RunAll(); }

  // Engines that have run nothing yet.
  void Make(const EngineOptions& options) {
    dispatcher.reset();
    engines.clear();
    executors.clear();
    std::vector<Engine*> pointers;
    for (int i = 0; i < kNumEngines; ++i) {
      FakeExecutorOptions executor;
      executor.model = {.capacity = SmallCapacity(), .vocab_size = kTestVocabSize};
      executors.push_back(std::make_unique<FakeModelExecutor>(executor));
      engines.push_back(std::make_unique<Engine>(options, executors.back().get(), &sink, &clock));
      pointers.push_back(engines.back().get());
    }
    dispatcher = std::make_unique<Dispatcher>(pointers);
  }
  void RunAll() {
    for (size_t i = 0; i < engines.size(); ++i) {
      while (engines[i]->RunOnce() || executors[i]->RunStep()) {
      }
    }
  }
  int NumWaiting(int engine_idx) const { return dispatcher->load(engine_idx).num_waiting; }
  // The engine that takes the request; it must have one that does.
  int Place(const std::shared_ptr<const Request>& request) {
    std::vector<int64_t> before;
    for (const EngineLoad& load : dispatcher->loads())
      before.push_back(load.num_outstanding_tokens);
    EXPECT_EQ(dispatcher->Add(request), absl::OkStatus());
    for (int i = 0; i < kNumEngines; ++i) {
      if (dispatcher->load(i).num_outstanding_tokens > before[i]) return i;
    }
    ADD_FAILURE() << "no engine has more to do than before";
    return 0;
  }

  FakeClock clock;
  RecordingSink sink;
  std::vector<std::unique_ptr<FakeModelExecutor>> executors;
  std::vector<std::unique_ptr<Engine>> engines;
  std::unique_ptr<Dispatcher> dispatcher;
};

constexpr EngineOptions kLongQueue = {.max_num_seqs = 1, .max_queue_size = 100};

TEST_F(DispatcherTest, PicksTheFewestOutstandingTokensForText) {
  const int first = Place(RequestBuilder(1).Text(20).MaxTokens(5).Build());
  const int second = Place(RequestBuilder(2).Text(3).MaxTokens(5).Build());
  const int third = Place(RequestBuilder(3).Text(9).MaxTokens(5).Build());
  EXPECT_EQ(std::set<int>({first, second, third}).size(), 3u);
  EXPECT_EQ(Place(RequestBuilder(4).Text(3).MaxTokens(5).Build()), second);
  EXPECT_EQ(dispatcher->TotalLoad().num_waiting, 4);
  EXPECT_EQ(dispatcher->TotalLoad().num_outstanding_tokens, 35 + 20);
  EXPECT_EQ(dispatcher->TotalLoad().num_blocks_total, 48);
}

TEST_F(DispatcherTest, SendsTextThatBeginsAlikeToTheSameIdleEngine) {
  Make(kLongQueue);
  std::set<int> all;
  RequestKey key = 0;
  for (uint64_t content = 0; content < 20; ++content) {
    std::set<int> used;
    for (int repeat = 0; repeat < 3; ++repeat) {
      used.insert(Place(RequestBuilder(++key).Content(content).Text(8).MaxTokens(1).Build()));
      RunAll();
    }
    EXPECT_EQ(used.size(), 1u) << "content " << content;
    all.merge(used);
  }
  EXPECT_EQ(all.size(), 3u) << "the hash spreads what differs";
}

TEST_F(DispatcherTest, SendsAnImageToTheEngineThatHasItWhateverIsAsked) {
  Make(kLongQueue);
  std::set<int> all;
  RequestKey key = 0;
  for (int image = 0; image < 20; ++image) {
    std::set<int> used;
    for (int question = 0; question < 3; ++question) {
      ++key;
      used.insert(Place(RequestBuilder(key).Text(2).Image(image).Text(3).MaxTokens(1).Build()));
      if (question == 1) RunAll();  // so that one meets another in the queue, one comes later
    }
    EXPECT_EQ(used.size(), 1u) << "image " << image;
    all.merge(used);
    RunAll();
  }
  EXPECT_EQ(all.size(), 3u);
}

TEST_F(DispatcherTest, ChoosesTheSameEnginesAfterARestart) {
  std::vector<int> placed[2];
  for (std::vector<int>& placed_now : placed) {
    Make(kLongQueue);
    for (int image = 0; image < 10; ++image) {
      placed_now.push_back(Place(RequestBuilder(image + 1).Image(image).MaxTokens(1).Build()));
      RunAll();
    }
  }
  EXPECT_EQ(placed[0], placed[1]);
}

// The rule of the header, kept at every arrival.
TEST_F(DispatcherTest, AnImageWaitsNoLongerForItsEngineThanTheBoundAllows) {
  Make(kLongQueue);
  constexpr int64_t kTokens = kTestImageTokens + 5;
  std::vector<int> counts(kNumEngines);
  std::vector<int> order;
  for (int i = 0; i < 60; ++i) {
    const double mean = static_cast<double>(i) * kTokens / kNumEngines;
    const int engine_idx = Place(RequestBuilder(i + 1).Image(7).MaxTokens(5).Build());
    EXPECT_LE(static_cast<double>(counts[engine_idx]++ * kTokens), 1.25 * mean + kTokens);
    order.push_back(engine_idx);
  }
  const int home = order[0];
  EXPECT_EQ(order[1], home) << "two may share an engine while others are idle";
  EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), counts[home]);
  EXPECT_GT(*std::min_element(counts.begin(), counts.end()), 0);
  EXPECT_LE(counts[home], 1.25 * 60 / kNumEngines + 2);
}

TEST_F(DispatcherTest, AnIdleEngineTakesAnImageWhoseEngineIsBusyWithOthers) {
  Make(kLongQueue);
  const int home = Place(RequestBuilder(1).Image(7).MaxTokens(1).Build());
  RunAll();
  dispatcher->SendAllTo(home);
  for (RequestKey key = 2; key < 6; ++key) {
    ASSERT_EQ(dispatcher->Add(RequestBuilder(key).Text(20).MaxTokens(5).Build()), absl::OkStatus());
  }
  dispatcher->SendAllTo(std::nullopt);
  const int other = Place(RequestBuilder(6).Image(7).MaxTokens(1).Build());
  EXPECT_NE(other, home);
  EXPECT_EQ(Place(RequestBuilder(7).Image(7).MaxTokens(1).Build()), other)
      << "the next by hash, not any";
}

TEST_F(DispatcherTest, SendsEverythingToOneEngineWhileTold) {
  Make(kLongQueue);
  for (int engine_idx = 0; engine_idx < kNumEngines; ++engine_idx) {
    dispatcher->SendAllTo(engine_idx);
    for (const int image : {1, 2, 3}) {
      const RequestKey key = 10 * engine_idx + image;
      EXPECT_EQ(Place(RequestBuilder(key).Image(image).MaxTokens(1).Build()), engine_idx);
    }
  }
}

TEST_F(DispatcherTest, TriesTheNextEngineWhenOneIsFullOrDead) {
  const auto request = [](RequestKey key) { return RequestBuilder(key).Image(7).Build(); };
  const int dead = Place(request(1));
  executors[dead]->FailNextSteps(1, absl::UnavailableError("x"));
  RunAll();
  EXPECT_EQ(sink.Finish(1).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(dispatcher->load(dead).health.ok());
  EXPECT_EQ(dispatcher->TotalLoad().health, absl::OkStatus()) << "two are alive";
  EXPECT_EQ(dispatcher->TotalLoad().num_blocks_total, 2 * 16) << "a dead one has no room";
  const int other = Place(request(2));
  EXPECT_NE(other, dead);
  RunAll();
  EXPECT_EQ(sink.Finish(2).reason, FinishReason::kLength);
  for (RequestKey key = 3; key <= 6; ++key) Place(request(key));
  EXPECT_EQ(NumWaiting(dead), 0);
  EXPECT_EQ(NumWaiting(other), 2);
  EXPECT_EQ(dispatcher->Add(request(7)).code(), absl::StatusCode::kResourceExhausted);
  for (int i = 0; i < kNumEngines; ++i) executors[i]->FailNextSteps(1, absl::UnavailableError("x"));
  RunAll();
  EXPECT_EQ(dispatcher->TotalLoad().health.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(dispatcher->Add(request(8)).code(), absl::StatusCode::kUnavailable);
}

TEST_F(DispatcherTest, AnEngineThatCannotMakeTheDeadlineHasNeighbours) {
  Make(kLongQueue);
  dispatcher->SendAllTo(0);
  for (RequestKey key = 1; key <= 10; ++key) {  // it learns that a token takes a second
    ASSERT_EQ(dispatcher->Add(RequestBuilder(key).Text(4).MaxTokens(1).Build()), absl::OkStatus());
    while (engines[0]->RunOnce() || (clock.Advance(absl::Seconds(4)), executors[0]->RunStep())) {
    }
  }
  ASSERT_EQ(dispatcher->Add(RequestBuilder(11).Text(16).MaxTokens(1).Build()), absl::OkStatus());
  const auto late = RequestBuilder(12).Text(4).Deadline(clock.Now() + absl::Seconds(2)).Build();
  EXPECT_EQ(dispatcher->Add(late).code(), absl::StatusCode::kDeadlineExceeded);
  dispatcher->SendAllTo(std::nullopt);
  EXPECT_NE(Place(late), 0);
  EXPECT_EQ(dispatcher->TotalLoad().predictor.num_observed(),
            dispatcher->load(0).predictor.num_observed());
}

TEST_F(DispatcherTest, TheMeanAnswerIsWeightedByTheTokensGenerated) {
  dispatcher->SendAllTo(0);
  Place(RequestBuilder(1).Text(1).MaxTokens(9).Build());
  dispatcher->SendAllTo(1);
  Place(RequestBuilder(2).Text(1).MaxTokens(3).Build());
  RunAll();
  EXPECT_DOUBLE_EQ(dispatcher->TotalLoad().mean_completion_tokens, (9 * 9 + 3 * 3) / 12.0);
}

// Requests, cancels, deadlines and deaths in random order: each request that was taken has one end,
// and who lives serves.
TEST_F(DispatcherTest, EveryRequestHasOneEndWhateverHappensToTheEngines) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RunAll();
    sink = RecordingSink();
    Make({.max_num_seqs = 2, .max_queue_size = 4});
    std::mt19937_64 random(seed);
    const auto pick = [&random](uint64_t count) { return static_cast<int>(random() % count); };
    std::vector<RequestKey> taken;
    int num_dead = 0;
    for (RequestKey key = 1; key <= 60; ++key) {
      RequestBuilder request(key);
      request.Content(pick(4)).Text(1 + pick(9)).MaxTokens(1 + pick(6));
      if (pick(2) == 0) request.Image(pick(6));
      if (pick(8) == 0) request.Deadline(clock.Now() + absl::Seconds(pick(5)));
      const absl::Status status = dispatcher->Add(request.Build());
      if (status.ok()) taken.push_back(key);
      ASSERT_FALSE(status.ok() && num_dead == kNumEngines);
      if (pick(6) == 0) dispatcher->Cancel(1 + pick(key));
      if (pick(40) == 0)
        executors[pick(kNumEngines)]->FailNextSteps(1, absl::UnavailableError("x"));
      for (int turn = pick(6); turn > 0; --turn) {
        const int i = pick(kNumEngines);
        engines[i]->RunOnce();
        executors[i]->RunStep();
      }
      clock.Advance(absl::Milliseconds(100));
      num_dead = 0;
      for (const EngineLoad& load : dispatcher->loads()) num_dead += load.health.ok() ? 0 : 1;
      ASSERT_EQ(dispatcher->TotalLoad().health.ok(), num_dead < kNumEngines);
    }
    RunAll();
    for (const RequestKey key : taken) ASSERT_EQ(sink.Finishes(key).size(), 1u) << "key " << key;
    ASSERT_EQ(sink.num_finished(), static_cast<int>(taken.size()));
    for (int i = 0; i < kNumEngines; ++i) {
      ASSERT_EQ(executors[i]->violation(), absl::OkStatus());
      ASSERT_EQ(engines[i]->CheckIntegrityForTest(), absl::OkStatus());
      ASSERT_EQ(dispatcher->load(i).num_outstanding_tokens, 0);
    }
  }
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
  for (int i = 0; i < kNumEngines; ++i) EXPECT_EQ(NumWaiting(i), 1);
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
  for (const auto& engine : engines) engine->RunOnce();  // one of them has submitted a step
  EXPECT_EQ(num_drained, 0);
  RunAll();
  EXPECT_EQ(num_drained, 1);
  EXPECT_EQ(dispatcher->Add(RequestBuilder(2).Text(1).Build()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace parrot
