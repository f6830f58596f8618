// A clock that moves only when the test says so. Thread-safe.
#ifndef PARROT_TESTS_FAKES_FAKE_CLOCK_H_
#define PARROT_TESTS_FAKES_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace parrot {

class FakeClock final : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'000'000'000)) : now_(start) {}

  absl::Time Now() override;
  // REQUIRES: duration >= 0.
  void Advance(absl::Duration duration);

 private:
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace parrot

#endif  // PARROT_TESTS_FAKES_FAKE_CLOCK_H_
