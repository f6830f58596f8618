// A benchmark in MMMB's form: a table of questions with their pictures (docs/evaluation.md has the
// columns). Plain data; everything in it comes from a file that is not trusted.
#ifndef PARROT_EVAL_DATASET_H_
#define PARROT_EVAL_DATASET_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eval/answer_rules.h"
#include "eval/data_table.h"

namespace parrot {

struct EvalRow {
  int64_t index = 0;  // different in each row; of a circular copy: that of the base + k * 1,000,000
  std::string question;
  std::optional<std::string> hint;
  Options options;         // empty: an open question
  Options scored_options;  // the same as the reference's scoring reads them: 5 for 5.0
  std::string answer;      // a letter, or the text of an open question
  std::optional<std::string> category;
  std::optional<std::string> l2_category;
  std::optional<std::string> split;  // "none" where there is no such column
  size_t image_idx = 0;              // in Dataset::images
};

struct Dataset {
  std::string name;                 // "MMMB_en"
  std::vector<EvalRow> rows;        // as in the file
  std::vector<std::string> images;  // encoded files; rows may share one
  std::map<char, ColumnKind> option_kinds;
  int64_t num_rows_without_image = 0;  // left out
  int64_t num_missing_options = 0;     // cells such as "None": no options, though written
};

// A cell of at most so many characters names the row that holds the picture.
inline constexpr size_t kMaxImageReference = 64;
// Rows whose index differs by a multiple of it are copies of one question.
inline constexpr int64_t kCircularStep = 1'000'000;

// INVALID_ARGUMENT with reason INVALID_DATASET and the row: a column that is missing (index,
// question, answer, image), an index that is no whole number or stands twice, no answer, a picture
// that is not base64 or a reference that leads nowhere (forward to a reference included).
absl::StatusOr<Dataset> MakeDataset(std::string name, const DataTable& table);

// As when the languages of a benchmark are put into one table: option columns of whole numbers
// become 70.0 where another language has no such number or column.
void UnifyOptions(std::span<Dataset> datasets);

// "MMMB_en" of "/data/MMMB_en.tsv".
std::string DatasetNameOf(std::string_view path);
// "en" of "MMMB_en"; empty if the name ends in none of en, cn, zh, pt, ar, tr, ru.
std::string LanguageOf(std::string_view dataset_name);
// The name of all languages together: "MMMB" of "MMMB_en", "MTL_MMBench_DEV" of "MMBench_dev_en".
std::string AllInOneName(std::string_view dataset_name);

}  // namespace parrot

#endif  // PARROT_EVAL_DATASET_H_
