// DummyWeights: random weights for a configuration, for measuring at sizes whose real weights are
// not at hand (--load-format dummy). Each tensor is made when it is asked for, in parallel-safe
// fashion and a little faster than memory is filled from disk, and belongs to the view alone: a
// model of 16.7 GB needs 16.7 GB, not twice that.
//
// Values are a function of (seed, tensor name, element index), so two processes get the same model.
// Linears and embeddings are uniform with variance 1 / fan_in (0.02^2 for embeddings), norms are
// one plus a little, biases small: activations keep their scale through any depth, and no logit is
// NaN.
#ifndef PARROT_MODEL_WEIGHTS_DUMMY_WEIGHTS_H_
#define PARROT_MODEL_WEIGHTS_DUMMY_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/api/model_config.h"
#include "model/weights/tensor_specs.h"
#include "model/weights/weight_source.h"

namespace parrot {

// Immutable after construction; thread-safe.
class DummyWeights : public WeightSource {
 public:
  // Tensors have config.stored_dtype. `config` must be valid (LoadModelConfig's are).
  DummyWeights(const ModelConfig& config, uint64_t seed);

  const ModelConfig& config() const override { return config_; }
  const std::vector<TensorSpec>& tensors() const override { return tensors_; }
  absl::StatusOr<TensorView> Get(std::string_view name) const override;
  Sha256Digest Fingerprint() const override;

 private:
  ModelConfig config_;
  uint64_t seed_;
  std::vector<TensorSpec> tensors_;
  absl::flat_hash_map<std::string, int> index_;  // name -> position in tensors_
};

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_DUMMY_WEIGHTS_H_
