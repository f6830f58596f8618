#include "train/parameters.h"

#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/from_blob.h"
#include "base/status_macros.h"
#include "c10/util/Exception.h"
#include "model/runtime/device.h"
#include "model/weights/tensor_names.h"

namespace parrot {

void PublishMasters(const std::vector<TrainedTensor>& tensors) {
  const at::NoGradGuard no_grad;
  for (const TrainedTensor& tensor : tensors) {
    if (!tensor.compute.is_same(tensor.master)) at::Tensor(tensor.compute).copy_(tensor.master);
  }
}

bool IsUsed(const TensorSpec& spec, const ModelConfig& config) {
  if (spec.part != ModelPart::kVision) return true;
  if (spec.name.starts_with(tensor_names::Vision("post_layernorm"))) return false;
  for (int32_t i = config.vision.num_used_layers(); i < config.vision.num_layers; ++i) {
    if (spec.name.starts_with(tensor_names::VisionLayer(i, ""))) return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<Parameters>> Parameters::Load(const WeightSource& source,
                                                             at::Device device,
                                                             at::ScalarType compute_dtype) {
  auto parameters = std::unique_ptr<Parameters>(new Parameters());
  ModelConfig config = source.config();
  config.moe.enabled = true;
  parameters->specs_ = ExpectedTensors(config);
  for (const TensorSpec& spec : parameters->specs_) {
    ASSIGN_OR_RETURN(const TensorView view, source.Get(spec.name));
    RETURN_IF_ERROR(CatchTorchErrors("loading weights", [&] {
      const at::Tensor stored = at::from_blob(const_cast<std::byte*>(view.bytes.data()),
                                              spec.shape,
                                              at::TensorOptions().dtype(ToScalarType(view.dtype)));
      parameters->tensors_[spec.name] =
          stored.to(device, compute_dtype, /*non_blocking=*/false, /*copy=*/true);
      return absl::OkStatus();
    }));
  }
  return parameters;
}

void Parameters::Train(const std::function<bool(const TensorSpec&)>& is_trained) {
  for (const TensorSpec& spec : specs_) {
    if (!is_trained(spec)) continue;
    at::Tensor& compute = tensors_[spec.name];
    compute.set_requires_grad(true);
    trained_.push_back({.name = spec.name,
                        .compute = compute,
                        .master = compute.scalar_type() == at::kFloat
                                      ? compute
                                      : compute.detach().to(at::kFloat)});
  }
}

at::Tensor Parameters::Get(const std::string& name, const std::vector<int64_t>&) {
  const auto it = tensors_.find(name);
  TORCH_CHECK(it != tensors_.end(), "there is no tensor '", name, "'");
  return it->second;
}

at::Tensor Parameters::Value(const std::string& name) const {
  for (const TrainedTensor& tensor : trained_) {
    if (tensor.name == name) return tensor.master.detach();
  }
  const auto it = tensors_.find(name);
  TORCH_CHECK(it != tensors_.end(), "there is no tensor '", name, "'");
  return it->second.detach();
}

}  // namespace parrot
