#include "model/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <vector>

#include "c10/util/Exception.h"
#include "model/backend/cpu/cpu_handles.h"
#include "model/backend/cpu/cpu_workspace.h"
#include "model/kernels/vision_ops.h"

namespace parrot {

using cpu::CpuWorkspace;
using cpu::EmbeddingImpl;
using cpu::GatedMlpImpl;
using cpu::LinearImpl;
using cpu::LinearWeights;
using cpu::LmHeadImpl;
using cpu::Loader;
using cpu::MlpImpl;
using cpu::MoeImpl;
using cpu::NormImpl;
using cpu::PatchEmbeddingImpl;
using cpu::QkvImpl;
using kernels::Epilogue;
using kernels::GemmPart;
using kernels::PackedRows;

namespace {

CpuWorkspace& Cpu(Workspace& workspace) { return static_cast<CpuWorkspace&>(workspace); }

// Rows of x [rows, size] as they are.
PackedRows::Source Plain(const at::Tensor& x) {
  return {.x = x.const_data_ptr<float>(), .stride = x.size(1)};
}

void Multiply(CpuWorkspace& w, const GemmPart& part) {
  kernels::Gemm(w.threads, w.rows, std::span<const GemmPart>(&part, 1), w.gemm);
}

// residual + activation(x W^T + b), into residual.
void MultiplyAndAdd(CpuWorkspace& w, const LinearWeights& linear, const at::Tensor& residual) {
  Epilogue epilogue = linear.EpilogueTo(residual);
  epilogue.residual = epilogue.out;
  epilogue.residual_stride = epilogue.out_stride;
  Multiply(w, {.weights = &linear.matrix, .epilogue = epilogue});
}

}  // namespace

std::unique_ptr<NormHandle> CpuBackend::MakeNorm(const NormSpec& spec, Source& source) const {
  return std::make_unique<NormImpl>(spec, Loader(options_, source));
}

std::unique_ptr<LinearHandle> CpuBackend::MakeLinear(const LinearSpec& spec, Source& source) const {
  return std::make_unique<LinearImpl>(spec, Loader(options_, source));
}

std::unique_ptr<EmbeddingHandle> CpuBackend::MakeEmbedding(const EmbeddingSpec& spec,
                                                           Source& source) const {
  return std::make_unique<EmbeddingImpl>(spec, Loader(options_, source));
}

std::unique_ptr<PatchEmbeddingHandle> CpuBackend::MakePatchEmbedding(
    const PatchEmbeddingSpec& spec, const PixelNormalization& table, Source& source) const {
  return std::make_unique<PatchEmbeddingImpl>(spec, table, Loader(options_, source));
}

std::unique_ptr<QkvHandle> CpuBackend::MakeQkv(const QkvSpec& spec, Source& source) const {
  return std::make_unique<QkvImpl>(spec, Loader(options_, source));
}

std::unique_ptr<MlpHandle> CpuBackend::MakeMlp(const MlpSpec& spec, Source& source) const {
  return std::make_unique<MlpImpl>(spec, Loader(options_, source));
}

std::unique_ptr<GatedMlpHandle> CpuBackend::MakeGatedMlp(const GatedMlpSpec& spec,
                                                         Source& source) const {
  return std::make_unique<GatedMlpImpl>(spec, Loader(options_, source));
}

std::unique_ptr<MoeHandle> CpuBackend::MakeMoe(const MoeSpec& spec, Source& source) const {
  return std::make_unique<MoeImpl>(spec, Loader(options_, source));
}

std::unique_ptr<LmHeadHandle> CpuBackend::MakeLmHead(const LmHeadSpec& spec,
                                                     const EmbeddingHandle* tied,
                                                     Source& source) const {
  return std::make_unique<LmHeadImpl>(spec, tied, Loader(options_, source));
}

std::string CpuBackend::EndLoading() const {
  if (options_.packed_file == nullptr) return {};
  options_.packed_file->Commit();
  return options_.packed_file->outcome();
}

std::unique_ptr<Workspace> CpuBackend::MakeWorkspace(const WorkspaceLimits& limits) const {
  return std::make_unique<CpuWorkspace>(options_.isa, limits.num_threads);
}

at::Tensor CpuBackend::UploadIds(std::span<const int32_t> ids, Workspace& workspace) const {
  at::Tensor out = Cpu(workspace).tensors.Take({static_cast<int64_t>(ids.size())}, at::kInt);
  std::copy(ids.begin(), ids.end(), out.mutable_data_ptr<int32_t>());
  return out;
}

at::Tensor CpuBackend::UploadPixels(std::span<const uint8_t* const> images,
                                    int64_t size,
                                    Workspace& workspace) const {
  const int64_t image_bytes = size * size * 3;
  at::Tensor out =
      Cpu(workspace).tensors.Take({static_cast<int64_t>(images.size()), size, size, 3}, at::kByte);
  uint8_t* bytes = out.mutable_data_ptr<uint8_t>();
  for (const uint8_t* image : images) bytes = std::copy_n(image, image_bytes, bytes);
  return out;
}

at::Tensor CpuBackend::Embed(const EmbeddingHandle& handle,
                             const at::Tensor& ids,
                             Workspace& workspace) const {
  const auto& embedding = static_cast<const EmbeddingImpl&>(handle);
  const at::Tensor& table = embedding.table;
  const int64_t size = table.defined() ? table.size(1) : embedding.matrix.shape().in_features;
  at::Tensor out = Cpu(workspace).Floats({ids.size(0), size});
  const int32_t* wanted = ids.const_data_ptr<int32_t>();
  float* to = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < ids.size(0); ++i, to += size) {
    if (!table.defined()) {
      embedding.matrix.ReadRow(wanted[i], to);
    } else if (table.scalar_type() == at::kFloat) {
      std::copy_n(table.const_data_ptr<float>() + wanted[i] * size, size, to);
    } else {
      // c10's conversion is a shift.
      std::copy_n(table.const_data_ptr<at::BFloat16>() + wanted[i] * size, size, to);
    }
  }
  return out;
}

at::Tensor CpuBackend::ConcatRows(std::span<const at::Tensor> parts, Workspace& workspace) const {
  if (parts.size() == 1) return parts.front();
  int64_t rows = 0;
  for (const at::Tensor& part : parts) rows += part.size(0);
  at::Tensor out = Cpu(workspace).Floats({rows, parts.front().size(1)});
  float* to = out.mutable_data_ptr<float>();
  for (const at::Tensor& part : parts) {
    to = std::copy_n(part.const_data_ptr<float>(), part.numel(), to);
  }
  return out;
}

at::Tensor CpuBackend::EmbedPatches(const PatchEmbeddingHandle& handle,
                                    const at::Tensor& pixels,
                                    Workspace& workspace) const {
  const auto& impl = static_cast<const PatchEmbeddingImpl&>(handle);
  CpuWorkspace& w = Cpu(workspace);
  const int64_t num_images = pixels.size(0);
  const int64_t hidden = impl.spec.hidden_size;
  const int64_t tokens = impl.spec.num_tokens();
  const int64_t inputs = impl.patches.shape().in_features;
  const at::Tensor patches = w.Floats({num_images * (tokens - 1), inputs});
  kernels::PatchRows(w.threads,
                     {.pixels = pixels.const_data_ptr<uint8_t>(),
                      .num_images = num_images,
                      .size = impl.spec.image_size,
                      .patch = impl.spec.patch_size,
                      .normalization = impl.normalization.data(),
                      .rows = patches.mutable_data_ptr<float>()});
  const at::Tensor embedded = w.Floats({num_images * (tokens - 1), hidden});
  w.rows.Pack(w.threads, embedded.size(0), inputs, impl.patches.activations(), Plain(patches));
  Multiply(w,
           {.weights = &impl.patches,
            .epilogue = {.out = embedded.mutable_data_ptr<float>(), .out_stride = hidden}});
  at::Tensor out = w.Floats({num_images * tokens, hidden});
  kernels::AddPositions(options_.isa,
                        w.threads,
                        {.patches = embedded.const_data_ptr<float>(),
                         .num_images = num_images,
                         .num_patches = tokens - 1,
                         .hidden = hidden,
                         .class_row = impl.class_row.data(),
                         .positions = impl.positions.data(),
                         .tokens = out.mutable_data_ptr<float>()});
  kernels::Norm(options_.isa,
                w.threads,
                num_images * tokens,
                hidden,
                impl.pre_norm.Source(out),
                out.mutable_data_ptr<float>(),
                hidden);
  return out;
}

at::Tensor CpuBackend::Norm(const NormHandle& handle,
                            const at::Tensor& x,
                            Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const auto& norm = static_cast<const NormImpl&>(handle).norm;
  at::Tensor out = w.Floats(x.sizes());
  kernels::Norm(options_.isa,
                w.threads,
                x.size(0),
                norm.spec.size,
                norm.Source(x),
                out.mutable_data_ptr<float>(),
                norm.spec.size);
  return out;
}

at::Tensor CpuBackend::Linear(const LinearHandle& handle,
                              const at::Tensor& x,
                              Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const LinearWeights& linear = static_cast<const LinearImpl&>(handle).linear;
  at::Tensor out = w.Floats({x.size(0), linear.spec.out_features});
  w.rows.Pack(w.threads, x.size(0), linear.spec.in_features, linear.matrix.activations(), Plain(x));
  Multiply(w, {.weights = &linear.matrix, .epilogue = linear.EpilogueTo(out)});
  return out;
}

at::Tensor CpuBackend::LinearAdd(const LinearHandle& handle,
                                 const at::Tensor& x,
                                 const at::Tensor& residual,
                                 Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const LinearWeights& linear = static_cast<const LinearImpl&>(handle).linear;
  w.rows.Pack(w.threads, x.size(0), linear.spec.in_features, linear.matrix.activations(), Plain(x));
  MultiplyAndAdd(w, linear, residual);
  return residual;
}

at::Tensor CpuBackend::Mlp(const MlpHandle& handle,
                           const at::Tensor& hidden,
                           Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const auto& impl = static_cast<const MlpImpl&>(handle);
  const int64_t rows = hidden.size(0);
  const at::Tensor inner = w.Floats({rows, impl.input.spec.out_features});
  w.rows.Pack(w.threads,
              rows,
              impl.norm.spec.size,
              impl.input.matrix.activations(),
              impl.norm.Source(hidden));
  Multiply(w, {.weights = &impl.input.matrix, .epilogue = impl.input.EpilogueTo(inner)});
  w.rows.Pack(w.threads,
              rows,
              impl.output.spec.in_features,
              impl.output.matrix.activations(),
              Plain(inner));
  MultiplyAndAdd(w, impl.output, hidden);
  return hidden;
}

at::Tensor CpuBackend::GatedMlp(const GatedMlpHandle& handle,
                                const at::Tensor& hidden,
                                Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const auto& impl = static_cast<const GatedMlpImpl&>(handle);
  const int64_t rows = hidden.size(0);
  const int64_t inter = impl.down.spec.in_features;
  const at::Tensor inner = w.Floats({rows, inter});
  w.rows.Pack(w.threads,
              rows,
              impl.norm.spec.size,
              impl.gate_up.matrix.activations(),
              impl.norm.Source(hidden));
  Multiply(w,
           {.weights = &impl.gate_up.matrix,
            .epilogue = {.activation = kernels::GemmActivation::kSiluMul,
                         .out = inner.mutable_data_ptr<float>(),
                         .out_stride = inter}});
  w.rows.Pack(w.threads, rows, inter, impl.down.matrix.activations(), Plain(inner));
  MultiplyAndAdd(w, impl.down, hidden);
  return hidden;
}

Qkv CpuBackend::NormQkv(const QkvHandle& handle,
                        const at::Tensor& hidden,
                        Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const auto& impl = static_cast<const QkvImpl&>(handle);
  const int64_t rows = hidden.size(0);
  const int64_t d = impl.head_dim();
  Qkv qkv = {.query = w.Floats({rows, impl.num_heads(), d}),
             .key = w.Floats({rows, impl.num_kv_heads(), d}),
             .value = w.Floats({rows, impl.num_kv_heads(), d})};
  w.rows.Pack(w.threads,
              rows,
              impl.norm.spec.size,
              impl.query.matrix.activations(),
              impl.norm.Source(hidden));
  const GemmPart parts[] = {
      {.weights = &impl.query.matrix, .epilogue = impl.query.EpilogueTo(qkv.query)},
      {.weights = &impl.key.matrix, .epilogue = impl.key.EpilogueTo(qkv.key)},
      {.weights = &impl.value.matrix, .epilogue = impl.value.EpilogueTo(qkv.value)}};
  kernels::Gemm(w.threads, w.rows, parts, w.gemm);
  return qkv;
}

at::Tensor CpuBackend::Logits(const LmHeadHandle& handle,
                              const at::Tensor& hidden,
                              const at::Tensor& rows,
                              at::Tensor* normed,
                              Workspace& workspace) const {
  CpuWorkspace& w = Cpu(workspace);
  const auto& impl = static_cast<const LmHeadImpl&>(handle);
  const int64_t count = rows.defined() ? rows.size(0) : hidden.size(0);
  PackedRows::Source source = impl.norm.Source(hidden);
  if (rows.defined()) source.row_index = rows.const_data_ptr<int32_t>();
  if (normed != nullptr) {
    *normed = w.Floats({count, impl.norm.spec.size});
    kernels::Norm(options_.isa,
                  w.threads,
                  count,
                  impl.norm.spec.size,
                  source,
                  normed->mutable_data_ptr<float>(),
                  impl.norm.spec.size);
  }
  at::Tensor out = w.Floats({count, impl.spec.head.out_features});
  w.rows.Pack(w.threads, count, impl.norm.spec.size, impl.head->activations(), source);
  Multiply(w,
           {.weights = impl.head,
            .epilogue = {.out = out.mutable_data_ptr<float>(),
                         .out_stride = impl.spec.head.out_features}});
  return out;
}

}  // namespace parrot
