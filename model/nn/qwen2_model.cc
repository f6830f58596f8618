#include "model/nn/qwen2_model.h"

#include <string>
#include <utility>

namespace parrot {
namespace {

NormSpec RmsNormSpec(const std::string& name, const LanguageConfig& config) {
  return {.name = name,
          .kind = NormKind::kRmsNorm,
          .size = config.hidden_size,
          .eps = config.rms_norm_eps};
}

}  // namespace

LanguageModel::LanguageModel(const LanguageConfig& config,
                             const Backend& backend,
                             TensorSource& source)
    : backend_(backend),
      embedding_(backend.MakeEmbedding({.name = "model.embed_tokens",
                                        .rows = config.vocab_rows,
                                        .size = config.hidden_size,
                                        .is_head = config.tie_word_embeddings},
                                       source)) {
  layers_.reserve(config.num_layers);
  for (int32_t i = 0; i < config.num_layers; ++i) layers_.push_back(MakeLayer(config, i, source));
  const bool tied = config.tie_word_embeddings;
  head_ = backend.MakeLmHead({.norm = RmsNormSpec("model.norm", config),
                              .head = {.name = tied ? "model.embed_tokens" : "lm_head",
                                       .in_features = config.hidden_size,
                                       .out_features = config.vocab_rows,
                                       .partition = Partition::kColumn,
                                       .role = WeightRole::kHead}},
                             tied ? embedding_.get() : nullptr,
                             source);
}

LanguageModel::Layer LanguageModel::MakeLayer(const LanguageConfig& config,
                                              int32_t layer_idx,
                                              TensorSource& source) const {
  const std::string prefix = "model.layers." + std::to_string(layer_idx) + ".";
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = int64_t{config.num_heads} * config.head_dim();
  const int64_t kv_size = int64_t{config.num_kv_heads} * config.head_dim();
  const auto linear =
      [&](const char* name, int64_t in, int64_t out, bool has_bias, Partition partition) {
        return LinearSpec{.name = prefix + name,
                          .in_features = in,
                          .out_features = out,
                          .has_bias = has_bias,
                          .partition = partition};
      };
  Layer layer;
  layer.qkv = backend_.MakeQkv(
      {.norm = RmsNormSpec(prefix + "input_layernorm", config),
       .query = linear("self_attn.q_proj", hidden, query_size, true, Partition::kColumn),
       .key = linear("self_attn.k_proj", hidden, kv_size, true, Partition::kColumn),
       .value = linear("self_attn.v_proj", hidden, kv_size, true, Partition::kColumn),
       .num_heads = config.num_heads,
       .num_kv_heads = config.num_kv_heads,
       .head_dim = config.head_dim(),
       .layer_idx = layer_idx,
       .rope_theta = config.rope_theta},
      source);
  layer.output = backend_.MakeLinear(
      linear("self_attn.o_proj", query_size, hidden, false, Partition::kRow), source);
  const int64_t inter = config.intermediate_size;
  layer.mlp = backend_.MakeGatedMlp(
      {.norm = RmsNormSpec(prefix + "post_attention_layernorm", config),
       .gate = linear("mlp.gate_proj", hidden, inter, false, Partition::kColumn),
       .up = linear("mlp.up_proj", hidden, inter, false, Partition::kColumn),
       .down = linear("mlp.down_proj", inter, hidden, false, Partition::kRow)},
      source);
  return layer;
}

at::Tensor LanguageModel::Embed(const at::Tensor& ids, Workspace& workspace) const {
  return backend_.Embed(*embedding_, ids, workspace);
}

at::Tensor LanguageModel::Forward(at::Tensor hidden,
                                  AttentionContext& context,
                                  Workspace& workspace,
                                  const HiddenTap* tap) const {
  if (tap != nullptr) (*tap)(0, hidden);
  for (int32_t i = 0; i < num_layers(); ++i) {
    hidden = RunLayer(i, hidden, context, workspace);
    if (tap != nullptr) (*tap)(i + 1, hidden);
  }
  return hidden;
}

at::Tensor LanguageModel::RunLayer(int32_t layer_idx,
                                   const at::Tensor& hidden,
                                   AttentionContext& context,
                                   Workspace& workspace) const {
  const Layer& layer = layers_[layer_idx];
  const Qkv qkv = backend_.NormQkv(*layer.qkv, hidden, workspace);
  const at::Tensor attended = backend_.Attend(*layer.qkv, qkv, context, workspace);
  const at::Tensor sum = backend_.LinearAdd(*layer.output, attended, hidden, workspace);
  return backend_.GatedMlp(*layer.mlp, sum, workspace);
}

at::Tensor LanguageModel::Logits(const at::Tensor& hidden,
                                 const at::Tensor& rows,
                                 Workspace& workspace,
                                 at::Tensor* normed) const {
  return backend_.Logits(*head_, hidden, rows, normed, workspace);
}

void LanguageModel::AppendHandles(std::vector<const Handle*>* out) const {
  out->push_back(embedding_.get());
  for (int32_t i = 0; i < num_layers(); ++i) AppendLayerHandles(i, out);
  out->push_back(head_.get());
}

void LanguageModel::AppendLayerHandles(int32_t layer_idx, std::vector<const Handle*>* out) const {
  const Layer& layer = layers_[layer_idx];
  out->insert(out->end(), {layer.qkv.get(), layer.output.get(), layer.mlp.get()});
}

}  // namespace parrot
