#include "train/language_objective.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace parrot {
namespace {

struct LanguageBatch : MicroBatch {
  struct Item {
    ModelText text;
    PendingPicture picture;
  };
  std::vector<Item> items;
};

}  // namespace

LanguageObjective::LanguageObjective(const std::vector<TrainingSample>& samples,
                                     const SampleEncoder& encoder,
                                     FeatureCache* pictures,
                                     const TrainingModel& model)
    : samples_(samples), encoder_(encoder), pictures_(pictures), model_(model) {}

std::vector<std::string> LanguageObjective::metric_names() const {
  const int32_t num_experts = model_.model().config().moe.num_experts;
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(num_experts));
  for (int32_t i = 0; i < num_experts; ++i) {
    names.push_back(absl::StrCat("expert_", i));
  }
  return names;
}

absl::StatusOr<std::unique_ptr<MicroBatch>> LanguageObjective::Prepare(
    std::span<const int64_t> items) const {
  auto batch = std::make_unique<LanguageBatch>();
  for (const int64_t index : items) {
    const TrainingSample& sample = samples_[static_cast<size_t>(index)];
    absl::StatusOr<EncodedSample> encoded = encoder_.Encode(sample);
    if (!encoded.ok()) {
      return absl::Status(
          encoded.status().code(),
          absl::StrCat("sample ", index, " (id '", sample.id, "'): ", encoded.status().message()));
    }
    LanguageBatch::Item item = {.text = encoder_.Prepare(*encoded)};
    if (item.text.image_at >= 0) {
      if (pictures_ == nullptr) {
        return absl::InvalidArgumentError("this stage trains on text alone, a sample has an image");
      }
      item.picture = pictures_->Prepare(sample.image_path);
    }
    batch->items.push_back(std::move(item));
  }
  return batch;
}

MicroBatchLoss LanguageObjective::Loss(MicroBatch& batch) const {
  std::vector<LanguageBatch::Item>& items = static_cast<LanguageBatch&>(batch).items;
  std::vector<PendingPicture*> pictures;
  for (LanguageBatch::Item& item : items) {
    if (item.text.image_at >= 0) pictures.push_back(&item.picture);
  }
  if (!pictures.empty()) pictures_->Finish(pictures);
  std::vector<ModelInput> inputs;
  inputs.reserve(items.size());
  for (const LanguageBatch::Item& item : items) {
    inputs.push_back({.text = &item.text, .features = item.picture.features});
  }
  LanguageLoss loss = model_.Loss(inputs);
  MicroBatchLoss result = {
      .loss = std::move(loss.loss), .targets = loss.targets, .rows = loss.rows};
  if (loss.routing.defined()) {
    const at::Tensor mean = loss.routing.to(at::kDouble).mean(0).to(at::kCPU);
    const double* values = mean.const_data_ptr<double>();
    result.metrics.assign(values, values + mean.numel());
    result.metric_weight = static_cast<double>(loss.routing.size(0));
  }
  return result;
}

}  // namespace parrot
