#include "scheduler/worker_failure.h"

#include "absl/time/time.h"
#include "base/error_status.h"

namespace parrot {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(1);

}  // namespace

absl::Status ClientStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return ErrorStatus(absl::StatusCode::kUnavailable,
                         "the worker is not available",
                         {.reason = "WORKER_UNAVAILABLE", .retry_after = kRetryAfter});
    case absl::StatusCode::kResourceExhausted:
      return ErrorStatus(absl::StatusCode::kResourceExhausted,
                         "the worker ran out of memory",
                         {.reason = "WORKER_OUT_OF_MEMORY", .retry_after = kRetryAfter});
    default:
      return ErrorStatus(
          absl::StatusCode::kInternal, "inference failed", {.reason = "INFERENCE_FAILED"});
  }
}

}  // namespace parrot
