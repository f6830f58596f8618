// ImageStore: preprocessed images by the SHA-256 of the encoded file that they came from. A client
// may then name an image instead of sending it again, and a file that is known is not decoded
// again.
//
//   store.Put("team-a", digest, image);
//   if (std::optional<StoredImage> image = store.Find("team-a", digest)) Use(image->input);
//
// A digest means something to its tenant alone: entries are keyed by H(tenant, digest), so to
// others it is as unknown as any other 32 bytes.
//
// What is kept stays within `max_bytes` (pixels and a little for each entry); the image that was
// used longest ago goes first. Whoever finds an image shares its pixels from then on, so evicting
// it takes nothing from a request in flight; such pixels are counted by Admission, not here.
//
// Thread-safe; the lock covers a look-up, never a hash of an image or freeing one.
#ifndef PARROT_SERVER_FRONTEND_IMAGE_STORE_H_
#define PARROT_SERVER_FRONTEND_IMAGE_STORE_H_

#include <cstdint>
#include <list>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/hash.h"
#include "model/api/image_input.h"
#include "model/image/image_probe.h"

namespace parrot {

struct StoredImage {
  ImageInput input;  // its hash is salted with the tenant
  ImageInfo info;    // of the encoded file
};

class ImageStore {
 public:
  // 0: keeps nothing.
  explicit ImageStore(int64_t max_bytes) : max_bytes_(max_bytes) {}
  ImageStore(const ImageStore&) = delete;
  ImageStore& operator=(const ImageStore&) = delete;

  // What an image of so many bytes of pixels takes of the budget.
  static int64_t CostOf(int64_t pixel_bytes);
  bool enabled() const { return max_bytes_ > 0; }

  // The image, which is the one used last from now on; nullopt if it is not there. Counts a query.
  std::optional<StoredImage> Find(std::string_view tenant, const Sha256Digest& digest);
  // Whether it is there; if so, it is the one used last. Counts nothing.
  bool Touch(std::string_view tenant, const Sha256Digest& digest);
  // Keeps it, evicting others; one that is there already stays. One that is larger than the whole
  // budget is not kept.
  void Put(std::string_view tenant, const Sha256Digest& digest, StoredImage image);
  void Clear();

  struct Stats {
    int64_t num_queries = 0;
    int64_t num_hits = 0;
    int64_t num_evictions = 0;  // for lack of room; Clear counts none
    int64_t num_images = 0;
    int64_t num_bytes = 0;
  };
  Stats stats() const;

 private:
  struct Entry {
    Sha256Digest key;
    StoredImage image;
    int64_t cost = 0;
  };
  using Entries = std::list<Entry>;

  // The entry, moved to the end; null if it is not there.
  const Entry* UseLocked(const Sha256Digest& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_bytes_;
  mutable absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // used longest ago first
  absl::flat_hash_map<Sha256Digest, Entries::iterator> index_ ABSL_GUARDED_BY(mutex_);
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_IMAGE_STORE_H_
