#include "model/runtime/backend_factory.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/backend/cpu/cpu_backend.h"
#include "model/backend/reference/reference_backend.h"
#include "model/kernels/isa.h"
#include "model/kernels/quantization.h"
#include "model/runtime/device.h"

namespace parrot {
namespace {

using kernels::Isa;
using kernels::KvFormat;
using kernels::WeightEncoding;
using kernels::WeightFormat;

absl::Status UnknownName(const char* field, const std::string& value, const char* names) {
  return ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      std::string("unknown name; use ") + names,
      {.reason = "INVALID_OPTION", .field = field, .value = value.substr(0, 64), .limit = names});
}

absl::Status MachineCannot(const char* field, const std::string& value) {
  return ErrorStatus(absl::StatusCode::kFailedPrecondition,
                     "this machine's processor does not have what is asked for",
                     {.reason = "DEVICE_UNAVAILABLE", .field = field, .value = value});
}

absl::StatusOr<WeightEncoding> ParseQuantization(const char* field,
                                                 const std::string& name,
                                                 WeightFormat plain) {
  const std::optional<WeightEncoding> encoding = kernels::ParseQuantization(name, plain);
  if (!encoding.has_value()) return UnknownName(field, name, kernels::kQuantizationNames);
  return *encoding;
}

absl::StatusOr<KvFormat> ParseKvFormat(const std::string& name) {
  if (name == "auto" || name == "float32") return KvFormat::kFloat32;
  if (name == "bfloat16") return KvFormat::kBFloat16;
  if (name == "int8") return KvFormat::kInt8;
  return UnknownName("kv_cache_dtype", name, "auto, float32, bfloat16, int8");
}

absl::StatusOr<Isa> ChooseIsa(const std::string& name) {
  const std::vector<Isa> native = kernels::NativeIsas();
  if (native.empty()) return MachineCannot("backend", "cpu");
  if (name.empty()) return native.back();
  const std::optional<Isa> isa = kernels::ParseIsa(name);
  if (!isa.has_value()) return UnknownName("cpu_isa", name, "avx2, avx512, amx");
  if (std::find(native.begin(), native.end(), *isa) == native.end()) {
    return MachineCannot("cpu_isa", name);
  }
  return *isa;
}

bool UsesOwnKernels(const std::string& backend) {
  return backend == "cpu" || (backend == "auto" && kernels::BestIsa().has_value());
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(ComputeDtype dtype,
                                                        const CpuOptions& options,
                                                        DataType stored) {
  const bool keeps_bf16 = dtype == ComputeDtype::kBFloat16 ||
                          (dtype == ComputeDtype::kAuto && stored == DataType::kBFloat16);
  const WeightFormat plain = keeps_bf16 ? WeightFormat::kBFloat16 : WeightFormat::kFloat32;
  const auto or_language = [&](const std::string& name) {
    return name.empty() ? options.quantization : name;
  };
  CpuBackend::Options backend = {.plain_format = plain};
  ASSIGN_OR_RETURN(backend.isa, ChooseIsa(options.isa));
  ASSIGN_OR_RETURN(backend.language,
                   ParseQuantization("quantization", options.quantization, plain));
  ASSIGN_OR_RETURN(
      backend.experts,
      ParseQuantization("expert_quantization", or_language(options.expert_quantization), plain));
  ASSIGN_OR_RETURN(
      backend.head,
      ParseQuantization("head_quantization", or_language(options.head_quantization), plain));
  ASSIGN_OR_RETURN(
      backend.vision,
      ParseQuantization("vision_quantization", or_language(options.vision_quantization), plain));
  ASSIGN_OR_RETURN(backend.kv_format, ParseKvFormat(options.kv_cache_dtype));
  return std::make_unique<CpuBackend>(backend);
}

}  // namespace

std::string BackendName(const std::string& device, const CpuOptions& options) {
  if (device != "cpu" || !UsesOwnKernels(options.backend)) return "reference";
  const absl::StatusOr<Isa> isa = ChooseIsa(options.isa);
  return isa.ok() ? "cpu " + std::string(kernels::IsaName(*isa)) : "cpu";
}

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(c10::Device device,
                                                     ComputeDtype dtype,
                                                     const CpuOptions& options,
                                                     DataType stored) {
  const std::string& name = options.backend;
  if (name != "auto" && name != "cpu" && name != "reference") {
    return UnknownName("backend", name, "auto, cpu, reference");
  }
  if (device.is_cpu() && UsesOwnKernels(name)) return MakeCpuBackend(dtype, options, stored);
  return std::make_unique<ReferenceBackend>(ReferenceBackend::Options{
      .device = device, .compute_dtype = ResolveComputeDtype(dtype, stored, device)});
}

}  // namespace parrot
