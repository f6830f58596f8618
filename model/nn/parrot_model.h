// ParrotModel: the whole model, composed. Holds no state of any request and no thread; whoever runs
// it brings a Workspace and attention contexts of the same backend.
//
// One prompt with one image, whole:
//   F = EncodeImages(pixels)                          vision tower, projector     [tokens, H]
//   r = moe()->RouterWeights(F.row 0, Embed(text))    every text token            [1, experts]
//   V = moe()->VisualTokens(F, r)                                                 [tokens, H]
//   h = concat(Embed(before), V, Embed(after))        V takes the place of the placeholder
//   logits = language().Logits(last row of language().Forward(h))
//
// Immutable after construction; thread-safe.
#ifndef PARROT_MODEL_NN_PARROT_MODEL_H_
#define PARROT_MODEL_NN_PARROT_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/model_config.h"
#include "model/api/token.h"
#include "model/backend/backend.h"
#include "model/nn/clip_vision_tower.h"
#include "model/nn/mlp_projector.h"
#include "model/nn/multilingual_moe.h"
#include "model/nn/qwen2_model.h"

namespace parrot {

// Rows of V that stand at [position, +visual.size(0)) of a run of rows.
struct VisualRows {
  int64_t first_row = 0;
  at::Tensor visual;  // [n, H]
};

class ParrotModel {
 public:
  // Takes every tensor it needs from `source`. `backend` outlives the model. Throws c10::Error.
  ParrotModel(const ModelConfig& config, const Backend& backend, TensorSource& source);

  const ModelConfig& config() const { return config_; }
  const Backend& backend() const { return backend_; }
  const VisionTower& vision() const { return *vision_; }
  const Projector& projector() const { return *projector_; }
  // Null when the configuration disables it: then V is F.
  const MultilingualMoe* moe() const { return moe_.get(); }
  const LanguageModel& language() const { return *language_; }

  // Tower and projector in one: pixels [images, size, size, 3] uint8 -> F [images * tokens, H].
  at::Tensor EncodeImages(const at::Tensor& pixels,
                          AttentionContext& dense,
                          Workspace& workspace) const;
  // The language model's input rows: embeddings of `ids` (host), with the given runs of visual rows
  // in place of their placeholders. `visuals` are in order of first_row and do not overlap; ids
  // under them are not looked at. -> [ids.size(), H]
  at::Tensor EmbedRows(std::span<const TokenId> ids,
                       std::span<const VisualRows> visuals,
                       Workspace& workspace) const;

  // All weights by checkpoint name, for an optimiser; empty when the backend packs them.
  std::vector<NamedTensor> NamedWeights() const;

 private:
  const ModelConfig config_;
  const Backend& backend_;
  std::unique_ptr<VisionTower> vision_;
  std::unique_ptr<Projector> projector_;
  std::unique_ptr<MultilingualMoe> moe_;
  std::unique_ptr<LanguageModel> language_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_NN_PARROT_MODEL_H_
