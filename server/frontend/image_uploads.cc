#include "server/frontend/image_uploads.h"

#include <new>
#include <utility>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "server/frontend/end_status.h"

namespace parrot {

ImageUpload::ImageUpload(PutImageSpec spec, Done done, std::unique_ptr<Admission::Ticket> ticket)
    : work_({.spec = std::move(spec), .ticket = std::move(ticket)}), done_(std::move(done)) {}

std::optional<ImageUpload::Work> ImageUpload::Begin() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(work_, std::nullopt);
}

ImageUpload::Done ImageUpload::TakeDone() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(done_, nullptr);
}

std::shared_ptr<ImageUpload> ImageUploads::Submit(PutImageSpec spec,
                                                  const Identity& identity,
                                                  ImageUpload::Done done) {
  absl::StatusOr<std::unique_ptr<Admission::Ticket>> ticket = Admit(spec);
  if (!ticket.ok()) {
    End(done, ticket.status());
    return nullptr;
  }
  auto upload = std::make_shared<ImageUpload>(std::move(spec), std::move(done), *std::move(ticket));
  if (!parts_.preprocessor.TryPost(
          [this, upload, tenant = identity.tenant] { Run(*upload, tenant); })) {
    upload->Begin();  // gives its room back
    End(upload->TakeDone(), parts_.admission.Overloaded("QUEUE_FULL", "preprocessing queue"));
  }
  return upload;
}

absl::StatusOr<std::unique_ptr<Admission::Ticket>> ImageUploads::Admit(PutImageSpec& spec) {
  RETURN_IF_ERROR(parts_.admission.CheckReady());
  ASSIGN_OR_RETURN(spec.model, parts_.validator.ValidateUpload(spec.model, spec.data));
  if (WorkDeadline(parts_.limits, spec.arrival, spec.deadline, {}) <= parts_.clock.Now()) {
    return DeadlineExceeded();
  }
  return parts_.admission.Admit(static_cast<int64_t>(spec.data.size()) + parts_.bytes_per_image);
}

void ImageUploads::Run(ImageUpload& upload, const std::string& tenant) {
  std::optional<ImageUpload::Work> work = upload.Begin();
  if (!work.has_value()) return;  // it ended while it waited
  absl::StatusOr<PutImageResult> result = DeadlineExceeded();
  // A boundary of the pool like CallRunner::Prepare's.
  try {
    result = Prepare(work->spec, tenant);
  } catch (const std::bad_alloc&) {
    result = parts_.admission.Overloaded("OUT_OF_MEMORY", "memory");
  }
  work.reset();  // room first: whoever has the answer finds it free
  if (const ImageUpload::Done done = upload.TakeDone(); done != nullptr) {
    End(done, std::move(result));
  }
}

absl::StatusOr<PutImageResult> ImageUploads::Prepare(const PutImageSpec& spec,
                                                     const std::string& tenant) {
  if (WorkDeadline(parts_.limits, spec.arrival, spec.deadline, {}) <= parts_.clock.Now()) {
    return DeadlineExceeded();
  }
  absl::StatusOr<TakenImage> taken =
      parts_.intake.Take(spec.data, spec.mime_type.value_or(""), tenant);
  if (!taken.ok()) return WithField(taken.status(), "data");
  if (!taken->was_known) {
    parts_.metrics.CountImages(1, static_cast<int64_t>(spec.data.size()));
  }
  const ImageInfo& info = taken->image.info;
  return PutImageResult{.model = *spec.model,
                        .digest = taken->digest,
                        .mime_type = ImageMimeType(info.format),
                        .width = info.width,
                        .height = info.height,
                        .image_tokens = parts_.tokens_per_image,
                        .was_known = taken->was_known};
}

void ImageUploads::Cancel(ImageUpload& upload) {
  const ImageUpload::Done done = upload.TakeDone();
  if (done == nullptr) return;
  const bool was_queued = upload.Begin().has_value();
  parts_.metrics.CountCancelled(was_queued ? CancelStage::kPreprocessQueue
                                           : CancelStage::kPreprocess);
  done(Cancelled());
}

void ImageUploads::End(const ImageUpload::Done& done, absl::StatusOr<PutImageResult> result) {
  if (!result.ok()) parts_.metrics.CountRejected(GetErrorFacts(result.status()).reason);
  done(std::move(result));
}

}  // namespace parrot
