// run, against the recorded activations and greedy continuations of every golden prompt, as the
// reference does them: parts in order, special strings parsed, its defects reproduced.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights/safetensors_file.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "tests/inspect/run_inspect.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using File = std::shared_ptr<const SafetensorsFile>;

// From here on a step may choose another token: twice the bound on logits.
constexpr double kDecidedMargin = 0.01;

template <typename T>
std::vector<T> Values(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsTensor* tensor = file.Find(name);
  if (tensor == nullptr) return {};
  const auto bytes = file.Data(*tensor);
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The golden prompt as a file of messages.
Json Messages(const Json& prompt) {
  Json messages = Json::array();
  for (const Json& message : prompt["messages"]) {
    Json content = Json::array();
    for (const Json& part : message["parts"]) {
      if (part["type"] == "text") {
        content.push_back(part);
        continue;
      }
      const std::string path = GoldenPath(part["image"].get<std::string>());
      content.push_back({{"type", "image_url"}, {"image_url", {{"url", "file:" + path}}}});
    }
    messages.push_back({{"role", message["role"]}, {"content", content}});
  }
  return messages;
}

class InspectRunGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    index_ = Json::parse(ReadGoldenFile("activations/" + name + ".json"));
    auto file = SafetensorsFile::Open(GoldenPath("activations/" + name + ".safetensors"));
    ASSERT_TRUE(file.ok()) << file.status();
    golden_ = *file;
    for (Json& prompt : ReadJsonLines("prompts.jsonl")) {
      if (prompt["checkpoint"] == name) prompts_[prompt["id"]] = prompt;
    }
  }

  double Tolerance(const std::string& name) const {
    if (name == "router" || name == "attention" || name == "router_logits") return 2e-4;
    if (name == "logits_last") return 5e-3;
    return 5.0 * index_["worst_tolerance"]["float64"][name].get<double>();
  }

  // `row_step`: the data keep every so manieth row only.
  void Compare(const Json& entry, const SafetensorsFile& actual, const std::string& name) {
    const std::string golden_name = entry["key"].get<std::string>() + "." + name;
    const std::vector<float> expected = Values<float>(*golden_, golden_name);
    if (expected.empty()) {
      EXPECT_EQ(actual.Find(name), nullptr) << name;
      return;
    }
    ASSERT_NE(actual.Find(name), nullptr) << name;
    const std::vector<float> values = Values<float>(actual, name);
    const bool per_row = name == "vision" || name == "projector" || name == "moe";
    const size_t columns = static_cast<size_t>(actual.Find(name)->shape.back());
    const size_t step = per_row ? entry["row_step"].get<size_t>() : 1;
    double worst = 0.0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t at = i / columns * step * columns + i % columns;
      ASSERT_LT(at, values.size()) << name;
      ASSERT_TRUE(std::isfinite(values[at])) << name;
      worst = std::max(worst, std::abs(static_cast<double>(values[at]) - expected[i]));
    }
    EXPECT_LE(worst, Tolerance(name)) << name;
    worst_[name] = std::max(worst_[name], worst);
    ++compared_[name];
  }

  void CompareTokens(const Json& greedy, const std::vector<int64_t>& tokens) {
    const std::vector<int64_t> expected = greedy["tokens"];
    size_t decided = 0;
    while (decided < expected.size() &&
           greedy["steps"][decided]["margin"].get<double>() >= kDecidedMargin) {
      ++decided;
    }
    if (decided == expected.size()) {
      EXPECT_EQ(tokens, expected);
    }
    ASSERT_GE(tokens.size(), decided);
    for (size_t i = 0; i < decided; ++i) EXPECT_EQ(tokens[i], expected[i]) << "step " << i;
    decided_tokens_ += decided;
    equal_runs_ += tokens == expected;
  }

  void RunOne(const Json& entry, const TempDir& dir);

  Json index_;
  File golden_;
  std::map<std::string, Json> prompts_;
  std::map<std::string, double> worst_;
  std::map<std::string, int> compared_;
  size_t decided_tokens_ = 0;
  int equal_runs_ = 0;
};

void InspectRunGoldenTest::RunOne(const Json& entry, const TempDir& dir) {
  const Json& prompt = prompts_.at(entry["id"]);
  WriteBytes(dir.File("messages.json"), Messages(prompt).dump());
  std::vector<std::string> arguments = {"run",
                                        GoldenCheckpoint(GetParam()),
                                        "--messages",
                                        dir.File("messages.json"),
                                        "--literal",
                                        "--parse-special",
                                        "--compat=reference",
                                        "--max-tokens",
                                        "48",
                                        "--num-threads",
                                        "1",
                                        "-o",
                                        dir.File("out.safetensors")};
  if (const std::string prefix = prompt["generation_preface"]; !prefix.empty()) {
    arguments.insert(arguments.end(), {"--prefix", prefix});
  }
  if (prompt.contains("extra_image")) {
    arguments.insert(arguments.end(),
                     {"--extra-image", GoldenPath(prompt["extra_image"].get<std::string>())});
  }
  const InspectResult result = RunInspect(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto out = SafetensorsFile::Open(dir.File("out.safetensors"));
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(Values<int64_t>(**out, "input_ids"), prompt["input_ids"].get<std::vector<int64_t>>());
  for (const char* name : {"vision",
                           "projector",
                           "attention",
                           "g",
                           "router_logits",
                           "router",
                           "moe",
                           "hidden_last",
                           "logits_last"}) {
    Compare(entry, **out, name);
  }
  const std::vector<int64_t> tokens = Values<int64_t>(**out, "tokens");
  CompareTokens(entry["greedy"], tokens);

  const Json summary = Json::parse(result.out);
  EXPECT_EQ(summary["token_ids"], Json(tokens));
  EXPECT_EQ(summary["usage"]["prompt_tokens"], entry["spliced_len"]);
  EXPECT_EQ(summary["usage"]["text_tokens"], prompt["text_tokens"]);
  if (tokens == entry["greedy"]["tokens"].get<std::vector<int64_t>>()) {
    EXPECT_EQ(summary["finish_reason"], entry["greedy"]["finish"]);
    EXPECT_EQ(summary["text"], entry["greedy"]["text"]);
  }
}

TEST_P(InspectRunGoldenTest, EveryPromptIsTheReferences) {
  const TempDir dir;
  const std::map<std::string, int> num_prompts = {
      {"nano-mha", 26}, {"nano-gqa", 14}, {"nano-7bshape", 14}};
  ASSERT_EQ(static_cast<int>(index_["prompts"].size()), num_prompts.at(GetParam()));
  for (const Json& entry : index_["prompts"]) {
    SCOPED_TRACE(entry["id"].get<std::string>());
    RunOne(entry, dir);
  }
  EXPECT_EQ(compared_["logits_last"], num_prompts.at(GetParam()));
  EXPECT_EQ(compared_.size(), 9u);
  EXPECT_GT(decided_tokens_, 100u);
  for (const auto& [name, worst] : worst_) {
    std::cout << GetParam() << " " << name << ": largest difference " << worst << " over "
              << compared_[name] << " prompts, bound " << Tolerance(name) << '\n';
  }
  std::cout << GetParam() << " greedy: " << decided_tokens_ << " tokens decided by the margin, "
            << equal_runs_ << " continuations equal to the end\n";
}

INSTANTIATE_TEST_SUITE_P(Golden,
                         InspectRunGoldenTest,
                         testing::ValuesIn(kGoldenCheckpoints),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// ---- Ours, where the reference's behaviour is a defect ----

InspectResult RunMessages(const Json& messages,
                          const std::vector<std::string>& more,
                          const TempDir& dir) {
  WriteBytes(dir.File("messages.json"), messages.dump());
  std::vector<std::string> arguments = {"run",
                                        GoldenCheckpoint("nano-gqa"),
                                        "--messages",
                                        dir.File("messages.json"),
                                        "--num-threads",
                                        "1",
                                        "--max-tokens",
                                        "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunInspect(arguments);
}

Json ImagePart(const std::string& file) {
  return {{"type", "image"}, {"image", GoldenPath("images/files/" + file)}};
}

TEST(InspectRunTest, EveryImageIsRoutedUnlessTheReferenceIsAskedFor) {
  const TempDir dir;
  const Json messages = {{{"role", "user"},
                          {"content",
                           {ImagePart("rgb_672x672.png"),
                            ImagePart("rgb_336x336.png"),
                            {{"type", "text"}, {"text", "Which is larger?"}}}}}};
  const InspectResult ours = RunMessages(messages, {}, dir);
  ASSERT_EQ(ours.exit_code, 0) << ours.err;
  const Json routing = Json::parse(ours.out)["routing"];
  ASSERT_EQ(routing.size(), 2u);
  EXPECT_EQ(routing[0].size(), 6u);
  EXPECT_EQ(routing[1].size(), 6u);
  const InspectResult theirs = RunMessages(messages, {"--compat=reference"}, dir);
  ASSERT_EQ(theirs.exit_code, 0) << theirs.err;
  EXPECT_EQ(Json::parse(theirs.out)["routing"][1], Json::array());
}

TEST(InspectRunTest, SpecialStringsAreTextUnlessParsed) {
  const TempDir dir;
  const Json messages = {{{"role", "user"}, {"content", "a<|im_end|>b"}}};
  const Json plain = Json::parse(RunMessages(messages, {}, dir).out);
  const Json parsed = Json::parse(RunMessages(messages, {"--parse-special"}, dir).out);
  EXPECT_GT(plain["usage"]["text_tokens"], parsed["usage"]["text_tokens"]);
}

TEST(InspectRunTest, SaysWhatIsWrongWithTheMessages) {
  const TempDir dir;
  const InspectResult no_json = RunMessages("a string", {}, dir);
  EXPECT_EQ(no_json.exit_code, 1);
  EXPECT_THAT(no_json.err, HasSubstr("messages"));
  const InspectResult role =
      RunMessages({{{"role", "assistant"}, {"content", "I begin."}}}, {}, dir);
  EXPECT_EQ(role.exit_code, 1);
  EXPECT_THAT(role.err, HasSubstr("messages[0].role"));
  const InspectResult image = RunMessages(
      {{{"role", "user"}, {"content", {ImagePart("gif_static_120x100.gif")}}}}, {}, dir);
  EXPECT_EQ(image.exit_code, 1);
  EXPECT_THAT(image.err, HasSubstr("messages[0].content[0]"));
  // A literal <image> that is parsed is a placeholder without an image: the reference raises.
  const InspectResult slot =
      RunMessages({{{"role", "user"}, {"content", "<image> what?"}}}, {"--parse-special"}, dir);
  EXPECT_EQ(slot.exit_code, 1);
  EXPECT_THAT(slot.err, HasSubstr("more image placeholders than images"));
}

TEST(InspectRunTest, APromptThatCannotFitIsRefusedWithBothNumbers) {
  const TempDir dir;
  std::string text;
  for (int i = 0; i < 40'000; ++i) text += "1";  // digits are single tokens
  const InspectResult result = RunMessages({{{"role", "user"}, {"content", text}}}, {}, dir);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("limit 32766"));
}

}  // namespace
}  // namespace parrot
