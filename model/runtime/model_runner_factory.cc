#include "model/runtime/model_runner_factory.h"

#include <string>
#include <utility>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/backend/reference/reference_backend.h"
#include "model/runtime/device.h"
#include "model/runtime/model_runner.h"
#include "model/runtime/model_weights.h"
#include "model/weights/checkpoint.h"
#include "model/weights/dummy_weights.h"

namespace parrot {
namespace {

constexpr uint64_t kDummySeed = 1;

absl::Status CheckRange(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  const std::string limit = std::to_string(least) + ".." + std::to_string(most);
  return ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      std::string(field) + " must be in " + limit,
      {.reason = "INVALID_OPTION", .field = field, .value = std::to_string(value), .limit = limit});
}

absl::Status CheckOptions(const ModelRunnerOptions& options, const ModelConfig& config) {
  RETURN_IF_ERROR(CheckRange("num_threads", options.num_threads, 0, 1024));
  RETURN_IF_ERROR(CheckRange("max_num_seqs", options.max_num_seqs, 1, 65536));
  RETURN_IF_ERROR(CheckRange("max_num_batched_tokens", options.max_num_batched_tokens, 1, 1 << 24));
  RETURN_IF_ERROR(CheckRange("max_images_per_step", options.max_images_per_step, 1, 1024));
  RETURN_IF_ERROR(CheckRange("block_size", options.block_size, 1, 4096));
  return CheckRange("vocab_size", options.vocab_size, 0, config.language.vocab_rows);
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
  RETURN_IF_ERROR(CheckOptions(options, source.config()));
  const auto load = [&]() -> absl::StatusOr<std::shared_ptr<const ModelWeights>> {
    ASSIGN_OR_RETURN(const c10::Device device, OpenDevice(options.device));
    auto backend = std::make_unique<ReferenceBackend>(ReferenceBackend::Options{
        .device = device,
        .compute_dtype = ResolveComputeDtype(options.dtype, source.config().stored_dtype, device)});
    ASSIGN_OR_RETURN(std::unique_ptr<ModelWeights> weights,
                     ModelWeights::Load(source, std::move(backend), options.progress));
    return weights;
  };
  ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner, ModelRunner::Create(options, load));
  return runner;
}

}  // namespace parrot
