// The table of tensors that a configuration asks for: names, shapes and the part of the model each
// belongs to. A checkpoint must hold exactly these; random weights are made from them; parameter
// counts are sums over them.
#ifndef PARROT_MODEL_WEIGHTS_TENSOR_SPECS_H_
#define PARROT_MODEL_WEIGHTS_TENSOR_SPECS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/api/model_config.h"

namespace parrot {

enum class ModelPart { kLanguage, kVision, kProjector, kMoe };
// "language", "vision", "projector", "moe".
const char* ModelPartName(ModelPart part);

struct TensorSpec {
  std::string name;            // as in the checkpoint; see tensor_names.h
  std::vector<int64_t> shape;  // outermost first; a linear is [out, in]
  ModelPart part = ModelPart::kLanguage;

  int64_t num_elements() const;
};

// All tensors of `config`, sorted by name within each part; parts in the order of the enum. A tied
// head has no entry; a disabled MoE has none. REQUIRES: a validated config (no overflow).
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

// The MoE's tensors alone, whether or not the MoE is enabled.
std::vector<TensorSpec> ExpectedMoeTensors(const ModelConfig& config);

struct ParameterCounts {
  int64_t language = 0;
  int64_t vision = 0;
  int64_t projector = 0;
  int64_t moe = 0;
  int64_t total() const { return language + vision + projector + moe; }
};
ParameterCounts CountParameters(const std::vector<TensorSpec>& tensors);

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_TENSOR_SPECS_H_
