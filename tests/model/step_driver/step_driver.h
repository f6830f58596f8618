// Test support: drives a ModelExecutor as a scheduler would, in the simplest way: all given
// sequences are in every step together, each with a chunk of its prompt or its last token.
// Torch-free.
#ifndef PARROT_TESTS_MODEL_STEP_DRIVER_STEP_DRIVER_H_
#define PARROT_TESTS_MODEL_STEP_DRIVER_STEP_DRIVER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/api/model_executor.h"
#include "model/api/step.h"

namespace parrot {

struct DriverRequest {
  std::vector<TokenId> ids;  // kVisualToken once per image
  std::vector<ImageInput> images;
  bool zero_later_images = false;     // what the reference does
  int32_t max_spliced_tokens = 0;     // cut the spliced prompt; 0: never
  std::vector<float> expert_weights;  // not empty: RoutingSource::kWeights
  SamplingParams sampling;
  int32_t max_new_tokens = 16;
  std::vector<TokenId> stop_ids;
};

struct DriverResult {
  std::vector<TokenId> tokens;
  std::vector<RowResult> rows;              // of each token
  std::vector<std::vector<float>> routing;  // of each image
  absl::Status status;                      // not OK: the sequence failed
};

struct DriverOptions {
  int32_t chunk_tokens = 0;       // of a prompt per step; 0: all at once
  int32_t layers_per_encode = 0;  // tower layers per step; 0: all at once
  // Decode through kSampledOnDevice instead of giving the id back.
  bool chain_on_device = false;
};

class StepDriver {
 public:
  // `executor` outlives the driver.
  explicit StepDriver(ModelExecutor& executor) : executor_(executor) {}

  // Submits one step and waits for its result.
  StepResult RunStep(std::unique_ptr<StepInput> input);

  // Runs the requests together to their ends, in slots 0, 1, ... Blocks are handed out in a
  // scattered order. The executor is left empty.
  std::vector<DriverResult> Run(const std::vector<DriverRequest>& requests,
                                const DriverOptions& options = {});

  // Sum over all steps so far.
  const StageTimes& times() const { return times_; }

 private:
  struct Sequence;
  void Begin(std::vector<Sequence>& sequences, const DriverOptions& options);
  void EncodeAll(const std::vector<Sequence>& sequences, const DriverOptions& options);
  std::unique_ptr<StepInput> NextStep(std::vector<Sequence>& sequences,
                                      const DriverOptions& options) const;
  static void Take(const StepOutput& output, std::vector<Sequence>& sequences);

  ModelExecutor& executor_;
  StageTimes times_;
  uint64_t next_step_id_ = 1;
};

}  // namespace parrot

#endif  // PARROT_TESTS_MODEL_STEP_DRIVER_STEP_DRIVER_H_
