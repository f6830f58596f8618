#include "eval/scores.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"

namespace parrot {
namespace {

using RowsByIndex = absl::flat_hash_map<int64_t, const EvalRow*>;

RowsByIndex ByIndex(const Dataset& dataset) {
  RowsByIndex rows;
  for (const EvalRow& row : dataset.rows) rows.emplace(row.index, &row);
  return rows;
}

RowScore ScoreOne(const EvalRow& row, const RowAnswer& answer, const ScoringRules& rules) {
  RowScore score{.index = row.index, .failed = answer.failed};
  if (answer.failed) return score;
  if (row.options.empty()) {
    score.is_right =
        rules.open == OpenRule::kExact && MatchesExactly(answer.prediction, row.answer);
    return score;
  }
  // The reference keeps its answers in a spreadsheet, which reads these words as missing and gives
  // them back as "nan".
  const std::string prediction = IsMissingWord(answer.prediction) ? "nan" : answer.prediction;
  score.inferred = answer.letter.has_value()
                       ? answer.letter
                       : InferLetter(rules.rules, prediction, row.scored_options);
  score.is_right =
      score.inferred.has_value() && row.answer == std::string_view(&*score.inferred, 1);
  return score;
}

// Of all copies of one question.
struct Group {
  bool all_right = true;
  bool any_failed = false;
};

void JudgeGroups(std::vector<RowScore>* scores) {
  absl::flat_hash_map<int64_t, Group> groups;
  for (const RowScore& score : *scores) {
    Group& group = groups[score.index % kCircularStep];
    group.all_right &= score.is_right;
    group.any_failed |= score.failed;
  }
  for (RowScore& score : *scores) {
    const Group& group = groups[score.index % kCircularStep];
    if (score.index < kCircularStep && !group.any_failed) score.hit = group.all_right;
  }
}

std::string Abbreviated(const std::string& category) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kNames = {
      {{"coarse_perception", "CP"},
       {"finegrained_perception (instance-level)", "FP-S"},
       {"finegrained_perception (cross-instance)", "FP-C"},
       {"logic_reasoning", "LR"},
       {"relation_reasoning", "RR"},
       {"attribute_reasoning", "AR"}}};
  for (const auto& [name, short_name] : kNames) {
    if (category == name) return std::string(short_name);
  }
  return category;
}

struct Mean {
  int64_t num_right = 0;
  int64_t num_rows = 0;

  void Add(bool hit) {
    num_right += hit ? 1 : 0;
    ++num_rows;
  }
  std::optional<double> value() const {
    if (num_rows == 0) return std::nullopt;
    return static_cast<double>(num_right) / static_cast<double>(num_rows);
  }
};

// One column: its name and the mean of each split.
using Column = std::pair<std::string, std::map<std::string, Mean>>;

// A later column replaces an earlier one of its name, in its place.
void PutColumn(Column column, std::vector<Column>* columns) {
  const auto found = std::find_if(columns->begin(), columns->end(), [&](const Column& other) {
    return other.first == column.first;
  });
  if (found != columns->end()) {
    *found = std::move(column);
  } else {
    columns->push_back(std::move(column));
  }
}

size_t ColumnIndex(const std::string& name, AccuracyTable* table) {
  const auto found = std::find(table->columns.begin(), table->columns.end(), name);
  const auto index = static_cast<size_t>(found - table->columns.begin());
  if (found == table->columns.end()) {
    table->columns.push_back(name);
    for (AccuracyRow& row : table->rows) row.values.emplace_back();
  }
  return index;
}

}  // namespace

std::string_view ProtocolName(Protocol protocol) {
  return protocol == Protocol::kVanilla ? "vanilla" : "circular";
}

Protocol ProtocolOf(std::string_view dataset_name) {
  const std::string lower = absl::AsciiStrToLower(std::string(dataset_name));
  for (const std::string_view name : {"mmbench", "ccbench"}) {
    if (lower.find(name) != std::string::npos) return Protocol::kCircular;
  }
  return Protocol::kVanilla;
}

std::string_view OpenRuleName(OpenRule rule) {
  return rule == OpenRule::kNever ? "never" : "exact";
}

OpenRule OpenRuleOf(const Dataset& dataset) {
  const bool all_open = std::all_of(dataset.rows.begin(),
                                    dataset.rows.end(),
                                    [](const EvalRow& row) { return row.options.empty(); });
  return all_open ? OpenRule::kExact : OpenRule::kNever;
}

absl::StatusOr<std::vector<RowScore>> ScoreRows(const Dataset& dataset,
                                                const std::map<int64_t, RowAnswer>& answers,
                                                const ScoringRules& rules) {
  const RowsByIndex rows = ByIndex(dataset);
  std::vector<RowScore> scores;
  scores.reserve(answers.size());
  for (const auto& [index, answer] : answers) {
    const auto row = rows.find(index);
    if (row == rows.end()) {
      return ErrorStatus(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("an answer is of row ", index, ", which is not there"),
                         {.reason = "UNKNOWN_INDEX", .value = absl::StrCat(index)});
    }
    scores.push_back(ScoreOne(*row->second, answer, rules));
  }
  if (rules.protocol == Protocol::kCircular) {
    JudgeGroups(&scores);
  } else {
    for (RowScore& score : scores) {
      if (!score.failed) score.hit = score.is_right;
    }
  }
  return scores;
}

AccuracyTable MakeTable(const Dataset& dataset, const std::vector<RowScore>& scores) {
  const RowsByIndex rows = ByIndex(dataset);
  std::set<std::string> splits;
  Column overall{"Overall", {}};
  std::map<std::string, std::map<std::string, Mean>> l2_categories;
  std::map<std::string, std::map<std::string, Mean>> categories;
  for (const RowScore& score : scores) {
    if (!score.hit.has_value()) continue;
    const EvalRow& row = *rows.at(score.index);
    const std::string split = row.split.value_or("");
    splits.insert(split);
    overall.second[split].Add(*score.hit);
    if (row.l2_category.has_value()) l2_categories[*row.l2_category][split].Add(*score.hit);
    if (row.category.has_value()) categories[*row.category][split].Add(*score.hit);
  }
  std::vector<Column> columns = {std::move(overall)};
  for (auto& [name, means] : l2_categories) {
    PutColumn({Abbreviated(name), std::move(means)}, &columns);
  }
  for (auto& [name, means] : categories) {
    PutColumn({Abbreviated(name), std::move(means)}, &columns);
  }
  AccuracyTable table;
  for (const Column& column : columns) table.columns.push_back(column.first);
  for (const std::string& split : splits) {
    AccuracyRow row{.split = split, .dataset = dataset.name};
    for (const Column& column : columns) {
      const auto mean = column.second.find(split);
      row.values.push_back(mean == column.second.end() ? std::nullopt : mean->second.value());
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

void AppendTable(const AccuracyTable& more, AccuracyTable* table) {
  std::vector<size_t> places;
  for (const std::string& column : more.columns) places.push_back(ColumnIndex(column, table));
  for (const AccuracyRow& row : more.rows) {
    AccuracyRow placed{.split = row.split, .dataset = row.dataset};
    placed.values.resize(table->columns.size());
    for (size_t i = 0; i < places.size(); ++i) placed.values[places[i]] = row.values[i];
    table->rows.push_back(std::move(placed));
  }
}

}  // namespace parrot
