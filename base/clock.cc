#include "base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace parrot {
namespace {

// Steady time, anchored to wall time once, so that a jump of the wall clock moves no deadline.
class RealClock final : public Clock {
 public:
  absl::Time Now() override {
    return wall_start_ + absl::FromChrono(std::chrono::steady_clock::now() - steady_start_);
  }

 private:
  const absl::Time wall_start_ = absl::Now();
  const std::chrono::steady_clock::time_point steady_start_ = std::chrono::steady_clock::now();
};

}  // namespace

Clock& Clock::Real() {
  static RealClock clock;
  return clock;
}

}  // namespace parrot
