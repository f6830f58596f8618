#include "base/clock.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(ClockTest, RealClockNeverRunsBackwardsAndStaysNearWallTime) {
  absl::Time last = Clock::Real().Now();
  for (int i = 0; i < 1000; ++i) {
    const absl::Time now = Clock::Real().Now();
    EXPECT_GE(now, last);
    last = now;
  }
  EXPECT_LT(absl::AbsDuration(absl::Now() - last), absl::Minutes(1));
}

}  // namespace
}  // namespace parrot
