// Results of an evaluation for people and programs. Pure functions; thread-safe. docs/evaluation.md
// holds the keys and columns; one is never renamed or given another meaning. Names that come from
// data sets are escaped in each format.
#ifndef PARROT_EVAL_EVAL_REPORT_H_
#define PARROT_EVAL_EVAL_REPORT_H_

#include <optional>
#include <string>
#include <string_view>

#include "eval/evaluation.h"

namespace parrot {

enum class EvalFormat { kText, kMarkdown, kCsv, kJson };

// "text", "markdown", "csv", "json".
std::optional<EvalFormat> EvalFormatNamed(std::string_view name);

// The languages of a benchmark side by side, a table for each benchmark and split, after what was
// asked and how it was judged. Accuracies in percent, in CSV and JSON as shares of 1 at full
// precision.
std::string EvalReportAs(const Evaluation& evaluation, EvalFormat format);

// Charts as SVG files: accuracy of each benchmark by language; mean weight of each expert by
// language, empty if the model has none.
std::string AccuracyChart(const Evaluation& evaluation);
std::string ExpertChart(const Evaluation& evaluation);

}  // namespace parrot

#endif  // PARROT_EVAL_EVAL_REPORT_H_
