// When requests are to be sent in an open loop: a seeded renewal process, independent of answers.
// Confined to one thread.
//
//   ArrivalSchedule schedule({.request_rate = 10, .burstiness = 1, .seed = 0});
//   absl::Duration first = schedule.Next(), second = schedule.Next();   // ascending
#ifndef PARROT_CLIENT_BENCH_ARRIVAL_SCHEDULE_H_
#define PARROT_CLIENT_BENCH_ARRIVAL_SCHEDULE_H_

#include <cstdint>
#include <limits>
#include <random>

#include "absl/time/time.h"

namespace parrot {

struct ArrivalOptions {
  // Requests a second, > 0. Infinite: all at once.
  double request_rate = std::numeric_limits<double>::infinity();
  // Shape of the gamma distribution of the gaps, whose mean is 1 / request_rate: 1 is a Poisson
  // process, less comes in bursts, more is more even, infinity is constant. > 0.
  double burstiness = 1;
  uint64_t seed = 0;
};

class ArrivalSchedule {
 public:
  explicit ArrivalSchedule(const ArrivalOptions& options);

  // The next arrival, since the start of the run. The first one is at 0.
  absl::Duration Next();

 private:
  double NextGapSeconds();

  const ArrivalOptions options_;
  std::mt19937_64 random_;
  double now_s_ = 0;
  bool started_ = false;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_ARRIVAL_SCHEDULE_H_
