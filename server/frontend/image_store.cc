#include "server/frontend/image_store.h"

#include <iterator>
#include <utility>

namespace parrot {
namespace {

// Beside the pixels: the entry, its node and its place in the index, generously.
constexpr int64_t kEntryBytes = 512;

Sha256Digest KeyOf(std::string_view tenant, const Sha256Digest& digest) {
  Sha256 key;
  key.UpdateSized(tenant);
  key.Update(digest.view());
  return key.Finish();
}

}  // namespace

int64_t ImageStore::CostOf(int64_t pixel_bytes) { return pixel_bytes + kEntryBytes; }

const ImageStore::Entry* ImageStore::UseLocked(const Sha256Digest& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  entries_.splice(entries_.end(), entries_, found->second);
  return &*found->second;
}

std::optional<StoredImage> ImageStore::Find(std::string_view tenant, const Sha256Digest& digest) {
  const Sha256Digest key = KeyOf(tenant, digest);
  absl::MutexLock lock(&mutex_);
  ++stats_.num_queries;
  const Entry* entry = UseLocked(key);
  if (entry == nullptr) return std::nullopt;
  ++stats_.num_hits;
  return entry->image;
}

bool ImageStore::Touch(std::string_view tenant, const Sha256Digest& digest) {
  const Sha256Digest key = KeyOf(tenant, digest);
  absl::MutexLock lock(&mutex_);
  return UseLocked(key) != nullptr;
}

void ImageStore::Put(std::string_view tenant, const Sha256Digest& digest, StoredImage image) {
  const int64_t cost = CostOf(static_cast<int64_t>(image.input.pixels->size()));
  if (cost > max_bytes_) return;
  const Sha256Digest key = KeyOf(tenant, digest);
  Entries evicted;  // freed after the lock
  absl::MutexLock lock(&mutex_);
  if (UseLocked(key) != nullptr) return;
  while (stats_.num_bytes + cost > max_bytes_) {
    Entry& oldest = entries_.front();
    stats_.num_bytes -= oldest.cost;
    ++stats_.num_evictions;
    index_.erase(oldest.key);
    evicted.splice(evicted.end(), entries_, entries_.begin());
  }
  entries_.push_back({.key = key, .image = std::move(image), .cost = cost});
  index_.emplace(key, std::prev(entries_.end()));
  stats_.num_bytes += cost;
}

void ImageStore::Clear() {
  Entries dropped;  // freed after the lock
  absl::MutexLock lock(&mutex_);
  dropped.swap(entries_);
  index_.clear();
  stats_.num_bytes = 0;
}

ImageStore::Stats ImageStore::stats() const {
  absl::MutexLock lock(&mutex_);
  Stats stats = stats_;
  stats.num_images = static_cast<int64_t>(entries_.size());
  return stats;
}

}  // namespace parrot
