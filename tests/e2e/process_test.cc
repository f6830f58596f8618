// parrot-server as a process: exit codes, signals, what the operator reads.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "child_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kModel = GoldenPath("checkpoints/nano-gqa");

std::vector<std::string> WithFreePorts(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   {PARROT_SERVER,
                    "--http-port=0",
                    "--grpc-port=0",
                    "--admin-address=",
                    "--kv-cache-memory-bytes=16MiB"});
  return arguments;
}

struct Ended {
  int exit_code = 0;
  std::string output;
  std::string error;
};

Ended RunServer(const std::vector<std::string>& arguments) {
  ChildProcess server(WithFreePorts(arguments), ChildProcess::Io::kPipes);
  server.CloseInput();
  const int code = server.Wait();
  return {code, server.output(), server.error()};
}

// A copy of the checkpoint that a test may spoil.
class SpoiledModel {
 public:
  SpoiledModel() : dir_(testing::TempDir() + "/parrot_model_" + std::to_string(getpid())) {
    std::filesystem::remove_all(dir_);
    std::filesystem::copy(kModel, dir_, std::filesystem::copy_options::recursive);
    for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
      std::filesystem::permissions(
          entry, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
    }
  }
  ~SpoiledModel() { std::filesystem::remove_all(dir_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
  }
  const std::string& dir() const { return dir_; }

 private:
  const std::string dir_;
};

TEST(ProcessTest, QuestionsAboutOptionsAreAnsweredWithoutAModel) {
  const Ended version = RunServer({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, HasSubstr("parrot-server "));
  EXPECT_THAT(RunServer({"--help"}).output, HasSubstr("--max-num-seqs"));
  const Ended printed = RunServer({"--model", "/m", "--max_num_seqs=3", "--print-config"});
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_THAT(printed.output, HasSubstr("max-num-seqs: 3\n"));
  EXPECT_EQ(RunServer({"--model", "/m", "--check-config"}).exit_code, 0);
}

TEST(ProcessTest, BadOptionsExitWithTwoAndOneLine) {
  const Ended ended = RunServer({"--model", "/m", "--max-num-seq=3"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.error,
            "parrot-server: unknown option '--max-num-seq', did you mean 'max-num-seqs'?; see "
            "--help\n");
  EXPECT_EQ(RunServer({}).exit_code, 2);
}

TEST(ProcessTest, BadModelFilesExitWithThreeAndAreNamed) {
  const Ended missing = RunServer({"--model", "/nonexistent/parrot"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.error, HasSubstr("config.json"));
  EXPECT_THAT(missing.error, Not(HasSubstr("/nonexistent")));
  {
    SpoiledModel model;
    model.Write("tokenizer.json", "{\"model\": [");
    const Ended ended = RunServer({"--model", model.dir()});
    EXPECT_EQ(ended.exit_code, 3) << ended.error;
    EXPECT_THAT(ended.error, HasSubstr("tokenizer.json"));
  }
  {
    SpoiledModel model;
    model.Write("config.json", "{}{");
    EXPECT_EQ(RunServer({"--model", model.dir()}).exit_code, 3);
  }
  {
    SpoiledModel model;
    for (const auto& entry : std::filesystem::directory_iterator(model.dir())) {
      if (entry.path().extension() == ".safetensors") {
        model.Write(entry.path().filename(), std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10));
      }
    }
    const Ended ended = RunServer({"--model", model.dir()});
    EXPECT_EQ(ended.exit_code, 3) << ended.error;
    EXPECT_THAT(ended.error, HasSubstr(".safetensors"));
  }
}

TEST(ProcessTest, OptionsThatDoNotFitTheModelOrTheMachineExitWithOne) {
  const Ended ended = RunServer({"--model", kModel, "--max-model-len=1000000"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.error, HasSubstr("--max-model-len"));
}

TEST(ProcessTest, ASignalStopsItCleanlyAndASecondOneAtOnce) {
  {
    ChildProcess server(WithFreePorts({"--model", kModel, "--lame-duck=0s"}),
                        ChildProcess::Io::kTerminal);
    ASSERT_TRUE(server.WaitForOutput(" ready "));
    server.Signal(SIGTERM);
    ASSERT_TRUE(server.WaitForOutput("shutdown_finished all_requests_finished=true"));
    EXPECT_EQ(server.Wait(), 0);
  }
  {
    // Ctrl-C waits for no load balancer.
    ChildProcess server(WithFreePorts({"--model", kModel, "--lame-duck=60s"}),
                        ChildProcess::Io::kTerminal);
    ASSERT_TRUE(server.WaitForOutput(" ready "));
    server.Write("\x03");
    EXPECT_EQ(server.Wait(), 0);
  }
  {
    ChildProcess server(WithFreePorts({"--model", kModel, "--lame-duck=60s"}),
                        ChildProcess::Io::kTerminal);
    ASSERT_TRUE(server.WaitForOutput(" ready "));
    server.Signal(SIGTERM);
    ASSERT_TRUE(server.WaitForOutput("shutdown_started"));
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(), 128 + SIGTERM);
  }
}

}  // namespace
}  // namespace parrot
