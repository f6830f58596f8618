// Files of a training run, in its output folder:
//
//   checkpoint-<step>/   a model folder, and beside it what an exact resume needs:
//                        trainer_state.json and optimizer.safetensors (masters and moments)
//   model/               the trained model, once the run is finished
//   log.jsonl            one object per step
//
// A folder appears under its name when it is complete: it is written as <name>.partial, synced and
// renamed. A model folder is what the reference's trainer saves: config.json with the keys of the
// stage, model.safetensors in the dtype of the base model (shards beyond 5 GB), the other files of
// the base model as they are.
#ifndef PARROT_TRAIN_RUN_STATE_H_
#define PARROT_TRAIN_RUN_STATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "train/optimizer.h"
#include "train/parameters.h"

namespace parrot {

// What the output's config.json says of the stage; the rest is the base model's.
struct ModelFiles {
  std::string base_dir;
  nlohmann::json config_changes = nlohmann::json::object();
  DataType dtype = DataType::kFloat32;
};

// Writes a model folder; `dir` exists.
absl::Status WriteModelFolder(const std::string& dir,
                              const ModelFiles& files,
                              const Parameters& parameters);

// The same under its final name, in one step.
absl::Status SaveModel(const std::string& dir,
                       const ModelFiles& files,
                       const Parameters& parameters);

struct RunPosition {
  int64_t step = 0;     // steps taken
  nlohmann::json plan;  // what must not change between parts of a run
};

// <output>/checkpoint-<step>; older checkpoints of the run are removed afterwards.
absl::Status SaveCheckpoint(const std::string& output_dir,
                            const ModelFiles& files,
                            const Parameters& parameters,
                            const std::vector<TrainedTensor>& tensors,
                            AdamW& optimizer,
                            const RunPosition& position);

// The latest checkpoint of the run, or nothing. Sets masters, moments and steps;
// FAILED_PRECONDITION when its plan is another one.
absl::StatusOr<std::optional<RunPosition>> ResumeCheckpoint(
    const std::string& output_dir,
    const nlohmann::json& plan,
    const std::vector<TrainedTensor>& tensors,
    AdamW& optimizer);

// When the model is there.
absl::Status RemoveCheckpoints(const std::string& output_dir);

}  // namespace parrot

#endif  // PARROT_TRAIN_RUN_STATE_H_
