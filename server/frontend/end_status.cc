#include "server/frontend/end_status.h"

#include "base/error_status.h"

namespace parrot {

absl::Status DeadlineExceeded() {
  return ErrorStatus(absl::StatusCode::kDeadlineExceeded,
                     "the deadline has passed",
                     {.reason = "DEADLINE_EXCEEDED"});
}

absl::Status Cancelled() {
  return ErrorStatus(absl::StatusCode::kCancelled, "cancelled", {.reason = "CANCELLED"});
}

absl::Status Aborted() {
  return ErrorStatus(
      absl::StatusCode::kCancelled, "aborted by an administrator", {.reason = "ABORTED"});
}

}  // namespace parrot
