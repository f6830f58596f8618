#include "eval/scores.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;

EvalRow RowOf(int64_t index, const std::string& answer, Options options) {
  return {.index = index,
          .question = "q",
          .options = options,
          .scored_options = options,
          .answer = answer,
          .category = "Color",
          .split = "none"};
}

Dataset Circular() {
  const Options options = {{'A', "red"}, {'B', "blue"}};
  return {.name = "MMBench_dev_en",
          .rows = {RowOf(1, "A", options),
                   RowOf(1000001, "B", options),
                   RowOf(2, "A", options),
                   RowOf(1000002, "B", options)}};
}

std::map<int64_t, std::optional<bool>> HitsOf(const Dataset& dataset,
                                              const std::map<int64_t, RowAnswer>& answers,
                                              Protocol protocol) {
  std::map<int64_t, std::optional<bool>> hits;
  const auto scores = ScoreRows(dataset, answers, {.protocol = protocol});
  EXPECT_TRUE(scores.ok()) << scores.status();
  for (const RowScore& score : *scores) hits[score.index] = score.hit;
  return hits;
}

TEST(Scores, AGroupIsRightIfEveryCopyIs) {
  const std::map<int64_t, RowAnswer> answers = {{1, {.prediction = "A"}},
                                                {1000001, {.prediction = "B"}},
                                                {2, {.prediction = "A"}},
                                                {1000002, {.prediction = "A"}}};
  EXPECT_EQ(HitsOf(Circular(), answers, Protocol::kCircular),
            (std::map<int64_t, std::optional<bool>>{
                {1, true}, {1000001, std::nullopt}, {2, false}, {1000002, std::nullopt}}));
  EXPECT_EQ(HitsOf(Circular(), answers, Protocol::kVanilla),
            (std::map<int64_t, std::optional<bool>>{
                {1, true}, {1000001, true}, {2, true}, {1000002, false}}));
}

TEST(Scores, AFailedCopyTakesItsGroupOut) {
  const std::map<int64_t, RowAnswer> answers = {{1, {.prediction = "A"}},
                                                {1000001, {.failed = true}},
                                                {2, {.prediction = "A"}},
                                                {1000002, {.prediction = "B"}}};
  EXPECT_EQ(HitsOf(Circular(), answers, Protocol::kCircular),
            (std::map<int64_t, std::optional<bool>>{
                {1, std::nullopt}, {1000001, std::nullopt}, {2, true}, {1000002, std::nullopt}}));
  const auto scores = ScoreRows(Circular(), answers, {.protocol = Protocol::kCircular});
  const AccuracyTable table = MakeTable(Circular(), *scores);
  EXPECT_THAT(table.columns, ElementsAre("Overall", "Color"));
  ASSERT_EQ(table.rows.size(), 1u);
  EXPECT_THAT(table.rows[0].values, ElementsAre(1.0, 1.0));
}

TEST(Scores, AKnownLetterNeedsNoInference) {
  EXPECT_EQ(HitsOf(Circular(), {{2, {.prediction = "blue", .letter = 'A'}}}, Protocol::kVanilla),
            (std::map<int64_t, std::optional<bool>>{{2, true}}));
}

TEST(Scores, OpenQuestionsAreRightByTheirOwnRuleAlone) {
  Dataset open = {.name = "Mini-MMMB_en", .rows = {RowOf(1, "red", {})}};
  EXPECT_EQ(OpenRuleOf(open), OpenRule::kExact);
  EXPECT_EQ(OpenRuleOf(Circular()), OpenRule::kNever);
  for (const OpenRule rule : {OpenRule::kExact, OpenRule::kNever}) {
    const auto scores = ScoreRows(open, {{1, {.prediction = "Red."}}}, {.open = rule});
    ASSERT_TRUE(scores.ok());
    EXPECT_EQ((*scores)[0].hit, rule == OpenRule::kExact);
    EXPECT_EQ((*scores)[0].inferred, std::nullopt);
  }
}

TEST(Scores, AnAnswerToNoRowIsAnError) {
  const absl::Status status = ScoreRows(Circular(), {{7, {}}}, {}).status();
  EXPECT_EQ(GetErrorFacts(status).reason, "UNKNOWN_INDEX");
}

TEST(Scores, TablesOfDifferentColumnsGoIntoOne) {
  AccuracyTable table{.columns = {"Overall", "x"}, .rows = {{"dev", "a", {0.5, 1.0}}}};
  AppendTable({.columns = {"Overall", "y"}, .rows = {{"dev", "b", {0.25, 0.0}}}}, &table);
  EXPECT_THAT(table.columns, ElementsAre("Overall", "x", "y"));
  EXPECT_THAT(table.rows[0].values, ElementsAre(0.5, 1.0, std::nullopt));
  EXPECT_THAT(table.rows[1].values, ElementsAre(0.25, std::nullopt, 0.0));
}

}  // namespace
}  // namespace parrot
