// What the engine does when the executor fails.
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "gtest/gtest.h"
#include "scheduler/engine.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

struct EngineFailureTest : public testing::Test {
  EngineFailureTest() {
    FakeExecutorOptions options;
    options.model = {.capacity = SmallCapacity(), .vocab_size = kTestVocabSize};
    options.fail_slot = [this](const StepInput& input, SlotId slot) {
      if (!every_slot_fails.ok()) return every_slot_fails;
      return bad_slots.contains({input.step_id, slot}) ? absl::InternalError("not finite")
                                                       : absl::OkStatus();
    };
    executor = std::make_unique<FakeModelExecutor>(options);
    engine = std::make_unique<Engine>(
        EngineOptions{.max_consecutive_failed_steps = 3}, executor.get(), &sink, &clock);
  }
  ~EngineFailureTest() override {
    RunAll();
    EXPECT_EQ(executor->violation(), absl::OkStatus());
    EXPECT_EQ(engine->load().num_blocks_used, 0);
  }
  void RunAll() {
    while (engine->RunOnce() || executor->RunStep()) {
    }
  }
  void Add(const RequestBuilder& request) {
    ASSERT_EQ(engine->Add(request.Build()), absl::OkStatus());
  }

  FakeClock clock;
  RecordingSink sink;
  std::set<std::pair<uint64_t, SlotId>> bad_slots;
  absl::Status every_slot_fails;
  std::unique_ptr<FakeModelExecutor> executor;
  std::unique_ptr<Engine> engine;
};

TEST_F(EngineFailureTest, AfterAFailedStepItsRequestsRunAgainOneByOne) {
  std::vector<RequestBuilder> requests;
  requests.push_back(RequestBuilder(1).Text(12).MaxTokens(3));
  requests.push_back(RequestBuilder(2).Text(2).Image(1).Text(2).MaxTokens(3));
  requests.push_back(
      RequestBuilder(3).Text(4).MaxTokens(3));  // two of its tokens fit the first step
  for (const RequestBuilder& request : requests) Add(request);
  executor->FailNextSteps(1, absl::InternalError("boom"));
  RunAll();
  for (const RequestBuilder& request : requests) {
    const auto built = request.Build();
    EXPECT_EQ(sink.Finish(built->key).reason, FinishReason::kLength);
    EXPECT_EQ(sink.Tokens(built->key), ExpectedTokens(*built));
  }
  EXPECT_EQ(sink.Routings(2).size(), 1u);
  EXPECT_EQ(engine->load().health, absl::OkStatus());
  EXPECT_EQ(engine->load().num_failed_steps, 1);
  EXPECT_EQ(engine->load().num_retries, 3);
  EXPECT_EQ(engine->load().last_failure, absl::InternalError("boom"));
}

TEST_F(EngineFailureTest, WhoFailsAloneHasFailed) {
  Add(RequestBuilder(1).Text(4).MaxTokens(3));
  Add(RequestBuilder(2).Text(4).MaxTokens(3));
  executor->FailNextSteps(2, absl::InternalError("boom"));  // together, and then 1 alone
  RunAll();
  EXPECT_EQ(sink.Finish(1).status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(sink.Finish(2).reason, FinishReason::kLength);
  EXPECT_EQ(engine->load().health, absl::OkStatus());
}

TEST_F(EngineFailureTest, AFailedSlotLeavesItsBatchMates) {
  bad_slots = {{2, 0}};
  Add(RequestBuilder(1).Text(4).MaxTokens(5));
  Add(RequestBuilder(2).Text(4).MaxTokens(5));
  RunAll();
  EXPECT_EQ(sink.Finish(1).status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(sink.Finish(1).num_completion_tokens, 1);
  EXPECT_EQ(sink.Finish(2).reason, FinishReason::kLength);
  EXPECT_EQ(engine->load().num_failed_steps, 0);
}

TEST_F(EngineFailureTest, StepsThatKeepFailingAreADeadExecutor) {
  executor->FailNextSteps(100, absl::InternalError("boom"));
  // Each fills a step of its own, so the fourth waits when the third failure comes.
  for (RequestKey key = 1; key <= 4; ++key) Add(RequestBuilder(key).Text(16).MaxTokens(1));
  for (RequestKey key = 1; key <= 3; ++key) {
    EXPECT_EQ(engine->load().health, absl::OkStatus()) << "two failures are not the end";
    engine->RunOnce();
    executor->RunStep();
  }
  engine->RunOnce();
  EXPECT_EQ(engine->load().health.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sink.Finish(3).status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(sink.Finish(4).status.code(), absl::StatusCode::kUnavailable);
  const absl::Status refused = engine->Add(RequestBuilder(5).Text(1).Build());
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorFacts(refused).reason, "WORKER_UNAVAILABLE");
}

TEST_F(EngineFailureTest, AGoodStepForgivesTheFailuresBeforeIt) {
  for (RequestKey key = 1; key <= 12; ++key) {
    if (key % 3 != 0) executor->FailNextSteps(1, absl::InternalError("boom"));
    Add(RequestBuilder(key).Text(2).MaxTokens(1));
    RunAll();
    const FinishReason reason = key % 3 == 0 ? FinishReason::kLength : FinishReason::kError;
    EXPECT_EQ(sink.Finish(key).reason, reason);
  }
  EXPECT_EQ(engine->load().health, absl::OkStatus());
}

TEST_F(EngineFailureTest, UnavailableIsDeathAtOnce) {
  Add(RequestBuilder(1).Text(4).MaxTokens(5));
  Add(RequestBuilder(2).Text(60).MaxTokens(5));  // waits
  engine->RunOnce();
  executor->RunStep();
  executor->FailNextSteps(1, absl::UnavailableError("the device fell off the bus"));
  engine->RunOnce();
  executor->RunStep();
  engine->RunOnce();
  for (const RequestKey key : {1, 2}) {
    EXPECT_EQ(sink.Finish(key).status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(sink.Finish(key).status.message(), "the worker is not available");
  }
  EXPECT_EQ(engine->load().health.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(engine->RunOnce()) << "a dead executor gets no more steps";
  EXPECT_EQ(executor->counts().num_steps, 2);
}

TEST_F(EngineFailureTest, ADeviceThatFailsEverySlotIsDeadToo) {
  every_slot_fails =
      ErrorStatus(absl::StatusCode::kInternal, "illegal access", {.reason = kDeviceErrorReason});
  for (RequestKey key = 1; key <= 3; ++key) {
    EXPECT_EQ(engine->load().health, absl::OkStatus());
    Add(RequestBuilder(key).Text(2));
    RunAll();
    EXPECT_EQ(sink.Finish(key).status.code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(engine->load().health.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine->load().last_failure, every_slot_fails);
}

TEST_F(EngineFailureTest, PromptsThatFailByThemselvesDoNotKillTheEngine) {
  every_slot_fails =
      ErrorStatus(absl::StatusCode::kInternal, "logits are not finite", {.reason = "NOT_FINITE"});
  for (RequestKey key = 1; key <= 10; ++key) {
    Add(RequestBuilder(key).Text(2));
    RunAll();
    EXPECT_EQ(sink.Finish(key).status.code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(engine->load().health, absl::OkStatus());
}

TEST_F(EngineFailureTest, AnUnavailableSlotIsDeathAtOnce) {
  every_slot_fails = absl::UnavailableError("gone");
  Add(RequestBuilder(1).Text(2));
  RunAll();
  EXPECT_EQ(sink.Finish(1).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine->load().health.code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineFailureTest, ADeadEngineStillDrains) {
  executor->FailNextSteps(1, absl::UnavailableError("x"));
  Add(RequestBuilder(1).Text(4));
  RunAll();
  bool drained = false;
  engine->Drain([&] { drained = true; });
  engine->RunOnce();
  EXPECT_TRUE(drained);
}

}  // namespace
}  // namespace parrot
