// An open loop of requests in virtual time: the real Engine, a fake executor whose steps take what
// a price list says, one thread. Poisson arrivals, texts and pictures of random length, every
// request with the same time to its deadline. A run of many minutes takes a fraction of a second,
// and the same options give the same run on every machine.
#ifndef PARROT_TESTS_SCHEDULER_OVERLOAD_H_
#define PARROT_TESTS_SCHEDULER_OVERLOAD_H_

#include <cstdint>

#include "absl/time/time.h"
#include "scheduler/engine.h"

namespace parrot {

struct OverloadOptions {
  uint64_t seed = 1;
  double requests_per_second = 1.0;
  int32_t num_requests = 1000;
  absl::Duration timeout = absl::InfiniteDuration();  // from arrival to deadline
  // Answers are of 8..64 tokens. True: max_tokens says how many. False: it says 64, and a stop
  // token comes when it comes.
  bool lengths_are_known = true;
  int32_t max_queue_size = 32;
  int32_t num_tenants = 1;
  absl::Duration priority_aging_interval = absl::Seconds(10);
};

struct OverloadResult {
  int32_t num_good = 0;        // came to their end by their deadline
  int32_t num_refused = 0;     // before any work
  int32_t num_dropped = 0;     // out of the queue, before any work
  int32_t num_late = 0;        // ended by their deadline with work done for them
  double goodput = 0.0;        // requests that were good, per second
  absl::Duration p99_latency;  // arrival to end, of those that came to their end
  absl::Duration last_end;     // of the last request, from the start
  // Positions, towers and routings submitted for a request whose deadline had passed.
  int64_t num_expired_work = 0;
  int64_t num_positions = 0;         // computed
  int64_t num_wasted_positions = 0;  // of these, for requests that were not good
};

OverloadResult RunOverload(const OverloadOptions& options);

}  // namespace parrot

#endif  // PARROT_TESTS_SCHEDULER_OVERLOAD_H_
