// check and tokenize, and how parrot-inspect answers misuse.
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "tests/inspect/run_inspect.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

TEST(InspectCommandLineTest, MisuseIsExitCodeTwo) {
  const std::string dir = GoldenCheckpoint("nano-gqa");
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"fly"},
           {"check"},
           {"check", dir, "--yaml"},
           {"preprocess", dir},
           {"preprocess", dir, "x.png"},
           {"run", dir},
           {"run", dir, "--messages", "m.json", "--compat=llava"},
           {"run", dir, "--messages", "m.json", "--dtype", "int8"},
           {"run", dir, "--messages", "m.json", "--max-tokens", "-1"}}) {
    const InspectResult result = RunInspect(arguments);
    EXPECT_EQ(result.exit_code, 2) << testing::PrintToString(arguments);
    EXPECT_NE(result.err, "");
  }
}

TEST(InspectCommandLineTest, HelpIsExitCodeZero) {
  const InspectResult result = RunInspect({"run", "--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("--parse-special"));
}

TEST(InspectCheckTest, DescribesTheGoldenCheckpoints) {
  const std::vector<std::pair<std::string, int64_t>> totals = {
      {"nano-mha", 1652672}, {"nano-gqa", 5052416}, {"nano-7bshape", 3286016}};
  for (const auto& [name, parameters] : totals) {
    const InspectResult result = RunInspect({"check", GoldenCheckpoint(name), "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json json = Json::parse(result.out);
    EXPECT_EQ(json["ok"], true);
    EXPECT_EQ(json["parameters"], parameters);
    EXPECT_EQ(json["notes"], Json::array());
    int64_t stored = 0;
    for (const auto& [dtype, bytes] : json["stored_bytes"].items()) stored += bytes.get<int64_t>();
    EXPECT_EQ(stored, parameters * (name == "nano-mha" ? 4 : 2));
    EXPECT_EQ(json["memory"]["float32"]["weights_bytes"], 4 * parameters);
  }
}

TEST(InspectCheckTest, PrintsCountsAndMemoryAsText) {
  const InspectResult result = RunInspect({"check", GoldenCheckpoint("nano-gqa")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("The checkpoint is complete and consistent."));
  for (const char* text : {"3 safetensors, 132 tensors",
                           "5,052,416",
                           "1,181,184  (6 experts)",
                           "10.10 MB for weights, 1.54 kB of KV per token",
                           "2503 ids"}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
}

TEST(InspectCheckTest, NamesWhatIsWrong) {
  const TempDir dir;
  const InspectResult empty = RunInspect({"check", dir.path()});
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_EQ(empty.err, "parrot-inspect: config.json: no such file\n");

  CopyCheckpoint("nano-mha", dir.path());
  const InspectResult no_tokenizer = RunInspect({"check", dir.path()});
  EXPECT_EQ(no_tokenizer.exit_code, 1);
  EXPECT_THAT(no_tokenizer.err, HasSubstr("tokenizer.json"));

  EditJson(dir.File("config.json"), [](Json& config) { config["num_experts"] = 5; });
  const InspectResult experts = RunInspect({"check", dir.path(), "--json"});
  EXPECT_EQ(experts.exit_code, 1);
  const Json json = Json::parse(experts.out);
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["error"]["reason"], "MODEL_FILE_INVALID");
  EXPECT_EQ(json["error"]["limit"], "[5, 128]");
}

TEST(InspectCheckTest, RefusesATokenizerLargerThanTheEmbedding) {
  const TempDir dir;
  CopyCheckpoint("nano-7bshape", dir.path());  // 1280 rows
  std::filesystem::copy(GoldenCheckpoint("nano-mha") + "/tokenizer.json",
                        dir.File("tokenizer.json"));
  const InspectResult result = RunInspect({"check", dir.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("tokenizer.json: has 2003 ids, the embedding has 1280 rows"));
}

// One process per vocabulary and mode: every golden case is a line of its input.
TEST(InspectTokenizeTest, EncodesEveryGoldenCase) {
  size_t plain_cases = 0;
  size_t special_cases = 0;
  for (const char* name : kGoldenCheckpoints) {
    for (const bool special : {false, true}) {
      std::string input;
      std::vector<Json> expected;
      for (const Json& c : ReadJsonLines(std::string("tokenizer/") + name + ".cases.jsonl.xz")) {
        if (special && !c.contains("ids_special")) continue;
        input += c["text"].dump() + "\n";
        expected.push_back(special ? c["ids_special"] : c["ids"]);
      }
      std::vector<std::string> arguments = {"tokenize", GoldenCheckpoint(name)};
      if (special) arguments.push_back("--parse-special");
      const InspectResult result = RunInspect(arguments, input);
      ASSERT_EQ(result.exit_code, 0) << result.err;
      std::istringstream lines(result.out);
      std::string line;
      for (const Json& ids : expected) {
        ASSERT_TRUE(std::getline(lines, line));
        EXPECT_EQ(Json::parse(line), ids);
      }
      EXPECT_FALSE(std::getline(lines, line));
      (special ? special_cases : plain_cases) += expected.size();
    }
  }
  EXPECT_EQ(plain_cases, 1650u);
  EXPECT_EQ(special_cases, 690u);
}

TEST(InspectTokenizeTest, NamesTheLineThatIsNoJsonString) {
  const InspectResult result =
      RunInspect({"tokenize", GoldenCheckpoint("nano-gqa")}, "\"a\"\n[1]\n\"b\"\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "parrot-inspect: line 2: is not a JSON string\n");
  EXPECT_EQ(Json::parse(result.out).size(), 1u);
}

}  // namespace
}  // namespace parrot
