// ImageUploads: images that come without a question (PutImage), to be named by their digest later.
// An upload takes room in Admission and a turn in the preprocess pool like any request; it is then
// answered from that thread.
//
// Thread-safe; no lock is held while `done` runs.
#ifndef PARROT_SERVER_FRONTEND_IMAGE_UPLOADS_H_
#define PARROT_SERVER_FRONTEND_IMAGE_UPLOADS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/hash.h"
#include "server/frontend/admission.h"
#include "server/frontend/identity.h"
#include "server/frontend/image_intake.h"
#include "server/frontend/limits.h"
#include "server/frontend/metrics.h"
#include "server/frontend/preprocessor.h"
#include "server/frontend/validator.h"

namespace parrot {

struct PutImageSpec {
  std::optional<std::string> model;
  std::string data;  // the encoded file
  std::optional<std::string> mime_type;
  absl::Time arrival;
  absl::Time deadline = absl::InfiniteFuture();  // the transport's
};

struct PutImageResult {
  std::string model;
  Sha256Digest digest;    // of the encoded file: names it in requests of the same tenant
  const char* mime_type;  // what the bytes are
  int32_t width = 0;      // pixels, as encoded
  int32_t height = 0;
  int32_t image_tokens = 0;  // that it takes of a prompt
  bool was_known = false;    // it was there before, nothing was decoded
};

// One upload. Ends once: with its result or whatever comes before. Thread-safe.
class ImageUpload {
 public:
  using Done = std::function<void(absl::StatusOr<PutImageResult>)>;
  ImageUpload(PutImageSpec spec, Done done, std::unique_ptr<Admission::Ticket> ticket);

 private:
  friend class ImageUploads;
  // What the thread that prepares it holds.
  struct Work {
    PutImageSpec spec;
    std::unique_ptr<Admission::Ticket> ticket;
  };
  // nullopt: it has ended, or was taken.
  std::optional<Work> Begin();
  // Null: it has ended already. Else who gets it calls it.
  Done TakeDone();

  absl::Mutex mutex_;
  std::optional<Work> work_ ABSL_GUARDED_BY(mutex_);  // while queued
  Done done_ ABSL_GUARDED_BY(mutex_);                 // null: ended
};

class ImageUploads {
 public:
  struct Parts {
    const FrontendLimits& limits;
    const Validator& validator;
    const ImageIntake& intake;
    Admission& admission;
    Preprocessor& preprocessor;
    Metrics& metrics;
    Clock& clock;
    int64_t bytes_per_image = 0;  // of the preprocessed pixels
    int32_t tokens_per_image = 0;
  };
  // All borrowed. The preprocessor stops before this goes.
  explicit ImageUploads(const Parts& parts) : parts_(parts) {}

  // Never blocks. `done` is called once, perhaps before this returns, unless Cancel comes first.
  std::shared_ptr<ImageUpload> Submit(PutImageSpec spec,
                                      const Identity& identity,
                                      ImageUpload::Done done);
  // `done` gets CANCELLED, unless the upload has ended.
  void Cancel(ImageUpload& upload);

 private:
  // Also resolves the model's name.
  absl::StatusOr<std::unique_ptr<Admission::Ticket>> Admit(PutImageSpec& spec);
  void Run(ImageUpload& upload, const std::string& tenant);
  absl::StatusOr<PutImageResult> Prepare(const PutImageSpec& spec, const std::string& tenant);
  // Counts an error, and tells.
  void End(const ImageUpload::Done& done, absl::StatusOr<PutImageResult> result);

  const Parts parts_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_IMAGE_UPLOADS_H_
