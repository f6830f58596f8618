#include "eval/data_table.h"

#include <optional>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "eval/dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Cells = std::vector<std::optional<std::string>>;

DataTable Parsed(const std::string& tsv) {
  absl::StatusOr<DataTable> table = DataTable::Parse(tsv, {});
  EXPECT_TRUE(table.ok()) << table.status();
  return table.ok() ? *std::move(table) : DataTable();
}

// The cells of a table with one column besides the first.
Cells ColumnOf(const std::vector<std::string>& cells) {
  std::string tsv = "i\tx\n";
  for (const std::string& cell : cells) tsv += "k\t" + cell + "\n";
  const DataTable table = Parsed(tsv);
  return table.Find("x") == nullptr ? Cells() : table.Find("x")->cells;
}

TEST(DataTable, QuotesCountAtTheBeginningOfACell) {
  const DataTable table = Parsed(
      "\xef\xbb\xbf\"a\"\tb\n"
      "\"say \"\"hi\"\"\tthere\nnow\"\tx \"y\"\r\n"
      "\"p\"q\tlast");
  EXPECT_EQ(table.Find("a")->cells, (Cells{"say \"hi\"\tthere\nnow", "pq"}));
  EXPECT_EQ(table.Find("b")->cells, (Cells{"x \"y\"", "last"}));
  EXPECT_EQ(table.Find("c"), nullptr);
}

TEST(DataTable, BlankLinesAreNoRowsAndShortOnesMissTheirEnd) {
  const DataTable table = Parsed("a\tb\n\n  \nx\n\r\ny\tz\n\n");
  EXPECT_EQ(table.num_rows(), 2);
  EXPECT_EQ(table.Find("b")->cells, (Cells{std::nullopt, "z"}));
}

TEST(DataTable, MissingWordsAreMissingInTheirSpellingAlone) {
  EXPECT_EQ(ColumnOf({"None", "\"NA\"", "null", "none", " NA", "Null", ""}),
            (Cells{std::nullopt, std::nullopt, std::nullopt, "none", " NA", "Null", std::nullopt}));
  EXPECT_EQ(Parsed("i\tx\n1\tNone\n2\t\n3\tq\n").Find("x")->num_missing_words, 1);
}

TEST(DataTable, AColumnIsTypedAsAWhole) {
  EXPECT_EQ(ColumnOf({"007", "+5"}), (Cells{"7", "5"}));
  EXPECT_EQ(ColumnOf({"007", "NA"}), (Cells{"7.0", std::nullopt}));
  EXPECT_EQ(ColumnOf({"007", "1.50"}), (Cells{"7.0", "1.5"}));
  EXPECT_EQ(ColumnOf({"007", "seven"}), (Cells{"007", "seven"}));
  EXPECT_EQ(ColumnOf({"TRUE", "false"}), (Cells{"True", "False"}));
  EXPECT_EQ(ColumnOf({"TRUE", "maybe"}), (Cells{"TRUE", "maybe"}));
}

TEST(DataTable, WhatIsNoTableIsRefusedWithItsLine) {
  for (const auto& [tsv, message] : {std::pair<std::string, std::string>{"", "no column names"},
                                     {"a\ta\n", "one name"},
                                     {"a\tb\n1\t2\t3\n", "line 2: more than 2 cells"},
                                     {"a\tb\n1\t\"2\n\n", "line 2: a quoted cell has no end"},
                                     {std::string("a\0b\n", 4), "NUL"}}) {
    const absl::Status status = DataTable::Parse(tsv, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << tsv;
    EXPECT_EQ(GetErrorFacts(status).reason, "INVALID_TSV") << tsv;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  EXPECT_EQ(GetErrorFacts(DataTable::Parse("a\n\xff\n", {}).status()).reason, "INVALID_UTF8");
}

TEST(DataTable, SizesAreBounded) {
  for (const TableLimits& limits : {TableLimits{.max_bytes = 3}, TableLimits{.max_rows = 1}}) {
    EXPECT_EQ(GetErrorFacts(DataTable::Parse("a\n1\n2\n", limits).status()).reason,
              "DATASET_TOO_LARGE");
  }
  EXPECT_FALSE(DataTable::Parse("a\tb\n", {.max_columns = 1}).ok());
}

const std::string kLong(80, 'A');  // base64 of 60 zero bytes

absl::StatusOr<Dataset> Made(const std::string& rows) {
  return MakeDataset("X_en", Parsed("index\tquestion\tanswer\timage\tA\tB\n" + rows));
}

TEST(Dataset, ImagesMayBeThoseOfOtherRows) {
  const absl::StatusOr<Dataset> dataset = Made("7\tq\tA\t9\t1\tNone\n9\tq\tA\t" + kLong +
                                               "\t2\tb\n4\tq\tA\t7\t3\tc\n5\tq\tA\t\t4\td\n");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_EQ(dataset->rows.size(), 3u);
  EXPECT_THAT(dataset->images, ElementsAre(std::string(60, '\0')));
  EXPECT_EQ(dataset->num_rows_without_image, 1);
  EXPECT_EQ(dataset->num_missing_options, 1);
  EXPECT_EQ(dataset->rows[0].options, (Options{{'A', "1"}}));
  EXPECT_EQ(dataset->rows[0].split, "none");
  EXPECT_EQ(dataset->rows[0].category, std::nullopt);
}

TEST(Dataset, WhatCannotBeAskedIsRefused) {
  for (const auto& [rows, message] :
       {std::pair<std::string, std::string>{"1\tq\tA\t2\t\t\n2\tq\tA\t3\t\t\n3\tq\tA\t" + kLong,
                                            "refers to a row that holds none"},
        {"1\tq\tA\t5\t\t\n", "refers to a row that holds none"},
        {"1\tq\tA\t" + kLong + "\n1\tq\tA\t" + kLong, "row 2: its index stands twice"},
        {"x\tq\tA\t" + kLong, "index"},
        {"1\tq\t\t" + kLong, "no answer"},
        {"1\t\tA\t" + kLong, "no question"},
        {"1\tq\tA\t*" + kLong, "base64"}}) {
    const absl::Status status = Made(rows).status();
    EXPECT_EQ(GetErrorFacts(status).reason, "INVALID_DATASET") << rows;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  EXPECT_FALSE(MakeDataset("X", Parsed("index\tquestion\tanswer\n1\tq\tA\n")).ok());
}

TEST(Dataset, NamesTellLanguageAndBenchmark) {
  EXPECT_EQ(DatasetNameOf("/data/Mini-MMMB_pt.tsv"), "Mini-MMMB_pt");
  EXPECT_EQ(LanguageOf("Mini-MMMB_pt"), "pt");
  EXPECT_EQ(LanguageOf("MTL_MMBench_DEV"), "");
  EXPECT_EQ(AllInOneName("MMMB_cn"), "MMMB");
  EXPECT_EQ(AllInOneName("MMBench_dev_ru"), "MTL_MMBench_DEV");
  EXPECT_EQ(AllInOneName("MMStar"), "MMStar");
}

}  // namespace
}  // namespace parrot
