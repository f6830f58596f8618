// DenseObjective: aligns projector and MoE with the language model's words before the model is
// trained as a whole. Both are regressed on the sum of word embeddings of what stands in a patch
// (shape, colour, size, cell, or digit; the background where there is nothing); the class row on
// background, figures and digit together. A word's embedding is the sum over its tokens: for the
// MoE of the word in the sample's language, so that the experts translate, for the projector, which
// does not know the language, the mean over all. No language model runs.
//
// The loss is the unexplained share of the targets' variance, of F plus of V; metrics are the
// explained shares. Without this, training everything at once from nothing was seen not to find the
// picture at all: the MoE's first output is an order below what the language model adds.
#ifndef PARROT_TRAIN_DENSE_OBJECTIVE_H_
#define PARROT_TRAIN_DENSE_OBJECTIVE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/tokenizer.h"
#include "train/data/sample_encoder.h"
#include "train/data/scene_labels.h"
#include "train/data/training_sample.h"
#include "train/feature_cache.h"
#include "train/objective.h"
#include "train/training_model.h"

namespace parrot {

// {"shape": {"star": {"en": "star", "pt": "estrela", ...}, ...}, "color": {...}, "size": {...},
//  "cell": {"0": {...}, ...}, "digit": {"5": {"en": "5", ...}, ...}, "background": {...}}
// -> token ids by "kind/name" and language: of the word with a space in front, as questions have
// it, and without, as answers do. To the tokenizer these have nothing in common.
using WordIds = std::map<std::string, std::map<std::string, std::vector<TokenId>>, std::less<>>;
absl::StatusOr<WordIds> LoadLexicon(const std::string& path, const Tokenizer& tokenizer);

class DenseObjective : public Objective {
 public:
  // Everything is borrowed. Items are samples: of each, the picture's scene and the text for the
  // router. INVALID_ARGUMENT when a name of the labels is not in the lexicon in each language of
  // the samples; samples without a language take the mean.
  static absl::StatusOr<std::unique_ptr<DenseObjective>> Make(
      const std::vector<TrainingSample>& samples,
      const SampleEncoder& encoder,
      const SceneLabels& labels,
      const WordIds& lexicon,
      FeatureCache& pictures,
      const TrainingModel& model);

  int64_t num_items() const override { return static_cast<int64_t>(samples_.size()); }
  std::vector<std::string> metric_names() const override {
    return {"explained_projector", "explained_moe"};
  }
  absl::StatusOr<std::unique_ptr<MicroBatch>> Prepare(
      std::span<const int64_t> items) const override;
  MicroBatchLoss Loss(MicroBatch& batch) const override;

 private:
  DenseObjective(const std::vector<TrainingSample>& samples,
                 const SampleEncoder& encoder,
                 const SceneLabels& labels,
                 FeatureCache& pictures,
                 const TrainingModel& model)
      : samples_(samples), encoder_(encoder), labels_(labels), pictures_(pictures), model_(model) {}
  // Words of the scene's rows: positions in a language's table.
  void AppendRows(const SceneLabel& scene, std::vector<std::vector<int64_t>>* rows) const;

  const std::vector<TrainingSample>& samples_;
  const SampleEncoder& encoder_;
  const SceneLabels& labels_;
  FeatureCache& pictures_;
  const TrainingModel& model_;
  std::map<std::string, int64_t, std::less<>> words_;      // "kind/name" -> row of a table
  std::map<std::string, int64_t, std::less<>> languages_;  // -> index into tables_, from 1
  at::Tensor tables_;  // [1 + languages, words, H] fp32; the first is the mean
};

}  // namespace parrot

#endif  // PARROT_TRAIN_DENSE_OBJECTIVE_H_
