// The sizes and rules of one Parrot checkpoint, from its config.json (with the reference's defaults
// for missing keys), vision_config.json and preprocessor_config.json. Nothing about 577 tokens, six
// experts or 1,024 channels is a constant anywhere: it is here. Immutable after construction.
#ifndef PARROT_MODEL_API_MODEL_CONFIG_H_
#define PARROT_MODEL_API_MODEL_CONFIG_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/api/token.h"

namespace parrot {

enum class DataType { kFloat32, kBFloat16, kFloat16 };

// "float32", "bfloat16", "float16".
const char* DataTypeName(DataType type);
int DataTypeBytes(DataType type);

// CLIP ViT. The projector reads the output of layer num_layers + select_layer (-2: of 24 layers, 23
// run), CLS row included.
struct VisionConfig {
  int32_t image_size = 336;    // pixels, square
  int32_t patch_size = 14;     // pixels
  int32_t hidden_size = 1024;  // channels
  int32_t num_layers = 24;     // layers in the checkpoint
  int32_t num_heads = 16;      // hidden_size / num_heads = 64 in CLIP-L
  int32_t intermediate_size = 4096;
  float layer_norm_eps = 1e-5f;
  int32_t select_layer = -2;  // mm_vision_select_layer

  int32_t patches_per_side() const { return image_size / patch_size; }
  // Rows per image, CLS first: 577 for 336/14.
  int32_t num_tokens() const { return patches_per_side() * patches_per_side() + 1; }
  int32_t head_dim() const { return hidden_size / num_heads; }
  // Layers that run: the output of hidden_states[select_layer].
  int32_t num_used_layers() const { return num_layers + 1 + select_layer; }
};

// mlpNx_gelu: depth linears with exact GELU between them; `linear` is depth 1; identity is depth 0.
struct ProjectorConfig {
  int32_t depth = 2;
  // False for type `linear`: its one layer stands alone, so its tensor names have no position.
  bool sequential = true;
};

struct MoeConfig {
  bool enabled = true;  // use_moe; false returns the projected features untouched
  int32_t num_experts = 6;
  int32_t intermediate_size = 4096;
  bool use_residual = true;      // use_moe_residual
  float residual_weight = 0.1f;  // moe_weight: V = sum_i r_i E_i(F) + residual_weight * F
};

// Qwen1.5 / Qwen2.
struct LanguageConfig {
  int32_t hidden_size = 4096;
  int32_t intermediate_size = 11008;
  int32_t num_layers = 32;
  int32_t num_heads = 32;
  int32_t num_kv_heads = 32;
  int32_t vocab_rows = 151936;  // rows of the embedding; ids >= the tokenizer's size are padding
  int32_t max_position_embeddings = 32768;
  float rms_norm_eps = 1e-6f;
  float rope_theta = 1e6f;
  bool tie_word_embeddings = false;

  int32_t head_dim() const { return hidden_size / num_heads; }
};

// CLIPImageProcessor's constants.
struct ImageProcessorConfig {
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std = {0.26862954, 0.26130258, 0.27577711};
  double rescale_factor = 1.0 / 255.0;
  // image_aspect_ratio: pad to a square (Parrot), or resize the short edge and crop the centre.
  bool pad_to_square = true;
};

struct ModelConfig {
  VisionConfig vision;
  ProjectorConfig projector;
  MoeConfig moe;
  LanguageConfig language;
  ImageProcessorConfig image_processor;

  DataType stored_dtype = DataType::kBFloat16;  // torch_dtype of the files
  int32_t model_max_length = 2048;              // tokenizer_model_max_length: the training length
  TokenId bos_token_id = -1;                    // -1: none
  TokenId eos_token_id = -1;                    // <|im_end|>
  std::string revision;  // hex SHA-256 over config and weight headers; part of every cache key

  // Bytes of keys and values that one token takes over all layers.
  int64_t kv_bytes_per_token(DataType kv_dtype) const {
    return int64_t{2} * language.num_layers * language.num_kv_heads * language.head_dim() *
           DataTypeBytes(kv_dtype);
  }
};

}  // namespace parrot

#endif  // PARROT_MODEL_API_MODEL_CONFIG_H_
