// RouterObjective: a warm start of the gate alone: cross entropy of its logits against the sample's
// language, expert i for the i-th language of the data in alphabetical order. The method has no
// such term; from nothing the gate sees almost no difference between languages, and without it all
// experts get the same weight. Whoever shows routing weights of a model so trained should say so.
#ifndef PARROT_TRAIN_ROUTER_OBJECTIVE_H_
#define PARROT_TRAIN_ROUTER_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "train/data/sample_encoder.h"
#include "train/data/training_sample.h"
#include "train/feature_cache.h"
#include "train/objective.h"
#include "train/training_model.h"

namespace parrot {

class RouterObjective : public Objective {
 public:
  // Everything is borrowed. INVALID_ARGUMENT when a sample has no language, or there are more
  // languages than experts.
  static absl::StatusOr<std::unique_ptr<RouterObjective>> Make(
      const std::vector<TrainingSample>& samples,
      const SampleEncoder& encoder,
      FeatureCache& pictures,
      const TrainingModel& model);

  int64_t num_items() const override { return static_cast<int64_t>(samples_.size()); }
  std::vector<std::string> metric_names() const override { return {"right"}; }
  absl::StatusOr<std::unique_ptr<MicroBatch>> Prepare(
      std::span<const int64_t> items) const override;
  MicroBatchLoss Loss(MicroBatch& batch) const override;

 private:
  RouterObjective(const std::vector<TrainingSample>& samples,
                  const SampleEncoder& encoder,
                  FeatureCache& pictures,
                  const TrainingModel& model)
      : samples_(samples), encoder_(encoder), pictures_(pictures), model_(model) {}

  const std::vector<TrainingSample>& samples_;
  const SampleEncoder& encoder_;
  FeatureCache& pictures_;
  const TrainingModel& model_;
  std::vector<int64_t> language_of_;  // by sample
};

}  // namespace parrot

#endif  // PARROT_TRAIN_ROUTER_OBJECTIVE_H_
