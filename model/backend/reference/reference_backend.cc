#include "model/backend/reference/reference_backend.h"

#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/embedding.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/index.h"
#include "ATen/ops/matmul.h"
#include "c10/core/impl/VirtualGuardImpl.h"
#include "model/backend/reference/reference_handles.h"

namespace parrot {

using reference::EmbeddingImpl;
using reference::GatedMlpImpl;
using reference::LinearImpl;
using reference::LmHeadImpl;
using reference::MlpImpl;
using reference::MoeImpl;
using reference::NormImpl;
using reference::PatchEmbeddingImpl;
using reference::QkvImpl;
using reference::WeightLoader;

namespace {

// Fresh tensors from every call: nothing to keep.
class ReferenceWorkspace : public Workspace {
 public:
  void BeginStep(int64_t) override {}
};

}  // namespace

std::unique_ptr<NormHandle> ReferenceBackend::MakeNorm(const NormSpec& spec,
                                                       TensorSource& source) const {
  return std::make_unique<NormImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<LinearHandle> ReferenceBackend::MakeLinear(const LinearSpec& spec,
                                                           TensorSource& source) const {
  return std::make_unique<LinearImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<EmbeddingHandle> ReferenceBackend::MakeEmbedding(const EmbeddingSpec& spec,
                                                                 TensorSource& source) const {
  return std::make_unique<EmbeddingImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<PatchEmbeddingHandle> ReferenceBackend::MakePatchEmbedding(
    const PatchEmbeddingSpec& spec,
    const PixelNormalization& normalization,
    TensorSource& source) const {
  return std::make_unique<PatchEmbeddingImpl>(
      spec, normalization, WeightLoader(source, device(), compute_dtype()), device());
}

std::unique_ptr<QkvHandle> ReferenceBackend::MakeQkv(const QkvSpec& spec,
                                                     TensorSource& source) const {
  return std::make_unique<QkvImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<MlpHandle> ReferenceBackend::MakeMlp(const MlpSpec& spec,
                                                     TensorSource& source) const {
  return std::make_unique<MlpImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<GatedMlpHandle> ReferenceBackend::MakeGatedMlp(const GatedMlpSpec& spec,
                                                               TensorSource& source) const {
  return std::make_unique<GatedMlpImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<MoeHandle> ReferenceBackend::MakeMoe(const MoeSpec& spec,
                                                     TensorSource& source) const {
  return std::make_unique<MoeImpl>(spec, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<LmHeadHandle> ReferenceBackend::MakeLmHead(const LmHeadSpec& spec,
                                                           const EmbeddingHandle* tied,
                                                           TensorSource& source) const {
  return std::make_unique<LmHeadImpl>(spec, tied, WeightLoader(source, device(), compute_dtype()));
}

std::unique_ptr<Workspace> ReferenceBackend::MakeWorkspace(const WorkspaceLimits&) const {
  return std::make_unique<ReferenceWorkspace>();
}

at::Tensor ReferenceBackend::UploadIds(std::span<const int32_t> ids, Workspace&) const {
  const int64_t count = static_cast<int64_t>(ids.size());
  at::Tensor host = at::empty({count}, at::kInt);
  std::copy(ids.begin(), ids.end(), host.mutable_data_ptr<int32_t>());
  return host.to(device());
}

at::Tensor ReferenceBackend::UploadPixels(std::span<const uint8_t* const> images,
                                          int64_t size,
                                          Workspace&) const {
  const int64_t count = static_cast<int64_t>(images.size());
  const int64_t image_bytes = size * size * 3;
  at::Tensor host = at::empty({count, size, size, 3}, at::kByte);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(images[i], image_bytes, host.mutable_data_ptr<uint8_t>() + i * image_bytes);
  }
  return host.to(device());
}

void ReferenceBackend::Synchronize() const {
  if (device().is_cpu()) return;
  c10::impl::VirtualGuardImpl guard(device().type());
  guard.synchronizeDevice(device().index());
}

at::Tensor ReferenceBackend::Embed(const EmbeddingHandle& handle,
                                   const at::Tensor& ids,
                                   Workspace&) const {
  const at::Tensor& table = static_cast<const EmbeddingImpl&>(handle).table;
  // The same rows; the gradient of the first is several times faster, the second runs on any
  // device.
  return table.requires_grad() ? at::embedding(table, ids) : at::index(table, {ids});
}

at::Tensor ReferenceBackend::ConcatRows(std::span<const at::Tensor> parts, Workspace&) const {
  if (parts.size() == 1) return parts.front();
  return at::cat(at::TensorList(parts.data(), parts.size()));
}

at::Tensor ReferenceBackend::EmbedPatches(const PatchEmbeddingHandle& handle,
                                          const at::Tensor& pixels,
                                          Workspace&) const {
  const auto& impl = static_cast<const PatchEmbeddingImpl&>(handle);
  const int64_t num_images = pixels.size(0);
  const int64_t patch = impl.spec.patch_size;
  const int64_t side = impl.spec.image_size / patch;
  const int64_t hidden = impl.spec.hidden_size;
  // [N, 3, S, S] bytes, then floats through the table of their channel.
  const at::Tensor planes = pixels.permute({0, 3, 1, 2}).to(at::kInt);
  std::vector<at::Tensor> channels;
  for (int64_t channel = 0; channel < 3; ++channel) {
    const at::Tensor index = planes.select(1, channel) + channel * 256;
    channels.push_back(at::index(impl.normalization, {index.reshape({-1})})
                           .view({num_images, side, patch, side, patch}));
  }
  // [3, N, side, patch, side, patch] -> [N * side * side, 3 * patch * patch], channel-major.
  const at::Tensor patches = at::stack(channels)
                                 .permute({1, 2, 4, 0, 3, 5})
                                 .reshape({num_images * side * side, 3 * patch * patch})
                                 .to(compute_dtype());
  const at::Tensor rows =
      at::matmul(patches, impl.patch_weight.reshape({hidden, 3 * patch * patch}).t())
          .view({num_images, side * side, hidden});
  const at::Tensor class_rows = impl.class_row.expand({num_images, 1, hidden});
  const at::Tensor tokens = at::cat({class_rows, rows}, 1) + impl.positions;
  return impl.pre_norm.Apply(tokens.view({num_images * (side * side + 1), hidden}));
}

at::Tensor ReferenceBackend::Norm(const NormHandle& handle, const at::Tensor& x, Workspace&) const {
  return static_cast<const NormImpl&>(handle).norm.Apply(x);
}

at::Tensor ReferenceBackend::Linear(const LinearHandle& handle,
                                    const at::Tensor& x,
                                    Workspace&) const {
  return static_cast<const LinearImpl&>(handle).linear.Apply(x);
}

at::Tensor ReferenceBackend::LinearAdd(const LinearHandle& handle,
                                       const at::Tensor& x,
                                       const at::Tensor& residual,
                                       Workspace&) const {
  return residual + static_cast<const LinearImpl&>(handle).linear.Apply(x);
}

at::Tensor ReferenceBackend::Mlp(const MlpHandle& handle,
                                 const at::Tensor& hidden,
                                 Workspace&) const {
  const auto& impl = static_cast<const MlpImpl&>(handle);
  return hidden + impl.output.Apply(impl.input.Apply(impl.norm.Apply(hidden)));
}

at::Tensor ReferenceBackend::GatedMlp(const GatedMlpHandle& handle,
                                      const at::Tensor& hidden,
                                      Workspace&) const {
  const auto& impl = static_cast<const GatedMlpImpl&>(handle);
  return hidden + reference::ApplySwiGlu(impl.gate, impl.up, impl.down, impl.norm.Apply(hidden));
}

at::Tensor ReferenceBackend::Logits(const LmHeadHandle& handle,
                                    const at::Tensor& hidden,
                                    const at::Tensor& rows,
                                    at::Tensor* normed,
                                    Workspace&) const {
  const auto& impl = static_cast<const LmHeadImpl&>(handle);
  const at::Tensor x = impl.norm.Apply(rows.defined() ? at::index(hidden, {rows}) : hidden);
  if (normed != nullptr) *normed = x;
  return impl.head.Apply(x).to(c10::promoteTypes(compute_dtype(), at::kFloat));
}

}  // namespace parrot
