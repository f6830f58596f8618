// A scheduler in the steady state of decoding: N sequences, each with a prompt behind it, one token
// per step, no model. Confined to one thread.
#ifndef PARROT_BENCH_DECODE_STEPS_DECODE_STEPS_H_
#define PARROT_BENCH_DECODE_STEPS_DECODE_STEPS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/scheduler.h"

namespace parrot {

class DecodeSteps {
 public:
  // Prompts of `prompt_tokens` are computed when this returns. `max_steps` can follow.
  DecodeSteps(int32_t num_sequences, int32_t prompt_tokens, int32_t max_steps);

  // One step: Schedule, an output with one token for each sequence, Update.
  void Step();
  // Time that the last Step spent in each.
  absl::Duration schedule_time() const { return schedule_time_; }
  absl::Duration update_time() const { return update_time_; }
  // Spans of the last step.
  int32_t num_spans() const { return static_cast<int32_t>(input_.spans.size()); }

 private:
  std::unique_ptr<Scheduler> scheduler_;
  StepInput input_;
  StepOutput output_;
  std::vector<EngineEvent> events_;
  absl::Duration schedule_time_;
  absl::Duration update_time_;
};

}  // namespace parrot

#endif  // PARROT_BENCH_DECODE_STEPS_DECODE_STEPS_H_
