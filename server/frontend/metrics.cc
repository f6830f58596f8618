#include "server/frontend/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/synchronization/mutex.h"

namespace parrot {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// The model's languages, and what is none of them.
constexpr std::array<std::string_view, 7> kLanguages = {
    "en", "zh", "pt", "ar", "tr", "ru", "other"};
constexpr std::array<const char*, 11> kStages = {"decode_image",
                                                 "preprocess",
                                                 "tokenize",
                                                 "queue",
                                                 "clip",
                                                 "projector",
                                                 "router",
                                                 "experts",
                                                 "prefill",
                                                 "decode",
                                                 "detokenize"};
// Reasons are constants of the code, so few; the cap guards against a mistake there.
constexpr size_t kMaxReasons = 64;

// Seconds. First tokens: vLLM's borders, so that dashboards compare. Durations and stages reach
// below 0.3 s, where small models and short queues live.
Buckets FirstTokenBuckets() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
}
Buckets InterTokenBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
          0.3,   0.4,    0.5,   0.75, 1,     2.5,  5,     7.5, 10,   20};
}
Buckets DurationBuckets() {
  return {0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1,   1.5, 2,
          2.5,  5,     10,   15,  20,  30,  40,  60,  120, 240, 600};
}
Buckets StageBuckets() {
  return {0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
}
// 1, 2, 5, 10, ... and the limit itself.
Buckets TokenBuckets(int32_t max_tokens) {
  Buckets buckets;
  for (int64_t decade = 1; decade < max_tokens; decade *= 10) {
    for (const int64_t factor : {1, 2, 5}) {
      if (decade * factor < max_tokens) buckets.push_back(static_cast<double>(decade * factor));
    }
  }
  buckets.push_back(max_tokens);
  return buckets;
}

size_t LanguageIndex(std::string_view tag) {
  const std::string_view label = Metrics::LanguageLabel(tag);
  return static_cast<size_t>(std::find(kLanguages.begin(), kLanguages.end(), label) -
                             kLanguages.begin());
}

}  // namespace

const char* CancelStageName(CancelStage stage) {
  switch (stage) {
    case CancelStage::kPreprocessQueue:
      return "preprocess_queue";
    case CancelStage::kPreprocess:
      return "preprocess";
    case CancelStage::kEngine:
      return "engine";
    case CancelStage::kDecode:
      return "decode";
    case CancelStage::kWrite:
      return "write";
  }
  return "write";
}

// Every family and, where the label set is fixed, every series, made once: an update is then an
// atomic addition, and a series is there from the start with 0.
struct Metrics::Series {
  explicit Series(const MetricsOptions& options);

  Counter& NewCounter(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  Gauge& NewGauge(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  Histogram& NewHistogram(const char* name, const char* help, const Buckets& buckets) {
    return BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
  }
  void AddImages(int32_t num_experts);
  void AddInfo(const MetricsOptions& options);
  void AddLimits(const FrontendLimits& limits);
  // Brings the counters that the engine keeps up to `load`.
  void AddEngineWork(const EngineLoad& load);

  prometheus::Registry registry;
  Gauge& running = NewGauge("parrot_requests_running", "Sequences that the engine computes.");
  Gauge& waiting = NewGauge("parrot_requests_waiting", "Requests in the engine's queue.");
  Gauge& kv_usage =
      NewGauge("parrot_kv_cache_usage_ratio", "Share of the KV blocks in use, 0 to 1.");
  Gauge& blocks_cached = NewGauge("parrot_kv_cache_cached_blocks",
                                  "KV blocks that are free to take and that a prefix may find.");
  Gauge& image_entries =
      NewGauge("parrot_image_cache_entries", "Images whose features the worker holds.");
  Gauge& paused = NewGauge("parrot_engine_paused", "1 while an administrator has paused it.");
  Gauge& step_age = NewGauge("parrot_engine_last_step_age_seconds",
                             "Time since the last step ended while work is there; 0 when idle.");
  Gauge& live =
      NewGauge("parrot_frontend_requests", "Requests admitted and not yet ended, in every stage.");
  Gauge& image_bytes = NewGauge("parrot_frontend_image_bytes",
                                "Bytes of encoded and decoded images that requests hold.");
  Family<Gauge>& state = BuildGauge()
                             .Name("parrot_server_state")
                             .Help("1 for the state the server is in, 0 for the others.")
                             .Register(registry);

  Counter& prompt_tokens =
      NewCounter("parrot_prompt_tokens_total", "Prompt tokens computed, image tokens included.");
  Counter& generation_tokens =
      NewCounter("parrot_generation_tokens_total", "Tokens generated, stop tokens not counted.");
  Counter& preemptions =
      NewCounter("parrot_preemptions_total", "Sequences put back to the queue for lack of memory.");
  Counter& retries =
      NewCounter("parrot_retries_total", "Sequences that ran again because a step was lost.");
  Counter& steps = NewCounter("parrot_engine_steps_total", "Steps of the model that ended.");
  Counter& failed_steps =
      NewCounter("parrot_engine_failed_steps_total", "Steps of the model that failed.");
  Counter& prefix_queries = NewCounter("parrot_prefix_cache_queries_total",
                                       "Prompt tokens that were looked for in the prefix cache.");
  Counter& prefix_hits =
      NewCounter("parrot_prefix_cache_hits_total", "Prompt tokens found in the prefix cache.");
  Counter& image_queries = NewCounter("parrot_image_cache_queries_total",
                                      "Images whose features were looked for to be routed.");
  Counter& image_hits = NewCounter("parrot_image_cache_hits_total",
                                   "Images whose features or expert outputs were there.");
  Counter& images = NewCounter("parrot_images_total", "Images decoded.");
  Counter& encoded_bytes =
      NewCounter("parrot_image_encoded_bytes_total", "Bytes of the encoded images decoded.");
  Family<Counter>& rejected =
      BuildCounter()
          .Name("parrot_rejected_total")
          .Help("Requests that ended with an error before any output, by reason.")
          .Register(registry);
  std::map<CancelStage, Counter*> cancelled;
  std::map<FinishReason, Counter*> finished;
  std::map<CacheLevel, Counter*> images_answered;
  Counter* routed = nullptr;
  std::vector<Counter*> blocked_tokens;  // [language]
  Family<Counter>& rpcs = BuildCounter()
                              .Name("grpc_server_handled_total")
                              .Help("RPCs completed on the server, by status code.")
                              .Register(registry);
  // [language][expert]
  std::vector<std::vector<Counter*>> expert_weights;

  Histogram& first_token = NewHistogram("parrot_time_to_first_token_seconds",
                                        "Arrival at the server to the first token.",
                                        FirstTokenBuckets());
  Histogram& inter_token = NewHistogram(
      "parrot_inter_token_latency_seconds", "Between tokens of one sequence.", InterTokenBuckets());
  Histogram& duration = NewHistogram("parrot_request_duration_seconds",
                                     "Arrival at the server to the end of the output.",
                                     DurationBuckets());
  Histogram* request_prompt_tokens = nullptr;
  Histogram* request_generation_tokens = nullptr;
  std::map<std::string_view, Histogram*> stages;

  absl::Mutex mutex;
  size_t num_reasons ABSL_GUARDED_BY(mutex) = 0;
  // What the counters fed from EngineLoad have been given so far.
  EngineLoad counted ABSL_GUARDED_BY(mutex);
};

Metrics::Series::Series(const MetricsOptions& options) {
  Family<Counter>& cancelled_family =
      BuildCounter()
          .Name("parrot_cancelled_total")
          .Help("Requests that their client gave up, by the stage they were in.")
          .Register(registry);
  for (const CancelStage stage : {CancelStage::kPreprocessQueue,
                                  CancelStage::kPreprocess,
                                  CancelStage::kEngine,
                                  CancelStage::kDecode,
                                  CancelStage::kWrite}) {
    cancelled[stage] = &cancelled_family.Add({{"stage", CancelStageName(stage)}});
  }
  Family<Counter>& finished_family = BuildCounter()
                                         .Name("parrot_requests_finished_total")
                                         .Help("Requests that the engine ended, by reason.")
                                         .Register(registry);
  for (const FinishReason reason : {FinishReason::kStop,
                                    FinishReason::kLength,
                                    FinishReason::kCancelled,
                                    FinishReason::kDeadline,
                                    FinishReason::kError}) {
    finished[reason] = &finished_family.Add({{"reason", FinishReasonName(reason)}});
  }
  routed = &finished_family.Add({{"reason", "routed"}});
  Family<Counter>& blocked_family =
      BuildCounter()
          .Name("parrot_language_lock_blocked_tokens_total")
          .Help("Tokens whose place the most likely one lost to a language lock, by its language.")
          .Register(registry);
  for (const std::string_view language : kLanguages) {
    blocked_tokens.push_back(&blocked_family.Add({{"language", std::string(language)}}));
  }
  AddImages(options.num_experts);
  request_prompt_tokens = &NewHistogram("parrot_request_prompt_tokens",
                                        "Prompt tokens of a request.",
                                        TokenBuckets(options.limits.max_model_len));
  request_generation_tokens = &NewHistogram("parrot_request_generation_tokens",
                                            "Tokens generated for one output.",
                                            TokenBuckets(options.limits.max_model_len));
  Family<Histogram>& stage_family =
      BuildHistogram()
          .Name("parrot_stage_seconds")
          .Help("Time of a request in one stage. A step shared with others counts in full.")
          .Register(registry);
  for (const char* stage : kStages) {
    stages[stage] = &stage_family.Add({{"stage", stage}}, StageBuckets());
  }
  AddInfo(options);
  AddLimits(options.limits);
}

void Metrics::Series::AddImages(int32_t num_experts) {
  Family<Counter>& answered_family =
      BuildCounter()
          .Name("parrot_images_answered_total")
          .Help("Images of ended requests, by the cache that served them.")
          .Register(registry);
  for (const auto& [level, name] : {std::pair(CacheLevel::kNone, "none"),
                                    std::pair(CacheLevel::kFeatures, "features"),
                                    std::pair(CacheLevel::kExperts, "experts"),
                                    std::pair(CacheLevel::kKv, "kv")}) {
    images_answered[level] = &answered_family.Add({{"cache_level", name}});
  }
  Family<Counter>& experts_family =
      BuildCounter()
          .Name("parrot_moe_expert_weight_sum_total")
          .Help("Sum over images of the router's weight, by expert and language of the request.")
          .Register(registry);
  for (const std::string_view language : kLanguages) {
    std::vector<Counter*>& row = expert_weights.emplace_back();
    for (int32_t expert = 0; expert < num_experts; ++expert) {
      row.push_back(&experts_family.Add(
          {{"expert", std::to_string(expert)}, {"language", std::string(language)}}));
    }
  }
}

void Metrics::Series::AddInfo(const MetricsOptions& options) {
  BuildGauge()
      .Name("parrot_build_info")
      .Help("1; what is running, as labels.")
      .Register(registry)
      .Add({{"version", options.server_version},
            {"model", options.model_name},
            {"revision", options.model_revision},
            {"device", options.device},
            {"dtype", options.dtype}})
      .Set(1);
  BuildGauge()
      .Name("parrot_cache_config_info")
      .Help("1; the KV cache's sizes, as labels (block_size in tokens).")
      .Register(registry)
      .Add({{"block_size", std::to_string(options.block_size)},
            {"num_gpu_blocks", std::to_string(options.num_blocks)}})
      .Set(1);
}

void Metrics::Series::AddLimits(const FrontendLimits& limits) {
  Family<Gauge>& family = BuildGauge()
                              .Name("parrot_request_limit")
                              .Help("What one request may ask for; the name says the unit.")
                              .Register(registry);
  const auto add = [&family](const char* name, double value) {
    family.Add({{"limit", name}}).Set(value);
  };
  add("max_model_len_tokens", limits.max_model_len);
  add("max_tokens_default", limits.max_tokens_default);
  add("max_messages", limits.max_messages);
  add("max_text_bytes", static_cast<double>(limits.max_text_bytes));
  add("max_images", limits.max_images);
  add("max_image_bytes", static_cast<double>(limits.max_image_bytes));
  add("max_total_image_bytes", static_cast<double>(limits.max_total_image_bytes));
  add("max_image_pixels", static_cast<double>(limits.max_image_pixels));
  add("max_image_side_pixels", limits.max_image_side);
  add("max_stop_token_ids", limits.max_stop_token_ids);
  add("default_timeout_seconds", absl::ToDoubleSeconds(limits.default_timeout));
  add("max_timeout_seconds", absl::ToDoubleSeconds(limits.max_timeout));
  add("max_receive_message_bytes", static_cast<double>(limits.max_receive_message_bytes));
  add("max_wire_fields", limits.max_wire_fields);
}

Metrics::Metrics(const MetricsOptions& options, Clock* clock)
    : clock_(*clock), series_(std::make_unique<Series>(options)) {}
Metrics::~Metrics() = default;

void Metrics::SetLoadSource(std::function<EngineLoad()> load) { load_ = std::move(load); }
void Metrics::SetStateSource(std::function<ServerState()> state) { state_ = std::move(state); }
void Metrics::SetFrontendSource(std::function<std::pair<int64_t, int64_t>()> live_and_image_bytes) {
  frontend_ = std::move(live_and_image_bytes);
}

void Metrics::SetWarmingUp(bool warming_up) {
  if (!warming_up && load_ != nullptr) {
    const EngineLoad load = load_();
    absl::MutexLock lock(&series_->mutex);
    series_->counted = load;
  }
  warming_up_.store(warming_up);
}

std::string_view Metrics::LanguageLabel(std::string_view tag) {
  const std::string_view primary = tag.substr(0, tag.find('-'));
  if (primary.size() != 2) return kLanguages.back();
  const std::array<char, 2> lower = {absl::ascii_tolower(static_cast<unsigned char>(primary[0])),
                                     absl::ascii_tolower(static_cast<unsigned char>(primary[1]))};
  for (const std::string_view language : kLanguages) {
    if (language == std::string_view(lower.data(), lower.size())) return language;
  }
  return kLanguages.back();
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

void Metrics::CountFinished(const OutputFinishedEvent& finished, std::string_view language) {
  if (warming_up_.load()) return;
  series_->finished.at(finished.reason)->Increment();
  const bool complete =
      finished.reason == FinishReason::kStop || finished.reason == FinishReason::kLength;
  AddRouting(finished.routing, language);
  if (!complete) return;
  series_->request_prompt_tokens->Observe(finished.usage.prompt_tokens());
  series_->request_generation_tokens->Observe(finished.usage.completion_tokens);
  series_->duration.Observe(absl::ToDoubleSeconds(finished.timings.total));
  ObserveStages(finished.timings);
}

void Metrics::CountBlocked(int32_t num_tokens, std::string_view language) {
  if (warming_up_.load()) return;
  series_->blocked_tokens[LanguageIndex(language)]->Increment(num_tokens);
}

void Metrics::CountRouted(const OutputFinishedEvent& finished, std::string_view language) {
  if (warming_up_.load()) return;
  series_->routed->Increment();
  series_->request_prompt_tokens->Observe(finished.usage.prompt_tokens());
  series_->duration.Observe(absl::ToDoubleSeconds(finished.timings.total));
  AddRouting(finished.routing, language);
  ObserveStages(finished.timings);
}

void Metrics::ObserveFirstToken(absl::Duration since_arrival) {
  if (!warming_up_.load()) series_->first_token.Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::ObserveInterToken(absl::Duration gap) {
  if (!warming_up_.load()) series_->inter_token.Observe(absl::ToDoubleSeconds(gap));
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
  const std::vector<Counter*>& row = series_->expert_weights[LanguageIndex(language)];
  for (const ImageRouting& image : routing) {
    series_->images_answered.at(image.cache_level)->Increment();
    const size_t num_experts = std::min(row.size(), image.expert_weights.size());
    for (size_t i = 0; i < num_experts; ++i) row[i]->Increment(image.expert_weights[i]);
  }
}

void Metrics::RefreshGauges() const {
  Series& series = *series_;
  if (state_ != nullptr) {
    const ServerState now = state_();
    for (const ServerState state : {ServerState::kStarting,
                                    ServerState::kReady,
                                    ServerState::kDraining,
                                    ServerState::kFailed}) {
      series.state.Add({{"state", ServerStateName(state)}}).Set(state == now ? 1 : 0);
    }
  }
  if (frontend_ != nullptr) {
    const auto [live, image_bytes] = frontend_();
    series.live.Set(static_cast<double>(live));
    series.image_bytes.Set(static_cast<double>(image_bytes));
  }
  if (load_ == nullptr) return;
  const EngineLoad load = load_();
  series.running.Set(load.num_running);
  series.waiting.Set(load.num_waiting);
  series.kv_usage.Set(load.num_blocks_total > 0
                          ? static_cast<double>(load.num_blocks_used) / load.num_blocks_total
                          : 0.0);
  const absl::Time since = std::max(load.last_step_end, load.oldest_step_start);
  series.step_age.Set(load.step_in_flight ? absl::ToDoubleSeconds(clock_.Now() - since) : 0.0);
  series.blocks_cached.Set(load.num_blocks_cached);
  series.image_entries.Set(load.num_vision_entries);
  series.paused.Set(load.paused ? 1 : 0);
  if (!warming_up_.load()) series.AddEngineWork(load);
}

void Metrics::Series::AddEngineWork(const EngineLoad& load) {
  absl::MutexLock lock(&mutex);
  const auto add = [this, &load](Counter& counter, int64_t EngineLoad::*total)
                       ABSL_NO_THREAD_SAFETY_ANALYSIS {
                         counter.Increment(static_cast<double>(load.*total - counted.*total));
                       };
  add(prompt_tokens, &EngineLoad::num_prompt_tokens);
  add(generation_tokens, &EngineLoad::num_generated_tokens);
  add(preemptions, &EngineLoad::num_preemptions);
  add(retries, &EngineLoad::num_retries);
  add(steps, &EngineLoad::num_steps);
  add(failed_steps, &EngineLoad::num_failed_steps);
  add(prefix_queries, &EngineLoad::num_prefix_query_tokens);
  add(prefix_hits, &EngineLoad::num_prefix_hit_tokens);
  add(image_queries, &EngineLoad::num_vision_queries);
  add(image_hits, &EngineLoad::num_vision_hits);
  counted = load;
}

std::string Metrics::Render() const {
  RefreshGauges();
  return prometheus::TextSerializer().Serialize(series_->registry.Collect());
}

}  // namespace parrot
