#include "eval/eval_report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/svg/svg_chart.h"
#include "eval/python_text.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

std::string LanguageLabel(const DatasetResult& result) {
  return result.language.empty() ? result.name : result.language;
}

// The languages of one benchmark and one split, side by side.
struct SideBySide {
  std::string benchmark;
  std::string split;
  std::vector<const DatasetResult*> datasets;
  AccuracyTable table;  // their rows, in that order
};

std::vector<SideBySide> TablesOf(const Evaluation& evaluation) {
  std::map<std::pair<std::string, std::string>, size_t> places;
  std::vector<SideBySide> tables;
  for (const DatasetResult& result : evaluation.datasets) {
    for (const AccuracyRow& row : result.table.rows) {
      const std::string benchmark = AllInOneName(result.name);
      const auto [place, is_new] = places.emplace(std::pair(benchmark, row.split), tables.size());
      if (is_new) tables.push_back({.benchmark = benchmark, .split = row.split});
      SideBySide& table = tables[place->second];
      table.datasets.push_back(&result);
      AppendTable({.columns = result.table.columns, .rows = {row}}, &table.table);
    }
  }
  return tables;
}

std::string Percent(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.2f", *value * 100) : "-";
}

// Over the languages that have a value.
std::optional<double> MeanOf(const SideBySide& table, size_t column) {
  double sum = 0;
  int num = 0;
  for (const AccuracyRow& row : table.table.rows) {
    if (!row.values[column].has_value()) continue;
    sum += *row.values[column];
    ++num;
  }
  if (num == 0) return std::nullopt;
  return sum / num;
}

std::vector<Row> Cells(const SideBySide& table) {
  Row head = {"category"};
  for (const DatasetResult* result : table.datasets) head.push_back(LanguageLabel(*result));
  const bool has_mean = table.datasets.size() > 1;
  if (has_mean) head.emplace_back("mean");
  std::vector<Row> rows = {std::move(head)};
  for (size_t column = 0; column < table.table.columns.size(); ++column) {
    Row row = {table.table.columns[column]};
    for (const AccuracyRow& values : table.table.rows) {
      row.push_back(Percent(values.values[column]));
    }
    if (has_mean) row.push_back(Percent(MeanOf(table, column)));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> CountCells(const Evaluation& evaluation) {
  std::vector<Row> rows = {{"data set",
                            "protocol",
                            "accuracy",
                            "counted",
                            "answered",
                            "failed",
                            "not asked",
                            "not inferable",
                            "no image",
                            "missing options"}};
  for (const DatasetResult& result : evaluation.datasets) {
    rows.push_back({result.name,
                    std::string(ProtocolName(result.protocol)),
                    Percent(result.accuracy()),
                    absl::StrCat(result.num_counted),
                    absl::StrCat(result.num_answered),
                    absl::StrCat(result.num_failed),
                    absl::StrCat(result.num_rows - result.num_answered - result.num_failed),
                    absl::StrCat(result.num_not_inferable),
                    absl::StrCat(result.num_rows_without_image),
                    absl::StrCat(result.num_missing_options)});
  }
  return rows;
}

std::vector<Row> ExpertCells(const Evaluation& evaluation) {
  size_t num_experts = 0;
  for (const DatasetResult& result : evaluation.datasets) {
    num_experts = std::max(num_experts, result.mean_expert_weights.size());
  }
  if (num_experts == 0) return {};
  Row head = {"data set"};
  for (size_t i = 0; i < num_experts; ++i) head.push_back(absl::StrCat("expert ", i));
  std::vector<Row> rows = {std::move(head)};
  for (const DatasetResult& result : evaluation.datasets) {
    Row row = {result.name};
    for (const double weight : result.mean_expert_weights) {
      row.push_back(absl::StrFormat("%.3f", weight));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<std::pair<std::string, std::string>> Facts(const Evaluation& evaluation) {
  const EvalSettings& settings = evaluation.settings;
  const EvalModel& model = evaluation.model;
  return {{"model", model.name},
          {"model_revision", model.revision},
          {"dtype", model.dtype},
          {"device", model.device},
          {"server_version", model.server_version},
          {"client_version", model.client_version},
          {"naming", std::string(NamingName(settings.naming))},
          {"jpeg", std::string(JpegModeName(settings.jpeg))},
          {"scoring", std::string(ScoringName(settings.scoring))},
          {"rules", std::string(RuleSetName(settings.rules))},
          {"max_tokens", absl::StrCat(settings.max_tokens)},
          {"complete", evaluation.complete() ? "yes" : "no"}};
}

// Line ends and tabs of names would break a table.
std::string OneLine(std::string_view text) {
  return absl::StrReplaceAll(std::string(text), {{"\n", " "}, {"\r", " "}, {"\t", " "}});
}

std::string TextTable(const std::vector<Row>& rows) {
  std::vector<int64_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], NumCharacters(OneLine(row[i])));
    }
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string cell = OneLine(row[i]);
      const std::string pad(static_cast<size_t>(widths[i] - NumCharacters(cell)), ' ');
      const bool is_left = i == 0 || row.size() == 2;  // names; a column of values stands right
      absl::StrAppend(&text, i == 0 ? "" : "  ", is_left ? cell + pad : pad + cell);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string MarkdownTable(const std::vector<Row>& rows) {
  std::string text;
  for (size_t i = 0; i < rows.size(); ++i) {
    text += '|';
    for (const std::string& cell : rows[i]) {
      absl::StrAppend(&text, " ", absl::StrReplaceAll(OneLine(cell), {{"|", "\\|"}}), " |");
    }
    text += '\n';
    if (i > 0) continue;
    text += "| --- |";
    for (size_t j = 1; j < rows[0].size(); ++j) text += " ---: |";
    text += '\n';
  }
  return text;
}

std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

// One line for each value: tables of different columns fit in one file.
std::string Csv(const Evaluation& evaluation) {
  std::string csv = "dataset,language,split,category,accuracy\n";
  for (const DatasetResult& result : evaluation.datasets) {
    for (const AccuracyRow& row : result.table.rows) {
      for (size_t i = 0; i < row.values.size(); ++i) {
        if (!row.values[i].has_value()) continue;
        absl::StrAppend(&csv,
                        CsvCell(result.name),
                        ",",
                        result.language,
                        ",",
                        CsvCell(row.split),
                        ",",
                        CsvCell(result.table.columns[i]),
                        ",",
                        FormatReal(*row.values[i]),
                        "\n");
      }
    }
  }
  return csv;
}

json DatasetJson(const DatasetResult& result) {
  json splits = json::object();
  for (const AccuracyRow& row : result.table.rows) {
    json& split = splits[row.split] = json::object();
    for (size_t i = 0; i < row.values.size(); ++i) {
      split[result.table.columns[i]] = row.values[i].has_value() ? json(*row.values[i]) : json();
    }
  }
  return {{"dataset", result.name},
          {"language", result.language},
          {"protocol", ProtocolName(result.protocol)},
          {"open_rule", OpenRuleName(result.open)},
          {"accuracy", result.accuracy().has_value() ? json(*result.accuracy()) : json()},
          {"rows", result.num_rows},
          {"answered", result.num_answered},
          {"failed", result.num_failed},
          {"counted", result.num_counted},
          {"right", result.num_right},
          {"not_inferable", result.num_not_inferable},
          {"rows_without_image", result.num_rows_without_image},
          {"missing_options", result.num_missing_options},
          {"prompt_tokens", result.prompt_tokens},
          {"completion_tokens", result.completion_tokens},
          {"mean_latency_s", result.mean_latency_s},
          {"mean_expert_weights", result.mean_expert_weights},
          {"splits", std::move(splits)}};
}

std::string Json(const Evaluation& evaluation) {
  json configuration = json::object();
  for (const auto& [key, value] : Facts(evaluation)) {
    if (key != "complete") configuration[key] = value;
  }
  configuration["max_tokens"] = evaluation.settings.max_tokens;
  json datasets = json::array();
  for (const DatasetResult& result : evaluation.datasets) datasets.push_back(DatasetJson(result));
  return json{{"configuration", std::move(configuration)},
              {"complete", evaluation.complete()},
              {"datasets", std::move(datasets)}}
             .dump(1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) +
         "\n";
}

std::string Pages(const Evaluation& evaluation,
                  std::string (*table_of)(const std::vector<Row>&),
                  const char* heading) {
  std::vector<Row> facts = {{"setting", "value"}};
  for (const auto& [key, value] : Facts(evaluation)) facts.push_back({key, value});
  std::string text = absl::StrCat(table_of(facts), "\n", table_of(CountCells(evaluation)));
  for (const SideBySide& table : TablesOf(evaluation)) {
    absl::StrAppend(&text,
                    "\n",
                    heading,
                    OneLine(table.benchmark),
                    table.split == "none" ? "" : absl::StrCat(", ", OneLine(table.split)),
                    " (accuracy in %)\n\n",
                    table_of(Cells(table)));
  }
  const std::vector<Row> experts = ExpertCells(evaluation);
  if (experts.empty()) return text;
  return absl::StrCat(text, "\n", heading, "Mean expert weights\n\n", table_of(experts));
}

// Labels under the axis, in the order in which they come.
std::vector<std::string> Languages(const Evaluation& evaluation) {
  std::vector<std::string> languages;
  for (const DatasetResult& result : evaluation.datasets) {
    const std::string label = LanguageLabel(result);
    if (std::find(languages.begin(), languages.end(), label) == languages.end()) {
      languages.push_back(label);
    }
  }
  return languages;
}

}  // namespace

std::optional<EvalFormat> EvalFormatNamed(std::string_view name) {
  if (name == "text") return EvalFormat::kText;
  if (name == "markdown") return EvalFormat::kMarkdown;
  if (name == "csv") return EvalFormat::kCsv;
  if (name == "json") return EvalFormat::kJson;
  return std::nullopt;
}

std::string EvalReportAs(const Evaluation& evaluation, EvalFormat format) {
  switch (format) {
    case EvalFormat::kText:
      return Pages(evaluation, TextTable, "");
    case EvalFormat::kMarkdown:
      return Pages(evaluation, MarkdownTable, "## ");
    case EvalFormat::kCsv:
      return Csv(evaluation);
    case EvalFormat::kJson:
      return Json(evaluation);
  }
  return "";
}

std::string AccuracyChart(const Evaluation& evaluation) {
  BarChart chart{.title = absl::StrCat("Accuracy of ", evaluation.model.name),
                 .y_label = "%",
                 .groups = Languages(evaluation),
                 .y_end = 100};
  std::map<std::string, size_t> series;
  for (const DatasetResult& result : evaluation.datasets) {
    const std::string benchmark = AllInOneName(result.name);
    const auto [place, is_new] = series.emplace(benchmark, chart.series.size());
    if (is_new) {
      chart.series.push_back(
          {.name = benchmark, .values = std::vector<double>(chart.groups.size(), std::nan(""))});
    }
    const auto group = std::find(chart.groups.begin(), chart.groups.end(), LanguageLabel(result));
    chart.series[place->second].values[static_cast<size_t>(group - chart.groups.begin())] =
        result.accuracy().value_or(std::nan("")) * 100;
  }
  return SvgBars(chart);
}

std::string ExpertChart(const Evaluation& evaluation) {
  struct Sum {
    std::vector<double> weights;
    double num_answers = 0;
  };
  std::map<std::string, Sum> sums;  // by language, over its data sets
  size_t num_experts = 0;
  for (const DatasetResult& result : evaluation.datasets) {
    const std::vector<double>& weights = result.mean_expert_weights;
    if (weights.empty()) continue;
    num_experts = std::max(num_experts, weights.size());
    Sum& sum = sums[LanguageLabel(result)];
    const auto num_answers = static_cast<double>(result.num_answered);
    sum.num_answers += num_answers;
    sum.weights.resize(std::max(sum.weights.size(), weights.size()));
    for (size_t i = 0; i < weights.size(); ++i) sum.weights[i] += weights[i] * num_answers;
  }
  if (sums.empty()) return "";
  BarChart chart{.title = "Mean expert weight", .y_label = "weight"};
  for (size_t i = 0; i < num_experts; ++i) {
    chart.series.push_back({.name = absl::StrCat("expert ", i)});
  }
  for (const std::string& language : Languages(evaluation)) {
    const auto sum = sums.find(language);
    if (sum == sums.end()) continue;
    chart.groups.push_back(language);
    for (size_t i = 0; i < num_experts; ++i) {
      const bool has_expert = i < sum->second.weights.size();
      chart.series[i].values.push_back(has_expert ? sum->second.weights[i] / sum->second.num_answers
                                                  : std::nan(""));
    }
  }
  return SvgBars(chart);
}

}  // namespace parrot
