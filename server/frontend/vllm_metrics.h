// Our figures under vLLM's names (`vllm:...`, labels model_name and engine), for dashboards,
// autoscalers and routers that know those: --metrics-compat=vllm adds them to the native set.
// Names, labels and buckets are vLLM's; a series that would have no true meaning here is left out
// (docs/operations.md lists what there is).
//
// Thread-safe.
#ifndef PARROT_SERVER_FRONTEND_VLLM_METRICS_H_
#define PARROT_SERVER_FRONTEND_VLLM_METRICS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "scheduler/engine.h"
#include "server/frontend/answer.h"
#include "server/frontend/metrics_options.h"

namespace parrot {

class VllmMetrics {
 public:
  explicit VllmMetrics(const MetricsOptions& options);
  ~VllmMetrics();
  VllmMetrics(const VllmMetrics&) = delete;
  VllmMetrics& operator=(const VllmMetrics&) = delete;

  void CountParameters(int32_t num_outputs, int32_t max_tokens);
  // `num_completion_tokens` of all outputs, of which `last` was the last to end.
  void CountFinished(const OutputFinishedEvent& last, int32_t num_completion_tokens);
  void ObserveFirstToken(absl::Duration since_arrival);
  void ObserveInterToken(absl::Duration gap);
  // Without `count`, what the engine has done since the last call does not count.
  void FollowEngine(const EngineLoad& load, bool count);

  // Prometheus text format 0.0.4.
  std::string Render() const;

 private:
  struct Series;
  std::unique_ptr<Series> series_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_VLLM_METRICS_H_
