// Time as a dependency, so that tests and simulations own it. Thread-safe.
#ifndef PARROT_BASE_CLOCK_H_
#define PARROT_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace parrot {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time for deadlines and durations. The real clock never runs backwards.
  virtual absl::Time Now() = 0;

  // The machine's clock; lives for the whole process.
  static Clock& Real();
};

}  // namespace parrot

#endif  // PARROT_BASE_CLOCK_H_
