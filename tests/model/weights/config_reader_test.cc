#include "model/weights/config_reader.h"

#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

std::string Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

TEST(ConfigReaderTest, MissingKeysTakeTheReferencesDefaults) {
  const auto files = ParseConfigTexts({.config = "{}", .vision = "{\"vision_config\": {}}"});
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelConfig& c = files->config;
  EXPECT_EQ(c.language.vocab_rows, 151936);
  EXPECT_EQ(c.language.hidden_size, 4096);
  EXPECT_EQ(c.language.intermediate_size, 22016);
  EXPECT_EQ(c.language.num_layers, 32);
  EXPECT_EQ(c.language.num_kv_heads, 32);
  EXPECT_EQ(c.language.max_position_embeddings, 32768);
  EXPECT_FLOAT_EQ(c.language.rms_norm_eps, 1e-6f);
  EXPECT_FLOAT_EQ(c.language.rope_theta, 10000.0f);
  EXPECT_FALSE(c.language.tie_word_embeddings);
  EXPECT_EQ(c.projector.depth, 2);
  EXPECT_TRUE(c.moe.enabled);
  EXPECT_EQ(c.moe.num_experts, 6);
  EXPECT_EQ(c.moe.intermediate_size, 4096);
  EXPECT_TRUE(c.moe.use_residual);
  EXPECT_FLOAT_EQ(c.moe.residual_weight, 0.1f);
  EXPECT_EQ(c.vision.select_layer, -2);
  EXPECT_TRUE(c.image_processor.pad_to_square);
  EXPECT_EQ(c.model_max_length, 2048);
  EXPECT_EQ(c.eos_token_id, -1);
  EXPECT_EQ(files->mm_hidden_size, 1024);
  EXPECT_THAT(files->notes,
              ElementsAre(HasSubstr("moe_weight is missing: 0.1"),
                          HasSubstr("rope_theta is missing: 10000")));
  // CLIPVisionConfig's own, which are not the released tower's.
  EXPECT_EQ(c.vision.image_size, 224);
  EXPECT_EQ(c.vision.patch_size, 32);
  EXPECT_EQ(c.vision.hidden_size, 768);
  EXPECT_EQ(c.vision.intermediate_size, 3072);
  EXPECT_EQ(c.vision.num_layers, 12);
  EXPECT_EQ(c.vision.num_heads, 12);
  EXPECT_FLOAT_EQ(c.vision.layer_norm_eps, 1e-5f);
}

TEST(ConfigReaderTest, UnknownKeysAreIgnored) {
  EXPECT_TRUE(ParseConfigTexts({.config = R"({"a_new_key": {"deep": [1, 2]}})"}).ok());
}

TEST(ConfigReaderTest, AcceptsEveryFormOfAKey) {
  const auto config = [](const std::string& text) {
    const auto files = ParseConfigTexts({.config = text});
    EXPECT_TRUE(files.ok()) << files.status();
    return files.ok() ? files->config : ModelConfig();
  };
  EXPECT_EQ(
      config(R"({"num_attention_heads": 16, "num_key_value_heads": null})").language.num_kv_heads,
      16);
  EXPECT_EQ(config(R"({"mm_projector_type": "linear"})").projector.depth, 1);
  EXPECT_FALSE(config(R"({"mm_projector_type": "linear"})").projector.sequential);
  EXPECT_EQ(config(R"({"mm_projector_type": "mlp3x_gelu"})").projector.depth, 3);
  EXPECT_TRUE(config(R"({"mm_projector_type": "mlp1x_gelu"})").projector.sequential);
  EXPECT_EQ(config(R"({"mm_projector_type": "identity"})").projector.depth, 0);
  EXPECT_FALSE(config(R"({"image_aspect_ratio": "square"})").image_processor.pad_to_square);
  EXPECT_FALSE(config(R"({"image_aspect_ratio": null})").image_processor.pad_to_square);
  EXPECT_EQ(config(R"({"torch_dtype": "float16"})").stored_dtype, DataType::kFloat16);
  EXPECT_EQ(config(R"({"rope_scaling": null, "quantization_config": null})").moe.num_experts, 6);
  EXPECT_EQ(config(R"({"use_moe": false})").moe.enabled, false);
  EXPECT_EQ(config(R"({"eos_token_id": 151645})").eos_token_id, 151645);
  EXPECT_EQ(config(R"({"rope_theta": 1000000})").language.rope_theta, 1e6f);
}

TEST(ConfigReaderTest, TheProcessorsSizeHasThreeForms) {
  for (const char* size :
       {"336", R"({"shortest_edge": 336})", R"({"height": 336, "width": 336})"}) {
    const auto files = ParseConfigTexts(
        {.config = "{}", .preprocessor = std::string(R"({"crop_size": )") + size + "}"});
    ASSERT_TRUE(files.ok()) << files.status();
    EXPECT_EQ(files->processor_size, 336);
  }
}

TEST(ConfigReaderTest, TheVisionHalfMayStandAlone) {
  const auto files = ParseConfigTexts(
      {.config = "{}",
       .vision = R"({"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14})"});
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->config.vision.num_tokens(), 577);
}

TEST(ConfigReaderTest, ASelectedLayerCountsFromEitherEnd) {
  for (const auto& [selected, used] : {std::pair(-2, 11), {-1, 12}, {0, 0}, {12, 12}, {-13, 0}}) {
    auto files =
        ParseConfigTexts({.config = R"({"mm_hidden_size": 768, "mm_vision_select_layer": )" +
                                    std::to_string(selected) + "}",
                          .vision = "{}"});
    ASSERT_TRUE(files.ok()) << files.status();
    ASSERT_TRUE(FinishConfig(*files).ok());
    EXPECT_EQ(files->config.vision.num_used_layers(), used);
  }
  for (const int selected : {-14, 13}) {
    auto files =
        ParseConfigTexts({.config = R"({"mm_hidden_size": 768, "mm_vision_select_layer": )" +
                                    std::to_string(selected) + "}",
                          .vision = "{}"});
    EXPECT_THAT(Text(FinishConfig(*files)), HasSubstr("mm_vision_select_layer: must be in"));
  }
}

enum File { kMain, kVision, kProcessor };
struct BadKey {
  File file;
  std::string text;  // of the whole file
  std::string key;   // expected in the error, with the file
  std::string reason = "MODEL_FILE_INVALID";
};

std::string TooDeep() { return R"({"a": )" + std::string(64, '[') + std::string(64, ']') + "}"; }

std::vector<BadKey> BadKeys() {
  const std::string unsupported = "MODEL_UNSUPPORTED";
  return {
      {kMain, "", "config.json: is not valid JSON"},
      {kMain, "[]", "config.json: is not a JSON object"},
      {kMain, "{} {}", "config.json: is not valid JSON"},
      {kMain, std::string("{}\0", 3), "config.json: is not valid JSON"},
      {kMain, "{\"a\": \"\xff\"}", "config.json: is not valid JSON"},
      {kMain, R"({"hidden_size": 1e999})", "config.json: is not valid JSON"},
      {kMain,
       R"({"hidden_size": 128, "hidden_size": 256})",
       "config.json: hidden_size: duplicate key"},
      {kMain, TooDeep(), "config.json: is nested deeper than 64 levels"},
      {kMain, R"({"hidden_size": -128})", "config.json: hidden_size: must be in [1, 131072]"},
      {kMain, R"({"hidden_size": 0})", "config.json: hidden_size: must be in"},
      {kMain, R"({"hidden_size": 9223372036854775807})", "config.json: hidden_size: must be in"},
      {kMain, R"({"hidden_size": 18446744073709551615})", "config.json: hidden_size: must be in"},
      {kMain, R"({"hidden_size": 128.0})", "config.json: hidden_size: must be an integer"},
      {kMain, R"({"hidden_size": "128"})", "config.json: hidden_size: must be an integer"},
      {kMain, R"({"hidden_size": null})", "config.json: hidden_size: must be an integer"},
      {kMain, R"({"hidden_size": true})", "config.json: hidden_size: must be an integer"},
      {kMain, R"({"hidden_size": [128]})", "config.json: hidden_size: must be an integer"},
      {kMain, R"({"vocab_size": 2000000000})", "config.json: vocab_size: must be in"},
      {kMain, R"({"num_hidden_layers": 100000})", "config.json: num_hidden_layers: must be in"},
      {kMain, R"({"intermediate_size": -1})", "config.json: intermediate_size: must be in"},
      {kMain, R"({"num_experts": 0})", "config.json: num_experts: must be in"},
      {kMain, R"({"moe_intermediate_size": -4096})", "moe_intermediate_size: must be in"},
      {kMain, R"({"num_attention_heads": 33})", "config.json: num_attention_heads: must divide"},
      {kMain,
       R"({"hidden_size": 96, "num_attention_heads": 32})",
       "config.json: num_attention_heads: must divide"},
      {kMain, R"({"num_key_value_heads": 3})", "config.json: num_key_value_heads: must divide"},
      {kMain, R"({"num_key_value_heads": 0})", "config.json: num_key_value_heads: must be in"},
      {kMain, R"({"rms_norm_eps": 0})", "config.json: rms_norm_eps: must be in"},
      {kMain, R"({"rms_norm_eps": "1e-6"})", "config.json: rms_norm_eps: must be a number"},
      {kMain, R"({"rope_theta": -1})", "config.json: rope_theta: must be in"},
      {kMain, R"({"moe_weight": 1e300})", "config.json: moe_weight: must be in"},
      {kMain, R"({"use_moe": 1})", "config.json: use_moe: must be true or false"},
      {kMain, R"({"tie_word_embeddings": "no"})", "tie_word_embeddings: must be true or false"},
      {kMain, R"({"eos_token_id": 151936})", "config.json: eos_token_id: must be in"},
      {kMain, R"({"eos_token_id": -1})", "config.json: eos_token_id: must be in"},
      {kMain, R"({"tokenizer_model_max_length": 0})", "tokenizer_model_max_length: must be in"},
      {kMain, R"({"max_position_embeddings": 1e6})", "max_position_embeddings: must be an integer"},
      {kMain,
       R"({"mm_projector_type": "mlp2x_relu"})",
       "mm_projector_type: must be linear",
       unsupported},
      {kMain,
       R"({"mm_projector_type": "mlp0x_gelu"})",
       "mm_projector_type: must be linear",
       unsupported},
      {kMain,
       R"({"mm_projector_type": "mlp+2x_gelu"})",
       "mm_projector_type: must be linear",
       unsupported},
      {kMain,
       R"({"mm_projector_type": "mlp99999999999x_gelu"})",
       "mm_projector_type: must be linear",
       unsupported},
      {kMain,
       R"({"model_type": "llava"})",
       R"(model_type: only "parrot_qwen2" is supported)",
       unsupported},
      {kMain,
       R"({"architectures": ["Qwen2ForCausalLM"]})",
       "config.json: architectures",
       unsupported},
      {kMain, R"({"hidden_act": "gelu"})", "config.json: hidden_act: only \"silu\"", unsupported},
      {kMain, R"({"use_sliding_window": true})", "config.json: use_sliding_window", unsupported},
      {kMain,
       R"({"rope_scaling": {"type": "linear", "factor": 2}})",
       "config.json: rope_scaling",
       unsupported},
      {kMain,
       R"({"quantization_config": {"bits": 4}})",
       "config.json: quantization_config",
       unsupported},
      {kMain, R"({"torch_dtype": "int8"})", "config.json: torch_dtype", unsupported},
      {kMain, R"({"head_dim": 64})", "config.json: head_dim", unsupported},
      {kMain,
       R"({"image_aspect_ratio": "anyres"})",
       "config.json: image_aspect_ratio",
       unsupported},
      {kMain,
       R"({"mm_patch_merge_type": "spatial_unpad"})",
       "config.json: mm_patch_merge_type",
       unsupported},
      {kMain,
       R"({"mm_vision_select_feature": "patch"})",
       "config.json: mm_vision_select_feature",
       unsupported},
      {kMain,
       R"({"mm_vision_tower": "google/SigLIP-so400m-patch14-384"})",
       "config.json: mm_vision_tower: only CLIP",
       unsupported},
      {kMain, R"({"mm_use_im_start_end": true})", "config.json: mm_use_im_start_end", unsupported},
      {kMain, R"({"use_mm_proj": false})", "config.json: use_mm_proj", unsupported},
      {kMain, R"({"moe_hidden_size": 2048})", "config.json: moe_hidden_size", unsupported},
      {kVision, "nothing", "vision_config.json: is not valid JSON"},
      {kVision, R"({"vision_config": 3})", "vision_config.json: vision_config: must be an object"},
      {kVision,
       R"({"vision_config": {"hidden_size": -1}})",
       "vision_config.json: vision_config.hidden_size: must be in"},
      {kVision,
       R"({"vision_config": {"num_attention_heads": 5}})",
       "vision_config.json: vision_config.num_attention_heads: must divide"},
      {kVision,
       R"({"vision_config": {"image_size": 100}})",
       "vision_config.json: vision_config.image_size: must be a multiple"},
      {kVision,
       R"({"vision_config": {"image_size": 4096, "patch_size": 1}})",
       "vision_config.image_size: must be a multiple"},
      {kVision,
       R"({"vision_config": {"layer_norm_eps": null}})",
       "vision_config.layer_norm_eps: must be a number"},
      {kVision,
       R"({"vision_config": {"hidden_act": "gelu"}})",
       "vision_config.json: vision_config.hidden_act",
       unsupported},
      {kVision,
       R"({"vision_config": {"num_channels": 1}})",
       "vision_config.num_channels",
       unsupported},
      {kVision,
       R"({"model_type": "siglip", "vision_config": {}})",
       "vision_config.json: model_type",
       unsupported},
      {kProcessor,
       R"({"do_normalize": false})",
       "preprocessor_config.json: do_normalize",
       unsupported},
      {kProcessor, R"({"resample": 2})", "preprocessor_config.json: resample", unsupported},
      {kProcessor,
       R"({"image_processor_type": "SiglipImageProcessor"})",
       "preprocessor_config.json: image_processor_type",
       unsupported},
      {kProcessor,
       R"({"image_mean": [0.5, 0.5]})",
       "preprocessor_config.json: image_mean: must be three numbers"},
      {kProcessor,
       R"({"image_std": [0, 1, 1]})",
       "preprocessor_config.json: image_std: must be three numbers"},
      {kProcessor, R"({"size": 0})", "preprocessor_config.json: size: must be in"},
      {kProcessor,
       R"({"size": {"height": 336, "width": 224}})",
       "preprocessor_config.json: size: must be a square size"},
      {kProcessor,
       R"({"size": {"shortest_edge": "336"}})",
       "preprocessor_config.json: size: must be a size in pixels"},
      {kProcessor,
       R"({"size": 336, "crop_size": 224})",
       "preprocessor_config.json: crop_size",
       unsupported},
      {kProcessor, R"({"rescale_factor": 0})", "preprocessor_config.json: rescale_factor"},
  };
}

TEST(ConfigReaderTest, RefusesWhatIsWrongByItsKey) {
  const std::vector<BadKey> cases = BadKeys();
  EXPECT_EQ(cases.size(), 75u);
  for (const BadKey& bad : cases) {
    ConfigTexts texts{.config = "{}"};
    if (bad.file == kMain) texts.config = bad.text;
    if (bad.file == kVision) texts.vision = bad.text;
    if (bad.file == kProcessor) texts.preprocessor = bad.text;
    const absl::Status status = ParseConfigTexts(texts).status();
    EXPECT_FALSE(status.ok()) << bad.text;
    EXPECT_THAT(Text(status), HasSubstr(bad.key)) << bad.text;
    EXPECT_EQ(GetErrorFacts(status).reason, bad.reason) << bad.text;
  }
}

TEST(ConfigReaderTest, AnErrorQuotesTheValue) {
  const absl::Status status = ParseConfigTexts({.config = R"({"hidden_size": -3})"}).status();
  EXPECT_EQ(Text(status), "config.json: hidden_size: must be in [1, 131072], got -3");
  EXPECT_EQ(GetErrorFacts(status).value, "-3");
  EXPECT_EQ(GetErrorFacts(status).limit, "[1, 131072]");
  EXPECT_EQ(GetErrorFacts(status).field, "config.json: hidden_size");
}

TEST(ConfigReaderTest, AHugeFileIsNotRead) {
  const TempDir dir;
  const std::string path = dir.File("config.json");
  WriteBytes(path, "{}");
  ASSERT_EQ(truncate(path.c_str(), (int64_t{64} << 20) + 1), 0);
  EXPECT_THAT(Text(ReadConfigTexts(dir.path()).status()), StartsWith("config.json: is larger"));
}

}  // namespace
}  // namespace parrot
