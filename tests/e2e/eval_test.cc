// parrot-cli eval against the whole server with a fake executor: Ctrl-C, and going on after it.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "child_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

int64_t NumLines(const std::string& path) {
  std::ifstream file(path);
  int64_t num_lines = 0;
  for (std::string line; std::getline(file, line);) ++num_lines;
  return num_lines;
}

TEST(EvalTest, AnInterruptedRunGoesOnWhereItWas) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(15);
  TestServer server(config);
  const std::string folder = testing::TempDir() + "/parrot_eval_" + std::to_string(getpid());
  std::filesystem::remove_all(folder);
  const std::vector<std::string> command = {PARROT_CLI,
                                            "eval",
                                            GoldenPath("eval/tsv/MMMB_en.tsv"),
                                            "--target",
                                            server.address(),
                                            "--max-tokens=8",
                                            "--concurrency=2",
                                            "--jpeg=reference",
                                            "--limit=12",
                                            "--json",
                                            "--output",
                                            folder};
  ChildProcess child(command, ChildProcess::Io::kPipes);
  WaitUntil([&] { return NumLines(folder + "/samples.jsonl") >= 4; });
  child.Signal(SIGINT);
  EXPECT_EQ(child.Wait(), 130) << child.error();
  const json partial = json::parse(child.output());
  EXPECT_EQ(partial["complete"], false);
  EXPECT_EQ(partial["datasets"][0]["failed"], 0);
  const int64_t num_answered = partial["datasets"][0]["answered"];
  EXPECT_GE(num_answered, 3);
  EXPECT_LT(num_answered, 12);

  const ChildResult rest = RunChild(command);
  EXPECT_THAT(rest.error, HasSubstr(std::to_string(num_answered) + " answers are there"));
  const json whole = json::parse(rest.output);
  EXPECT_EQ(rest.exit_code, 0) << rest.error;
  EXPECT_EQ(whole["datasets"][0]["answered"], 12);
  EXPECT_EQ(NumLines(folder + "/samples.jsonl"), 1 + 12);
  server.ExpectIdle();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace parrot
