// FeatureCache: the frozen tower's output for the pictures of the training data. Loader threads ask
// for a picture before it is needed and get it decoded, or nothing when its features are known;
// worker threads turn what was decoded into features. Features stay until the memory for them is
// used up; nothing is evicted, because an epoch visits every picture alike. Thread-safe.
#ifndef PARROT_TRAIN_FEATURE_CACHE_H_
#define PARROT_TRAIN_FEATURE_CACHE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "model/api/image_input.h"
#include "train/data/picture_reader.h"
#include "train/training_model.h"

namespace parrot {

// A picture on its way: decoded, or with its features already known.
struct PendingPicture {
  std::string path;
  std::shared_ptr<const ImagePixels> pixels;
  at::Tensor features;  // [tokens, hidden]
};

class FeatureCache {
 public:
  // Both are borrowed. `max_bytes` bounds the features that are kept.
  FeatureCache(const PictureReader& reader, const TrainingModel& model, int64_t max_bytes)
      : reader_(reader), model_(model), max_bytes_(max_bytes) {}

  PendingPicture Prepare(const std::string& path);
  // Fills in the missing features, without gradients.
  void Finish(std::span<PendingPicture*> pictures);

 private:
  const PictureReader& reader_;
  const TrainingModel& model_;
  const int64_t max_bytes_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, at::Tensor> features_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_FEATURE_CACHE_H_
