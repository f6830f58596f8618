// VisionCache: the projected features F of images, where the worker keeps them the outputs E of all
// experts, and towers that are still running. Which images stay is the scheduler's decision
// (StepInput::evicted_images). Confined to the worker's thread.
#ifndef PARROT_MODEL_RUNTIME_VISION_CACHE_H_
#define PARROT_MODEL_RUNTIME_VISION_CACHE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "model/api/image_input.h"

namespace parrot {

class VisionCache {
 public:
  struct Image {
    at::Tensor features;  // [tokens, H]
    at::Tensor experts;   // [experts, tokens, H]; undefined when they are not kept
    // ||E_e||_F, [experts]; empty until somebody asked for an error bound.
    std::vector<float> expert_norms;
  };

  // A finished image; null when there is none.
  Image* Find(const ImageHash& image);
  void Put(const ImageHash& hash, const Image& image) { images_[hash] = image; }

  // State [tokens, vision hidden] after `num_layers` layers of a pass that was cut; undefined when
  // the image is not that far.
  at::Tensor TakePartial(const ImageHash& image, int32_t num_layers);
  void PutPartial(const ImageHash& image, int32_t num_layers, const at::Tensor& hidden);

  // Both kinds; nothing happens when there are none.
  void Evict(const ImageHash& image);
  size_t size() const { return images_.size() + partials_.size(); }

 private:
  struct Partial {
    int32_t num_layers = 0;
    at::Tensor hidden;
  };
  absl::flat_hash_map<ImageHash, Image> images_;
  absl::flat_hash_map<ImageHash, Partial> partials_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_VISION_CACHE_H_
