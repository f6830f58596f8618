// Mean, spread and percentiles of measured values. Pure functions; thread-safe.
#ifndef PARROT_CLIENT_BENCH_DISTRIBUTION_H_
#define PARROT_CLIENT_BENCH_DISTRIBUTION_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace parrot {

// All zero for no values.
struct Distribution {
  int64_t count = 0;
  double mean = 0;
  double median = 0;
  double std = 0;  // of the population: divided by count
  double min = 0;
  double max = 0;
  std::vector<std::pair<double, double>> percentiles;  // (percent, value), in the order asked for
};

// Linear interpolation between the closest ranks, as numpy.percentile does. `percent` 0 .. 100.
// REQUIRES: `sorted` is ascending. 0 for no values.
double PercentileOfSorted(std::span<const double> sorted, double percent);

Distribution DistributionOf(std::vector<double> values, std::span<const double> percentiles);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_DISTRIBUTION_H_
