#include "model/weights/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "model/weights/config_reader.h"
#include "model/weights/model_file.h"
#include "model/weights/tensor_names.h"
#include "model/weights/vision_shapes.h"
#include "model/weights/weight_files.h"

namespace parrot {
namespace {

// Which file and keys decide the shapes of a part; the first place to look when they disagree.
const char* DecidedBy(ModelPart part, bool has_vision_config) {
  switch (part) {
    case ModelPart::kLanguage:
      return "config.json";
    case ModelPart::kVision:
      return has_vision_config ? "vision_config.json" : "the tower's other tensors";
    case ModelPart::kProjector:
      return "config.json (mm_hidden_size, mm_projector_type)";
    case ModelPart::kMoe:
      return "config.json (num_experts, moe_intermediate_size)";
  }
  return "config.json";
}

std::optional<DataType> ToDataType(SafetensorsType type) {
  switch (type) {
    case SafetensorsType::kF32:
      return DataType::kFloat32;
    case SafetensorsType::kBF16:
      return DataType::kBFloat16;
    case SafetensorsType::kF16:
      return DataType::kFloat16;
    default:
      return std::nullopt;
  }
}

// Identifies the model for cache keys: configuration, headers, and the first and last page of each
// file's data. Hashing all weights would cost a pass over them at every start.
std::string Revision(const ConfigFiles& files, const WeightFiles& weights) {
  constexpr size_t kSampleBytes = 4096;
  Sha256 hash;
  for (const std::string& text : files.texts) hash.UpdateSized(text);
  for (const auto& file : weights.files) {
    hash.UpdateSized(file->base_name());
    hash.UpdateSized(file->header_text());
    const std::span<const std::byte> data = file->data();
    const size_t sample = std::min(kSampleBytes, data.size());
    hash.UpdateInt(data.size());
    hash.Update(data.data(), sample);
    hash.Update(data.data() + data.size() - sample, sample);
  }
  return hash.Finish().ToHex();
}

// Sizes of CLIP-L/336, scaled to the width that config.json states.
void AssumeClipLarge(int32_t hidden_size, VisionConfig& config) {
  config.hidden_size = hidden_size;
  config.intermediate_size = 4 * hidden_size;
  config.num_heads = std::max(1, hidden_size / kClipHeadDim);
}

absl::StatusOr<ConfigFiles> ReadConfigFiles(const std::string& dir) {
  ASSIGN_OR_RETURN(const ConfigTexts texts, ReadConfigTexts(dir));
  return ParseConfigTexts(texts);
}

}  // namespace

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  ASSIGN_OR_RETURN(ConfigFiles files, ReadConfigFiles(dir));
  WeightFiles weights;
  if (!files.has_vision_config) {
    if (HasWeightFiles(dir)) {
      ASSIGN_OR_RETURN(weights, OpenWeightFiles(dir));
      RETURN_IF_ERROR(InferVisionConfig(weights, files.config.vision));
    } else {
      AssumeClipLarge(files.mm_hidden_size, files.config.vision);
    }
  }
  RETURN_IF_ERROR(FinishConfig(files));
  files.config.revision = Revision(files, weights);
  return files.config;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& dir) {
  ASSIGN_OR_RETURN(ConfigFiles files, ReadConfigFiles(dir));
  ASSIGN_OR_RETURN(WeightFiles weights, OpenWeightFiles(dir));
  if (!files.has_vision_config) {
    RETURN_IF_ERROR(InferVisionConfig(weights, files.config.vision));
  }
  RETURN_IF_ERROR(FinishConfig(files));
  files.config.revision = Revision(files, weights);

  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->config_ = std::move(files.config);
  checkpoint->notes_ = std::move(files.notes);
  checkpoint->has_vision_config_ = files.has_vision_config;
  checkpoint->weights_ = std::move(weights);
  RETURN_IF_ERROR(checkpoint->CheckTensors());
  checkpoint->SummarizeDtypes(files.has_dtype);
  return checkpoint;
}

absl::Status Checkpoint::CheckTensors() {
  tensors_ = ExpectedTensors(config_);
  // A disabled MoE may be stored all the same: the reference's first training stage saves it.
  std::vector<TensorSpec> known = tensors_;
  const LanguageConfig& language = config_.language;
  if (!config_.moe.enabled && weights_.tensors.contains(tensor_names::kMoeGate)) {
    for (TensorSpec& spec : ExpectedMoeTensors(config_)) known.push_back(std::move(spec));
    notes_.push_back("the experts are stored but unused: use_moe is false");
  }
  if (language.tie_word_embeddings && weights_.tensors.contains(tensor_names::kLmHead)) {
    known.push_back(
        {.name = tensor_names::kLmHead, .shape = {language.vocab_rows, language.hidden_size}});
    notes_.push_back("lm_head.weight is stored but unused: tie_word_embeddings is true");
  }
  for (const TensorSpec& spec : known) RETURN_IF_ERROR(CheckTensor(spec));
  if (weights_.tensors.size() != known.size()) {
    std::sort(known.begin(), known.end(), [](const TensorSpec& a, const TensorSpec& b) {
      return a.name < b.name;
    });
    size_t i = 0;
    for (const auto& [name, location] : weights_.tensors) {
      if (i < known.size() && known[i].name == name) {
        ++i;
        continue;
      }
      return ModelFileInvalid(weights_.files[location.file_idx]->base_name(),
                              name,
                              "tensor is left over: the configuration has no place for it");
    }
  }
  const auto file_order = [this](const TensorSpec& spec) {
    const WeightLocation& location = weights_.tensors.find(spec.name)->second;
    return std::pair(location.file_idx, location.tensor->begin);
  };
  std::sort(tensors_.begin(), tensors_.end(), [&](const TensorSpec& a, const TensorSpec& b) {
    return file_order(a) < file_order(b);
  });
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckTensor(const TensorSpec& spec) const {
  const auto it = weights_.tensors.find(spec.name);
  if (it == weights_.tensors.end()) {
    return ModelFileInvalid(
        weights_.files.size() == 1 ? "model.safetensors" : "model.safetensors.index.json",
        spec.name,
        absl::StrCat(
            "tensor is missing; ", DecidedBy(spec.part, has_vision_config_), " asks for it"));
  }
  const WeightLocation& location = it->second;
  const std::string& file = weights_.files[location.file_idx]->base_name();
  if (location.tensor->shape != spec.shape) {
    return ModelFileInvalid(file,
                            spec.name,
                            absl::StrCat("shape is ",
                                         ShapeText(location.tensor->shape),
                                         ", ",
                                         DecidedBy(spec.part, has_vision_config_),
                                         " asks for ",
                                         ShapeText(spec.shape)),
                            ShapeText(location.tensor->shape),
                            ShapeText(spec.shape));
  }
  if (!ToDataType(location.tensor->type).has_value()) {
    return ModelUnsupported(file,
                            spec.name,
                            absl::StrCat("dtype is ",
                                         SafetensorsTypeName(location.tensor->type),
                                         ", weights must be F32, BF16 or F16"),
                            SafetensorsTypeName(location.tensor->type),
                            "F32, BF16, F16");
  }
  return absl::OkStatus();
}

void Checkpoint::SummarizeDtypes(bool dtype_stated) {
  int64_t most_bytes = 0;
  DataType most = config_.stored_dtype;
  for (const TensorSpec& spec : tensors_) {
    const SafetensorsTensor& tensor = *weights_.tensors.find(spec.name)->second.tensor;
    const DataType dtype = *ToDataType(tensor.type);
    int64_t& bytes = bytes_by_dtype_[DataTypeName(dtype)];
    bytes += static_cast<int64_t>(tensor.end - tensor.begin);
    if (bytes > most_bytes) {
      most_bytes = bytes;
      most = dtype;
    }
  }
  if (bytes_by_dtype_.size() > 1) {
    notes_.push_back("the weights are stored in more than one dtype");
  }
  if (dtype_stated && most != config_.stored_dtype) {
    notes_.push_back(absl::StrCat("config.json: torch_dtype is ",
                                  DataTypeName(config_.stored_dtype),
                                  ", the weights are ",
                                  DataTypeName(most)));
  }
  config_.stored_dtype = most;
}

absl::StatusOr<TensorView> Checkpoint::Get(std::string_view name) const {
  if (name == tensor_names::kLmHead && config_.language.tie_word_embeddings) {
    name = tensor_names::kTokenEmbedding;
  }
  const auto it = weights_.tensors.find(name);
  if (it == weights_.tensors.end()) {
    return ModelFileMissing("model.safetensors", "has no tensor " + PrintableName(name));
  }
  const std::shared_ptr<const SafetensorsFile>& file = weights_.files[it->second.file_idx];
  const SafetensorsTensor& tensor = *it->second.tensor;
  RETURN_IF_ERROR(file->CheckUnchanged());
  file->Prefetch(tensor);
  TensorView view{.name = tensor.name,
                  .dtype = *ToDataType(tensor.type),
                  .shape = tensor.shape,
                  .bytes = file->Data(tensor),
                  .owner = std::shared_ptr<const void>(
                      nullptr, [file, &tensor](const void*) { file->Release(tensor); })};
  const uintptr_t address = reinterpret_cast<uintptr_t>(view.bytes.data());
  if (address % static_cast<uintptr_t>(SafetensorsTypeBytes(tensor.type)) != 0) {
    // Rare: a header that was not padded. Our and the reference's writers align.
    auto copy = std::make_shared<std::vector<std::byte>>(view.bytes.begin(), view.bytes.end());
    view.bytes = *copy;
    view.owner = std::move(copy);
  }
  return view;
}

Sha256Digest Checkpoint::Fingerprint() const {
  Sha256 hash;
  for (const auto& file : weights_.files) file->AddFingerprint(hash);
  return hash.Finish();
}

}  // namespace parrot
