// The vision tower's sizes from its tensors' shapes, for published checkpoints: they come without a
// vision_config.json.
#ifndef PARROT_MODEL_WEIGHTS_VISION_SHAPES_H_
#define PARROT_MODEL_WEIGHTS_VISION_SHAPES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/api/model_config.h"
#include "model/weights/weight_files.h"

namespace parrot {

// Every CLIP tower has heads of this many channels, and no shape tells.
inline constexpr int32_t kClipHeadDim = 64;

// Fills all of `config` but select_layer. LayerNorm's epsilon is CLIP's 1e-5. INVALID_ARGUMENT when
// a tensor it reads is missing or has a shape that no tower has; that the other tensors agree is
// checked with the rest of the checkpoint.
absl::Status InferVisionConfig(const WeightFiles& weights, VisionConfig& config);

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_VISION_SHAPES_H_
