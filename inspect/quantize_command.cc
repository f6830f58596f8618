#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "inspect/commands.h"
#include "inspect/prompt_input.h"
#include "model/kernels/gemm.h"
#include "model/kernels/isa.h"
#include "model/kernels/quantization.h"
#include "model/runtime/prompt_probe.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Json = nlohmann::ordered_json;
using kernels::PackedMatrix;
using kernels::SourceType;
using kernels::WeightEncoding;
using kernels::WeightFormat;

SourceType SourceTypeOf(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return SourceType::kFloat32;
    case DataType::kBFloat16:
      return SourceType::kBFloat16;
    case DataType::kFloat16:
      return SourceType::kFloat16;
  }
  return SourceType::kFloat32;
}

// The matrices that products read: two-dimensional weights but embeddings, unless one is the head.
bool IsQuantized(const TensorSpec& spec, const ModelConfig& config) {
  if (spec.shape.size() != 2 || spec.name.find("position_embedding") != std::string::npos ||
      spec.name == "model.moe_model.gate.weight") {
    return false;
  }
  return spec.name != "model.embed_tokens.weight" || config.language.tie_word_embeddings;
}

// Sums over elements, in double precision.
struct WeightError {
  double squares = 0.0;  // of the weights
  double errors = 0.0;   // of the differences, squared
  int64_t bytes = 0;
  int64_t elements = 0;

  void Add(const WeightError& other) {
    squares += other.squares;
    errors += other.errors;
    bytes += other.bytes;
    elements += other.elements;
  }
  double relative() const { return squares == 0.0 ? 0.0 : std::sqrt(errors / squares); }
  double bits_per_weight() const {
    return elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
  }
};

WeightError Measure(const TensorView& view, const WeightEncoding& encoding) {
  const int64_t rows = view.shape[0], columns = view.shape[1];
  const kernels::Isa isa = kernels::BestIsa().value_or(kernels::Isa::kEmulatedAvx2);
  const auto pack = [&](const WeightEncoding& how, int64_t first, int64_t count) {
    PackedMatrix matrix({.out_features = count, .in_features = columns, .encoding = how}, isa);
    matrix.Add(view.bytes.data() + first * columns * DataTypeBytes(view.dtype),
               SourceTypeOf(view.dtype),
               columns,
               0,
               count,
               0,
               columns);
    return matrix;
  };
  WeightError error;
  std::vector<float> exact(static_cast<size_t>(columns)), coded(exact.size());
  constexpr int64_t kSlice = 1024;  // rows at a time: little memory for any matrix
  for (int64_t first = 0; first < rows; first += kSlice) {
    const int64_t count = std::min(kSlice, rows - first);
    const PackedMatrix plain = pack({}, first, count);
    const PackedMatrix packed = pack(encoding, first, count);
    error.bytes += packed.bytes();
    for (int64_t row = 0; row < count; ++row) {
      plain.ReadRow(row, exact.data());
      packed.ReadRow(row, coded.data());
      for (size_t i = 0; i < exact.size(); ++i) {
        const double difference = double{coded[i]} - exact[i];
        error.squares += double{exact[i]} * exact[i];
        error.errors += difference * difference;
      }
    }
  }
  error.elements = rows * columns;
  return error;
}

// "model.layers.3" of "model.layers.3.mlp.up_proj.weight"; the module of others.
std::string LayerOf(const std::string& name) {
  for (const std::string list : {"layers.", "experts."}) {
    const size_t at = name.find(list);
    if (at != std::string::npos) return name.substr(0, name.find('.', at + list.size()));
  }
  return name.substr(0, name.rfind('.'));
}

struct LayerError {
  std::string layer;
  WeightError error;
};

absl::StatusOr<std::vector<LayerError>> MeasureLayers(const Checkpoint& checkpoint,
                                                      const WeightEncoding& encoding) {
  const bool shows_progress = ::isatty(STDERR_FILENO) == 1;
  std::vector<LayerError> layers;
  size_t done = 0;
  for (const TensorSpec& spec : checkpoint.tensors()) {
    ++done;
    if (!IsQuantized(spec, checkpoint.config())) continue;
    ASSIGN_OR_RETURN(const TensorView view, checkpoint.Get(spec.name));
    const std::string layer = LayerOf(spec.name);
    const auto it = std::find_if(layers.begin(), layers.end(), [&](const LayerError& known) {
      return known.layer == layer;
    });
    LayerError& into = it == layers.end() ? layers.emplace_back(LayerError{layer, {}}) : *it;
    into.error.Add(Measure(view, encoding));
    if (shows_progress) {
      std::cerr << "\r" << done << " of " << checkpoint.tensors().size() << " tensors"
                << std::flush;
    }
  }
  if (shows_progress) std::cerr << '\n';
  return layers;
}

// One prompt's change against float32.
Json ComparePrompt(const PromptTrace& exact, const PromptTrace& coded) {
  double squares = 0.0, largest = 0.0;
  const size_t count = exact.logits_last.values.size();
  for (size_t i = 0; i < count; ++i) {
    const double difference = double{coded.logits_last.values[i]} - exact.logits_last.values[i];
    squares += difference * difference;
    largest = std::max(largest, std::abs(difference));
  }
  const auto pair = std::mismatch(
      exact.tokens.begin(), exact.tokens.end(), coded.tokens.begin(), coded.tokens.end());
  return {{"logits_rms", std::sqrt(squares / static_cast<double>(count))},
          {"logits_max", largest},
          {"same_tokens", pair.first - exact.tokens.begin()},
          {"tokens", exact.tokens.size()}};
}

absl::StatusOr<Json> ComparePrompts(const QuantizeOptions& options, const Checkpoint& checkpoint) {
  Json prompts = Json::array();
  if (options.message_paths.empty()) return prompts;
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(options.dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptProbe> exact,
                   PromptProbe::Load(checkpoint, {.cpu = {.backend = "auto"}}));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptProbe> coded,
                   PromptProbe::Load(checkpoint,
                                     {.dtype = ComputeDtype::kAuto,
                                      .cpu = {.backend = "cpu",
                                              .quantization = options.quantization,
                                              .vision_quantization = options.quantization}}));
  for (const std::string& path : options.message_paths) {
    RunOptions run;
    run.messages_path = path;
    run.max_new_tokens = options.max_new_tokens;
    ASSIGN_OR_RETURN(const PromptInput input, ReadPrompt(run, checkpoint.config(), *tokenizer));
    ASSIGN_OR_RETURN(const PromptTrace exact_trace, exact->Run(input.request));
    ASSIGN_OR_RETURN(const PromptTrace coded_trace, coded->Run(input.request));
    prompts.push_back(ComparePrompt(exact_trace, coded_trace));
  }
  return prompts;
}

void PrintTable(const std::vector<LayerError>& layers, const Json& prompts, std::ostream& out) {
  size_t width = 0;
  for (const LayerError& layer : layers) width = std::max(width, layer.layer.size());
  const auto column = static_cast<int>(width) + 2;
  out << std::left << std::setw(column) << "layer"
      << "relative error  bits per weight\n";
  for (const LayerError& layer : layers) {
    out << std::left << std::setw(column) << layer.layer << std::setw(16) << std::setprecision(4)
        << layer.error.relative() << layer.error.bits_per_weight() << '\n';
  }
  size_t number = 0;
  for (const Json& prompt : prompts) {
    out << "prompt " << ++number << ": logits move by " << prompt["logits_rms"] << " (rms), "
        << prompt["logits_max"] << " (largest); " << prompt["same_tokens"] << " of "
        << prompt["tokens"] << " greedy tokens the same\n";
  }
}

}  // namespace

absl::Status QuantizeCheckpoint(const QuantizeOptions& options, std::ostream& out) {
  const std::optional<WeightEncoding> encoding =
      kernels::ParseQuantization(options.quantization, WeightFormat::kBFloat16);
  if (!encoding.has_value()) {
    return ErrorStatus(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("--quantization: unknown name; use ", kernels::kQuantizationNames),
        {.reason = "INVALID_OPTION", .field = "quantization"});
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(options.dir));
  ASSIGN_OR_RETURN(const std::vector<LayerError> layers, MeasureLayers(*checkpoint, *encoding));
  ASSIGN_OR_RETURN(const Json prompts, ComparePrompts(options, *checkpoint));
  if (!options.json) {
    PrintTable(layers, prompts, out);
    return absl::OkStatus();
  }
  Json result = {{"quantization", options.quantization}, {"layers", Json::array()}};
  for (const LayerError& layer : layers) {
    result["layers"].push_back({{"layer", layer.layer},
                                {"relative_error", layer.error.relative()},
                                {"bits_per_weight", layer.error.bits_per_weight()}});
  }
  result["prompts"] = prompts;
  out << result.dump(2) << '\n';
  return absl::OkStatus();
}

}  // namespace parrot
