// AdamW with clipping and a schedule, as torch and the reference's trainer have them. Confined to
// the thread that trains.
#ifndef PARROT_TRAIN_OPTIMIZER_H_
#define PARROT_TRAIN_OPTIMIZER_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "train/parameters.h"

namespace parrot {

enum class ScheduleKind { kCosine, kConstant };

struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double learning_rate = 1e-3;
  double warmup_ratio = 0.03;  // of all steps, rounded up; the rate rises linearly from 0
  // The rate stays at its height until this share of all steps has passed; then the cosine begins.
  double hold_ratio = 0.0;
  int64_t total_steps = 0;

  // Of step `step`, counted from 0; so the first step of a warm-up has rate 0, as in the reference.
  double Rate(int64_t step) const;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;  // 0: no clipping
};

class AdamW {
 public:
  AdamW(const AdamWOptions& options, const std::vector<TrainedTensor>& tensors);

  // One step. gradients[i], fp32, is of tensors[i] and is scaled when the norm of all is above
  // max_grad_norm. Returns that norm, from before. Masters are moved and published.
  double Step(const std::vector<at::Tensor>& gradients, double learning_rate);

  // For exact resume: moments in the order of the tensors, and steps taken.
  std::vector<at::Tensor>& first_moments() { return first_moments_; }
  std::vector<at::Tensor>& second_moments() { return second_moments_; }
  void SetSteps(int64_t steps);

 private:
  const AdamWOptions options_;
  const std::vector<TrainedTensor> tensors_;
  std::vector<at::Tensor> masters_;  // detached: no graph sees the step
  std::vector<at::Tensor> first_moments_, second_moments_;
  std::vector<at::Tensor> steps_;  // one number each: the fused operation's form
};

}  // namespace parrot

#endif  // PARROT_TRAIN_OPTIMIZER_H_
