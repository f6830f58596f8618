#include "model/runtime/backend_factory.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "base/hash.h"
#include "base/machine_memory.h"
#include "base/status_macros.h"
#include "model/backend/cpu/cpu_backend.h"
#include "model/backend/cpu/packed_file.h"
#include "model/backend/reference/reference_backend.h"
#include "model/kernels/gemm.h"
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
  if (name.empty()) return *kernels::BestIsa();
  const std::optional<Isa> isa = kernels::ParseIsa(name);
  if (!isa.has_value()) return UnknownName("cpu_isa", name, "avx2, avx512, avx512_bf16, amx");
  if (std::find(native.begin(), native.end(), *isa) == native.end()) {
    return MachineCannot("cpu_isa", name);
  }
  return *isa;
}

bool UsesOwnKernels(const std::string& backend) {
  return backend == "cpu" || (backend == "auto" && kernels::BestIsa().has_value());
}

// Of the own kernels' weights.
ComputeDtype ResolveWeightDtype(ComputeDtype dtype, const WeightSource& source) {
  if (dtype != ComputeDtype::kAuto) return dtype;
  if (source.config().stored_dtype == DataType::kBFloat16) return ComputeDtype::kBFloat16;
  int64_t float32_bytes = 0;
  for (const TensorSpec& spec : source.tensors()) float32_bytes += 4 * spec.num_elements();
  const bool fits = float32_bytes <= UsableMemoryBytes() / 4 * 3;
  return fits ? ComputeDtype::kFloat32 : ComputeDtype::kBFloat16;
}

// Names the checkpoint and everything that decides how its weights are packed.
Sha256Digest PackingKey(const CpuBackend::Options& options, const WeightSource& source) {
  Sha256 hash;
  hash.Update(source.Fingerprint().view());
  hash.UpdateInt(kernels::kPackedLayoutVersion);
  hash.UpdateInt(static_cast<uint64_t>(options.isa));
  hash.UpdateInt(static_cast<uint64_t>(options.plain_format));
  for (const WeightEncoding& encoding :
       {options.vision, options.language, options.experts, options.head}) {
    hash.UpdateInt(static_cast<uint64_t>(encoding.format));
    hash.UpdateInt(static_cast<uint64_t>(encoding.group_size));
  }
  return hash.Finish();
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(ComputeDtype dtype,
                                                        const CpuOptions& options,
                                                        const WeightSource& source) {
  const bool keeps_bf16 = ResolveWeightDtype(dtype, source) == ComputeDtype::kBFloat16;
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
  if (!options.packed_weights_dir.empty()) {
    backend.packed_file =
        std::make_shared<PackedFile>(options.packed_weights_dir, PackingKey(backend, source));
  }
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
                                                     const WeightSource& source) {
  const std::string& name = options.backend;
  if (name != "auto" && name != "cpu" && name != "reference") {
    return UnknownName("backend", name, "auto, cpu, reference");
  }
  if (device.is_cpu() && UsesOwnKernels(name)) return MakeCpuBackend(dtype, options, source);
  return std::make_unique<ReferenceBackend>(ReferenceBackend::Options{
      .device = device,
      .compute_dtype = ResolveComputeDtype(dtype, source.config().stored_dtype, device.is_cuda())});
}

ComputeDtype ResolveDtype(const WeightSource& source, const ModelRunnerOptions& options) {
  const bool is_cuda = options.device != "cpu";
  if (!is_cuda && UsesOwnKernels(options.cpu.backend)) {
    return ResolveWeightDtype(options.dtype, source);
  }
  return ResolveComputeDtype(options.dtype, source.config().stored_dtype, is_cuda) == at::kBFloat16
             ? ComputeDtype::kBFloat16
             : ComputeDtype::kFloat32;
}

}  // namespace parrot
