// How calls end that nobody refused: the statuses that several stages give. Pure functions.
#ifndef PARROT_SERVER_FRONTEND_END_STATUS_H_
#define PARROT_SERVER_FRONTEND_END_STATUS_H_

#include "absl/status/status.h"

namespace parrot {

// The time is over and there is nothing to show for it.
absl::Status DeadlineExceeded();
// The client went.
absl::Status Cancelled();
// An administrator ended it.
absl::Status Aborted();

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_END_STATUS_H_
