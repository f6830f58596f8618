// What happens beside the good path and beside bad requests: limits of the transport, deadlines, a
// full queue, loading, credentials, reflection.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/raw_call.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using grpc::StatusCode;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Pair;

// -- The transport's limits -----------------------------------------------------------------------

TEST(TransportTest, AMessageOverTheLimitIsRefusedByNameAndTheServerGoesOn) {
  TestServerConfig config;
  config.options.grpc_max_message_bytes = 64 << 10;
  TestServer server(config);
  const Answer answer = Generate(server.stub(), TextRequest(std::string(100 << 10, 'a')));
  EXPECT_EQ(answer.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(answer.status.error_message(), HasSubstr("larger than max"));
  EXPECT_TRUE(Generate(server.stub(), TextRequest("good")).status.ok());
  server.ExpectIdle();
}

TEST(TransportTest, CompressedMessagesAreRefusedBecauseTheyMayGrowWithoutBound) {
  TestServer server;
  grpc::ClientContext context;
  SetDeadline(context);
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const Answer answer = Generate(server.stub(), TextRequest(std::string(8 << 20, 'a')), &context);
  EXPECT_EQ(answer.status.error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Generate(server.stub(), TextRequest("good")).status.ok());
}

TEST(TransportTest, MetadataOverTheLimitIsRefusedAndTheServerGoesOn) {
  TestServer server;
  grpc::ClientContext context;
  SetDeadline(context);
  context.AddMetadata("x-large", std::string(20000, 'm'));
  const Answer answer = Generate(server.stub(), TextRequest("hello"), &context);
  EXPECT_EQ(answer.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const auto other = v1::ParrotService::NewStub(server.Channel());
  EXPECT_TRUE(Generate(*other, TextRequest("good")).status.ok());
}

TEST(TransportTest, AnUnknownMethodIsUnimplemented) {
  TestServer server;
  grpc::ClientContext context;
  SetDeadline(context);
  EXPECT_EQ(CallRaw(server.Channel(), "Embed", "", context).error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST(TransportTest, ASecondServerOnTheSamePortIsToldSo) {
  TestServer first;
  Options options;
  options.model = "unused";
  options.http_port = 0;
  options.grpc_port = first.server().grpc_port();
  options.admin_address.clear();
  Logger logger({.level = LogLevel::kError, .sink = [](const std::string&) {}});
  const auto second = Server::Listen(options, {.logger = &logger});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("--grpc-port: cannot listen on 127.0.0.1:"));
  options.grpc_port = 0;
  options.http_port = first.server().http_port();
  const auto third = Server::Listen(options, {.logger = &logger});
  ASSERT_FALSE(third.ok());
  EXPECT_THAT(std::string(third.status().message()), HasSubstr("--http-port: cannot listen on"));
}

bool ReflectionAnswers(TestServer& server) {
  grpc::GenericStub stub(server.Channel());
  grpc::ClientContext context;
  SetDeadline(context);
  grpc::CompletionQueue queue;
  // ServerReflectionRequest{list_services: ""}
  const grpc::Slice request(std::string("\x3a\x00", 2));
  const grpc::ByteBuffer bytes(&request, 1);
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  if (ok) {
    call->WriteLast(bytes, grpc::WriteOptions(), nullptr);
    queue.Next(&tag, &ok);
  }
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  queue.Next(&tag, &ok);
  grpc::Slice slice;
  const bool has_response = ok && response.DumpToSingleSlice(&slice).ok();
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
  if (!has_response) return false;
  return absl::StrContains(std::string(reinterpret_cast<const char*>(slice.begin()), slice.size()),
                           "parrot.v1.ParrotService");
}

TEST(TransportTest, ReflectionIsOnForLoopbackAndOffWhenSwitchedOff) {
  TestServer by_default;
  EXPECT_TRUE(ReflectionAnswers(by_default));
  TestServerConfig config;
  config.options.enable_reflection = "false";
  TestServer without(config);
  EXPECT_FALSE(ReflectionAnswers(without));
}

// -- Deadlines and queues -------------------------------------------------------------------------

TEST(DeadlineTest, WithoutADeadlineTheServersDefaultHolds) {
  TestServerConfig config;
  config.options.request_timeout = absl::Milliseconds(300);
  TestServer server(config);
  server.executor().SetPaused(true);
  grpc::ClientContext context;  // no deadline
  const Answer answer = Generate(server.stub(), TextRequest("hello"), &context);
  EXPECT_EQ(answer.status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(DetailsOf(answer.status).error->reason(), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(DetailsOf(answer.status).request.has_value());
  server.executor().SetPaused(false);
  server.ExpectIdle();
}

TEST(DeadlineTest, ADeadlineThatHasPassedCostsNoStep) {
  TestServer server;
  const int64_t steps = server.executor().counts().num_steps;
  grpc::ClientContext context;
  SetDeadline(context, absl::Milliseconds(-100));
  const Answer answer = Generate(server.stub(), TextRequest("hello"), &context);
  EXPECT_EQ(answer.status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  server.ExpectIdle();
  EXPECT_EQ(server.executor().counts().num_steps, steps);
}

TEST(DeadlineTest, TheClientsDeadlineEndsTheWorkInTheMiddle) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(20);
  TestServer server(config);
  grpc::ClientContext context;
  SetDeadline(context, absl::Milliseconds(500));
  const Answer answer = Generate(server.stub(), TextRequest("hello", 1000), &context);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_DEADLINE);
  EXPECT_GT(answer.token_ids.size(), 0u);
  EXPECT_LT(answer.token_ids.size(), 30u);
  server.ExpectIdle();
}

TEST(OverloadTest, AFullQueueIsRefusedAtOnceWithTheTimeToRetry) {
  TestServerConfig config;
  config.options.max_num_seqs = 1;
  config.options.max_queue_size = 1;
  TestServer server(config);
  server.executor().SetPaused(true);
  std::vector<std::thread> clients;
  std::vector<Answer> answers(2);
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([&, i] { answers[i] = Generate(server.stub(), TextRequest("wait")); });
  }
  // One runs, one waits: then there is no room.
  Answer refused;
  std::multimap<std::string, std::string> trailers;
  std::multimap<std::string, std::string> initial;
  while (server.frontend().load().num_running + server.frontend().load().num_waiting < 2) {
    std::this_thread::yield();
  }
  grpc::ClientContext context;
  SetDeadline(context);
  context.AddMetadata("x-request-id", "refused-1");
  refused = Generate(server.stub(), TextRequest("no room"), &context);
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const Details details = DetailsOf(refused.status);
  EXPECT_EQ(details.error->reason(), "QUEUE_FULL");
  ASSERT_TRUE(details.retry.has_value());
  trailers = Trailers(context);
  EXPECT_THAT(trailers, Contains(Pair("x-request-id", "refused-1")));
  EXPECT_THAT(trailers, Contains(Key("grpc-retry-pushback-ms")));
  int64_t pushback_ms = 0;
  EXPECT_TRUE(absl::SimpleAtoi(trailers.find("grpc-retry-pushback-ms")->second, &pushback_ms));
  EXPECT_GT(pushback_ms, 0);
  // Trailers-Only: without it clients may not retry.
  EXPECT_THAT(InitialMetadata(context), testing::Not(Contains(Key("x-request-id"))));
  server.executor().SetPaused(false);
  for (std::thread& client : clients) client.join();
  for (const Answer& answer : answers) EXPECT_TRUE(answer.status.ok());
  server.ExpectIdle();
}

// -- Loading and health ---------------------------------------------------------------------------

grpc::health::v1::HealthCheckResponse::ServingStatus Check(TestServer& server,
                                                           const std::string& service,
                                                           grpc::Status* status = nullptr) {
  const auto stub = grpc::health::v1::Health::NewStub(server.Channel());
  grpc::ClientContext context;
  SetDeadline(context);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status result = stub->Check(&context, request, &response);
  if (status != nullptr) *status = result;
  return response.status();
}

using Health = grpc::health::v1::HealthCheckResponse;

TEST(LoadingTest, WhileTheModelLoadsThePortsAnswerAndNothingIsServed) {
  TestServerConfig config;
  config.serve = false;
  TestServer server(config);
  EXPECT_EQ(Check(server, ""), Health::NOT_SERVING);
  EXPECT_EQ(Check(server, "readiness"), Health::NOT_SERVING);
  EXPECT_EQ(Check(server, "liveness"), Health::SERVING);
  int http = 0;
  EXPECT_EQ(server.HttpGet("/health", &http), "{\"status\":\"starting\"}\n");
  EXPECT_EQ(http, 503);
  server.HttpGet("/metrics", &http);
  EXPECT_EQ(http, 503);
  server.HttpGet("/version", &http);
  EXPECT_EQ(http, 200);
  for (const char* method :
       {"Generate", "GenerateUnary", "Route", "Tokenize", "CountTokens", "GetModelInfo"}) {
    grpc::ClientContext context;
    SetDeadline(context);
    const grpc::Status status = CallRaw(server.Channel(), method, "", context);
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << method;
    EXPECT_EQ(DetailsOf(status).error->reason(), "LOADING") << method;
    EXPECT_THAT(Trailers(context), Contains(Pair("grpc-retry-pushback-ms", "1000"))) << method;
  }
  server.Serve();
  EXPECT_EQ(Check(server, ""), Health::SERVING);
  EXPECT_EQ(Check(server, "parrot.v1.ParrotService"), Health::SERVING);
  EXPECT_EQ(server.HttpGet("/health", &http), "{\"status\":\"ready\"}\n");
  EXPECT_EQ(http, 200);
  EXPECT_TRUE(Generate(server.stub(), TextRequest("good")).status.ok());
}

TEST(LoadingTest, AClientWithARetryPolicyOutlastsTheLoading) {
  TestServerConfig config;
  config.serve = false;
  config.options.log_requests = true;
  TestServer server(config);
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{"service":
      "parrot.v1.ParrotService"}], "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.1s",
      "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
  const auto stub = v1::ParrotService::NewStub(server.Channel(arguments));
  Answer answer;
  std::thread client([&] { answer = Generate(*stub, TextRequest("hello")); });
  while (!server.log().Contains("code=UNAVAILABLE")) std::this_thread::yield();
  server.Serve();
  client.join();
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
}

TEST(HealthTest, ChecksOfUnknownServicesAreNotFound) {
  TestServer server;
  grpc::Status status;
  Check(server, "nobody", &status);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
}

TEST(HealthTest, AWatchOfAnUnknownServiceStaysOpen) {
  TestServer server;
  const auto stub = grpc::health::v1::Health::NewStub(server.Channel());
  grpc::ClientContext context;
  SetDeadline(context);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("nobody");
  const auto watch = stub->Watch(&context, request);
  Health response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), Health::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), StatusCode::CANCELLED);
}

TEST(HealthTest, ADeadEngineTurnsEverythingNotServing) {
  TestServer server;
  const auto stub = grpc::health::v1::Health::NewStub(server.Channel());
  grpc::ClientContext context;
  SetDeadline(context);
  const auto watch = stub->Watch(&context, {});
  Health response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), Health::SERVING);
  server.executor().FailNextSteps(100, absl::UnavailableError("the device is gone"));
  const Answer answer = Generate(server.stub(), TextRequest("hello"));
  EXPECT_EQ(answer.status.error_code(), StatusCode::UNAVAILABLE) << answer.status.error_message();
  EXPECT_FALSE(server.server().Wait().ok());
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), Health::NOT_SERVING);
  EXPECT_EQ(Check(server, "liveness"), Health::NOT_SERVING);
  int http = 0;
  EXPECT_EQ(server.HttpGet("/health", &http), "{\"status\":\"failed\"}\n");
  EXPECT_EQ(http, 503);
  const Answer later = Generate(server.stub(), TextRequest("hello"));
  EXPECT_EQ(later.status.error_code(), StatusCode::UNAVAILABLE);
}

TEST(HealthTest, AStepThatNeverEndsEndsTheServer) {
  TestServerConfig config;
  config.options.step_timeout = absl::Milliseconds(300);
  TestServer server(config);
  server.executor().SetPaused(true);
  Answer answer;
  std::thread client([&] { answer = Generate(server.stub(), TextRequest("hello")); });
  EXPECT_THAT(std::string(server.server().Wait().message()), HasSubstr("a step runs for longer"));
  server.server().Abandon();
  client.join();
  EXPECT_EQ(answer.status.error_code(), StatusCode::UNAVAILABLE) << answer.status.error_message();
  server.executor().SetPaused(false);
}

// -- Credentials ----------------------------------------------------------------------------------

class ApiKeyTest : public testing::Test {
 protected:
  ApiKeyTest() : file_(testing::TempDir() + "/parrot_keys_" + std::to_string(getpid())) {
    std::ofstream(file_) << "# keys\nalice:secret-1\n\nsecret-2\n";
    TestServerConfig config;
    config.options.api_key_file = file_;
    config.options.log_requests = true;
    server_ = std::make_unique<TestServer>(config);
  }
  ~ApiKeyTest() override { std::remove(file_.c_str()); }

  grpc::Status CallWith(const std::string& authorization, const std::string& bytes) {
    grpc::ClientContext context;
    SetDeadline(context);
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    return CallRaw(server_->Channel(), "GenerateUnary", bytes, context);
  }

  const std::string file_;
  std::unique_ptr<TestServer> server_;
};

TEST_F(ApiKeyTest, AKeyOfTheFileIsLetIn) {
  const std::string good = TextRequest("hello").SerializeAsString();
  EXPECT_TRUE(CallWith("Bearer secret-1", good).ok());
  EXPECT_TRUE(CallWith("Bearer secret-2", good).ok());
  server_->ExpectIdle();
  EXPECT_TRUE(server_->log().Contains("tenant=alice"));
  EXPECT_FALSE(server_->log().Contains("secret"));
}

TEST_F(ApiKeyTest, AllElseGetsOneConstantAnswerBeforeItsBytesAreLookedAt) {
  std::string message;
  for (const char* authorization : {"",
                                    "Bearer",
                                    "Bearer wrong",
                                    "Bearer secret-",
                                    "secret-1",
                                    "Basic c2VjcmV0LTE=",
                                    "Bearer alice:secret-1"}) {
    const grpc::Status status = CallWith(authorization, "\xff\xff\xff");
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << authorization;
    if (message.empty()) message = status.error_message();
    EXPECT_EQ(status.error_message(), message) << authorization;
  }
  EXPECT_FALSE(message.empty());
  server_->ExpectIdle();
}

TEST_F(ApiKeyTest, KeysChangeWhileTheServerRunsAndABadFileChangesNothing) {
  const std::string good = TextRequest("hello").SerializeAsString();
  std::ofstream(file_) << "not a key\n";
  WaitUntil([&] { return server_->log().Contains("api_keys_not_reloaded"); });
  EXPECT_TRUE(CallWith("Bearer secret-1", good).ok());
  std::ofstream(file_) << "bob:secret-3\n";
  WaitUntil([&] { return CallWith("Bearer secret-3", good).ok(); });
  EXPECT_EQ(CallWith("Bearer secret-1", good).error_code(), StatusCode::UNAUTHENTICATED);
}

TEST_F(ApiKeyTest, ProbesNeedNoKey) { EXPECT_EQ(Check(*server_, "readiness"), Health::SERVING); }

TEST(TenantTest, TheHeaderIsReadOnlyIfItIsTrusted) {
  for (const bool trusted : {false, true}) {
    TestServerConfig config;
    config.options.trust_tenant_header = trusted;
    config.options.log_requests = true;
    TestServer server(config);
    grpc::ClientContext context;
    SetDeadline(context);
    context.AddMetadata("x-parrot-tenant", "bob");
    EXPECT_TRUE(Generate(server.stub(), TextRequest("hello"), &context).status.ok());
    ASSERT_TRUE(server.Shutdown());
    EXPECT_EQ(server.log().Contains("tenant=bob"), trusted);
  }
}

}  // namespace
}  // namespace parrot
