#include "scheduler/retry_after.h"

#include <algorithm>

namespace parrot {
namespace {

constexpr absl::Duration kWhenNothingIsKnown = absl::Seconds(1);
constexpr absl::Duration kMin = absl::Milliseconds(100);
constexpr absl::Duration kMax = absl::Seconds(30);

}  // namespace

absl::Duration RetryAfter(const EngineLoad& load) {
  if (!load.predictor.is_ready()) return kWhenNothingIsKnown;
  const absl::Duration step = load.predictor.Step(load.num_running, 0);
  const double num_steps = load.mean_completion_tokens / std::max(1, load.num_running);
  return std::clamp(step * num_steps, kMin, kMax);
}

}  // namespace parrot
