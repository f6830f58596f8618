// Cancellation, stage by stage: whoever cancels, wherever the request is, there is one end, the
// engine is told, and nothing is left.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "server/frontend/frontend.h"
#include "server/frontend/image_intake.h"
#include "server/frontend/image_store.h"
#include "server/frontend/prompt_builder.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

// A reader that counts what it is told and takes nothing by itself.
struct LazyReader {
  LazyReader()
      : stream(std::make_shared<ResponseStream>(ResponseStreamOptions{},
                                                [told = told](ReadyReason) { told->Notify(); })) {}
  std::shared_ptr<absl::Notification> told = std::make_shared<absl::Notification>();
  std::shared_ptr<ResponseStream> stream;
};

int64_t Metric(Frontend& frontend, const std::string& series) {
  const std::string text = frontend.metrics().Render();
  const size_t at = text.find("\n" + series + " ");
  if (at == std::string::npos) return -1;
  return std::stoll(text.substr(at + series.size() + 2));
}

int64_t NumCancelled(Frontend& frontend, const std::string& stage) {
  return Metric(frontend, "parrot_cancelled_total{stage=\"" + stage + "\"}");
}

void ExpectNothingLeft(FrontendBench& bench) {
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
  EXPECT_EQ(bench.frontend().image_bytes(), 0);
}

TEST(FrontendCancelTest, WhileQueued) {
  FrontendOptions options = NanoOptions();
  options.capacity.num_preprocess_threads = 1;
  FrontendBench bench(options);
  absl::Notification busy;
  absl::Notification go;
  bench.engine().SetAddHook([&](RequestKey) {
    busy.Notify();
    go.WaitForNotification();
  });
  LazyReader first, second;
  bench.frontend().Submit(ImageRequest(SmallJpeg()), {}, first.stream);
  busy.WaitForNotification();
  const int64_t image_bytes = bench.frontend().image_bytes();
  const RequestKey key = bench.frontend().Submit(ImageRequest(SmallJpeg()), {}, second.stream);
  EXPECT_GT(bench.frontend().image_bytes(), image_bytes);
  bench.frontend().Cancel(key);
  // Its room is free at once, though its place in the queue is not.
  EXPECT_EQ(bench.frontend().image_bytes(), image_bytes);
  EXPECT_EQ(bench.frontend().live_requests(), 1);
  EXPECT_TRUE(second.stream->ended());
  EXPECT_EQ(NumCancelled(bench.frontend(), "preprocess_queue"), 1);
  bench.engine().SetAddHook(nullptr);
  go.Notify();
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  bench.frontend().Cancel(request->key);
  ExpectNothingLeft(bench);
  EXPECT_EQ(bench.engine().num_added(), 1);
}

TEST(FrontendCancelTest, BetweenAnyTwoStagesOfPreparation) {
  const NanoModel& model = NanoModel::Get();
  ImageStore no_store(0);
  const ImageIntake intake(*model.image_processor, no_store, Clock::Real());
  const PromptBuilder builder(
      {.max_prompt_tokens = 2048, .tokens_per_image = model.config.vision.num_tokens()},
      *model.chat_template,
      intake,
      Clock::Real());
  FrontendOptions options = NanoOptions();
  const Validator validator(
      {.limits = {.max_images = 2}, .served_names = {"m"}, .vocab_size = 2503, .num_experts = 6});
  int num_refused = 0;
  for (int allowed = 0;; ++allowed) {
    GenerateSpec spec = ImageRequest(SmallJpeg());
    spec.messages[0].parts.push_back(spec.messages[0].parts[0]);
    int num_asked = 0;
    ValidRequest request = validator.Validate(std::move(spec)).value();
    const auto prompt = builder.Build(request, "tenant", [&]() -> absl::Status {
      return num_asked++ < allowed ? absl::OkStatus() : absl::CancelledError("stop");
    });
    if (prompt.ok()) break;
    EXPECT_EQ(prompt.status(), absl::CancelledError("stop"));
    EXPECT_EQ(num_asked, allowed + 1);
    ++num_refused;
  }
  EXPECT_EQ(num_refused, 4);  // before the tokens, before each image, before the hand-over
}

TEST(FrontendCancelTest, JustBeforeTheEngineKnowsTheRequest) {
  FrontendBench bench;
  bench.engine().SetAddHook([&](RequestKey key) { bench.frontend().Cancel(key); });
  LazyReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream);
  ExpectNothingLeft(bench);
  // Once too early, and again when it was there.
  EXPECT_EQ(bench.engine().cancels(), (std::vector<RequestKey>{key, key}));
  EXPECT_TRUE(reader.stream->closed());
}

TEST(FrontendCancelTest, InTheEngineBeforeAnyToken) {
  FrontendBench bench;
  LazyReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream);
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.frontend().Cancel(key);
  ExpectNothingLeft(bench);
  EXPECT_EQ(bench.engine().cancels().front(), key);
  EXPECT_FALSE(reader.told->HasBeenNotified());
  EXPECT_EQ(NumCancelled(bench.frontend(), "engine"), 1);
}

TEST(FrontendCancelTest, WhileTokensFlow) {
  FrontendBench bench;
  LazyReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream);
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Token(key, 40);
  reader.told->WaitForNotification();
  bench.frontend().Cancel(key);
  bench.engine().Token(key, 41);  // was on its way
  ExpectNothingLeft(bench);
  EXPECT_EQ(NumCancelled(bench.frontend(), "decode"), 1);
  EXPECT_EQ(Metric(bench.frontend(), "parrot_requests_finished_total{reason=\"cancelled\"}"), 1);
}

TEST(FrontendCancelTest, WithTheLastTokenOnItsWay) {
  FrontendBench bench;
  bench.engine().SetAnswerCancels(false);
  LazyReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream);
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.frontend().Cancel(key);
  bench.engine().Token(key, 40);
  bench.engine().Finish(key, FinishReason::kStop);
  ExpectNothingLeft(bench);
  EXPECT_EQ(Metric(bench.frontend(), "parrot_requests_finished_total{reason=\"stop\"}"), 0);
}

TEST(FrontendCancelTest, WhenAllIsGeneratedAndNotYetRead) {
  FrontendBench bench;
  LazyReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream);
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Token(key, 40);
  reader.told->WaitForNotification();
  bench.engine().Finish(key, FinishReason::kStop);
  ExpectNothingLeft(bench);
  bench.frontend().Cancel(key);
  EXPECT_TRUE(reader.stream->closed());
  EXPECT_EQ(NumCancelled(bench.frontend(), "write"), 1);
  bench.frontend().Cancel(key);  // unknown by now
  EXPECT_EQ(NumCancelled(bench.frontend(), "write"), 1);
  EXPECT_TRUE(bench.frontend().Drain(absl::Seconds(10)));
}

TEST(FrontendCancelTest, AbortByIdReachesEveryLiveCallOfTheIdInAnyStage) {
  FrontendBench bench;
  absl::Notification busy;
  absl::Notification go;
  const auto named = [](const std::string& id) {
    GenerateSpec spec = TextRequest();
    spec.request_id = id;
    return spec;
  };
  StreamReader with_text, in_engine, preparing, other;
  const RequestKey key = bench.frontend().Submit(named("a"), {}, with_text.stream());
  ASSERT_NE(bench.engine().WaitForRequest(1), nullptr);
  bench.engine().Token(key, NanoModel::Get().tokenizer->Encode("x").value()[0]);
  ASSERT_TRUE(with_text.WaitForText(1));
  bench.frontend().Submit(named("a"), {}, in_engine.stream());
  ASSERT_NE(bench.engine().WaitForRequest(2), nullptr);
  const RequestKey other_key = bench.frontend().Submit(named("b"), {}, other.stream());
  ASSERT_NE(bench.engine().WaitForRequest(3), nullptr);
  bench.engine().SetAddHook([&](RequestKey) {
    if (busy.HasBeenNotified()) return;
    busy.Notify();
    go.WaitForNotification();
  });
  bench.frontend().Submit(named("a"), {}, preparing.stream());
  busy.WaitForNotification();
  EXPECT_EQ(bench.frontend().Abort("A"), 0);
  EXPECT_EQ(bench.frontend().Abort("a"), 3);
  EXPECT_EQ(bench.frontend().Abort("a"), 0);
  go.Notify();
  for (StreamReader* reader : {&with_text, &in_engine, &preparing}) {
    ASSERT_TRUE(reader->WaitForEnd());
    EXPECT_EQ(reader->status().code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(GetErrorFacts(reader->status()).reason, "ABORTED");
    EXPECT_EQ(reader->num_finished(), reader == &with_text ? 1 : 0);
  }
  EXPECT_EQ(with_text.finished().reason, FinishReason::kCancelled);
  EXPECT_EQ(other.num_ends(), 0);
  bench.engine().Finish(other_key, FinishReason::kStop);
  ASSERT_TRUE(other.WaitForEnd());
  EXPECT_TRUE(other.status().ok());
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
}

TEST(FrontendCancelTest, DrainResumesAPausedEngine) {
  FrontendBench bench;
  bench.frontend().Pause();
  bench.frontend().FlushCache();
  EXPECT_TRUE(bench.frontend().Drain(absl::Seconds(10)));
  EXPECT_EQ(bench.engine().commands(),
            (std::vector<std::string>{"pause", "flush_cache", "resume"}));
}

TEST(FrontendCancelTest, OfRefusedAndUnknownRequestsIsIgnored) {
  FrontendBench bench;
  LazyReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(""), {}, reader.stream);
  bench.frontend().Cancel(key);
  bench.frontend().Cancel(123456);
  EXPECT_TRUE(bench.engine().cancels().empty());
}

}  // namespace
}  // namespace parrot
