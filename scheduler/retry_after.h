// How long a client that found no room is told to wait.
#ifndef PARROT_SCHEDULER_RETRY_AFTER_H_
#define PARROT_SCHEDULER_RETRY_AFTER_H_

#include "absl/time/time.h"
#include "scheduler/engine.h"

namespace parrot {

// Until one of the sequences that run is expected to be done and gives its place, by the measured
// steps: 0.1 to 30 s. One second while nothing is known.
absl::Duration RetryAfter(const EngineLoad& load);

}  // namespace parrot

#endif  // PARROT_SCHEDULER_RETRY_AFTER_H_
