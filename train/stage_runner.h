// Runs one stage: puts data, model, objective and trainer together.
#ifndef PARROT_TRAIN_STAGE_RUNNER_H_
#define PARROT_TRAIN_STAGE_RUNNER_H_

#include <atomic>

#include "absl/status/statusor.h"
#include "train/train_options.h"
#include "train/trainer.h"

namespace parrot {

// Progress goes to standard error, the log and the model to the output folder. Setting `stop` ends
// the run after the step under way, with a checkpoint. Sets the number of torch's threads of this
// process.
absl::StatusOr<RunEnd> RunStage(const StageOptions& options, const std::atomic<bool>& stop);

}  // namespace parrot

#endif  // PARROT_TRAIN_STAGE_RUNNER_H_
