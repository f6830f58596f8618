// VisionCacheIndex: which images' features the worker holds, and how many live sequences need each.
// Features are encoded once while anybody needs them. Those that nobody needs stay while all images
// together are no more than the budget allows; the one that was needed longest ago goes first.
// Features in use are pinned: they may exceed the budget.
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_VISION_CACHE_INDEX_H_
#define PARROT_SCHEDULER_VISION_CACHE_INDEX_H_

#include <cstdint>
#include <list>
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

  // `max_images`: the budget. 0: features go with their last user.
  explicit VisionCacheIndex(int64_t max_images = 0) : max_images_(max_images) {}

  // One more user. Call before anything else of an image.
  void AddRef(const ImageHash& image);
  // One user less. Appends what is evicted to `evicted`.
  void Release(const ImageHash& image, std::vector<ImageHash>* evicted);

  // REQUIRES: the image has a user.
  State state(const ImageHash& image) const;
  // The step that brought the EncodeJob of an image that is not absent.
  uint64_t encode_step(const ImageHash& image) const;
  // kAbsent -> kEncoding. Appends the unused images that make room for it to `evicted`.
  void BeginEncode(const ImageHash& image, uint64_t step_id, std::vector<ImageHash>* evicted);
  // A StepOutput of `done_step` named the image: kEncoding -> kReady. False when the news is stale:
  // the image has no user, or was evicted and is encoded anew by a later step.
  bool FinishEncode(const ImageHash& image, uint64_t done_step);
  // The EncodeJob of `step_id` is lost: -> kAbsent, if that is the one in flight. The caller
  // evicts.
  bool AbortEncode(const ImageHash& image, uint64_t step_id);
  // Evicts every image that nobody uses.
  void EvictUnused(std::vector<ImageHash>* evicted);

  int32_t num_used() const { return static_cast<int32_t>(entries_.size() - unused_.size()); }
  int32_t num_unused() const { return static_cast<int32_t>(unused_.size()); }
  int32_t num_encoding() const { return num_encoding_; }
  // Images whose features the worker holds or is making.
  int32_t num_present() const { return num_present_; }
  // Images whose features were there and had to go, since the start.
  int64_t num_evictions() const { return num_evictions_; }

 private:
  struct Entry {
    int32_t num_users = 0;
    State state = State::kAbsent;
    uint64_t encode_step = 0;
    std::list<ImageHash>::iterator unused;  // valid when nobody uses it
  };

  void EvictDownTo(int64_t num_images, std::vector<ImageHash>* evicted);

  const int64_t max_images_;
  absl::flat_hash_map<ImageHash, Entry> entries_;
  std::list<ImageHash> unused_;  // ready ones that nobody uses, needed longest ago first
  int32_t num_encoding_ = 0;
  int32_t num_present_ = 0;
  int64_t num_evictions_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_VISION_CACHE_INDEX_H_
