// Deadlines, priorities and routing modes through a real channel.
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using grpc::StatusCode;

TEST(DeadlineTest, AStreamWithTextEndsWellWithItsUsage) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(20);
  TestServer server(config);
  v1::GenerateRequest request = TextRequest("hello", 1000);
  for (const bool by_transport : {false, true}) {
    SCOPED_TRACE(by_transport);
    grpc::ClientContext context;
    SetDeadline(context, by_transport ? absl::Seconds(1) : absl::Minutes(1));
    if (by_transport) {
      request.clear_timeout_ms();
    } else {
      request.set_timeout_ms(500);
    }
    const Answer answer = Generate(server.stub(), request, &context);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    ASSERT_TRUE(answer.finish.has_value());
    EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_DEADLINE);
    EXPECT_GT(answer.token_ids.size(), 0u);
    EXPECT_EQ(answer.finish->usage().completion_tokens(),
              static_cast<int32_t>(answer.token_ids.size()));
    EXPECT_GT(answer.finish->usage().prompt_tokens(), 0);
    server.ExpectIdle();
  }
}

TEST(DeadlineTest, AStreamWithoutTextEndsWithDeadlineExceeded) {
  TestServer server;
  server.executor().SetPaused(true);
  v1::GenerateRequest request = TextRequest("hello");
  request.set_timeout_ms(100);
  const Answer answer = Generate(server.stub(), request);
  EXPECT_EQ(answer.status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(DetailsOf(answer.status).error->reason(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(answer.num_messages, 0);
  server.executor().SetPaused(false);
  server.ExpectIdle();
}

TEST(PriorityTest, TheMoreUrgentOfTwoWaitingRequestsRunsFirst) {
  TestServerConfig config;
  config.options.max_num_seqs = 1;
  TestServer server(config);
  server.executor().SetPaused(true);
  std::vector<std::thread> clients;
  std::vector<Answer> answers(3);
  const auto send = [&](int i, int priority) {
    clients.emplace_back([&, i, priority] {
      v1::GenerateRequest request = TextRequest("hello", 4);
      request.set_priority(priority);
      answers[i] = Generate(server.stub(), request);
    });
    WaitUntil([&] {
      const EngineLoad load = server.frontend().load();
      return load.num_running + load.num_waiting == i + 1;
    });
  };
  send(0, 0);  // runs
  WaitUntil([&] { return server.frontend().load().num_running == 1; });
  send(1, 0);
  send(2, 9);
  server.executor().SetPaused(false);
  for (std::thread& client : clients) client.join();
  for (const Answer& answer : answers) {
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  }
  EXPECT_LT(answers[2].finish->timings().queue(), answers[1].finish->timings().queue());
  server.ExpectIdle();
}

}  // namespace
}  // namespace parrot
