#include "tests/e2e/bench/test_server.h"

#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "model/weights/checkpoint.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/server/http_client/http_client.h"

namespace parrot {
namespace {

const std::string kCheckpoint = GoldenPath("checkpoints/nano-gqa");
constexpr absl::Duration kIdleTimeout = absl::Seconds(60);

FakeExecutorOptions ExecutorOptions(const TestServerConfig& config, const ModelConfig& model) {
  FakeExecutorOptions executor = config.executor;
  executor.own_thread = true;
  ExecutorCapacity& capacity = executor.model.capacity;
  capacity.num_blocks = config.num_blocks;
  capacity.block_size = config.options.block_size;
  capacity.max_slots = config.options.max_num_seqs;
  capacity.max_step_tokens = config.options.max_num_batched_tokens;
  capacity.max_step_images = config.options.max_images_per_step;
  capacity.max_steps_in_flight = 1;
  capacity.image_tokens = model.vision.num_tokens();
  capacity.num_experts = model.moe.num_experts;
  capacity.num_vision_layers = model.vision.num_used_layers();
  // Below the special tokens: an answer ends at max_tokens unless a test scripts it.
  if (executor.model.vocab_size == FakeModelOptions().vocab_size) executor.model.vocab_size = 2000;
  return executor;
}

Options TestOptions(Options options) {
  options.model = kCheckpoint;
  options.http_port = 0;
  options.grpc_port = 0;
  if (!options.admin_address.empty()) options.admin_address = "127.0.0.1:0";
  return options;
}

}  // namespace

void LogLines::Add(const std::string& line) {
  absl::MutexLock lock(&mutex_);
  lines_.push_back(line);
}

std::vector<std::string> LogLines::lines() const {
  absl::MutexLock lock(&mutex_);
  return lines_;
}

bool LogLines::Contains(const std::string& text) const {
  for (const std::string& line : lines()) {
    if (absl::StrContains(line, text)) return true;
  }
  return false;
}

ServedModel GoldenModel(std::unique_ptr<ModelExecutor> executor) {
  ServedModel model;
  absl::StatusOr<ModelConfig> config = LoadModelConfig(kCheckpoint);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(kCheckpoint);
  EXPECT_TRUE(config.ok() && tokenizer.ok());
  model.config = *std::move(config);
  model.tokenizer = *std::move(tokenizer);
  model.default_name = "nano-gqa";
  model.device = "cpu";
  model.dtype = "float32";
  model.num_parameters = 1;
  if (executor != nullptr) model.executors.push_back(std::move(executor));
  return model;
}

TestServer::TestServer(TestServerConfig config) : config_(std::move(config)) {
  LoggerOptions logger;
  logger.sink = [this](const std::string& line) { log_.Add(line); };
  logger_ = std::make_unique<Logger>(std::move(logger));
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Listen(TestOptions(config_.options), {.logger = logger_.get()});
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  stub_ = v1::ParrotService::NewStub(Channel());
  if (config_.serve) Serve();
}

TestServer::~TestServer() = default;

void TestServer::Serve() {
  absl::StatusOr<ModelConfig> model = LoadModelConfig(kCheckpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  ServedModel served = GoldenModel(nullptr);
  for (int i = 0; i < config_.options.num_workers; ++i) {
    auto executor = std::make_unique<FakeModelExecutor>(ExecutorOptions(config_, *model));
    executors_.push_back(executor.get());
    served.executors.push_back(std::move(executor));
  }
  const absl::Status status = server_->Serve(std::move(served));
  ASSERT_TRUE(status.ok()) << status;
  ExpectIdle();  // the warm-up's slot is freed by a step of its own, after SERVING
}

std::string TestServer::address() const { return absl::StrCat("127.0.0.1:", server_->grpc_port()); }

std::string TestServer::admin_address() const {
  return absl::StrCat("127.0.0.1:", server_->admin_port());
}

std::shared_ptr<grpc::Channel> TestServer::Channel(const grpc::ChannelArguments& arguments) {
  // A connection of its own: channels with equal arguments share one otherwise.
  grpc::ChannelArguments own = arguments;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), own);
}

void TestServer::ExpectIdle() {
  ASSERT_TRUE(frontend().WaitUntilIdle(kIdleTimeout));
  EXPECT_EQ(frontend().live_requests(), 0);
  EXPECT_EQ(frontend().image_bytes(), 0);
  // The engine publishes what it has freed after it has reported the last event.
  const absl::Time limit = absl::Now() + kIdleTimeout;
  EngineLoad load = frontend().load();
  while ((load.num_blocks_used + load.num_running + load.num_waiting > 0 || load.step_in_flight) &&
         absl::Now() < limit) {
    std::this_thread::yield();
    load = frontend().load();
  }
  EXPECT_EQ(load.num_running, 0);
  EXPECT_EQ(load.num_waiting, 0);
  EXPECT_EQ(load.num_blocks_used, 0);
  for (const FakeModelExecutor* executor : executors_) {
    EXPECT_EQ(executor->violation(), absl::OkStatus());
  }
}

std::string TestServer::HttpGet(const std::string& path, int* status) {
  const HttpResult result = parrot::HttpGet(server_->http_port(), path);
  if (status != nullptr) *status = result.status;
  return result.body;
}

}  // namespace parrot
