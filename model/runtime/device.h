// Devices: names to at::Device, the CUDA door, and torch's exceptions as Status.
//
// The binary links no CUDA library. "cuda" opens libtorch_cuda.so (and through it the CUDA runtime,
// cuBLAS and the others) at run time, from the folder of libtorch_cpu.so; torch's registries then
// know the device. So one binary starts with and without CUDA. Thread-safe.
#ifndef PARROT_MODEL_RUNTIME_DEVICE_H_
#define PARROT_MODEL_RUNTIME_DEVICE_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "c10/core/Device.h"
#include "c10/core/ScalarType.h"
#include "model/api/model_config.h"
#include "model/runtime/model_runner_factory.h"

namespace parrot {

// "cpu", "cuda" (device 0) or "cuda:N". Loads CUDA when asked for it; call before any other use of
// torch in the process, because torch remembers that there is no CUDA. FAILED_PRECONDITION with
// reason DEVICE_UNAVAILABLE when it is not there, INVALID_ARGUMENT for another name.
absl::StatusOr<c10::Device> OpenDevice(std::string_view name);

at::ScalarType ResolveComputeDtype(ComputeDtype dtype, DataType stored, bool is_cuda);
at::ScalarType ToScalarType(DataType type);

// Runs `body`; c10::Error and std::exception become a Status: RESOURCE_EXHAUSTED (reason
// OUT_OF_MEMORY) for memory, INTERNAL (kDeviceErrorReason) otherwise. `what` begins the message.
absl::Status CatchTorchErrors(std::string_view what, const std::function<absl::Status()>& body);

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_DEVICE_H_
