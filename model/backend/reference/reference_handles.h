// The reference backend's handles: plain tensors [out, in] in the compute dtype. Private to the
// folder. Immutable; an optimiser may change the values of the tensors between steps.
#ifndef PARROT_MODEL_BACKEND_REFERENCE_REFERENCE_HANDLES_H_
#define PARROT_MODEL_BACKEND_REFERENCE_REFERENCE_HANDLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/backend/backend.h"

namespace parrot::reference {

// Takes tensors from a source: the tensor itself when device and dtype fit, else converted.
class WeightLoader {
 public:
  WeightLoader(TensorSource& source, at::Device device, at::ScalarType dtype)
      : source_(source), device_(device), dtype_(dtype) {}
  at::Tensor Load(const std::string& name, const std::vector<int64_t>& shape) const;

 private:
  TensorSource& source_;
  const at::Device device_;
  const at::ScalarType dtype_;
};

struct NormWeights {
  NormWeights(const NormSpec& spec, const WeightLoader& loader);
  at::Tensor Apply(const at::Tensor& x) const;
  void Append(std::vector<NamedTensor>* out) const;

  NormSpec spec;
  at::Tensor weight;  // [size]
  at::Tensor bias;    // [size]; undefined for RMSNorm
};

struct LinearWeights {
  LinearWeights(const LinearSpec& spec, const WeightLoader& loader);
  // With a matrix that is already there (tied head).
  LinearWeights(const LinearSpec& spec, const at::Tensor& weight) : spec(spec), weight(weight) {}
  at::Tensor Apply(const at::Tensor& x) const;
  void Append(std::vector<NamedTensor>* out) const;

  LinearSpec spec;
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out] or undefined
};

struct NormImpl : NormHandle {
  NormImpl(const NormSpec& spec, const WeightLoader& loader) : norm(spec, loader) {}
  std::vector<NamedTensor> named_tensors() const override;
  NormWeights norm;
};

struct LinearImpl : LinearHandle {
  LinearImpl(const LinearSpec& spec, const WeightLoader& loader) : linear(spec, loader) {}
  std::vector<NamedTensor> named_tensors() const override;
  LinearWeights linear;
};

struct EmbeddingImpl : EmbeddingHandle {
  EmbeddingImpl(const EmbeddingSpec& spec, const WeightLoader& loader);
  std::vector<NamedTensor> named_tensors() const override;
  std::string name;
  at::Tensor table;  // [rows, size]
};

struct PatchEmbeddingImpl : PatchEmbeddingHandle {
  PatchEmbeddingImpl(const PatchEmbeddingSpec& spec,
                     const PixelNormalization& normalization,
                     const WeightLoader& loader,
                     at::Device device);
  std::vector<NamedTensor> named_tensors() const override;
  PatchEmbeddingSpec spec;
  at::Tensor normalization;  // [3 * 256] fp32
  at::Tensor patch_weight;   // [hidden, 3, patch, patch]
  at::Tensor class_row;      // [hidden]
  at::Tensor positions;      // [tokens, hidden]
  NormWeights pre_norm;
};

struct QkvImpl : QkvHandle {
  QkvImpl(const QkvSpec& spec, const WeightLoader& loader);
  std::vector<NamedTensor> named_tensors() const override;
  int32_t layer_idx;
  float rope_theta;
  NormWeights norm;
  LinearWeights query, key, value;
};

struct MlpImpl : MlpHandle {
  MlpImpl(const MlpSpec& spec, const WeightLoader& loader)
      : norm(spec.norm, loader), input(spec.input, loader), output(spec.output, loader) {}
  std::vector<NamedTensor> named_tensors() const override;
  NormWeights norm;
  LinearWeights input, output;
};

struct GatedMlpImpl : GatedMlpHandle {
  GatedMlpImpl(const GatedMlpSpec& spec, const WeightLoader& loader)
      : norm(spec.norm, loader),
        gate(spec.gate, loader),
        up(spec.up, loader),
        down(spec.down, loader) {}
  std::vector<NamedTensor> named_tensors() const override;
  NormWeights norm;
  LinearWeights gate, up, down;
};

struct ExpertWeights {
  LinearWeights gate, up, down;
};

struct MoeImpl : MoeHandle {
  MoeImpl(const MoeSpec& spec, const WeightLoader& loader);
  std::vector<NamedTensor> named_tensors() const override;
  float residual_weight;
  LinearWeights router;
  std::vector<ExpertWeights> experts;
};

struct LmHeadImpl : LmHeadHandle {
  LmHeadImpl(const LmHeadSpec& spec, const EmbeddingHandle* tied, const WeightLoader& loader);
  std::vector<NamedTensor> named_tensors() const override;
  NormWeights norm;
  bool is_tied;
  LinearWeights head;
};

// down(silu(gate(x)) * up(x))
at::Tensor ApplySwiGlu(const LinearWeights& gate,
                       const LinearWeights& up,
                       const LinearWeights& down,
                       const at::Tensor& x);

}  // namespace parrot::reference

#endif  // PARROT_MODEL_BACKEND_REFERENCE_REFERENCE_HANDLES_H_
