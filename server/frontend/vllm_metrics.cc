#include "server/frontend/vllm_metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/frontend/metric_series.h"

namespace parrot {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

MetricBuckets PaceBuckets() {
  return {0.01,
          0.025,
          0.05,
          0.075,
          0.1,
          0.15,
          0.2,
          0.3,
          0.4,
          0.5,
          0.75,
          1,
          2.5,
          5,
          7.5,
          10,
          20,
          40,
          80};
}

MetricBuckets LatencyBuckets() {
  return {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
          30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
}

const char* FinishedReason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
    case FinishReason::kDeadline:
      return "abort";
    case FinishReason::kError:
      break;
  }
  return "error";
}

// Counters of what the engine has done.
struct EngineSource {
  const char* name;
  const char* help;
  prometheus::Labels labels;
  int64_t (*total)(const EngineLoad&);
};

std::vector<EngineSource> EngineSources() {
  const auto computed = [](const EngineLoad& load) { return load.num_prompt_tokens; };
  const auto cached = [](const EngineLoad& load) { return load.num_prefix_hit_tokens; };
  const char* const by_source = "Prompt tokens, by where their keys and values came from.";
  return {
      {"vllm:prompt_tokens_total",
       "Prompt tokens, computed or cached.",
       {},
       [](const EngineLoad& load) { return load.num_prompt_tokens + load.num_prefix_hit_tokens; }},
      {"vllm:prompt_tokens_by_source_total", by_source, {{"source", "local_compute"}}, computed},
      {"vllm:prompt_tokens_by_source_total", by_source, {{"source", "local_cache_hit"}}, cached},
      {"vllm:prompt_tokens_cached_total", "Prompt tokens found in the prefix cache.", {}, cached},
      {"vllm:generation_tokens_total",
       "Tokens generated, stop tokens not counted.",
       {},
       [](const EngineLoad& load) { return load.num_generated_tokens; }},
      {"vllm:prefix_cache_queries_total",
       "Prompt tokens that were looked for in the prefix cache.",
       {},
       [](const EngineLoad& load) { return load.num_prefix_query_tokens; }},
      {"vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", {}, cached},
      {"vllm:mm_cache_queries_total",
       "Images whose features were looked for.",
       {},
       [](const EngineLoad& load) { return load.num_vision_queries; }},
      {"vllm:mm_cache_hits_total",
       "Images whose features were there.",
       {},
       [](const EngineLoad& load) { return load.num_vision_hits; }},
      {"vllm:num_preemptions_total",
       "Sequences put back to the queue for lack of memory.",
       {},
       [](const EngineLoad& load) { return load.num_preemptions; }}};
}

}  // namespace

struct VllmMetrics::Series {
  explicit Series(const MetricsOptions& options);

  Histogram& Latency(const char* name, const char* help) const {
    return make.NewHistogram(name, help, LatencyBuckets());
  }
  Histogram& Tokens(const char* name, const char* help) const {
    return make.NewHistogram(name, help, token_buckets);
  }

  prometheus::Registry registry;
  const MetricMaker make;
  const MetricBuckets token_buckets;

  Gauge& running =
      make.NewGauge("vllm:num_requests_running", "Sequences that the engine computes.");
  Gauge& waiting = make.NewGauge("vllm:num_requests_waiting", "Requests in the engine's queue.");
  Gauge& waiting_for_capacity = make.NewGauge("vllm:num_requests_waiting_by_reason",
                                              "Requests in the engine's queue, by reason.",
                                              {{"reason", "capacity"}});
  Gauge& waiting_deferred = make.NewGauge("vllm:num_requests_waiting_by_reason",
                                          "Requests in the engine's queue, by reason.",
                                          {{"reason", "deferred"}});  // nobody ever
  Gauge& kv_usage =
      make.NewGauge("vllm:kv_cache_usage_perc", "Share of the KV blocks in use, 0 to 1.");
  std::map<FinishReason, Counter*> success;

  Histogram& first_token = make.NewHistogram("vllm:time_to_first_token_seconds",
                                             "Arrival at the server to the first token.",
                                             FirstTokenBuckets());
  Histogram& inter_token = make.NewHistogram(
      "vllm:inter_token_latency_seconds", "Between tokens of one sequence.", PaceBuckets());
  Histogram& output_pace = make.NewHistogram("vllm:request_time_per_output_token_seconds",
                                             "Mean time between the tokens of an output.",
                                             PaceBuckets());
  Histogram& e2e = Latency("vllm:e2e_request_latency_seconds",
                           "Arrival at the server to the end of the last output.");
  Histogram& queue =
      Latency("vllm:request_queue_time_seconds", "Arrival at the engine to the first step.");
  Histogram& inference =
      Latency("vllm:request_inference_time_seconds", "First step to the last token.");
  Histogram& prefill =
      Latency("vllm:request_prefill_time_seconds", "First step to the first token.");
  Histogram& decode = Latency("vllm:request_decode_time_seconds", "First token to the last.");
  Histogram& prompt_tokens = Tokens("vllm:request_prompt_tokens", "Prompt tokens of a request.");
  Histogram& generation_tokens =
      Tokens("vllm:request_generation_tokens", "Tokens generated for a request.");
  Histogram& computed_tokens = Tokens("vllm:request_prefill_kv_computed_tokens",
                                      "Prompt tokens of a request that no cache had.");
  Histogram& max_tokens = Tokens("vllm:request_params_max_tokens", "The max_tokens of a request.");
  Histogram& num_outputs =
      make.NewHistogram("vllm:request_params_n", "The n of a request.", {1, 2, 5, 10, 20});

  absl::Mutex mutex;
  const std::vector<EngineSource> sources = EngineSources();
  std::vector<FollowingCounter> followers ABSL_GUARDED_BY(mutex);  // of sources
};

VllmMetrics::Series::Series(const MetricsOptions& options)
    : make(&registry, {{"model_name", options.model_name}, {"engine", "0"}}),
      token_buckets(TokenCountBuckets(options.limits.max_model_len)) {
  make.NewGauge("vllm:cache_config_info",
                "1; the KV cache's sizes, as labels (block_size in tokens).",
                {{"block_size", std::to_string(options.block_size)},
                 {"num_gpu_blocks", std::to_string(options.num_blocks)}})
      .Set(1);
  for (const FinishReason reason : {FinishReason::kStop,
                                    FinishReason::kLength,
                                    FinishReason::kCancelled,
                                    FinishReason::kDeadline,
                                    FinishReason::kError}) {
    success[reason] = &make.NewCounter("vllm:request_success_total",
                                       "Requests that the engine ended, by reason.",
                                       {{"finished_reason", FinishedReason(reason)}});
  }
  for (const EngineSource& source : sources) {
    followers.emplace_back(make.NewCounter(source.name, source.help, source.labels));
  }
}

VllmMetrics::VllmMetrics(const MetricsOptions& options)
    : series_(std::make_unique<Series>(options)) {}
VllmMetrics::~VllmMetrics() = default;

void VllmMetrics::CountParameters(int32_t num_outputs, int32_t max_tokens) {
  series_->num_outputs.Observe(num_outputs);
  series_->max_tokens.Observe(max_tokens);
}

void VllmMetrics::CountFinished(const OutputFinishedEvent& last, int32_t num_completion_tokens) {
  series_->success.at(last.reason)->Increment();
  if (last.reason != FinishReason::kStop && last.reason != FinishReason::kLength) return;
  const double prefill = absl::ToDoubleSeconds(last.timings.prefill);
  const double decode = absl::ToDoubleSeconds(last.timings.decode);
  series_->e2e.Observe(absl::ToDoubleSeconds(last.timings.total));
  series_->queue.Observe(absl::ToDoubleSeconds(last.timings.queue));
  series_->prefill.Observe(prefill);
  series_->decode.Observe(decode);
  series_->inference.Observe(prefill + decode);
  const Usage& usage = last.usage;
  if (usage.completion_tokens > 1) {
    series_->output_pace.Observe(decode / (usage.completion_tokens - 1));
  }
  series_->prompt_tokens.Observe(usage.prompt_tokens());
  series_->computed_tokens.Observe(usage.prompt_tokens() - usage.cached_tokens);
  series_->generation_tokens.Observe(num_completion_tokens);
}

void VllmMetrics::ObserveFirstToken(absl::Duration since_arrival) {
  series_->first_token.Observe(absl::ToDoubleSeconds(since_arrival));
}

void VllmMetrics::ObserveInterToken(absl::Duration gap) {
  series_->inter_token.Observe(absl::ToDoubleSeconds(gap));
}

void VllmMetrics::FollowEngine(const EngineLoad& load, bool count) {
  Series& series = *series_;
  series.running.Set(load.num_running);
  series.waiting.Set(load.num_waiting);
  series.waiting_for_capacity.Set(load.num_waiting);
  series.kv_usage.Set(static_cast<double>(load.num_blocks_used) /
                      std::max(1, load.num_blocks_total));
  absl::MutexLock lock(&series.mutex);
  for (size_t i = 0; i < series.sources.size(); ++i) {
    series.followers[i].Follow(series.sources[i].total(load), count);
  }
}

std::string VllmMetrics::Render() const {
  return prometheus::TextSerializer().Serialize(series_->registry.Collect());
}

}  // namespace parrot
