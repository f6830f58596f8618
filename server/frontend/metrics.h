// The metrics registry: every time series of the server, updated by the front end and rendered as
// Prometheus text for GET /metrics. Names, labels and buckets are listed in metrics.cc, next to
// their help texts. Label sets are closed: a value outside them becomes "other".
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
#include "scheduler/event.h"
#include "server/frontend/answer.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/limits.h"

namespace parrot {

struct MetricsOptions {
  std::string server_version;
  std::string model_name;  // first served name
  std::string model_revision;
  std::string device;  // "cpu", "cuda"
  std::string dtype;
  int32_t num_experts = 0;
  int32_t block_size = 0;  // tokens per KV block
  int32_t num_blocks = 0;
  FrontendLimits limits;
};

// Where a request was when its client gave it up.
enum class CancelStage {
  kPreprocessQueue,  // waits for a thread
  kPreprocess,       // image decode, tokenise
  kEngine,           // queued or in prefill: no token yet
  kDecode,           // tokens flow
  kWrite,            // all is generated, the client has not read all of it
};
const char* CancelStageName(CancelStage stage);

class Metrics {
 public:
  Metrics(const MetricsOptions& options, Clock* clock);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Read at every Render. Set once each, before traffic.
  void SetLoadSource(std::function<EngineLoad()> load);
  void SetStateSource(std::function<ServerState()> state);
  // Front-end gauges: live requests, encoded and decoded image bytes held.
  void SetFrontendSource(std::function<std::pair<int64_t, int64_t>()> live_and_image_bytes);

  // While true, nothing of requests is counted, and afterwards nothing of what the engine did
  // meanwhile: a warm-up is no traffic. Refusals and RPCs always count.
  void SetWarmingUp(bool warming_up);

  // -- Requests
  // ------------------------------------------------------------------------------------ `reason`
  // is ErrorFacts::reason of the status that refused the request.
  void CountRejected(std::string_view reason);
  void CountCancelled(CancelStage stage);
  // One output ended. `language` is the client's label, any case, with or without region.
  void CountFinished(const OutputFinishedEvent& finished, std::string_view language);
  // What a language lock kept from an answer. `language` is the lock's.
  void CountBlocked(int32_t num_tokens, std::string_view language);
  // A routing request ended well.
  void CountRouted(const OutputFinishedEvent& finished, std::string_view language);
  void ObserveFirstToken(absl::Duration since_arrival);
  void ObserveInterToken(absl::Duration gap);
  void CountImages(int32_t num_images, int64_t encoded_bytes);

  // -- Transports
  // ----------------------------------------------------------------------------------
  // grpc_server_handled_total. REQUIRES: service and method come from the served set, code is a
  // canonical name ("OK", "INVALID_ARGUMENT"), so that the series stay few.
  void CountRpc(std::string_view service, std::string_view method, std::string_view code);

  // Prometheus text format 0.0.4.
  std::string Render() const;

  // "en" of "en-GB", "EN"; "other" outside the model's languages; "other" when empty.
  static std::string_view LanguageLabel(std::string_view tag);

 private:
  struct Series;
  void ObserveStages(const AnswerTimings& timings);
  void AddRouting(const std::vector<ImageRouting>& routing, std::string_view language);
  void RefreshGauges() const;

  Clock& clock_;
  std::atomic<bool> warming_up_{false};
  std::unique_ptr<Series> series_;
  std::function<EngineLoad()> load_;
  std::function<ServerState()> state_;
  std::function<std::pair<int64_t, int64_t>()> frontend_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_METRICS_H_
