#include "eval/dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "eval/python_text.h"

namespace parrot {
namespace {

absl::Status Invalid(std::string_view what) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = "INVALID_DATASET"});
}

absl::Status InvalidRow(size_t row, std::string_view what) {
  return Invalid(absl::StrCat("row ", row + 1, ": ", std::string(what)));
}

// The columns that a data set must have.
struct Columns {
  const TableColumn* index = nullptr;
  const TableColumn* question = nullptr;
  const TableColumn* answer = nullptr;
  const TableColumn* image = nullptr;
};

absl::StatusOr<Columns> FindColumns(const DataTable& table) {
  const Columns columns = {.index = table.Find("index"),
                           .question = table.Find("question"),
                           .answer = table.Find("answer"),
                           .image = table.Find("image")};
  const auto missing = [](const char* name) {
    return Invalid(absl::StrCat("there is no column ", name));
  };
  if (columns.index == nullptr) return missing("index");
  if (columns.question == nullptr) return missing("question");
  if (columns.answer == nullptr) return missing("answer");
  if (columns.image == nullptr) return missing("image");
  if (columns.index->kind != ColumnKind::kInteger && table.num_rows() > 0) {
    return Invalid("the column index holds more than whole numbers");
  }
  return columns;
}

std::optional<std::string> CellOf(const DataTable& table, std::string_view name, size_t row) {
  const TableColumn* column = table.Find(name);
  return column == nullptr ? std::nullopt : column->cells[row];
}

struct OptionColumn {
  char letter = 'A';
  const TableColumn* column = nullptr;
  bool scored_as_integers = false;  // real numbers, all there and all whole
};

std::vector<OptionColumn> OptionColumns(const DataTable& table) {
  std::vector<OptionColumn> columns;
  for (char letter = 'A'; letter <= 'Z'; ++letter) {
    const TableColumn* column = table.Find(std::string_view(&letter, 1));
    if (column == nullptr) continue;
    const bool is_whole =
        column->kind == ColumnKind::kReal &&
        std::all_of(column->cells.begin(), column->cells.end(), [](const auto& c) {
          return c.has_value() && c->ends_with(".0");
        });
    columns.push_back({.letter = letter, .column = column, .scored_as_integers = is_whole});
  }
  return columns;
}

// Which row's cell holds the picture of each row that has one: its own or the one referred to. As
// the reference goes through the rows, a reference to an earlier row finds what that one found.
absl::StatusOr<std::vector<size_t>> ResolveImages(const Columns& columns,
                                                  const std::vector<size_t>& kept) {
  absl::flat_hash_map<std::string_view, size_t> row_of_index;
  for (const size_t row : kept) {
    if (!row_of_index.emplace(*columns.index->cells[row], row).second) {
      return InvalidRow(row, "its index stands twice");
    }
  }
  std::vector<size_t> holder(columns.image->cells.size());
  for (const size_t row : kept) holder[row] = row;
  const auto is_reference = [&](size_t row) {
    return columns.image->cells[row]->size() <= kMaxImageReference;
  };
  for (const size_t row : kept) {
    if (!is_reference(row)) continue;
    const auto found = row_of_index.find(*columns.image->cells[row]);
    if (found == row_of_index.end() || is_reference(holder[found->second])) {
      return InvalidRow(row, "its image refers to a row that holds none");
    }
    holder[row] = holder[found->second];
  }
  return holder;
}

absl::StatusOr<EvalRow> MakeRow(const DataTable& table,
                                const Columns& columns,
                                const std::vector<OptionColumn>& options,
                                size_t row) {
  EvalRow made;
  made.index = ParseInteger(*columns.index->cells[row]).value_or(0);
  if (!columns.question->cells[row].has_value()) return InvalidRow(row, "there is no question");
  if (!columns.answer->cells[row].has_value()) return InvalidRow(row, "there is no answer");
  made.question = *columns.question->cells[row];
  made.answer = *columns.answer->cells[row];
  made.hint = CellOf(table, "hint", row);
  made.category = CellOf(table, "category", row);
  made.l2_category = CellOf(table, "l2-category", row);
  made.split = table.Find("split") == nullptr ? "none" : CellOf(table, "split", row);
  for (const OptionColumn& option : options) {
    const std::optional<std::string>& text = option.column->cells[row];
    if (!text.has_value()) continue;
    made.options[option.letter] = *text;
    made.scored_options[option.letter] =
        option.scored_as_integers ? text->substr(0, text->size() - 2) : *text;
  }
  return made;
}

}  // namespace

absl::StatusOr<Dataset> MakeDataset(std::string name, const DataTable& table) {
  Dataset dataset;
  dataset.name = std::move(name);
  ASSIGN_OR_RETURN(const Columns columns, FindColumns(table));
  const std::vector<OptionColumn> options = OptionColumns(table);
  for (const OptionColumn& option : options) {
    dataset.option_kinds[option.letter] = option.column->kind;
    dataset.num_missing_options += option.column->num_missing_words;
  }
  std::vector<size_t> kept;
  for (size_t row = 0; row < static_cast<size_t>(table.num_rows()); ++row) {
    if (columns.image->cells[row].has_value()) kept.push_back(row);
  }
  dataset.num_rows_without_image = table.num_rows() - static_cast<int64_t>(kept.size());
  ASSIGN_OR_RETURN(const std::vector<size_t> holder, ResolveImages(columns, kept));
  absl::flat_hash_map<size_t, size_t> image_of_holder;
  for (const size_t row : kept) {
    ASSIGN_OR_RETURN(EvalRow made, MakeRow(table, columns, options, row));
    const auto [found, is_new] = image_of_holder.emplace(holder[row], dataset.images.size());
    if (is_new) {
      std::string image;
      if (!absl::Base64Unescape(*columns.image->cells[holder[row]], &image)) {
        return InvalidRow(row, "its image is not base64");
      }
      dataset.images.push_back(std::move(image));
    }
    made.image_idx = found->second;
    dataset.rows.push_back(std::move(made));
  }
  return dataset;
}

void UnifyOptions(std::span<Dataset> datasets) {
  for (char letter = 'A'; letter <= 'Z'; ++letter) {
    bool any_text = false;
    bool all_integers = true;
    for (const Dataset& dataset : datasets) {
      const auto kind = dataset.option_kinds.find(letter);
      const bool has_kind = kind != dataset.option_kinds.end();
      any_text |= has_kind && kind->second == ColumnKind::kText;
      all_integers &= has_kind && kind->second == ColumnKind::kInteger;
    }
    if (any_text || all_integers) continue;
    for (Dataset& dataset : datasets) {
      const auto kind = dataset.option_kinds.find(letter);
      if (kind == dataset.option_kinds.end() || kind->second != ColumnKind::kInteger) continue;
      for (EvalRow& row : dataset.rows) {
        std::string& text = row.options[letter];
        text = FormatReal(ParseReal(text).value_or(0));
      }
    }
  }
}

std::string DatasetNameOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  if (path.ends_with(".tsv")) path.remove_suffix(4);
  return std::string(path);
}

std::string LanguageOf(std::string_view dataset_name) {
  constexpr std::array<std::string_view, 7> kLanguages = {"en", "cn", "zh", "pt", "ar", "tr", "ru"};
  for (const std::string_view language : kLanguages) {
    if (dataset_name.ends_with(absl::StrCat("_", std::string(language)))) {
      return std::string(language);
    }
  }
  return "";
}

std::string AllInOneName(std::string_view dataset_name) {
  const std::string language = LanguageOf(dataset_name);
  if (!language.empty()) dataset_name.remove_suffix(language.size() + 1);
  return dataset_name == "MMBench_dev" ? "MTL_MMBench_DEV" : std::string(dataset_name);
}

}  // namespace parrot
