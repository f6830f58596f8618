// LanguageObjective: next-token cross entropy on conversations with and without pictures; the
// stages align, finetune and text. The tower is frozen in all of them: its features of a picture
// are computed once and kept, as far as memory was given for them.
#ifndef PARROT_TRAIN_LANGUAGE_OBJECTIVE_H_
#define PARROT_TRAIN_LANGUAGE_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "train/data/picture_reader.h"
#include "train/data/sample_encoder.h"
#include "train/data/training_sample.h"
#include "train/feature_cache.h"
#include "train/objective.h"
#include "train/training_model.h"

namespace parrot {

class LanguageObjective : public Objective {
 public:
  // Everything is borrowed and outlives the objective. `pictures` may be null when no sample has
  // an image.
  LanguageObjective(const std::vector<TrainingSample>& samples,
                    const SampleEncoder& encoder,
                    FeatureCache* pictures,
                    const TrainingModel& model);

  int64_t num_items() const override { return static_cast<int64_t>(samples_.size()); }
  // "expert_0", ...: mean routing weights.
  std::vector<std::string> metric_names() const override;
  absl::StatusOr<std::unique_ptr<MicroBatch>> Prepare(
      std::span<const int64_t> items) const override;
  MicroBatchLoss Loss(MicroBatch& batch) const override;

 private:
  const std::vector<TrainingSample>& samples_;
  const SampleEncoder& encoder_;
  FeatureCache* const pictures_;
  const TrainingModel& model_;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_LANGUAGE_OBJECTIVE_H_
