// StepSubmitter: the steps of a benchmark, one at a time, and what they were made of: an image, a
// question, prompts, sequences that decode behind a full cache. Confined to one thread.
#ifndef PARROT_BENCH_ENGINE_STEP_SUBMITTER_H_
#define PARROT_BENCH_ENGINE_STEP_SUBMITTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/image_input.h"
#include "model/api/model_executor.h"
#include "model/api/step.h"

namespace parrot {

class StepSubmitter {
 public:
  // `executor` outlives it. `image_size` in pixels, square.
  StepSubmitter(ModelExecutor& executor, int32_t image_size);

  // Each waits for its step, or steps, and returns the stage times; or how the step failed.

  // The first `num_images` images through the tower.
  absl::StatusOr<StageTimes> EncodeImages(int32_t num_images);
  // A question about the first image; its features are made before (is_new) or are there.
  absl::StatusOr<StageTimes> MakeVisualTokens(bool is_new);
  // A prompt of text, in a slot that starts; one token is drawn.
  absl::StatusOr<StageTimes> Prefill(int32_t num_tokens);
  // A question about a new image, to its first token: two steps, as a scheduler makes them.
  absl::StatusOr<StageTimes> AnswerImageQuestion();

  // Fills the cache: the keys and values of a short prompt, copied to every block. (Memory that was
  // never written would be read faster than any other.)
  absl::Status FillCache();
  // `batch` sequences in slots 0 and on, each with `context_tokens` in the cache. Each Decode draws
  // one more token for each of them, always at the same position.
  absl::Status StartSequences(int32_t batch, int32_t context_tokens);
  absl::StatusOr<StageTimes> Decode();

 private:
  absl::StatusOr<StageTimes> Run(std::unique_ptr<StepInput> input);
  void AddEncodeJob(int32_t image_idx, StepInput& input) const;
  void AddRouteJob(StepInput& input) const;
  // Positions [start, + num_tokens) of the slot, with the last row's token drawn. Visual ones
  // first.
  void AddSpan(
      SlotId slot, int32_t start, int32_t num_visual, int32_t num_text, StepInput& input) const;
  // Takes the blocks from `first_block` on.
  void AddSlot(SlotId slot, BlockId first_block, int32_t num_tokens, StepInput& input) const;
  int32_t NumBlocks(int32_t num_tokens) const;

  ModelExecutor& executor_;
  std::vector<ImageInput> images_;
  std::vector<TokenId> question_;
  int32_t batch_ = 0;
  int32_t context_tokens_ = 0;
  std::unique_ptr<StepInput> spare_input_;
  std::unique_ptr<StepOutput> spare_output_;
};

}  // namespace parrot

#endif  // PARROT_BENCH_ENGINE_STEP_SUBMITTER_H_
