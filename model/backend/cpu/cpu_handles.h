// The CPU backend's handles: packed matrices, vectors in fp32. Private to the folder. Immutable.
#ifndef PARROT_MODEL_BACKEND_CPU_CPU_HANDLES_H_
#define PARROT_MODEL_BACKEND_CPU_CPU_HANDLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/backend/backend.h"
#include "model/backend/cpu/cpu_backend.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/gemm.h"
#include "model/kernels/worker_pool.h"

namespace parrot::cpu {

// Takes tensors from a source into packed form, one at a time.
class Loader {
 public:
  Loader(const CpuBackend::Options& options, TensorSource& source);

  const CpuBackend::Options& options() const { return options_; }
  std::vector<float> Floats(const std::string& name, const std::vector<int64_t>& shape) const;
  // [rows, size] in `type`, for looking rows up.
  at::Tensor Table(const std::string& name,
                   const std::vector<int64_t>& shape,
                   at::ScalarType type) const;
  // An empty matrix, or a packed file's full one.
  kernels::PackedMatrix MakeMatrix(const kernels::MatrixShape& shape) const;
  // For weights of this role.
  kernels::PackedMatrix MakeMatrix(int64_t out_features,
                                   int64_t in_features,
                                   WeightRole role,
                                   kernels::PanelOrder order = kernels::PanelOrder::kPlain) const;
  // Puts the tensor [out, in] `name` at [first_out, first_in] of the matrix.
  void Add(kernels::PackedMatrix& matrix,
           const std::string& name,
           int64_t out,
           int64_t in,
           int64_t first_out = 0,
           int64_t first_in = 0) const;
  // The same with a tensor that one has, or whose shape is read as [out, in].
  void AddTensor(kernels::PackedMatrix& matrix, const at::Tensor& tensor) const;
  void AddAs(kernels::PackedMatrix& matrix,
             const std::string& name,
             const std::vector<int64_t>& stored_shape) const;

 private:
  kernels::WeightEncoding EncodingOf(WeightRole role) const;
  bool is_filled() const { return options_.packed_file && options_.packed_file->is_filled(); }
  kernels::AlignedBuffer Memory(int64_t bytes) const;
  void Pack(kernels::PackedMatrix& matrix,
            const at::Tensor& tensor,
            int64_t first_out,
            int64_t first_in) const;

  const CpuBackend::Options& options_;
  TensorSource& source_;
  mutable kernels::WorkerPool threads_;
};

struct NormWeights {
  NormWeights(const NormSpec& spec, const Loader& loader);
  // Rows of x [rows, size], normed on their way into a product.
  kernels::PackedRows::Source Source(const at::Tensor& x) const;

  NormSpec spec;
  std::vector<float> weight;
  std::vector<float> bias;  // empty for RMSNorm
};

struct LinearWeights {
  LinearWeights(const LinearSpec& spec, const Loader& loader);
  // bias, activation and destination of out [rows, out_features]
  kernels::Epilogue EpilogueTo(const at::Tensor& out) const;

  LinearSpec spec;
  kernels::PackedMatrix matrix;
  std::vector<float> bias;  // empty: none
};

// gate and up in one matrix, interleaved.
struct GateUpWeights {
  GateUpWeights(const LinearSpec& gate, const LinearSpec& up, const Loader& loader);
  kernels::PackedMatrix matrix;
};

struct NormImpl : NormHandle {
  NormImpl(const NormSpec& spec, const Loader& loader) : norm(spec, loader) {}
  NormWeights norm;
};

struct LinearImpl : LinearHandle {
  LinearImpl(const LinearSpec& spec, const Loader& loader) : linear(spec, loader) {}
  LinearWeights linear;
};

struct EmbeddingImpl : EmbeddingHandle {
  EmbeddingImpl(const EmbeddingSpec& spec, const Loader& loader);
  // [rows, size] fp32 or bf16; undefined where `matrix`, the tied head's, has the same values.
  at::Tensor table;
  kernels::PackedMatrix matrix;
};

struct PatchEmbeddingImpl : PatchEmbeddingHandle {
  PatchEmbeddingImpl(const PatchEmbeddingSpec& spec,
                     const PixelNormalization& normalization,
                     const Loader& loader);
  PatchEmbeddingSpec spec;
  std::vector<float> normalization;  // [3 * 256]
  kernels::PackedMatrix patches;     // [hidden, 3 * patch * patch]
  std::vector<float> class_row;      // [hidden]
  std::vector<float> positions;      // [tokens, hidden]
  NormWeights pre_norm;
};

struct QkvImpl : QkvHandle {
  QkvImpl(const QkvSpec& spec, const Loader& loader);
  int32_t layer_idx;
  float rope_theta;
  NormWeights norm;
  LinearWeights query, key, value;
};

struct MlpImpl : MlpHandle {
  MlpImpl(const MlpSpec& spec, const Loader& loader)
      : norm(spec.norm, loader), input(spec.input, loader), output(spec.output, loader) {}
  NormWeights norm;
  LinearWeights input, output;
};

struct GatedMlpImpl : GatedMlpHandle {
  GatedMlpImpl(const GatedMlpSpec& spec, const Loader& loader)
      : norm(spec.norm, loader), gate_up(spec.gate, spec.up, loader), down(spec.down, loader) {}
  NormWeights norm;
  GateUpWeights gate_up;
  LinearWeights down;
};

struct MoeImpl : MoeHandle {
  MoeImpl(const MoeSpec& spec, const Loader& loader);
  MoeSpec spec;
  std::vector<float> router;           // [experts, hidden]
  std::vector<GateUpWeights> gate_up;  // of each expert
  // [hidden, experts * intermediate]: the experts' down projections side by side, so that the sum
  // over experts is part of one product.
  kernels::PackedMatrix down;
};

struct LmHeadImpl : LmHeadHandle {
  LmHeadImpl(const LmHeadSpec& spec, const EmbeddingHandle* tied, const Loader& loader);
  LmHeadSpec spec;
  NormWeights norm;
  const kernels::PackedMatrix* head;  // the tied embedding's or the own one

 private:
  kernels::PackedMatrix own_;
};

}  // namespace parrot::cpu

#endif  // PARROT_MODEL_BACKEND_CPU_CPU_HANDLES_H_
