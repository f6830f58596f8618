#include "server/options/options_parser.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/options/option_table.h"
#include "server/options/options_text.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

Options Parsed(std::vector<std::string> arguments, const Environment& environment = {}) {
  arguments.insert(arguments.begin(), "--model=/m");
  const auto line = ParseCommandLine(arguments, environment);
  EXPECT_TRUE(line.ok()) << line.status();
  return line.ok() ? line->options : Options();
}

std::string Error(std::vector<std::string> arguments, const Environment& environment = {}) {
  arguments.insert(arguments.begin(), "--model=/m");
  const auto line = ParseCommandLine(arguments, environment);
  EXPECT_FALSE(line.ok());
  return std::string(line.status().message());
}

class TempFile {
 public:
  explicit TempFile(const std::string& text)
      : path_(testing::TempDir() + "/parrot_options_" + std::to_string(getpid()) + ".yaml") {
    std::ofstream(path_) << text;
  }
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(OptionsParserTest, TakesValuesInEverySpelling) {
  EXPECT_EQ(Parsed({"--max-num-seqs", "3"}).max_num_seqs, 3);
  EXPECT_EQ(Parsed({"--max-num-seqs=3"}).max_num_seqs, 3);
  EXPECT_EQ(Parsed({"--max_num_seqs", "3"}).max_num_seqs, 3);
  EXPECT_EQ(Parsed({"--max-running-requests", "3"}).max_num_seqs, 3);
  EXPECT_EQ(Parsed({"--kv-cache-memory-bytes", "64MiB"}).kv_cache_memory_bytes, 64 << 20);
  EXPECT_EQ(Parsed({"--shutdown-timeout", "3m"}).shutdown_timeout, absl::Minutes(3));
  EXPECT_EQ(Parsed({"--metrics_compat=vllm"}).metrics_compat, "vllm");
  EXPECT_EQ(Parsed({"--num-workers=3", "--num-threads=3"}).num_workers, 3);
  EXPECT_TRUE(Parsed({"--log-requests"}).log_requests);
  EXPECT_FALSE(Parsed({"--log-requests=false"}).log_requests);
  EXPECT_FALSE(Parsed({"--no-log-requests"}).log_requests);
  EXPECT_THAT(Parsed({"--served-model-name", "a,b", "--served-model-name=c"}).served_model_names,
              ElementsAre("a", "b", "c"));
  EXPECT_EQ(Parsed({"--limit-mm-per-prompt", "image=4"}).max_images_per_prompt, 4);
  EXPECT_EQ(Parsed({"--limit-mm-per-prompt", R"({"image": 4})"}).max_images_per_prompt, 4);
  EXPECT_EQ(Parsed({"--admin-address", ""}).admin_address, "");
  EXPECT_EQ(Parsed({"--admin-address=", "--max-num-seqs=3"}).admin_address, "");
  EXPECT_EQ(Parsed({"--admin-address=", "--max-num-seqs=3"}).max_num_seqs, 3);
  EXPECT_EQ(Parsed({"--max-num-seqs", "3", "--max-num-seqs", "4"}).max_num_seqs, 4);
}

TEST(OptionsParserTest, AFlagWinsOverTheEnvironmentOverTheFileOverTheDefault) {
  const TempFile file("max-num-seqs: 11\nblock_size: 11\nhttp-port: 11\n");
  const Environment environment = {{"PARROT_MAX_NUM_SEQS", "12"}, {"PARROT_BLOCK_SIZE", "12"}};
  const Options options = Parsed({"--config", file.path(), "--max-num-seqs", "13"}, environment);
  EXPECT_EQ(options.max_num_seqs, 13);
  EXPECT_EQ(options.block_size, 12);
  EXPECT_EQ(options.http_port, 11);
  EXPECT_EQ(options.grpc_port, 8001);
  EXPECT_EQ(Parsed({}, {{"PARROT_CONFIG", file.path()}}).http_port, 11);
}

TEST(OptionsParserTest, UnknownNamesAreErrorsWithASuggestion) {
  EXPECT_EQ(Error({"--max-num-seq", "3"}),
            "unknown option '--max-num-seq', did you mean 'max-num-seqs'?; see --help");
  EXPECT_EQ(Error({"--entirely-different"}), "unknown option '--entirely-different'; see --help");
  EXPECT_EQ(Error({"stray"}), "unexpected argument 'stray'; see --help");
  const TempFile file("max-num-seqs: 3\nmax-nun-seqs: 3\n");
  EXPECT_EQ(Error({"--config", file.path()}),
            "--config " + file.path() +
                ":2: unknown key 'max-nun-seqs', did you mean "
                "'max-num-seqs'?");
}

TEST(OptionsParserTest, AnOptionUnderTwoNamesInOneFileIsAnError) {
  const TempFile file("max-num-seqs: 3\nmax-running-requests: 4\n");
  EXPECT_THAT(Error({"--config", file.path()}), HasSubstr("is the option 'max-num-seqs' again"));
}

TEST(OptionsParserTest, ErrorsNameTheSourceTheValueAndWhatIsAllowed) {
  EXPECT_EQ(Error({"--http-port", "70000"}),
            "--http-port: '70000' is out of range, allowed: 0 to 65535");
  EXPECT_EQ(Error({}, {{"PARROT_DTYPE", "int3"}}),
            "PARROT_DTYPE: 'int3' is not a choice, allowed: auto, float32, bfloat16");
  const TempFile file("\nqueue-timeout: soon\n");
  EXPECT_EQ(Error({"--config", file.path()}),
            "--config " + file.path() +
                ":2: queue-timeout: 'soon' is not a duration (examples: 120s, 1m30s, 50ms)");
  EXPECT_THAT(Error({"--config", "/nonexistent"}), HasSubstr("cannot be read"));
  EXPECT_THAT(Error({"--max-num-seqs"}), HasSubstr("--max-num-seqs"));
  EXPECT_THAT(Error({}, {{"PARROT_HTTP_PORT", "tcp://10.0.0.1:80"}}),
              HasSubstr("enableServiceLinks: false"));
}

TEST(OptionsParserTest, ContradictionsAreErrors) {
  EXPECT_THAT(Error({"--ssl-certfile", "/etc/hostname"}), HasSubstr("need each other"));
  EXPECT_THAT(Error({"--ssl-ca-certs", "/etc/hostname"}), HasSubstr("--ssl-ca-certs needs"));
  EXPECT_THAT(Error({"--enable-ssl-refresh"}), HasSubstr("--enable-ssl-refresh needs"));
  EXPECT_THAT(Error({"--api-key-file", "/nonexistent"}), HasSubstr("cannot read"));
  EXPECT_THAT(Error({"--http-port", "9000", "--grpc-port", "9000"}), HasSubstr("must differ"));
  EXPECT_THAT(Error({"--shutdown-timeout", "10s"}), HasSubstr("--lame-duck (15s)"));
  EXPECT_THAT(Error({"--request-timeout", "700s"}), HasSubstr("--max-request-timeout (600s)"));
  EXPECT_THAT(Error({"--admin-address", "8002"}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(Error({"--host", ""}), HasSubstr("--host must not be empty"));
  EXPECT_THAT(Error({"--num-workers", "2", "--device", "cuda"}), HasSubstr("--device=cpu"));
  EXPECT_THAT(Error({"--num-workers", "3", "--num-threads", "2"}),
              HasSubstr("--num-threads must be at least --num-workers"));
  const auto no_model = ParseCommandLine({}, {});
  EXPECT_THAT(std::string(no_model.status().message()), HasSubstr("--model is required"));
}

TEST(OptionsParserTest, HelpNeedsNothingElse) {
  EXPECT_EQ(ParseCommandLine({"--help"}, {})->action, CommandLineAction::kHelp);
  EXPECT_EQ(ParseCommandLine({"-h"}, {})->action, CommandLineAction::kHelp);
  EXPECT_EQ(ParseCommandLine({"--version"}, {})->action, CommandLineAction::kVersion);
  EXPECT_EQ(ParseCommandLine({"--model", "/m", "--check-config"}, {})->action,
            CommandLineAction::kCheckConfig);
}

TEST(OptionsParserTest, OpenPortsWithoutTlsAreWarnedOf) {
  EXPECT_TRUE(OptionWarnings(Parsed({})).empty());
  EXPECT_EQ(OptionWarnings(Parsed({"--host", "0.0.0.0"})).size(), 1u);
  EXPECT_EQ(OptionWarnings(Parsed({"--admin-address", "0.0.0.0:8002"})).size(), 1u);
}

// Every row of the table reads back what it writes, so that --print-config is a configuration.
TEST(OptionsParserTest, ThePrintedConfigurationGivesTheSameOptions) {
  const Options options = Parsed({"--max-num-seqs",
                                  "3",
                                  "--served-model-name",
                                  "a,b",
                                  "--admin-address",
                                  "",
                                  "--log-requests",
                                  "--limit-mm-per-prompt",
                                  "image=2",
                                  "--kv-cache-memory-bytes",
                                  "3GiB"});
  const TempFile file(ConfigText(options));
  const auto again = ParseCommandLine({"--config", file.path()}, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(OptionValues(again->options), OptionValues(options));
}

TEST(OptionTableTest, NamesAreUniqueAndDefaultsAreValid) {
  std::set<std::string> names;
  for (const OptionSpec& spec : OptionTable()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_TRUE(spec.alias.empty() || names.insert(spec.alias).second) << spec.alias;
    Options options;
    EXPECT_TRUE(spec.set(spec.get(Options()), options).ok()) << spec.name;
    EXPECT_FALSE(spec.help.empty());
  }
  EXPECT_EQ(EnvironmentName("max-num-seqs"), "PARROT_MAX_NUM_SEQS");
}

}  // namespace
}  // namespace parrot
