// Parity with the reference evaluator: prompts, clean-up, inference, hits and tables, exactly.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/answer_rules.h"
#include "eval/data_table.h"
#include "eval/dataset.h"
#include "eval/prompt.h"
#include "eval/scores.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using nlohmann::json;

const std::vector<std::string>& EvaluatedNames() {
  static const auto* names = new std::vector<std::string>{"MMMB",
                                                          "MMMB_ar",
                                                          "MMMB_cn",
                                                          "MMMB_en",
                                                          "MMMB_pt",
                                                          "MMMB_ru",
                                                          "MMMB_tr",
                                                          "MTL_MMBench_DEV",
                                                          "MMBench_dev_ar",
                                                          "MMBench_dev_cn",
                                                          "MMBench_dev_en",
                                                          "MMBench_dev_pt",
                                                          "MMBench_dev_ru",
                                                          "MMBench_dev_tr"};
  return *names;
}

Dataset GoldenDataset(const std::string& name) {
  const absl::StatusOr<DataTable> table =
      DataTable::Parse(ReadGoldenFile("eval/tsv/" + name + ".tsv"), {});
  if (table.ok()) {
    absl::StatusOr<Dataset> dataset = MakeDataset(name, *table);
    if (dataset.ok()) return *std::move(dataset);
    std::cerr << name << ": " << dataset.status() << "\n";
  } else {
    std::cerr << name << ": " << table.status() << "\n";
  }
  std::abort();
}

// Of one name ("MMMB_pt"), or, of an all-in-one name, of its six languages in the reference's
// order.
std::vector<Dataset> GoldenDatasets(const std::string& evaluated_name) {
  if (!LanguageOf(evaluated_name).empty()) return {GoldenDataset(evaluated_name)};
  const std::string stem = evaluated_name == "MMMB" ? "MMMB_" : "MMBench_dev_";
  std::vector<Dataset> datasets;
  for (const char* language : {"ar", "cn", "en", "pt", "ru", "tr"}) {
    datasets.push_back(GoldenDataset(stem + language));
  }
  UnifyOptions(datasets);
  return datasets;
}

Options OptionsOf(const json& choices) {
  Options options;
  for (const auto& [letter, text] : choices.items()) options[letter[0]] = text;
  return options;
}

std::optional<char> LetterOf(const json& letter) {
  if (!letter.is_string()) return std::nullopt;
  return letter.get<std::string>()[0];
}

TEST(EvalGolden, PromptsAndOptionsAreTheReferencesUnderBothNamings) {
  std::map<std::string, std::vector<json>> by_name;
  for (json& line : ReadJsonLines("eval/prompts.jsonl.xz")) {
    by_name[line.at("name")].push_back(std::move(line));
  }
  ASSERT_EQ(by_name.size(), EvaluatedNames().size());
  for (const auto& [name, expected] : by_name) {
    size_t i = 0;
    for (const Dataset& dataset : GoldenDatasets(name)) {
      for (const EvalRow& row : dataset.rows) {
        ASSERT_LT(i, expected.size());
        const json& line = expected[i++];
        SCOPED_TRACE(line.at("name").get<std::string>() + " " + dataset.name + " " +
                     std::to_string(row.index));
        ASSERT_EQ(dataset.name, line.at("dataset"));
        ASSERT_EQ(row.index, line.at("index"));
        EXPECT_EQ(BuildPrompt(row, name, QuestionStyleOf(name)), line.at("text"));
        EXPECT_EQ(row.options, OptionsOf(line.at("choices")));
      }
    }
    EXPECT_EQ(i, expected.size()) << name;
  }
}

TEST(EvalGolden, AnswersAreInferredAndCleanedAsByTheReference) {
  int num_inferred = 0;
  int num_cleaned = 0;
  for (const json& line : ReadJsonLines("eval/inference.jsonl.xz")) {
    SCOPED_TRACE(line.dump());
    if (line.at("kind") == "clean") {
      EXPECT_EQ(CleanAnswer(line.at("query").get<std::string>(), line.at("raw").get<std::string>()),
                line.at("cleaned"));
      ++num_cleaned;
      continue;
    }
    const auto answer = line.at("answer").get<std::string>();
    const Options options = OptionsOf(line.at("choices"));
    EXPECT_EQ(InferLetter(RuleSet::kVk, answer, options), LetterOf(line.at("can_infer")));
    EXPECT_EQ(InferByLetter(RuleSet::kVk, answer, options), LetterOf(line.at("can_infer_option")));
    EXPECT_EQ(InferByText(RuleSet::kVk, answer, options), LetterOf(line.at("can_infer_text")));
    EXPECT_EQ(InferLetter(RuleSet::kVkVerbose, answer, options),
              LetterOf(line.at("can_infer_verbose")));
    ++num_inferred;
  }
  EXPECT_EQ(num_inferred, 600);
  EXPECT_EQ(num_cleaned, 106);
}

// The predictions of one run, by data set and index.
using Predictions = std::map<std::string, std::map<int64_t, RowAnswer>>;

Predictions ReadPredictions(const std::string& stem, const std::string& name) {
  Predictions predictions;
  for (const json& line : ReadJsonLines(stem + ".predictions.jsonl")) {
    const std::string dataset = line.value("dataset", name);
    const int64_t index = line.value("original_index", line.at("index").get<int64_t>());
    predictions[dataset][index] = {.prediction = line.at("prediction")};
  }
  return predictions;
}

// Hits of the reference by data set and index.
std::map<std::pair<std::string, int64_t>, json> ReadHits(const std::string& stem,
                                                         const std::string& name) {
  std::map<std::pair<std::string, int64_t>, json> hits;
  for (const json& line : ReadJsonLines(stem + ".hits.jsonl")) {
    hits[{line.value("dataset", name),
          line.value("original_index", line.at("index").get<int64_t>())}] = line;
  }
  return hits;
}

json TableAsJson(const AccuracyTable& table, bool with_dataset) {
  json columns = {"split"};
  for (const std::string& column : table.columns) columns.push_back(column);
  if (with_dataset) columns.push_back("DATASET");
  json rows = json::array();
  for (const AccuracyRow& row : table.rows) {
    json cells = {row.split};
    for (const std::optional<double>& value : row.values) {
      cells.push_back(value.has_value() ? json(*value) : json());
    }
    if (with_dataset) cells.push_back(row.dataset);
    rows.push_back(std::move(cells));
  }
  return {{"columns", columns}, {"rows", rows}};
}

TEST(EvalGolden, TheWrappersCleanUpGivesTheReferencesPredictions) {
  for (const std::string& name : EvaluatedNames()) {
    std::map<std::pair<std::string, int64_t>, std::string> prompts;
    for (const Dataset& dataset : GoldenDatasets(name)) {
      for (const EvalRow& row : dataset.rows) {
        prompts[{dataset.name, row.index}] = BuildPrompt(row, name, QuestionStyleOf(name));
      }
    }
    for (const json& line : ReadJsonLines("eval/scores/mixed/" + name + ".predictions.jsonl")) {
      const std::string& prompt =
          prompts.at({line.value("dataset", name),
                      line.value("original_index", line.at("index").get<int64_t>())});
      EXPECT_EQ(CleanAnswer(prompt, line.at("raw").get<std::string>()), line.at("prediction"))
          << name << " " << line.at("index");
    }
  }
}

TEST(EvalGolden, HitsAndTablesAreExact) {
  for (const std::string run : {"mixed", "subset"}) {
    for (const std::string& name : EvaluatedNames()) {
      const std::string stem = "eval/scores/" + run + "/" + name;
      if (!std::filesystem::exists(GoldenPath(stem + ".acc.json"))) continue;
      SCOPED_TRACE(stem);
      const Predictions predictions = ReadPredictions(stem, name);
      auto hits = ReadHits(stem, name);
      AccuracyTable table;
      for (const Dataset& dataset : GoldenDatasets(name)) {
        const auto scores = ScoreRows(
            dataset, predictions.at(dataset.name), {.protocol = ProtocolOf(dataset.name)});
        ASSERT_TRUE(scores.ok()) << scores.status();
        for (const RowScore& score : *scores) {
          const json hit = hits.at({dataset.name, score.index});
          EXPECT_EQ(score.inferred, LetterOf(hit.at("inferred"))) << hit;
          EXPECT_EQ(score.hit.has_value(), hit.at("hit").is_number()) << hit;
          EXPECT_EQ(score.hit.value_or(false) ? 1 : 0,
                    hit.at("hit").is_number() ? hit.at("hit").get<int>() : 0)
              << hit;
          hits.erase({dataset.name, score.index});
        }
        AppendTable(MakeTable(dataset, *scores), &table);
      }
      for (const auto& [key, hit] : hits) ADD_FAILURE() << "not scored: " << hit;
      const bool all_in_one = LanguageOf(name).empty();
      EXPECT_EQ(TableAsJson(table, all_in_one), json::parse(ReadGoldenFile(stem + ".acc.json")));
    }
  }
}

// Whether a spreadsheet changed the answer or the options on their way (docs/evaluation.md).
bool IsMangled(const json& hit, const std::string& prediction) {
  if (hit.contains("choices") || hit.contains("read_truncated")) return true;
  return hit.contains("read") && !(hit.at("read") == "nan" && IsMissingWord(prediction));
}

TEST(EvalGolden, OddAnswersThatASpreadsheetKeepsAreInferredAlike) {
  int num_compared = 0;
  int num_mangled = 0;
  for (const std::string& name : EvaluatedNames()) {
    const std::string stem = "eval/scores/odd/" + name;
    const Predictions predictions = ReadPredictions(stem, name);
    const auto hits = ReadHits(stem, name);
    for (const Dataset& dataset : GoldenDatasets(name)) {
      const auto scores =
          ScoreRows(dataset, predictions.at(dataset.name), {.protocol = ProtocolOf(dataset.name)});
      ASSERT_TRUE(scores.ok()) << scores.status();
      for (const RowScore& score : *scores) {
        const json& hit = hits.at({dataset.name, score.index});
        if (IsMangled(hit, predictions.at(dataset.name).at(score.index).prediction)) {
          ++num_mangled;
          continue;
        }
        ++num_compared;
        EXPECT_EQ(score.inferred, LetterOf(hit.at("inferred"))) << name << " " << hit;
        if (ProtocolOf(dataset.name) == Protocol::kVanilla) {
          EXPECT_EQ(score.is_right ? 1 : 0, hit.at("hit")) << name << " " << hit;
        }
      }
    }
  }
  EXPECT_GT(num_compared, 500);
  EXPECT_GT(num_mangled, 20);
}

}  // namespace
}  // namespace parrot
