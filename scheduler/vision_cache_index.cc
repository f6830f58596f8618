#include "scheduler/vision_cache_index.h"

#include "base/check.h"

namespace parrot {

void VisionCacheIndex::AddRef(const ImageHash& image) {
  Entry& entry = entries_[image];
  if (entry.num_users++ == 0 && entry.state == State::kReady) unused_.erase(entry.unused);
}

void VisionCacheIndex::Release(const ImageHash& image, std::vector<ImageHash>* evicted) {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end() && it->second.num_users > 0);
  Entry& entry = it->second;
  if (--entry.num_users > 0) return;
  if (entry.state == State::kReady) {
    entry.unused = unused_.insert(unused_.end(), image);
    EvictDownTo(max_images_, evicted);
    return;
  }
  if (entry.state == State::kEncoding) {
    --num_encoding_;
    --num_present_;
    evicted->push_back(image);
  }
  entries_.erase(it);
}

void VisionCacheIndex::EvictDownTo(int64_t num_images, std::vector<ImageHash>* evicted) {
  while (num_present_ > num_images && !unused_.empty()) {
    ++num_evictions_;
    evicted->push_back(unused_.front());
    entries_.erase(unused_.front());
    unused_.pop_front();
    --num_present_;
  }
}

void VisionCacheIndex::EvictUnused(std::vector<ImageHash>* evicted) { EvictDownTo(0, evicted); }

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

void VisionCacheIndex::BeginEncode(const ImageHash& image,
                                   uint64_t step_id,
                                   std::vector<ImageHash>* evicted) {
  EvictDownTo(max_images_ - 1, evicted);
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end() && it->second.state == State::kAbsent);
  it->second.state = State::kEncoding;
  it->second.encode_step = step_id;
  ++num_encoding_;
  ++num_present_;
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
  --num_present_;
  return true;
}

}  // namespace parrot
