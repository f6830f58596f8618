#include "server/frontend/admission.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/error_status.h"
#include "scheduler/retry_after.h"

namespace parrot {
namespace {

// A server that loads or drains: another replica is the better choice until then.
constexpr absl::Duration kNotReadyRetryAfter = absl::Seconds(1);

absl::Status NotReady(std::string_view reason, std::string_view message) {
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     message,
                     {.reason = std::string(reason), .retry_after = kNotReadyRetryAfter});
}

}  // namespace

Admission::Ticket::Ticket(Admission* admission, int64_t image_bytes)
    : admission_(*admission), image_bytes_(image_bytes) {}

Admission::Ticket::~Ticket() { admission_.Release(1, image_bytes_); }

void Admission::Ticket::Shrink(int64_t image_bytes) {
  PARROT_CHECK(image_bytes <= image_bytes_);
  admission_.Release(0, image_bytes_ - image_bytes);
  image_bytes_ = image_bytes;
}

Admission::Admission(const AdmissionOptions& options,
                     const Lifecycle* lifecycle,
                     std::function<EngineLoad()> load)
    : options_(options), lifecycle_(*lifecycle), load_(std::move(load)) {}

absl::Status Admission::CheckReady() const {
  switch (lifecycle_.state()) {
    case ServerState::kReady:
      return absl::OkStatus();
    case ServerState::kStarting:
      return NotReady("LOADING", "the model is loading");
    case ServerState::kDraining:
      return NotReady("DRAINING", "the server is shutting down");
    case ServerState::kFailed:
      return NotReady("ENGINE_FAILED", "the engine has failed");
  }
  return NotReady("ENGINE_FAILED", "the engine has failed");
}

absl::Status Admission::Overloaded(std::string_view reason, std::string_view what) const {
  const absl::Duration retry_after = RetryAfter(load_());
  return ErrorStatus(absl::StatusCode::kResourceExhausted,
                     absl::StrCat("overloaded (",
                                  std::string(what),
                                  "), retry in ",
                                  absl::ToInt64Milliseconds(retry_after),
                                  " ms"),
                     {.reason = std::string(reason), .retry_after = retry_after});
}

absl::StatusOr<std::unique_ptr<Admission::Ticket>> Admission::Admit(int64_t image_bytes) {
  if (load_().num_waiting >= options_.max_engine_queue) {
    return Overloaded("QUEUE_FULL", "request queue");
  }
  std::string_view full;
  {
    absl::MutexLock lock(&mutex_);
    if (live_requests_ >= options_.capacity.max_live_requests) {
      full = "requests";
    } else if (image_bytes_ + image_bytes > options_.capacity.max_image_bytes_in_flight) {
      full = "image memory";
    } else {
      ++live_requests_;
      image_bytes_ += image_bytes;
    }
  }
  if (!full.empty()) {
    return Overloaded(full == "requests" ? "TOO_MANY_REQUESTS" : "IMAGE_MEMORY", full);
  }
  return std::make_unique<Ticket>(this, image_bytes);
}

void Admission::Release(int32_t requests, int64_t image_bytes) {
  absl::MutexLock lock(&mutex_);
  live_requests_ -= requests;
  image_bytes_ -= image_bytes;
}

int32_t Admission::live_requests() const {
  absl::MutexLock lock(&mutex_);
  return live_requests_;
}

int64_t Admission::image_bytes() const {
  absl::MutexLock lock(&mutex_);
  return image_bytes_;
}

}  // namespace parrot
