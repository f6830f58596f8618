// parrot-cli bench against the whole server with a fake executor: the client is a process of its
// own, as for its users.
#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "child_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/test_server.h"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::SizeIs;

// Eight tokens an answer; half of the questions have one of two pictures.
std::vector<std::string> BenchCommand(const TestServer& server, std::vector<std::string> more) {
  std::vector<std::string> command = {PARROT_CLI,
                                      "bench",
                                      "--target",
                                      server.address(),
                                      "--json",
                                      "--save-detailed",
                                      "--languages",
                                      "en,zh",
                                      "--input-len",
                                      "16",
                                      "--output-len",
                                      "8",
                                      "--ignore-eos",
                                      "--image-fraction",
                                      "0.5",
                                      "--image-size",
                                      "32x24",
                                      "--num-images",
                                      "2"};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

TEST(BenchTest, AClosedLoopKeepsItsConcurrencyAndReportsTheServersFacts) {
  TestServerConfig config;
  config.executor.model.capacity.image_bytes = 1 << 20;  // the cache has room for some
  TestServer server(config);
  const ChildResult result = RunChild(BenchCommand(
      server, {"--num-prompts", "30", "--max-concurrency", "3", "--num-warmups", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const json report = json::parse(result.output);
  EXPECT_EQ(report["model_id"], "nano-gqa");
  EXPECT_EQ(report["completed"], 30);
  EXPECT_EQ(report["max_concurrent_requests"], 3);
  EXPECT_EQ(report["total_output_tokens"], 30 * 8);
  EXPECT_THAT(report["itls"], SizeIs(30));
  EXPECT_THAT(report["parrot"]["languages"], SizeIs(2));
  EXPECT_GT(report["parrot"]["cache_levels"]["features"], 0);
  EXPECT_GT(report["parrot"]["server_stages"]["mean_clip_ms"], 0);
  EXPECT_GT(report["mean_e2el_ms"], report["mean_ttft_ms"]);
  server.ExpectIdle();
}

// One stream at a time, 50 requests a second, at least 80 ms an answer: the sixth has waited for
// five others, and its latencies say so.
TEST(BenchTest, LatenciesOfAnOpenLoopHoldTheTimeThatARequestWaitedToBeSent) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(10);
  TestServer server(config);
  const ChildResult result = RunChild(BenchCommand(server,
                                                   {"--num-prompts",
                                                    "6",
                                                    "--request-rate",
                                                    "50",
                                                    "--arrival",
                                                    "constant",
                                                    "--max-concurrency",
                                                    "1"}));
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const json report = json::parse(result.output);
  EXPECT_GE(report["parrot"]["max_schedule_lag_ms"], 5 * 80 - 100);
  EXPECT_GE(report["ttfts"][5], 1e-3 * (5 * 80 - 100));
  server.ExpectIdle();
}

TEST(BenchTest, RefusalsAreCountedByCodeAndReason) {
  TestServerConfig config;
  config.options.max_num_seqs = 1;
  config.options.max_queue_size = 2;
  config.executor.step_time = absl::Milliseconds(5);
  TestServer server(config);
  const ChildResult result = RunChild(BenchCommand(server, {"--num-prompts", "40"}));
  EXPECT_EQ(result.exit_code, 1);
  const json report = json::parse(result.output);
  EXPECT_GT(report["completed"], 0);
  EXPECT_GT(report["failed"], 0);
  EXPECT_EQ(report["completed"].get<int>() + report["failed"].get<int>(), 40);
  EXPECT_EQ(report["parrot"]["errors"][0]["code"], "RESOURCE_EXHAUSTED");
  EXPECT_EQ(report["parrot"]["errors"][0]["reason"], "QUEUE_FULL");
  server.ExpectIdle();
}

TEST(BenchTest, AnInterruptedRunReportsAndLeavesNothingOnTheServer) {
  TestServerConfig config;
  config.executor.step_time = absl::Milliseconds(5);
  TestServer server(config);
  ChildProcess child(BenchCommand(server, {"--num-prompts", "100000", "--max-concurrency", "4"}),
                     ChildProcess::Io::kPipes);
  WaitUntil([&] { return server.executor().counts().num_retired_slots > 4; });
  child.Signal(SIGINT);
  EXPECT_EQ(child.Wait(), 130);
  const json report = json::parse(child.output());
  EXPECT_GT(report["completed"], 0);
  EXPECT_EQ(report["failed"], 0);
  EXPECT_LE(report["parrot"]["interrupted"], 4);
  server.ExpectIdle();
}

}  // namespace
}  // namespace parrot
