#include "model/nn/mlp_projector.h"

#include <string>

namespace parrot {

Projector::Projector(const ModelConfig& config, const Backend& backend, TensorSource& source)
    : backend_(backend) {
  const int32_t depth = config.projector.depth;
  for (int32_t i = 0; i < depth; ++i) {
    // A Sequential of linears and GELUs: linears have even positions. A single linear is no
    // Sequential and has no position.
    const std::string name =
        depth == 1 ? "model.mm_projector" : "model.mm_projector." + std::to_string(2 * i);
    linears_.push_back(backend.MakeLinear(
        {.name = name,
         .in_features = i == 0 ? config.vision.hidden_size : config.language.hidden_size,
         .out_features = config.language.hidden_size,
         .has_bias = true,
         .partition = Partition::kReplicated,
         .activation = i + 1 < depth ? Activation::kGelu : Activation::kNone,
         .role = WeightRole::kVision},
        source));
  }
}

at::Tensor Projector::Forward(const at::Tensor& rows, Workspace& workspace) const {
  at::Tensor x = rows;
  for (const auto& linear : linears_) x = backend_.Linear(*linear, x, workspace);
  return x;
}

void Projector::AppendHandles(std::vector<const Handle*>* out) const {
  for (const auto& linear : linears_) out->push_back(linear.get());
}

}  // namespace parrot
