// Makes the worker of one device: opens weights, loads them, and returns the ModelExecutor that
// runs steps on them. This header is torch-free: composition roots include it and see no tensor.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> weights,
//                    OpenWeights("/models/parrot-7b", LoadFormat::kSafetensors));
//   ModelRunnerOptions options;
//   options.vocab_size = tokenizer.vocab_size();
//   ASSIGN_OR_RETURN(std::unique_ptr<ModelExecutor> runner, CreateModelRunner(*weights, options));
//
// The source is read during CreateModelRunner only and may be destroyed afterwards.
//
// CreateModelRunners makes several workers that run steps at the same time on one copy of the
// weights. Each has a thread with an OpenMP team of its own, so they share the cores as processes
// would; each has its own KV cache and image features.
#ifndef PARROT_MODEL_RUNTIME_MODEL_RUNNER_FACTORY_H_
#define PARROT_MODEL_RUNTIME_MODEL_RUNNER_FACTORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/model_executor.h"
#include "model/api/token_scripts.h"
#include "model/weights/weight_source.h"

namespace parrot {

enum class LoadFormat {
  kSafetensors,  // the folder's weights
  kDummy,        // random weights of the folder's config.json
};

// On a GPU and in the reference backend: of activations and weights; kAuto is bfloat16 where the
// files hold it and the device is fast at it (CUDA), float32 elsewhere. In the CPU's own kernels,
// whose activations are float32: of weights that are not quantised; kAuto keeps bfloat16 as it is
// (nothing is lost) and makes float32 of everything else, or bfloat16 where float32 would take more
// than three quarters of the memory that this process may use.
enum class ComputeDtype { kAuto, kFloat32, kBFloat16 };

// How a model is computed on a CPU. Names as users write them.
struct CpuOptions {
  // "cpu": our own kernels; "reference": plain libtorch; "auto": our own on a machine that they
  // run on (AVX2 and FMA).
  std::string backend = "auto";
  std::string isa;  // "avx2", "avx512", "avx512_bf16", "amx"; empty: the machine's fastest
  // Weights of the own kernels: "none", "int8" (a scale per output), "int8-g128", "int8-g32"
  // (per 128 or 32 inputs), "int4-g128", "int4-g32" (asymmetric). Empty: as `quantization`.
  std::string quantization = "none";  // of the language model
  std::string expert_quantization;
  std::string head_quantization;
  std::string vision_quantization = "none";  // of the tower and the projector
  // Keys and values in the own kernels: "auto" and "float32", "bfloat16", "int8".
  std::string kv_cache_dtype = "auto";
  // Folder of packed weights, perhaps the checkpoint's own: written by the first start, mapped by
  // later ones, whose weights then are one copy for all processes. Empty: none.
  std::string packed_weights_dir;
};

struct LoadProgress {
  int64_t loaded_bytes = 0;  // counted in the configuration's stored dtype
  int64_t total_bytes = 0;
  // In the last report, with CpuOptions::packed_weights_dir: "mapped", "written", or "not written:
  // " and the cause.
  std::string packed_weights;
};

struct ModelRunnerOptions {
  std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
  ComputeDtype dtype = ComputeDtype::kAuto;
  CpuOptions cpu;  // read when the device is a CPU
  // Of all workers' operations on the CPU together; 0: all cores of the process. Each worker gets
  // an equal part, the first ones one more where it does not divide, none less than one.
  int32_t num_threads = 0;
  int32_t max_num_seqs = 32;              // slots
  int32_t max_num_batched_tokens = 2048;  // tokens of a step
  int32_t max_images_per_step = 4;
  int64_t kv_cache_memory_bytes = int64_t{1} << 30;  // of all workers together, in equal parts
  // Keeps the outputs of all experts with the features of each image: another question about it
  // then costs the router and a weighted sum. Visual tokens come from them whether the image is new
  // or not, so both get the same bits. No effect on a model without experts.
  bool vision_cache_experts = false;
  int32_t block_size = 32;  // tokens per KV block
  // Logits of prompt tokens whose log-probabilities are wanted are made in slices of so many bytes
  // (at least one row); their evaluation takes several times as much besides.
  int64_t max_score_logits_bytes = int64_t{32} << 20;
  // The reference backend on a CPU computes the sequences (and images) of a step one by one, so
  // that each gets the same bits alone and among others (the own kernels do so in any case). True:
  // together, as other devices do; faster, and batch mates may change the last bits.
  bool compute_together = false;
  // Ids of the tokenizer: ids >= it are padding rows of the embedding and are never sampled. 0: all
  // rows of the embedding are real.
  int32_t vocab_size = 0;
  // Of the same tokenizer: needed as soon as a request has a language lock.
  std::shared_ptr<const TokenScripts> token_scripts;
  // Called while weights load, on the first worker's thread. May be empty.
  std::function<void(const LoadProgress&)> progress;
};

// INVALID_ARGUMENT, NOT_FOUND, DATA_LOSS as Checkpoint::Open and LoadModelConfig return them.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeights(const std::string& checkpoint_dir,
                                                          LoadFormat format);

// "cpu avx2", "reference": what computes with these options on this machine.
std::string BackendName(const std::string& device, const CpuOptions& options);

// What options.dtype comes to: kFloat32 or kBFloat16.
ComputeDtype ResolveDtype(const WeightSource& source, const ModelRunnerOptions& options);

// Blocks until the weights are on the device. The runner's destructor finishes submitted steps.
// INVALID_ARGUMENT for an option out of range or a cache too small for one block;
// FAILED_PRECONDITION when the device is not there (reason DEVICE_UNAVAILABLE);
// RESOURCE_EXHAUSTED when memory is not enough; DATA_LOSS when a file changed while loading.
absl::StatusOr<std::unique_ptr<ModelExecutor>> CreateModelRunner(const WeightSource& source,
                                                                 const ModelRunnerOptions& options);

// As many workers as asked for, alike, with equal capacities. As CreateModelRunner; and
// INVALID_ARGUMENT for more than one on another device than "cpu": on a GPU, a batch of one worker
// is better than two workers.
absl::StatusOr<std::vector<std::unique_ptr<ModelExecutor>>> CreateModelRunners(
    const WeightSource& source, const ModelRunnerOptions& options, int32_t num_workers);

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_MODEL_RUNNER_FACTORY_H_
