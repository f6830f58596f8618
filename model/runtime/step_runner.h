// StepRunner: one worker's tensors, and the execution of one StepInput after another. Decides
// nothing. Confined to the worker's thread.
//
// Order of a step: evictions and retirements, block copies, new slots; towers; routing; the
// language model; sampling. On the CPU the reference backend computes sequences (and images) one by
// one, because BLAS rounds by the shape of a call: a sequence then gets the same bits alone and
// among others. On other devices all spans of a step share one pass.
//
// Failures stay as small as they can be: an image that fails is reported with its EncodeDone or
// RouteDone, a sequence with failed_slots; only what concerns the whole pass fails the step.
#ifndef PARROT_MODEL_RUNTIME_STEP_RUNNER_H_
#define PARROT_MODEL_RUNTIME_STEP_RUNNER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/model_executor.h"
#include "model/api/step.h"
#include "model/runtime/input_batch.h"
#include "model/runtime/kv_cache.h"
#include "model/runtime/model_runner_factory.h"
#include "model/runtime/model_weights.h"
#include "model/runtime/sampler.h"
#include "model/runtime/slot_table.h"
#include "model/runtime/vision_cache.h"

namespace parrot {

class StepRunner {
 public:
  // `weights` outlives the runner.
  static absl::StatusOr<std::unique_ptr<StepRunner>> Create(const ModelWeights& weights,
                                                            const ModelRunnerOptions& options);

  const ExecutorCapacity& capacity() const { return capacity_; }

  // Runs the step and fills `output` (cleared first). Never throws.
  void Run(const StepInput& input, StepOutput* output);

 private:
  StepRunner(const ModelWeights& weights,
             const ModelRunnerOptions& options,
             std::unique_ptr<KvCache> kv_cache);

  absl::Status ApplyChanges(const StepInput& input);
  void RunEncodes(const StepInput& input, StepOutput* output);
  // Jobs over the same layers.
  absl::Status Encode(std::span<const EncodeJob> jobs, StepOutput* output);
  absl::StatusOr<at::Tensor> PartialStates(std::span<const EncodeJob> jobs);
  void RunRoutes(const StepInput& input, StepOutput* output);
  absl::Status Route(const RouteJob& job, StepOutput* output, RouteDone* done);
  absl::Status RoutingWeights(const RouteJob& job,
                              const at::Tensor& features,
                              StepOutput* output,
                              at::Tensor* weights);
  absl::Status RouterWeights(const std::vector<TokenId>& text_ids,
                             const at::Tensor& features,
                             StepOutput* output,
                             at::Tensor* weights);
  at::Tensor VisualTokens(const VisionCache::Image& image,
                          const at::Tensor& weights,
                          StepOutput* output);
  // Fills RouteDone::error_bound; the norms stay with the image.
  absl::Status BoundError(const RouteJob& job,
                          VisionCache::Image* image,
                          StepOutput* output,
                          RouteDone* done);
  void RunSpans(const StepInput& input, StepOutput* output);
  // Spans added to batch_; on failure the slots of all of them fail.
  void RunBatch(const StepInput& input, StepOutput* output);
  absl::Status Forward(const StepInput& input, StepOutput* output);
  // Results of rows of the batch whose logits [rows, vocab_rows] are there; result_index as in
  // InputBatch::LogitsRows.
  void Sample(const StepInput& input,
              std::span<const int32_t> result_index,
              const at::Tensor& logits,
              StepOutput* output);
  // The log-probabilities of prompt tokens, slice by slice: logits of a long prompt are never there
  // at once.
  void Score(const StepInput& input, const at::Tensor& hidden, StepOutput* output);
  void FailSlot(SlotId slot, const absl::Status& status, StepOutput* output) const;

  const ModelWeights& weights_;
  const Backend& backend_;
  const ParrotModel& model_;
  const bool isolate_;  // one sequence, one image at a time
  ExecutorCapacity capacity_;
  std::unique_ptr<KvCache> kv_cache_;
  std::unique_ptr<Workspace> workspace_;
  std::unique_ptr<AttentionContext> dense_;
  std::unique_ptr<AttentionContext> paged_;
  SlotTable slots_;
  VisionCache vision_cache_;
  const int64_t max_score_logits_bytes_;
  const std::shared_ptr<const TokenScripts> token_scripts_;  // of the sampler
  Sampler sampler_;
  InputBatch batch_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_STEP_RUNNER_H_
