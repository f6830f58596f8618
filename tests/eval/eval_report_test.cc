#include "eval/eval_report.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Two languages of two rows each; one question failed, one has an answer that says nothing.
struct Fixture {
  std::vector<Dataset> datasets;
  std::map<SampleKey, Sample> samples;

  Fixture() {
    const Options options = {{'A', "red"}, {'B', "blue"}};
    for (const char* name : {"MMMB_en", "MMMB_cn"}) {
      Dataset dataset{.name = name, .num_missing_options = 1};
      for (const int64_t index : {1, 2}) {
        dataset.rows.push_back({.index = index,
                                .question = "q",
                                .options = options,
                                .scored_options = options,
                                .answer = "A",
                                .category = index == 1 ? "Color|<hue>" : "Count",
                                .split = "none"});
        Sample sample{.dataset = name, .index = index, .raw = "A", .prompt_tokens = 10};
        sample.expert_weights = {0.5, 0.5};
        samples[{name, index}] = sample;
      }
      datasets.push_back(dataset);
    }
    samples[{"MMMB_cn", 1}].raw = "what?";
    samples[{"MMMB_cn", 2}] = {.dataset = "MMMB_cn", .index = 2, .error_code = "UNAVAILABLE"};
  }

  Evaluation Evaluated(const EvalSettings& settings = {}) const {
    absl::StatusOr<Evaluation> evaluation = Evaluate(datasets, samples, settings, {.name = "nano"});
    EXPECT_TRUE(evaluation.ok()) << evaluation.status();
    return *std::move(evaluation);
  }
};

TEST(Evaluation, CountsWhatHasNoScore) {
  const Fixture fixture;
  const Evaluation evaluation = fixture.Evaluated();
  ASSERT_EQ(evaluation.datasets.size(), 2u);
  const DatasetResult& en = evaluation.datasets[0];
  EXPECT_EQ(en.accuracy(), 1.0);
  EXPECT_TRUE(en.complete());
  EXPECT_THAT(en.mean_expert_weights, ElementsAre(0.5, 0.5));
  EXPECT_EQ(en.prompt_tokens, 20);
  const DatasetResult& cn = evaluation.datasets[1];
  EXPECT_EQ(cn.num_failed, 1);
  EXPECT_EQ(cn.num_not_inferable, 1);
  EXPECT_EQ(cn.num_counted, 1);
  EXPECT_EQ(cn.accuracy(), 0.0);
  EXPECT_FALSE(evaluation.complete());
  EXPECT_EQ(evaluation.judged.size(), 4u);
}

TEST(Evaluation, SettingsDecideProtocolAndRules) {
  const Fixture fixture;
  const Evaluation evaluation = fixture.Evaluated(
      {.naming = Naming::kAllInOne, .rules = RuleSet::kVk26, .protocol = Protocol::kCircular});
  EXPECT_EQ(evaluation.datasets[0].protocol, Protocol::kCircular);
  const json line = json::parse(SettingsLine(evaluation.settings, evaluation.model));
  EXPECT_EQ(line["naming"], "all-in-one");
  EXPECT_FALSE(line.contains("rules"));  // judging again asks nothing again
}

TEST(EvalReport, LanguagesStandSideBySide) {
  const std::string text = EvalReportAs(Fixture().Evaluated(), EvalFormat::kText);
  EXPECT_THAT(text, HasSubstr("category         en    cn    mean\n"));
  EXPECT_THAT(text, HasSubstr("Overall      100.00  0.00   50.00\n"));
  EXPECT_THAT(text, HasSubstr("Count        100.00     -  100.00\n"));
  EXPECT_THAT(text, HasSubstr("MMMB (accuracy in %)"));
}

TEST(EvalReport, EachFormatEscapesNames) {
  const Evaluation evaluation = Fixture().Evaluated();
  EXPECT_THAT(EvalReportAs(evaluation, EvalFormat::kMarkdown), HasSubstr("| Color\\|<hue> |"));
  const std::string csv = EvalReportAs(evaluation, EvalFormat::kCsv);
  EXPECT_THAT(csv, HasSubstr("MMMB_en,en,none,Overall,1.0\n"));
  const json report = json::parse(EvalReportAs(evaluation, EvalFormat::kJson));
  EXPECT_EQ(report["complete"], false);
  EXPECT_EQ(report["configuration"]["rules"], "vk");
  EXPECT_EQ(report["configuration"]["model"], "nano");
  EXPECT_EQ(report["datasets"][0]["splits"]["none"]["Color|<hue>"], 1.0);
  EXPECT_EQ(report["datasets"][1]["splits"]["none"]["Overall"], 0.0);
  EXPECT_EQ(report["datasets"][1]["failed"], 1);
}

TEST(EvalReport, ChartsShowLanguagesAndExperts) {
  const Evaluation evaluation = Fixture().Evaluated();
  EXPECT_THAT(AccuracyChart(evaluation), HasSubstr("<title>en, MMMB: 100</title>"));
  EXPECT_THAT(ExpertChart(evaluation), HasSubstr("<title>cn, expert 1: 0.5</title>"));
  Fixture no_experts;
  for (auto& [key, sample] : no_experts.samples) sample.expert_weights.clear();
  EXPECT_EQ(ExpertChart(no_experts.Evaluated()), "");
  EXPECT_THAT(EvalReportAs(no_experts.Evaluated(), EvalFormat::kText), Not(HasSubstr("expert")));
}

}  // namespace
}  // namespace parrot
