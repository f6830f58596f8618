// ImageIntake: the two ways in which an image comes in. As bytes: they are decoded and resized,
// unless the ImageStore knows them, and are known from then on. By digest: the ImageStore has it or
// nobody does.
//
// Immutable but for the store, so thread-safe.
#ifndef PARROT_SERVER_FRONTEND_IMAGE_INTAKE_H_
#define PARROT_SERVER_FRONTEND_IMAGE_INTAKE_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/hash.h"
#include "model/image/clip_image_processor.h"
#include "server/frontend/generate_spec.h"
#include "server/frontend/image_store.h"

namespace parrot {

// ErrorFacts::reason of a digest that is not in the store.
inline constexpr char kImageNotFound[] = "IMAGE_NOT_FOUND";

struct TakenImage {
  StoredImage image;
  Sha256Digest digest;  // of the encoded bytes; zeros when the store is off
  bool was_known = false;
  absl::Duration decode_time;  // look-up, probe and decoder
  absl::Duration preprocess_time;
};

class ImageIntake {
 public:
  // All borrowed.
  ImageIntake(const ClipImageProcessor& processor, ImageStore& store, Clock& clock);

  // From the encoded file. Errors as ClipImageProcessor::Preprocess; the caller adds the field.
  [[nodiscard]] absl::StatusOr<TakenImage> Take(std::string_view encoded,
                                                std::string_view declared_mime,
                                                std::string_view tenant) const;

  // Gives each image that is named by its digest what the store has (ImageSpec::kept). When it
  // lacks any: FAILED_PRECONDITION, IMAGE_NOT_FOUND, whose field is the first place of an unknown
  // one and whose subjects are all of them in hexadecimal, each once.
  [[nodiscard]] absl::Status Resolve(std::vector<MessageSpec>& messages,
                                     std::string_view tenant) const;

  ImageStore& store() const { return store_; }

 private:
  const ClipImageProcessor& processor_;
  ImageStore& store_;
  Clock& clock_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_IMAGE_INTAKE_H_
