#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/_foreach_mul.h"
#include "ATen/ops/_foreach_norm.h"
#include "ATen/ops/_fused_adamw.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"

namespace parrot {

double Schedule::Rate(int64_t step) const {
  const auto total = static_cast<double>(total_steps);
  const double warmup = std::ceil(total * warmup_ratio);
  const auto now = static_cast<double>(step);
  if (now < warmup) return learning_rate * now / std::max(1.0, warmup);
  const double begin = std::max(warmup, std::floor(total * hold_ratio));
  if (kind == ScheduleKind::kConstant || now < begin) return learning_rate;
  const double progress = (now - begin) / std::max(1.0, total - begin);
  return learning_rate * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

AdamW::AdamW(const AdamWOptions& options, const std::vector<TrainedTensor>& tensors)
    : options_(options), tensors_(tensors) {
  for (const TrainedTensor& tensor : tensors) {
    masters_.push_back(tensor.master.detach());
    first_moments_.push_back(at::zeros_like(masters_.back()));
    second_moments_.push_back(at::zeros_like(masters_.back()));
    steps_.push_back(at::zeros({}, masters_.back().options()));
  }
}

double AdamW::Step(const std::vector<at::Tensor>& gradients, double learning_rate) {
  const at::NoGradGuard no_grad;
  const at::Tensor total = at::stack(at::_foreach_norm(gradients)).norm();
  const auto norm = total.item<double>();
  if (options_.max_grad_norm > 0.0) {
    const double scale = options_.max_grad_norm / (norm + 1e-6);
    if (scale < 1.0) at::_foreach_mul_(gradients, at::Scalar(scale));
  }
  // The operation reads the number of the step that it takes.
  for (at::Tensor& step : steps_) step.add_(1);
  at::_fused_adamw_(masters_,
                    gradients,
                    first_moments_,
                    second_moments_,
                    /*max_exp_avg_sqs=*/{},
                    steps_,
                    learning_rate,
                    options_.beta1,
                    options_.beta2,
                    options_.weight_decay,
                    options_.eps,
                    /*amsgrad=*/false,
                    /*maximize=*/false);
  PublishMasters(tensors_);
  return norm;
}

void AdamW::SetSteps(int64_t steps) {
  for (at::Tensor& step : steps_) step.fill_(steps);
}

}  // namespace parrot
