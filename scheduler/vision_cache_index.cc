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
    EndEncode(image);
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

const VisionCacheIndex::Entry& VisionCacheIndex::Get(const ImageHash& image) const {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end());
  return it->second;
}

VisionCacheIndex::State VisionCacheIndex::state(const ImageHash& image) const {
  return Get(image).state;
}

uint64_t VisionCacheIndex::encode_step(const ImageHash& image) const {
  return Get(image).encode_step;
}

int32_t VisionCacheIndex::num_layers_left(const ImageHash& image) const {
  return num_layers_ - Get(image).num_submitted_layers;
}

bool VisionCacheIndex::EndsIn(const ImageHash& image, uint64_t step_id) const {
  const Entry& entry = Get(image);
  return entry.state == State::kEncoding && entry.num_submitted_layers == num_layers_ &&
         entry.last_step == step_id;
}

void VisionCacheIndex::BeginEncode(const ImageHash& image,
                                   uint64_t step_id,
                                   std::vector<ImageHash>* evicted) {
  EvictDownTo(max_images_ - 1, evicted);
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end() && it->second.state == State::kAbsent);
  it->second.state = State::kEncoding;
  it->second.encode_step = step_id;
  it->second.num_submitted_layers = 0;
  unsubmitted_.push_back(image);
  ++num_encoding_;
  ++num_present_;
}

int32_t VisionCacheIndex::SubmitLayers(const ImageHash& image, int32_t count, uint64_t step_id) {
  const auto it = entries_.find(image);
  PARROT_CHECK(it != entries_.end() && it->second.state == State::kEncoding);
  Entry& entry = it->second;
  const int32_t first = entry.num_submitted_layers;
  PARROT_CHECK(count >= 1 && count <= num_layers_ - first) << first << " + " << count;
  entry.num_submitted_layers += count;
  entry.last_step = step_id;
  if (entry.num_submitted_layers == num_layers_) std::erase(unsubmitted_, image);
  return first;
}

void VisionCacheIndex::EndEncode(const ImageHash& image) {
  --num_encoding_;
  std::erase(unsubmitted_, image);
}

bool VisionCacheIndex::FinishEncode(const ImageHash& image, uint64_t done_step) {
  const auto it = entries_.find(image);
  if (it == entries_.end() || it->second.state != State::kEncoding ||
      it->second.encode_step > done_step) {
    return false;
  }
  it->second.state = State::kReady;
  EndEncode(image);
  return true;
}

bool VisionCacheIndex::AbortEncode(const ImageHash& image, uint64_t step_id) {
  const auto it = entries_.find(image);
  if (it == entries_.end() || it->second.state != State::kEncoding ||
      it->second.encode_step > step_id) {
    return false;
  }
  it->second.state = State::kAbsent;
  EndEncode(image);
  --num_present_;
  return true;
}

}  // namespace parrot
