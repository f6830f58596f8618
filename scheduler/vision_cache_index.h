// VisionCacheIndex: which images' features the worker holds, and how many live sequences need each.
// Features are encoded once while anybody needs them. Those that nobody needs stay while all images
// together are no more than the budget allows; the one that was needed longest ago goes first.
// Features in use are pinned: they may exceed the budget.
//
// An encode begins once and may be submitted in several steps, some layers of the tower in each.
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
    kEncoding,  // begun
    kReady,
  };

  // `max_images`: the budget. 0: features go with their last user. `num_layers`: of the tower,
  // >= 1.
  explicit VisionCacheIndex(int64_t max_images = 0, int32_t num_layers = 1)
      : max_images_(max_images), num_layers_(num_layers) {}

  // One more user. Call before anything else of an image.
  void AddRef(const ImageHash& image);
  // One user less. Appends what is evicted to `evicted`.
  void Release(const ImageHash& image, std::vector<ImageHash>* evicted);

  // REQUIRES: the image has a user.
  State state(const ImageHash& image) const;
  // The step in which the encode of an image that is not absent began.
  uint64_t encode_step(const ImageHash& image) const;
  // kAbsent -> kEncoding. Appends the unused images that make room for it to `evicted`.
  void BeginEncode(const ImageHash& image, uint64_t step_id, std::vector<ImageHash>* evicted);
  // Those being encoded that have layers left to submit, by begin.
  const std::vector<ImageHash>& unsubmitted() const { return unsubmitted_; }
  int32_t num_layers_left(const ImageHash& image) const;
  // The next `count` layers are in step `step_id`; returns the first of them. REQUIRES: 1 <= count
  // <= num_layers_left().
  int32_t SubmitLayers(const ImageHash& image, int32_t count, uint64_t step_id);
  // The tower's last layer is in step `step_id`.
  bool EndsIn(const ImageHash& image, uint64_t step_id) const;
  // A StepOutput of `done_step` named the image: kEncoding -> kReady. False when the news is stale:
  // the image has no user, or was evicted and is encoded anew by a later step.
  bool FinishEncode(const ImageHash& image, uint64_t done_step);
  // The EncodeJob of `step_id` is lost: -> kAbsent, unless the encode began later. The caller
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
    int32_t num_submitted_layers = 0;
    uint64_t last_step = 0;                 // of those that brought layers
    std::list<ImageHash>::iterator unused;  // valid when nobody uses it
  };

  void EvictDownTo(int64_t num_images, std::vector<ImageHash>* evicted);
  // The encode is done or given up.
  void EndEncode(const ImageHash& image);
  const Entry& Get(const ImageHash& image) const;

  const int64_t max_images_;
  const int32_t num_layers_;
  absl::flat_hash_map<ImageHash, Entry> entries_;
  std::list<ImageHash> unused_;  // ready ones that nobody uses, needed longest ago first
  std::vector<ImageHash> unsubmitted_;
  int32_t num_encoding_ = 0;
  int32_t num_present_ = 0;
  int64_t num_evictions_ = 0;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_VISION_CACHE_INDEX_H_
