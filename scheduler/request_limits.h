// What one worker can ever run. A request that breaks a limit is refused before it is queued, so
// that nothing in the loop can turn out to be impossible: it would block the head of the queue.
//
// Immutable plain data; CheckRequest is thread-safe.
#ifndef PARROT_SCHEDULER_REQUEST_LIMITS_H_
#define PARROT_SCHEDULER_REQUEST_LIMITS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/request.h"

namespace parrot {

struct RequestLimits {
  int32_t max_model_len = 0;  // prompt + completion tokens
  int32_t num_blocks = 0;     // KV blocks of the worker
  int32_t block_size = 1;     // tokens per block
  int32_t image_tokens = 0;   // visual tokens per image
  int32_t num_experts = 0;    // length of PlacedImage::weights
};

// KV blocks that the whole life of `request` takes: prompt and completion, except the last token,
// which is never computed. 0 for kRoute.
[[nodiscard]] int64_t NumBlocksNeeded(const Request& request, int32_t block_size);

// INVALID_ARGUMENT with value and limit for what a client can cause, INTERNAL for a request whose
// parts contradict each other (a bug of the front end, which must not reach the loop).
[[nodiscard]] absl::Status CheckRequest(const Request& request, const RequestLimits& limits);

// DEADLINE_EXCEEDED for what is predicted to come too late.
absl::Status DeadlineUnreachable(absl::Duration predicted, absl::Duration left);

}  // namespace parrot

#endif  // PARROT_SCHEDULER_REQUEST_LIMITS_H_
