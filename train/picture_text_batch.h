// Samples with a picture, as the objectives that stop before the language model need them: features
// of the pictures, and the text that each router reads. Samples without a picture are refused.
#ifndef PARROT_TRAIN_PICTURE_TEXT_BATCH_H_
#define PARROT_TRAIN_PICTURE_TEXT_BATCH_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "train/data/sample_encoder.h"
#include "train/data/training_sample.h"
#include "train/feature_cache.h"
#include "train/objective.h"
#include "train/training_model.h"

namespace parrot {

struct PictureTextBatch : MicroBatch {
  std::vector<int64_t> items;
  std::vector<PendingPicture> pictures;
  std::vector<TokenId> router_ids;     // of all samples
  std::vector<int32_t> cu_text = {0};  // their borders
};

absl::StatusOr<std::unique_ptr<PictureTextBatch>> PreparePictureText(
    const std::vector<TrainingSample>& samples,
    const SampleEncoder& encoder,
    FeatureCache& pictures,
    std::span<const int64_t> items);

// Through tower, projector, router and experts.
TrainingModel::Visual RunPictureText(PictureTextBatch& batch,
                                     FeatureCache& pictures,
                                     const TrainingModel& model);

}  // namespace parrot

#endif  // PARROT_TRAIN_PICTURE_TEXT_BATCH_H_
