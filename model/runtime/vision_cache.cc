#include "model/runtime/vision_cache.h"

namespace parrot {

at::Tensor VisionCache::Features(const ImageHash& image) const {
  const auto it = features_.find(image);
  return it == features_.end() ? at::Tensor() : it->second;
}

void VisionCache::PutFeatures(const ImageHash& image, const at::Tensor& features) {
  features_[image] = features;
}

at::Tensor VisionCache::TakePartial(const ImageHash& image, int32_t num_layers) {
  const auto it = partials_.find(image);
  if (it == partials_.end() || it->second.num_layers != num_layers) return at::Tensor();
  at::Tensor hidden = it->second.hidden;
  partials_.erase(it);
  return hidden;
}

void VisionCache::PutPartial(const ImageHash& image, int32_t num_layers, const at::Tensor& hidden) {
  partials_[image] = {.num_layers = num_layers, .hidden = hidden};
}

void VisionCache::Evict(const ImageHash& image) {
  features_.erase(image);
  partials_.erase(image);
}

}  // namespace parrot
