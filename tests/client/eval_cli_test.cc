// parrot-cli eval against a scripted server: what fails is marked, what may pass later is retried.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "child_process.h"
#include "fake_parrot_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kEnglish = GoldenPath("eval/tsv/MMMB_en.tsv");

class EvalCliTest : public testing::Test {
 protected:
  EvalCliTest() { std::filesystem::remove_all(folder_); }
  ~EvalCliTest() override { std::filesystem::remove_all(folder_); }

  ChildResult Run(std::vector<std::string> more = {}) {
    std::vector<std::string> command = {PARROT_CLI,
                                        "eval",
                                        kEnglish,
                                        "--target",
                                        server_.target(),
                                        "--limit=4",
                                        "--concurrency=1",
                                        "--output",
                                        folder_};
    command.insert(command.end(), more.begin(), more.end());
    return RunChild(command);
  }
  // Without the line of the settings.
  std::vector<json> Samples() const {
    std::ifstream file(folder_ + "/samples.jsonl");
    std::vector<json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    if (!lines.empty()) lines.erase(lines.begin());
    return lines;
  }
  json Summary() const { return json::parse(std::ifstream(folder_ + "/summary.json")); }

  FakeParrotServer server_;
  const std::string folder_ = testing::TempDir() + "/parrot_eval_cli_" + std::to_string(getpid());
};

TEST_F(EvalCliTest, EveryQuestionIsASampleAndAllReportsAreWritten) {
  const ChildResult result = Run({"--format", "csv"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.output, HasSubstr("MMMB_en,en,dev,Overall,"));
  for (const char* name : {"report.md", "report.txt", "accuracy.csv", "accuracy.svg"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_ + "/" + name)) << name;
  }
  const std::vector<json> samples = Samples();
  ASSERT_THAT(samples, SizeIs(4));
  EXPECT_EQ(samples[0]["prompt_sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(samples[0]["raw"], "A blue bird.");
  EXPECT_EQ(samples[0]["prediction"], "A");  // asked in English, so cleaned
  EXPECT_EQ(samples[0]["inferred"], "A");
  EXPECT_EQ(samples[0]["expert_weights"].size(), 6u);
  EXPECT_EQ(Summary()["complete"], true);
  EXPECT_EQ(Summary()["datasets"][0]["answered"], 4);
  const FakeParrotServer::Seen asked = server_.seen().back();
  EXPECT_EQ(asked.request.language(), "en");
  EXPECT_EQ(asked.request.stop().max_tokens(), 512);
  EXPECT_EQ(asked.request.messages_size(), 1);
}

TEST_F(EvalCliTest, AFailureIsMarkedAndAskedAgainTheNextTime) {
  server_.FailUnaryCalls(
      {grpc::Status(),
       grpc::Status(),
       DetailedStatus(
           grpc::StatusCode::INVALID_ARGUMENT, "no such picture", {.reason = "IMAGE_CORRUPT"})});
  const ChildResult first = Run();
  EXPECT_EQ(first.exit_code, 1);
  EXPECT_THAT(first.error, HasSubstr("1 failed with INVALID_ARGUMENT IMAGE_CORRUPT"));
  EXPECT_EQ(Summary()["complete"], false);
  EXPECT_EQ(Summary()["datasets"][0]["failed"], 1);
  EXPECT_EQ(Summary()["datasets"][0]["counted"], 3);
  int num_failed = 0;
  for (const json& sample : Samples()) {
    if (sample["status"] == "ok") continue;
    ++num_failed;
    EXPECT_EQ(sample["error"]["reason"], "IMAGE_CORRUPT");
    EXPECT_TRUE(sample["hit"].is_null());
  }
  EXPECT_EQ(num_failed, 1);

  const size_t num_calls = server_.seen().size();
  const ChildResult second = Run({"--rules", "vk26"});
  EXPECT_EQ(second.exit_code, 0) << second.error;
  EXPECT_EQ(server_.seen().size(), num_calls + 2);  // the model, and the one question
  EXPECT_EQ(Summary()["configuration"]["rules"], "vk26");
}

TEST_F(EvalCliTest, WhatTheServerCannotTakeNowIsRetried) {
  const grpc::Status busy =
      DetailedStatus(grpc::StatusCode::RESOURCE_EXHAUSTED,
                     "the queue is full",
                     {.reason = "QUEUE_FULL", .retry_after = absl::Milliseconds(1)});
  server_.FailUnaryCalls({grpc::Status(), busy, busy, busy, busy});
  const ChildResult result = Run();
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_GT(server_.seen().size(), 5u);

  std::filesystem::remove_all(folder_);
  std::vector<grpc::Status> always(60, busy);
  always.front() = grpc::Status();  // of the model's description
  server_.FailUnaryCalls(always);
  EXPECT_EQ(Run({"--max-attempts=2"}).exit_code, 1);
  EXPECT_EQ(Summary()["datasets"][0]["failed"], 4);
  EXPECT_EQ(Samples().front()["attempts"], 2);
}

TEST_F(EvalCliTest, AServerThatFailsAllIsGivenUpButNotOneThatRefusesQuestions) {
  const auto refuse = [&](grpc::StatusCode code) {
    std::vector<grpc::Status> statuses(40, DetailedStatus(code, "no", {.reason = "NO"}));
    statuses.front() = grpc::Status();  // of the model's description
    server_.FailUnaryCalls(statuses);
    return RunChild({PARROT_CLI,
                     "eval",
                     kEnglish,
                     "--target",
                     server_.target(),
                     "--concurrency=1",
                     "--output",
                     folder_});
  };
  EXPECT_EQ(refuse(grpc::StatusCode::INVALID_ARGUMENT).exit_code, 1);
  EXPECT_EQ(Summary()["datasets"][0]["failed"], 24);
  const ChildResult given_up = refuse(grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(given_up.exit_code, 1);
  EXPECT_THAT(given_up.error, HasSubstr("20 questions in a row failed"));
  EXPECT_GE(Summary()["datasets"][0]["failed"], 20);
}

TEST_F(EvalCliTest, OtherSettingsNeedAnotherFolder) {
  ASSERT_EQ(Run().exit_code, 0);
  const ChildResult result = Run({"--naming", "all-in-one"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("other settings"));
}

TEST_F(EvalCliTest, WrongUsageAndWrongFilesAreToldBeforeAnyCall) {
  EXPECT_EQ(Run({"--rules", "gpt4"}).exit_code, 2);
  EXPECT_EQ(RunChild({PARROT_CLI, "eval"}).exit_code, 2);
  EXPECT_EQ(Run({kEnglish}).exit_code, 2);  // the name twice
  const ChildResult none = Run({"/none.tsv"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.error, HasSubstr("NOT_FOUND"));
  EXPECT_TRUE(server_.seen().empty());
}

}  // namespace
}  // namespace parrot
