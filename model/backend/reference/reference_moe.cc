// The router and the experts, with the reference implementation's rounding points in bf16.
#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/stack.h"
#include "model/backend/reference/reference_backend.h"
#include "model/backend/reference/reference_handles.h"

namespace parrot {

using reference::ExpertWeights;
using reference::MoeImpl;

Routing ReferenceBackend::Route(const MoeHandle& handle,
                                const at::Tensor& class_rows,
                                const at::Tensor& text,
                                std::span<const int32_t> cu_text,
                                Workspace&) const {
  const auto& impl = static_cast<const MoeImpl&>(handle);
  // A float32 scalar: scores keep the compute dtype and are rounded once.
  const float scale = std::sqrt(static_cast<float>(text.size(1)));
  std::vector<at::Tensor> attention, attended, logits, weights;
  for (int64_t i = 0; i < class_rows.size(0); ++i) {
    const at::Tensor x = text.narrow(0, cu_text[i], cu_text[i + 1] - cu_text[i]);  // [T, H]
    const at::Tensor scores = at::matmul(class_rows.narrow(0, i, 1), x.t()) / scale;
    const at::Tensor a = at::softmax(scores, -1);  // [1, T]
    const at::Tensor g = at::matmul(a, x);         // [1, H]
    const at::Tensor z = impl.router.Apply(g);     // [1, E]
    attention.push_back(a.view({-1}));
    attended.push_back(g);
    logits.push_back(z);
    weights.push_back(at::softmax(z, -1));
  }
  return {.weights = at::cat(weights),
          .attention = at::cat(attention),
          .attended = at::cat(attended),
          .logits = at::cat(logits)};
}

at::Tensor ReferenceBackend::ExpertOutputs(const MoeHandle& handle,
                                           const at::Tensor& features,
                                           Workspace&) const {
  const auto& impl = static_cast<const MoeImpl&>(handle);
  std::vector<at::Tensor> outputs;
  outputs.reserve(impl.experts.size());
  for (const ExpertWeights& expert : impl.experts) {
    outputs.push_back(reference::ApplySwiGlu(expert.gate, expert.up, expert.down, features));
  }
  return at::stack(outputs);
}

at::Tensor ReferenceBackend::Combine(const MoeHandle& handle,
                                     const at::Tensor& features,
                                     const at::Tensor& outputs,
                                     const at::Tensor& weights,
                                     Workspace&) const {
  const auto& impl = static_cast<const MoeImpl&>(handle);
  const at::Tensor mixed = (outputs * weights.view({-1, 1, 1})).sum(0);
  return impl.residual_weight == 0.0f ? mixed : mixed + features * impl.residual_weight;
}

at::Tensor ReferenceBackend::MixExperts(const MoeHandle& handle,
                                        const at::Tensor& features,
                                        const at::Tensor& weights,
                                        Workspace& workspace) const {
  const auto& impl = static_cast<const MoeImpl&>(handle);
  const int64_t num_images = weights.size(0), hidden = features.size(1);
  const at::Tensor outputs = ExpertOutputs(handle, features, workspace);
  const int64_t experts = outputs.size(0);
  const at::Tensor mixed = (outputs.view({experts, num_images, -1, hidden}) *
                            weights.t().reshape({experts, num_images, 1, 1}))
                               .sum(0)
                               .view({-1, hidden});
  return impl.residual_weight == 0.0f ? mixed : mixed + features * impl.residual_weight;
}

}  // namespace parrot
