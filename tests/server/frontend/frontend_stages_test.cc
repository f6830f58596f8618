// A request may be given up in any stage: by its client, by its deadline, by an administrator. Each
// of them, in each stage: the engine holds nothing of it after the step that was in flight, the
// front end no room, and the stream has its one end. (What is on its way to the server has no
// object yet: tests/e2e/cancel_test.cc.)
//
// The real front end and engine on one thread of the test; it runs every step by hand.
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "scheduler/dispatcher.h"
#include "scheduler/engine.h"
#include "server/frontend/frontend.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

constexpr int32_t kStepTokens = 16;
constexpr int64_t kTimeoutMs = 5000;
constexpr char kRequestId[] = "given-up";

enum class Where { kImageDecode, kQueue, kEncode, kPrefill, kDecode, kDetokenise, kWrite };
enum class How { kClient, kDeadline, kAbort };

std::string NameOf(const testing::TestParamInfo<std::tuple<Where, How>>& info) {
  static constexpr const char* kWhere[] = {
      "ImageDecode", "Queue", "Encode", "Prefill", "Decode", "Detokenise", "Write"};
  static constexpr const char* kHow[] = {"ByItsClient", "ByItsDeadline", "ByAbort"};
  return std::string("In") + kWhere[static_cast<int>(std::get<0>(info.param))] +
         kHow[static_cast<int>(std::get<1>(info.param))];
}

bool WaitUntil(const std::function<bool()>& condition) {
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (!condition()) {
    if (absl::Now() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

// The image processor asks it for the time before it decodes, after, and at its end. The second
// time it waits.
class DecodeGate final : public Clock {
 public:
  absl::Time Now() override {
    if (num_calls_.fetch_add(1) == 1) {
      reached.Notify();
      open.WaitForNotification();
    }
    return absl::UnixEpoch();
  }
  absl::Notification reached;
  absl::Notification open;

 private:
  std::atomic<int> num_calls_{0};
};

// Takes nothing before it is asked to. The thread that tells it of its first event waits for `go`.
struct HeldReader {
  HeldReader(Clock* clock, bool holds)
      : stream(std::make_shared<ResponseStream>(ResponseStreamOptions{.clock = clock},
                                                [state = state, holds](ReadyReason) {
                                                  if (state->told.HasBeenNotified()) return;
                                                  state->told.Notify();
                                                  if (holds) state->go.WaitForNotification();
                                                })) {}
  // Reads to the end; nullopt when there is none (yet).
  std::optional<absl::Status> ReadToEnd() {
    while (std::optional<AnswerEvent> event = stream->Take()) {
      if (const auto* end = std::get_if<EndEvent>(&*event)) return end->status;
      if (const auto* finish = std::get_if<OutputFinishedEvent>(&*event)) finished = finish->reason;
    }
    return std::nullopt;
  }

  struct State {
    absl::Notification told;
    absl::Notification go;
  };
  const std::shared_ptr<State> state = std::make_shared<State>();
  std::shared_ptr<ResponseStream> stream;
  std::optional<FinishReason> finished;
};

ExecutorCapacity Capacity() {
  ExecutorCapacity capacity;
  capacity.num_blocks = 200;
  capacity.block_size = 32;
  capacity.max_slots = 1;
  capacity.max_step_tokens = kStepTokens;
  capacity.image_tokens = NanoOptions().model.vision.num_tokens();
  capacity.num_experts = 6;
  capacity.num_vision_layers = NanoOptions().model.vision.num_used_layers();
  return capacity;
}

class FrontendStagesTest : public testing::TestWithParam<std::tuple<Where, How>> {
 protected:
  FrontendStagesTest() {
    const NanoModel& model = NanoModel::Get();
    processor_ = std::make_unique<ClipImageProcessor>(
        model.config.image_processor, model.config.vision.image_size, DecodeOptions{}, gate_);
    frontend_ = std::make_unique<Frontend>(
        NanoOptions(),
        FrontendModels{model.tokenizer.get(), model.chat_template.get(), processor_.get()},
        &clock_);
    engine_ = std::make_unique<Engine>(
        EngineOptions{.max_num_seqs = 1, .max_num_batched_tokens = kStepTokens},
        &executor_,
        frontend_->event_sink(),
        &clock_);
    dispatcher_ = std::make_unique<Dispatcher>(std::vector<Engine*>{engine_.get()});
    frontend_->Start(EngineClientOf(*dispatcher_));
    frontend_->lifecycle().Set(ServerState::kReady);
    if (where() != Where::kImageDecode) gate_.open.Notify();
  }
  ~FrontendStagesTest() override {
    engine_->Stop();
    frontend_->Stop();
  }

  static Where where() { return std::get<0>(GetParam()); }
  static How how() { return std::get<1>(GetParam()); }
  static bool HasSentText() { return where() == Where::kDecode || where() == Where::kDetokenise; }

  // Ends the step in flight, and begins the next.
  void Step() {
    EXPECT_TRUE(executor_.RunStep());
    engine_->RunOnce();
  }
  RequestKey Submit(GenerateSpec spec, const std::shared_ptr<ResponseStream>& stream) {
    spec.stop.ignore_eos = true;
    spec.stop.max_tokens = where() == Where::kWrite ? 4 : 50;
    return frontend_->Submit(std::move(spec), {}, stream);
  }
  // Submits and brings the request to its stage. From kEncode on, a step is in flight.
  void Reach();
  void GiveUp();
  void ExpectEnd();
  void ExpectEngineEmpty();

  FakeClock clock_;
  DecodeGate gate_;
  FakeModelExecutor executor_{{.model = {.capacity = Capacity(), .vocab_size = 500}}};
  std::unique_ptr<ClipImageProcessor> processor_;
  std::unique_ptr<Frontend> frontend_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Dispatcher> dispatcher_;
  HeldReader reader_{&clock_, /*holds=*/where() == Where::kDetokenise};
  HeldReader bystander_{&clock_, /*holds=*/false};
  RequestKey key_ = 0;
  RequestKey bystander_key_ = 0;
};

void FrontendStagesTest::Reach() {
  if (where() == Where::kQueue) {
    bystander_key_ = Submit(TextRequest(), bystander_.stream);
    ASSERT_TRUE(WaitUntil([&] { return engine_->load().num_waiting == 1; }));
    engine_->RunOnce();
  }
  GenerateSpec spec =
      ImageRequest(SmallJpeg(), "What is it, and what is it not? Say it at length.");
  spec.request_id = kRequestId;
  spec.timeout_ms = kTimeoutMs;
  key_ = Submit(std::move(spec), reader_.stream);
  if (where() == Where::kImageDecode) {
    gate_.reached.WaitForNotification();
    return;
  }
  ASSERT_TRUE(WaitUntil([&] { return engine_->load().num_waiting == 1; }));
  engine_->RunOnce();
  if (where() == Where::kQueue || where() == Where::kEncode) return;
  while (engine_->load().num_prompt_tokens == 0) Step();
  ASSERT_EQ(engine_->load().num_generated_tokens, 0) << "the prompt takes more than one step";
  if (where() == Where::kPrefill) return;
  while (engine_->load().num_generated_tokens < 1) Step();
  ASSERT_TRUE(reader_.state->told.WaitForNotificationWithTimeout(absl::Seconds(10)));
  while (engine_->load().num_generated_tokens < 4) Step();
  if (where() == Where::kWrite) {
    ASSERT_TRUE(frontend_->WaitUntilIdle(absl::Seconds(10)));
  }
}

void FrontendStagesTest::GiveUp() {
  switch (how()) {
    case How::kClient:
      frontend_->Cancel(key_);
      break;
    case How::kDeadline:
      clock_.Advance(absl::Milliseconds(kTimeoutMs + 1));
      frontend_->CheckTimers();
      break;
    case How::kAbort:
      EXPECT_EQ(frontend_->Abort(kRequestId), where() == Where::kWrite ? 0 : 1);
      break;
  }
}

void FrontendStagesTest::ExpectEnd() {
  if (how() == How::kClient) {
    EXPECT_TRUE(reader_.stream->closed());
    return;
  }
  std::optional<absl::Status> end;
  ASSERT_TRUE(WaitUntil([&] { return (end = reader_.ReadToEnd()).has_value(); }));
  if (where() == Where::kWrite) {
    // All of the answer is there: it is the reader's.
    EXPECT_EQ(*end, absl::OkStatus());
    EXPECT_EQ(reader_.finished, FinishReason::kLength);
  } else if (how() == How::kAbort) {
    EXPECT_EQ(end->code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(GetErrorFacts(*end).reason, "ABORTED");
  } else if (HasSentText()) {
    EXPECT_EQ(*end, absl::OkStatus());
    EXPECT_EQ(reader_.finished, FinishReason::kDeadline);
  } else {
    EXPECT_EQ(end->code(), absl::StatusCode::kDeadlineExceeded);
  }
}

void FrontendStagesTest::ExpectEngineEmpty() {
  const EngineLoad load = engine_->load();
  EXPECT_EQ(load.num_running, 0);
  EXPECT_EQ(load.num_waiting, 0);
  EXPECT_EQ(load.num_blocks_used, 0);
  EXPECT_EQ(load.num_vision_entries, 0);
  // Pins of images that nobody uses would be found here.
  EXPECT_EQ(engine_->CheckIntegrityForTest(), absl::OkStatus());
}

TEST_P(FrontendStagesTest, LeavesNothingBehindAfterTheStepInFlight) {
  ASSERT_NO_FATAL_FAILURE(Reach());
  GiveUp();
  engine_->RunOnce();
  if (where() == Where::kQueue) {
    EXPECT_EQ(engine_->load().num_waiting, 0) << "at once";
    frontend_->Cancel(bystander_key_);
    engine_->RunOnce();
  }
  executor_.RunStep();
  engine_->RunOnce();
  ExpectEngineEmpty();
  // The worker hears of it with the next step.
  while (executor_.RunStep()) engine_->RunOnce();
  EXPECT_EQ(executor_.num_live_slots(), 0);
  EXPECT_EQ(executor_.num_features(), 0);
  EXPECT_EQ(executor_.violation(), absl::OkStatus());

  if (where() == Where::kImageDecode) gate_.open.Notify();
  reader_.state->go.Notify();
  EXPECT_TRUE(frontend_->WaitUntilIdle(absl::Seconds(10)));
  EXPECT_EQ(frontend_->image_bytes(), 0);
  ExpectEnd();
}

INSTANTIATE_TEST_SUITE_P(
    GivenUp,
    FrontendStagesTest,
    testing::Combine(testing::Values(Where::kImageDecode,
                                     Where::kQueue,
                                     Where::kEncode,
                                     Where::kPrefill,
                                     Where::kDecode,
                                     Where::kDetokenise,
                                     Where::kWrite),
                     testing::Values(How::kClient, How::kDeadline, How::kAbort)),
    NameOf);

}  // namespace
}  // namespace parrot
