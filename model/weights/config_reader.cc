#include "model/weights/config_reader.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/weights/json_fields.h"
#include "model/weights/model_file.h"
#include "model/weights/strict_json.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

constexpr char kConfigFile[] = "config.json";
constexpr char kVisionFile[] = "vision_config.json";
constexpr char kProcessorFile[] = "preprocessor_config.json";
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxProjectorDepth = 64;
constexpr int64_t kMinInt32 = -2147483648;

absl::StatusOr<Json> ParseObject(std::string_view file, const std::string& text) {
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(file, text));
  if (!json.is_object()) return ModelFileInvalid(file, {}, "is not a JSON object");
  return json;
}

// Keys whose meaning we do not implement: better refused than served wrongly.
void RefuseUnsupported(JsonFields& fields) {
  fields.OnlyString("model_type", "parrot_qwen2");
  fields.OnlyString("hidden_act", "silu");
  fields.OnlyString("mm_vision_select_feature", "cls_patch");
  fields.OnlyString("mm_patch_merge_type", "flat");
  fields.OnlyBool("use_mm_proj", true, "a model without a projector is not supported");
  fields.OnlyBool("use_sliding_window", false, "sliding-window attention is not supported");
  fields.OnlyBool("mm_use_im_start_end", false, "image start and end tokens are not supported");
  fields.OnlyBool("mm_use_im_patch_token", false, "image patch tokens are not supported");
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (fields.Has(key)) fields.Refuse(key, "quantised checkpoints are not supported");
  }
  if (fields.Has("rope_scaling")) fields.Refuse("rope_scaling", "is not supported");
  if (fields.Has("image_newline")) fields.Refuse("image_newline", "is not supported");
  if (fields.Has("mm_vision_tower") &&
      absl::StrContains(absl::AsciiStrToLower(fields.String("mm_vision_tower", "")), "siglip")) {
    fields.Refuse("mm_vision_tower", "only CLIP towers are supported");
  }
  if (const Json* names = fields.Find("architectures"); names != nullptr && !names->is_null()) {
    if (!names->is_array() ||
        std::find(names->begin(), names->end(), "ParrotQwen2ForCausalLM") == names->end()) {
      fields.Refuse("architectures", "must name ParrotQwen2ForCausalLM");
    }
  }
}

// Defaults are those of transformers 4.39's Qwen2Config.
LanguageConfig ReadLanguage(JsonFields& fields) {
  LanguageConfig c;
  c.vocab_rows = fields.Int("vocab_size", 151936, {1, kMaxVocabRows});
  c.hidden_size = fields.Int("hidden_size", 4096, {1, kMaxChannels});
  c.intermediate_size = fields.Int("intermediate_size", 22016, {1, kMaxIntermediate});
  c.num_layers = fields.Int("num_hidden_layers", 32, {1, kMaxLayers});
  c.num_heads = fields.Int("num_attention_heads", 32, {1, kMaxHeads});
  const Json* kv_heads = fields.Find("num_key_value_heads");
  c.num_kv_heads = kv_heads != nullptr && kv_heads->is_null()
                       ? c.num_heads
                       : fields.Int("num_key_value_heads", 32, {1, kMaxHeads});
  c.max_position_embeddings = fields.Int("max_position_embeddings", 32768, {1, kMaxPositions});
  c.rms_norm_eps = static_cast<float>(fields.Float("rms_norm_eps", 1e-6, {1e-12, 1.0}));
  c.rope_theta = static_cast<float>(fields.Float("rope_theta", 10000.0, {1.0, 1e12}));
  c.tie_word_embeddings = fields.Bool("tie_word_embeddings", false);
  if (!fields.ok()) return c;
  if (c.hidden_size % c.num_heads != 0 || c.head_dim() % 2 != 0) {
    fields.Fail("num_attention_heads",
                absl::StrCat("must divide hidden_size ", c.hidden_size, " into even heads"));
  } else if (c.num_heads % c.num_kv_heads != 0) {
    fields.Fail("num_key_value_heads",
                absl::StrCat("must divide num_attention_heads ", c.num_heads));
  } else if (fields.Has("head_dim") &&
             fields.Int("head_dim", 0, {1, kMaxChannels}) != c.head_dim()) {
    fields.Refuse("head_dim",
                  absl::StrCat("must be hidden_size / num_attention_heads = ", c.head_dim()));
  }
  return c;
}

ProjectorConfig ReadProjector(JsonFields& fields) {
  const std::string type = fields.String("mm_projector_type", "mlp2x_gelu");
  if (type == "linear") return {.depth = 1, .sequential = false};
  if (type == "identity") return {.depth = 0};
  absl::string_view digits = type;
  int32_t depth = 0;
  if (absl::ConsumePrefix(&digits, "mlp") && absl::ConsumeSuffix(&digits, "x_gelu") &&
      std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
      absl::SimpleAtoi(digits, &depth) && depth >= 1 && depth <= kMaxProjectorDepth) {
    return {.depth = depth};
  }
  fields.Refuse("mm_projector_type", "must be linear, identity or mlpNx_gelu");
  return {};
}

MoeConfig ReadMoe(JsonFields& fields, int32_t hidden_size, std::vector<std::string>& notes) {
  MoeConfig c;
  c.enabled = fields.Bool("use_moe", true);
  c.num_experts = fields.Int("num_experts", 6, {1, kMaxExperts});
  c.intermediate_size = fields.Int("moe_intermediate_size", 4096, {1, kMaxIntermediate});
  c.use_residual = fields.Bool("use_moe_residual", true);
  c.residual_weight = static_cast<float>(fields.Float("moe_weight", 0.1, {-1e6, 1e6}));
  if (fields.Find("moe_weight") == nullptr && c.enabled && c.use_residual) {
    notes.push_back("config.json: moe_weight is missing: 0.1, the trainer's default, is used");
  }
  if (fields.Int("moe_hidden_size", hidden_size, {1, kMaxChannels}) != hidden_size) {
    fields.Refuse("moe_hidden_size", absl::StrCat("must equal hidden_size ", hidden_size));
  }
  return c;
}

TokenId ReadTokenId(JsonFields& fields, const char* key, int32_t vocab_rows) {
  if (!fields.Has(key)) return -1;
  return fields.Int(key, -1, {0, vocab_rows - 1});
}

DataType ReadDtype(JsonFields& fields) {
  const std::string name = fields.String("torch_dtype", "bfloat16");
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16, DataType::kFloat16}) {
    if (name == DataTypeName(type)) return type;
  }
  fields.Refuse("torch_dtype", "must be float32, bfloat16 or float16");
  return DataType::kBFloat16;
}

absl::Status ReadMainConfig(const Json& json, ConfigFiles& files) {
  JsonFields fields(kConfigFile, json);
  ModelConfig& c = files.config;
  RefuseUnsupported(fields);
  c.language = ReadLanguage(fields);
  c.projector = ReadProjector(fields);
  c.moe = ReadMoe(fields, c.language.hidden_size, files.notes);
  files.mm_hidden_size = fields.Int("mm_hidden_size", 1024, {1, kMaxChannels});
  c.vision.select_layer = fields.Int("mm_vision_select_layer", -2, {-kMaxLayers, kMaxLayers});
  // The reference pads for "pad", cuts tiles for "anyres", and otherwise crops.
  const std::string ratio =
      fields.Find("image_aspect_ratio") != nullptr && !fields.Has("image_aspect_ratio")
          ? "square"
          : fields.String("image_aspect_ratio", "pad");
  if (ratio != "pad" && ratio != "square") {
    fields.Refuse("image_aspect_ratio", "must be pad or square");
  }
  c.image_processor.pad_to_square = ratio == "pad";
  c.model_max_length = fields.Int("tokenizer_model_max_length", 2048, {1, kMaxPositions});
  c.bos_token_id = ReadTokenId(fields, "bos_token_id", c.language.vocab_rows);
  c.eos_token_id = ReadTokenId(fields, "eos_token_id", c.language.vocab_rows);
  files.has_dtype = fields.Has("torch_dtype");
  if (files.has_dtype) c.stored_dtype = ReadDtype(fields);
  if (fields.Find("rope_theta") == nullptr) {
    files.notes.push_back(
        "config.json: rope_theta is missing: 10000, the reference's default, is used");
  }
  return fields.status();
}

// A full CLIP configuration, or its vision half alone. Defaults are transformers' CLIPVisionConfig
// (a patch of 32 and an image of 224, unlike the released tower).
absl::Status ReadVisionConfig(const Json& json, ConfigFiles& files) {
  const Json* vision = &json;
  std::string_view prefix;
  JsonFields outer(kVisionFile, json);
  outer.OnlyString("model_type", outer.Has("vision_config") ? "clip" : "clip_vision_model");
  if (outer.Has("vision_config")) {
    vision = outer.Find("vision_config");
    prefix = "vision_config.";
    if (!vision->is_object()) outer.Fail("vision_config", "must be an object");
  }
  RETURN_IF_ERROR(outer.status());
  JsonFields fields(kVisionFile, *vision, prefix);
  fields.OnlyString("model_type", "clip_vision_model");
  fields.OnlyString("hidden_act", "quick_gelu");
  VisionConfig& c = files.config.vision;
  c.hidden_size = fields.Int("hidden_size", 768, {1, kMaxChannels});
  c.intermediate_size = fields.Int("intermediate_size", 3072, {1, kMaxIntermediate});
  c.num_layers = fields.Int("num_hidden_layers", 12, {1, kMaxLayers});
  c.num_heads = fields.Int("num_attention_heads", 12, {1, kMaxHeads});
  c.image_size = fields.Int("image_size", 224, {1, kMaxImageSize});
  c.patch_size = fields.Int("patch_size", 32, {1, kMaxImageSize});
  c.layer_norm_eps = static_cast<float>(fields.Float("layer_norm_eps", 1e-5, {1e-12, 1.0}));
  if (fields.Int("num_channels", 3, {kMinInt32, kMaxChannels}) != 3) {
    fields.Refuse("num_channels", "must be 3");
  }
  RETURN_IF_ERROR(fields.status());
  if (c.hidden_size % c.num_heads != 0) {
    fields.Fail("num_attention_heads", absl::StrCat("must divide hidden_size ", c.hidden_size));
  } else if (c.image_size % c.patch_size != 0 || c.num_tokens() > kMaxImageTokens) {
    fields.Fail("image_size",
                absl::StrCat("must be a multiple of patch_size ",
                             c.patch_size,
                             " with at most ",
                             kMaxImageTokens,
                             " patches"));
  }
  return fields.status();
}

// A side in pixels, written as a number or as an object ({"shortest_edge"} or {"height", "width"}).
int32_t ReadProcessorSize(JsonFields& fields, const char* key) {
  const Json* value = fields.Find(key);
  if (value == nullptr || !value->is_object()) {
    return fields.Int(key, 0, {1, kMaxImageSize});
  }
  JsonFields sides(kProcessorFile, *value, absl::StrCat(key, "."));
  if (sides.Has("shortest_edge")) {
    const int32_t edge = sides.Int("shortest_edge", 0, {1, kMaxImageSize});
    if (!sides.ok()) fields.Fail(key, "must be a size in pixels");
    return edge;
  }
  const int32_t height = sides.Int("height", 0, {1, kMaxImageSize});
  const int32_t width = sides.Int("width", 0, {1, kMaxImageSize});
  if (!sides.ok() || height == 0 || height != width) fields.Fail(key, "must be a square size");
  return height;
}

void ReadChannels(JsonFields& fields,
                  const char* key,
                  FloatRange range,
                  std::array<double, 3>& channels) {
  const Json* value = fields.Find(key);
  if (value == nullptr) return;
  const bool three_numbers =
      value->is_array() && value->size() == 3 &&
      std::all_of(value->begin(), value->end(), [&](const Json& v) {
        return v.is_number() && v.get<double>() >= range.min && v.get<double>() <= range.max;
      });
  if (!three_numbers) {
    const std::string limit = absl::StrCat("[", range.min, ", ", range.max, "]");
    fields.Fail(key, absl::StrCat("must be three numbers in ", limit), limit);
    return;
  }
  for (size_t i = 0; i < 3; ++i) channels[i] = (*value)[i].get<double>();
}

absl::Status ReadProcessorConfig(const Json& json, ConfigFiles& files) {
  JsonFields fields(kProcessorFile, json);
  for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
    if (fields.Has(key) && !absl::StartsWith(fields.String(key, "CLIP"), "CLIP")) {
      fields.Refuse(key, "must be CLIP's");
    }
  }
  for (const char* key :
       {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"}) {
    fields.OnlyBool(key, true, "must be true");
  }
  constexpr int kBicubic = 3;
  if (fields.Int("resample", kBicubic, {0, 5}) != kBicubic) {
    fields.Refuse("resample", "must be 3 (bicubic)");
  }
  ImageProcessorConfig& c = files.config.image_processor;
  ReadChannels(fields, "image_mean", {0.0, 1.0}, c.mean);
  ReadChannels(fields, "image_std", {1e-6, 1e3}, c.std);
  c.rescale_factor = fields.Float("rescale_factor", 1.0 / 255.0, {1e-9, 1e3});
  const int32_t size = ReadProcessorSize(fields, "size");
  const int32_t crop_size = ReadProcessorSize(fields, "crop_size");
  if (fields.ok() && size != 0 && crop_size != 0 && size != crop_size) {
    fields.Refuse("crop_size", absl::StrCat("must equal size ", size));
  }
  files.processor_size = std::max(size, crop_size);
  return fields.status();
}

}  // namespace

absl::StatusOr<ConfigTexts> ReadConfigTexts(const std::string& dir) {
  ConfigTexts texts;
  ASSIGN_OR_RETURN(texts.config, ReadModelFile(ModelPath(dir, kConfigFile), kMaxModelJsonBytes));
  for (const auto& [file, text] :
       {std::pair(kVisionFile, &texts.vision), std::pair(kProcessorFile, &texts.preprocessor)}) {
    const std::string path = ModelPath(dir, file);
    if (!ModelFileExists(path)) continue;
    ASSIGN_OR_RETURN(*text, ReadModelFile(path, kMaxModelJsonBytes));
  }
  return texts;
}

absl::StatusOr<ConfigFiles> ParseConfigTexts(const ConfigTexts& texts) {
  ConfigFiles files;
  files.has_vision_config = texts.vision.has_value();
  files.has_preprocessor_config = texts.preprocessor.has_value();
  ASSIGN_OR_RETURN(const Json main, ParseObject(kConfigFile, texts.config));
  RETURN_IF_ERROR(ReadMainConfig(main, files));
  if (texts.vision.has_value()) {
    ASSIGN_OR_RETURN(const Json vision, ParseObject(kVisionFile, *texts.vision));
    RETURN_IF_ERROR(ReadVisionConfig(vision, files));
  }
  if (texts.preprocessor.has_value()) {
    ASSIGN_OR_RETURN(const Json processor, ParseObject(kProcessorFile, *texts.preprocessor));
    RETURN_IF_ERROR(ReadProcessorConfig(processor, files));
  }
  files.texts = {texts.config, texts.vision.value_or(""), texts.preprocessor.value_or("")};
  return files;
}

absl::Status FinishConfig(ConfigFiles& files) {
  ModelConfig& c = files.config;
  if (files.mm_hidden_size != c.vision.hidden_size) {
    return ModelFileInvalid(kConfigFile,
                            "mm_hidden_size",
                            absl::StrCat("is ",
                                         files.mm_hidden_size,
                                         ", the vision tower has ",
                                         c.vision.hidden_size,
                                         " channels"),
                            std::to_string(files.mm_hidden_size),
                            std::to_string(c.vision.hidden_size));
  }
  if (files.processor_size != 0 && files.processor_size != c.vision.image_size) {
    return ModelFileInvalid(kProcessorFile,
                            "size",
                            absl::StrCat("is ",
                                         files.processor_size,
                                         ", the vision tower takes ",
                                         c.vision.image_size,
                                         " pixels"),
                            std::to_string(files.processor_size),
                            std::to_string(c.vision.image_size));
  }
  if (c.projector.depth == 0 && c.vision.hidden_size != c.language.hidden_size) {
    return ModelFileInvalid(
        kConfigFile, "mm_projector_type", "identity needs a tower as wide as the language model");
  }
  // hidden_states has one entry more than there are layers.
  const int32_t num_states = c.vision.num_layers + 1;
  const int32_t selected = c.vision.select_layer;
  if (selected < -num_states || selected >= num_states) {
    return ModelFileInvalid(kConfigFile,
                            "mm_vision_select_layer",
                            absl::StrCat("must be in [", -num_states, ", ", num_states - 1, "]"),
                            std::to_string(selected));
  }
  if (selected >= 0) c.vision.select_layer = selected - num_states;
  return absl::OkStatus();
}

}  // namespace parrot
