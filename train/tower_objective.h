// TowerObjective: pre-trains a vision tower from nothing on pictures whose contents are known.
// Linear heads read the tower's output (the layer that the projector reads), patch by patch: kind
// (nothing, a shape, a digit), colour, size and cell of what is in the patch's cell; and from the
// class row: background, digit, number of figures, of each shape and of each colour. The heads are
// thrown away afterwards.
//
// The loss is the sum of the heads' mean cross entropies. Metrics are shares of right answers;
// those of patches count patches with a figure or digit only.
#ifndef PARROT_TRAIN_TOWER_OBJECTIVE_H_
#define PARROT_TRAIN_TOWER_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/data/picture_reader.h"
#include "train/data/scene_labels.h"
#include "train/objective.h"
#include "train/training_model.h"

namespace parrot {

class TowerObjective : public Objective {
 public:
  // Everything is borrowed. Images are relative to `image_dir`. The heads' first values come from
  // `seed`.
  TowerObjective(const SceneLabels& labels,
                 std::string image_dir,
                 const PictureReader& reader,
                 const TrainingModel& model,
                 uint64_t seed);

  // Trained beside the tower.
  std::vector<TrainedTensor> head_tensors() const;

  int64_t num_items() const override { return static_cast<int64_t>(labels_.scenes.size()); }
  std::vector<std::string> metric_names() const override;
  absl::StatusOr<std::unique_ptr<MicroBatch>> Prepare(
      std::span<const int64_t> items) const override;
  MicroBatchLoss Loss(MicroBatch& batch) const override;

 private:
  struct Head {
    std::string name;
    bool per_patch = false;
    int64_t classes = 0;
    TrainedTensor weight, bias;
  };
  void AddHead(std::string name, bool per_patch, int64_t classes, uint64_t seed);
  void AppendTargets(const SceneLabel& scene, std::vector<std::vector<int64_t>>* targets) const;

  const SceneLabels& labels_;
  const std::string image_dir_;
  const PictureReader& reader_;
  const TrainingModel& model_;
  std::vector<Head> heads_;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_TOWER_OBJECTIVE_H_
