#include "server/frontend/metric_series.h"

namespace parrot {

prometheus::Counter& MetricMaker::NewCounter(const char* name,
                                             const char* help,
                                             const prometheus::Labels& labels) const {
  return prometheus::BuildCounter().Name(name).Help(help).Labels(common_).Register(registry_).Add(
      labels);
}

prometheus::Gauge& MetricMaker::NewGauge(const char* name,
                                         const char* help,
                                         const prometheus::Labels& labels) const {
  return prometheus::BuildGauge().Name(name).Help(help).Labels(common_).Register(registry_).Add(
      labels);
}

prometheus::Histogram& MetricMaker::NewHistogram(const char* name,
                                                 const char* help,
                                                 const MetricBuckets& buckets,
                                                 const prometheus::Labels& labels) const {
  return prometheus::BuildHistogram().Name(name).Help(help).Labels(common_).Register(registry_).Add(
      labels, buckets);
}

MetricBuckets FirstTokenBuckets() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
}

MetricBuckets TokenCountBuckets(int32_t max_tokens) {
  MetricBuckets buckets;
  for (int64_t decade = 1; decade < max_tokens; decade *= 10) {
    for (const int64_t factor : {1, 2, 5}) {
      if (decade * factor < max_tokens) buckets.push_back(static_cast<double>(decade * factor));
    }
  }
  buckets.push_back(max_tokens);
  return buckets;
}

}  // namespace parrot
