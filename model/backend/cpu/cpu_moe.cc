// The router and the experts: six gated MLPs as one wide product into the intermediate rows of all
// experts, side by side, and one product back, in which the sum over experts is the sum over k.
#include <algorithm>
#include <vector>

#include "model/backend/cpu/cpu_backend.h"
#include "model/backend/cpu/cpu_handles.h"
#include "model/backend/cpu/cpu_workspace.h"
#include "model/kernels/vision_ops.h"

namespace parrot {

using cpu::CpuWorkspace;
using cpu::MoeImpl;
using kernels::GemmPart;
using kernels::PackedRows;

namespace {

// inner [rows, experts * intermediate] = silu(gate_i x) * up_i x, times scale[i * rows + row] if
// there is a scale, for the experts of [first, first + count).
void RunGateUp(const MoeImpl& impl,
               const float* x,
               int64_t rows,
               const float* scale,
               const at::Tensor& inner,
               CpuWorkspace& w) {
  const int64_t inter = impl.spec.intermediate_size;
  w.rows.Pack(w.threads,
              rows,
              impl.spec.hidden_size,
              impl.gate_up.front().matrix.activations(),
              {.x = x, .stride = impl.spec.hidden_size});
  std::vector<GemmPart> parts;
  for (int64_t i = 0; i < impl.spec.num_experts; ++i) {
    parts.push_back({.weights = &impl.gate_up[i].matrix,
                     .epilogue = {.activation = kernels::GemmActivation::kSiluMul,
                                  .row_scale = scale == nullptr ? nullptr : scale + i * rows,
                                  .out = inner.mutable_data_ptr<float>() + i * inter,
                                  .out_stride = impl.spec.num_experts * inter}});
  }
  kernels::Gemm(w.threads, w.rows, parts, w.gemm);
}

}  // namespace

Routing CpuBackend::Route(const MoeHandle& handle,
                          const at::Tensor& class_rows,
                          const at::Tensor& text,
                          std::span<const int32_t> cu_text,
                          Workspace& workspace) const {
  CpuWorkspace& w = static_cast<CpuWorkspace&>(workspace);
  const auto& impl = static_cast<const MoeImpl&>(handle);
  const int64_t images = class_rows.size(0);
  const int64_t hidden = impl.spec.hidden_size;
  const int64_t experts = impl.spec.num_experts;
  Routing routing = {.weights = w.Floats({images, experts}),
                     .attention = w.Floats({text.size(0)}),
                     .attended = w.Floats({images, hidden}),
                     .logits = w.Floats({images, experts})};
  for (int64_t i = 0; i < images; ++i) {
    kernels::Route(options_.isa,
                   w.threads,
                   {.class_row = class_rows.const_data_ptr<float>() + i * class_rows.stride(0),
                    .text = text.const_data_ptr<float>() + cu_text[i] * hidden,
                    .text_size = cu_text[i + 1] - cu_text[i],
                    .hidden = hidden,
                    .router = impl.router.data(),
                    .num_experts = experts,
                    .attention = routing.attention.mutable_data_ptr<float>() + cu_text[i],
                    .attended = routing.attended.mutable_data_ptr<float>() + i * hidden,
                    .logits = routing.logits.mutable_data_ptr<float>() + i * experts,
                    .weights = routing.weights.mutable_data_ptr<float>() + i * experts});
  }
  return routing;
}

at::Tensor CpuBackend::ExpertOutputs(const MoeHandle& handle,
                                     const at::Tensor& features,
                                     Workspace& workspace) const {
  CpuWorkspace& w = static_cast<CpuWorkspace&>(workspace);
  const auto& impl = static_cast<const MoeImpl&>(handle);
  const int64_t rows = features.size(0);
  const int64_t hidden = impl.spec.hidden_size;
  const int64_t experts = impl.spec.num_experts;
  const int64_t inter = impl.spec.intermediate_size;
  const at::Tensor inner = w.Floats({rows, experts * inter});
  RunGateUp(impl, features.const_data_ptr<float>(), rows, nullptr, inner, w);
  at::Tensor out = w.Floats({experts, rows, hidden});
  for (int64_t i = 0; i < experts; ++i) {
    w.rows.Pack(w.threads,
                rows,
                inter,
                impl.down.activations(),
                {.x = inner.const_data_ptr<float>() + i * inter, .stride = experts * inter});
    const GemmPart part = {.weights = &impl.down,
                           .first_in = i * inter,
                           .epilogue = {.out = out.mutable_data_ptr<float>() + i * rows * hidden,
                                        .out_stride = hidden}};
    kernels::Gemm(w.threads, w.rows, {&part, 1}, w.gemm);
  }
  return out;
}

at::Tensor CpuBackend::Combine(const MoeHandle& handle,
                               const at::Tensor& features,
                               const at::Tensor& outputs,
                               const at::Tensor& weights,
                               Workspace& workspace) const {
  CpuWorkspace& w = static_cast<CpuWorkspace&>(workspace);
  const auto& impl = static_cast<const MoeImpl&>(handle);
  at::Tensor out = w.Floats(features.sizes());
  kernels::CombineExperts(
      options_.isa,
      w.threads,
      {.rows = features.size(0),
       .hidden = impl.spec.hidden_size,
       .num_experts = impl.spec.num_experts,
       .outputs = outputs.const_data_ptr<float>(),
       .expert_stride = features.numel(),
       .weights = weights.const_data_ptr<float>(),
       .features = impl.spec.residual_weight == 0.0f ? nullptr : features.const_data_ptr<float>(),
       .residual_weight = impl.spec.residual_weight,
       .out = out.mutable_data_ptr<float>()});
  return out;
}

at::Tensor CpuBackend::MixExperts(const MoeHandle& handle,
                                  const at::Tensor& features,
                                  const at::Tensor& weights,
                                  Workspace& workspace) const {
  CpuWorkspace& w = static_cast<CpuWorkspace&>(workspace);
  const auto& impl = static_cast<const MoeImpl&>(handle);
  const int64_t images = weights.size(0);
  const int64_t rows = features.size(0) / images;
  const int64_t hidden = impl.spec.hidden_size;
  const int64_t experts = impl.spec.num_experts;
  const int64_t inner_size = experts * impl.spec.intermediate_size;
  const at::Tensor inner = w.Floats({rows, inner_size});
  const at::Tensor scale = w.Floats({experts, rows});
  at::Tensor out = w.Floats(features.sizes());
  // One by one: an image is rows enough, and the rows between the products are many.
  for (int64_t image = 0; image < images; ++image) {
    const float* x = features.const_data_ptr<float>() + image * rows * hidden;
    for (int64_t i = 0; i < experts; ++i) {
      float* scales = scale.mutable_data_ptr<float>() + i * rows;
      std::fill_n(scales, rows, weights.const_data_ptr<float>()[image * experts + i]);
    }
    RunGateUp(impl, x, rows, scale.const_data_ptr<float>(), inner, w);
    w.rows.Pack(w.threads,
                rows,
                inner_size,
                impl.down.activations(),
                {.x = inner.const_data_ptr<float>(), .stride = inner_size});
    const bool has_residual = impl.spec.residual_weight != 0.0f;
    const GemmPart part = {
        .weights = &impl.down,
        .epilogue = {.residual = has_residual ? x : nullptr,
                     .residual_stride = hidden,
                     .residual_scale = impl.spec.residual_weight,
                     .out = out.mutable_data_ptr<float>() + image * rows * hidden,
                     .out_stride = hidden}};
    kernels::Gemm(w.threads, w.rows, {&part, 1}, w.gemm);
  }
  return out;
}

}  // namespace parrot
