// ParrotControlService on the admin port of a server that works.
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "parrot/v1/control.grpc.pb.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using grpc::StatusCode;
using Control = v1::ParrotControlService::Stub;

std::unique_ptr<Control> ControlOf(const TestServer& server) {
  return v1::ParrotControlService::NewStub(
      grpc::CreateChannel(server.admin_address(), grpc::InsecureChannelCredentials()));
}

// One unary call of the service.
template <typename Request, typename Response>
grpc::Status Call(Control& control,
                  grpc::Status (Control::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request = {},
                  Response* response = nullptr) {
  grpc::ClientContext context;
  SetDeadline(context);
  Response ignored;
  return (control.*method)(&context, request, response == nullptr ? &ignored : response);
}

int32_t Abort(Control& control, const std::vector<std::string>& ids) {
  v1::AbortRequest request;
  request.mutable_request_ids()->Add(ids.begin(), ids.end());
  v1::AbortResponse response;
  const grpc::Status status = Call(control, &Control::Abort, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.num_aborted();
}

v1::GetLoadResponse Load(Control& control) {
  v1::GetLoadResponse response;
  const grpc::Status status = Call(control, &Control::GetLoad, v1::GetLoadRequest(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

// Streams that run beside the test, each on a connection of its own.
class Clients {
 public:
  explicit Clients(TestServer& server) : server_(server) {}
  ~Clients() { Join(); }

  void Send(const v1::GenerateRequest& request) {
    answers_.push_back(std::make_unique<Answer>());
    threads_.emplace_back([this, request, answer = answers_.back().get()] {
      const auto stub = v1::ParrotService::NewStub(server_.Channel());
      *answer = Generate(*stub, request);
    });
    const auto expected = static_cast<int32_t>(answers_.size());
    WaitUntil([&] {
      const EngineLoad load = server_.frontend().load();
      return load.num_running + load.num_waiting == expected;
    });
  }
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  const Answer& answer(int i) const { return *answers_[i]; }

 private:
  TestServer& server_;
  std::vector<std::unique_ptr<Answer>> answers_;
  std::vector<std::thread> threads_;
};

v1::GenerateRequest Named(const std::string& id, int32_t max_tokens = 4) {
  v1::GenerateRequest request = TextRequest("hello", max_tokens);
  request.set_request_id(id);
  return request;
}

TEST(MetricsTest, AFreshServerHasCountedNothingUnderAnyName) {
  TestServerConfig config;
  config.options.metrics_compat = "vllm";
  TestServer server(config);
  int num_counters = 0;
  int num_vllm_counters = 0;
  const std::vector<std::string> lines = absl::StrSplit(server.HttpGet("/metrics"), '\n');
  for (const std::string& line : lines) {
    const std::string name = line.substr(0, line.find_first_of(" {"));
    if (!name.ends_with("_total") && !name.ends_with("_count")) continue;
    // The step that frees the warm-up's slot may come after it.
    if (name == "parrot_engine_steps_total") continue;
    ++num_counters;
    if (name.starts_with("vllm:")) ++num_vllm_counters;
    EXPECT_TRUE(line.ends_with(" 0")) << line;
  }
  EXPECT_GT(num_counters, 50);
  EXPECT_GT(num_vllm_counters, 20);
}

TEST(MetricsTest, OfARequestAllNamesTellTheSame) {
  TestServerConfig config;
  config.options.metrics_compat = "vllm";
  config.options.served_model_names = {"parrot"};
  TestServer server(config);
  ASSERT_TRUE(Generate(server.stub(), ImageRequest("what is it?", 9)).status.ok());
  server.ExpectIdle();
  const std::string page = server.HttpGet("/metrics");
  const std::string labels = "{engine=\"0\",model_name=\"parrot\"} ";
  for (const char* line : {"parrot_generation_tokens_total 9\n",
                           "parrot_request_generation_tokens_sum 9\n",
                           "parrot_stage_seconds_count{stage=\"clip\"} 1\n",
                           "parrot_stage_seconds_count{stage=\"decode_image\"} 1\n",
                           "parrot_stage_seconds_count{stage=\"detokenize\"} 1\n",
                           "parrot_image_cache_queries_total{level=\"kv\"} 1\n",
                           "parrot_image_cache_queries_total{level=\"features\"} 1\n"}) {
    EXPECT_TRUE(absl::StrContains(page, line)) << line;
  }
  for (const auto& [name, value] : {std::pair("generation_tokens_total", 9),
                                    std::pair("request_generation_tokens_sum", 9),
                                    std::pair("request_params_max_tokens_sum", 9),
                                    std::pair("request_params_n_sum", 1),
                                    std::pair("mm_cache_queries_total", 1),
                                    std::pair("time_to_first_token_seconds_count", 1),
                                    std::pair("inter_token_latency_seconds_count", 8)}) {
    const std::string line = absl::StrCat("vllm:", name, labels, value, "\n");
    EXPECT_TRUE(absl::StrContains(page, line)) << line;
  }
}

TEST(ControlTest, TheLoadTellsWhatStepsAreExpectedToTake) {
  TestServer server;
  const auto control = ControlOf(server);
  ASSERT_TRUE(Generate(server.stub(), TextRequest("hello", 50)).status.ok());
  const v1::StepTimePrediction prediction = Load(*control).prediction();
  EXPECT_GT(prediction.steps_observed(), 40);
  EXPECT_GT(prediction.step_seconds() + prediction.token_seconds(), 0.0);
  EXPECT_GT(prediction.mean_relative_error(), 0.0);
}

TEST(ControlTest, AbortEndsEveryRequestOfAnIdOnce) {
  TestServerConfig config;
  config.options.max_num_seqs = 2;  // of four requests, two run and two wait
  TestServer server(config);
  const auto control = ControlOf(server);
  server.executor().SetPaused(true);
  Clients clients(server);
  for (const char* id : {"twice", "kept", "twice", "once"}) clients.Send(Named(id));
  EXPECT_EQ(Abort(*control, {"twice", "once", "never"}), 3);
  EXPECT_EQ(Abort(*control, {"twice", "once", "never"}), 0);
  server.executor().SetPaused(false);
  clients.Join();
  for (const int i : {0, 2, 3}) {
    EXPECT_EQ(clients.answer(i).status.error_code(), StatusCode::CANCELLED);
    EXPECT_EQ(DetailsOf(clients.answer(i).status).error->reason(), "ABORTED");
    EXPECT_EQ(clients.answer(i).num_messages, 0);
  }
  EXPECT_TRUE(clients.answer(1).status.ok()) << clients.answer(1).status.error_message();
  EXPECT_EQ(Abort(*control, {"kept"}), 0);  // it has ended
  server.ExpectIdle();
}

TEST(ControlTest, AbortOfAStreamThatRunsFinishesItFirst) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(5);
  TestServer server(config);
  const auto control = ControlOf(server);
  Clients clients(server);
  clients.Send(Named("a", 1500));
  WaitUntil([&] { return server.frontend().load().num_generated_tokens > 5; });
  WaitUntil([&] { return Abort(*control, {"a"}) == 1; });
  clients.Join();
  const Answer& answer = clients.answer(0);
  EXPECT_EQ(answer.status.error_code(), StatusCode::CANCELLED);
  ASSERT_TRUE(answer.finish.has_value());
  EXPECT_EQ(answer.finish->finish_reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(answer.finish->usage().completion_tokens(),
            static_cast<int32_t>(answer.token_ids.size()));
  server.ExpectIdle();
}

TEST(ControlTest, APausedServerTakesRequestsAndServesThemAfterwards) {
  TestServerConfig config;
  config.options.max_num_seqs = 1;
  TestServer server(config);
  const auto control = ControlOf(server);
  for (int i = 0; i < 2; ++i) {  // idempotent
    EXPECT_TRUE(Call(*control, &Control::Pause, v1::PauseRequest()).ok());
  }
  WaitUntil([&] { return Load(*control).paused(); });
  const int64_t steps = Load(*control).steps_total();
  Clients clients(server);
  clients.Send(Named("a"));
  clients.Send(Named("b"));
  v1::GetLoadResponse load = Load(*control);
  EXPECT_EQ(load.state(), v1::SERVER_STATE_READY);
  EXPECT_EQ(load.num_requests_live(), 2);
  EXPECT_EQ(load.num_requests_running() + load.num_requests_waiting(), 2);
  EXPECT_EQ(load.steps_total(), steps);
  EXPECT_EQ(load.step_in_flight_seconds(), 0.0);
  EXPECT_EQ(Abort(*control, {"b"}), 1);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Call(*control, &Control::Resume, v1::ResumeRequest()).ok());
  }
  clients.Join();
  EXPECT_TRUE(clients.answer(0).status.ok()) << clients.answer(0).status.error_message();
  EXPECT_EQ(clients.answer(1).status.error_code(), StatusCode::CANCELLED);
  server.ExpectIdle();
  load = Load(*control);
  EXPECT_FALSE(load.paused());
  EXPECT_EQ(load.num_requests_live(), 0);
  EXPECT_EQ(load.num_kv_blocks_total(), config.num_blocks);
  EXPECT_EQ(load.num_kv_blocks_used(), 0);
  EXPECT_GT(load.steps_total(), steps);
  EXPECT_GE(load.generation_tokens_total(), 4);
  EXPECT_TRUE(server.log().Contains("pause"));
}

TEST(ControlTest, FlushForgetsPrefixesAndImages) {
  TestServerConfig config;
  config.executor.model.capacity.image_bytes = 1 << 20;
  TestServer server(config);
  const auto control = ControlOf(server);
  const v1::GenerateRequest request = ImageRequest("what is it?", 4);
  EXPECT_EQ(Generate(server.stub(), request).finish->usage().cached_tokens(), 0);
  EXPECT_GT(Generate(server.stub(), request).finish->usage().cached_tokens(), 0);
  server.ExpectIdle();
  v1::GetLoadResponse load = Load(*control);
  EXPECT_GT(load.num_kv_blocks_cached(), 0);
  EXPECT_GT(load.num_cached_images(), 0);
  EXPECT_GT(load.prefix_hit_tokens_total(), 0);
  EXPECT_LT(load.prefix_hit_tokens_total(), load.prefix_query_tokens_total());
  EXPECT_TRUE(Call(*control, &Control::FlushCache, v1::FlushCacheRequest()).ok());
  WaitUntil([&] {
    load = Load(*control);
    return load.num_kv_blocks_cached() == 0 && load.num_cached_images() == 0;
  });
  const Answer cold = Generate(server.stub(), request);
  EXPECT_EQ(cold.finish->usage().cached_tokens(), 0);
  EXPECT_EQ(cold.finish->routing(0).cache_level(), v1::CACHE_LEVEL_NONE);
}

TEST(ControlTest, DrainAnswersWhenTheLastRequestHasEnded) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(2);
  TestServer server(config);
  const auto control = ControlOf(server);
  EXPECT_TRUE(Call(*control, &Control::Pause, v1::PauseRequest()).ok());
  Clients clients(server);
  for (const char* id : {"a", "b", "c"}) clients.Send(Named(id, 20));
  v1::DrainResponse drained;
  const grpc::Status status = Call(*control, &Control::Drain, v1::DrainRequest(), &drained);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(drained.all_finished());
  EXPECT_EQ(server.frontend().live_requests(), 0);
  clients.Join();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(clients.answer(i).status.ok()) << clients.answer(i).status.error_message();
    EXPECT_EQ(clients.answer(i).token_ids.size(), 20u);
  }
  const Answer late = Generate(server.stub(), TextRequest("late"));
  EXPECT_EQ(late.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailsOf(late.status).error->reason(), "DRAINING");
  EXPECT_EQ(Load(*control).state(), v1::SERVER_STATE_DRAINING);
  // Again: nothing is left to wait for.
  EXPECT_TRUE(Call(*control, &Control::Drain, v1::DrainRequest(), &drained).ok());
  EXPECT_TRUE(drained.all_finished());
  server.ExpectIdle();
}

TEST(ControlTest, DrainCutsWhatIsLeftAtItsTimeout) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(20);
  TestServer server(config);
  const auto control = ControlOf(server);
  Clients clients(server);
  clients.Send(Named("long", 1500));
  v1::DrainRequest request;
  request.set_timeout_ms(50);
  v1::DrainResponse drained;
  const grpc::Status status = Call(*control, &Control::Drain, request, &drained);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(drained.all_finished());
  clients.Join();
  EXPECT_EQ(clients.answer(0).status.error_code(), StatusCode::UNAVAILABLE);
  server.ExpectIdle();
}

TEST(ControlTest, BadArgumentsAreNamed) {
  TestServer server;
  const auto control = ControlOf(server);
  v1::AbortRequest abort;
  const grpc::Status none = Call(*control, &Control::Abort, abort);
  for (int i = 0; i < 1025; ++i) abort.add_request_ids(std::string(1, 'x'));
  const grpc::Status many = Call(*control, &Control::Abort, abort);
  for (const grpc::Status& status : {none, many}) {
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(DetailsOf(status).bad_request->field_violations(0).field(), "request_ids");
  }
  v1::DrainRequest drain;
  for (const int64_t timeout_ms : {int64_t{-1}, int64_t{86400001}}) {
    drain.set_timeout_ms(timeout_ms);
    const grpc::Status status = Call(*control, &Control::Drain, drain);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(DetailsOf(status).bad_request->field_violations(0).field(), "timeout_ms");
  }
  EXPECT_EQ(Load(*control).state(), v1::SERVER_STATE_READY);  // nothing was drained
}

TEST(ControlTest, WhileTheModelLoadsThereIsNothingToControl) {
  TestServer server({.serve = false});
  const auto control = ControlOf(server);
  const std::vector<grpc::Status> statuses = {
      Call(*control, &Control::GetLoad, v1::GetLoadRequest()),
      Call(*control, &Control::Abort, v1::AbortRequest()),
      Call(*control, &Control::Drain, v1::DrainRequest()),
      Call(*control, &Control::Pause, v1::PauseRequest()),
      Call(*control, &Control::Resume, v1::ResumeRequest()),
      Call(*control, &Control::FlushCache, v1::FlushCacheRequest())};
  for (const grpc::Status& status : statuses) {
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(DetailsOf(status).error->reason(), "LOADING");
  }
  EXPECT_TRUE(Call(*control, &Control::GetServerInfo, v1::GetServerInfoRequest()).ok());
}

}  // namespace
}  // namespace parrot
