// Projector: from the tower's width to the language model's. mlpNx_gelu is N linears with exact
// GELU between them; `linear` has one, `identity` none. Every row is projected, the class row
// included. Immutable after construction; thread-safe.
#ifndef PARROT_MODEL_NN_MLP_PROJECTOR_H_
#define PARROT_MODEL_NN_MLP_PROJECTOR_H_

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/model_config.h"
#include "model/backend/backend.h"

namespace parrot {

class Projector {
 public:
  // `backend` outlives the projector.
  Projector(const ModelConfig& config, const Backend& backend, TensorSource& source);

  // [rows, vision hidden] -> F [rows, hidden]
  at::Tensor Forward(const at::Tensor& rows, Workspace& workspace) const;

  void AppendHandles(std::vector<const Handle*>* out) const;

 private:
  const Backend& backend_;
  std::vector<std::unique_ptr<LinearHandle>> linears_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_NN_MLP_PROJECTOR_H_
