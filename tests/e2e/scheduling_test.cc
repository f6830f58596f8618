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
using ::testing::ElementsAreArray;

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

v1::Message TextMessage(v1::Role role, const std::string& text) {
  v1::Message message;
  message.set_role(role);
  message.add_parts()->set_text(text);
  return message;
}

// The same dialogue in its second turn.
v1::GenerateRequest SecondTurn(const v1::GenerateRequest& first, const std::string& answer) {
  v1::GenerateRequest second = first;
  *second.add_messages() = TextMessage(v1::ROLE_ASSISTANT, answer);
  *second.add_messages() = TextMessage(v1::ROLE_USER, "And what else is there?");
  return second;
}

TEST(RoutingModeTest, APinnedDialogueReusesItsImageAndAnExactOneNever) {
  for (const bool pinned : {false, true}) {
    SCOPED_TRACE(pinned);
    TestServerConfig config;
    config.executor.model.capacity.image_bytes = 1 << 20;  // the cache has room for some
    TestServer server(config);
    v1::GenerateRequest request = ImageRequest("what is it?", 4);
    if (pinned) request.set_routing(v1::ROUTING_MODE_PIN_FIRST_TURN);
    const Answer first = Generate(server.stub(), request);
    ASSERT_TRUE(first.status.ok()) << first.status.error_message();
    const Answer second = Generate(server.stub(), SecondTurn(request, "a bird"));
    ASSERT_TRUE(second.status.ok()) << second.status.error_message();
    ASSERT_EQ(second.finish->routing_size(), 1);
    const int32_t image_tokens = second.finish->usage().image_tokens();
    if (pinned) {
      EXPECT_GT(second.finish->usage().cached_tokens(), image_tokens);
      EXPECT_EQ(second.finish->routing(0).cache_level(), v1::CACHE_LEVEL_KV);
      EXPECT_EQ(second.finish->routing(0).mode(), v1::ROUTING_MODE_PIN_FIRST_TURN);
    } else {
      EXPECT_LT(second.finish->usage().cached_tokens(), image_tokens);
      EXPECT_EQ(second.finish->routing(0).cache_level(), v1::CACHE_LEVEL_FEATURES);
      EXPECT_EQ(second.finish->routing(0).mode(), v1::ROUTING_MODE_EXACT);
    }
    server.ExpectIdle();
  }
}

TEST(CacheOptionsTest, EachCacheCanBeTurnedOff) {
  struct Case {
    bool prefixes = true;
    std::string images = "features";
    int64_t image_memory = int64_t{256} << 20;
    v1::CacheLevel level = v1::CACHE_LEVEL_NONE;
  };
  for (const Case& test : {Case{.level = v1::CACHE_LEVEL_KV},
                           Case{.prefixes = false, .level = v1::CACHE_LEVEL_FEATURES},
                           Case{.prefixes = false, .images = "off"},
                           Case{.prefixes = false, .image_memory = 0}}) {
    TestServerConfig config;
    config.executor.model.capacity.image_bytes = 1 << 20;
    config.options.enable_prefix_caching = test.prefixes;
    config.options.vision_cache_level = test.images;
    config.options.vision_cache_memory_bytes = test.image_memory;
    TestServer server(config);
    const v1::GenerateRequest request = ImageRequest("what is it?", 4);
    const Answer first = Generate(server.stub(), request);
    server.ExpectIdle();
    const Answer second = Generate(server.stub(), request);
    ASSERT_TRUE(second.status.ok()) << second.status.error_message();
    EXPECT_EQ(second.finish->routing(0).cache_level(), test.level);
    EXPECT_EQ(second.finish->usage().cached_tokens() > 0, test.prefixes);
    EXPECT_EQ(second.token_ids, first.token_ids);
    server.ExpectIdle();
  }
}

// Up to the question: the block that the image ends in belongs to it.
TEST(RoutingModeTest, GivenWeightsComeBackMarkedAndTheirImageIsReusedWithAnyQuestion) {
  TestServer server;
  const std::vector<float> given = {0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.03125f};
  const auto ask = [&](const std::string& question) {
    v1::GenerateRequest request = ImageRequest(question, 4);
    v1::Image* image = request.mutable_messages(0)->mutable_parts(1)->mutable_image();
    image->mutable_expert_weights()->Add(given.begin(), given.end());
    return Generate(server.stub(), request);
  };
  for (const std::string question : {"what is it?", "how many are there?"}) {
    const Answer answer = ask(question);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    ASSERT_EQ(answer.finish->routing_size(), 1);
    const v1::ImageRouting& routing = answer.finish->routing(0);
    EXPECT_THAT(routing.expert_weights(), ElementsAreArray(given));
    EXPECT_EQ(routing.mode(), v1::ROUTING_MODE_WEIGHTS);
    const v1::Usage& usage = answer.finish->usage();
    const bool is_first = question == "what is it?";
    EXPECT_GE(usage.cached_tokens(), is_first ? 0 : usage.image_tokens() - Options().block_size);
    EXPECT_LT(usage.cached_tokens(), is_first ? 1 : usage.prompt_tokens());
  }
  server.ExpectIdle();
}

}  // namespace
}  // namespace parrot
