// ModelExecutor: whatever can run a step. The scheduler's view of a worker.
#ifndef PARROT_MODEL_API_MODEL_EXECUTOR_H_
#define PARROT_MODEL_API_MODEL_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "model/api/step.h"

namespace parrot {

// What a worker can hold. Fixed once it is built.
struct ExecutorCapacity {
  int32_t num_blocks = 0;           // KV blocks
  int32_t block_size = 32;          // tokens per block
  int32_t max_slots = 1;            // slots are 0..max_slots-1
  int32_t max_step_tokens = 1;      // tokens of one step
  int32_t max_step_images = 1;      // EncodeJobs of one step
  int32_t max_steps_in_flight = 1;  // 1 on CPU, 2 on CUDA
  int32_t image_tokens = 0;         // rows of V per image
  int32_t num_experts = 0;
  int32_t num_vision_layers = 1;  // layers of a whole EncodeJob
  // What one image keeps in memory until it is evicted: its features, or with caches_experts its
  // experts' outputs too.
  int64_t image_bytes = 0;
  bool caches_experts = false;
};

// The buffers of a step come back with its result, so that both sides reuse them.
struct StepResult {
  std::unique_ptr<StepInput> input;
  std::unique_ptr<StepOutput> output;
};

using StepDone = std::function<void(StepResult)>;

// Runs steps one after another, in the order of submission.
//
// Thread contract: Submit is called from one thread (the engine's) and returns at once; `done` runs
// on a thread of the executor's, exactly once per Submit, also when the step failed, and must not
// block. At most capacity().max_steps_in_flight submitted steps may be unfinished.
class ModelExecutor {
 public:
  virtual ~ModelExecutor() = default;
  virtual const ExecutorCapacity& capacity() const = 0;
  // `buffers.output` may hold anything; it is cleared first.
  virtual void Submit(StepResult buffers, StepDone done) = 0;
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_MODEL_EXECUTOR_H_
