#include "train/router_objective.h"

#include <iterator>
#include <set>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cross_entropy_loss.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "train/host_tensor.h"
#include "train/picture_text_batch.h"

namespace parrot {

absl::StatusOr<std::unique_ptr<RouterObjective>> RouterObjective::Make(
    const std::vector<TrainingSample>& samples,
    const SampleEncoder& encoder,
    FeatureCache& pictures,
    const TrainingModel& model) {
  std::set<std::string> languages;
  for (const TrainingSample& sample : samples) languages.insert(sample.language);
  if (languages.contains("")) {
    return absl::InvalidArgumentError("a sample has no `language`: the router's stage needs it");
  }
  const int32_t experts = model.model().config().moe.num_experts;
  if (static_cast<int32_t>(languages.size()) > experts) {
    return absl::InvalidArgumentError(
        absl::StrCat(languages.size(), " languages, but ", experts, " experts"));
  }
  std::unique_ptr<RouterObjective> objective(
      new RouterObjective(samples, encoder, pictures, model));
  for (const TrainingSample& sample : samples) {
    objective->language_of_.push_back(
        std::distance(languages.begin(), languages.find(sample.language)));
  }
  return objective;
}

absl::StatusOr<std::unique_ptr<MicroBatch>> RouterObjective::Prepare(
    std::span<const int64_t> items) const {
  return PreparePictureText(samples_, encoder_, pictures_, items);
}

MicroBatchLoss RouterObjective::Loss(MicroBatch& micro_batch) const {
  auto& batch = static_cast<PictureTextBatch&>(micro_batch);
  std::vector<int64_t> languages;
  for (const int64_t item : batch.items) {
    languages.push_back(language_of_[static_cast<size_t>(item)]);
  }
  const Routing routing = RunPictureText(batch, pictures_, model_).routing;
  const at::Tensor targets = UploadInt64(languages, routing.logits.device());
  const auto count = static_cast<int64_t>(languages.size());
  const at::Tensor right = routing.logits.detach().argmax(-1).eq(targets);
  return {.loss = at::cross_entropy_loss(routing.logits.to(at::kFloat), targets),
          .targets = count,
          .rows = static_cast<int64_t>(batch.router_ids.size()),
          .metrics = {right.to(at::kDouble).mean().item<double>()},
          .metric_weight = static_cast<double>(count)};
}

}  // namespace parrot
