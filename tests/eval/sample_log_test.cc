#include "eval/sample_log.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kSettings[] = R"({"parrot_eval":1})";

class SampleLogTest : public testing::Test {
 protected:
  SampleLogTest() { std::filesystem::remove(path_); }

  std::unique_ptr<SampleLog> Opened() {
    absl::StatusOr<std::unique_ptr<SampleLog>> log = SampleLog::Open(path_, kSettings);
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *std::move(log) : nullptr;
  }
  std::string Text() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }

  const std::string path_ = testing::TempDir() + "/parrot_sample_log.jsonl";
};

Sample Answered(const std::string& dataset, int64_t index) {
  return {.dataset = dataset,
          .index = index,
          .prompt_sha256 = "ab",
          .raw = "so\u2028 B\n",
          .finish_reason = "stop",
          .letter = 'B',
          .option_probability = {{'A', 0.25}, {'B', 0.75}},
          .prompt_tokens = 7,
          .completion_tokens = 3,
          .latency_s = 0.5,
          .num_attempts = 2,
          .expert_weights = {0.75, 0.25}};
}

TEST_F(SampleLogTest, WhatWasAppendedIsThereAgain) {
  const auto log = Opened();
  ASSERT_TRUE(log->Append(Answered("X_en", 4)).ok());
  ASSERT_TRUE(log->Append(Answered("X_en", 1)).ok());
  const auto again = Opened();
  ASSERT_THAT(again->samples(), SizeIs(2));
  const Sample& sample = again->samples().at({"X_en", 4});
  EXPECT_EQ(sample.raw, "so\u2028 B\n");
  EXPECT_EQ(sample.letter, 'B');
  EXPECT_EQ(sample.option_probability.at('A'), 0.25);
  EXPECT_EQ(sample.expert_weights[0], 0.75);
  EXPECT_EQ(sample.num_attempts, 2);
  EXPECT_FALSE(sample.failed());
}

TEST_F(SampleLogTest, ALastLineThatWasCutOffIsDropped) {
  ASSERT_TRUE(Opened()->Append(Answered("X_en", 4)).ok());
  const std::string whole = Text();
  Write(whole + whole.substr(whole.size() / 2, 40));
  EXPECT_THAT(Opened()->samples(), SizeIs(1));
  EXPECT_EQ(Text(), whole);
  Write(std::string(kSettings).substr(0, 5));  // even of the first line only a part
  EXPECT_THAT(Opened()->samples(), IsEmpty());
  EXPECT_EQ(Text(), std::string(kSettings) + "\n");
}

TEST_F(SampleLogTest, FailuresAreWrittenButAskedAgain) {
  const auto log = Opened();
  Sample failed = {.dataset = "X_en", .index = 1, .error_code = "UNAVAILABLE"};
  failed.error_reason = "OVERLOADED";
  ASSERT_TRUE(log->Append(failed).ok());
  EXPECT_THAT(Text(), HasSubstr(R"("status":"failed","error":{"code":"UNAVAILABLE",)"));
  ASSERT_TRUE(log->Finish({{.sample = &log->samples().begin()->second, .answer = "A"}}).ok());
  EXPECT_THAT(Text(), HasSubstr(R"("answer":"A","hit":null)"));
  EXPECT_THAT(Opened()->samples(), IsEmpty());
}

TEST_F(SampleLogTest, FinishAddsTheJudgementAndKeepsTheRest) {
  const auto log = Opened();
  ASSERT_TRUE(log->Append(Answered("X_en", 1)).ok());
  ASSERT_TRUE(log->Append(Answered("Y_en", 1)).ok());
  log->Drop({"Y_en", 7});
  ASSERT_TRUE(log->Finish({{.sample = &log->samples().at({"X_en", 1}),
                            .prediction = "so B",
                            .inferred = 'B',
                            .answer = "B",
                            .is_right = true}})
                  .ok());
  const std::string text = Text();
  const std::string line = text.substr(text.find('\n') + 1, text.find('\n', text.find('\n') + 1));
  const json first = json::parse(line.substr(0, line.find('\n')));
  EXPECT_EQ(first["prediction"], "so B");
  EXPECT_EQ(first["inferred"], "B");
  EXPECT_EQ(first["hit"], 1);
  EXPECT_THAT(Opened()->samples(), SizeIs(2));
}

TEST_F(SampleLogTest, OtherSettingsOrOtherFilesAreRefused) {
  Write("{\"parrot_eval\":2}\n");
  EXPECT_EQ(GetErrorFacts(SampleLog::Open(path_, kSettings).status()).reason, "OTHER_SETTINGS");
  for (const char* line : {"{}", "no json", "[1]", R"({"dataset":1,"id":"x"})"}) {
    Write(std::string(kSettings) + "\n" + line + "\n");
    const absl::Status status = SampleLog::Open(path_, kSettings).status();
    EXPECT_EQ(GetErrorFacts(status).reason, "INVALID_LOG") << line;
    EXPECT_EQ(GetErrorFacts(status).value, "2");
  }
  EXPECT_FALSE(SampleLog::Open(testing::TempDir() + "/none/x", kSettings).ok());
}

}  // namespace
}  // namespace parrot
