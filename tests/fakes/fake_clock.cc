#include "tests/fakes/fake_clock.h"

#include "base/check.h"

namespace parrot {

absl::Time FakeClock::Now() {
  absl::MutexLock lock(&mutex_);
  return now_;
}

void FakeClock::Advance(absl::Duration duration) {
  PARROT_CHECK(duration >= absl::ZeroDuration());
  absl::MutexLock lock(&mutex_);
  now_ += duration;
}

}  // namespace parrot
