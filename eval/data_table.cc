#include "eval/data_table.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "eval/python_text.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

absl::Status Invalid(int64_t line, std::string_view what) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("line ", line, ": ", std::string(what)),
                     {.reason = "INVALID_TSV", .value = absl::StrCat(line)});
}

absl::Status TooLarge(std::string_view what, int64_t limit) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("more than ", limit, " ", std::string(what)),
                     {.reason = "DATASET_TOO_LARGE", .limit = absl::StrCat(limit)});
}

using Row = std::vector<std::string>;

// One record after another. A quote counts only at the beginning of a cell; within, two stand for
// one, and what follows the closing one belongs to the cell as it is.
class RowReader {
 public:
  explicit RowReader(std::string_view text) : text_(text) {}

  int64_t line() const { return line_; }

  // False at the end of the text.
  absl::StatusOr<bool> Next(int64_t max_cells, Row* row) {
    SkipBlankLines();
    row->clear();
    if (at_ == text_.size()) return false;
    while (true) {
      if (static_cast<int64_t>(row->size()) == max_cells) {
        return Invalid(line_, absl::StrCat("more than ", max_cells, " cells"));
      }
      row->emplace_back();
      if (at_ < text_.size() && text_[at_] == '"') RETURN_IF_ERROR(TakeQuoted(&row->back()));
      const size_t end = std::min(text_.find_first_of("\t\r\n", at_), text_.size());
      row->back() += text_.substr(at_, end - at_);
      at_ = end;
      if (at_ == text_.size() || text_[at_] != '\t') break;
      ++at_;
    }
    TakeLineEnd();
    return true;
  }

 private:
  void SkipBlankLines() {
    while (at_ < text_.size()) {
      const size_t end = std::min(text_.find_first_not_of(' ', at_), text_.size());
      if (end < text_.size() && text_[end] != '\r' && text_[end] != '\n') return;
      at_ = end;
      TakeLineEnd();
    }
  }

  void TakeLineEnd() {
    if (at_ == text_.size()) return;
    const bool is_pair = text_.substr(at_, 2) == "\r\n";
    at_ += is_pair ? 2 : 1;
    ++line_;
  }

  absl::Status TakeQuoted(std::string* cell) {
    const int64_t begin_line = line_;
    ++at_;
    while (true) {
      const size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) return Invalid(begin_line, "a quoted cell has no end");
      const std::string_view part = text_.substr(at_, quote - at_);
      *cell += part;
      line_ += std::count(part.begin(), part.end(), '\n');
      at_ = quote + 1;
      if (at_ == text_.size() || text_[at_] != '"') return absl::OkStatus();
      *cell += '"';
      ++at_;
    }
  }

  const std::string_view text_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

std::optional<bool> ParseTruth(std::string_view text) {
  if (text == "True" || text == "TRUE" || text == "true") return true;
  if (text == "False" || text == "FALSE" || text == "false") return false;
  return std::nullopt;
}

// Rewrites all cells by `print` if it takes each.
template <typename Print>
bool Rewrite(TableColumn* column, const Print& print) {
  std::vector<std::optional<std::string>> cells;
  cells.reserve(column->cells.size());
  for (const std::optional<std::string>& cell : column->cells) {
    if (!cell.has_value()) {
      cells.emplace_back();
      continue;
    }
    std::optional<std::string> printed = print(*cell);
    if (!printed.has_value()) return false;
    cells.push_back(std::move(printed));
  }
  column->cells = std::move(cells);
  return true;
}

std::optional<std::string> PrintInteger(const std::string& text) {
  const std::optional<int64_t> value = ParseInteger(text);
  if (!value.has_value()) return std::nullopt;
  return absl::StrCat(*value);
}

std::optional<std::string> PrintReal(const std::string& text) {
  const std::optional<double> value = ParseReal(text);
  if (!value.has_value()) return std::nullopt;
  return FormatReal(*value);
}

std::optional<std::string> PrintTruth(const std::string& text) {
  const std::optional<bool> value = ParseTruth(text);
  if (!value.has_value()) return std::nullopt;
  return *value ? "True" : "False";
}

void TypeColumn(TableColumn* column) {
  int64_t num_missing = 0;
  for (std::optional<std::string>& cell : column->cells) {
    if (cell.has_value() && !IsMissingWord(*cell)) continue;
    column->num_missing_words += cell.has_value() && !cell->empty() ? 1 : 0;
    cell.reset();
    ++num_missing;
  }
  if (num_missing == static_cast<int64_t>(column->cells.size())) {
    column->kind = ColumnKind::kMissing;
  } else if (num_missing == 0 && Rewrite(column, PrintInteger)) {
    column->kind = ColumnKind::kInteger;
  } else if (Rewrite(column, PrintReal)) {
    column->kind = ColumnKind::kReal;
  } else {
    column->kind = ColumnKind::kText;
    Rewrite(column, PrintTruth);
  }
}

absl::StatusOr<std::vector<TableColumn>> ReadNames(RowReader* reader, const TableLimits& limits) {
  Row names;
  ASSIGN_OR_RETURN(const bool has_names, reader->Next(limits.max_columns, &names));
  if (!has_names) return Invalid(1, "there are no column names");
  std::set<std::string> seen;
  std::vector<TableColumn> columns;
  for (std::string& name : names) {
    if (!seen.insert(name).second) return Invalid(1, "two columns have one name");
    columns.push_back({.name = std::move(name)});
  }
  return columns;
}

}  // namespace

bool IsMissingWord(std::string_view text) {
  constexpr std::array<std::string_view, 19> kWords = {"",
                                                       "None",
                                                       "NA",
                                                       "N/A",
                                                       "n/a",
                                                       "NaN",
                                                       "nan",
                                                       "-NaN",
                                                       "-nan",
                                                       "NULL",
                                                       "null",
                                                       "<NA>",
                                                       "#N/A",
                                                       "#NA",
                                                       "#N/A N/A",
                                                       "1.#IND",
                                                       "-1.#IND",
                                                       "1.#QNAN",
                                                       "-1.#QNAN"};
  return std::find(kWords.begin(), kWords.end(), text) != kWords.end();
}

absl::StatusOr<DataTable> DataTable::Parse(std::string_view tsv, const TableLimits& limits) {
  if (static_cast<int64_t>(tsv.size()) > limits.max_bytes) {
    return TooLarge("bytes", limits.max_bytes);
  }
  RETURN_IF_ERROR(ValidateUtf8(tsv));
  if (tsv.starts_with(kByteOrderMark)) tsv.remove_prefix(kByteOrderMark.size());
  if (tsv.find('\0') != std::string_view::npos) return Invalid(1, "there is a NUL byte");
  RowReader reader(tsv);
  DataTable table;
  ASSIGN_OR_RETURN(table.columns_, ReadNames(&reader, limits));
  Row row;
  while (true) {
    ASSIGN_OR_RETURN(const bool more,
                     reader.Next(static_cast<int64_t>(table.columns_.size()), &row));
    if (!more) break;
    if (++table.num_rows_ > limits.max_rows) return TooLarge("rows", limits.max_rows);
    for (size_t i = 0; i < table.columns_.size(); ++i) {
      std::optional<std::string>& cell = table.columns_[i].cells.emplace_back();
      if (i < row.size()) cell = std::move(row[i]);
    }
  }
  for (TableColumn& column : table.columns_) TypeColumn(&column);
  return table;
}

const TableColumn* DataTable::Find(std::string_view name) const {
  const auto found = std::find_if(columns_.begin(), columns_.end(), [&](const TableColumn& column) {
    return column.name == name;
  });
  return found == columns_.end() ? nullptr : &*found;
}

}  // namespace parrot
