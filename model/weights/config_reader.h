// Reads config.json, vision_config.json and preprocessor_config.json of a checkpoint folder into a
// ModelConfig. Missing keys take the reference's defaults; what we do not implement is refused by
// name (anyres, spatial and unpad merging, SigLIP, sliding windows, rope scaling, quantised
// weights, other activations); unknown keys are ignored, as the reference ignores them.
//
// Two steps, because the sizes of the vision tower may come from the weights' shapes: read, let the
// caller fill config.vision if has_vision_config is false, then FinishConfig.
#ifndef PARROT_MODEL_WEIGHTS_CONFIG_READER_H_
#define PARROT_MODEL_WEIGHTS_CONFIG_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/model_config.h"

namespace parrot {

struct ConfigFiles {
  ModelConfig config;
  bool has_vision_config = false;
  bool has_preprocessor_config = false;
  bool has_dtype = false;          // torch_dtype was given
  int32_t mm_hidden_size = 0;      // config.json's claim about the tower
  int32_t processor_size = 0;      // pixels, preprocessor_config.json's claim; 0 if none
  std::vector<std::string> notes;  // defaults that were taken and matter
  std::vector<std::string> texts;  // the files read, in a fixed order, for the revision
};

// Files as text, before parsing; nullopt where a file is absent. For mutation tests.
struct ConfigTexts {
  std::string config;
  std::optional<std::string> vision;
  std::optional<std::string> preprocessor;
};

absl::StatusOr<ConfigTexts> ReadConfigTexts(const std::string& dir);
absl::StatusOr<ConfigFiles> ParseConfigTexts(const ConfigTexts& texts);

// Cross-checks what needs the tower's sizes: the selected layer, mm_hidden_size, the processor's
// size. REQUIRES: config.vision is filled.
absl::Status FinishConfig(ConfigFiles& files);

// Upper limits on sizes that a file may ask for: far above any model, low enough that products of
// them neither overflow nor fill the memory before the tensors have been looked at.
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxChannels = 131'072;
inline constexpr int64_t kMaxIntermediate = 1'048'576;
inline constexpr int64_t kMaxVocabRows = 4'194'304;
inline constexpr int64_t kMaxExperts = 256;
inline constexpr int64_t kMaxImageSize = 4096;      // pixels
inline constexpr int64_t kMaxImageTokens = 65'536;  // rows per image
inline constexpr int64_t kMaxPositions = 16'777'216;

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_CONFIG_READER_H_
