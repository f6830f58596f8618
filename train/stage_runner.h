// Runs one stage: puts data, model, objective and trainer together.
#ifndef PARROT_TRAIN_STAGE_RUNNER_H_
#define PARROT_TRAIN_STAGE_RUNNER_H_

#include <atomic>

#include "absl/status/statusor.h"
#include "model/weights/tensor_specs.h"
#include "train/train_options.h"
#include "train/trainer.h"

namespace parrot {

// Whether the stage trains the tensor.
bool IsTrainedIn(TrainingStage stage, const TensorSpec& spec);

// Progress goes to standard error, the log and the model to the output folder. Setting `stop` ends
// the run after the step under way, with a checkpoint. Sets the number of torch's threads of this
// process. With options.dry_run prints a forecast to standard output; then the model folder needs
// configuration files only, and data sets are optional.
absl::StatusOr<RunEnd> RunStage(const StageOptions& options, const std::atomic<bool>& stop);

}  // namespace parrot

#endif  // PARROT_TRAIN_STAGE_RUNNER_H_
