#include "train/feature_cache.h"

#include "ATen/core/grad_mode.h"

namespace parrot {

PendingPicture FeatureCache::Prepare(const std::string& path) {
  {
    const absl::MutexLock lock(&mutex_);
    const auto it = features_.find(path);
    if (it != features_.end()) return {.path = path, .features = it->second};
  }
  return {.path = path, .pixels = reader_.Read(path)};
}

void FeatureCache::Finish(std::span<PendingPicture*> pictures) {
  std::vector<const ImagePixels*> pixels;
  std::vector<PendingPicture*> missing;
  for (PendingPicture* picture : pictures) {
    if (picture->features.defined()) continue;
    missing.push_back(picture);
    pixels.push_back(picture->pixels.get());
  }
  if (missing.empty()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor all = model_.VisionFeatures(pixels);
  for (size_t i = 0; i < missing.size(); ++i) {
    // A copy: a view would keep the features of the whole call.
    missing[i]->features = all[static_cast<int64_t>(i)].clone();
    const auto bytes = static_cast<int64_t>(missing[i]->features.nbytes());
    const absl::MutexLock lock(&mutex_);
    if (bytes_ + bytes > max_bytes_) continue;
    if (features_.emplace(missing[i]->path, missing[i]->features).second) bytes_ += bytes;
  }
}

}  // namespace parrot
