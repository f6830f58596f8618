#include "train/picture_text_batch.h"

#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace parrot {

absl::StatusOr<std::unique_ptr<PictureTextBatch>> PreparePictureText(
    const std::vector<TrainingSample>& samples,
    const SampleEncoder& encoder,
    FeatureCache& pictures,
    std::span<const int64_t> items) {
  auto batch = std::make_unique<PictureTextBatch>();
  batch->items.assign(items.begin(), items.end());
  for (const int64_t item : items) {
    const TrainingSample& sample = samples[static_cast<size_t>(item)];
    ASSIGN_OR_RETURN(const EncodedSample encoded, encoder.Encode(sample));
    const ModelText text = encoder.Prepare(encoded);
    if (text.image_at < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample ", item, " has no picture: this stage needs one of every sample"));
    }
    batch->pictures.push_back(pictures.Prepare(sample.image_path));
    for (size_t i = 0; i < text.ids.size(); ++i) {
      if (text.labels[i] == kIgnoredLabel) batch->router_ids.push_back(text.ids[i]);
    }
    batch->cu_text.push_back(static_cast<int32_t>(batch->router_ids.size()));
  }
  return batch;
}

TrainingModel::Visual RunPictureText(PictureTextBatch& batch,
                                     FeatureCache& pictures,
                                     const TrainingModel& model) {
  std::vector<PendingPicture*> pending;
  for (PendingPicture& picture : batch.pictures) pending.push_back(&picture);
  pictures.Finish(pending);
  std::vector<at::Tensor> features;
  for (const PendingPicture& picture : batch.pictures) features.push_back(picture.features);
  const std::unique_ptr<Workspace> workspace = model.backend().MakeWorkspace({});
  const at::Tensor text = model.model().language().Embed(
      model.backend().UploadIds(batch.router_ids, *workspace), *workspace);
  return model.VisualTokens(at::cat(features), text, batch.cu_text);
}

}  // namespace parrot
