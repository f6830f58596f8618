#include "model/runtime/device.h"

#include <dlfcn.h>

#include <exception>
#include <new>

#include "ATen/Parallel.h"
#include "absl/strings/numbers.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "c10/core/impl/DeviceGuardImplInterface.h"
#include "c10/core/impl/VirtualGuardImpl.h"
#include "c10/util/Exception.h"
#include "model/api/step.h"

namespace parrot {
namespace {

constexpr char kCudaLibrary[] = "libtorch_cuda.so";
constexpr size_t kMaxMessageLength = 200;

absl::Status DeviceUnavailable(const std::string& message) {
  return ErrorStatus(absl::StatusCode::kFailedPrecondition,
                     message,
                     {.reason = "DEVICE_UNAVAILABLE", .field = "device", .value = "cuda"});
}

// Beside libtorch_cpu.so, wherever the loader found that.
std::string CudaLibraryPath() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) == 0 ||
      info.dli_fname == nullptr) {
    return kCudaLibrary;
  }
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? kCudaLibrary : path.substr(0, slash + 1) + kCudaLibrary;
}

// dlerror's text without folders: "libcudnn.so.9: cannot open shared object file".
std::string LoaderError() {
  const char* text = dlerror();
  if (text == nullptr) return "unknown error";
  const std::string message = text;
  const size_t colon = message.find(':');
  const size_t slash = message.rfind('/', colon);
  return slash == std::string::npos || colon == std::string::npos ? message
                                                                  : message.substr(slash + 1);
}

absl::Status LoadCuda() {
  // Never closed: torch keeps pointers into it. A second call finds it loaded.
  if (dlopen(CudaLibraryPath().c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    return DeviceUnavailable(
        "cannot load CUDA support (" + LoaderError() +
        "): the CPU set-up of this program leaves out the CUDA libraries of the torch wheel; "
        "install torch 2.11.0 with its nvidia packages or use device cpu");
  }
  if (!c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA)) {
    return DeviceUnavailable("CUDA support was loaded but registered no device");
  }
  return absl::OkStatus();
}

std::string FirstLine(const char* text) {
  std::string line = text;
  line = line.substr(0, line.find('\n'));
  if (line.size() > kMaxMessageLength) line.resize(kMaxMessageLength);
  return line;
}

}  // namespace

absl::StatusOr<c10::Device> OpenDevice(std::string_view name) {
  if (name == "cpu") return c10::Device(c10::DeviceType::CPU);
  int index = 0;
  const bool has_index =
      name.starts_with("cuda:") &&
      absl::SimpleAtoi(absl::string_view(name.data() + 5, name.size() - 5), &index);
  if (name != "cuda" && (!has_index || index < 0 || index > 127)) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "unknown device; use cpu, cuda or cuda:N",
                       {.reason = "INVALID_OPTION",
                        .field = "device",
                        .value = std::string(name.substr(0, 64)),
                        .limit = "cpu, cuda, cuda:N"});
  }
  RETURN_IF_ERROR(LoadCuda());
  const int count = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).deviceCount();
  if (index >= count) {
    return DeviceUnavailable("CUDA device " + std::to_string(index) + " is not there; " +
                             std::to_string(count) + " found");
  }
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
}

at::ScalarType ToScalarType(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return at::kFloat;
    case DataType::kBFloat16:
      return at::kBFloat16;
    case DataType::kFloat16:
      return at::kHalf;
  }
  return at::kFloat;
}

at::ScalarType ResolveComputeDtype(ComputeDtype dtype, DataType stored, bool is_cuda) {
  switch (dtype) {
    case ComputeDtype::kFloat32:
      return at::kFloat;
    case ComputeDtype::kBFloat16:
      return at::kBFloat16;
    case ComputeDtype::kAuto:
      break;
  }
  return is_cuda && stored != DataType::kFloat32 ? at::kBFloat16 : at::kFloat;
}

absl::Status CatchTorchErrors(std::string_view what, const std::function<absl::Status()>& body) {
  const auto failure = [&](absl::StatusCode code, const char* reason, const char* text) {
    return ErrorStatus(code, std::string(what) + ": " + FirstLine(text), {.reason = reason});
  };
  try {
    return body();
  } catch (const c10::OutOfMemoryError&) {
    return failure(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "out of device memory");
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (text.find("not enough memory") != std::string::npos) {  // the CPU allocator's words
      return failure(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "out of memory");
    }
    return failure(absl::StatusCode::kInternal, kDeviceErrorReason, text.c_str());
  } catch (const std::bad_alloc&) {
    return failure(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "out of memory");
  } catch (const std::exception& error) {
    return failure(absl::StatusCode::kInternal, kDeviceErrorReason, error.what());
  }
}

}  // namespace parrot
