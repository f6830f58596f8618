#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/bench/bench_report.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

// Keys in the order in which they are written here.
using json = nlohmann::ordered_json;

// mean_ttft_ms, median_ttft_ms, std_ttft_ms, p99_ttft_ms, ...
void AddLatency(const std::string& metric, const Distribution& distribution, json* object) {
  const std::string suffix = absl::StrCat("_", metric, "_ms");
  (*object)["mean" + suffix] = distribution.mean;
  (*object)["median" + suffix] = distribution.median;
  (*object)["std" + suffix] = distribution.std;
  for (const auto& [percent, value] : distribution.percentiles) {
    (*object)[absl::StrCat("p", percent, suffix)] = value;
  }
}

void AddGroup(const BenchSummary& summary, const GroupSummary& group, json* object) {
  const auto per_second = [&](int64_t amount) {
    return summary.PerSecond(static_cast<double>(amount));
  };
  (*object)["completed"] = group.num_completed;
  (*object)["failed"] = group.num_failed;
  (*object)["total_input_tokens"] = group.num_input_tokens;
  (*object)["total_output_tokens"] = group.num_output_tokens;
  (*object)["request_throughput"] = per_second(group.num_completed);
  (*object)["output_throughput"] = per_second(group.num_output_tokens);
  (*object)["total_token_throughput"] =
      per_second(group.num_input_tokens + group.num_output_tokens);
  AddLatency("ttft", group.ttft_ms, object);
  AddLatency("tpot", group.tpot_ms, object);
  AddLatency("itl", group.itl_ms, object);
  AddLatency("e2el", group.e2el_ms, object);
}

void AddGoodput(const BenchReport& report, const GroupSummary& group, json* object) {
  (*object)["request_goodput"] = nullptr;
  if (!report.description.levels.any()) return;
  (*object)["request_goodput"] = report.summary.PerSecond(static_cast<double>(group.num_good));
}

json LanguageRow(const BenchReport& report, const GroupSummary& group) {
  json row = {{"language", group.name}};
  AddGroup(report.summary, group, &row);
  AddGoodput(report, group, &row);
  row["good"] = group.num_good;
  row["total_cached_tokens"] = group.num_cached_tokens;
  row["character_throughput"] = report.summary.PerSecond(static_cast<double>(group.num_characters));
  return row;
}

json Goodput(const ServiceLevels& levels) {
  json object = json::object();
  const auto add = [&](const char* name, const std::optional<absl::Duration>& level) {
    if (level.has_value()) object[name] = absl::ToDoubleMilliseconds(*level);
  };
  add("ttft", levels.ttft);
  add("tpot", levels.tpot);
  add("e2el", levels.e2el);
  return object;
}

// What vLLM has no key for.
json Own(const BenchReport& report) {
  const BenchSummary& summary = report.summary;
  const BenchDescription& description = report.description;
  json own = {
      {"version", description.version},
      {"target", description.target},
      {"workload", description.workload},
      {"num_warmups", description.num_warmups},
      {"seed", description.seed},
      {"goodput_slos_ms", Goodput(description.levels)},
      {"good", summary.all.num_good},
      {"interrupted", summary.num_interrupted},
      {"total_cached_tokens", summary.all.num_cached_tokens},
      {"character_throughput", summary.PerSecond(static_cast<double>(summary.all.num_characters))},
      {"cache_levels", summary.cache_levels},
      {"client_cpu_s", summary.client_cpu_s},
      {"connections", summary.num_connections},
      {"max_schedule_lag_ms", summary.schedule_lag_ms.max}};
  AddLatency("schedule_lag", summary.schedule_lag_ms, &own);
  json stages = json::object();
  for (const auto& [name, stage] : summary.stages_ms) AddLatency(name, stage, &stages);
  own["server_stages"] = std::move(stages);
  own["languages"] = json::array();
  for (const GroupSummary& group : summary.languages) {
    own["languages"].push_back(LanguageRow(report, group));
  }
  own["errors"] = json::array();
  for (const auto& [error, count] : summary.errors) {
    own["errors"].push_back({{"code", error.first}, {"reason", error.second}, {"count", count}});
  }
  return own;
}

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }

// vLLM's, by position in `samples`; 0 and "" where there is nothing.
void AddLists(const LoadResult& result, json* object) {
  json input_lens = json::array();
  json output_lens = json::array();
  json ttfts = json::array();
  json itls = json::array();
  json errors = json::array();
  for (const RequestSample& sample : result.samples) {
    input_lens.push_back(sample.usage.prompt_tokens());
    output_lens.push_back(OutputTokens(sample));
    ttfts.push_back(Seconds(TimeToFirstToken(sample).value_or(absl::ZeroDuration())));
    json gaps = json::array();
    for (const absl::Duration gap : InterTokenLatencies(sample)) gaps.push_back(Seconds(gap));
    itls.push_back(std::move(gaps));
    errors.push_back(
        sample.outcome == RequestOutcome::kCompleted
            ? ""
            : absl::StrCat(
                  sample.error_code, " ", sample.error_reason, ": ", sample.error_message));
  }
  (*object)["input_lens"] = std::move(input_lens);
  (*object)["output_lens"] = std::move(output_lens);
  (*object)["ttfts"] = std::move(ttfts);
  (*object)["itls"] = std::move(itls);
  (*object)["errors"] = std::move(errors);
}

// JSON has no infinity; vLLM writes it so.
json NumberOrInf(double value) { return std::isfinite(value) ? json(value) : json("inf"); }

}  // namespace

std::string BenchJson(const BenchReport& report, bool detailed) {
  const BenchDescription& description = report.description;
  const BenchSummary& summary = report.summary;
  json object = {
      {"date", absl::FormatTime("%Y%m%d-%H%M%S", description.date, absl::LocalTimeZone())},
      {"backend", "parrot-grpc"},
      {"endpoint_type", "parrot-grpc"},
      {"label", nullptr},
      {"model_id", description.model},
      {"tokenizer_id", description.model},
      {"num_prompts", summary.all.num_completed + summary.all.num_failed + summary.num_interrupted},
      {"request_rate", NumberOrInf(description.request_rate)},
      {"burstiness", NumberOrInf(description.burstiness)},
      {"max_concurrency", nullptr},
      {"duration", summary.duration_s}};
  if (description.max_concurrency > 0) object["max_concurrency"] = description.max_concurrency;
  AddGroup(summary, summary.all, &object);
  AddGoodput(report, summary.all, &object);
  object["max_output_tokens_per_s"] = summary.peak_output_tokens_per_s;
  object["max_concurrent_requests"] = summary.peak_running;
  object["parrot"] = Own(report);
  if (detailed) AddLists(report.result, &object);
  // Messages may hold bytes that are not UTF-8; the object must not fail for it.
  return object.dump(/*indent=*/2, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) +
         "\n";
}

}  // namespace parrot
