#include "model/backend/cpu/cpu_handles.h"

#include <utility>

#include "c10/util/Exception.h"

namespace parrot::cpu {

using kernels::PackedMatrix;
using kernels::PanelOrder;
using kernels::SourceType;
using kernels::WeightEncoding;
using kernels::WeightFormat;

namespace {

SourceType SourceTypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return SourceType::kFloat32;
    case at::kBFloat16:
      return SourceType::kBFloat16;
    case at::kHalf:
      return SourceType::kFloat16;
    default:
      TORCH_CHECK(false, "weights of type ", type);
  }
}

// Of the experts' down projections side by side: a scale belongs to one expert, so it has groups,
// and they must not reach into the next expert.
WeightEncoding DownEncoding(const CpuBackend::Options& options, int64_t intermediate_size) {
  WeightEncoding encoding = options.experts;
  if (encoding.format == WeightFormat::kInt8 && encoding.group_size == 0) encoding.group_size = 128;
  const bool fits = encoding.group_size == 0 || intermediate_size % encoding.group_size == 0;
  return fits ? encoding : WeightEncoding{.format = options.plain_format};
}

}  // namespace

std::vector<float> Loader::Floats(const std::string& name,
                                  const std::vector<int64_t>& shape) const {
  const at::Tensor tensor = Stored(name, shape).to(at::kFloat);
  const float* values = tensor.const_data_ptr<float>();
  return std::vector<float>(values, values + tensor.numel());
}

at::Tensor Loader::Stored(const std::string& name, const std::vector<int64_t>& shape) const {
  at::Tensor tensor = source_.Get(name, shape);
  TORCH_CHECK(tensor.sizes() == at::IntArrayRef(shape),
              "tensor '",
              name,
              "' has shape ",
              tensor.sizes(),
              ", expected ",
              at::IntArrayRef(shape));
  return tensor.contiguous();
}

WeightEncoding Loader::EncodingOf(WeightRole role) const {
  switch (role) {
    case WeightRole::kVision:
      return options_.vision;
    case WeightRole::kLanguage:
      return options_.language;
    case WeightRole::kExperts:
      return options_.experts;
    case WeightRole::kHead:
      return options_.head;
  }
  return {};
}

PackedMatrix Loader::MakeMatrix(int64_t out_features,
                                int64_t in_features,
                                WeightRole role,
                                PanelOrder order) const {
  return PackedMatrix({.out_features = out_features,
                       .in_features = in_features,
                       .encoding = EncodingOf(role),
                       .order = order},
                      options_.isa);
}

void Loader::Add(PackedMatrix& matrix,
                 const std::string& name,
                 int64_t out,
                 int64_t in,
                 int64_t first_out,
                 int64_t first_in) const {
  AddTensor(matrix, Stored(name + ".weight", {out, in}), first_out, first_in);
}

void AddTensor(PackedMatrix& matrix,
               const at::Tensor& tensor,
               int64_t first_out,
               int64_t first_in) {
  matrix.Add(tensor.const_data_ptr(),
             SourceTypeOf(tensor.scalar_type()),
             tensor.size(1),
             first_out,
             tensor.size(0),
             first_in,
             tensor.size(1));
}

NormWeights::NormWeights(const NormSpec& spec, const Loader& loader)
    : spec(spec), weight(loader.Floats(spec.name + ".weight", {spec.size})) {
  if (spec.kind == NormKind::kLayerNorm) bias = loader.Floats(spec.name + ".bias", {spec.size});
}

kernels::PackedRows::Source NormWeights::Source(const at::Tensor& x) const {
  const bool is_layer = spec.kind == NormKind::kLayerNorm;
  return {.x = x.const_data_ptr<float>(),
          .stride = spec.size,
          .norm = is_layer ? kernels::NormOf::kLayer : kernels::NormOf::kRms,
          .norm_weight = weight.data(),
          .norm_bias = is_layer ? bias.data() : nullptr,
          .eps = spec.eps};
}

LinearWeights::LinearWeights(const LinearSpec& spec, const Loader& loader)
    : spec(spec), matrix(loader.MakeMatrix(spec.out_features, spec.in_features, spec.role)) {
  loader.Add(matrix, spec.name, spec.out_features, spec.in_features);
  if (spec.has_bias) bias = loader.Floats(spec.name + ".bias", {spec.out_features});
}

kernels::Epilogue LinearWeights::EpilogueTo(const at::Tensor& out) const {
  kernels::Epilogue epilogue = {.bias = bias.empty() ? nullptr : bias.data(),
                                .out = out.mutable_data_ptr<float>(),
                                .out_stride = spec.out_features};
  switch (spec.activation) {
    case Activation::kNone:
      break;
    case Activation::kGelu:
      epilogue.activation = kernels::GemmActivation::kGelu;
      break;
    case Activation::kQuickGelu:
      epilogue.activation = kernels::GemmActivation::kQuickGelu;
      break;
  }
  return epilogue;
}

GateUpWeights::GateUpWeights(const LinearSpec& gate, const LinearSpec& up, const Loader& loader)
    : matrix(loader.MakeMatrix(
          2 * gate.out_features, gate.in_features, gate.role, PanelOrder::kGateUp)) {
  loader.Add(matrix, gate.name, gate.out_features, gate.in_features);
  loader.Add(matrix, up.name, up.out_features, up.in_features, gate.out_features);
}

EmbeddingImpl::EmbeddingImpl(const EmbeddingSpec& spec, const Loader& loader) {
  const bool is_bf16 = loader.options().plain_format == kernels::WeightFormat::kBFloat16;
  // A copy: the source's memory may be a file's.
  table = loader.Stored(spec.name + ".weight", {spec.rows, spec.size})
              .to(is_bf16 ? at::kBFloat16 : at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

PatchEmbeddingImpl::PatchEmbeddingImpl(const PatchEmbeddingSpec& spec,
                                       const PixelNormalization& table,
                                       const Loader& loader)
    : spec(spec),
      patches(loader.MakeMatrix(
          spec.hidden_size, 3 * spec.patch_size * spec.patch_size, WeightRole::kVision)),
      class_row(loader.Floats(spec.class_name, {spec.hidden_size})),
      positions(
          loader.Floats(spec.position_name + ".weight", {spec.num_tokens(), spec.hidden_size})),
      pre_norm(spec.pre_norm, loader) {
  const at::Tensor weight = loader.Stored(spec.patch_name + ".weight",
                                          {spec.hidden_size, 3, spec.patch_size, spec.patch_size});
  AddTensor(patches, weight.view({spec.hidden_size, -1}), 0, 0);
  normalization.resize(3 * 256);
  for (int channel = 0; channel < 3; ++channel) {
    for (int byte = 0; byte < 256; ++byte) {
      normalization[channel * 256 + byte] = table.value(channel, static_cast<uint8_t>(byte));
    }
  }
}

QkvImpl::QkvImpl(const QkvSpec& spec, const Loader& loader)
    : QkvHandle(spec.num_heads, spec.num_kv_heads, spec.head_dim),
      layer_idx(spec.layer_idx),
      rope_theta(spec.rope_theta),
      norm(spec.norm, loader),
      query(spec.query, loader),
      key(spec.key, loader),
      value(spec.value, loader) {}

MoeImpl::MoeImpl(const MoeSpec& spec, const Loader& loader)
    : spec(spec),
      router(loader.Floats(spec.router.name + ".weight", {spec.num_experts, spec.hidden_size})),
      down({.out_features = spec.hidden_size,
            .in_features = spec.num_experts * spec.intermediate_size,
            .encoding = DownEncoding(loader.options(), spec.intermediate_size)},
           loader.options().isa) {
  const int64_t hidden = spec.hidden_size;
  const int64_t inter = spec.intermediate_size;
  for (int64_t i = 0; i < spec.num_experts; ++i) {
    const std::string prefix = spec.experts_name + "." + std::to_string(i) + ".";
    const auto linear = [&](const char* name) {
      return LinearSpec{.name = prefix + name,
                        .in_features = hidden,
                        .out_features = inter,
                        .role = WeightRole::kExperts};
    };
    gate_up.emplace_back(linear("gate_proj"), linear("up_proj"), loader);
    loader.Add(down, prefix + "down_proj", hidden, inter, 0, i * inter);
  }
}

LmHeadImpl::LmHeadImpl(const LmHeadSpec& spec, const EmbeddingHandle* tied, const Loader& loader)
    : spec(spec),
      norm(spec.norm, loader),
      head(loader.MakeMatrix(spec.head.out_features, spec.head.in_features, WeightRole::kHead)) {
  if (tied == nullptr) {
    loader.Add(head, spec.head.name, spec.head.out_features, spec.head.in_features);
  } else {
    AddTensor(head, static_cast<const EmbeddingImpl*>(tied)->table, 0, 0);
  }
}

}  // namespace parrot::cpu
