// The good path of every method, through a real channel.
#include <cmath>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "parrot/v1/control.grpc.pb.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using ::testing::Contains;
using ::testing::ElementsAreArray;
using ::testing::Pair;

constexpr int kImageTokens = 257;  // nano-gqa: 224 pixels, patches of 14

TEST(GenerateTest, StreamsAcceptedThenDeltasThenOneFinish) {
  TestServer server;
  const Answer answer = Generate(server.stub(), TextRequest("hello", 8));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_TRUE(answer.accepted.has_value());
  EXPECT_EQ(answer.accepted->model(), "nano-gqa");
  EXPECT_FALSE(answer.accepted->request_id().empty());
  EXPECT_GT(answer.accepted->usage().prompt_tokens(), 0);
  EXPECT_EQ(answer.token_ids.size(), 8u);
  ASSERT_TRUE(answer.finish.has_value());
  EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.finish->usage().completion_tokens(), 8);
  EXPECT_EQ(answer.finish->usage().prompt_tokens(), answer.accepted->usage().prompt_tokens());
  EXPECT_GT(answer.finish->timings().total(), 0);
  EXPECT_EQ(answer.finish->routing_size(), 0);
  server.ExpectIdle();
}

TEST(GenerateTest, AnswersAQuestionAboutAPictureWithItsRoutingWeights) {
  TestServer server;
  const Answer answer = Generate(server.stub(), ImageRequest("what is it?", 4));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_TRUE(answer.finish.has_value());
  EXPECT_EQ(answer.finish->usage().image_tokens(), kImageTokens);
  EXPECT_EQ(answer.finish->usage().text_tokens() + kImageTokens,
            answer.finish->usage().prompt_tokens());
  ASSERT_EQ(answer.finish->routing_size(), 1);
  const v1::ImageRouting& routing = answer.finish->routing(0);
  ASSERT_EQ(routing.expert_weights_size(), 6);
  float sum = 0;
  for (const float weight : routing.expert_weights()) sum += weight;
  EXPECT_NEAR(sum, 1.0f, 1e-5f);
  EXPECT_NEAR(routing.entropy(), std::log(6.0), 1e-5);
  EXPECT_EQ(routing.cache_level(), v1::CACHE_LEVEL_NONE);
  server.ExpectIdle();
}

TEST(GenerateTest, StopsAtTheStopTokenAndNamesIt) {
  TestServerConfig config;
  config.executor.model.next_token = [](const std::vector<TokenId>& ids) -> TokenId {
    return ids.back() == 77 ? 88 : 77;
  };
  TestServer server(config);
  v1::GenerateRequest request = TextRequest("hello", 8);
  request.mutable_stop()->add_stop_token_ids(88);
  const Answer answer = Generate(server.stub(), request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finish->stop_token_id(), 88);
  EXPECT_THAT(answer.token_ids, ElementsAreArray({77}));
  EXPECT_EQ(answer.finish->usage().completion_tokens(), 1);
  server.ExpectIdle();
}

TEST(GenerateTest, UnaryGivesTheTokensOfTheStream) {
  TestServer server;
  const v1::GenerateRequest request = ImageRequest("what is it?", 6);
  const Answer streamed = Generate(server.stub(), request);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GenerateUnaryResponse response;
  const grpc::Status status = server.stub().GenerateUnary(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.outputs_size(), 1);
  const v1::Output& output = response.outputs(0);
  EXPECT_THAT(output.token_ids(), ElementsAreArray(streamed.token_ids));
  EXPECT_EQ(output.text(), streamed.text);
  EXPECT_EQ(output.finish().usage().completion_tokens(), 6);
  EXPECT_EQ(output.finish().routing_size(), 1);
  EXPECT_EQ(response.model(), "nano-gqa");
  EXPECT_FALSE(response.request_id().empty());
  server.ExpectIdle();
}

TEST(GenerateTest, RouteGivesWeightsAndNoTokens) {
  TestServerConfig config;
  config.executor.model.routing_weights = {0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.03125f};
  TestServer server(config);
  v1::RouteRequest request;
  *request.mutable_messages() = ImageRequest("hello").messages();
  grpc::ClientContext context;
  SetDeadline(context);
  v1::RouteResponse response;
  const grpc::Status status = server.stub().Route(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.routing_size(), 1);
  EXPECT_THAT(response.routing(0).expert_weights(),
              ElementsAreArray(config.executor.model.routing_weights));
  EXPECT_EQ(response.usage().image_tokens(), kImageTokens);
  EXPECT_EQ(response.usage().completion_tokens(), 0);
  server.ExpectIdle();
}

TEST(GenerateTest, TokenizesPlainTextWithoutControlTokens) {
  TestServer server;
  v1::TokenizeRequest request;
  request.set_text("<|im_start|>hello");
  grpc::ClientContext context;
  SetDeadline(context);
  v1::TokenizeResponse response;
  const grpc::Status status = server.stub().Tokenize(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(response.token_ids_size(), 1);
  for (const int32_t id : response.token_ids()) EXPECT_LT(id, 2500);  // specials are above
  EXPECT_EQ(response.model(), "nano-gqa");
}

TEST(GenerateTest, CountsTheTokensThatGenerateUses) {
  TestServer server;
  const v1::GenerateRequest request = ImageRequest("what is it?", 1);
  v1::CountTokensRequest count;
  *count.mutable_messages() = request.messages();
  grpc::ClientContext context;
  SetDeadline(context);
  v1::CountTokensResponse response;
  const grpc::Status status = server.stub().CountTokens(&context, count, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const Answer answer = Generate(server.stub(), request);
  EXPECT_EQ(response.usage().prompt_tokens(), answer.accepted->usage().prompt_tokens());
  EXPECT_EQ(response.usage().image_tokens(), kImageTokens);
  EXPECT_EQ(response.max_model_len(), 2048);
}

TEST(GenerateTest, ModelInfoStatesSizesAndLimits) {
  TestServerConfig config;
  config.options.served_model_names = {"first", "second"};
  config.options.max_images_per_prompt = 3;
  TestServer server(config);
  v1::GetModelInfoRequest request;
  request.set_model("second");
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GetModelInfoResponse info;
  const grpc::Status status = server.stub().GetModelInfo(&context, request, &info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.model(), "second");
  EXPECT_THAT(info.served_names(), ElementsAreArray({"first", "second"}));
  EXPECT_EQ(info.image_tokens(), kImageTokens);
  EXPECT_EQ(info.image_size(), 224);
  EXPECT_EQ(info.num_experts(), 6);
  EXPECT_EQ(info.dtype(), "float32");
  EXPECT_EQ(info.limits().max_images(), 3);
  EXPECT_EQ(info.limits().max_receive_message_bytes(), 16 << 20);
  EXPECT_EQ(info.limits().max_wire_fields(), 4096);
  EXPECT_THAT(info.unsupported_options(), Contains("json_schema"));
}

TEST(GenerateTest, EchoesTheRequestIdInMetadataMessageAndTrailers) {
  TestServer server;
  grpc::ClientContext context;
  SetDeadline(context);
  context.AddMetadata("x-request-id", "my-id-1");
  const Answer answer = Generate(server.stub(), TextRequest("hello"), &context);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.accepted->request_id(), "my-id-1");
  EXPECT_THAT(InitialMetadata(context), testing::Contains(Pair("x-request-id", "my-id-1")));
  EXPECT_THAT(Trailers(context), testing::Contains(Pair("x-request-id", "my-id-1")));
}

TEST(GenerateTest, ThirtyTwoClientsAtOnceGetTheTokensThatEachGetsAlone) {
  constexpr int kClients = 32;
  TestServerConfig config;
  config.options.max_queue_size = kClients;
  TestServer server(config);
  std::vector<v1::GenerateRequest> requests;
  std::vector<Answer> alone;
  for (int i = 0; i < kClients; ++i) {
    const std::string text = "question number " + std::to_string(i);
    requests.push_back(i % 2 == 0 ? ImageRequest(text, 12) : TextRequest(text, 12));
    alone.push_back(Generate(server.stub(), requests.back()));
    ASSERT_TRUE(alone.back().status.ok()) << alone.back().status.error_message();
  }
  std::vector<Answer> together(kClients);
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      const auto stub = v1::ParrotService::NewStub(server.Channel());
      together[i] = Generate(*stub, requests[i]);
    });
  }
  for (std::thread& client : clients) client.join();
  for (int i = 0; i < kClients; ++i) {
    ASSERT_TRUE(together[i].status.ok()) << i << ": " << together[i].status.error_message();
    EXPECT_EQ(together[i].token_ids, alone[i].token_ids) << i;
    EXPECT_EQ(together[i].text, alone[i].text) << i;
  }
  EXPECT_GT(server.executor().counts().max_step_spans, 1);  // they did share steps
  server.ExpectIdle();
}

TEST(GenerateTest, TheAdminPortTellsStateAndConfigurationAndThePublicPortDoesNot) {
  TestServer server;
  const auto channel =
      grpc::CreateChannel(server.admin_address(), grpc::InsecureChannelCredentials());
  const auto stub = v1::ParrotControlService::NewStub(channel);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GetServerInfoResponse info;
  const grpc::Status status = stub->GetServerInfo(&context, {}, &info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.state(), v1::SERVER_STATE_READY);
  EXPECT_EQ(info.server_version(), ServerVersion());
  EXPECT_EQ(info.model().model(), "nano-gqa");
  EXPECT_EQ(info.num_kv_blocks_total(), 256);
  EXPECT_EQ(info.num_kv_blocks_used(), 0);
  EXPECT_EQ(info.config().at("max-num-seqs"), "8");

  const auto public_stub = v1::ParrotControlService::NewStub(server.Channel());
  grpc::ClientContext public_context;
  SetDeadline(public_context);
  EXPECT_EQ(public_stub->GetServerInfo(&public_context, {}, &info).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace parrot
