// A server with two engines: who gets which request, and what one worker's end does to the other.
#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "parrot/v1/control.grpc.pb.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using Health = grpc::health::v1::HealthCheckResponse;

TestServerConfig TwoWorkers() {
  TestServerConfig config;
  config.options.num_workers = 2;
  config.executor.model.capacity.image_bytes = 1 << 20;  // the caches have room for many
  return config;
}

v1::GetLoadResponse Load(const TestServer& server) {
  const auto control = v1::ParrotControlService::NewStub(
      grpc::CreateChannel(server.admin_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GetLoadResponse response;
  const grpc::Status status = control->GetLoad(&context, {}, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

Health::ServingStatus HealthOf(TestServer& server) {
  const auto stub = grpc::health::v1::Health::NewStub(server.Channel());
  grpc::ClientContext context;
  SetDeadline(context);
  Health response;
  EXPECT_TRUE(stub->Check(&context, {}, &response).ok());
  return response.status();
}

// One stream to each worker, until the test ends them.
class RunningStreams {
 public:
  explicit RunningStreams(TestServer& server) : server_(server) {
    for (int i = 0; i < 2; ++i) {
      SetDeadline(contexts_[i]);
      clients_.emplace_back([this, i] {
        const auto stub = v1::ParrotService::NewStub(server_.Channel());
        answers_[i] = Generate(*stub, TextRequest("hello", 1000), &contexts_[i]);
      });
      WaitUntil([&] { return server_.frontend().load().num_running == i + 1; });
    }
    for (const EngineLoad& load : server_.frontend().worker_loads()) {
      EXPECT_EQ(load.num_running, 1) << "the second one goes to the idle worker";
    }
  }
  ~RunningStreams() { Join(); }
  grpc::ClientContext& context(int i) { return contexts_[i]; }
  void Join() {
    for (std::thread& client : clients_) client.join();
    clients_.clear();
  }
  const Answer& answer(int i) const { return answers_[i]; }

 private:
  TestServer& server_;
  grpc::ClientContext contexts_[2];
  Answer answers_[2];
  std::vector<std::thread> clients_;
};

TEST(WorkersTest, QuestionsAboutAnImageMeetAtOneWorkerAndImagesUseBoth) {
  TestServer server(TwoWorkers());
  int64_t warm_up[2];
  for (int i = 0; i < 2; ++i) {
    warm_up[i] = server.executor(i).counts().num_encodes;
    EXPECT_EQ(warm_up[i], 1) << "each worker is warm before the server is ready";
  }
  const std::vector<std::string> files = {"rgb_47x31.png",
                                          "bilevel_128x96.png",
                                          "gama_chrm_140x140.png",
                                          "grey16_100x150.png",
                                          "grey2_50x70.png",
                                          "grey4_70x50.png",
                                          "grey_200x120.png",
                                          "interlaced_palette4_83x59.png"};
  for (const std::string& file : files) {
    v1::GenerateRequest request = ImageRequest("what is it?", 4);
    request.mutable_messages(0)->mutable_parts(1)->mutable_image()->set_data(
        ReadGoldenFile("images/files/" + file));
    for (const char* question : {"what is it?", "how many are there?", "which colour?"}) {
      request.mutable_messages(0)->mutable_parts(0)->set_text(question);
      const Answer answer = Generate(server.stub(), request);
      ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    }
  }
  server.ExpectIdle();
  int64_t num_encodes = 0;
  for (int i = 0; i < 2; ++i) {
    const int64_t encodes = server.executor(i).counts().num_encodes - warm_up[i];
    EXPECT_GT(encodes, 0) << "worker " << i << " had no image";
    num_encodes += encodes;
  }
  EXPECT_EQ(num_encodes, static_cast<int64_t>(files.size())) << "no image was encoded twice";
  const v1::GetLoadResponse load = Load(server);
  ASSERT_EQ(load.workers_size(), 2);
  EXPECT_EQ(load.num_cached_images(),
            load.workers(0).num_cached_images() + load.workers(1).num_cached_images());
  EXPECT_EQ(load.num_kv_blocks_total(), 2 * load.workers(0).num_kv_blocks_total());
}

TEST(WorkersTest, ACancelReachesTheWorkerThatHasTheRequest) {
  for (const int cancelled : {0, 1}) {
    TestServerConfig config = TwoWorkers();
    config.executor.step_time = absl::Microseconds(300);
    TestServer server(config);
    RunningStreams streams(server);
    streams.context(cancelled).TryCancel();
    WaitUntil([&] { return server.frontend().load().num_running == 1; });
    streams.Join();
    EXPECT_EQ(streams.answer(cancelled).status.error_code(), StatusCode::CANCELLED);
    const Answer& other = streams.answer(1 - cancelled);
    EXPECT_TRUE(other.status.ok()) << other.status.error_message();
    EXPECT_EQ(other.token_ids.size(), 1000u);
    server.ExpectIdle();
  }
}

TEST(WorkersTest, TheQueueIsOneLimitForBoth) {
  TestServerConfig config = TwoWorkers();
  config.options.max_num_seqs = 1;
  config.options.max_queue_size = 3;
  TestServer server(config);
  for (int i = 0; i < 2; ++i) server.executor(i).SetPaused(true);
  std::vector<Answer> answers(5);  // two run, three wait
  std::vector<std::thread> clients;
  for (Answer& answer : answers) {
    clients.emplace_back([&] { answer = Generate(server.stub(), TextRequest("hello")); });
    const auto num_sent = static_cast<int32_t>(clients.size());
    WaitUntil([&] {
      const EngineLoad load = server.frontend().load();
      return load.num_running == std::min(num_sent, 2) &&
             load.num_running + load.num_waiting == num_sent;
    });
  }
  const Answer refused = Generate(server.stub(), TextRequest("hello"));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(refused.status).error->reason(), "QUEUE_FULL");
  for (int i = 0; i < 2; ++i) server.executor(i).SetPaused(false);
  for (std::thread& client : clients) client.join();
  for (const Answer& answer : answers) {
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  }
  server.ExpectIdle();
}

TEST(WorkersTest, ADrainWaitsForBoth) {
  TestServerConfig config = TwoWorkers();
  config.executor.step_time = absl::Microseconds(300);
  TestServer server(config);
  RunningStreams streams(server);
  EXPECT_TRUE(server.Shutdown());
  streams.Join();
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(streams.answer(i).status.ok()) << streams.answer(i).status.error_message();
    EXPECT_EQ(streams.answer(i).token_ids.size(), 1000u);
  }
}

TEST(WorkersTest, ADeadWorkerFailsItsOwnRequestsAndTheOtherServesOn) {
  TestServerConfig config = TwoWorkers();
  config.executor.step_time = absl::Microseconds(300);
  TestServer server(config);
  {
    RunningStreams streams(server);
    server.executor(0).FailNextSteps(1, absl::UnavailableError("the device is gone"));
    streams.Join();
    const bool first_failed = !streams.answer(0).status.ok();
    const Answer& failed = streams.answer(first_failed ? 0 : 1);
    EXPECT_EQ(failed.status.error_code(), StatusCode::UNAVAILABLE);
    const Answer& other = streams.answer(first_failed ? 1 : 0);
    EXPECT_TRUE(other.status.ok()) << other.status.error_message();
    EXPECT_EQ(other.token_ids.size(), 1000u);
  }
  WaitUntil([&] { return server.log().Contains("worker_died"); });
  EXPECT_EQ(HealthOf(server), Health::SERVING);
  const v1::GetLoadResponse load = Load(server);
  EXPECT_FALSE(load.workers(0).alive());
  EXPECT_TRUE(load.workers(1).alive());
  EXPECT_EQ(load.num_kv_blocks_total(), load.workers(1).num_kv_blocks_total());
  EXPECT_THAT(server.HttpGet("/metrics"), HasSubstr("parrot_worker_up{worker=\"0\"} 0\n"));
  EXPECT_THAT(server.HttpGet("/metrics"), HasSubstr("parrot_worker_up{worker=\"1\"} 1\n"));
  for (int i = 0; i < 8; ++i) {
    const Answer answer = Generate(server.stub(), ImageRequest("what is it, " + std::to_string(i)));
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  }
  server.ExpectIdle();

  server.executor(1).FailNextSteps(1, absl::UnavailableError("the device is gone"));
  EXPECT_EQ(Generate(server.stub(), TextRequest("hello")).status.error_code(),
            StatusCode::UNAVAILABLE);
  EXPECT_FALSE(server.server().Wait().ok());
  EXPECT_EQ(HealthOf(server), Health::NOT_SERVING);
}

TEST(WorkersTest, AStepThatNeverEndsEndsTheServerWhateverTheOtherWorkerDoes) {
  TestServerConfig config = TwoWorkers();
  config.options.step_timeout = absl::Milliseconds(300);
  config.executor.step_time = absl::Milliseconds(1);
  TestServer server(config);
  server.executor(1).SetPaused(true);
  RunningStreams streams(server);
  EXPECT_THAT(std::string(server.server().Wait().message()), HasSubstr("a step runs for longer"));
  server.server().Abandon();
  streams.Join();
  server.executor(1).SetPaused(false);
}

}  // namespace
}  // namespace parrot
