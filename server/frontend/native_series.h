// The native set of /metrics: every series with its name, labels, help text and buckets.
//
// Made once, all with 0. Updates are atomic additions of prometheus-cpp's; what is guarded says so.
#ifndef PARROT_SERVER_FRONTEND_NATIVE_SERIES_H_
#define PARROT_SERVER_FRONTEND_NATIVE_SERIES_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "scheduler/engine.h"
#include "scheduler/event.h"
#include "server/frontend/cancel_stage.h"
#include "server/frontend/image_store.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/metric_series.h"
#include "server/frontend/metrics_options.h"

namespace parrot {

struct NativeSeries {
  using Counter = prometheus::Counter;
  using Gauge = prometheus::Gauge;
  using Histogram = prometheus::Histogram;

  explicit NativeSeries(const MetricsOptions& options);

  void SetWorkers(const std::vector<EngineLoad>& loads);
  // Without `count`, what the engine has done since the last call does not count.
  void FollowEngine(const EngineLoad& load, bool count);
  // The same of the image store.
  void FollowStore(const ImageStore::Stats& stats, bool count);

  prometheus::Registry registry;
  const MetricMaker make{&registry, {}};

  // -- What is there now
  Gauge& running = make.NewGauge("parrot_requests_running", "Sequences that the engine computes.");
  Gauge& waiting = make.NewGauge("parrot_requests_waiting", "Requests in the engine's queue.");
  Gauge& kv_usage =
      make.NewGauge("parrot_kv_cache_usage_ratio", "Share of the KV blocks in use, 0 to 1.");
  Gauge& blocks_cached =
      make.NewGauge("parrot_kv_cache_cached_blocks",
                    "KV blocks that are free to take and that a prefix may find.");
  Gauge& image_entries =
      make.NewGauge("parrot_image_cache_entries", "Images whose features the worker holds.");
  Gauge& store_bytes = make.NewGauge("parrot_image_store_bytes",
                                     "Bytes of the images that are kept by their digest.");
  Gauge& store_entries =
      make.NewGauge("parrot_image_store_entries", "Images that are kept by their digest.");
  Gauge& paused = make.NewGauge("parrot_engine_paused", "1 while an administrator has paused it.");
  Gauge& step_age =
      make.NewGauge("parrot_engine_last_step_age_seconds",
                    "Time since the last step ended while work is there; 0 when idle.");
  Gauge& live = make.NewGauge("parrot_frontend_requests",
                              "Requests admitted and not yet ended, in every stage.");
  Gauge& image_bytes = make.NewGauge("parrot_frontend_image_bytes",
                                     "Bytes of encoded and decoded images that requests hold.");
  std::map<ServerState, Gauge*> states;
  Gauge& predicted_step = NewPredictorGauge("step");
  Gauge& predicted_token = NewPredictorGauge("token");
  Gauge& predicted_image = NewPredictorGauge("image");
  Gauge& prediction_error =
      make.NewGauge("parrot_step_time_prediction_error_ratio",
                    "Mean of |predicted - measured| / measured over the recent steps.");

  // -- What has happened
  Counter& images = make.NewCounter("parrot_images_total", "Images decoded.");
  Counter& encoded_bytes =
      make.NewCounter("parrot_image_encoded_bytes_total", "Bytes of the encoded images decoded.");
  prometheus::Family<Counter>& rejected;
  std::map<CancelStage, Counter*> cancelled;
  std::map<FinishReason, Counter*> finished;
  Counter* routed = nullptr;
  std::map<CacheLevel, Counter*> images_answered;
  Counter* kv_queries = nullptr;  // of the image cache
  Counter* kv_hits = nullptr;
  prometheus::Family<Counter>& rpcs;
  std::vector<std::vector<Counter*>> expert_weights;  // [language][expert]
  std::vector<Counter*> blocked_tokens;               // [language]

  // -- How long it took, how much it was
  Histogram& first_token = make.NewHistogram("parrot_time_to_first_token_seconds",
                                             "Arrival at the server to the first token.",
                                             FirstTokenBuckets());
  Histogram& inter_token;
  Histogram& duration;
  Histogram& request_prompt_tokens;
  Histogram& request_generation_tokens;
  std::map<std::string_view, Histogram*> stages;

  absl::Mutex mutex;
  size_t num_reasons ABSL_GUARDED_BY(mutex) = 0;

 private:
  struct EngineTotal {
    FollowingCounter counter;
    int64_t EngineLoad::*total;
  };

  Gauge& NewPredictorGauge(const char* part) const;
  void AddEngineTotals();
  void AddImageCache(bool caches_experts);
  void AddOutcomes();
  void AddLanguages(int32_t num_experts);
  void AddInfo(const MetricsOptions& options);
  void AddLimits(const FrontendLimits& limits);
  void AddTotal(Counter& counter, int64_t EngineLoad::*total);

  std::vector<EngineTotal> engine_totals_ ABSL_GUARDED_BY(mutex);
  FollowingCounter store_queries_ ABSL_GUARDED_BY(mutex){
      make.NewCounter("parrot_image_store_queries_total",
                      "Images that were looked for by digest, or by the digest of their bytes.")};
  FollowingCounter store_hits_ ABSL_GUARDED_BY(mutex){
      make.NewCounter("parrot_image_store_hits_total", "Of these, found: not decoded again.")};
  FollowingCounter store_evictions_ ABSL_GUARDED_BY(mutex){
      make.NewCounter("parrot_image_store_evictions_total",
                      "Images forgotten to make room for others.")};
};

// The languages of the label `language`: the model's, and "other" last.
inline constexpr std::array<std::string_view, 7> kMetricLanguages = {
    "en", "zh", "pt", "ar", "tr", "ru", "other"};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_NATIVE_SERIES_H_
