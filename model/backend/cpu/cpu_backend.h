// CpuBackend: our own kernels (model/kernels) on the machine's best instruction set.
//
// Weights are packed once, in the format that their role asks for; activations are fp32 (with
// kAvx512Bf16 and kAmx a product rounds them to bf16 unless its weights are fp32). Each row of a
// call is computed in an order of its own, so results do not depend on batch mates, on how a prompt
// was cut, or on threads: rows_are_independent().
//
// A workspace owns the threads of its worker, so workers share one backend and one copy of the
// weights. Its tensors are used again as soon as nobody holds them: a steady step allocates
// nothing.
#ifndef PARROT_MODEL_BACKEND_CPU_CPU_BACKEND_H_
#define PARROT_MODEL_BACKEND_CPU_CPU_BACKEND_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "model/backend/backend.h"
#include "model/backend/cpu/packed_file.h"
#include "model/kernels/attention.h"
#include "model/kernels/gemm.h"
#include "model/kernels/isa.h"

namespace parrot {

class CpuBackend : public Backend {
 public:
  struct Options {
    kernels::Isa isa = kernels::Isa::kEmulatedAvx2;
    // By role. What a group size does not divide (experts that lie side by side) stays at
    // `plain_format`, as do embeddings, which are looked up, and routers, which stay fp32.
    kernels::WeightFormat plain_format = kernels::WeightFormat::kFloat32;  // fp32 or bf16
    kernels::WeightEncoding vision, language, experts, head;
    kernels::KvFormat kv_format = kernels::KvFormat::kFloat32;
    // Where packed weights lie; nullptr: in anonymous memory. Used while handles are made.
    std::shared_ptr<PackedFile> packed_file;
  };
  explicit CpuBackend(const Options& options) : options_(options) {}

  const Options& options() const { return options_; }

  at::Device device() const override { return at::kCPU; }
  at::ScalarType compute_dtype() const override { return at::kFloat; }
  bool rows_are_independent() const override { return true; }
  bool keeps_sources() const override { return false; }
  int64_t KvBlockBytes(const KvStoreSpec&) const override;

  std::unique_ptr<NormHandle> MakeNorm(const NormSpec&, Source&) const override;
  std::unique_ptr<LinearHandle> MakeLinear(const LinearSpec&, Source&) const override;
  std::unique_ptr<EmbeddingHandle> MakeEmbedding(const EmbeddingSpec&, Source&) const override;
  std::unique_ptr<PatchEmbeddingHandle> MakePatchEmbedding(const PatchEmbeddingSpec&,
                                                           const PixelNormalization&,
                                                           Source&) const override;
  std::unique_ptr<QkvHandle> MakeQkv(const QkvSpec&, Source&) const override;
  std::unique_ptr<MlpHandle> MakeMlp(const MlpSpec&, Source&) const override;
  std::unique_ptr<GatedMlpHandle> MakeGatedMlp(const GatedMlpSpec&, Source&) const override;
  std::unique_ptr<MoeHandle> MakeMoe(const MoeSpec&, Source&) const override;
  std::unique_ptr<LmHeadHandle> MakeLmHead(const LmHeadSpec&,
                                           const EmbeddingHandle* tied,
                                           Source&) const override;
  std::string EndLoading() const override;

  std::unique_ptr<Workspace> MakeWorkspace(const WorkspaceLimits&) const override;
  std::unique_ptr<KvStore> MakeKvStore(const KvStoreSpec&) const override;
  std::unique_ptr<AttentionContext> MakeDenseContext() const override;
  std::unique_ptr<AttentionContext> MakePagedContext(KvStore& store) const override;

  void PlanDense(const DenseSequences&, Workspace&, AttentionContext&) const override;
  void PlanPaged(std::span<const PagedSpan>, Workspace&, AttentionContext&) const override;
  at::Tensor UploadIds(std::span<const int32_t> ids, Workspace&) const override;
  at::Tensor UploadPixels(std::span<const uint8_t* const> images,
                          int64_t size,
                          Workspace&) const override;
  void Synchronize() const override {}

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

#endif  // PARROT_MODEL_BACKEND_CPU_CPU_BACKEND_H_
