#include "model/backend/reference/reference_handles.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/gelu.h"
#include "ATen/ops/layer_norm.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/rsqrt.h"
#include "ATen/ops/sigmoid.h"
#include "ATen/ops/silu.h"
#include "c10/util/Exception.h"

namespace parrot::reference {

at::Tensor WeightLoader::Load(const std::string& name, const std::vector<int64_t>& shape) const {
  return GetTensor(source_, name, shape).to(device_, dtype_);
}

NormWeights::NormWeights(const NormSpec& spec, const WeightLoader& loader)
    : spec(spec), weight(loader.Load(spec.name + ".weight", {spec.size})) {
  if (spec.kind == NormKind::kLayerNorm) bias = loader.Load(spec.name + ".bias", {spec.size});
}

at::Tensor NormWeights::Apply(const at::Tensor& x) const {
  if (spec.kind == NormKind::kLayerNorm) {
    return at::layer_norm(x, {spec.size}, weight, bias, spec.eps);
  }
  const at::Tensor wide = x.to(c10::promoteTypes(x.scalar_type(), at::kFloat));
  const at::Tensor variance = wide.square().mean(-1, /*keepdim=*/true);
  return weight * (wide * at::rsqrt(variance + spec.eps)).to(x.scalar_type());
}

void NormWeights::Append(std::vector<NamedTensor>* out) const {
  out->emplace_back(spec.name + ".weight", weight);
  if (bias.defined()) out->emplace_back(spec.name + ".bias", bias);
}

LinearWeights::LinearWeights(const LinearSpec& spec, const WeightLoader& loader)
    : spec(spec),
      weight(loader.Load(spec.name + ".weight", {spec.out_features, spec.in_features})) {
  if (spec.has_bias) bias = loader.Load(spec.name + ".bias", {spec.out_features});
}

at::Tensor LinearWeights::Apply(const at::Tensor& x) const {
  at::Tensor y = at::linear(x, weight, bias);
  switch (spec.activation) {
    case Activation::kNone:
      return y;
    case Activation::kGelu:
      return at::gelu(y);
    case Activation::kQuickGelu:
      return y * at::sigmoid(y * 1.702);
  }
  return y;
}

void LinearWeights::Append(std::vector<NamedTensor>* out) const {
  out->emplace_back(spec.name + ".weight", weight);
  if (bias.defined()) out->emplace_back(spec.name + ".bias", bias);
}

std::vector<NamedTensor> NormImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  norm.Append(&out);
  return out;
}

std::vector<NamedTensor> LinearImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  linear.Append(&out);
  return out;
}

EmbeddingImpl::EmbeddingImpl(const EmbeddingSpec& spec, const WeightLoader& loader)
    : name(spec.name), table(loader.Load(spec.name + ".weight", {spec.rows, spec.size})) {}

std::vector<NamedTensor> EmbeddingImpl::named_tensors() const {
  return {{name + ".weight", table}};
}

PatchEmbeddingImpl::PatchEmbeddingImpl(const PatchEmbeddingSpec& spec,
                                       const PixelNormalization& normalization_table,
                                       const WeightLoader& loader,
                                       at::Device device)
    : spec(spec),
      patch_weight(loader.Load(spec.patch_name + ".weight",
                               {spec.hidden_size, 3, spec.patch_size, spec.patch_size})),
      class_row(loader.Load(spec.class_name, {spec.hidden_size})),
      pre_norm(spec.pre_norm, loader) {
  const int64_t side = spec.image_size / spec.patch_size;
  positions = loader.Load(spec.position_name + ".weight", {side * side + 1, spec.hidden_size});
  at::Tensor host = at::empty({3 * 256}, at::kFloat);
  float* values = host.mutable_data_ptr<float>();
  for (int channel = 0; channel < 3; ++channel) {
    for (int byte = 0; byte < 256; ++byte) {
      values[channel * 256 + byte] = normalization_table.value(channel, static_cast<uint8_t>(byte));
    }
  }
  normalization = host.to(device);
}

std::vector<NamedTensor> PatchEmbeddingImpl::named_tensors() const {
  std::vector<NamedTensor> out = {{spec.patch_name + ".weight", patch_weight},
                                  {spec.class_name, class_row},
                                  {spec.position_name + ".weight", positions}};
  pre_norm.Append(&out);
  return out;
}

QkvImpl::QkvImpl(const QkvSpec& spec, const WeightLoader& loader)
    : QkvHandle(spec.num_heads, spec.num_kv_heads, spec.head_dim),
      layer_idx(spec.layer_idx),
      rope_theta(spec.rope_theta),
      norm(spec.norm, loader),
      query(spec.query, loader),
      key(spec.key, loader),
      value(spec.value, loader) {}

std::vector<NamedTensor> QkvImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  norm.Append(&out);
  query.Append(&out);
  key.Append(&out);
  value.Append(&out);
  return out;
}

std::vector<NamedTensor> MlpImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  norm.Append(&out);
  input.Append(&out);
  output.Append(&out);
  return out;
}

std::vector<NamedTensor> GatedMlpImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  norm.Append(&out);
  gate.Append(&out);
  up.Append(&out);
  down.Append(&out);
  return out;
}

MoeImpl::MoeImpl(const MoeSpec& spec, const WeightLoader& loader)
    : residual_weight(spec.residual_weight), router(spec.router, loader) {
  experts.reserve(spec.num_experts);
  for (int64_t i = 0; i < spec.num_experts; ++i) {
    const std::string prefix = spec.experts_name + "." + std::to_string(i) + ".";
    const auto load = [&](const char* name, int64_t in, int64_t out, Partition partition) {
      return LinearWeights(
          {.name = prefix + name, .in_features = in, .out_features = out, .partition = partition},
          loader);
    };
    const int64_t hidden = spec.hidden_size;
    const int64_t inter = spec.intermediate_size;
    experts.push_back({.gate = load("gate_proj", hidden, inter, Partition::kColumn),
                       .up = load("up_proj", hidden, inter, Partition::kColumn),
                       .down = load("down_proj", inter, hidden, Partition::kRow)});
  }
}

std::vector<NamedTensor> MoeImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  router.Append(&out);
  for (const ExpertWeights& expert : experts) {
    expert.gate.Append(&out);
    expert.up.Append(&out);
    expert.down.Append(&out);
  }
  return out;
}

LmHeadImpl::LmHeadImpl(const LmHeadSpec& spec,
                       const EmbeddingHandle* tied,
                       const WeightLoader& loader)
    : norm(spec.norm, loader),
      is_tied(tied != nullptr),
      head(tied != nullptr
               ? LinearWeights(spec.head, static_cast<const EmbeddingImpl*>(tied)->table)
               : LinearWeights(spec.head, loader)) {}

std::vector<NamedTensor> LmHeadImpl::named_tensors() const {
  std::vector<NamedTensor> out;
  norm.Append(&out);
  if (!is_tied) head.Append(&out);  // a tied head is the embedding's to show
  return out;
}

at::Tensor ApplySwiGlu(const LinearWeights& gate,
                       const LinearWeights& up,
                       const LinearWeights& down,
                       const at::Tensor& x) {
  return down.Apply(at::silu(gate.Apply(x)) * up.Apply(x));
}

}  // namespace parrot::reference
