// A table of tab-separated values, read as pandas' read_csv(sep="\t") reads it, because the prompts
// of a benchmark depend on that: quoted cells, lines of blanks left out, "None" and its like
// missing, and each column typed as a whole, so that 007 becomes 7 in a column of numbers and 7.0
// beside a missing cell. Immutable after construction.
//
// Stricter than pandas, with INVALID_ARGUMENT: a column named twice, a row longer than the names,
// a NUL byte, text that is not UTF-8. (Tables of 65,536 rows and more, which pandas types piece by
// piece, are typed as a whole here.)
#ifndef PARROT_EVAL_DATA_TABLE_H_
#define PARROT_EVAL_DATA_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace parrot {

enum class ColumnKind {
  kInteger,  // all cells are there
  kReal,
  kText,     // as written ("True" for any spelling, if all cells are truth values)
  kMissing,  // no cell has a value
};

struct TableColumn {
  std::string name;
  ColumnKind kind = ColumnKind::kMissing;
  std::vector<std::optional<std::string>> cells;  // as Python prints them
  int64_t num_missing_words = 0;                  // cells missing though something is written
};

struct TableLimits {
  int64_t max_bytes = int64_t{1} << 30;
  int64_t max_rows = 1'000'000;
  int64_t max_columns = 256;
};

class DataTable {
 public:
  // INVALID_ARGUMENT with reason INVALID_TSV and the line, or DATASET_TOO_LARGE and the limit.
  static absl::StatusOr<DataTable> Parse(std::string_view tsv, const TableLimits& limits);

  // Null when there is none of that name.
  const TableColumn* Find(std::string_view name) const;
  const std::vector<TableColumn>& columns() const { return columns_; }
  int64_t num_rows() const { return num_rows_; }

 private:
  std::vector<TableColumn> columns_;
  int64_t num_rows_ = 0;
};

// Whether pandas reads a cell (and a spreadsheet an answer) of this text as missing: "", "None",
// "NA", "null", "nan" and others, in these spellings only.
bool IsMissingWord(std::string_view text);

}  // namespace parrot

#endif  // PARROT_EVAL_DATA_TABLE_H_
