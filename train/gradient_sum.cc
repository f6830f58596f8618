#include "train/gradient_sum.h"

#include <algorithm>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/zeros_like.h"
#include "base/status_macros.h"
#include "model/runtime/device.h"
#include "torch/csrc/autograd/autograd.h"

namespace parrot {

GradientSum::GradientSum(const std::vector<TrainedTensor>& tensors,
                         const Objective& objective,
                         kernels::WorkerPool& pool)
    : objective_(objective), pool_(pool) {
  for (const TrainedTensor& tensor : tensors) {
    leaves_.push_back(tensor.compute);
    sums_.push_back(at::zeros_like(tensor.master.detach()));
  }
}

void GradientSum::RunOne(MicroBatch& batch, Slot* slot) const {
  slot->status = CatchTorchErrors("training step", [&] {
    const at::AutoGradMode enable_grad(true);
    slot->loss = objective_.Loss(batch);
    if (!slot->loss.loss.defined()) return absl::OkStatus();
    slot->gradients = torch::autograd::grad({slot->loss.loss},
                                            leaves_,
                                            /*grad_outputs=*/{},
                                            /*retain_graph=*/false,
                                            /*create_graph=*/false,
                                            /*allow_unused=*/true);
    slot->loss.loss = slot->loss.loss.detach();
    return absl::OkStatus();
  });
}

void GradientSum::Add(const Slot& slot, StepSums* sums) {
  const MicroBatchLoss& loss = slot.loss;
  if (loss.loss.defined()) sums->loss += loss.loss.item<double>();
  sums->targets += static_cast<double>(loss.targets);
  sums->rows += static_cast<double>(loss.rows);
  if (!loss.metrics.empty()) {
    sums->metrics.resize(loss.metrics.size());
    for (size_t i = 0; i < loss.metrics.size(); ++i) {
      sums->metrics[i] += loss.metrics[i] * loss.metric_weight;
    }
    sums->metric_weight += loss.metric_weight;
  }
  for (size_t i = 0; i < slot.gradients.size(); ++i) {
    // A tensor that no sample of the micro-batch reached (the experts, without a picture) has none.
    if (slot.gradients[i].defined()) sums_[i].add_(slot.gradients[i]);
  }
}

absl::StatusOr<StepSums> GradientSum::Run(
    int64_t count, const std::function<absl::StatusOr<std::unique_ptr<MicroBatch>>()>& next) {
  const at::NoGradGuard no_grad;
  for (at::Tensor& sum : sums_) sum.zero_();
  StepSums sums;
  // A wave at a time, so that no more gradients are held than there are threads.
  for (int64_t done = 0; done < count;) {
    const int64_t wave = std::min<int64_t>(count - done, pool_.num_threads());
    std::vector<std::unique_ptr<MicroBatch>> batches;
    for (int64_t i = 0; i < wave; ++i) {
      ASSIGN_OR_RETURN(std::unique_ptr<MicroBatch> batch, next());
      batches.push_back(std::move(batch));
    }
    std::vector<Slot> slots(static_cast<size_t>(wave));
    pool_.Run(wave, [&](int64_t i, int) {
      RunOne(*batches[static_cast<size_t>(i)], &slots[static_cast<size_t>(i)]);
    });
    for (const Slot& slot : slots) {
      RETURN_IF_ERROR(slot.status);
      Add(slot, &sums);
    }
    done += wave;
  }
  return sums;
}

}  // namespace parrot
