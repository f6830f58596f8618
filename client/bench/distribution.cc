#include "client/bench/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace parrot {

double PercentileOfSorted(std::span<const double> sorted, double percent) {
  if (sorted.empty()) return 0;
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Distribution DistributionOf(std::vector<double> values, std::span<const double> percentiles) {
  std::sort(values.begin(), values.end());
  Distribution result;
  result.percentiles.reserve(percentiles.size());
  for (const double percent : percentiles) {
    result.percentiles.emplace_back(percent, PercentileOfSorted(values, percent));
  }
  if (values.empty()) return result;
  const auto count = static_cast<double>(values.size());
  result.count = static_cast<int64_t>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(squares / count);
  result.median = PercentileOfSorted(values, 50);
  result.min = values.front();
  result.max = values.back();
  return result;
}

}  // namespace parrot
