// VisionTower: a CLIP ViT up to the layer that the projector reads. Pre-norm layers with
// quick-GELU; the class row stays in place as row 0. Layers past the selected one are never loaded.
//
// A pass may be cut by layers, so that a scheduler can spread it over steps: Begin, then RunLayers
// over [0, num_layers()) in order. Immutable after construction; thread-safe.
#ifndef PARROT_MODEL_NN_CLIP_VISION_TOWER_H_
#define PARROT_MODEL_NN_CLIP_VISION_TOWER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/model_config.h"
#include "model/api/pixel_normalization.h"
#include "model/backend/backend.h"

namespace parrot {

class VisionTower {
 public:
  // `backend` outlives the tower.
  VisionTower(const VisionConfig& config,
              const PixelNormalization& normalization,
              const Backend& backend,
              TensorSource& source);

  // Layers that a whole pass runs: up to the selected one.
  int32_t num_layers() const { return static_cast<int32_t>(layers_.size()); }

  // pixels [images, size, size, 3] uint8 -> [images * num_tokens, hidden]: state before layer 0.
  at::Tensor Begin(const at::Tensor& pixels, Workspace& workspace) const;
  // Layers [first, first + count) over `num_images` images side by side. `context` is a dense one
  // of this backend; it is planned here.
  at::Tensor RunLayers(at::Tensor hidden,
                       int64_t num_images,
                       int32_t first,
                       int32_t count,
                       AttentionContext& context,
                       Workspace& workspace) const;

  void AppendHandles(std::vector<const Handle*>* out) const;

 private:
  struct Layer {
    std::unique_ptr<QkvHandle> qkv;
    std::unique_ptr<LinearHandle> output;
    std::unique_ptr<MlpHandle> mlp;
  };
  Layer MakeLayer(const VisionConfig& config, int32_t layer_idx, TensorSource& source) const;

  const Backend& backend_;
  const int32_t num_tokens_;
  std::unique_ptr<PatchEmbeddingHandle> patches_;
  std::vector<Layer> layers_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_NN_CLIP_VISION_TOWER_H_
