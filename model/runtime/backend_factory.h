// Which backend computes a model, from what the user asked for and what the machine has.
#ifndef PARROT_MODEL_RUNTIME_BACKEND_FACTORY_H_
#define PARROT_MODEL_RUNTIME_BACKEND_FACTORY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "c10/core/Device.h"
#include "model/backend/backend.h"
#include "model/runtime/model_runner_factory.h"
#include "model/weights/weight_source.h"

namespace parrot {

// INVALID_ARGUMENT for a name that no option has; FAILED_PRECONDITION (reason DEVICE_UNAVAILABLE)
// when the machine cannot run what is named.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(c10::Device device,
                                                     ComputeDtype dtype,
                                                     const CpuOptions& options,
                                                     const WeightSource& source);

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_BACKEND_FACTORY_H_
