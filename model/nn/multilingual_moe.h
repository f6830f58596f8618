// MultilingualMoe: turns the projected features F of an image into its visual tokens V, conditioned
// on all text of the prompt.
//
//   RouterWeights   r = softmax(W_r (softmax(c X^T / sqrt(H)) X)), c = row 0 of F, X the text
//   ExpertOutputs   E_i(F), which do not depend on the text
//   Combine         V = sum_i r_i E_i(F) + residual_weight * F
//
// All experts take part, densely; nothing here knows a language. Immutable after construction;
// thread-safe.
#ifndef PARROT_MODEL_NN_MULTILINGUAL_MOE_H_
#define PARROT_MODEL_NN_MULTILINGUAL_MOE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/model_config.h"
#include "model/backend/backend.h"

namespace parrot {

class MultilingualMoe {
 public:
  // `backend` outlives the MoE. REQUIRES: config.moe.enabled.
  MultilingualMoe(const ModelConfig& config, const Backend& backend, TensorSource& source);

  // Several images at once. class_rows [images, H]; text [sum T, H] with the borders cu_text
  // [images + 1]; each T >= 1.
  Routing RouterWeights(const at::Tensor& class_rows,
                        const at::Tensor& text,
                        std::span<const int32_t> cu_text,
                        Workspace& workspace) const;
  // F [rows, H] -> [experts, rows, H]
  at::Tensor ExpertOutputs(const at::Tensor& features, Workspace& workspace) const;
  // One image: F [tokens, H], outputs [experts, tokens, H], weights [experts] -> V [tokens, H]
  at::Tensor Combine(const at::Tensor& features,
                     const at::Tensor& outputs,
                     const at::Tensor& weights,
                     Workspace& workspace) const;
  // Both at once: F [images * tokens, H], weights [images, experts] -> V [images * tokens, H]
  at::Tensor VisualTokens(const at::Tensor& features,
                          const at::Tensor& weights,
                          Workspace& workspace) const;

  void AppendHandles(std::vector<const Handle*>* out) const { out->push_back(moe_.get()); }

 private:
  const Backend& backend_;
  std::unique_ptr<MoeHandle> moe_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_NN_MULTILINGUAL_MOE_H_
