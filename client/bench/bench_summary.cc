#include "client/bench/bench_summary.h"

#include <algorithm>
#include <utility>

#include "client/reply_names.h"

namespace parrot {
namespace {

bool Keeps(std::optional<absl::Duration> value, std::optional<absl::Duration> level) {
  return !level.has_value() || !value.has_value() || *value <= *level;
}

// Collects the completed requests of one group.
class GroupBuilder {
 public:
  void Add(const RequestSample& sample, const ServiceLevels& levels) {
    if (sample.outcome == RequestOutcome::kFailed) ++summary_.num_failed;
    if (sample.outcome != RequestOutcome::kCompleted) return;
    ++summary_.num_completed;
    summary_.num_good += IsGood(sample, levels) ? 1 : 0;
    summary_.num_input_tokens += sample.usage.prompt_tokens();
    summary_.num_cached_tokens += sample.usage.cached_tokens();
    summary_.num_output_tokens += OutputTokens(sample);
    summary_.num_characters += sample.num_characters;
    if (const auto ttft = TimeToFirstToken(sample)) Push(*ttft, &ttft_ms_);
    if (const auto tpot = TimePerOutputToken(sample)) Push(*tpot, &tpot_ms_);
    for (const absl::Duration gap : InterTokenLatencies(sample)) Push(gap, &itl_ms_);
    Push(EndToEndLatency(sample), &e2el_ms_);
  }

  GroupSummary Build(std::string name, const std::vector<double>& percentiles) {
    summary_.name = std::move(name);
    summary_.ttft_ms = DistributionOf(std::move(ttft_ms_), percentiles);
    summary_.tpot_ms = DistributionOf(std::move(tpot_ms_), percentiles);
    summary_.itl_ms = DistributionOf(std::move(itl_ms_), percentiles);
    summary_.e2el_ms = DistributionOf(std::move(e2el_ms_), percentiles);
    return std::move(summary_);
  }

 private:
  static void Push(absl::Duration value, std::vector<double>* values) {
    values->push_back(absl::ToDoubleMilliseconds(value));
  }

  GroupSummary summary_;
  std::vector<double> ttft_ms_;
  std::vector<double> tpot_ms_;
  std::vector<double> itl_ms_;
  std::vector<double> e2el_ms_;
};

std::vector<std::pair<std::string, Distribution>> Stages(const LoadResult& result,
                                                         const std::vector<double>& percentiles) {
  std::vector<std::pair<std::string, std::vector<double>>> values;
  for (const auto& [name, seconds] : StageSeconds({}))
    values.emplace_back(name, std::vector<double>());
  for (const RequestSample& sample : result.samples) {
    if (sample.outcome != RequestOutcome::kCompleted) continue;
    const auto stages = StageSeconds(sample.timings);
    for (size_t i = 0; i < stages.size(); ++i) values[i].second.push_back(stages[i].second * 1e3);
  }
  std::vector<std::pair<std::string, Distribution>> stages;
  for (auto& [name, list] : values) {
    Distribution distribution = DistributionOf(std::move(list), percentiles);
    if (distribution.max > 0) stages.emplace_back(name, std::move(distribution));
  }
  return stages;
}

}  // namespace

bool IsGood(const RequestSample& sample, const ServiceLevels& levels) {
  return sample.outcome == RequestOutcome::kCompleted &&
         Keeps(TimeToFirstToken(sample), levels.ttft) &&
         Keeps(TimePerOutputToken(sample), levels.tpot) &&
         Keeps(EndToEndLatency(sample), levels.e2el);
}

BenchSummary Summarize(const LoadResult& result, const BenchDescription& description) {
  GroupBuilder all;
  std::map<std::string, GroupBuilder> languages;
  BenchSummary summary;
  std::vector<double> lags_ms;
  lags_ms.reserve(result.samples.size());
  for (const RequestSample& sample : result.samples) {
    all.Add(sample, description.levels);
    if (!sample.language.empty()) languages[sample.language].Add(sample, description.levels);
    lags_ms.push_back(absl::ToDoubleMilliseconds(sample.sent - sample.scheduled));
    if (sample.outcome == RequestOutcome::kInterrupted) ++summary.num_interrupted;
    if (sample.outcome == RequestOutcome::kFailed) {
      ++summary.errors[{sample.error_code, sample.error_reason}];
    }
    if (sample.outcome != RequestOutcome::kCompleted) continue;
    for (const v1::CacheLevel level : sample.cache_levels) {
      ++summary.cache_levels[CacheLevelName(level)];
    }
  }
  summary.all = all.Build("all", description.percentiles);
  for (auto& [name, builder] : languages) {
    summary.languages.push_back(builder.Build(name, description.percentiles));
  }
  summary.duration_s = absl::ToDoubleSeconds(result.duration);
  summary.peak_running = result.peak_running;
  for (const int64_t tokens : TokensBySecond(result)) {
    summary.peak_output_tokens_per_s =
        std::max(summary.peak_output_tokens_per_s, static_cast<double>(tokens));
  }
  summary.schedule_lag_ms = DistributionOf(std::move(lags_ms), description.percentiles);
  summary.client_cpu_s = absl::ToDoubleSeconds(result.client_cpu);
  summary.num_connections = result.num_connections;
  summary.stages_ms = Stages(result, description.percentiles);
  return summary;
}

std::vector<int64_t> TokensBySecond(const LoadResult& result) {
  std::vector<int64_t> tokens(absl::ToInt64Seconds(result.duration) + 1);
  for (const RequestSample& sample : result.samples) {
    for (const TokenArrival& arrival : sample.arrivals) {
      const size_t second = absl::ToInt64Seconds(arrival.at);
      if (second < tokens.size()) tokens[second] += arrival.num_tokens;
    }
  }
  return tokens;
}

}  // namespace parrot
