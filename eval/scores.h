// From answers to hits to tables of accuracy, by the reference's protocols. Stateless; thread-safe.
#ifndef PARROT_EVAL_SCORES_H_
#define PARROT_EVAL_SCORES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eval/answer_rules.h"
#include "eval/dataset.h"

namespace parrot {

enum class Protocol {
  kVanilla,   // each row counts
  kCircular,  // a question counts once, and only if every copy of it was answered right
};

std::string_view ProtocolName(Protocol protocol);  // "vanilla", "circular"
// As the reference: circular for names with "mmbench" or "ccbench" in any case.
Protocol ProtocolOf(std::string_view dataset_name);

// What can make the answer to a question without options right.
enum class OpenRule {
  kNever,  // nothing, as in the reference: no letter, no hit
  kExact,  // MatchesExactly; ours
};

std::string_view OpenRuleName(OpenRule rule);  // "never", "exact"
// kExact for data sets of open questions alone, which the reference has none of.
OpenRule OpenRuleOf(const Dataset& dataset);

// By which an evaluation is done; all of it belongs into its results.
struct ScoringRules {
  RuleSet rules = RuleSet::kVk;
  Protocol protocol = Protocol::kVanilla;
  OpenRule open = OpenRule::kNever;
};

// What became of the request for one row.
struct RowAnswer {
  bool failed = false;     // no answer: the row does not count, and says so
  std::string prediction;  // after CleanAnswer
  // The option, where it is known without reading the prediction (choices mode).
  std::optional<char> letter;
};

struct RowScore {
  int64_t index = 0;
  bool failed = false;
  std::optional<char> inferred;  // of a row with options; none: cannot be inferred
  bool is_right = false;         // of this row alone
  // What the row adds to the tables: right or not. None for circular copies (their base row speaks
  // for them), failed rows, and groups of which a copy failed.
  std::optional<bool> hit;
};

// Scores of the rows that `answers` has by index, ordered by index. INVALID_ARGUMENT with reason
// UNKNOWN_INDEX for an answer to no row.
absl::StatusOr<std::vector<RowScore>> ScoreRows(const Dataset& dataset,
                                                const std::map<int64_t, RowAnswer>& answers,
                                                const ScoringRules& rules);

// Accuracies of one data set by split, in [0, 1]; none where no row counts.
struct AccuracyRow {
  std::string split;
  std::string dataset;
  std::vector<std::optional<double>> values;  // by AccuracyTable::columns
};

struct AccuracyTable {
  // "Overall", then l2-categories, then categories; by name, some abbreviated ("CP").
  std::vector<std::string> columns;
  std::vector<AccuracyRow> rows;  // by data set as appended, then split
};

// REQUIRES: scores are of rows of the data set.
AccuracyTable MakeTable(const Dataset& dataset, const std::vector<RowScore>& scores);
// Adds the rows of `more`; columns that one of both lacks are empty there.
void AppendTable(const AccuracyTable& more, AccuracyTable* table);

}  // namespace parrot

#endif  // PARROT_EVAL_SCORES_H_
