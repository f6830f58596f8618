// ModelWeights: one model on one device, ready to run. Immutable after construction; thread-safe:
// the workers of a device share one.
#ifndef PARROT_MODEL_RUNTIME_MODEL_WEIGHTS_H_
#define PARROT_MODEL_RUNTIME_MODEL_WEIGHTS_H_

#include <functional>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "model/backend/backend.h"
#include "model/nn/parrot_model.h"
#include "model/runtime/model_runner_factory.h"
#include "model/weights/weight_source.h"

namespace parrot {

class ModelWeights {
 public:
  // Reads every tensor that the model uses, converts it to the backend's form and drops the bytes.
  // `source` is used during the call only. Device errors and lack of memory come back as Status.
  static absl::StatusOr<std::unique_ptr<ModelWeights>> Load(
      const WeightSource& source,
      std::unique_ptr<Backend> backend,
      const std::function<void(const LoadProgress&)>& progress);

  const Backend& backend() const { return *backend_; }
  const ParrotModel& model() const { return *model_; }
  const ModelConfig& config() const { return model_->config(); }

 private:
  explicit ModelWeights(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  const std::unique_ptr<Backend> backend_;
  std::unique_ptr<ParrotModel> model_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_MODEL_WEIGHTS_H_
