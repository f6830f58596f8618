// Four times what the engine can do, in virtual time (overload.h): it goes on giving as many
// answers in time as it can at best, and computes nothing for a request whose deadline has passed.
//
// 1x is the highest rate at which 99 % of the requests are answered in time, when each has 1.2
// times the 99th percentile of the latencies that the same rate has without deadlines. (Measured on
// other arrivals than those that are judged; rates are tried in steps of 5 % of what the engine
// does when everything waits from the start.)
#include "tests/scheduler/overload.h"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <ostream>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

constexpr int32_t kNumRequests = 2000;  // at 1x; in the same time more at more
constexpr int32_t kNoLimit = 1'000'000;

struct Traffic {
  const char* name;
  OverloadOptions options;
};
void PrintTo(const Traffic& traffic, std::ostream* out) { *out << traffic.name; }

class OverloadTest : public testing::TestWithParam<Traffic> {
 protected:
  static OverloadResult Run(const OverloadOptions& options) {
    const OverloadResult result = RunOverload(options);
    EXPECT_EQ(result.num_expired_work, 0);
    std::cout << "  " << options.requests_per_second << " a second: " << result.goodput
              << " in time, " << result.num_good << " of " << options.num_requests << "; refused "
              << result.num_refused << ", taken out of the queue " << result.num_dropped
              << ", too late " << result.num_late << " with "
              << 100 * result.num_wasted_positions / std::max<int64_t>(result.num_positions, 1)
              << " % of the positions; p99 " << result.p99_latency << "\n";
    return result;
  }

  // Requests a second when all are there from the start.
  static double Throughput(OverloadOptions options) {
    options.requests_per_second = 1e9;
    options.num_requests = kNumRequests / 2;
    options.max_queue_size = kNoLimit;
    return options.num_requests / absl::ToDoubleSeconds(Run(options).last_end);
  }

  // Sets rate and time limit of 1x.
  static void FindOneX(OverloadOptions* options) {
    const double throughput = Throughput(*options);
    for (int percent = 95; percent > 0; percent -= 5) {
      OverloadOptions without_deadlines = *options;
      without_deadlines.requests_per_second = options->requests_per_second =
          throughput * percent / 100;
      without_deadlines.max_queue_size = kNoLimit;
      ++without_deadlines.seed;
      options->timeout = 1.2 * Run(without_deadlines).p99_latency;
      if (Run(*options).num_good >= 0.99 * options->num_requests) return;
    }
    FAIL() << "no rate is low enough";
  }
};

TEST_P(OverloadTest, KeepsItsGoodputAtFourTimesTheLoadAndComputesNothingExpired) {
  OverloadOptions options = GetParam().options;
  options.num_requests = kNumRequests;
  ASSERT_NO_FATAL_FAILURE(FindOneX(&options));
  std::cout << GetParam().name << ": 1x is " << options.requests_per_second << " a second in "
            << options.timeout << "\n";
  const double one_x = options.requests_per_second;
  double peak = 0.0;
  double goodput = 0.0;
  for (const double times : {1.0, 1.25, 1.5, 2.0, 4.0}) {
    options.requests_per_second = times * one_x;
    options.num_requests = static_cast<int32_t>(times * kNumRequests);
    goodput = Run(options).goodput;
    peak = std::max(peak, goodput);
    if (times >= 2.0) {
      EXPECT_GE(goodput, 0.95 * peak) << times << "x";
    }
  }
  std::cout << "  at 4x: " << 100 * goodput / peak << " % of the peak\n";
}

INSTANTIATE_TEST_SUITE_P(
    Traffic,
    OverloadTest,
    testing::Values(Traffic{"KnownLengths", {}},
                    Traffic{"UnknownLengths", {.lengths_are_known = false}},
                    Traffic{"LongQueue", {.lengths_are_known = false, .max_queue_size = 256}},
                    Traffic{"TenantsAndAging",
                            {.lengths_are_known = false,
                             .max_queue_size = 256,
                             .num_tenants = 10,
                             .priority_aging_interval = absl::Seconds(1)}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace parrot
