// VisionCacheIndex: which images' features the worker holds, and how many live sequences need each.
// Features are encoded once while anybody who needs them is alive, and evicted when the last one
// goes. (A byte budget and keeping unused features come with the vision cache.)
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_VISION_CACHE_INDEX_H_
#define PARROT_SCHEDULER_VISION_CACHE_INDEX_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "model/api/image_input.h"

namespace parrot {

class VisionCacheIndex {
 public:
  enum class State {
    kAbsent,    // must be encoded
    kEncoding,  // an EncodeJob is in flight
    kReady,
  };

  // One more user. Call before anything else of an image.
  void AddRef(const ImageHash& image);
  // One user less. The last one appends the image to `evicted` unless it is absent.
  void Release(const ImageHash& image, std::vector<ImageHash>* evicted);

  // REQUIRES: the image has a user.
  State state(const ImageHash& image) const;
  // The step that brought the EncodeJob of an image that is not absent.
  uint64_t encode_step(const ImageHash& image) const;
  // kAbsent -> kEncoding.
  void BeginEncode(const ImageHash& image, uint64_t step_id);
  // A StepOutput of `done_step` named the image: kEncoding -> kReady. False when the news is stale:
  // the image has no user, or was evicted and is encoded anew by a later step.
  bool FinishEncode(const ImageHash& image, uint64_t done_step);
  // The EncodeJob of `step_id` is lost: -> kAbsent, if that is the one in flight. The caller
  // evicts.
  bool AbortEncode(const ImageHash& image, uint64_t step_id);

  int32_t num_images() const { return static_cast<int32_t>(entries_.size()); }
  int32_t num_encoding() const { return num_encoding_; }

 private:
  struct Entry {
    int32_t num_users = 0;
    State state = State::kAbsent;
    uint64_t encode_step = 0;
  };

  absl::flat_hash_map<ImageHash, Entry> entries_;
  int32_t num_encoding_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_VISION_CACHE_INDEX_H_
