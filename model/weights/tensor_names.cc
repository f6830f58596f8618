#include "model/weights/tensor_names.h"

#include "absl/strings/str_cat.h"

namespace parrot::tensor_names {
namespace {

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

std::string LanguageLayer(int32_t layer, std::string_view suffix) {
  return absl::StrCat("model.layers.", layer, ".", ToAbsl(suffix));
}

std::string Vision(std::string_view suffix) { return absl::StrCat(kVisionPrefix, ToAbsl(suffix)); }

std::string VisionLayer(int32_t layer, std::string_view suffix) {
  return absl::StrCat(kVisionPrefix, "encoder.layers.", layer, ".", ToAbsl(suffix));
}

std::string Projector(const ProjectorConfig& config, int32_t linear_idx, std::string_view suffix) {
  if (!config.sequential) return absl::StrCat("model.mm_projector.", ToAbsl(suffix));
  return absl::StrCat("model.mm_projector.", 2 * linear_idx, ".", ToAbsl(suffix));
}

std::string Expert(int32_t expert, std::string_view suffix) {
  return absl::StrCat("model.moe_model.experts.", expert, ".", ToAbsl(suffix));
}

}  // namespace parrot::tensor_names
