// What the name sets of /metrics (native_metrics.h, vllm_metrics.h) are made of: a way to register
// series, and buckets. All series exist from the start with 0, so an update is an atomic addition.
#ifndef PARROT_SERVER_FRONTEND_METRIC_SERIES_H_
#define PARROT_SERVER_FRONTEND_METRIC_SERIES_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/labels.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <utility>

namespace parrot {

using MetricBuckets = prometheus::Histogram::BucketBoundaries;

// Not thread-safe. The series live as long as the registry, which it borrows.
class MetricMaker {
 public:
  // `common`: labels of every series.
  MetricMaker(prometheus::Registry* registry, prometheus::Labels common)
      : registry_(*registry), common_(std::move(common)) {}

  // Names that were used before give one more series of the same family; the help text of the first
  // counts.
  prometheus::Counter& NewCounter(const char* name,
                                  const char* help,
                                  const prometheus::Labels& labels = {}) const;
  prometheus::Gauge& NewGauge(const char* name,
                              const char* help,
                              const prometheus::Labels& labels = {}) const;
  prometheus::Histogram& NewHistogram(const char* name,
                                      const char* help,
                                      const MetricBuckets& buckets,
                                      const prometheus::Labels& labels = {}) const;

 private:
  prometheus::Registry& registry_;
  const prometheus::Labels common_;
};

// A counter that follows a total which somebody else keeps. Not thread-safe.
class FollowingCounter {
 public:
  explicit FollowingCounter(prometheus::Counter& counter) : counter_(&counter) {}
  // The total is `total` now. Without `count`, what it has grown since the last call is left out.
  void Follow(int64_t total, bool count = true) {
    if (total <= followed_) return;  // an older look that comes late
    if (count) counter_->Increment(static_cast<double>(total - followed_));
    followed_ = total;
  }

 private:
  prometheus::Counter* counter_;
  int64_t followed_ = 0;
};

// Seconds to the first token: vLLM's borders in both name sets, so that dashboards compare.
MetricBuckets FirstTokenBuckets();
// 1, 2, 5, 10, ... and the limit itself.
MetricBuckets TokenCountBuckets(int32_t max_tokens);

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_METRIC_SERIES_H_
