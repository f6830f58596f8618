// KnownImages: the images that a server has been given, so that a request may name them by their
// digest instead of carrying their bytes again. Only a hint: a server forgets images, and then says
// which; the call is made again with the bytes.
//
//   const ImagePlan plan = known.Plan(request.messages());
//   if (plan.names_any()) known.Name(plan, shorter.mutable_messages());   // a copy of the request
//   ... call ...
//   ok: known.Remember(plan.digests);
//   error: if (known.ShouldResend(error, plan)) ... call with the bytes ...
//
// Thread-safe.
#ifndef PARROT_CLIENT_KNOWN_IMAGES_H_
#define PARROT_CLIENT_KNOWN_IMAGES_H_

#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/hash.h"
#include "client/conversation.h"

namespace parrot {

// The images that some messages carry as bytes, in their order.
struct ImagePlan {
  std::vector<Sha256Digest> digests;
  std::vector<bool> is_known;  // one for each: named instead
  bool names_any() const;
};

class KnownImages {
 public:
  // Not enabled: knows nothing, ever.
  explicit KnownImages(bool enabled) : enabled_(enabled) {}
  KnownImages(const KnownImages&) = delete;
  KnownImages& operator=(const KnownImages&) = delete;

  // Hashes the images, a few milliseconds for a large one. Empty when not enabled.
  ImagePlan Plan(const MessageList& messages) const;
  // Replaces what the plan names. REQUIRES: the messages that the plan was made for.
  static void Name(const ImagePlan& plan, MessageList* messages);

  void Remember(const std::vector<Sha256Digest>& digests);
  void Forget(const Sha256Digest& digest);
  // Whether a call that named images failed because of that, and would not with their bytes.
  // Forgets what the server has forgotten, and all for good if it keeps no images.
  bool ShouldResend(const absl::Status& error, const ImagePlan& plan);

 private:
  mutable absl::Mutex mutex_;
  bool enabled_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Sha256Digest> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace parrot

#endif  // PARROT_CLIENT_KNOWN_IMAGES_H_
