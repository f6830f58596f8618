#include "server/loading/model_loader.h"

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/runtime/model_runner_factory.h"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_scripts.h"
#include "model/weights/weight_source.h"

namespace parrot {
namespace {

// The NVIDIA driver's control device: where it is missing, no CUDA device can be there, and the
// large CUDA libraries need not be opened to find that out.
constexpr char kNvidiaControlDevice[] = "/dev/nvidiactl";
constexpr int64_t kProgressSteps = 10;

std::string FolderName(const std::string& path) {
  absl::string_view stripped = path;
  while (absl::ConsumeSuffix(&stripped, "/")) {
  }
  const std::string text(stripped);
  return text.substr(text.rfind('/') + 1);
}

ComputeDtype DtypeOption(const std::string& dtype) {
  if (dtype == "float32") return ComputeDtype::kFloat32;
  if (dtype == "bfloat16") return ComputeDtype::kBFloat16;
  return ComputeDtype::kAuto;
}

int64_t CountParameters(const WeightSource& source) {
  int64_t total = 0;
  for (const TensorSpec& spec : source.tensors()) {
    int64_t elements = 1;
    for (const int64_t side : spec.shape) elements *= side;
    total += elements;
  }
  return total;
}

// One line for each tenth of the bytes.
std::function<void(const LoadProgress&)> ProgressLog(Logger& logger) {
  return [&logger, reported = int64_t{-1}](const LoadProgress& progress) mutable {
    if (!progress.packed_weights.empty()) {
      logger.Info("packed_weights", {{"outcome", progress.packed_weights}});
    }
    if (progress.total_bytes <= 0) return;
    const int64_t step = progress.loaded_bytes * kProgressSteps / progress.total_bytes;
    if (step == reported) return;
    reported = step;
    logger.Info("loading",
                {{"percent", step * 100 / kProgressSteps},
                 {"loaded_bytes", progress.loaded_bytes},
                 {"total_bytes", progress.total_bytes}});
  };
}

CpuOptions CpuOptionsOf(const Options& options) {
  const auto named = [](const std::string& name) { return name == "auto" ? "" : name; };
  return {.backend = options.backend,
          .isa = named(options.cpu_isa),
          .quantization = options.quantization,
          .expert_quantization = named(options.expert_quantization),
          .head_quantization = named(options.head_quantization),
          .vision_quantization = options.vision_quantization,
          .kv_cache_dtype = options.kv_cache_dtype,
          .packed_weights_dir = options.packed_weights_dir};
}

ModelRunnerOptions RunnerOptions(const Options& options, const ServedModel& model, Logger& logger) {
  ModelRunnerOptions runner;
  runner.device = model.device;
  runner.dtype = DtypeOption(options.dtype);
  runner.cpu = CpuOptionsOf(options);
  runner.num_threads = options.num_threads;
  runner.max_num_seqs = options.max_num_seqs;
  runner.max_num_batched_tokens = options.max_num_batched_tokens;
  runner.max_images_per_step = options.max_images_per_step;
  runner.kv_cache_memory_bytes = options.kv_cache_memory_bytes;
  runner.block_size = options.block_size;
  runner.vision_cache_experts = options.vision_cache_level == "experts";
  runner.vocab_size = model.tokenizer->num_tokens();
  runner.token_scripts = std::make_shared<const TokenizerScripts>(*model.tokenizer);
  runner.progress = ProgressLog(logger);
  return runner;
}

}  // namespace

absl::StatusOr<ServedModel> LoadServedModel(const Options& options, Logger& logger) {
  const absl::Time start = absl::Now();
  ServedModel model;
  model.default_name = FolderName(options.model);
  const LoadFormat format =
      options.load_format == "dummy" ? LoadFormat::kDummy : LoadFormat::kSafetensors;
  logger.Info("model_opened",
              {{"model", model.default_name}, {"load_format", options.load_format}});
  ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(options.model, format));
  ASSIGN_OR_RETURN(model.tokenizer,
                   Tokenizer::Load(options.tokenizer.empty() ? options.model : options.tokenizer));
  model.config = source->config();
  model.num_parameters = CountParameters(*source);
  const bool is_auto = options.device == "auto";
  model.device = options.device;
  if (is_auto) model.device = ::access(kNvidiaControlDevice, F_OK) == 0 ? "cuda" : "cpu";
  ModelRunnerOptions runner = RunnerOptions(options, model, logger);
  auto executors = CreateModelRunners(*source, runner, options.num_workers);
  if (is_auto && model.device == "cuda" &&
      GetErrorFacts(executors.status()).reason == "DEVICE_UNAVAILABLE") {
    logger.Warning("cuda_unavailable", {{"cause", std::string(executors.status().message())}});
    runner.device = model.device = "cpu";
    executors = CreateModelRunners(*source, runner, options.num_workers);
  }
  if (!executors.ok()) return executors.status();
  model.executors = *std::move(executors);
  model.dtype = ResolveDtype(*source, runner) == ComputeDtype::kBFloat16 ? "bfloat16" : "float32";
  model.backend = BackendName(model.device, runner.cpu);
  logger.Info("model_loaded",
              {{"seconds", absl::Now() - start},
               {"device", model.device},
               {"dtype", model.dtype},
               {"backend", model.backend},
               {"quantization", options.quantization},
               {"workers", options.num_workers}});
  return model;
}

bool IsModelFileError(const absl::Status& status) {
  const std::string reason = GetErrorFacts(status).reason;
  return absl::StartsWith(reason, "MODEL_") || absl::StartsWith(reason, "TOKENIZER_") ||
         status.code() == absl::StatusCode::kDataLoss;
}

}  // namespace parrot
