// The front end on the real engine with a fake executor: many clients, cancels at random moments,
// failing steps, a drain under load.
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/dispatcher.h"
#include "scheduler/engine.h"
#include "server/frontend/frontend.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

constexpr int32_t kVocabSize = 500;
constexpr uint64_t kSeed = 20240601;

FakeExecutorOptions ExecutorOptions() {
  FakeExecutorOptions options;
  options.own_thread = true;
  options.model.vocab_size = kVocabSize;
  ExecutorCapacity& capacity = options.model.capacity;
  capacity.num_blocks = 200;
  capacity.block_size = 32;
  capacity.max_slots = 8;
  capacity.max_step_tokens = 1024;
  capacity.max_step_images = 2;
  capacity.image_tokens = NanoOptions().model.vision.num_tokens();
  capacity.num_experts = 6;
  capacity.num_vision_layers = NanoOptions().model.vision.num_used_layers();
  return options;
}

// Everything of a server but its transports and its model.
class Server {
 public:
  explicit Server(FakeExecutorOptions executor_options = ExecutorOptions())
      : executor_(std::move(executor_options)) {
    const NanoModel& model = NanoModel::Get();
    FrontendOptions options = NanoOptions();
    options.max_engine_queue = 200;
    options.capacity.max_preprocess_queue = 200;
    frontend_ = std::make_unique<Frontend>(
        options,
        FrontendModels{
            model.tokenizer.get(), model.chat_template.get(), model.image_processor.get()},
        &Clock::Real());
    engine_ = std::make_unique<Engine>(
        EngineOptions{.max_num_seqs = 8, .max_images_per_step = 2, .max_queue_size = 200},
        &executor_,
        frontend_->event_sink(),
        &Clock::Real());
    engine_->Start();
    dispatcher_ = std::make_unique<Dispatcher>(std::vector<Engine*>{engine_.get()});
    frontend_->Start(EngineClientOf(*dispatcher_));
    frontend_->lifecycle().Set(ServerState::kReady);
  }
  ~Server() { Stop(); }
  void Stop() {
    engine_->Stop();
    frontend_->Stop();
  }
  // Stops, because the step in flight may still hold blocks of what has ended.
  void ExpectNothingLeft() {
    EXPECT_TRUE(frontend_->WaitUntilIdle(absl::Seconds(30)));
    Stop();
    EXPECT_EQ(frontend_->live_requests(), 0);
    EXPECT_EQ(frontend_->image_bytes(), 0);
    const EngineLoad load = engine_->load();
    EXPECT_EQ(load.num_running, 0);
    EXPECT_EQ(load.num_waiting, 0);
    EXPECT_EQ(load.num_blocks_used, 0);
    EXPECT_EQ(executor_.violation(), absl::OkStatus());
  }
  Frontend& frontend() { return *frontend_; }
  FakeModelExecutor& executor() { return executor_; }

 private:
  FakeModelExecutor executor_;
  std::unique_ptr<Frontend> frontend_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Dispatcher> dispatcher_;
};

GenerateSpec Spec(int i, int32_t max_tokens) {
  const std::string text = "Question number " + std::to_string(i);
  GenerateSpec spec = i % 3 == 0 ? ImageRequest(SmallJpeg(), text) : TextRequest(text);
  spec.stop.max_tokens = max_tokens;
  return spec;
}

TEST(FrontendEngineTest, ThirtyTwoClientsGetTheAnswersThatEachGetsAlone) {
  Server server;
  std::vector<std::vector<TokenId>> alone;
  for (int i = 0; i < 32; ++i) {
    StreamReader reader;
    server.frontend().Submit(Spec(i, 20), {}, reader.stream());
    ASSERT_TRUE(reader.WaitForEnd());
    ASSERT_TRUE(reader.status().ok()) << reader.status();
    alone.push_back(reader.token_ids());
  }
  std::vector<std::unique_ptr<StreamReader>> readers;
  for (int i = 0; i < 32; ++i) {
    readers.push_back(std::make_unique<StreamReader>());
    server.frontend().Submit(Spec(i, 20), {}, readers.back()->stream());
  }
  for (int i = 0; i < 32; ++i) {
    ASSERT_TRUE(readers[i]->WaitForEnd());
    EXPECT_EQ(readers[i]->token_ids(), alone[i]) << i;
    EXPECT_EQ(readers[i]->num_finished(), 1);
    EXPECT_EQ(readers[i]->finished().routing.size(), i % 3 == 0 ? 1u : 0u);
  }
  EXPECT_GT(server.executor().counts().max_step_spans, 1);
  server.ExpectNothingLeft();
}

TEST(FrontendEngineTest, RoutesWithoutGenerating) {
  Server server;
  StreamReader reader(nullptr, StreamMode::kWhole);
  GenerateSpec spec = ImageRequest(SmallJpeg());
  spec.kind = RequestKind::kRoute;
  server.frontend().Submit(std::move(spec), {}, reader.stream());
  ASSERT_TRUE(reader.WaitForEnd());
  ASSERT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_EQ(reader.finished().routing.at(0).expert_weights.size(), 6u);
  EXPECT_TRUE(reader.token_ids().empty());
  server.ExpectNothingLeft();
}

TEST(FrontendEngineTest, WarmsUp) {
  Server server;
  EXPECT_TRUE(server.frontend().WarmUp(absl::Seconds(10)).ok());
  EXPECT_EQ(server.executor().counts().num_encodes, 1);
}

// Cancels from several threads at seeded random moments, in every stage: exactly one end for those
// who stay, none of the others leaves anything behind.
TEST(FrontendEngineTest, RandomCancelsLeaveNothingAndEndEveryStreamOnce) {
  constexpr int kThreads = 4;
  constexpr int kRequestsPerThread = 120;
  RecordProperty("seed", static_cast<int>(kSeed));
  FakeExecutorOptions options = ExecutorOptions();
  options.step_time = absl::Microseconds(50);
  Server server(options);
  std::atomic<int> num_complete{0};
  std::atomic<int> num_refused{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([&server, &num_complete, &num_refused, t] {
      std::mt19937_64 random(kSeed + t);
      for (int i = 0; i < kRequestsPerThread; ++i) {
        StreamReader reader;
        const auto max_tokens = static_cast<int32_t>(1 + random() % 30);
        GenerateSpec spec = Spec(static_cast<int>(random() % 60), max_tokens);
        const auto num_outputs = static_cast<int>(random() % 4 == 0 ? 1 + random() % 4 : 1);
        spec.n = num_outputs;
        if (random() % 3 == 0) spec.stop.stop = {"e", " t", "a"};
        const RequestKey key = server.frontend().Submit(std::move(spec), {}, reader.stream());
        const int fate = static_cast<int>(random() % 4);
        if (fate == 0) {
          server.frontend().Cancel(key);  // at once: queued or in preparation
        } else if (fate == 1) {
          reader.WaitForText(random() % 20);  // in the middle, or after the end
          server.frontend().Cancel(key);
        } else {
          ASSERT_TRUE(reader.WaitForEnd());
          EXPECT_EQ(reader.num_ends(), 1);
          const bool ok = reader.status().ok();
          (ok ? num_complete : num_refused).fetch_add(1);
          EXPECT_EQ(reader.num_finished(), ok ? num_outputs : 0) << reader.status();
        }
        EXPECT_LE(reader.num_ends(), 1);
        EXPECT_LE(reader.num_finished(), num_outputs);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(num_complete.load(), 0);
  EXPECT_EQ(num_refused.load(), 0);
  server.ExpectNothingLeft();
}

// Each of several answers ends by itself; what is cancelled in the engine frees its blocks.
TEST(FrontendEngineTest, StopStringsEndAnswersWhereTheyEndAlone) {
  Server server;
  constexpr int kRequests = 24;
  std::vector<std::string> expected;
  for (int i = 0; i < kRequests; ++i) {
    StreamReader reader;
    server.frontend().Submit(Spec(i, 60), {}, reader.stream());
    ASSERT_TRUE(reader.WaitForEnd());
    const std::string text = reader.text();
    expected.push_back(text.substr(0, text.find('a')));
  }
  std::vector<std::unique_ptr<StreamReader>> readers;
  for (int i = 0; i < kRequests; ++i) {
    GenerateSpec spec = Spec(i, 60);
    spec.stop.stop = {"a"};
    spec.n = 1 + i % 3;
    readers.push_back(std::make_unique<StreamReader>());
    server.frontend().Submit(std::move(spec), {}, readers.back()->stream());
  }
  int num_stopped = 0;
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(readers[i]->WaitForEnd());
    EXPECT_TRUE(readers[i]->status().ok()) << readers[i]->status();
    ASSERT_EQ(readers[i]->num_finished(), 1 + i % 3);
    for (int32_t idx = 0; idx < 1 + i % 3; ++idx) {
      EXPECT_EQ(readers[i]->text(idx), expected[i]);
      num_stopped += readers[i]->finished(idx).stop_text == "a" ? 1 : 0;
    }
  }
  EXPECT_GT(num_stopped, kRequests / 2);
  server.ExpectNothingLeft();
}

TEST(FrontendEngineTest, AFailedStepEndsItsRequestsAndTheNextOneIsAnswered) {
  Server server;
  server.executor().FailNextSteps(1, absl::InternalError("device says 0xdeadbeef"));
  StreamReader failed;
  server.frontend().Submit(Spec(1, 5), {}, failed.stream());
  ASSERT_TRUE(failed.WaitForEnd());
  StreamReader next;
  server.frontend().Submit(Spec(1, 5), {}, next.stream());
  ASSERT_TRUE(next.WaitForEnd());
  EXPECT_TRUE(next.status().ok()) << next.status();
  EXPECT_EQ(failed.num_ends(), 1);
  // The engine may have tried again and succeeded; what it said then is no library's text.
  EXPECT_EQ(std::string(failed.status().message()).find("0xdeadbeef"), std::string::npos);
  server.ExpectNothingLeft();
}

TEST(FrontendEngineTest, DrainUnderLoadLosesNoAcceptedStream) {
  FakeExecutorOptions options = ExecutorOptions();
  options.step_time = absl::Microseconds(200);
  Server server(options);
  std::vector<std::unique_ptr<StreamReader>> readers;
  for (int i = 0; i < 60; ++i) {
    readers.push_back(std::make_unique<StreamReader>());
    server.frontend().Submit(Spec(i, 25), {}, readers.back()->stream());
  }
  EXPECT_TRUE(server.frontend().Drain(absl::Seconds(60)));
  StreamReader late;
  server.frontend().Submit(Spec(0, 5), {}, late.stream());
  ASSERT_TRUE(late.WaitForEnd());
  EXPECT_EQ(late.status().code(), absl::StatusCode::kUnavailable);
  for (const auto& reader : readers) {
    ASSERT_TRUE(reader->WaitForEnd());
    EXPECT_TRUE(reader->status().ok()) << reader->status();
    EXPECT_EQ(reader->num_finished(), 1);
    EXPECT_FALSE(reader->token_ids().empty());
  }
  server.ExpectNothingLeft();
}

TEST(FrontendEngineTest, StopEndsEveryStreamThatStillRuns) {
  FakeExecutorOptions options = ExecutorOptions();
  options.step_time = absl::Milliseconds(1);
  Server server(options);
  std::vector<std::unique_ptr<StreamReader>> readers;
  for (int i = 0; i < 20; ++i) {
    readers.push_back(std::make_unique<StreamReader>());
    server.frontend().Submit(Spec(i, 400), {}, readers.back()->stream());
  }
  ASSERT_TRUE(readers[1]->WaitForText(1));
  server.Stop();
  for (const auto& reader : readers) {
    ASSERT_TRUE(reader->WaitForEnd());
    EXPECT_EQ(reader->num_ends(), 1);
    EXPECT_EQ(reader->status().code(), absl::StatusCode::kUnavailable) << reader->status();
  }
  server.ExpectNothingLeft();
}

}  // namespace
}  // namespace parrot
