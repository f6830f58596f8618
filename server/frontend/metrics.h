// The metrics registry: every time series of the server, updated by the front end and rendered as
// Prometheus text for GET /metrics. Names, labels and buckets are in native_series.cc, next to
// their help texts, and with vLLM's names in vllm_metrics.cc. Label sets are closed: a value
// outside them becomes "other".
//
// Thread-safe. Rendering is meant for a poll every 50 ms.
#ifndef PARROT_SERVER_FRONTEND_METRICS_H_
#define PARROT_SERVER_FRONTEND_METRICS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "scheduler/engine.h"
#include "server/frontend/answer.h"
#include "server/frontend/cancel_stage.h"
#include "server/frontend/image_store.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/metrics_options.h"

namespace parrot {

struct NativeSeries;
class VllmMetrics;

class Metrics {
 public:
  Metrics(const MetricsOptions& options, Clock* clock);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Read at every Render. Set once each, before traffic.
  void SetLoadSource(std::function<EngineLoad()> load);
  void SetWorkersSource(std::function<std::vector<EngineLoad>()> loads);
  void SetStateSource(std::function<ServerState()> state);
  // Front-end gauges: live requests, encoded and decoded image bytes held.
  void SetFrontendSource(std::function<std::pair<int64_t, int64_t>()> live_and_image_bytes);

  void SetImageStoreSource(std::function<ImageStore::Stats()> stats);

  // While true, nothing of requests is counted, and afterwards nothing of what the engine did
  // meanwhile: a warm-up is no traffic. Refusals and RPCs always count.
  void SetWarmingUp(bool warming_up);

  // -- Requests

  // `reason` is ErrorFacts::reason of the status that refused the request.
  void CountRejected(std::string_view reason);
  void CountCancelled(CancelStage stage);
  // The engine gets a request for tokens.
  void CountParameters(int32_t num_outputs, int32_t max_tokens);
  // A request ended: its last output, and the tokens of all outputs. `language` is the client's
  // label, any case, with or without region.
  void CountFinished(const OutputFinishedEvent& last,
                     int32_t num_completion_tokens,
                     std::string_view language);
  // What a language lock kept from an answer. `language` is the lock's.
  void CountBlocked(int32_t num_tokens, std::string_view language);
  // A routing request ended well.
  void CountRouted(const OutputFinishedEvent& finished, std::string_view language);
  void ObserveFirstToken(absl::Duration since_arrival);
  void ObserveInterToken(absl::Duration gap);
  void CountImages(int32_t num_images, int64_t encoded_bytes);

  // -- Transports

  // grpc_server_handled_total. REQUIRES: service and method come from the served set, code is a
  // canonical name ("OK", "INVALID_ARGUMENT"), so that the series stay few.
  void CountRpc(std::string_view service, std::string_view method, std::string_view code);

  // Prometheus text format 0.0.4.
  std::string Render() const;

  // "en" of "en-GB", "EN"; "other" outside the model's languages; "other" when empty.
  static std::string_view LanguageLabel(std::string_view tag);

 private:
  void ObserveStages(const AnswerTimings& timings);
  void AddRouting(const std::vector<ImageRouting>& routing, std::string_view language);
  // Brings what others keep up to now.
  void Refresh() const;
  void FollowEngine(const EngineLoad& load) const;

  Clock& clock_;
  std::atomic<bool> warming_up_{false};
  const std::unique_ptr<NativeSeries> series_;
  std::unique_ptr<VllmMetrics> vllm_;  // null: native names alone
  std::function<EngineLoad()> load_;
  std::function<std::vector<EngineLoad>()> worker_loads_;
  std::function<ServerState()> state_;
  std::function<ImageStore::Stats()> image_store_;
  std::function<std::pair<int64_t, int64_t>()> frontend_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_METRICS_H_
