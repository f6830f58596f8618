// quantize: the error of each layer's weights, and what prompts make of it.
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "tests/inspect/run_inspect.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Json = nlohmann::json;

Json Quantize(const std::string& name, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {
      "quantize", GoldenCheckpoint("nano-gqa"), "--quantization", name, "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const InspectResult result = RunInspect(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
}

// Layers by name.
std::map<std::string, Json> Layers(const Json& report) {
  std::map<std::string, Json> layers;
  for (const Json& layer : report["layers"]) layers[layer["layer"]] = layer;
  return layers;
}

TEST(InspectQuantizeTest, ReportsEveryLayersErrorAndSize) {
  struct Format {
    const char* name;
    double bits;  // with scales: 32 bits for an output's inputs, 16 or 32 for a group's
    double least_error, most_error;
  };
  // Uniform weights over [-a, a], rounded to steps of d = 2a / levels: the error is d / sqrt(12) of
  // a / sqrt(3), 1 / levels. These are normal: their largest is three times what it would be.
  for (const Format& format : {Format{"int8-g32", 9.0, 0.003, 0.01},
                               Format{"int4-g32", 5.0, 0.05, 0.15},
                               Format{"int4-g128", 4.25, 0.06, 0.2}}) {
    SCOPED_TRACE(format.name);
    const auto layers = Layers(Quantize(format.name));
    for (const char* name : {"model.layers.0",
                             "model.layers.2",
                             "model.moe_model.experts.5",
                             "model.mm_projector.0",
                             "model.embed_tokens"}) {
      ASSERT_TRUE(layers.contains(name)) << name;
      const Json& layer = layers.at(name);
      EXPECT_NEAR(layer["bits_per_weight"].get<double>(), format.bits, 0.05 * format.bits) << name;
      EXPECT_GT(layer["relative_error"].get<double>(), format.least_error) << name;
      EXPECT_LT(layer["relative_error"].get<double>(), format.most_error) << name;
    }
  }
}

TEST(InspectQuantizeTest, ComparesPromptsWithFloat32) {
  const TempDir dir;
  const std::string messages = dir.File("messages.json");
  WriteBytes(messages, R"([{"role": "user", "content": "What is a parrot?"}])");
  const std::vector<std::string> run = {"--messages", messages, "--max-tokens", "8"};
  const Json coarse = Quantize("int4-g128", run)["prompts"];
  const Json fine = Quantize("int8", run)["prompts"];
  ASSERT_THAT(coarse, SizeIs(1));
  ASSERT_THAT(fine, SizeIs(1));
  EXPECT_EQ(fine[0]["tokens"], 8);
  EXPECT_LE(fine[0]["same_tokens"], fine[0]["tokens"]);
  EXPECT_GT(fine[0]["logits_rms"], 0.0);
  EXPECT_LT(fine[0]["logits_rms"].get<double>(), coarse[0]["logits_rms"].get<double>() / 3);
  EXPECT_GE(fine[0]["logits_max"], fine[0]["logits_rms"]);
}

TEST(InspectQuantizeTest, RefusesANameThatNoFormatHas) {
  const InspectResult result =
      RunInspect({"quantize", GoldenCheckpoint("nano-gqa"), "--quantization", "int3"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("int4-g128"));
  EXPECT_THAT(result.out, IsEmpty());
}

}  // namespace
}  // namespace parrot
