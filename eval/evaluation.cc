#include "eval/evaluation.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/status_macros.h"
#include "eval/prompt.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Samples = std::map<SampleKey, Sample>;

// The samples of one data set, with what their requests cost.
struct Gathered {
  std::map<int64_t, const Sample*> samples;
  std::map<int64_t, RowAnswer> answers;
};

Gathered Gather(const Dataset& dataset, const Samples& samples, const EvalSettings& settings) {
  Gathered gathered;
  const std::string given_name = GivenName(dataset.name, settings.naming);
  const QuestionStyle style = QuestionStyleOf(dataset.name);
  for (const EvalRow& row : dataset.rows) {
    const auto found = samples.find({dataset.name, row.index});
    if (found == samples.end()) continue;
    const Sample& sample = found->second;
    RowAnswer answer{.failed = sample.failed(), .letter = sample.letter};
    if (!sample.failed()) {
      answer.prediction = CleanAnswer(BuildPrompt(row, given_name, style), sample.raw);
    }
    gathered.samples[row.index] = &sample;
    gathered.answers[row.index] = std::move(answer);
  }
  return gathered;
}

void AddWeights(const std::vector<double>& weights, std::vector<double>* sums) {
  if (sums->size() < weights.size()) sums->resize(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) (*sums)[i] += weights[i];
}

void AddCosts(const Gathered& gathered, DatasetResult* result) {
  int64_t num_routed = 0;
  for (const auto& [index, sample] : gathered.samples) {
    if (sample->failed()) {
      ++result->num_failed;
      continue;
    }
    ++result->num_answered;
    result->prompt_tokens += sample->prompt_tokens;
    result->completion_tokens += sample->completion_tokens;
    result->mean_latency_s += sample->latency_s;
    AddWeights(sample->expert_weights, &result->mean_expert_weights);
    num_routed += sample->expert_weights.empty() ? 0 : 1;
  }
  if (result->num_answered > 0) {
    result->mean_latency_s /= static_cast<double>(result->num_answered);
  }
  for (double& weight : result->mean_expert_weights) weight /= static_cast<double>(num_routed);
}

}  // namespace

std::string_view NamingName(Naming naming) {
  return naming == Naming::kPerLanguage ? "per-language" : "all-in-one";
}

std::string_view JpegModeName(JpegMode mode) {
  return mode == JpegMode::kOriginal ? "original" : "reference";
}

std::string_view ScoringName(Scoring scoring) {
  return scoring == Scoring::kGenerate ? "generate" : "choices";
}

std::string GivenName(const std::string& dataset_name, Naming naming) {
  return naming == Naming::kAllInOne ? AllInOneName(dataset_name) : dataset_name;
}

std::string SettingsLine(const EvalSettings& settings, const EvalModel& model) {
  return nlohmann::ordered_json{{"parrot_eval", 1},
                                {"model", model.name},
                                {"model_revision", model.revision},
                                {"dtype", model.dtype},
                                {"naming", NamingName(settings.naming)},
                                {"jpeg", JpegModeName(settings.jpeg)},
                                {"scoring", ScoringName(settings.scoring)},
                                {"max_tokens", settings.max_tokens}}
      .dump();
}

std::optional<double> DatasetResult::accuracy() const {
  if (num_counted == 0) return std::nullopt;
  return static_cast<double>(num_right) / static_cast<double>(num_counted);
}

bool Evaluation::complete() const {
  return std::all_of(datasets.begin(), datasets.end(), [](const DatasetResult& result) {
    return result.complete();
  });
}

absl::StatusOr<Evaluation> Evaluate(std::span<const Dataset> datasets,
                                    const Samples& samples,
                                    const EvalSettings& settings,
                                    const EvalModel& model) {
  Evaluation evaluation{.settings = settings, .model = model};
  for (const Dataset& dataset : datasets) {
    const Gathered gathered = Gather(dataset, samples, settings);
    DatasetResult result{.name = dataset.name,
                         .language = LanguageOf(dataset.name),
                         .protocol = settings.protocol.value_or(ProtocolOf(dataset.name)),
                         .open = settings.open.value_or(OpenRuleOf(dataset)),
                         .num_rows = static_cast<int64_t>(dataset.rows.size()),
                         .num_rows_without_image = dataset.num_rows_without_image,
                         .num_missing_options = dataset.num_missing_options};
    AddCosts(gathered, &result);
    ASSIGN_OR_RETURN(
        const std::vector<RowScore> scores,
        ScoreRows(dataset,
                  gathered.answers,
                  {.rules = settings.rules, .protocol = result.protocol, .open = result.open}));
    absl::flat_hash_map<int64_t, const EvalRow*> rows;
    for (const EvalRow& row : dataset.rows) rows.emplace(row.index, &row);
    for (const RowScore& score : scores) {
      const EvalRow& row = *rows.at(score.index);
      const bool not_inferable = !score.failed && !row.options.empty() && !score.inferred;
      result.num_not_inferable += not_inferable ? 1 : 0;
      result.num_counted += score.hit.has_value() ? 1 : 0;
      result.num_right += score.hit.value_or(false) ? 1 : 0;
      evaluation.judged.push_back({.sample = gathered.samples.at(score.index),
                                   .prediction = gathered.answers.at(score.index).prediction,
                                   .inferred = score.inferred,
                                   .answer = row.answer,
                                   .is_right = score.is_right});
    }
    result.table = MakeTable(dataset, scores);
    evaluation.datasets.push_back(std::move(result));
  }
  return evaluation;
}

}  // namespace parrot
