#include "train/trainer.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "ATen/ops/_foreach_mul.h"
#include "ATen/ops/empty.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/kernels/worker_pool.h"
#include "model/runtime/device.h"
#include "train/data/prefetcher.h"
#include "train/gradient_sum.h"
#include "train/item_order.h"

namespace parrot {
namespace {

using PreparedBatch = absl::StatusOr<std::unique_ptr<MicroBatch>>;

int64_t TotalSteps(const TrainerOptions& options, int64_t num_items, int processes) {
  if (options.max_steps > 0) return options.max_steps;
  const int64_t per_step = options.micro_batch * options.accumulation * processes;
  const double items = static_cast<double>(num_items) * options.epochs;
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(items / static_cast<double>(per_step) - 1e-9)));
}

// Adds up the numbers of a step over the processes; `stop` too, so that all of them stop at one
// step.
absl::Status SumOverProcesses(ProcessGroup& processes, StepSums* sums, double* stop) {
  if (processes.size() == 1) return absl::OkStatus();
  std::vector<double*> numbers = {
      &sums->loss, &sums->targets, &sums->rows, &sums->metric_weight, stop};
  for (double& metric : sums->metrics) numbers.push_back(&metric);
  at::Tensor host = at::empty({static_cast<int64_t>(numbers.size())}, at::kDouble);
  double* values = host.mutable_data_ptr<double>();
  for (size_t i = 0; i < numbers.size(); ++i) values[i] = *numbers[i];
  std::vector<at::Tensor> list = {host};
  RETURN_IF_ERROR(processes.Sum(list));
  for (size_t i = 0; i < numbers.size(); ++i) *numbers[i] = values[i];
  return absl::OkStatus();
}

}  // namespace

Trainer::Trainer(const TrainerOptions& options,
                 const ModelFiles& files,
                 const Objective& objective,
                 const Parameters& parameters,
                 std::vector<TrainedTensor> tensors,
                 ProcessGroup& processes)
    : options_(options),
      files_(files),
      objective_(objective),
      parameters_(parameters),
      tensors_(std::move(tensors)),
      processes_(processes),
      schedule_(options.schedule),
      optimizer_(options.adamw, tensors_) {
  schedule_.total_steps = TotalSteps(options, objective.num_items(), processes.size());
}

absl::Status Trainer::Start(const nlohmann::json& plan) {
  plan_ = plan;
  plan_["items"] = objective_.num_items();
  plan_["items_per_step"] = options_.micro_batch * options_.accumulation * processes_.size();
  plan_["micro_batch"] = options_.micro_batch;
  plan_["total_steps"] = schedule_.total_steps;
  plan_["learning_rate"] = schedule_.learning_rate;
  plan_["seed"] = options_.seed;
  std::error_code error;
  std::filesystem::create_directories(options_.output_dir, error);
  if (error) return absl::InternalError("the output folder cannot be made");
  if (options_.resume) {
    ASSIGN_OR_RETURN(const std::optional<RunPosition> position,
                     ResumeCheckpoint(options_.output_dir, plan_, tensors_, optimizer_));
    first_step_ = position.has_value() ? position->step : 0;
    return absl::OkStatus();
  }
  if (processes_.rank() == 0 && !std::filesystem::is_empty(options_.output_dir, error)) {
    return absl::FailedPreconditionError(
        "the output folder is not empty: resume its run, or choose another");
  }
  return absl::OkStatus();
}

absl::Status Trainer::Save(int64_t step) {
  if (processes_.rank() != 0) return absl::OkStatus();
  return SaveCheckpoint(options_.output_dir,
                        files_,
                        parameters_,
                        tensors_,
                        optimizer_,
                        {.step = step, .plan = plan_});
}

absl::StatusOr<StepReport> Trainer::Step(int64_t step,
                                         GradientSum& gradients,
                                         const std::function<PreparedBatch()>& next,
                                         const std::atomic<bool>& stop,
                                         bool* stopped) {
  ASSIGN_OR_RETURN(StepSums sums, gradients.Run(options_.accumulation, next));
  if (processes_.size() > 1) {
    RETURN_IF_ERROR(processes_.Sum(gradients.gradients()));
    // Ranks agree on the length of the list.
    sums.metrics.resize(objective_.metric_names().size());
  }
  double stops = stop.load() ? 1.0 : 0.0;
  RETURN_IF_ERROR(SumOverProcesses(processes_, &sums, &stops));
  *stopped = stops > 0.0;
  const auto micro_batches = static_cast<double>(options_.accumulation * processes_.size());
  StepReport report = {.step = step + 1,
                       .total_steps = total_steps(),
                       .loss = sums.loss / micro_batches,
                       .learning_rate = schedule_.Rate(step),
                       .targets = static_cast<int64_t>(sums.targets),
                       .rows = static_cast<int64_t>(sums.rows)};
  if (sums.metric_weight > 0.0) {
    for (const double metric : sums.metrics) report.metrics.push_back(metric / sums.metric_weight);
  }
  RETURN_IF_ERROR(CatchTorchErrors("optimiser step", [&] {
    if (micro_batches > 1.0) {
      at::_foreach_mul_(gradients.gradients(), at::Scalar(1.0 / micro_batches));
    }
    report.grad_norm = optimizer_.Step(gradients.gradients(), report.learning_rate);
    return absl::OkStatus();
  }));
  if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm)) {
    return absl::OutOfRangeError(
        absl::StrCat("step ", report.step, ": the loss is no longer a number"));
  }
  return report;
}

absl::StatusOr<RunEnd> Trainer::Run(const std::atomic<bool>& stop, const OnStep& on_step) {
  kernels::WorkerPool pool(options_.num_threads);
  GradientSum gradients(tensors_, objective_, pool);
  const ItemOrder order(objective_.num_items(), options_.seed, options_.shuffled);
  const int64_t batch = options_.micro_batch;
  // The micro-batches of this process, numbered from the start of the run.
  Prefetcher<PreparedBatch> loader(first_step_ * options_.accumulation,
                                   total_steps() * options_.accumulation,
                                   /*window=*/4 * static_cast<int64_t>(options_.num_threads),
                                   options_.num_loaders,
                                   [&](int64_t number) -> PreparedBatch {
                                     const int64_t global =
                                         number * processes_.size() + processes_.rank();
                                     return objective_.Prepare(order.Items(global * batch, batch));
                                   });
  for (int64_t step = first_step_; step < total_steps(); ++step) {
    bool stopped = false;
    ASSIGN_OR_RETURN(const StepReport report,
                     Step(
                         step, gradients, [&] { return loader.Take(); }, stop, &stopped));
    on_step(report);
    const bool is_last = report.step == total_steps();
    if (stopped && !is_last) {
      RETURN_IF_ERROR(Save(report.step));
      return RunEnd::kInterrupted;
    }
    if (options_.save_every > 0 && report.step % options_.save_every == 0 && !is_last) {
      RETURN_IF_ERROR(Save(report.step));
    }
  }
  return RunEnd::kFinished;
}

}  // namespace parrot
