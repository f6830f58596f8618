#include "client/bench/arrival_schedule.h"

#include <cmath>
#include <utility>

#include "base/check.h"

namespace parrot {

ArrivalSchedule::ArrivalSchedule(const ArrivalOptions& options)
    : options_(options), random_(options.seed) {
  PARROT_CHECK(options.request_rate > 0 && options.burstiness > 0);
}

double ArrivalSchedule::NextGapSeconds() {
  const double mean_s = 1 / options_.request_rate;
  if (std::isinf(options_.burstiness) || mean_s == 0) return mean_s;
  std::gamma_distribution<double> gap(options_.burstiness, mean_s / options_.burstiness);
  return gap(random_);
}

absl::Duration ArrivalSchedule::Next() {
  if (std::exchange(started_, true)) now_s_ += NextGapSeconds();
  return absl::Seconds(now_s_);
}

}  // namespace parrot
