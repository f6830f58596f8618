#include "scheduler/vision_cache_index.h"

#include "base/check.h"

namespace parrot {

void VisionCacheIndex::AddRef(const ImageHash& image) { ++entries_[image].num_users; }

void VisionCacheIndex::Release(const ImageHash& image, std::vector<ImageHash>* evicted) {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end());
  if (--it->second.num_users > 0) return;
  if (it->second.state == State::kEncoding) --num_encoding_;
  if (it->second.state != State::kAbsent) evicted->push_back(image);
  entries_.erase(it);
}

VisionCacheIndex::State VisionCacheIndex::state(const ImageHash& image) const {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end());
  return it->second.state;
}

uint64_t VisionCacheIndex::encode_step(const ImageHash& image) const {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end());
  return it->second.encode_step;
}

void VisionCacheIndex::BeginEncode(const ImageHash& image, uint64_t step_id) {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end() && it->second.state == State::kAbsent);
  it->second.state = State::kEncoding;
  it->second.encode_step = step_id;
  ++num_encoding_;
}

bool VisionCacheIndex::FinishEncode(const ImageHash& image, uint64_t done_step) {
  const auto it = entries_.find(image);
  if (it == entries_.end() || it->second.state != State::kEncoding ||
      it->second.encode_step > done_step) {
    return false;
  }
  it->second.state = State::kReady;
  --num_encoding_;
  return true;
}

bool VisionCacheIndex::AbortEncode(const ImageHash& image, uint64_t step_id) {
  const auto it = entries_.find(image);
  if (it == entries_.end() || it->second.state != State::kEncoding ||
      it->second.encode_step > step_id) {
    return false;
  }
  it->second.state = State::kAbsent;
  --num_encoding_;
  return true;
}

}  // namespace parrot
