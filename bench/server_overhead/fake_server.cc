#include "bench/server_overhead/fake_server.h"

#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "server/options/options.h"
#include "server/served_model.h"
#include "tests/fakes/fake_model_executor.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

constexpr TokenId kFirstToken = 300;  // of the ordinary ones, which are pieces of text
constexpr TokenId kNumTokens = 500;

template <typename T>
T Need(absl::StatusOr<T> value) {
  PARROT_CHECK(value.ok()) << std::string(value.status().message());
  return *std::move(value);
}

absl::Duration ThreadCpu() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

Options ServerOptions(const FakeServerOptions& fake) {
  Options options;
  options.http_port = 0;
  options.grpc_port = 0;
  options.admin_address.clear();
  options.max_num_seqs = fake.max_num_seqs;
  options.max_num_batched_tokens = fake.max_num_seqs + 1024;
  options.max_model_len = fake.max_model_len;
  options.max_queue_size = fake.max_queue_size;
  options.request_timeout = absl::Seconds(600);
  options.queue_timeout = absl::Seconds(600);
  options.client_stall_timeout = absl::Seconds(600);
  options.shutdown_timeout = absl::Seconds(5);
  options.log_requests = fake.log_requests;
  options.metrics_compat = "vllm";  // the longest page
  return options;
}

}  // namespace

FakeServer::FakeServer(const FakeServerOptions& options) {
  logger_ = std::make_unique<Logger>(LoggerOptions{.level = LogLevel::kInfo,
                                                   .format = LogFormat::kJson,
                                                   .sink = [this](const std::string& line) {
                                                     absl::MutexLock lock(&mutex_);
                                                     log_lines_.push_back(line);
                                                   }});
  const Options server_options = ServerOptions(options);
  server_ = Need(Server::Listen(server_options, {.logger = logger_.get()}));
  const absl::Status status = server_->Serve(MakeModel(options, server_options));
  PARROT_CHECK(status.ok()) << std::string(status.message());
}

ServedModel FakeServer::MakeModel(const FakeServerOptions& options, const Options& server) {
  const std::string folder = GoldenPath("checkpoints/nano-gqa");
  ServedModel model;
  model.config = Need(LoadModelConfig(folder));
  model.tokenizer = Need(Tokenizer::Load(folder));
  model.default_name = "nano-gqa";
  model.device = "cpu";
  model.dtype = "float32";
  FakeExecutorOptions executor{.own_thread = true, .step_time = options.step_time};
  executor.model.capacity = {
      .num_blocks = options.max_num_seqs * (options.max_model_len / server.block_size + 2),
      .block_size = server.block_size,
      .max_slots = server.max_num_seqs,
      .max_step_tokens = server.max_num_batched_tokens,
      .max_step_images = server.max_images_per_step,
      .image_tokens = model.config.vision.num_tokens(),
      .num_experts = model.config.moe.num_experts,
      .num_vision_layers = model.config.vision.num_used_layers()};
  executor.model.next_token = [](const std::vector<TokenId>& token_ids) {
    return kFirstToken + static_cast<TokenId>(token_ids.size()) % kNumTokens;
  };
  executor.fail_step = [this, work = options.step_work](const StepInput&) {
    const absl::Time start = absl::Now();
    while (absl::Now() - start < work) {
    }
    executor_cpu_ns_.store(absl::ToInt64Nanoseconds(ThreadCpu()));
    return absl::OkStatus();
  };
  model.executors.push_back(std::make_unique<FakeModelExecutor>(std::move(executor)));
  return model;
}

std::vector<double> FakeServer::refusal_seconds() {
  logger_->Flush();
  PARROT_CHECK(logger_->num_dropped() == 0) << "log lines were dropped";
  std::vector<double> seconds;
  absl::MutexLock lock(&mutex_);
  for (const std::string& line : log_lines_) {
    const nlohmann::json fields = nlohmann::json::parse(line);
    if (fields.value("code", "") == "RESOURCE_EXHAUSTED") seconds.push_back(fields["seconds"]);
  }
  return seconds;
}

}  // namespace parrot
