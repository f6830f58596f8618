#include "server/frontend/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/synchronization/mutex.h"
#include "server/frontend/native_series.h"
#include "server/frontend/vllm_metrics.h"

namespace parrot {
namespace {

// Reasons are constants of the code, so few; the cap guards against a mistake there.
constexpr size_t kMaxReasons = 64;

size_t LanguageIndex(std::string_view tag) {
  return static_cast<size_t>(
      std::find(kMetricLanguages.begin(), kMetricLanguages.end(), Metrics::LanguageLabel(tag)) -
      kMetricLanguages.begin());
}

}  // namespace

Metrics::Metrics(const MetricsOptions& options, Clock* clock)
    : clock_(*clock), series_(std::make_unique<NativeSeries>(options)) {
  if (options.with_vllm_names) vllm_ = std::make_unique<VllmMetrics>(options);
}
Metrics::~Metrics() = default;

void Metrics::SetLoadSource(std::function<EngineLoad()> load) { load_ = std::move(load); }
void Metrics::SetWorkersSource(std::function<std::vector<EngineLoad>()> loads) {
  worker_loads_ = std::move(loads);
}
void Metrics::SetStateSource(std::function<ServerState()> state) { state_ = std::move(state); }
void Metrics::SetFrontendSource(std::function<std::pair<int64_t, int64_t>()> live_and_image_bytes) {
  frontend_ = std::move(live_and_image_bytes);
}

void Metrics::SetImageStoreSource(std::function<ImageStore::Stats()> stats) {
  image_store_ = std::move(stats);
}

void Metrics::SetWarmingUp(bool warming_up) {
  if (!warming_up && load_ != nullptr) FollowEngine(load_());
  if (!warming_up && image_store_ != nullptr) series_->FollowStore(image_store_(), false);
  warming_up_.store(warming_up);
}

void Metrics::FollowEngine(const EngineLoad& load) const {
  const bool count = !warming_up_.load();
  series_->FollowEngine(load, count);
  if (vllm_ != nullptr) vllm_->FollowEngine(load, count);
}

std::string_view Metrics::LanguageLabel(std::string_view tag) {
  const std::string_view primary = tag.substr(0, tag.find('-'));
  if (primary.size() != 2) return kMetricLanguages.back();
  const std::array<char, 2> lower = {absl::ascii_tolower(static_cast<unsigned char>(primary[0])),
                                     absl::ascii_tolower(static_cast<unsigned char>(primary[1]))};
  for (const std::string_view language : kMetricLanguages) {
    if (language == std::string_view(lower.data(), lower.size())) return language;
  }
  return kMetricLanguages.back();
}

void Metrics::CountRejected(std::string_view reason) {
  prometheus::Labels labels = {{"reason", reason.empty() ? "OTHER" : std::string(reason)}};
  absl::MutexLock lock(&series_->mutex);
  if (!series_->rejected.Has(labels) && ++series_->num_reasons > kMaxReasons) {
    labels = {{"reason", "OTHER"}};
  }
  series_->rejected.Add(labels).Increment();
}

void Metrics::CountCancelled(CancelStage stage) {
  if (!warming_up_.load()) series_->cancelled.at(stage)->Increment();
}

void Metrics::CountParameters(int32_t num_outputs, int32_t max_tokens) {
  if (vllm_ != nullptr && !warming_up_.load()) vllm_->CountParameters(num_outputs, max_tokens);
}

void Metrics::CountFinished(const OutputFinishedEvent& last,
                            int32_t num_completion_tokens,
                            std::string_view language) {
  if (warming_up_.load()) return;
  if (vllm_ != nullptr) vllm_->CountFinished(last, num_completion_tokens);
  series_->finished.at(last.reason)->Increment();
  AddRouting(last.routing, language);
  if (last.reason != FinishReason::kStop && last.reason != FinishReason::kLength) return;
  series_->request_prompt_tokens.Observe(last.usage.prompt_tokens());
  series_->request_generation_tokens.Observe(num_completion_tokens);
  series_->duration.Observe(absl::ToDoubleSeconds(last.timings.total));
  ObserveStages(last.timings);
}

void Metrics::CountBlocked(int32_t num_tokens, std::string_view language) {
  if (warming_up_.load()) return;
  series_->blocked_tokens[LanguageIndex(language)]->Increment(num_tokens);
}

void Metrics::CountRouted(const OutputFinishedEvent& finished, std::string_view language) {
  if (warming_up_.load()) return;
  series_->routed->Increment();
  series_->request_prompt_tokens.Observe(finished.usage.prompt_tokens());
  series_->duration.Observe(absl::ToDoubleSeconds(finished.timings.total));
  AddRouting(finished.routing, language);
  ObserveStages(finished.timings);
}

void Metrics::ObserveFirstToken(absl::Duration since_arrival) {
  if (warming_up_.load()) return;
  series_->first_token.Observe(absl::ToDoubleSeconds(since_arrival));
  if (vllm_ != nullptr) vllm_->ObserveFirstToken(since_arrival);
}

void Metrics::ObserveInterToken(absl::Duration gap) {
  if (warming_up_.load()) return;
  series_->inter_token.Observe(absl::ToDoubleSeconds(gap));
  if (vllm_ != nullptr) vllm_->ObserveInterToken(gap);
}

void Metrics::CountImages(int32_t num_images, int64_t encoded_bytes) {
  if (warming_up_.load()) return;
  series_->images.Increment(num_images);
  series_->encoded_bytes.Increment(static_cast<double>(encoded_bytes));
}

void Metrics::CountRpc(std::string_view service, std::string_view method, std::string_view code) {
  series_->rpcs
      .Add({{"grpc_service", std::string(service)},
            {"grpc_method", std::string(method)},
            {"grpc_code", std::string(code)}})
      .Increment();
}

void Metrics::ObserveStages(const AnswerTimings& timings) {
  const auto observe = [this](const char* stage, absl::Duration duration) {
    // A stage that did not run leaves no trace.
    if (duration <= absl::ZeroDuration()) return;
    series_->stages.at(stage)->Observe(absl::ToDoubleSeconds(duration));
  };
  observe("decode_image", timings.decode_image);
  observe("preprocess", timings.preprocess);
  observe("tokenize", timings.tokenize);
  observe("queue", timings.queue);
  observe("clip", timings.clip);
  observe("projector", timings.projector);
  observe("router", timings.router);
  observe("experts", timings.experts);
  observe("prefill", timings.prefill);
  observe("decode", timings.decode);
  observe("detokenize", timings.detokenize);
}

void Metrics::AddRouting(const std::vector<ImageRouting>& routing, std::string_view language) {
  const std::vector<prometheus::Counter*>& row = series_->expert_weights[LanguageIndex(language)];
  for (const ImageRouting& image : routing) {
    series_->images_answered.at(image.cache_level)->Increment();
    series_->kv_queries->Increment();
    if (image.cache_level == CacheLevel::kKv) series_->kv_hits->Increment();
    const size_t num_experts = std::min(row.size(), image.expert_weights.size());
    for (size_t i = 0; i < num_experts; ++i) row[i]->Increment(image.expert_weights[i]);
  }
}

void Metrics::Refresh() const {
  NativeSeries& series = *series_;
  if (state_ != nullptr) {
    const ServerState now = state_();
    for (const auto& [state, gauge] : series.states) gauge->Set(state == now ? 1 : 0);
  }
  if (frontend_ != nullptr) {
    const auto [live, image_bytes] = frontend_();
    series.live.Set(static_cast<double>(live));
    series.image_bytes.Set(static_cast<double>(image_bytes));
  }
  if (worker_loads_ != nullptr) series.SetWorkers(worker_loads_());
  if (image_store_ != nullptr) series.FollowStore(image_store_(), !warming_up_.load());
  if (load_ == nullptr) return;
  const EngineLoad load = load_();
  const absl::Duration age = clock_.Now() - load.oldest_step_start;
  series.step_age.Set(load.step_in_flight ? absl::ToDoubleSeconds(age) : 0.0);
  FollowEngine(load);
}

std::string Metrics::Render() const {
  Refresh();
  std::string text = prometheus::TextSerializer().Serialize(series_->registry.Collect());
  if (vllm_ != nullptr) text += vllm_->Render();
  return text;
}

}  // namespace parrot
