#include "bench/device_limits.h"

#include <algorithm>
#include <functional>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "model/backend/reference/reference_backend.h"
#include "model/runtime/device.h"

namespace parrot {
namespace {

constexpr int kRuns = 10;

// Seconds of one call: the best of kRuns after two to warm up.
double BestSeconds(const Backend& backend, const std::function<void()>& call) {
  double best = 1e30;
  for (int i = -2; i < kRuns; ++i) {
    backend.Synchronize();
    const absl::Time start = absl::Now();
    call();
    backend.Synchronize();
    if (i >= 0) best = std::min(best, absl::ToDoubleSeconds(absl::Now() - start));
  }
  return best;
}

}  // namespace

absl::StatusOr<DeviceLimits> MeasureDeviceLimits(const std::string& device_name,
                                                 ComputeDtype dtype,
                                                 bool large) {
  ASSIGN_OR_RETURN(const c10::Device device, OpenDevice(device_name));
  const at::ScalarType type = ResolveComputeDtype(dtype, DataType::kBFloat16, device.is_cuda());
  const ReferenceBackend backend({.device = device, .compute_dtype = type});
  DeviceLimits limits;
  RETURN_IF_ERROR(CatchTorchErrors("measuring the device", [&] {
    const int64_t bytes = large ? int64_t{1} << 32 : int64_t{1} << 27;
    const auto options = at::TensorOptions().device(device);
    const at::Tensor from = at::zeros({bytes}, options.dtype(at::kByte));
    const at::Tensor to = at::empty({bytes}, options.dtype(at::kByte));
    limits.copy_gb_per_s =
        2e-9 * static_cast<double>(bytes) / BestSeconds(backend, [&] { to.copy_(from); });
    const int64_t n = large ? 8192 : 512;
    at::Tensor a = at::empty({n, n}, options.dtype(type));
    at::Tensor b = at::empty({n, n}, options.dtype(type));
    a.normal_();  // products of zeros take less power and run faster
    b.normal_();
    const double flop = 2.0 * static_cast<double>(n) * static_cast<double>(n * n);
    limits.matmul_tflop_per_s = 1e-12 * flop / BestSeconds(backend, [&] { at::mm(a, b); });
    return absl::OkStatus();
  }));
  return limits;
}

}  // namespace parrot
