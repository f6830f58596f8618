#include "model/runtime/model_runner_factory.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/backend/backend.h"
#include "model/kernels/worker_pool.h"
#include "model/runtime/backend_factory.h"
#include "model/runtime/device.h"
#include "model/runtime/model_runner.h"
#include "model/runtime/model_weights.h"
#include "model/weights/checkpoint.h"
#include "model/weights/dummy_weights.h"

namespace parrot {
namespace {

constexpr uint64_t kDummySeed = 1;
constexpr int32_t kMaxWorkers = 64;

absl::Status CheckRange(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  const std::string limit = std::to_string(least) + ".." + std::to_string(most);
  return ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      std::string(field) + " must be in " + limit,
      {.reason = "INVALID_OPTION", .field = field, .value = std::to_string(value), .limit = limit});
}

absl::Status CheckOptions(const ModelRunnerOptions& options,
                          const ModelConfig& config,
                          int32_t num_workers) {
  RETURN_IF_ERROR(CheckRange("num_workers", num_workers, 1, kMaxWorkers));
  if (num_workers > 1 && options.device != "cpu") {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "several workers need device cpu; a GPU has one",
                       {.reason = "INVALID_OPTION",
                        .field = "num_workers",
                        .value = std::to_string(num_workers),
                        .limit = "1"});
  }
  RETURN_IF_ERROR(CheckRange("num_threads", options.num_threads, 0, 1024));
  RETURN_IF_ERROR(CheckRange("max_num_seqs", options.max_num_seqs, 1, 65536));
  RETURN_IF_ERROR(CheckRange("max_num_batched_tokens", options.max_num_batched_tokens, 1, 1 << 24));
  RETURN_IF_ERROR(CheckRange("max_images_per_step", options.max_images_per_step, 1, 1024));
  RETURN_IF_ERROR(CheckRange("block_size", options.block_size, 1, 4096));
  return CheckRange("vocab_size", options.vocab_size, 0, config.language.vocab_rows);
}

// One worker's part of all threads.
int32_t ThreadsOf(int32_t worker_idx, int32_t num_workers, int32_t num_threads) {
  return std::max(1, num_threads / num_workers + (worker_idx < num_threads % num_workers ? 1 : 0));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeights(const std::string& checkpoint_dir,
                                                          LoadFormat format) {
  if (format == LoadFormat::kDummy) {
    ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(checkpoint_dir));
    return std::make_unique<DummyWeights>(config, kDummySeed);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(checkpoint_dir));
  return checkpoint;
}

absl::StatusOr<std::unique_ptr<ModelExecutor>> CreateModelRunner(
    const WeightSource& source, const ModelRunnerOptions& options) {
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<ModelExecutor>> runners,
                   CreateModelRunners(source, options, /*num_workers=*/1));
  return std::move(runners.front());
}

absl::StatusOr<std::vector<std::unique_ptr<ModelExecutor>>> CreateModelRunners(
    const WeightSource& source, const ModelRunnerOptions& options, int32_t num_workers) {
  RETURN_IF_ERROR(CheckOptions(options, source.config(), num_workers));
  std::shared_ptr<const ModelWeights> weights;
  const auto load = [&]() -> absl::StatusOr<std::shared_ptr<const ModelWeights>> {
    if (weights != nullptr) return weights;
    ASSIGN_OR_RETURN(const c10::Device device, OpenDevice(options.device));
    ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend,
                     MakeBackend(device, options.dtype, options.cpu, source));
    ASSIGN_OR_RETURN(weights, ModelWeights::Load(source, std::move(backend), options.progress));
    return weights;
  };
  const int32_t num_threads =
      options.num_threads == 0 ? kernels::DefaultNumThreads() : options.num_threads;
  std::vector<std::unique_ptr<ModelExecutor>> runners;
  for (int32_t i = 0; i < num_workers; ++i) {
    ModelRunnerOptions worker = options;
    worker.num_threads = ThreadsOf(i, num_workers, num_threads);
    worker.kv_cache_memory_bytes /= num_workers;
    ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner, ModelRunner::Create(worker, load));
    runners.push_back(std::move(runner));
  }
  return runners;
}

}  // namespace parrot
