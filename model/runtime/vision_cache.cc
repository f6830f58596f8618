#include "model/runtime/vision_cache.h"

namespace parrot {

VisionCache::Image* VisionCache::Find(const ImageHash& image) {
  const auto it = images_.find(image);
  return it == images_.end() ? nullptr : &it->second;
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
  images_.erase(image);
  partials_.erase(image);
}

}  // namespace parrot
