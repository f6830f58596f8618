#include "model/nn/multilingual_moe.h"

namespace parrot {

namespace {

MoeSpec MakeSpec(const ModelConfig& config) {
  MoeSpec spec;
  spec.router = {.name = "model.moe_model.gate",
                 .in_features = config.language.hidden_size,
                 .out_features = config.moe.num_experts};
  spec.experts_name = "model.moe_model.experts";
  spec.num_experts = config.moe.num_experts;
  spec.hidden_size = config.language.hidden_size;
  spec.intermediate_size = config.moe.intermediate_size;
  spec.residual_weight = config.moe.use_residual ? config.moe.residual_weight : 0.0f;
  return spec;
}

}  // namespace

MultilingualMoe::MultilingualMoe(const ModelConfig& config,
                                 const Backend& backend,
                                 TensorSource& source)
    : backend_(backend), moe_(backend.MakeMoe(MakeSpec(config), source)) {}

Routing MultilingualMoe::RouterWeights(const at::Tensor& class_rows,
                                       const at::Tensor& text,
                                       std::span<const int32_t> cu_text,
                                       Workspace& workspace) const {
  return backend_.Route(*moe_, class_rows, text, cu_text, workspace);
}

at::Tensor MultilingualMoe::ExpertOutputs(const at::Tensor& features, Workspace& workspace) const {
  return backend_.ExpertOutputs(*moe_, features, workspace);
}

at::Tensor MultilingualMoe::Combine(const at::Tensor& features,
                                    const at::Tensor& outputs,
                                    const at::Tensor& weights,
                                    Workspace& workspace) const {
  return backend_.Combine(*moe_, features, outputs, weights, workspace);
}

at::Tensor MultilingualMoe::VisualTokens(const at::Tensor& features,
                                         const at::Tensor& weights,
                                         Workspace& workspace) const {
  return backend_.MixExperts(*moe_, features, weights, workspace);
}

}  // namespace parrot
