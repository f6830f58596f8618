#include "server/frontend/limits.h"

#include <algorithm>

namespace parrot {

absl::Time WorkDeadline(const FrontendLimits& limits,
                        absl::Time arrival,
                        absl::Time transport_deadline,
                        std::optional<int64_t> timeout_ms) {
  const bool is_open = transport_deadline == absl::InfiniteFuture() && !timeout_ms.has_value();
  if (is_open) return arrival + limits.default_timeout;
  absl::Time deadline =
      std::min(transport_deadline - limits.deadline_margin, arrival + limits.max_timeout);
  // Perhaps out of range still: the Validator refuses that before the deadline counts.
  if (timeout_ms.has_value()) {
    deadline = std::min(deadline, arrival + absl::Milliseconds(*timeout_ms));
  }
  return deadline;
}

}  // namespace parrot
