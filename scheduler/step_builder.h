// StepBuilder: fills one StepInput under the budgets of a step. The Scheduler decides whom it asks
// for, and in which order; the builder takes as much of each sequence as the step still has room
// for, and records on the sequence what it submitted.
//
//   builder.Begin(step_id, now, &input);
//   for (...) builder.AddSpan(sequence, end);   // those that decode; end <= SpanEnd(*sequence)
//   builder.LimitTime(limit);
//   builder.AddVisionJobs(sequences, level);
//   for (...) builder.AddSpan(sequence, end);   // prompt chunks
//
// Confined to the engine thread. Steady decode steps allocate nothing once the vectors of the
// pooled StepInput have grown.
#ifndef PARROT_SCHEDULER_STEP_BUILDER_H_
#define PARROT_SCHEDULER_STEP_BUILDER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "model/api/step.h"
#include "scheduler/sequence.h"
#include "scheduler/step_time_predictor.h"
#include "scheduler/vision_cache_index.h"

namespace parrot {

struct StepBudget {
  int32_t max_tokens = 1;         // positions of one step
  int32_t max_images = 1;         // vision tower passes of one step
  int32_t num_vision_layers = 1;  // layers of a whole pass
};

// What a step may take, and what its parts are expected to.
struct StepTimeLimit {
  absl::Duration limit = absl::InfiniteDuration();
  StepTimePredictor::Coefficients price;
};

class StepBuilder {
 public:
  // Borrows `vision`, which outlives it.
  StepBuilder(const StepBudget& budget, VisionCacheIndex* vision)
      : budget_(budget), vision_(*vision) {}

  // Starts step `step_id`. `input` is kept until the next Begin.
  void Begin(uint64_t step_id, absl::Time now, StepInput* input);

  // From now on the step takes only what `limit` leaves time for after what it has; of a tower at
  // least one layer, or else of the prompts at least one token: everybody gets on.
  void LimitTime(const StepTimeLimit& limit);

  // For `sequences`, most urgent first: goes on with the towers that were cut, begins to encode
  // images that nobody has begun, as far as the images budget goes, and routes those whose features
  // are there (at `level`) or end with this step. Towers run together and are cut alike, and new
  // ones begin when none is left over. An image that was begun in another step is waited for: were
  // the jobs in different steps, the failure of the first would take a second request down.
  // `alone`: towers that none of `sequences` needs rest.
  void AddVisionJobs(std::span<Sequence* const> sequences, CacheLevel level, bool alone);

  // How far the sequence could come in this step: up to the first position whose visual tokens are
  // missing, to the end, to the tokens budget. next_position() when it cannot move.
  int32_t SpanEnd(const Sequence& sequence) const;
  // Positions [next_position(), end). One that ends with the last token also samples. REQUIRES:
  // next_position() < end <= SpanEnd(); its block table reaches `end`.
  void AddSpan(Sequence* sequence, int32_t end);
  // A sequence that just got a slot begins with a copy of another's last block.
  void AddCopy(Sequence* sequence, const BlockCopy& copy);
  // The error bound of an image whose keys and values are there. REQUIRES: its features are, too.
  void AddBoundJob(Sequence* sequence, int32_t image_idx);
  // Tells the worker of blocks that joined the table of a sequence whose slot it knows: those from
  // index `first` on.
  void AppendBlocks(const Sequence& sequence, size_t first);

 private:
  // The step names the sequence: takes its slot if this is the first.
  void Touch(Sequence* sequence);
  void BeginEncodes(Sequence* sequence);
  void AddEncodeJobs(std::span<Sequence* const> sequences, bool alone);
  void AddRouteJobs(Sequence* sequence, CacheLevel level);
  void AddRouteJob(Sequence* sequence, int32_t image_idx);
  RouteJob& PushRouteJob(Sequence* sequence, int32_t image_idx);
  // Positions that there is time for.
  int64_t NumTokensInTime() const;
  void AddVisualSpans(const Sequence& sequence, int32_t begin, int32_t end);
  // Of the text tokens of the prompt that follow the positions [begin, end), which are the span
  // that is added next.
  void AddScoreRows(const Sequence& sequence, int32_t begin, int32_t end);

  const StepBudget budget_;
  VisionCacheIndex& vision_;

  StepInput* input_ = nullptr;
  absl::Time now_;
  int32_t num_tokens_left_ = 0;
  int32_t num_images_left_ = 0;
  StepTimePredictor::Coefficients price_;
  double seconds_left_ = 0.0;
  bool is_due_ = false;            // nothing but decodes is in the step yet
  std::vector<ImageHash> towers_;  // reused by one call
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_STEP_BUILDER_H_
