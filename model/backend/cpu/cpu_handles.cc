#include "model/backend/cpu/cpu_handles.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>

#include "ATen/ops/from_blob.h"
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
// and neither they nor pairs may reach into the next expert.
WeightEncoding DownEncoding(const CpuBackend::Options& options, int64_t intermediate_size) {
  WeightEncoding encoding = options.experts;
  if (encoding.format == WeightFormat::kInt8 && encoding.group_size == 0) encoding.group_size = 128;
  if (intermediate_size % 2 != 0) return {.format = WeightFormat::kFloat32};
  const bool fits = encoding.group_size == 0 || intermediate_size % encoding.group_size == 0;
  return fits ? encoding : WeightEncoding{.format = options.plain_format};
}

}  // namespace

Loader::Loader(const CpuBackend::Options& options, TensorSource& source)
    : options_(options), source_(source), threads_(kernels::DefaultNumThreads()) {}

std::vector<float> Loader::Floats(const std::string& name,
                                  const std::vector<int64_t>& shape) const {
  const at::Tensor tensor = GetTensor(source_, name, shape).to(at::kFloat);
  const float* values = tensor.const_data_ptr<float>();
  return std::vector<float>(values, values + tensor.numel());
}

kernels::AlignedBuffer Loader::Memory(int64_t bytes) const {
  const auto size = static_cast<size_t>(bytes);
  return options_.packed_file ? options_.packed_file->Take(size) : kernels::AlignedBuffer(size);
}

at::Tensor Loader::Table(const std::string& name,
                         const std::vector<int64_t>& shape,
                         at::ScalarType type) const {
  const int64_t elements = std::accumulate(shape.begin(),
                                           shape.end(),
                                           static_cast<int64_t>(c10::elementSize(type)),
                                           std::multiplies<>());
  auto memory = std::make_shared<kernels::AlignedBuffer>(Memory(elements));
  void* data = memory->bytes().data();
  at::Tensor table = at::from_blob(
      data, shape, [memory](void*) {}, at::TensorOptions().dtype(type));
  if (!is_filled()) table.copy_(GetTensor(source_, name, shape));
  return table;
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

PackedMatrix Loader::MakeMatrix(const kernels::MatrixShape& shape) const {
  return PackedMatrix(shape, options_.isa, Memory(PackedMatrix::BytesOf(shape, options_.isa)));
}

PackedMatrix Loader::MakeMatrix(int64_t out_features,
                                int64_t in_features,
                                WeightRole role,
                                PanelOrder order) const {
  return MakeMatrix({.out_features = out_features,
                     .in_features = in_features,
                     .encoding = EncodingOf(role),
                     .order = order});
}

void Loader::Add(PackedMatrix& matrix,
                 const std::string& name,
                 int64_t out,
                 int64_t in,
                 int64_t first_out,
                 int64_t first_in) const {
  if (is_filled()) return;
  Pack(matrix, GetTensor(source_, name + ".weight", {out, in}), first_out, first_in);
}

void Loader::AddAs(PackedMatrix& matrix,
                   const std::string& name,
                   const std::vector<int64_t>& stored_shape) const {
  if (is_filled()) return;
  Pack(matrix, GetTensor(source_, name, stored_shape).view({stored_shape.front(), -1}), 0, 0);
}

void Loader::AddTensor(PackedMatrix& matrix, const at::Tensor& tensor) const {
  if (!is_filled()) Pack(matrix, tensor, 0, 0);
}

void Loader::Pack(PackedMatrix& matrix,
                  const at::Tensor& tensor,
                  int64_t first_out,
                  int64_t first_in) const {
  constexpr int64_t kStep = PackedMatrix::kAddStep;
  const int64_t rows = tensor.size(0), size = tensor.size(1);
  const auto* values = static_cast<const std::byte*>(tensor.const_data_ptr());
  const int64_t row_bytes = size * static_cast<int64_t>(tensor.element_size());
  const SourceType type = SourceTypeOf(tensor.scalar_type());
  threads_.Run((rows + kStep - 1) / kStep, [&](int64_t i, int) {
    const int64_t row = i * kStep;
    matrix.Add(values + row * row_bytes,
               type,
               size,
               first_out + row,
               std::min(kStep, rows - row),
               first_in,
               size);
  });
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
  const WeightFormat plain = loader.options().plain_format;
  if (spec.is_head && loader.options().head.format == plain) {
    matrix = loader.MakeMatrix(spec.rows, spec.size, WeightRole::kHead);
    loader.Add(matrix, spec.name, spec.rows, spec.size);
    return;
  }
  const bool is_bf16 = plain == WeightFormat::kBFloat16;
  table = loader.Table(
      spec.name + ".weight", {spec.rows, spec.size}, is_bf16 ? at::kBFloat16 : at::kFloat);
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
  loader.AddAs(patches,
               spec.patch_name + ".weight",
               {spec.hidden_size, 3, spec.patch_size, spec.patch_size});
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
      down(
          loader.MakeMatrix({.out_features = spec.hidden_size,
                             .in_features = spec.num_experts * spec.intermediate_size,
                             .encoding = DownEncoding(loader.options(), spec.intermediate_size)})) {
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
    : spec(spec), norm(spec.norm, loader), head(&own_) {
  const auto* embedding = static_cast<const EmbeddingImpl*>(tied);
  if (embedding != nullptr && !embedding->table.defined()) {
    head = &embedding->matrix;
    return;
  }
  own_ = loader.MakeMatrix(spec.head.out_features, spec.head.in_features, WeightRole::kHead);
  if (embedding == nullptr) {
    loader.Add(own_, spec.head.name, spec.head.out_features, spec.head.in_features);
  } else {
    loader.AddTensor(own_, embedding->table);
  }
}

}  // namespace parrot::cpu
