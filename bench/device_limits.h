// What a device can do at most, measured: the denominators of every figure. Torch stays in the
// source.
#ifndef PARROT_BENCH_DEVICE_LIMITS_H_
#define PARROT_BENCH_DEVICE_LIMITS_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/runtime/model_runner_factory.h"

namespace parrot {

struct DeviceLimits {
  double copy_gb_per_s = 0.0;       // device to device, bytes read and written
  double matmul_tflop_per_s = 0.0;  // square product in the dtype
};

// Takes seconds. FAILED_PRECONDITION (reason DEVICE_UNAVAILABLE) when the device is not there.
// `large` uses sizes for an accelerator, else for a CPU.
absl::StatusOr<DeviceLimits> MeasureDeviceLimits(const std::string& device,
                                                 ComputeDtype dtype,
                                                 bool large);

}  // namespace parrot

#endif  // PARROT_BENCH_DEVICE_LIMITS_H_
