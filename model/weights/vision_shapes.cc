#include "model/weights/vision_shapes.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/weights/config_reader.h"
#include "model/weights/model_file.h"
#include "model/weights/tensor_names.h"

namespace parrot {
namespace {

// The shape of a tensor that must be there with `rank` dimensions of sane size.
absl::StatusOr<std::vector<int64_t>> ShapeOf(const WeightFiles& weights,
                                             const std::string& name,
                                             size_t rank) {
  const auto it = weights.tensors.find(name);
  if (it == weights.tensors.end()) {
    return ModelFileInvalid("model.safetensors", name, "tensor is missing");
  }
  const std::vector<int64_t>& shape = it->second.tensor->shape;
  bool sane = shape.size() == rank;
  for (const int64_t dim : shape) sane = sane && dim >= 1 && dim <= kMaxIntermediate;
  if (!sane) {
    return ModelFileInvalid(weights.files[it->second.file_idx]->base_name(),
                            name,
                            absl::StrCat("shape ", ShapeText(shape), " is not a CLIP tower's"));
  }
  return shape;
}

}  // namespace

absl::Status InferVisionConfig(const WeightFiles& weights, VisionConfig& config) {
  const std::string patch_name = tensor_names::Vision("embeddings.patch_embedding.weight");
  const std::string position_name = tensor_names::Vision("embeddings.position_embedding.weight");
  ASSIGN_OR_RETURN(const auto patch, ShapeOf(weights, patch_name, 4));
  ASSIGN_OR_RETURN(const auto position, ShapeOf(weights, position_name, 2));
  ASSIGN_OR_RETURN(const auto fc1,
                   ShapeOf(weights, tensor_names::VisionLayer(0, "mlp.fc1.weight"), 2));

  if (patch[0] > kMaxChannels || patch[0] % kClipHeadDim != 0 || patch[2] > kMaxImageSize) {
    return ModelFileInvalid("model.safetensors",
                            patch_name,
                            absl::StrCat("shape ",
                                         ShapeText(patch),
                                         " is not a CLIP tower's: it ",
                                         "needs a multiple of ",
                                         kClipHeadDim,
                                         " channels, or a ",
                                         "vision_config.json that states the heads"));
  }
  const int64_t num_patches = position[0] - 1;
  const int64_t side = std::llround(std::sqrt(static_cast<double>(num_patches)));
  if (side < 1 || side * side != num_patches || position[0] > kMaxImageTokens ||
      side * patch[2] > kMaxImageSize) {
    return ModelFileInvalid(
        "model.safetensors",
        position_name,
        absl::StrCat(
            "shape ", ShapeText(position), " is not a square of patches and one class row"));
  }
  int32_t num_layers = 1;
  while (num_layers < kMaxLayers &&
         weights.tensors.contains(tensor_names::VisionLayer(num_layers, "mlp.fc1.weight"))) {
    ++num_layers;
  }
  config.hidden_size = static_cast<int32_t>(patch[0]);
  config.patch_size = static_cast<int32_t>(patch[2]);
  config.image_size = static_cast<int32_t>(side * patch[2]);
  config.intermediate_size = static_cast<int32_t>(fc1[0]);
  config.num_layers = num_layers;
  config.num_heads = config.hidden_size / kClipHeadDim;
  config.layer_norm_eps = 1e-5f;
  return absl::OkStatus();
}

}  // namespace parrot
