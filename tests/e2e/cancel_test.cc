// Clients that leave or do not read. States are asserted, not times: blocks, requests, slots,
// steps.
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using grpc::StatusCode;

// The first stage: the call is open, its message has not come. Nothing of it is in the server yet,
// so Abort finds nobody.
TEST(CancelTest, BeforeItsMessageHasArrived) {
  TestServer server;
  const int64_t num_prompt_tokens = server.frontend().load().num_prompt_tokens;  // the warm-up's
  for (const bool by_deadline : {false, true}) {
    grpc::GenericStub stub(server.Channel());
    grpc::ClientContext context;
    if (by_deadline) context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(50)));
    grpc::CompletionQueue queue;
    void* tag = nullptr;
    bool ok = false;
    const auto call = stub.PrepareCall(&context, "/parrot.v1.ParrotService/Generate", &queue);
    call->StartCall(nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    EXPECT_EQ(server.frontend().Abort("nobody"), 0);
    if (!by_deadline) context.TryCancel();
    grpc::Status status;
    call->Finish(&status, nullptr);
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(),
              by_deadline ? StatusCode::DEADLINE_EXCEEDED : StatusCode::CANCELLED);
    server.ExpectIdle();
  }
  EXPECT_EQ(server.frontend().load().num_prompt_tokens, num_prompt_tokens);
}

TEST(CancelTest, WhileItWaitsInTheQueue) {
  TestServerConfig config;
  config.options.max_num_seqs = 1;
  TestServer server(config);
  server.executor().SetPaused(true);
  Answer first;
  std::thread running([&] { first = Generate(server.stub(), TextRequest("first", 4)); });
  WaitUntil([&] { return server.frontend().load().num_running == 1; });
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = server.stub().Generate(&context, TextRequest("second", 4));
  WaitUntil([&] { return server.frontend().load().num_waiting == 1; });
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  // It leaves although no step can end.
  WaitUntil([&] { return server.frontend().load().num_waiting == 0; });
  EXPECT_EQ(server.frontend().load().num_running, 1);
  server.executor().SetPaused(false);
  running.join();
  EXPECT_TRUE(first.status.ok());
  server.ExpectIdle();
}

TEST(CancelTest, DuringItsFirstStepItIsGoneWithThatStep) {
  TestServer server;
  server.executor().SetPaused(true);
  const int64_t steps = server.executor().counts().num_steps;
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = server.stub().Generate(&context, ImageRequest("what is it?", 100));
  WaitUntil([&] { return server.frontend().load().step_in_flight; });
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  WaitUntil([&] {
    return absl::StrContains(server.HttpGet("/metrics"),
                             "parrot_cancelled_total{stage=\"engine\"} 1\n");
  });
  server.executor().SetPaused(false);
  server.ExpectIdle();
  // The step in flight, and at most one that only frees the slot.
  EXPECT_LE(server.executor().counts().num_steps, steps + 2);
}

TEST(CancelTest, WhileTokensFlow) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(2);
  TestServer server(config);
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = server.stub().Generate(&context, TextRequest("hello", 1500));
  v1::GenerateResponse response;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stream->Read(&response));
  context.TryCancel();
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  server.ExpectIdle();
  EXPECT_LT(server.frontend().load().num_generated_tokens, 1500);
}

TEST(CancelTest, OfAUnaryCall) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(2);
  TestServer server(config);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GenerateUnaryResponse response;
  grpc::Status status;
  std::thread client([&] {
    status = server.stub().GenerateUnary(&context, TextRequest("hello", 1500), &response);
  });
  WaitUntil([&] { return server.frontend().load().num_generated_tokens > 10; });
  context.TryCancel();
  client.join();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
  server.ExpectIdle();
}

TEST(CancelTest, AConnectionThatBreaksCancelsItsCalls) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(2);
  TestServer server(config);
  {
    std::shared_ptr<grpc::Channel> channel = server.Channel();
    const auto stub = v1::ParrotService::NewStub(channel);
    grpc::ClientContext context;
    const auto stream = stub->Generate(&context, TextRequest("hello", 1500));
    v1::GenerateResponse response;
    ASSERT_TRUE(stream->Read(&response));
    // Destroyed with the call open: the transport goes down with the last reference.
    context.TryCancel();
  }
  server.ExpectIdle();
  EXPECT_LT(server.frontend().load().num_generated_tokens, 1500);
}

TEST(CancelTest, AtTwoHundredRandomMomentsNothingIsLeft) {
  TestServerConfig config;
  config.executor.step_time = absl::Microseconds(200);
  config.options.max_queue_size = 64;
  TestServer server(config);
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&server, client] {
      std::mt19937 random(static_cast<unsigned>(client));
      const auto stub = v1::ParrotService::NewStub(server.Channel());
      for (int i = 0; i < 50; ++i) {
        grpc::ClientContext context;
        SetDeadline(context);
        const auto stream =
            stub->Generate(&context, i % 3 == 0 ? ImageRequest("a", 60) : TextRequest("a", 60));
        v1::GenerateResponse response;
        const int num_reads = static_cast<int>(random() % 40);
        for (int read = 0; read < num_reads && stream->Read(&response); ++read) {
        }
        context.TryCancel();
        const grpc::Status status = stream->Finish();
        EXPECT_TRUE(status.ok() || status.error_code() == StatusCode::CANCELLED)
            << status.error_message();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  server.ExpectIdle();
  EXPECT_TRUE(Generate(server.stub(), TextRequest("good")).status.ok());
}

// -- Slow readers ---------------------------------------------------------------------------------

// A channel whose streams take a kilobyte and then wait for the reader.
grpc::ChannelArguments SmallWindow() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return arguments;
}

TEST(SlowReaderTest, DoesNotDelayItsNeighboursAndGetsEveryTokenInTheEnd) {
  TestServerConfig config;
  config.options.client_stall_timeout = absl::Minutes(10);
  TestServer server(config);
  const Answer reference = Generate(server.stub(), TextRequest("hello", 1500));
  const auto slow_stub = v1::ParrotService::NewStub(server.Channel(SmallWindow()));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = slow_stub->Generate(&context, TextRequest("hello", 1500));
  v1::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  // The engine finishes with it although nobody reads.
  WaitUntil([&] {
    const EngineLoad load = server.frontend().load();
    return load.num_generated_tokens >= 3000 && load.num_blocks_used == 0;
  });
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(Generate(server.stub(), TextRequest("neighbour", 50)).status.ok());
  }
  std::vector<int32_t> tokens;
  std::string text;
  int num_messages = 0;
  while (stream->Read(&response)) {
    ++num_messages;
    tokens.insert(
        tokens.end(), response.delta().token_ids().begin(), response.delta().token_ids().end());
    text += response.delta().text();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(tokens, reference.token_ids);
  EXPECT_EQ(text, reference.text);
  EXPECT_LT(num_messages, 1000);  // what waited was merged
  server.ExpectIdle();
}

// More readers that take nothing than the server has threads; their neighbours are on a connection
// of their own.
TEST(SlowReaderTest, AHundredThatReadNothingHoldNoThreadLockOrQueueOfTheirNeighbours) {
  constexpr int kStalled = 100;
  constexpr int32_t kTokens = 300;
  TestServerConfig config;
  config.options.client_stall_timeout = absl::Minutes(10);
  config.options.max_num_seqs = kStalled;
  config.num_blocks = kStalled * 16;
  TestServer server(config);
  const auto stub = v1::ParrotService::NewStub(server.Channel(SmallWindow()));
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> streams;
  for (int i = 0; i < kStalled; ++i) {
    SetDeadline(*contexts.emplace_back(std::make_unique<grpc::ClientContext>()));
    streams.push_back(stub->Generate(contexts.back().get(), TextRequest("hello", kTokens)));
    v1::GenerateResponse response;
    ASSERT_TRUE(streams.back()->Read(&response));
  }
  // The engine and the output thread have done with all of them.
  WaitUntil([&] { return server.frontend().live_requests() == 0; });
  EXPECT_GE(server.frontend().load().num_generated_tokens, int64_t{kStalled} * kTokens);
  std::vector<std::thread> neighbours;
  std::vector<Answer> answers(8);
  for (Answer& answer : answers) {
    neighbours.emplace_back(
        [&] { answer = Generate(server.stub(), TextRequest("neighbour", kTokens)); });
  }
  for (std::thread& neighbour : neighbours) neighbour.join();
  for (const Answer& answer : answers) {
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.token_ids.size(), size_t{kTokens});
  }
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& stream : streams) EXPECT_FALSE(stream->Finish().ok());
  server.ExpectIdle();
}

TEST(SlowReaderTest, WhoReadsNothingForTooLongIsAborted) {
  TestServerConfig config;
  config.options.client_stall_timeout = absl::Milliseconds(300);
  config.options.log_requests = true;
  TestServer server(config);
  const auto slow_stub = v1::ParrotService::NewStub(server.Channel(SmallWindow()));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = slow_stub->Generate(&context, TextRequest("hello", 1500));
  v1::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  WaitUntil([&] { return server.log().Contains("code=ABORTED"); });
  server.ExpectIdle();
  while (stream->Read(&response)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "client too slow");
  EXPECT_TRUE(Generate(server.stub(), TextRequest("good")).status.ok());
}

}  // namespace
}  // namespace parrot
