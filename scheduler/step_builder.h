// StepBuilder: fills one StepInput under the budgets of a step. The Scheduler decides whom it asks
// for, and in which order; the builder takes as much of each sequence as the step still has room
// for, and records on the sequence what it submitted.
//
//   builder.Begin(step_id, now, &input);
//   for (...) builder.AddVisionJobs(sequence);
//   for (...) builder.AddSpan(sequence, end);   // end <= builder.SpanEnd(*sequence)
//
// Confined to the engine thread. Steady decode steps allocate nothing once the vectors of the
// pooled StepInput have grown.
#ifndef PARROT_SCHEDULER_STEP_BUILDER_H_
#define PARROT_SCHEDULER_STEP_BUILDER_H_

#include <cstdint>

#include "absl/time/time.h"
#include "model/api/step.h"
#include "scheduler/sequence.h"
#include "scheduler/vision_cache_index.h"

namespace parrot {

struct StepBudget {
  int32_t max_tokens = 1;         // positions of one step
  int32_t max_images = 1;         // vision tower passes of one step
  int32_t num_vision_layers = 0;  // layers of a whole pass
};

class StepBuilder {
 public:
  // Borrows `vision`, which outlives it.
  StepBuilder(const StepBudget& budget, VisionCacheIndex* vision)
      : budget_(budget), vision_(*vision) {}

  // Starts step `step_id`. `input` is kept until the next Begin.
  void Begin(uint64_t step_id, absl::Time now, StepInput* input);

  // Encodes each image of the sequence that nobody has encoded yet, as far as the images budget
  // goes, and routes those whose features are there (at `level`) or come with this step. An image
  // that another step is encoding waits for it: were the two jobs in different steps, the failure
  // of the first would take a second request down.
  void AddVisionJobs(Sequence* sequence, CacheLevel level);

  // From now on the step takes up to `max_tokens` positions in all, if its budget has as many.
  void LimitTokens(int32_t max_tokens);

  // How far the sequence could come in this step: up to the first position whose visual tokens are
  // missing, to the end, to the tokens budget. next_position() when it cannot move.
  int32_t SpanEnd(const Sequence& sequence) const;
  // Positions [next_position(), end). One that ends with the last token also samples. REQUIRES:
  // next_position() < end <= SpanEnd(); its block table reaches `end`.
  void AddSpan(Sequence* sequence, int32_t end);
  // Tells the worker of blocks that joined the table of a sequence whose slot it knows: those from
  // index `first` on.
  void AppendBlocks(const Sequence& sequence, size_t first);

 private:
  // The step names the sequence: takes its slot if this is the first.
  void Touch(Sequence* sequence);
  void AddRouteJob(Sequence* sequence, int32_t image_idx);
  void AddVisualSpans(const Sequence& sequence, int32_t begin, int32_t end);

  const StepBudget budget_;
  VisionCacheIndex& vision_;

  StepInput* input_ = nullptr;
  absl::Time now_;
  int32_t num_tokens_left_ = 0;
  int32_t num_images_left_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_STEP_BUILDER_H_
