// What a client may hear of a worker's failure: never the worker's own words.
#ifndef PARROT_SCHEDULER_WORKER_FAILURE_H_
#define PARROT_SCHEDULER_WORKER_FAILURE_H_

#include "absl/status/status.h"

namespace parrot {

// UNAVAILABLE and RESOURCE_EXHAUSTED with a retry hint; everything else is INTERNAL. REQUIRES:
// `status` is not OK.
[[nodiscard]] absl::Status ClientStatus(const absl::Status& status);

}  // namespace parrot

#endif  // PARROT_SCHEDULER_WORKER_FAILURE_H_
