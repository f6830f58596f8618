#include "model/nn/clip_vision_tower.h"

#include <string>
#include <utility>

namespace parrot {
namespace {

constexpr char kPrefix[] = "model.vision_tower.vision_tower.vision_model.";

NormSpec LayerNormSpec(const std::string& name, const VisionConfig& config) {
  return {.name = name,
          .kind = NormKind::kLayerNorm,
          .size = config.hidden_size,
          .eps = config.layer_norm_eps};
}

}  // namespace

VisionTower::VisionTower(const VisionConfig& config,
                         const PixelNormalization& normalization,
                         const Backend& backend,
                         TensorSource& source)
    : backend_(backend), num_tokens_(config.num_tokens()) {
  const std::string prefix = kPrefix;
  const PatchEmbeddingSpec spec = {
      .patch_name = prefix + "embeddings.patch_embedding",
      .class_name = prefix + "embeddings.class_embedding",
      .position_name = prefix + "embeddings.position_embedding",
      .pre_norm = LayerNormSpec(prefix + "pre_layrnorm", config),  // spelled so in checkpoints
      .image_size = config.image_size,
      .patch_size = config.patch_size,
      .hidden_size = config.hidden_size};
  patches_ = backend.MakePatchEmbedding(spec, normalization, source);
  layers_.reserve(config.num_used_layers());
  for (int32_t i = 0; i < config.num_used_layers(); ++i) {
    layers_.push_back(MakeLayer(config, i, source));
  }
}

VisionTower::Layer VisionTower::MakeLayer(const VisionConfig& config,
                                          int32_t layer_idx,
                                          TensorSource& source) const {
  const std::string prefix = kPrefix + ("encoder.layers." + std::to_string(layer_idx)) + ".";
  const int64_t hidden = config.hidden_size;
  const auto linear = [&](const char* name,
                          int64_t in,
                          int64_t out,
                          Partition partition,
                          Activation activation = Activation::kNone) {
    return LinearSpec{.name = prefix + name,
                      .in_features = in,
                      .out_features = out,
                      .has_bias = true,
                      .partition = partition,
                      .activation = activation,
                      .role = WeightRole::kVision};
  };
  Layer layer;
  layer.qkv =
      backend_.MakeQkv({.norm = LayerNormSpec(prefix + "layer_norm1", config),
                        .query = linear("self_attn.q_proj", hidden, hidden, Partition::kColumn),
                        .key = linear("self_attn.k_proj", hidden, hidden, Partition::kColumn),
                        .value = linear("self_attn.v_proj", hidden, hidden, Partition::kColumn),
                        .num_heads = config.num_heads,
                        .num_kv_heads = config.num_heads,
                        .head_dim = config.head_dim(),
                        .layer_idx = layer_idx},
                       source);
  layer.output =
      backend_.MakeLinear(linear("self_attn.out_proj", hidden, hidden, Partition::kRow), source);
  const int64_t inter = config.intermediate_size;
  layer.mlp = backend_.MakeMlp(
      {.norm = LayerNormSpec(prefix + "layer_norm2", config),
       .input = linear("mlp.fc1", hidden, inter, Partition::kColumn, Activation::kQuickGelu),
       .output = linear("mlp.fc2", inter, hidden, Partition::kRow)},
      source);
  return layer;
}

at::Tensor VisionTower::Begin(const at::Tensor& pixels, Workspace& workspace) const {
  return backend_.EmbedPatches(*patches_, pixels, workspace);
}

at::Tensor VisionTower::RunLayers(at::Tensor hidden,
                                  int64_t num_images,
                                  int32_t first,
                                  int32_t count,
                                  AttentionContext& context,
                                  Workspace& workspace) const {
  std::vector<int32_t> cu_seqlens;
  cu_seqlens.reserve(num_images + 1);
  for (int64_t i = 0; i <= num_images; ++i) {
    cu_seqlens.push_back(static_cast<int32_t>(i) * num_tokens_);
  }
  backend_.PlanDense({.cu_seqlens = cu_seqlens, .causal = false}, workspace, context);
  for (int32_t i = first; i < first + count; ++i) {
    const Layer& layer = layers_[i];
    const Qkv qkv = backend_.NormQkv(*layer.qkv, hidden, workspace);
    const at::Tensor attended = backend_.Attend(*layer.qkv, qkv, context, workspace);
    hidden = backend_.LinearAdd(*layer.output, attended, hidden, workspace);
    hidden = backend_.Mlp(*layer.mlp, hidden, workspace);
  }
  return hidden;
}

void VisionTower::AppendHandles(std::vector<const Handle*>* out) const {
  out->push_back(patches_.get());
  for (const Layer& layer : layers_) {
    out->insert(out->end(), {layer.qkv.get(), layer.output.get(), layer.mlp.get()});
  }
}

}  // namespace parrot
