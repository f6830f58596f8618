// GradientSum: the mean gradient over the micro-batches of a step. Micro-batches run on several
// threads at once; their gradients are added in the order of their numbers, so the result is that
// of one thread, bit by bit. Over processes the sums are added by the process group.
#ifndef PARROT_TRAIN_GRADIENT_SUM_H_
#define PARROT_TRAIN_GRADIENT_SUM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "model/kernels/worker_pool.h"
#include "train/objective.h"
#include "train/parameters.h"

namespace parrot {

// Sums over micro-batches.
struct StepSums {
  double loss = 0.0;  // of micro-batches' means
  double targets = 0.0;
  double rows = 0.0;
  std::vector<double> metrics;  // weighted by metric_weight
  double metric_weight = 0.0;
};

// Confined to the thread that trains.
class GradientSum {
 public:
  // `tensors` is copied; `pool`, `objective` are borrowed.
  GradientSum(const std::vector<TrainedTensor>& tensors,
              const Objective& objective,
              kernels::WorkerPool& pool);

  // Runs `count` micro-batches; next() gives them in order and is called by this thread alone.
  absl::StatusOr<StepSums> Run(
      int64_t count, const std::function<absl::StatusOr<std::unique_ptr<MicroBatch>>()>& next);

  // fp32, in the order of the tensors; the sums of the last Run.
  std::vector<at::Tensor>& gradients() { return sums_; }

 private:
  struct Slot {
    MicroBatchLoss loss;
    std::vector<at::Tensor> gradients;
    absl::Status status;
  };
  void RunOne(MicroBatch& batch, Slot* slot) const;
  void Add(const Slot& slot, StepSums* sums);

  std::vector<at::Tensor> leaves_;
  const Objective& objective_;
  kernels::WorkerPool& pool_;
  std::vector<at::Tensor> sums_;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_GRADIENT_SUM_H_
