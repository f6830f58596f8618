#include "train/fresh_model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

#include "ATen/CPUGeneratorImpl.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/runtime/device.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "model/weights/safetensors_writer.h"
#include "model/weights/tensor_specs.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

absl::Status CopyFiles(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const fs::path& path = entry.path();
    if (!entry.is_regular_file() || path.extension() == ".safetensors" ||
        path.filename() == "model.safetensors.index.json") {
      continue;
    }
    fs::copy_file(path, to / path.filename(), fs::copy_options::overwrite_existing, error);
    if (error) break;
  }
  if (error) return absl::InternalError(absl::StrCat("cannot copy files: ", error.message()));
  return absl::OkStatus();
}

// The tokenizer's facts into config.json and generation_config.json. Returns initializer_range.
absl::StatusOr<double> FitToTokenizer(const fs::path& dir, const Tokenizer& tokenizer) {
  const fs::path path = dir / "config.json";
  std::ifstream file(path, std::ios::binary);
  Json config = Json::parse(std::string(std::istreambuf_iterator<char>(file), {}), nullptr, false);
  if (!config.is_object()) return absl::InvalidArgumentError("config.json: is no JSON object");
  const Json range = config.value("initializer_range", Json(0.02));
  if (!range.is_number() || !(range > 0.0)) {
    return absl::InvalidArgumentError("config.json: initializer_range is no positive number");
  }
  config["vocab_size"] = std::max(config.value("vocab_size", 0), tokenizer.num_tokens());
  config["bos_token_id"] = tokenizer.end_of_text_id();
  config["eos_token_id"] = tokenizer.im_end_id();
  std::ofstream(path) << config.dump(2) << '\n';
  const Json generation = {{"bos_token_id", tokenizer.end_of_text_id()},
                           {"do_sample", false},
                           {"eos_token_id", {tokenizer.im_end_id(), tokenizer.end_of_text_id()}},
                           {"model_type", "parrot_qwen2"},
                           {"pad_token_id", tokenizer.end_of_text_id()},
                           {"transformers_version", "4.39.0"}};
  std::ofstream(dir / "generation_config.json") << generation.dump(2) << '\n';
  return range.get<double>();
}

// CLIP's and Qwen2's `_init_weights`, and torch's Linear.
at::Tensor FreshTensor(const TensorSpec& spec,
                       const ModelConfig& config,
                       double initializer_range,
                       at::Generator& random) {
  at::Tensor tensor = at::empty(spec.shape, at::kFloat);
  const std::string_view name = spec.name;
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  const bool is_bias = name.ends_with("bias");
  if (has("norm") || has("pre_layrnorm")) return tensor.fill_(is_bias ? 0.0 : 1.0);
  if (spec.part == ModelPart::kProjector || spec.part == ModelPart::kMoe) {
    // A bias of torch's Linear is drawn like its weights.
    const bool first = name.find(".0.") != std::string_view::npos;
    const int64_t fan_in = spec.shape.size() > 1 ? spec.shape[1]
                           : first               ? config.vision.hidden_size
                                                 : config.language.hidden_size;
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    return tensor.uniform_(-bound, bound, random);
  }
  if (is_bias) return tensor.zero_();
  double deviation = initializer_range;
  if (spec.part == ModelPart::kVision) {
    const double width = std::pow(config.vision.hidden_size, -0.5);
    deviation = 0.02;
    if (has("class_embedding") || has("out_proj")) deviation = width;
    if (has("fc1")) deviation = width * std::sqrt(0.5);
    if (has("q_proj") || has("k_proj") || has("v_proj") || has("fc2")) {
      deviation = width * std::pow(2.0 * config.vision.num_layers, -0.5);
    }
  }
  return tensor.normal_(0.0, deviation, random);
}

absl::StatusOr<at::Tensor> TensorOf(const Checkpoint& checkpoint, const TensorSpec& spec) {
  ASSIGN_OR_RETURN(const TensorView view, checkpoint.Get(spec.name));
  if (!std::equal(view.shape.begin(), view.shape.end(), spec.shape.begin(), spec.shape.end())) {
    return absl::InvalidArgumentError(absl::StrCat(spec.name, ": of another shape in the tower"));
  }
  return at::from_blob(const_cast<std::byte*>(view.bytes.data()),
                       spec.shape,
                       at::TensorOptions().dtype(ToScalarType(view.dtype)));
}

}  // namespace

absl::Status MakeFreshModel(const FreshModelOptions& options) {
  const fs::path out = options.output_dir;
  std::error_code error;
  fs::create_directories(out, error);
  if (error) return absl::InternalError("the output folder cannot be made");
  // The tokenizer's folder may be a whole checkpoint: the configuration comes last.
  RETURN_IF_ERROR(CopyFiles(options.tokenizer_dir, out));
  RETURN_IF_ERROR(CopyFiles(options.config_dir, out));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(out.string()));
  ASSIGN_OR_RETURN(const double initializer_range, FitToTokenizer(out, *tokenizer));
  ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(out.string()));
  config.moe.enabled = true;
  std::unique_ptr<Checkpoint> tower;
  if (!options.tower_dir.empty()) {
    ASSIGN_OR_RETURN(tower, Checkpoint::Open(options.tower_dir));
  }
  return CatchTorchErrors("making weights", [&] {
    at::Generator random = at::detail::createCPUGenerator(options.seed);
    std::vector<at::Tensor> tensors;
    std::vector<SafetensorsEntry> entries;
    const at::ScalarType type = ToScalarType(config.stored_dtype);
    for (const TensorSpec& spec : ExpectedTensors(config)) {
      if (tower != nullptr && spec.part == ModelPart::kVision) {
        ASSIGN_OR_RETURN(const at::Tensor kept, TensorOf(*tower, spec));
        tensors.push_back(kept.to(type));
      } else {
        tensors.push_back(FreshTensor(spec, config, initializer_range, random).to(type));
      }
      entries.push_back({.name = spec.name,
                         .type = type == at::kFloat      ? SafetensorsType::kF32
                                 : type == at::kBFloat16 ? SafetensorsType::kBF16
                                                         : SafetensorsType::kF16,
                         .shape = spec.shape,
                         .bytes = {static_cast<const std::byte*>(tensors.back().const_data_ptr()),
                                   static_cast<size_t>(tensors.back().nbytes())}});
    }
    return WriteSafetensors((out / "model.safetensors").string(), entries, {{"format", "pt"}});
  });
}

}  // namespace parrot
