// Shutdown: health first, then lame duck, then drain. No accepted stream is lost.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"
#include "tests/server/http_client/http_client.h"

namespace parrot {
namespace {

using grpc::StatusCode;
using Health = grpc::health::v1::HealthCheckResponse;

TEST(DrainTest, UnderLoadEveryAcceptedStreamFinishes) {
  constexpr int kStreams = 24;
  constexpr int kTokens = 60;
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(3);
  config.options.max_queue_size = kStreams;
  TestServer server(config);
  // None may end before the last has come.
  server.executor().SetPaused(true);
  std::vector<Answer> answers(kStreams);
  std::vector<std::thread> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.emplace_back([&, i] {
      const auto stub = v1::ParrotService::NewStub(server.Channel());
      answers[i] = Generate(*stub, TextRequest("hello " + std::to_string(i), kTokens));
    });
  }
  while (server.frontend().live_requests() < kStreams) std::this_thread::yield();
  server.executor().SetPaused(false);
  EXPECT_TRUE(server.Shutdown());
  for (std::thread& client : clients) client.join();
  for (const Answer& answer : answers) {
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.token_ids.size(), static_cast<size_t>(kTokens));
    EXPECT_TRUE(answer.finish.has_value());
  }
  EXPECT_EQ(server.executor().violation(), absl::OkStatus());
}

TEST(DrainTest, HealthFlipsFirstAndTheLameDuckStillServes) {
  TestServerConfig config;
  config.options.shutdown_timeout = absl::Minutes(1);
  TestServer server(config);
  const auto health = grpc::health::v1::Health::NewStub(server.Channel());
  grpc::ClientContext watch_context;
  SetDeadline(watch_context);
  const auto watch = health->Watch(&watch_context, {});
  Health response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), Health::SERVING);

  std::atomic<bool> is_clean{false};
  std::thread shutdown(
      [&] { is_clean.store(server.server().Shutdown(/*lame_duck=*/absl::Seconds(1))); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), Health::NOT_SERVING);
  int http = 0;
  EXPECT_EQ(server.HttpGet("/health", &http), "{\"status\":\"draining\"}\n");
  EXPECT_EQ(http, 503);
  // Somebody who has not heard of it yet.
  const Answer answer = Generate(server.stub(), TextRequest("late"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  shutdown.join();
  EXPECT_TRUE(is_clean.load());
  // Watches end, they do not hang.
  while (watch->Read(&response)) EXPECT_EQ(response.status(), Health::NOT_SERVING);
  EXPECT_FALSE(watch->Finish().ok());
  EXPECT_EQ(HttpGet(server.server().http_port(), "/health").status, 0);
}

TEST(DrainTest, NewRequestsAreUnavailableAndRetryableWhileOldOnesFinish) {
  TestServer server;
  server.executor().SetPaused(true);
  Answer running;
  std::thread client([&] { running = Generate(server.stub(), TextRequest("hello")); });
  while (server.frontend().load().num_running == 0) std::this_thread::yield();
  std::thread shutdown([&] { EXPECT_TRUE(server.Shutdown()); });
  while (server.frontend().lifecycle().state() != ServerState::kDraining) {
    std::this_thread::yield();
  }
  const Answer refused = Generate(server.stub(), TextRequest("late"));
  EXPECT_EQ(refused.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailsOf(refused.status).error->reason(), "DRAINING");
  EXPECT_TRUE(DetailsOf(refused.status).retry.has_value());
  server.executor().SetPaused(false);
  client.join();
  shutdown.join();
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
}

TEST(DrainTest, WhatIsLeftAtTheEndIsToldSo) {
  TestServerConfig config;
  config.options.shutdown_timeout = absl::Milliseconds(1500);
  config.options.lame_duck = absl::ZeroDuration();
  config.executor.step_time = absl::Milliseconds(20);
  TestServer server(config);
  Answer answer;
  std::thread client([&] { answer = Generate(server.stub(), TextRequest("hello", 1500)); });
  while (server.frontend().load().num_running == 0) std::this_thread::yield();
  EXPECT_FALSE(server.Shutdown());
  client.join();
  EXPECT_EQ(answer.status.error_code(), StatusCode::UNAVAILABLE) << answer.status.error_message();
}

TEST(DrainTest, AServerThatNeverServedShutsDownAtOnce) {
  TestServerConfig config;
  config.serve = false;
  TestServer server(config);
  EXPECT_TRUE(server.Shutdown());
}

}  // namespace
}  // namespace parrot
