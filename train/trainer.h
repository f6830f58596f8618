// Trainer: the loop of every stage. Micro-batches of items are made ahead by loader threads, run by
// worker threads, added in a fixed order; then one step of AdamW. The same losses come out whatever
// the number of threads, and after an interruption as without one.
//
// A step has accumulation * processes micro-batches; this process runs those whose number is its
// rank modulo the number of processes. The stream of items is endless (ItemOrder); the last step of
// an epoch takes what it lacks from the next one.
#ifndef PARROT_TRAIN_TRAINER_H_
#define PARROT_TRAIN_TRAINER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/parameters.h"
#include "train/process_group.h"
#include "train/run_state.h"

namespace parrot {

struct TrainerOptions {
  std::string output_dir;
  bool resume = false;
  int64_t micro_batch = 8;   // items
  int64_t accumulation = 1;  // micro-batches of a step and process
  double epochs = 1.0;
  int64_t max_steps = 0;   // instead of epochs; 0: epochs decide
  int64_t save_every = 0;  // steps; 0: only when interrupted
  uint64_t seed = 42;
  bool shuffled = true;
  int num_threads = 1;  // micro-batches at once
  int num_loaders = 1;
  Schedule schedule;  // total_steps is the trainer's to set
  AdamWOptions adamw;
};

// What a step came to: one line of the log.
struct StepReport {
  int64_t step = 0;  // from 1
  int64_t total_steps = 0;
  double loss = 0.0;  // mean over micro-batches
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  int64_t targets = 0;
  int64_t rows = 0;
  std::vector<double> metrics;  // means; empty when the step had none
};

enum class RunEnd { kFinished, kInterrupted };

// Confined to the thread that trains; `stop` may be set from a signal handler.
class Trainer {
 public:
  using OnStep = std::function<void(const StepReport&)>;

  // Everything is borrowed. `tensors` is trained: the model's and the objective's own.
  Trainer(const TrainerOptions& options,
          const ModelFiles& files,
          const Objective& objective,
          const Parameters& parameters,
          std::vector<TrainedTensor> tensors,
          ProcessGroup& processes);

  // Steps of the whole run.
  int64_t total_steps() const { return schedule_.total_steps; }
  // Steps taken by earlier parts of the run; after Start.
  int64_t first_step() const { return first_step_; }

  // Makes the output folder and, when asked to resume, goes to the latest checkpoint. Without
  // resuming, a folder that holds a run is refused. `plan` is what the caller adds to what must not
  // change between parts.
  absl::Status Start(const nlohmann::json& plan);
  // Trains to the end, or until `stop`: then saves a checkpoint.
  absl::StatusOr<RunEnd> Run(const std::atomic<bool>& stop, const OnStep& on_step);

 private:
  absl::StatusOr<StepReport> Step(
      int64_t step,
      class GradientSum& gradients,
      const std::function<absl::StatusOr<std::unique_ptr<MicroBatch>>()>& next,
      const std::atomic<bool>& stop,
      bool* stopped);
  absl::Status Save(int64_t step);

  const TrainerOptions options_;
  const ModelFiles files_;
  const Objective& objective_;
  const Parameters& parameters_;
  const std::vector<TrainedTensor> tensors_;
  ProcessGroup& processes_;
  Schedule schedule_;
  AdamW optimizer_;
  nlohmann::json plan_;
  int64_t first_step_ = 0;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_TRAINER_H_
