#include "model/runtime/model_weights.h"

#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/from_blob.h"
#include "base/status_macros.h"
#include "c10/util/Exception.h"
#include "model/runtime/device.h"

namespace parrot {
namespace {

// Feeds a backend from files or dummy values, one tensor at a time.
class SourceTensors : public TensorSource {
 public:
  SourceTensors(const WeightSource& source,
                const Backend& backend,
                const std::function<void(const LoadProgress&)>& progress)
      : source_(source), backend_(backend), progress_(progress) {
    for (const TensorSpec& spec : source.tensors()) {
      state_.total_bytes += spec.num_elements() * DataTypeBytes(source.config().stored_dtype);
    }
  }

  at::Tensor Get(const std::string& name, const std::vector<int64_t>& shape) override {
    absl::StatusOr<TensorView> view = source_.Get(name);
    if (!view.ok()) {
      // Kept for the caller; an exception is how a tensor source fails.
      status_ = view.status();
      TORCH_CHECK(false, "tensor '", name, "' cannot be read");
    }
    TORCH_CHECK(view->shape == shape, "tensor '", name, "' has another shape");
    // from_blob wants a mutable pointer; the bytes are only read, and kept while the tensor is.
    const at::Tensor stored = at::from_blob(
        const_cast<std::byte*>(view->bytes.data()),
        shape,
        [owner = view->owner](void*) {},
        at::TensorOptions().dtype(ToScalarType(view->dtype)));
    at::Tensor tensor = backend_.keeps_sources() ? stored.to(backend_.device(),
                                                             backend_.compute_dtype(),
                                                             /*non_blocking=*/false,
                                                             /*copy=*/true)
                                                 : stored;
    state_.loaded_bytes += tensor.numel() * DataTypeBytes(source_.config().stored_dtype);
    if (progress_) progress_(state_);
    return tensor;
  }

  void ReportAll() {
    state_.loaded_bytes = state_.total_bytes;  // what the model does not use was skipped
    if (progress_) progress_(state_);
  }
  void set_packed_weights(std::string outcome) { state_.packed_weights = std::move(outcome); }
  const absl::Status& status() const { return status_; }

 private:
  const WeightSource& source_;
  const Backend& backend_;
  const std::function<void(const LoadProgress&)>& progress_;
  LoadProgress state_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelWeights>> ModelWeights::Load(
    const WeightSource& source,
    std::unique_ptr<Backend> backend,
    const std::function<void(const LoadProgress&)>& progress) {
  auto weights = std::unique_ptr<ModelWeights>(new ModelWeights(std::move(backend)));
  SourceTensors tensors(source, *weights->backend_, progress);
  const absl::Status loaded = CatchTorchErrors("loading weights", [&] {
    weights->model_ = std::make_unique<ParrotModel>(source.config(), *weights->backend_, tensors);
    tensors.set_packed_weights(weights->backend_->EndLoading());
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(tensors.status());
  RETURN_IF_ERROR(loaded);
  tensors.ReportAll();
  return weights;
}

}  // namespace parrot
