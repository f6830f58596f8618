#include "server/frontend/native_series.h"

#include <algorithm>
#include <string>

#include "absl/time/time.h"

namespace parrot {
namespace {

constexpr const char* kStages[] = {"decode_image",
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

// Seconds. Durations and stages reach below 0.3 s, where small models and short queues live.
MetricBuckets InterTokenBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
          0.3,   0.4,    0.5,   0.75, 1,     2.5,  5,     7.5, 10,   20};
}
MetricBuckets DurationBuckets() {
  return {0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1,   1.5, 2,
          2.5,  5,     10,   15,  20,  30,  40,  60,  120, 240, 600};
}
MetricBuckets StageBuckets() {
  return {0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
}

}  // namespace

NativeSeries::NativeSeries(const MetricsOptions& options)
    : rejected(prometheus::BuildCounter()
                   .Name("parrot_rejected_total")
                   .Help("Requests that ended with an error before any output, by reason.")
                   .Register(registry)),
      rpcs(prometheus::BuildCounter()
               .Name("grpc_server_handled_total")
               .Help("RPCs completed on the server, by status code.")
               .Register(registry)),
      inter_token(make.NewHistogram("parrot_inter_token_latency_seconds",
                                    "Between tokens of one sequence.",
                                    InterTokenBuckets())),
      duration(make.NewHistogram("parrot_request_duration_seconds",
                                 "Arrival at the server to the end of the output.",
                                 DurationBuckets())),
      request_prompt_tokens(make.NewHistogram("parrot_request_prompt_tokens",
                                              "Prompt tokens of a request.",
                                              TokenCountBuckets(options.limits.max_model_len))),
      request_generation_tokens(
          make.NewHistogram("parrot_request_generation_tokens",
                            "Tokens generated for one output.",
                            TokenCountBuckets(options.limits.max_model_len))) {
  for (const char* stage : kStages) {
    stages[stage] = &make.NewHistogram(
        "parrot_stage_seconds",
        "Time of a request in one stage. A step shared with others counts in full.",
        StageBuckets(),
        {{"stage", stage}});
  }
  AddEngineTotals();
  AddImageCache(options.caches_experts);
  AddOutcomes();
  AddLanguages(options.num_experts);
  AddInfo(options);
  AddLimits(options.limits);
}

prometheus::Gauge& NativeSeries::NewPredictorGauge(const char* part) const {
  return make.NewGauge("parrot_step_time_prediction_seconds",
                       "What a step, each of its tokens and each of its images is expected to add "
                       "to its time.",
                       {{"part", part}});
}

void NativeSeries::AddTotal(Counter& counter, int64_t EngineLoad::*total) {
  absl::MutexLock lock(&mutex);
  engine_totals_.push_back({FollowingCounter(counter), total});
}

void NativeSeries::AddEngineTotals() {
  const auto add = [this](const char* name, const char* help, int64_t EngineLoad::*total) {
    AddTotal(make.NewCounter(name, help), total);
  };
  add("parrot_prompt_tokens_total",
      "Prompt tokens computed, image tokens included.",
      &EngineLoad::num_prompt_tokens);
  add("parrot_generation_tokens_total",
      "Tokens generated, stop tokens not counted.",
      &EngineLoad::num_generated_tokens);
  add("parrot_preemptions_total",
      "Sequences put back to the queue for lack of memory.",
      &EngineLoad::num_preemptions);
  add("parrot_retries_total",
      "Sequences that ran again because a step was lost.",
      &EngineLoad::num_retries);
  add("parrot_engine_steps_total", "Steps of the model that ended.", &EngineLoad::num_steps);
  add("parrot_engine_failed_steps_total",
      "Steps of the model that failed.",
      &EngineLoad::num_failed_steps);
  add("parrot_prefix_cache_queries_total",
      "Prompt tokens that were looked for in the prefix cache.",
      &EngineLoad::num_prefix_query_tokens);
  add("parrot_prefix_cache_hits_total",
      "Prompt tokens found in the prefix cache.",
      &EngineLoad::num_prefix_hit_tokens);
  add("parrot_prefix_cache_evictions_total",
      "KV blocks that a prefix could have found, taken for others.",
      &EngineLoad::num_prefix_evictions);
}

void NativeSeries::AddImageCache(bool caches_experts) {
  const auto queries = [this](const char* level) -> Counter& {
    return make.NewCounter("parrot_image_cache_queries_total",
                           "Images that were looked for in a level of the cache.",
                           {{"level", level}});
  };
  const auto hits = [this](const char* level) -> Counter& {
    return make.NewCounter(
        "parrot_image_cache_hits_total", "Images that were there.", {{"level", level}});
  };
  // One of the two is on, and the engine counts it.
  for (const char* level : {"features", "experts"}) {
    Counter& evictions = make.NewCounter(
        "parrot_image_cache_evictions_total", "Images that had to go.", {{"level", level}});
    const bool is_on = caches_experts == (std::string_view(level) == "experts");
    Counter& asked = queries(level);
    Counter& found = hits(level);
    if (!is_on) continue;
    AddTotal(asked, &EngineLoad::num_vision_queries);
    AddTotal(found, &EngineLoad::num_vision_hits);
    AddTotal(evictions, &EngineLoad::num_vision_evictions);
  }
  kv_queries = &queries("kv");
  kv_hits = &hits("kv");
  for (const auto& [level, name] : {std::pair(CacheLevel::kNone, "none"),
                                    std::pair(CacheLevel::kFeatures, "features"),
                                    std::pair(CacheLevel::kExperts, "experts"),
                                    std::pair(CacheLevel::kKv, "kv")}) {
    images_answered[level] =
        &make.NewCounter("parrot_images_answered_total",
                         "Images of ended requests, by the cache that served them.",
                         {{"cache_level", name}});
  }
}

void NativeSeries::AddOutcomes() {
  for (const CancelStage stage : {CancelStage::kPreprocessQueue,
                                  CancelStage::kPreprocess,
                                  CancelStage::kEngine,
                                  CancelStage::kDecode,
                                  CancelStage::kWrite}) {
    cancelled[stage] =
        &make.NewCounter("parrot_cancelled_total",
                         "Requests that their client gave up, by the stage they were in.",
                         {{"stage", CancelStageName(stage)}});
  }
  const auto new_finished = [this](const char* reason) {
    return &make.NewCounter("parrot_requests_finished_total",
                            "Requests that the engine ended, by reason.",
                            {{"reason", reason}});
  };
  for (const FinishReason reason : {FinishReason::kStop,
                                    FinishReason::kLength,
                                    FinishReason::kCancelled,
                                    FinishReason::kDeadline,
                                    FinishReason::kError}) {
    finished[reason] = new_finished(FinishReasonName(reason));
  }
  routed = new_finished("routed");
  for (const ServerState state : {ServerState::kStarting,
                                  ServerState::kReady,
                                  ServerState::kDraining,
                                  ServerState::kFailed}) {
    states[state] = &make.NewGauge("parrot_server_state",
                                   "1 for the state the server is in, 0 for the others.",
                                   {{"state", ServerStateName(state)}});
  }
}

void NativeSeries::AddLanguages(int32_t num_experts) {
  for (const std::string_view language : kMetricLanguages) {
    blocked_tokens.push_back(&make.NewCounter(
        "parrot_language_lock_blocked_tokens_total",
        "Tokens whose place the most likely one lost to a language lock, by its language.",
        {{"language", std::string(language)}}));
    std::vector<Counter*>& row = expert_weights.emplace_back();
    for (int32_t expert = 0; expert < num_experts; ++expert) {
      row.push_back(&make.NewCounter(
          "parrot_moe_expert_weight_sum_total",
          "Sum over images of the router's weight, by expert and language of the request.",
          {{"expert", std::to_string(expert)}, {"language", std::string(language)}}));
    }
  }
}

void NativeSeries::AddInfo(const MetricsOptions& options) {
  make.NewGauge("parrot_build_info",
                "1; what is running, as labels.",
                {{"version", options.server_version},
                 {"model", options.model_name},
                 {"revision", options.model_revision},
                 {"device", options.device},
                 {"dtype", options.dtype},
                 {"backend", options.backend}})
      .Set(1);
  make.NewGauge("parrot_cache_config_info",
                "1; the KV cache's sizes, as labels (block_size in tokens).",
                {{"block_size", std::to_string(options.block_size)},
                 {"num_gpu_blocks", std::to_string(options.num_blocks)}})
      .Set(1);
}

void NativeSeries::AddLimits(const FrontendLimits& limits) {
  const auto add = [this](const char* name, double value) {
    make.NewGauge("parrot_request_limit",
                  "What one request may ask for; the name says the unit.",
                  {{"limit", name}})
        .Set(value);
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

void NativeSeries::SetWorkers(const std::vector<EngineLoad>& loads) {
  for (size_t i = 0; i < loads.size(); ++i) {
    make.NewGauge("parrot_worker_up",
                  "1 while the worker lives, 0 when it is dead.",
                  {{"worker", std::to_string(i)}})
        .Set(loads[i].health.ok() ? 1 : 0);
  }
}

void NativeSeries::FollowEngine(const EngineLoad& load, bool count) {
  running.Set(load.num_running);
  waiting.Set(load.num_waiting);
  kv_usage.Set(static_cast<double>(load.num_blocks_used) / std::max(1, load.num_blocks_total));
  blocks_cached.Set(load.num_blocks_cached);
  image_entries.Set(load.num_vision_entries);
  paused.Set(load.paused ? 1 : 0);
  const StepTimePredictor::Coefficients predicted = load.predictor.coefficients();
  predicted_step.Set(predicted.step);
  predicted_token.Set(predicted.token);
  predicted_image.Set(predicted.image);
  prediction_error.Set(load.predictor.mean_relative_error());
  absl::MutexLock lock(&mutex);
  for (EngineTotal& engine : engine_totals_) engine.counter.Follow(load.*engine.total, count);
}

void NativeSeries::FollowStore(const ImageStore::Stats& stats, bool count) {
  store_bytes.Set(static_cast<double>(stats.num_bytes));
  store_entries.Set(static_cast<double>(stats.num_images));
  absl::MutexLock lock(&mutex);
  store_queries_.Follow(stats.num_queries, count);
  store_hits_.Follow(stats.num_hits, count);
  store_evictions_.Follow(stats.num_evictions, count);
}

}  // namespace parrot
