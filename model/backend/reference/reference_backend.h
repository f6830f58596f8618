// ReferenceBackend: every operation in plain ATen, on any device that torch knows. It is the oracle
// of all tests, what training runs on, and the first thing that works on a new device. Right before
// fast: no fusion, no packing, fresh tensors from every call.
//
// Weights: a handle keeps the tensor it is given when dtype and device already fit (an optimiser
// then updates the model in place; see Handle::named_tensors) and converts it otherwise.
//
// Rounding. With compute dtype fp32 (the default) everything is fp32. With bf16 each operation
// rounds once where the reference implementation does: RMSNorm in fp32, cast, times the weight;
// softmax in fp32 inside, result in the dtype; rotary tables cast to the dtype; each weighted
// expert output, their sum, the residual product and the last sum are rounded one by one; logits
// are cast to fp32 at the end.
//
// No CUDA header, no thread, no global. Immutable after construction; thread-safe.
#ifndef PARROT_MODEL_BACKEND_REFERENCE_REFERENCE_BACKEND_H_
#define PARROT_MODEL_BACKEND_REFERENCE_REFERENCE_BACKEND_H_

#include <cstdint>
#include <memory>
#include <span>

#include "ATen/core/Tensor.h"
#include "model/backend/backend.h"

namespace parrot {

class ReferenceBackend : public Backend {
 public:
  struct Options {
    at::Device device = at::kCPU;
    // at::kFloat or at::kBFloat16; at::kDouble for gradient checks.
    at::ScalarType compute_dtype = at::kFloat;
  };

  explicit ReferenceBackend(const Options& options) : options_(options) {}

  at::Device device() const override { return options_.device; }
  at::ScalarType compute_dtype() const override { return options_.compute_dtype; }
  // BLAS chooses its summation order by the shape of the whole call.
  bool rows_are_independent() const override { return false; }
  bool keeps_sources() const override { return true; }
  int64_t KvBlockBytes(const KvStoreSpec&) const override;

  std::unique_ptr<NormHandle> MakeNorm(const NormSpec&, TensorSource&) const override;
  std::unique_ptr<LinearHandle> MakeLinear(const LinearSpec&, TensorSource&) const override;
  std::unique_ptr<EmbeddingHandle> MakeEmbedding(const EmbeddingSpec&,
                                                 TensorSource&) const override;
  std::unique_ptr<PatchEmbeddingHandle> MakePatchEmbedding(const PatchEmbeddingSpec&,
                                                           const PixelNormalization&,
                                                           TensorSource&) const override;
  std::unique_ptr<QkvHandle> MakeQkv(const QkvSpec&, TensorSource&) const override;
  std::unique_ptr<MlpHandle> MakeMlp(const MlpSpec&, TensorSource&) const override;
  std::unique_ptr<GatedMlpHandle> MakeGatedMlp(const GatedMlpSpec&, TensorSource&) const override;
  std::unique_ptr<MoeHandle> MakeMoe(const MoeSpec&, TensorSource&) const override;
  std::unique_ptr<LmHeadHandle> MakeLmHead(const LmHeadSpec&,
                                           const EmbeddingHandle* tied,
                                           TensorSource&) const override;

  std::unique_ptr<Workspace> MakeWorkspace(const WorkspaceLimits&) const override;
  std::unique_ptr<KvStore> MakeKvStore(const KvStoreSpec&) const override;
  std::unique_ptr<AttentionContext> MakeDenseContext() const override;
  std::unique_ptr<AttentionContext> MakePagedContext(KvStore& store) const override;

  void PlanDense(const DenseSequences&, Workspace&, AttentionContext&) const override;
  void PlanPaged(std::span<const PagedSpan> spans, Workspace&, AttentionContext&) const override;
  at::Tensor UploadIds(std::span<const int32_t> ids, Workspace&) const override;
  at::Tensor UploadPixels(std::span<const uint8_t* const> images,
                          int64_t size,
                          Workspace&) const override;
  void Synchronize() const override;

  at::Tensor Embed(const EmbeddingHandle&, const at::Tensor& ids, Workspace&) const override;
  at::Tensor ConcatRows(std::span<const at::Tensor> parts, Workspace&) const override;
  at::Tensor EmbedPatches(const PatchEmbeddingHandle&,
                          const at::Tensor& pixels,
                          Workspace&) const override;
  at::Tensor Norm(const NormHandle&, const at::Tensor& x, Workspace&) const override;
  at::Tensor Linear(const LinearHandle&, const at::Tensor& x, Workspace&) const override;
  at::Tensor LinearAdd(const LinearHandle&,
                       const at::Tensor& x,
                       const at::Tensor& residual,
                       Workspace&) const override;
  Qkv NormQkv(const QkvHandle&, const at::Tensor& hidden, Workspace&) const override;
  at::Tensor Attend(const QkvHandle&, const Qkv&, AttentionContext&, Workspace&) const override;
  at::Tensor Mlp(const MlpHandle&, const at::Tensor& hidden, Workspace&) const override;
  at::Tensor GatedMlp(const GatedMlpHandle&, const at::Tensor& hidden, Workspace&) const override;
  Routing Route(const MoeHandle&,
                const at::Tensor& class_rows,
                const at::Tensor& text,
                std::span<const int32_t> cu_text,
                Workspace&) const override;
  at::Tensor ExpertOutputs(const MoeHandle&, const at::Tensor& features, Workspace&) const override;
  at::Tensor Combine(const MoeHandle&,
                     const at::Tensor& features,
                     const at::Tensor& outputs,
                     const at::Tensor& weights,
                     Workspace&) const override;
  at::Tensor MixExperts(const MoeHandle&,
                        const at::Tensor& features,
                        const at::Tensor& weights,
                        Workspace&) const override;
  at::Tensor Logits(const LmHeadHandle&,
                    const at::Tensor& hidden,
                    const at::Tensor& rows,
                    at::Tensor* normed,
                    Workspace&) const override;
  SampledRows Sample(const at::Tensor& logits,
                     std::span<const SampleRow> rows,
                     int64_t vocab_size,
                     Workspace&) const override;

 private:
  const Options options_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_BACKEND_REFERENCE_REFERENCE_BACKEND_H_
