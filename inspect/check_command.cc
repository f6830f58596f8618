#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "inspect/commands.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Json = nlohmann::ordered_json;

struct CheckedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<std::string> notes;
};

absl::StatusOr<CheckedModel> OpenAll(const std::string& dir) {
  CheckedModel model;
  ASSIGN_OR_RETURN(model.checkpoint, Checkpoint::Open(dir));
  ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Load(dir));
  model.notes = model.checkpoint->notes();
  const ModelConfig& config = model.checkpoint->config();
  const int32_t rows = config.language.vocab_rows;
  if (model.tokenizer->num_tokens() > rows) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("tokenizer.json: has ",
                                    model.tokenizer->num_tokens(),
                                    " ids, the embedding has ",
                                    rows,
                                    " rows"),
                       {.reason = "MODEL_FILE_INVALID",
                        .field = "tokenizer.json",
                        .value = absl::StrCat(model.tokenizer->num_tokens()),
                        .limit = absl::StrCat(rows)});
  }
  if (config.eos_token_id != -1 && config.eos_token_id != model.tokenizer->im_end_id()) {
    model.notes.push_back(absl::StrCat("config.json: eos_token_id is ",
                                       config.eos_token_id,
                                       "; generation stops at <|im_end|>, ",
                                       model.tokenizer->im_end_id()));
  }
  return model;
}

// 0.1f -> 0.1, not 0.10000000149011612.
double Shortest(float value) {
  double result = 0.0;
  (void)absl::SimpleAtod(absl::StrCat(value), &result);
  return result;
}

Json PartJson(const CheckedModel& model) {
  const ModelConfig& c = model.checkpoint->config();
  const ParameterCounts counts = CountParameters(model.checkpoint->tensors());
  return {{"language",
           {{"parameters", counts.language},
            {"hidden_size", c.language.hidden_size},
            {"intermediate_size", c.language.intermediate_size},
            {"num_layers", c.language.num_layers},
            {"num_heads", c.language.num_heads},
            {"num_kv_heads", c.language.num_kv_heads},
            {"vocab_rows", c.language.vocab_rows},
            {"tied_head", c.language.tie_word_embeddings},
            {"max_position_embeddings", c.language.max_position_embeddings},
            {"rope_theta", Shortest(c.language.rope_theta)}}},
          {"vision",
           {{"parameters", counts.vision},
            {"image_size", c.vision.image_size},
            {"patch_size", c.vision.patch_size},
            {"hidden_size", c.vision.hidden_size},
            {"intermediate_size", c.vision.intermediate_size},
            {"num_layers", c.vision.num_layers},
            {"num_used_layers", c.vision.num_used_layers()},
            {"num_heads", c.vision.num_heads}}},
          {"projector", {{"parameters", counts.projector}, {"depth", c.projector.depth}}},
          {"moe",
           {{"parameters", counts.moe},
            {"enabled", c.moe.enabled},
            {"num_experts", c.moe.num_experts},
            {"intermediate_size", c.moe.intermediate_size},
            {"residual_weight", Shortest(c.moe.use_residual ? c.moe.residual_weight : 0.0f)}}}};
}

Json MemoryJson(const CheckedModel& model) {
  const ModelConfig& c = model.checkpoint->config();
  const int64_t parameters = CountParameters(model.checkpoint->tensors()).total();
  Json memory = Json::object();
  for (const DataType dtype : {DataType::kFloat32, DataType::kBFloat16}) {
    memory[DataTypeName(dtype)] = {
        {"weights_bytes", parameters * DataTypeBytes(dtype)},
        {"kv_bytes_per_token", c.kv_bytes_per_token(dtype)},
        {"kv_bytes_per_image", c.kv_bytes_per_token(dtype) * c.vision.num_tokens()}};
  }
  return memory;
}

Json Describe(const CheckedModel& model) {
  const ModelConfig& c = model.checkpoint->config();
  return {{"ok", true},
          {"revision", c.revision},
          {"files", model.checkpoint->num_files()},
          {"tensors", model.checkpoint->tensors().size()},
          {"parameters", CountParameters(model.checkpoint->tensors()).total()},
          {"parts", PartJson(model)},
          {"tokens_per_image", c.vision.num_tokens()},
          {"model_max_length", c.model_max_length},
          {"stored_bytes", model.checkpoint->bytes_by_dtype()},
          {"memory", MemoryJson(model)},
          {"tokenizer",
           {{"ids", model.tokenizer->num_tokens()}, {"im_end_id", model.tokenizer->im_end_id()}}},
          {"notes", model.notes}};
}

// 8347826176 -> "8,347,826,176".
std::string Grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

// "16.70 GB"; decimal units, as disks and the published sizes have.
std::string Size(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  std::ostringstream text;
  text << std::fixed << std::setprecision(unit == 0 ? 0 : 2) << value << ' ' << kUnits[unit];
  return text.str();
}

void PrintLine(std::ostream& out, const std::string& name, const std::string& value) {
  out << "  " << std::left << std::setw(20) << name << value << '\n';
}

void PrintText(const CheckedModel& model, std::ostream& out) {
  const ModelConfig& c = model.checkpoint->config();
  const ParameterCounts counts = CountParameters(model.checkpoint->tensors());
  out << "The checkpoint is complete and consistent.\n";
  PrintLine(out,
            "files",
            absl::StrCat(model.checkpoint->num_files(),
                         " safetensors, ",
                         model.checkpoint->tensors().size(),
                         " tensors"));
  PrintLine(out, "parameters", Grouped(counts.total()));
  PrintLine(out,
            "  language model",
            absl::StrCat(Grouped(counts.language),
                         "  (",
                         c.language.num_layers,
                         " layers of ",
                         c.language.hidden_size,
                         ", ",
                         c.language.num_heads,
                         " heads, ",
                         c.language.num_kv_heads,
                         " for keys and values)"));
  PrintLine(out,
            "  vision tower",
            absl::StrCat(Grouped(counts.vision),
                         "  (",
                         c.vision.num_layers,
                         " layers of ",
                         c.vision.hidden_size,
                         ", ",
                         c.vision.num_used_layers(),
                         " used, ",
                         c.vision.image_size,
                         " px)"));
  PrintLine(out, "  projector", Grouped(counts.projector));
  PrintLine(
      out,
      "  experts",
      absl::StrCat(Grouped(counts.moe), "  (", c.moe.enabled ? c.moe.num_experts : 0, " experts)"));
  for (const auto& [dtype, bytes] : model.checkpoint->bytes_by_dtype()) {
    PrintLine(out, "stored " + dtype, Size(bytes));
  }
  for (const DataType dtype : {DataType::kFloat32, DataType::kBFloat16}) {
    const int64_t kv = c.kv_bytes_per_token(dtype);
    PrintLine(out,
              absl::StrCat("memory ", DataTypeName(dtype)),
              absl::StrCat(Size(counts.total() * DataTypeBytes(dtype)),
                           " for weights, ",
                           Size(kv),
                           " of KV per token, ",
                           Size(kv * c.vision.num_tokens()),
                           " per image"));
  }
  PrintLine(out, "image tokens", absl::StrCat(c.vision.num_tokens()));
  PrintLine(out, "training length", absl::StrCat(c.model_max_length, " tokens"));
  PrintLine(out, "tokenizer", absl::StrCat(model.tokenizer->num_tokens(), " ids"));
  PrintLine(out, "revision", c.revision);
  for (const std::string& note : model.notes) PrintLine(out, "note", note);
}

Json ErrorJson(const absl::Status& status) {
  const ErrorFacts facts = GetErrorFacts(status);
  return {{"ok", false},
          {"error",
           {{"message", std::string(status.message().data(), status.message().size())},
            {"reason", facts.reason},
            {"field", facts.field},
            {"value", facts.value},
            {"limit", facts.limit}}}};
}

}  // namespace

absl::Status CheckCheckpoint(const CheckOptions& options, std::ostream& out) {
  const absl::StatusOr<CheckedModel> model = OpenAll(options.dir);
  if (!options.json) {
    RETURN_IF_ERROR(model.status());
    PrintText(*model, out);
    return absl::OkStatus();
  }
  const Json result = model.ok() ? Describe(*model) : ErrorJson(model.status());
  out << result.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  return model.status();
}

}  // namespace parrot
