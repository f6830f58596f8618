// Finds and opens the weight files of a checkpoint folder: model.safetensors, or the shards that
// model.safetensors.index.json names. The single file wins when both are there, as in the
// reference's loader. Pickles (.bin, .pt, .pth) are refused: loading one can run code.
#ifndef PARROT_MODEL_WEIGHTS_WEIGHT_FILES_H_
#define PARROT_MODEL_WEIGHTS_WEIGHT_FILES_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/weights/safetensors_file.h"

namespace parrot {

struct WeightLocation {
  int file_idx = 0;                           // into WeightFiles::files
  const SafetensorsTensor* tensor = nullptr;  // owned by that file
};

struct WeightFiles {
  std::vector<std::shared_ptr<const SafetensorsFile>> files;   // sorted by name
  std::map<std::string, WeightLocation, std::less<>> tensors;  // every tensor of every file
};

// True when OpenWeightFiles would find files to open.
bool HasWeightFiles(const std::string& dir);

// Each tensor is in exactly one file and, with an index, in the one the index names.
absl::StatusOr<WeightFiles> OpenWeightFiles(const std::string& dir);

// weight_map of an index: tensor name -> file name. File names are plain: no folder, no "..",
// ending in ".safetensors".
absl::StatusOr<std::map<std::string, std::string>> ParseWeightIndex(std::string_view text);

inline constexpr int kMaxShards = 1000;

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_WEIGHT_FILES_H_
