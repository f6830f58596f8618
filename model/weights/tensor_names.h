// Names of the tensors of a Parrot checkpoint, as the reference's trainer saves them (the spelling
// `pre_layrnorm` included). The one place that spells them.
#ifndef PARROT_MODEL_WEIGHTS_TENSOR_NAMES_H_
#define PARROT_MODEL_WEIGHTS_TENSOR_NAMES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "model/api/model_config.h"

namespace parrot::tensor_names {

inline constexpr char kTokenEmbedding[] = "model.embed_tokens.weight";  // [vocab_rows, hidden]
inline constexpr char kFinalNorm[] = "model.norm.weight";               // [hidden]
inline constexpr char kLmHead[] = "lm_head.weight";                     // [vocab_rows, hidden]
inline constexpr char kMoeGate[] = "model.moe_model.gate.weight";       // [num_experts, hidden]
inline constexpr char kVisionPrefix[] = "model.vision_tower.vision_tower.vision_model.";

// "model.layers.{layer}.{suffix}"; suffixes: input_layernorm.weight,
// post_attention_layernorm.weight, self_attn.{q,k,v}_proj.{weight,bias}, self_attn.o_proj.weight,
// mlp.{gate,up,down}_proj.weight.
std::string LanguageLayer(int32_t layer, std::string_view suffix);

// kVisionPrefix + suffix; suffixes: embeddings.class_embedding, embeddings.patch_embedding.weight,
// embeddings.position_embedding.weight, {pre_layrnorm,post_layernorm}.{weight,bias}.
std::string Vision(std::string_view suffix);

// kVisionPrefix + "encoder.layers.{layer}.{suffix}"; suffixes: {layer_norm1,layer_norm2,mlp.fc1,
// mlp.fc2,self_attn.{q,k,v,out}_proj}.{weight,bias}.
std::string VisionLayer(int32_t layer, std::string_view suffix);

// Linear `linear_idx` (0-based) of the projector. mlpNx_gelu is a Sequential whose linears have
// even positions ("model.mm_projector.2.weight"); `linear` is a bare layer
// ("model.mm_projector.weight"). `suffix` is weight or bias.
std::string Projector(const ProjectorConfig& config, int32_t linear_idx, std::string_view suffix);

// "model.moe_model.experts.{expert}.{suffix}"; suffixes: {gate,up,down}_proj.weight.
std::string Expert(int32_t expert, std::string_view suffix);

}  // namespace parrot::tensor_names

#endif  // PARROT_MODEL_WEIGHTS_TENSOR_NAMES_H_
