// VisionCache: the projected features F of images, and towers that are still running. Which images
// stay is the scheduler's decision (StepInput::evicted_images). Confined to the worker's thread.
#ifndef PARROT_MODEL_RUNTIME_VISION_CACHE_H_
#define PARROT_MODEL_RUNTIME_VISION_CACHE_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "model/api/image_input.h"

namespace parrot {

class VisionCache {
 public:
  // Features [tokens, H] of a finished image; undefined when there are none.
  at::Tensor Features(const ImageHash& image) const;
  void PutFeatures(const ImageHash& image, const at::Tensor& features);

  // State [tokens, vision hidden] after `num_layers` layers of a pass that was cut; undefined when
  // the image is not that far.
  at::Tensor TakePartial(const ImageHash& image, int32_t num_layers);
  void PutPartial(const ImageHash& image, int32_t num_layers, const at::Tensor& hidden);

  // Both kinds; nothing happens when there are none.
  void Evict(const ImageHash& image);
  size_t size() const { return features_.size() + partials_.size(); }

 private:
  struct Partial {
    int32_t num_layers = 0;
    at::Tensor hidden;
  };
  absl::flat_hash_map<ImageHash, at::Tensor> features_;
  absl::flat_hash_map<ImageHash, Partial> partials_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_VISION_CACHE_H_
